"""What users may have: what is said of one replaces the default field by field, and nonsense is found."""

from __future__ import annotations

import pytest

from alb_core import znodes
from alb_core.shares import NO_SHARE, NO_SHARES, Share, SharesNode, check_share, check_shares, check_user

NODE = SharesNode(
    users={"ann": Share(weight=2.0, cpus_max=40.0)}, default=Share(cpus_max=8.0, tasks_max=1000)
)


def test_what_is_said_of_a_user_replaces_the_default() -> None:
    """Field by field; who is not named has the default."""
    assert NODE.of("ann") == Share(weight=2.0, cpus_max=40.0, tasks_max=1000)
    assert NODE.of("bob") == Share(cpus_max=8.0, tasks_max=1000)
    assert NO_SHARES.of("bob") == NO_SHARE


def test_a_change_leaves_the_others_alone() -> None:
    """The user named, or the default; and it can be taken back."""
    more = NODE.changed("bob", Share(weight=3.0))
    assert set(more.users) == {"ann", "bob"}
    assert more.changed("bob", None) == NODE
    assert NODE.changed("", Share(tasks_max=5)).of("ann") == Share(weight=2.0, cpus_max=40.0, tasks_max=5)
    assert NODE.changed("", None).default == NO_SHARE


def test_people_can_read_and_write_the_node() -> None:
    """Only what is said stands there; a misspelt field is refused."""
    data = b'{"users":{"ann":{"weight":2.0,"cpus_max":40.0}},"default":{"cpus_max":8.0,"tasks_max":1000}}'
    assert znodes.encode(NODE) == data
    assert znodes.decode(SharesNode, znodes.SHARES, data) == NODE
    with pytest.raises(znodes.UnreadableNode, match="wieght"):
        znodes.decode(SharesNode, znodes.SHARES, b'{"users":{"ann":{"wieght":2}}}')


@pytest.mark.parametrize(
    "wrong",
    [
        Share(weight=0.0),
        Share(weight=float("nan")),
        Share(weight=1e9),
        Share(cpus_max=0.0),
        Share(memory_bytes_max=-1),
        Share(tasks_max=-1),
    ],
)
def test_what_makes_no_sense_is_found(wrong: Share) -> None:
    """Wherever it stands."""
    assert check_share(wrong)
    assert check_shares(SharesNode(default=wrong))
    assert check_shares(SharesNode(users={"ann": wrong}))
    assert not check_shares(NODE)


def test_users_have_names() -> None:
    """As in a greeting."""
    assert check_user("")
    assert check_user("a\nb")
    assert check_user("x" * 65)
    assert not check_user("ann")
    assert check_shares(SharesNode(users={"": Share()}))
