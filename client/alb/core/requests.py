"""Questions and cancellations: each is sent again until it is answered, or nobody waits for it any more."""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from alb.core import actions
from alb.core.actions import ClientAction
from alb.core.events import Query
from alb_core.arrays import Stride
from alb_core.messages import Cancel, CancelNoted, ClientMessage, ToClient

ASK_AGAIN_S: Final = (1.0, 8.0)
#: The first pause before a request is sent again, and the longest after doubling.


class Asked(msgspec.Struct, kw_only=True):
    """One request that awaits its answer."""

    message: ClientMessage
    tokens: list[int]
    #: Who waits; several may cancel the same task.
    send_at: float = 0.0
    pause_s: float = ASK_AGAIN_S[0]


class Requests:
    """Keeps every request that is not answered."""

    def __init__(self) -> None:
        self._seq = 0
        self._queries: dict[int, Asked] = {}
        #: By sequence number.
        self._cancels: dict[str, Asked] = {}
        #: By task.
        self._cancel_next: dict[str, deque[Asked]] = {}
        #: Of arrays, whose parts are cancelled one after another: the answer names only the array.

    def next_seq(self) -> int:
        """Return a number that no request of this client had."""
        self._seq += 1
        return self._seq

    def ask(self, at: float, token: int, query: Query, link: int, out: list[ClientAction]) -> None:
        """Send a query."""
        seq = self.next_seq()
        asked = Asked(message=msgspec.structs.replace(query, seq=seq), tokens=[token])
        self._queries[seq] = asked
        self._send(at, asked, link, out)

    def cancel(  # noqa: PLR0913, PLR0917 (what a cancellation is, and where it goes)
        self,
        at: float,
        token: int,
        task_id: str,
        strides: tuple[Stride, ...],
        link: int,
        out: list[ClientAction],
    ) -> None:
        """Send a cancellation; the same one only once, and other parts of an array after that."""
        message = Cancel(id=task_id, strides=strides)
        asked = self._cancels.get(task_id)
        if asked is None:
            asked = self._cancels[task_id] = Asked(message=message, tokens=[token])
            self._send(at, asked, link, out)
        elif asked.message == message:
            asked.tokens.append(token)
        else:
            waiting = self._cancel_next.setdefault(task_id, deque())
            waiting.append(Asked(message=message, tokens=[token]))

    @staticmethod
    def _send(at: float, asked: Asked, link: int, out: list[ClientAction]) -> None:
        if link:
            asked.send_at = at + asked.pause_s
            asked.pause_s = min(asked.pause_s * 2, ASK_AGAIN_S[1])
            out.append(actions.Send(link, asked.message))

    def on_welcome(self, at: float, link: int, out: list[ClientAction]) -> None:
        """Ask a new leader everything that is not answered."""
        for asked in (*self._cancels.values(), *self._queries.values()):
            asked.pause_s = ASK_AGAIN_S[0]
            self._send(at, asked, link, out)

    def on_tick(self, at: float, link: int, out: list[ClientAction]) -> None:
        """Send again what is due."""
        if not link:
            return
        for asked in (*self._cancels.values(), *self._queries.values()):
            if at >= asked.send_at:
                self._send(at, asked, link, out)

    def is_cancelling(self, task_id: str) -> bool:
        """Tell whether a cancellation of the task is not answered."""
        return task_id in self._cancels

    def on_cancelled(self, task_id: str, answer: ToClient | None, out: list[ClientAction]) -> None:
        """Answer all who cancelled a task.

        Args:
            task_id: The task.
            answer: What the leader said; None: it has ended, which is what they wanted.
            out: Takes the actions.
        """
        asked = self._cancels.pop(task_id, None)
        if asked is not None:
            message = CancelNoted(id=task_id) if answer is None else answer
            out.extend(actions.AnswerQuery(token, message) for token in asked.tokens if token)
        waiting = self._cancel_next.get(task_id)
        if waiting:
            self._cancels[task_id] = waiting.popleft()  # the next tick sends it
        else:
            self._cancel_next.pop(task_id, None)

    def on_answer(self, seq: int, message: ToClient, out: list[ClientAction]) -> None:
        """Pass an answer on, once."""
        asked = self._queries.pop(seq, None)
        if asked is not None:
            out.extend(actions.AnswerQuery(token, message) for token in asked.tokens)

    def abandon(self, token: int) -> None:
        """Forget a query; a cancellation is still delivered."""
        for seq, asked in self._queries.items():
            if token in asked.tokens:
                del self._queries[seq]
                return
        for asked in self._cancels.values():
            if token in asked.tokens:
                asked.tokens.remove(token)
