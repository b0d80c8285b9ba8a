"""Where threads wait for a future: the condition of `concurrent.futures`, made when the first of them waits.

A condition of the standard library is seven containers besides its lock. Most futures of thousands are done
before anybody waits for them, and as long as they live the collector of cycles walks over all of it again and
again: that was a fifth of a client's time.
"""

from __future__ import annotations

import threading


class Latch:
    """As much of a `threading.Condition` as `concurrent.futures.Future` asks for."""

    __slots__ = ("_condition", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._condition: threading.Condition | None = None
        #: Of this lock; None: nobody has waited yet.

    def acquire(self) -> bool:
        """Take the lock, once more where this thread has it."""
        return self._lock.acquire()

    def release(self) -> None:
        """Give the lock back, as often as it was taken."""
        self._lock.release()

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Leave the lock, which this thread has, until somebody notifies; then take it again.

        Args:
            timeout: Seconds; None: for ever.

        Returns:
            Whether somebody notified in time.
        """
        if self._condition is None:
            self._condition = threading.Condition(self._lock)
        return self._condition.wait(timeout)

    def notify_all(self) -> None:
        """Wake all who wait. This thread has the lock."""
        if self._condition is not None:
            self._condition.notify_all()
