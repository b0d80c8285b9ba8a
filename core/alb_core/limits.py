"""The bounds of the system, each with its reason. Everything that can grow has one here.

Times are in seconds, sizes in bytes.
"""

from typing import Final

PROTOCOL_VERSION: Final = 1
#: Version of the greeting; a peer with another one is refused with a sentence that names both.

TABLE_FORMAT: Final = 1
#: Version of the znode forms that this code writes; see ``/meta``.

# --- what a task may be ---------------------------------------------------------------------------------
SPEC_BYTES_MAX: Final = 64 * 1024
#: An encoded specification; a znode's limit is 1 MiB and a batch holds many.
ARGUMENTS_MAX: Final = 4096
LABELS_MAX: Final = 64
#: Of one worker, and of one request.
COUNTS_MAX: Final = 16
#: Named resources of one worker, and of one request: a search for room compares each.
COUNT_MAX: Final = 1_000_000_000
#: Of one named resource.
GPUS_MAX: Final = 1024
#: Of one worker: it keeps an index for each.
NAME_LENGTH_MAX: Final = 128
USER_LENGTH_MAX: Final = 64
STEPS_MAX: Final = 200_000
#: Each reports itself, and of one attempt a worker reads 250,000 increments.
TIME_LIMIT_S_MAX: Final = 366 * 86_400.0
GRACE_S_MAX: Final = 3600.0

# --- files ------------------------------------------------------------------------------------------------
FILES_MAX: Final = 100
#: That one task takes along, or brings back: what is more travels as one archive. A result names each file in
#: ZooKeeper, some 150 bytes apiece.
DEPOT_BYTES_MAX: Final = 64 * 1024**3
CACHE_BYTES_MAX: Final = 16 * 1024**3
#: What one depot, and one worker, keeps of files unless told otherwise.
FILE_NAME_BYTES_MAX: Final = 255
RETURN_PATTERNS_MAX: Final = 100
#: Of one task, and as many checkpoint patterns.
CHECKPOINT_FILES_MAX: Final = 40
#: That one checkpoint holds: with names of 255 bytes their list fits into the value of an increment.
CHECKPOINT_S: Final = 5.0
#: Between the beginnings of two saves of an attempt: what is lost with its worker is little more.
FILE_BYTES_MAX: Final = 1024**4
#: No disk of a worker holds more; what there is room for, each depot and each worker says itself.
TASK_FILES_BYTES_MAX: Final = 2 * FILE_BYTES_MAX

# --- output -----------------------------------------------------------------------------------------------
INLINE_OUTPUT_BYTES: Final = 4096
#: Up to this a stream rides in its result; of more, the result keeps the last bytes.
WINDOW_BYTES_MAX: Final = 1024 * 1024
#: The most that a reader may grant at once.
CHUNK_BYTES_MAX: Final = 256 * 1024
#: The most that one message carries, so that other streams get their turn; and the most of a row.
STORE_WINDOW_BYTES: Final = 4 * 1024 * 1024
#: Of one worker: what it has sent for the results store and what is not stored yet.
STORE_WAITING_BYTES: Final = 64 * 1024 * 1024
#: Of all workers: beyond, the leader drops what comes, and asks for it again when there is room.

# --- messages ---------------------------------------------------------------------------------------------
MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
#: ``ZMQ_MAXMSGSIZE`` of every socket: libzmq drops the connection of a peer that sends more.
FRAME_MESSAGES_MAX: Final = 1000
#: Messages in one frame.
FRAME_BYTES_SOFT: Final = 1024 * 1024
#: A sender starts another frame beyond this.

# --- group commit -----------------------------------------------------------------------------------------
BATCH_OPERATIONS_MAX: Final = 2000
#: More tasks a commit mean fewer frames and wake-ups of everybody; a full batch takes ZooKeeper some 40 ms.
BATCH_BYTES_MAX: Final = 512 * 1024
#: Half of ZooKeeper's ``jute.maxbuffer``; a larger request makes the server close the connection.

# --- the table --------------------------------------------------------------------------------------------
PENDING_MAX: Final = 200_000
PENDING_BYTES_MAX: Final = 512 * 1024 * 1024
DONE_KEPT_MAX: Final = 10_000
DONE_KEPT_S: Final = 3600.0
WORKS_MAX: Final = 200
#: Works that one message asks for: their tasks, with 64 KiB of specification each, are in memory at once.
HOLDING_S: Final = 600.0
#: A result that nobody acknowledged stays at least this long; an unaccepted submission may be sent again
#: only within this time.
CRASH_LIMIT: Final = 5
#: Attempts lost to the infrastructure before a task ends LOST.

STORE_BYTES_MIN: Final = 16 * 1024 * 1024
#: A bound on the results store must leave room for more than its empty tables.

# --- liveness ---------------------------------------------------------------------------------------------
HEARTBEAT_S: Final = 1.0
MISSED_HEARTBEATS: Final = 3
LOST_WITH_SESSION_S: Final = 30.0
#: A worker whose session lives but whose link is gone.
LOST_WITHOUT_SESSION_S: Final = 5.0
#: A worker that has neither.
PROGRESS_TIMEOUT_S: Final = 5.0
RESEND_S: Final = 1.0
DEPOSE_REFUSALS: Final = 2
DEPOSE_PROBE_GAP_S: Final = 0.2
DEPOSE_HUNG_S: Final = 5.0
DEPOSE_LEADER_AGE_S: Final = 10.0
DEPOSE_AGAIN_S: Final = 30.0

# --- ahead ------------------------------------------------------------------------------------------------
AHEAD_S: Final = 0.1
#: A worker is given, beyond what it has room for, what it ends in this time: short commands must not wait for
#: the round trip through the table.
AHEAD_MAX: Final = 256
#: Of one worker.
AHEAD_KEPT_S: Final = 0.3
#: What found no room on the worker by then is given back: another one may have room, or will sooner.

REVOKE_AFTER_S: Final = 0.15
#: What waits on a worker half as long again as it was reckoned to is asked back as soon as another one has
#: room: less is not worth the two commits that it takes to move.

SPEED_MAX: Final = 1000.0
#: Of a worker: no machine does the work of a thousand others of the same time.
# --- demotion ---------------------------------------------------------------------------------------------
QUANTUM_S: Final = 5.0
#: An attempt that ran so long gives its processors to those who wait: most commands are over by then.
DEMOTED_PER_CPU_MAX: Final = 2
#: Demoted attempts of a worker, for each of its processors: each keeps its memory, and a little of the rest.
MAX_DEMOTED_MAX: Final = 100

# --- preemption -------------------------------------------------------------------------------------------
PREEMPTIONS_MAX: Final = 5
#: Of one task: then it keeps what it has until it ends. So what is thrown away is bounded.

# --- worker -----------------------------------------------------------------------------------------------
SPOOL_KEPT_S: Final = 3600.0
SPOOL_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024

# --- what an attempt may be bounded to -------------------------------------------------------------------
BOUND_MEMORY_BYTES_MIN: Final = 1024 * 1024
#: No command starts in less.
BOUND_OPEN_FILES_MIN: Final = 8
#: Its three streams, what the loader opens, and a few of its own.
PROCESSES_SHIPPED: Final = 4096
#: The one default of a new cluster: a fork bomb takes the machine from everybody, and no honest command of
#: one task comes near. What else is too much only its owner knows.
STDIN_BYTES_MAX: Final = 32 * 1024
#: That ride in a specification; more is a file that the task takes along.
PAYLOAD_BYTES_MAX: Final = 48 * 1024
#: Of a kind's own, in a specification.
PAYLOAD_INLINE_BYTES: Final = 16 * 1024
#: A client ships more as a file: ZooKeeper holds the specifications of all waiting tasks.
BINARIES_MAX: Final = 16
#: Architectures of one task's program.
VALUE_BYTES_MAX: Final = 8 * 1024
#: That a kind of task returns with the result, as little as output; more comes back as a file.

# --- retries and dependencies ----------------------------------------------------------------------------
RETRIES_MAX: Final = 1000
RETRY_DELAY_S_MAX: Final = 86_400.0
DEPENDENCIES_MAX: Final = 100
#: Of one task, direct ones.

# --- arrays ----------------------------------------------------------------------------------------------
ARRAY_TASKS_MAX: Final = 10_000_000
ARRAY_STRIDES_MAX: Final = 1000
#: Ranges that one array's indexes are written with; more is a file of inputs.
ARRAY_WINDOW: Final = 2000
#: Children of one array that are in the table without a result.
ARRAY_CHUNK: Final = 1000
#: Positions whose states, and whose inputs, share a node.
ARRAY_INPUT_BYTES_MAX: Final = 16 * 1024
#: Of one input line.
ARRAY_INPUTS_BYTES_MAX: Final = 64 * 1024 * 1024
#: Of one array's inputs; ZooKeeper holds them until the array is over.
ARRAYS_MAX: Final = 10_000
#: Arrays in the table.
ARRAYS_INPUTS_BYTES_MAX: Final = 256 * 1024 * 1024
#: Of all arrays: ZooKeeper and the leader's memory hold them.
ARRAY_WINDOW_BYTES: Final = 4 * 1024 * 1024
#: Of the specifications of those children.
ARRAYS_WINDOW: Final = 100_000
#: Children of all arrays together; each of many arrays has a smaller window.
ARRAYS_KEPT_MAX: Final = 1000
#: Finished arrays beyond these go before their time.
