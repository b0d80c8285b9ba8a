"""The catalogue of invariants, and what is raised when one is broken.

The first word of each sentence is the number of the design's invariant (``ARCHITECTURE.md``) that it spells
out; ``-`` where it holds the simulator or the user's view together.
"""

from __future__ import annotations

from typing import Final

INVARIANTS: Final = {
    # The table, transaction by transaction.
    "no_accepted_task_vanishes": "1 a task leaves the table only with a result",
    "one_place_a_task": "1 a task is live or done, never both",
    "a_task_is_created_once": "1 an id that was in the table is never made again",
    "no_result_is_forgotten_before_its_acknowledgement": "1 a result stays until acknowledged or held",
    "done_means_a_result": "1 what lies under /done has its result, what lies under /tasks has none",
    "a_task_keeps_its_identity": "1 user, digest and time of submission of a task never change",
    "a_result_never_changes": "2 a recorded result stays as it is",
    "a_result_has_its_state": "2 the state of a finished task is that of its result, and terminal",
    "a_result_comes_from_an_attempt": "2 only LOST and CANCELLED need no attempt",
    "no_result_of_a_stale_attempt": "2 an attempt that is over delivers nothing",
    "a_result_says_what_happened": "2 status and output of a result are those that the witness saw",
    "every_write_is_fenced": "3 every transaction on tasks checks /epoch and rewrites /commit",
    "no_write_of_a_deposed_leader": "3 every batch is of the leader of the current epoch",
    "no_batch_applies_twice": "3 the number of a batch is used once in an epoch",
    "batches_keep_their_order": "3 batches are applied in the order of their numbers",
    "placed_under_the_current_epoch": "3 a new attempt carries the current epoch",
    "a_batch_leaves_soon": "8 what is to be written is under way to ZooKeeper within a few turns",
    "a_claim_only_claims": "6 a claim writes /epoch, /commit and /leader, nothing else",
    "no_young_leader_that_lives_is_deposed": "8 a claim goes over the dead, the hung and the gone only",
    "epochs_rise_by_one": "6 a claim makes the next epoch",
    "attempt_numbers_never_repeat": "7 a new attempt has a higher number than any before",
    "one_live_attempt_a_task": "7 one attempt lives at most, and one copy of what may run twice",
    "only_what_may_run_twice_is_copied": "5 who did not say that it may run twice has no copy",
    "only_a_copy_is_placed_beside_another": "7 an attempt beside one that lives says whose copy it is",
    "a_copy_runs_elsewhere": "7 a copy is on another worker than what it copies",
    "only_a_success_outruns": "7 what lives is given up for a success, or for who reports increments",
    "running_means_a_live_attempt": "7 a task is RUNNING exactly while an attempt lives",
    "an_attempt_keeps_its_worker": "7 worker, incarnation and epoch of an attempt never change",
    "an_attempt_that_is_over_stays_over": "7 OVER is the last state of an attempt",
    "no_living_incarnation_is_robbed": "7 an attempt is given up when its worker is dead or long silent",
    "nothing_new_on_a_drained_worker": "7 no attempt is placed on a worker after its drain",
    "a_cancelled_task_is_not_placed": "7 after a cancellation no attempt is added",
    "no_task_is_lost_too_often": "9 a task is not placed again after its crash limit",
    "no_task_is_given_up_early": "1 LOST is what must not run again, or crashed more often than its limit",
    "no_task_is_copied_too_often": "9 a task has a few copies in its life",
    "no_task_is_preempted_too_often": "9 a task is ended for others a few times",
    "a_cancel_stays_recorded": "7 a cancellation is never taken back",
    # Arrays.
    "an_array_comes_before_its_tasks": "1 tasks of an array are made while it is in the table",
    "an_array_keeps_its_identity": "1 user, digest and time of an array never change, its total never falls",
    "an_array_keeps_its_nodes": "1 what belongs to an array leaves after its end",
    "an_index_is_made_once": "1 a task is made in the transaction that moves the cursor over it, never again",
    "no_index_is_skipped": "1 what the cursor passes is made, or was cancelled",
    "inputs_at_hand_are_not_read": "1 what a leader has in memory may not be in the table yet",
    "no_input_is_lost": "1 what an array counts as inputs is found when its tasks are made",
    "an_end_stays": "2 how a position ended never changes",
    "counts_are_ends": "2 counts and ends of an array change in the transactions of its tasks",
    "an_array_finishes_once": "2 an array ends once, when all of it has ended",
    "an_array_keeps_its_window": "9 no more tasks of an array live than its window holds",
    "inputs_are_kept_before_they_count": "1 what an array counts as inputs is in the table",
    "inputs_are_kept_before_they_are_said": "1 InputsKept counts inputs in the table",
    "an_end_is_said_as_committed": "2 an end of an array is said once it is recorded",
    "a_page_tells_ends": "2 what is told of positions is what the table has",
    # What is said.
    "nobody_speaks_without_a_commit": "3 an answer follows a commit that was applied after the question",
    "accepted_means_committed": "1 Accepted is said of tasks in the table only",
    "a_result_is_said_as_committed": "2 Finished carries the recorded result",
    "a_noted_cancel_is_committed": "3 CancelNoted is said of recorded cancellations only",
    "no_accepted_task_is_called_gone": "1 an accepted task that is in the table is never called gone",
    "no_order_runs_ahead_of_the_table": "3 Run is said of assignments in the table, to their worker",
    "no_order_for_a_dead_attempt": "3 the present leader says Run of live attempts only",
    "no_report_is_acknowledged_before_its_commit": "2 AttemptAck: it is recorded, or not wanted",
    "no_older_epoch_is_obeyed": "6 a worker obeys no epoch below the highest that it heard of",
    # What runs.
    "nothing_starts_that_is_not_in_the_table": "3 a process belongs to an assignment in the table",
    "nobody_is_killed_unasked": "2 a cancellation, or a superseded attempt, is in the table before its Kill",
    "only_who_agreed_is_preempted": "5 an attempt ends for others if its task agreed, and may run again",
    "no_worker_bears_more_than_it_may": "9 what is demoted on a worker is bounded by its processors",
    "nobody_gives_way_before_the_table_says_so": "3 a worker demotes what the table says is demoted",
    "no_attempt_starts_twice": "5 an attempt is started once",
    "no_second_start_with_on_lost_fail": "5 a task that must not run twice is started once",
    "no_worker_runs_more_than_its_capacity": "4 what runs on a worker fits into what it offers",
    "no_two_attempts_share_a_gpu": "4 the GPUs of what runs on a worker are distinct, as many as asked for",
    "everybody_has_his_turn": "- of those who would fit the higher level goes first, then who has less",
    "a_reservation_is_honoured": "- what is placed beside a head leaves it room, or surely ends before",
    "a_reservation_is_looked_at_again": "8 who waits for a worker in vain moves after a while",
    "only_who_lacks_room_has_a_reservation": "8 no worker is set aside for who is at his bounds",
    "no_end_is_expected_that_nothing_brings": "8 what began without a limit may run for ever",
    "nobody_has_more_than_he_may": "- who is given something has no more than the bounds in force say",
    "reserved_capacity_returns_exactly_once": "4 free and reserved make the whole, at any time",
    "nothing_runs_at_rest": "7 what was superseded, or cut off, is killed once its worker is reached again",
    "all_capacity_is_free_at_rest": "4 when nothing runs, everything is free",
    "what_is_given_back_never_starts": "5 what a worker gave back it does not start",
    "nobody_follows_into_a_policy": "8 a policy that ends its leader ends no heir that nobody told to ask it",
    # What waits, and what is tried again.
    "nothing_is_placed_before_its_dependencies": "- a task waits for what it depends on",
    "nothing_is_placed_before_its_time": "- a task waits for its time, and after a failure for the next",
    "nothing_held_is_placed": "- what is held waits until it is released",
    "a_hold_is_told_when_it_is_in_the_table": "2 Done of a hold: it is recorded",
    "a_singleton_is_alone": "- it begins when no earlier one of its user and name is left",
    "no_more_retries_than_asked": "- a task fails as often as it may, and once more",
    "a_failure_is_tried_again": "- a task does not end by a failure before that",
    "no_array_starts_before_its_dependencies": "- an array waits for what it depends on",
    "no_task_is_made_before_its_array_starts": "- of an array that is kept back nothing is made",
    # What users see.
    "every_reader_gets_the_same_result": "2 all who ask are told the recorded result",
    "only_good_results_are_reused": "2 a work is said to be done only where its user's task succeeded",
    "one_id_is_one_specification": "2 an id is refused with another specification only",
    "failures_have_a_reason": "- a task fails at its client only with a code that the design knows",
    "nothing_is_cancelled_unasked": "- a task that nobody cancelled is not called cancelled",
    "output_comes_without_gaps": "- output is delivered in order from its first byte",
    "output_is_what_was_written": "- output is that of the attempt it is said to be of",
    "output_is_whole_or_said_to_be_missing": "- with the result all output was delivered, or its loss told",
    "every_question_is_answered": "8 with a leader up, no request stays open",
    "every_task_ends_in_bounded_time": "8 with a core healed, every task ends and all clients hear it",
    "somebody_always_goes_on": "8 with a core healed, something begins or ends while anything is to come",
    "everything_is_bounded": "9 what a leader keeps grows with the tasks, not with time",
    "output_is_stored_before_the_end": "1 with a results store, a result in the table has its output there",
    "increments_are_stored_before_the_end": "1 and its increments",
    "stored_output_is_what_was_written": "2 output in the results store is that of its attempt",
    "every_increment_is_stored_exactly_once": "2 an increment is stored as it was reported",
    "every_increment_is_reported_once": "5 no two attempts report one increment",
    "increments_have_no_gaps": "1 an increment is stored after the one before it",
    "the_census_names_what_tasks_need": "1 depots are told to keep the files of all tasks without a result",
    "nothing_leaves_the_table_unarchived": "1 with a results store, it has what leaves the table",
    "history_says_what_the_table_says": "2 what is archived of a result is what was recorded",
    "the_store_keeps_what_the_table_holds": "1 clearing takes nothing that is in the table",
    "what_leaves_the_store_leaves_it_whole": "9 of a task that is cleared nothing is left",
    "all_results_are_archived_at_rest": "9 with a results store, it has every result in the end",
    # The simulator itself.
    "no_core_raises": "- no core raises an exception",
    "a_seed_repeats_itself": "- two runs of one seed tell the same story",
}
#: Every invariant by its name.


class Violation(AssertionError):
    """Raised when an invariant is broken.

    Args:
        invariant: Its name in `INVARIANTS`.
        text: What was seen.
    """

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(invariant, text)
        self.invariant = invariant
        self.text = text

    def __str__(self) -> str:
        return f"{self.invariant} ({INVARIANTS[self.invariant]}): {self.text}"


class Told:
    """A text that is written only when somebody reads it: records are long, and most checks hold.

    Args:
        text: With braces for the values.
        values: What stands in their place; as they are when it is read.
    """

    __slots__ = ("_text", "_values")

    def __init__(self, text: str, *values: object) -> None:
        self._text = text
        self._values = values

    def __str__(self) -> str:
        return self._text.format(*self._values)


def demand(holds: object, invariant: str, text: str, *seen: object) -> None:
    """Raise `Violation` unless something holds.

    Args:
        holds: What must.
        invariant: Its name.
        text: What was seen; with braces for the values that follow.
        seen: Written into the text when it is needed, as with `Told`.
    """
    if not holds:
        raise Violation(invariant, text.format(*seen) if seen else text)
