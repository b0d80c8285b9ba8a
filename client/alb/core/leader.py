"""Which broker we talk to: the search for the leader, the link to it, and the fence against older ones.

It knows nothing of tasks. While it searches it asks two sources at once, ZooKeeper and the brokers it has
heard of; the first leader that says Welcome ends the search. So a client that knows one living broker gets by
without ZooKeeper, and one that knows none needs ZooKeeper only for a moment.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from alb.core import actions, notices
from alb.core.actions import ClientAction
from alb_core.draws import Draws
from alb_core.limits import HEARTBEAT_S, MISSED_HEARTBEATS, RESEND_S
from alb_core.messages import Goodbye, Hello, Welcome
from alb_core.znodes import BrokerNode, LeaderNode

OPEN_PATIENCE_S: Final = 1.0
#: A link that is not connected by then leads to nobody: a living broker answers TCP in milliseconds.
TRY_PAUSE_S: Final = (0.1, 1.0)
#: Between two rounds over the known brokers: the first pause, and the longest after doubling.
LOOK_UP_PAUSE_S: Final = (0.2, 2.0)
#: Between two reads of ZooKeeper, which cost it a session each.
AWAITED_S: Final = 1.0
#: What a search that takes longer waits for is told: a new leader is found within milliseconds.
HOPS_MAX: Final = 4
#: Standbys that point at each other are not followed for ever.


class LeaderLink:
    """The one link of requests, and the search for where it should lead.

    Args:
        user: Whose tasks we submit.
        client: ``host:pid``, for people.
        seed: For the spread of pauses, so that a thousand clients do not knock together.
        zookeeper: The servers, for people.
    """

    def __init__(self, user: str, client: str, seed: int, zookeeper: str = "") -> None:
        self._hello = Hello(user=user, client=client)
        self._draws = Draws(seed)
        self._zookeeper = f"ZooKeeper ({zookeeper})" if zookeeper else "ZooKeeper"
        self._links = 0
        #: The number of the newest link of either kind.
        self.link = 0
        #: The link of requests; 0: none.
        self.output_link = 0
        #: The link of output; 0 until a leader welcomed us.
        self.endpoint = ""
        self.broker = ""
        #: Name of the last leader that welcomed us.
        self.welcomed = False
        #: Whether the broker at the other end leads, as far as we know. Implies a link.
        self.epoch = 0
        #: The highest that we heard of, within `table`.
        self.table = ""
        self._heartbeat_s = HEARTBEAT_S
        self._opened = False
        self._linked_at = 0.0
        self._heard_at = 0.0
        self._hello_at = 0.0
        self._searching_since: float | None = None
        #: None: not searching, or not yet begun.
        self._awaited_told = False
        #: It was said what this search waits for.
        self._led = True
        #: Somebody leads, as far as ZooKeeper said at last; False: nobody does.
        self._greeted_before = False
        self.known: tuple[str, ...] = ()
        #: Request endpoints of all brokers, as ZooKeeper or the last leader gave them.
        self._round: deque[str] = deque()
        #: Endpoints that this round over the brokers still has to try.
        self._hops = 0
        self._try_at = 0.0
        self._try_pause_s = TRY_PAUSE_S[0]
        self._refused: tuple[str, float] = ("", -1.0)
        #: The endpoint that last refused us, and until when it is left alone.
        self._looking_up = False
        self._look_up_at = 0.0
        self._look_up_pause_s = LOOK_UP_PAUSE_S[0]

    # --- the fence ----------------------------------------------------------------------------------------

    def is_stale(self, epoch: int, table: str) -> bool:
        """Tell whether a frame with these marks comes from the past, or from another table than ours."""
        return table == self.table and epoch < self.epoch

    def _observe(self, epoch: int, table: str, out: list[ClientAction]) -> None:
        """Raise our epoch; another table starts its own count."""
        if table != self.table:
            if self.table:
                out.append(actions.Tell(notices.TableReplaced(before=self.table, now=table)))
            self.table, self.epoch = table, epoch
        else:
            self.epoch = max(self.epoch, epoch)

    # --- the search ---------------------------------------------------------------------------------------

    def lose(
        self,
        at: float,
        why: str,
        out: list[ClientAction],
        *,
        first: str = "",
        since: float | None = None,
    ) -> None:
        """Give up the broker that we talk to and look for the leader.

        Args:
            at: Now.
            why: For the person.
            out: Takes the actions.
            first: An endpoint to try before all others.
            since: When it was gone already; None: now.
        """
        if self.welcomed:
            out.append(actions.Tell(notices.LeaderLost(broker=self.broker, epoch=self.epoch, why=why)))
        lost = self.endpoint
        self._leave(out)
        if self._searching_since is None:
            self._searching_since = at if since is None else since
            self._awaited_told = False
            self._try_pause_s, self._look_up_pause_s = TRY_PAUSE_S[0], LOOK_UP_PAUSE_S[0]
            self._look_up_at = at
        self._hops = 0
        others = [endpoint for endpoint in self.known if endpoint not in (lost, first)]
        turn = self._draws.below(len(others)) if others else 0
        self._round = deque([*others[turn:], *others[:turn], *((lost,) if lost and lost != first else ())])
        if first:
            self._round.appendleft(first)
        self._try_at = at
        self._look_up(at, out)
        self._try_next(at, out)

    def _leave(self, out: list[ClientAction]) -> None:
        if self.output_link:
            out.append(actions.Disconnect(self.output_link))
        if self.link:
            out.append(actions.Disconnect(self.link))
        self.link = self.output_link = 0
        self.endpoint = ""
        self.welcomed = False

    def _look_up(self, at: float, out: list[ClientAction]) -> None:
        if self._looking_up or at < self._look_up_at:
            return
        self._looking_up = True
        out.append(actions.LookUp())

    def _look_up_later(self, at: float) -> None:
        self._look_up_at = at + self._spread(self._look_up_pause_s)
        self._look_up_pause_s = min(self._look_up_pause_s * 2, LOOK_UP_PAUSE_S[1])

    def _try_next(self, at: float, out: list[ClientAction]) -> None:
        """Try the next broker; after the last one, pause and begin another round."""
        self._leave(out)
        if at < self._try_at:
            return
        if self._round:
            self._connect(at, self._round.popleft(), out)
            return
        self._try_at = at + self._spread(self._try_pause_s)
        self._try_pause_s = min(self._try_pause_s * 2, TRY_PAUSE_S[1])
        self._round = deque(self.known)
        self._hops = 0

    def _connect(self, at: float, endpoint: str, out: list[ClientAction]) -> None:
        self._leave(out)
        self._links += 1
        self.link, self.endpoint = self._links, endpoint
        self._opened = False
        self._linked_at = self._heard_at = at
        out.append(actions.Connect(self.link, endpoint))

    def _spread(self, pause_s: float) -> float:
        """Return a pause between half of and the whole of the one given."""
        return pause_s * (0.5 + self._draws.below(1024) / 2048)

    # --- what happens -------------------------------------------------------------------------------------

    def on_leader_found(
        self, at: float, leader: LeaderNode | None, brokers: tuple[BrokerNode, ...], out: list[ClientAction]
    ) -> None:
        """Take what ZooKeeper says, unless it is older than what we know."""
        self._looking_up = False
        self._look_up_later(at)
        if brokers:
            self.known = tuple(broker.clients for broker in brokers)
        if self.welcomed:
            if leader is None or leader.table != self.table or leader.epoch <= self.epoch:
                return
            self.lose(at, f"{leader.broker} took over", out, first=leader.clients, since=self._heard_at)
            return
        self._led = leader is not None and not self.is_stale(leader.epoch, leader.table)
        if leader is None or not self._led:
            out.append(actions.Tell(notices.NobodyLeads(brokers=len(brokers))))
            if not self.link and not self._round:
                self._round = deque(self.known)
            return
        self._observe(leader.epoch, leader.table, out)
        if self.link and self.endpoint == leader.clients:
            return
        if self._refused[0] == leader.clients and at < self._refused[1]:
            self._round.appendleft(leader.clients)
            return
        self._connect(at, leader.clients, out)

    def on_look_up_failed(self, at: float, why: str, out: list[ClientAction]) -> None:
        """Note that ZooKeeper does not answer; the known brokers are tried all the same."""
        self._looking_up = False
        self._led = True  # as far as we know
        self._look_up_later(at)
        if not self.welcomed:
            out.append(actions.Tell(notices.ZooKeeperSilent(why=why)))

    def on_opened(self, at: float, out: list[ClientAction]) -> None:
        """Greet the broker: the link is connected, or connected again."""
        self._opened = True
        self._heard_at = at
        self._greet(at, out)

    def _greet(self, at: float, out: list[ClientAction]) -> None:
        self._hello_at = at + RESEND_S
        out.append(actions.Send(self.link, self._hello))

    def on_gone(self, at: float, why: str, out: list[ClientAction]) -> None:
        """The link was closed or refused."""
        self._refused = (self.endpoint, at + TRY_PAUSE_S[0])
        if self.welcomed:
            self.lose(at, why, out)
        else:
            self._try_next(at, out)

    def on_not_leader(self, at: float, where: str, out: list[ClientAction]) -> None:
        """The broker does not lead; follow its pointer, if it has a plausible one."""
        self._hops += 1
        useful = bool(where) and where != self.endpoint and self._hops <= HOPS_MAX
        if useful and self._refused[0] == where and at < self._refused[1]:
            useful = False
        if self.welcomed:
            self.lose(at, notices.LEADS_NO_MORE, out, first=where if useful else "")
        elif useful:
            self._connect(at, where, out)
        else:
            self._try_next(at, out)

    def on_welcome(
        self, at: float, epoch: int, table: str, welcome: Welcome, out: list[ClientAction]
    ) -> bool:
        """Take a leader's greeting.

        Returns:
            Whether it is news: then everything that is under way must be sent to it.
        """
        if self.welcomed and epoch == self.epoch and table == self.table:
            return False
        self._observe(epoch, table, out)
        since, again = self._searching_since, self._greeted_before
        if self.output_link:
            out.append(actions.Disconnect(self.output_link))
        self.welcomed = self._greeted_before = True
        self._searching_since = None
        self.broker = welcome.broker
        self._heartbeat_s = welcome.heartbeat_s
        if welcome.brokers:
            self.known = welcome.brokers
        self._links += 1
        self.output_link = self._links
        out.append(actions.ConnectOutput(self.output_link, welcome.output))
        after_s = 0.0 if since is None else at - since
        out.append(
            actions.Tell(notices.LeaderGreeted(broker=self.broker, epoch=epoch, after_s=after_s, again=again))
        )
        return True

    def suspect(self, at: float, why: str, out: list[ClientAction]) -> None:
        """Ask the standbys to look at the leader, and ZooKeeper whether it leads at all."""
        others = tuple(endpoint for endpoint in self.known if endpoint != self.endpoint)
        if others:
            out.append(actions.SendSuspect(others, self.epoch, why))
        out.append(actions.Tell(notices.ProgressMissed(broker=self.broker, why=why)))
        self._look_up(at, out)

    def on_forgotten(self, at: float, out: list[ClientAction]) -> None:
        """Greet the broker again: it does not know us, and so nothing that we told it."""
        self.welcomed = False
        self._searching_since = at
        self._linked_at = self._heard_at = at
        self._greet(at, out)

    def on_heard(self, at: float) -> None:
        """Note a sign of life of the broker at the other end."""
        self._heard_at = at

    def on_tick(self, at: float, out: list[ClientAction]) -> None:
        """Notice silence, greet again, go on searching."""
        if self.welcomed:
            silent_s = at - self._heard_at
            if silent_s > MISSED_HEARTBEATS * self._heartbeat_s:
                others = tuple(endpoint for endpoint in self.known if endpoint != self.endpoint)
                if others:
                    out.append(actions.SendSuspect(others, self.epoch, f"silent for {silent_s:.1f} s"))
                self.lose(at, f"silent for {silent_s:.1f} s", out, since=self._heard_at)
            return
        if self._searching_since is None:
            self.lose(at, "", out)
            return
        self._look_up(at, out)
        self._tell_awaited(at, self._searching_since, out)
        if not self.link:
            self._try_next(at, out)
        elif not self._opened:
            if at - self._linked_at > OPEN_PATIENCE_S:
                self._try_next(at, out)
        elif at - self._heard_at > MISSED_HEARTBEATS * HEARTBEAT_S:
            self._try_next(at, out)
        elif at >= self._hello_at:
            self._greet(at, out)

    def _tell_awaited(self, at: float, since: float, out: list[ClientAction]) -> None:
        """Say what a search waits for, once it takes long."""
        if self._awaited_told or at - since < AWAITED_S:
            return
        self._awaited_told = True
        if not self._led:
            what = "a broker to lead"
        elif self.link:
            what = f"an answer of the broker at {self.endpoint}"
        else:
            what = self._zookeeper
        out.append(actions.Tell(notices.LeaderAwaited(waited_s=at - since, what=what)))

    def close(self, out: list[ClientAction]) -> None:
        """Say goodbye."""
        if self.link:
            out.append(actions.Send(self.link, Goodbye()))
        self._leave(out)
