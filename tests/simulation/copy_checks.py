"""Invariants of copies: who may have one, and what ends an attempt in favour of another."""

from __future__ import annotations

from collections import Counter

from tests.simulation.violations import demand

from alb_core.spec import OnLost
from alb_core.tasks import Attempt, AttemptState, TaskRecord, TaskState


class CopyChecks:
    """Holds what the table says of copies to the rules."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def on_placed(self, record: TaskRecord, attempt: Attempt) -> None:
        """An attempt is in the table that was not there."""
        beside = [each for each in record.attempts if each.state is AttemptState.LIVE and each.n != attempt.n]
        demand(
            not beside or attempt.copy_of > 0 or attempt.state is not AttemptState.LIVE,
            "only_a_copy_is_placed_beside_another",
            "{}: {}",
            record.id,
            record.attempts,
        )
        if not attempt.copy_of:
            return
        self.counts["copies"] += 1
        may = record.spec.speculative and record.spec.on_lost is OnLost.RERUN and not record.cancel
        demand(may, "only_what_may_run_twice_is_copied", "{}: {}", record.id, record)
        elsewhere = all(each.worker != attempt.worker for each in beside)
        demand(elsewhere, "a_copy_runs_elsewhere", "{}: {}", record.id, record.attempts)

    def was_outrun(self, record: TaskRecord, attempt: Attempt) -> bool:
        """Tell whether a live attempt was given up for another one, and hold that to the rules."""
        if attempt.ended_as != "outrun":
            return False
        result = record.result
        succeeded = result is not None and result.state is TaskState.SUCCEEDED and result.attempt != attempt.n
        living = [each.n for each in record.attempts if each.state is AttemptState.LIVE]
        alone = result is None and record.incremental and len(living) == 1
        self.counts["outrun" if succeeded else "alone"] += 1
        demand(succeeded or alone, "only_a_success_outruns", "{}: {}", record.id, record)
        return True
