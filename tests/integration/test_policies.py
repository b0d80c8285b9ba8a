"""Policies on a real cluster: chosen, tried, taken back; somebody else's; one that raises, an endless one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import alb, wait_for
from tests.plug_ins import install
from tests.source_tree import ROOT

from alb import Client
from alb.local.cluster import LocalCluster, Plan
from alb_core.messages import PolicyLine

EXAMPLE = ROOT / "examples/policies/sticky"
MISBEHAVING = """
def rude(task, candidates, context):
    '''Raise, whatever is asked.'''
    raise KeyError("no idea")

def endless(task, candidates, context):
    '''Never come to an end.'''
    while True:
        pass
"""


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of two workers whose broker has the example's policy, and three that are of no use."""
    target = tmp_path_factory.mktemp("site")
    (target / "misbehaving.py").write_text(MISBEHAVING)
    more = {"rude": "misbehaving:rude", "endless": "misbehaving:endless", "absent": "no_such_module:choose"}
    install(EXAMPLE, target, more)
    plan = Plan(brokers=1, workers=2, cpus=4.0, environ={"PYTHONPATH": str(target)})
    with LocalCluster(tmp_path_factory.mktemp("plugged") / "cluster", plan) as running:
        yield running


def chosen_by(client: Client, *, name: str = "") -> tuple[str, str]:
    """Run a task; returns the policy that placed it, and the worker."""
    future = client.submit("true", name=name)
    assert future.result(60).exit_status == 0
    (attempt,) = client.task(future.id).attempts
    return attempt.policy, attempt.worker


def test_a_policy_of_somebody_elses(plugged: LocalCluster) -> None:
    """It is listed with its distribution, chosen on the live cluster, and places as it promises."""
    listed = alb(plugged, "policy", "list")
    (line,) = [line for line in listed.stdout.splitlines() if line.split()[:1] == ["sticky"]]
    assert "alb-policy-sticky 1.0.0" in line
    assert "The worker that ran tasks of the same name before" in line
    assert "absent" not in listed.stdout
    assert '"policy_unusable"' in plugged["b1"].log.read_text()
    ran = alb(plugged, "policy", "set", "sticky", "by=name")
    assert (ran.returncode, ran.stdout) == (0, "sticky by=name (before: least-loaded)\n"), ran.stderr
    with Client(zk=plugged.zk) as client:
        placed = {
            name: {chosen_by(client, name=name) for _ in range(4)} for name in ("a", "b", "c", "d", "e")
        }
    assert all(len(where) == 1 for where in placed.values())
    assert {policy for where in placed.values() for policy, _ in where} == {"sticky"}
    assert {worker for where in placed.values() for _, worker in where} == {"w1", "w2"}
    shown = alb(plugged, "policy", "show").stdout
    assert "sees      16 workers with room at most" in shown
    assert "given     by=name" in shown
    assert "placed, after" in shown
    refused = alb(plugged, "policy", "set", "sticky", "by=colour")
    assert (refused.returncode, "by is name or command" in refused.stderr) == (125, True), refused.stderr


def line_of(client: Client, policy: str) -> PolicyLine:
    """Return how one policy stands."""
    (line,) = [line for line in client.policies().policies if line.name == policy]
    return line


@pytest.mark.parametrize(
    ("policy", "error"), [("rude", "KeyError: 'no idea'"), ("endless", "PolicyTooSlow: it took more than")]
)
def test_one_that_fails_is_replaced_and_seen(plugged: LocalCluster, policy: str, error: str) -> None:
    """Tasks go on, placed by the default; everybody who looks sees what is wrong, until another is chosen."""
    assert alb(plugged, "policy", "set", policy).returncode == 0
    with Client(zk=plugged.zk) as client:
        assert [chosen_by(client)[0] for _ in range(3)] == ["least-loaded"] * 3
        page = client.policies()
        assert (page.in_force.policy, error in page.why) == (policy, True), page.why
        line = line_of(client, policy)
        assert 1 <= line.failures <= line.calls
        wait_for(
            lambda: line_of(client, policy).us_per_call > 0, "what a call takes, which is told each tick"
        )
    assert error in alb(plugged, "policy", "show").stdout
    status = alb(plugged, "status").stdout
    assert f"policy   {policy}\n         {policy} failed" in status
    assert error in plugged["b1"].log.read_text()
    assert alb(plugged, "policy", "set", "least-loaded").returncode == 0
    assert "failed" not in alb(plugged, "status").stdout


def test_a_choice_is_tried_kept_and_taken_back(plugged: LocalCluster) -> None:
    """A try ends by itself, under the next leader too; a rollback goes to the one before; all is noted."""
    assert alb(plugged, "policy", "set", "uniform").returncode == 0
    ran = alb(plugged, "policy", "try", "weighted", "cpu=1", "memory=0", "--for", "10s")
    assert ran.stdout.startswith("weighted cpu=1 memory=0 until "), ran.stderr
    assert "then uniform again" in ran.stdout
    plugged["b1"].kill()
    plugged["b1"].start()
    with Client(zk=plugged.zk) as client:
        wait_for(lambda: client.policies().in_force.policy == "uniform", "the try to end")
        assert chosen_by(client)[0] == "uniform"
    assert "nothing to go back to" in alb(plugged, "policy", "rollback").stderr
    assert alb(plugged, "policy", "set", "spread").stdout == "spread (before: uniform)\n"
    assert alb(plugged, "policy", "rollback").stdout == "uniform (before: spread)\n"
    assert alb(plugged, "policy").stdout == "uniform\n"
    history = json.loads(alb(plugged, "policy", "history", "--json").stdout)
    assert [change["how"] for change in history[:4]] == ["rollback", "set", "ended", "try"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("uniform",), "to place by it: alb policy set uniform"),
        (("set",), "write `alb policy set NAME [K=V…]`"),
        (("set", "uniform", "cpu"), "'cpu' is no parameter"),
        (("set", "uniform", "--for", "10m"), "--for is how long a try lasts"),
        (("list", "all"), "one word too many"),
        (("show", "fanciful"), "known: best-fit, endless, fastest, least-loaded"),
        (("try", "uniform", "--for", "9d"), "a week"),
        (("try", "uniform", "--for", "0"), "a try ends by itself"),
        (("set", "fanciful"), "there is no policy 'fanciful'"),
    ],
)
def test_what_makes_no_sense_is_told(plugged: LocalCluster, words: tuple[str, ...], part: str) -> None:
    """In one sentence, with what to write instead."""
    ran = alb(plugged, "policy", *words)
    assert ran.returncode == 125
    assert part in ran.stderr


def test_a_package_is_installed_while_brokers_go_on(tmp_path: Path) -> None:
    """The standby first, as the page says: who looks hears where the policy is, and why it has to wait."""
    target = tmp_path / "site"
    target.mkdir()
    plan = Plan(brokers=2, workers=1, cpus=1.0, environ={"PYTHONPATH": str(target)})
    with LocalCluster(tmp_path / "cluster", plan) as running:
        leads = running.wait_for_leader().broker
        (other,) = {"b1", "b2"} - {leads}
        install(EXAMPLE, target, {})
        running[other].stop()
        running[other].start()
        told = f"sticky, of alb-policy-sticky 1.0.0, is on {other}, but not on {leads}, which leads"
        wait_for(lambda: told in alb(running, "policy", "list").stderr, "the other broker to be known")
        refused = alb(running, "policy", "try", "sticky")
        assert (refused.returncode, f"which leads; on {other} it is" in refused.stderr) == (125, True)
        assert f"({other} has it)" in alb(running, "policy", "show", "sticky").stderr
        running[leads].stop()
        running[leads].start()
        tried = alb(running, "policy", "try", "sticky", "--for", "1h")
        assert tried.returncode == 0, tried.stderr
        looked = alb(running, "policy")
        assert looked.stdout == "sticky\n"
        assert "it is tried until " in looked.stderr
        assert "then least-loaded again" in looked.stderr
        assert "sticky, of" not in alb(running, "policy", "list").stderr
