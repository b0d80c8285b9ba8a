"""What each user may have of the cluster: a weight, and bounds on what he reserves and lets wait.

Values only. Whose turn it is decides the broker's ``alb_broker.core.queue``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from alb_core import limits

WEIGHT_MIN: Final = 0.001
WEIGHT_MAX: Final = 1000.0
#: A thousand times more or less than others is as good as all, and as nothing.
CPUS_MIN: Final = 0.001
#: Less, and no task could ever run: to stop a user, hold his tasks.


class Share(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What one user may have. None: what the default says.

    People write it by hand: a misspelt field must be found, not ignored.
    """

    weight: float | None = None
    #: He is entitled to so many times what a user of weight 1 gets; nobody says: 1.
    cpus_max: float | None = None
    #: Processors that his running tasks reserve together; what is beyond waits.
    memory_bytes_max: int | None = None
    #: And memory.
    tasks_max: int | None = None
    #: Of his in the table without a result, an array counting as one; a further submission has to wait.


NO_SHARE: Final = Share()


class SharesNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``/config/shares``: what users may have, by name, and what those may have who are not named."""

    users: dict[str, Share] = {}
    default: Share = NO_SHARE

    def of(self, user: str) -> Share:
        """Return what is in force for a user."""
        own = self.users.get(user)
        if own is None:
            return self.default
        chosen = {
            name: value if (value := getattr(own, name)) is not None else getattr(self.default, name)
            for name in Share.__struct_fields__
        }
        return Share(**chosen)

    def changed(self, user: str, share: Share | None) -> SharesNode:
        """Return the node with another share of a user (empty: of all not named), or without (None)."""
        if not user:
            return SharesNode(users=self.users, default=share or NO_SHARE)
        users = {name: kept for name, kept in self.users.items() if name != user}
        if share is not None:
            users[user] = share
        return SharesNode(users=dict(sorted(users.items())), default=self.default)


NO_SHARES: Final = SharesNode()


def check_share(share: Share) -> str:
    """Return what is wrong with a share, as a sentence; empty: nothing."""
    weight, cpus = share.weight, share.cpus_max
    if weight is not None and not WEIGHT_MIN <= weight <= WEIGHT_MAX:
        return f"the weight {weight:g} is not between {WEIGHT_MIN:g} and {WEIGHT_MAX:g}"
    if cpus is not None and not CPUS_MIN <= cpus < 1e9:
        return (
            f"the bound of {cpus:g} cpus is not between {CPUS_MIN:g} and 1e9; to stop a user, hold his tasks"
        )
    for name, value in (("memory_bytes_max", share.memory_bytes_max), ("tasks_max", share.tasks_max)):
        if value is not None and not 0 <= value < 2**62:
            return f"{value} is no {name}: it is 0 or more, and less than 2^62"
    return ""


def check_user(user: str) -> str:
    """Return what is wrong with a user's name, as a sentence; empty: nothing."""
    if not user or len(user) > limits.USER_LENGTH_MAX or not user.isprintable():
        return f"the user name {user[: limits.USER_LENGTH_MAX]!r} is empty, too long or not printable"
    return ""


def check_shares(node: SharesNode) -> str:
    """Return what is wrong with what a node holds, as a sentence; empty: nothing."""
    wrong = check_share(node.default)
    for user, share in node.users.items():
        wrong = wrong or check_user(user) or check_share(share)
    return wrong
