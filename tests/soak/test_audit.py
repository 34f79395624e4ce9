"""The audit on trial: real logs of the soak's workflows pass, and each forgery of them is found, by its name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.soak.account import Account, Asked, Kind, account_of, by_run
from bench.soak.audit import audit
from bench.soak.effects import VARIABLE, effects_in
from bench.soak.workflows import Job, registry
from kernel.core.events import Closed, LeaseExpired
from kernel.core.state import RunStatus
from kernel.ports import RunRef
from kernel.testing.play import Play
from tests.soak.forgeries import FORGERIES, insert, place_of, reap_early

NOTHING = Asked()
"""Nothing but a start."""
WORKFLOWS = sorted(workflow.id for workflow in registry)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """The soak's workflows in memory; what their stages do is kept in files, as in the soak."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    play = Play(registry=registry)
    # Effects carry the machine's time: no lease must seem to be over for that.
    play.clock.move(time.time_ns() // 1_000_000 - play.clock.now())
    return play


Audited = Callable[..., Account]


@pytest.fixture
def audited(play: Play, tmp_path: Path) -> Audited:
    """Plays a run of a workflow to its end and gives its account."""

    def audited(workflow: str = "line", asked: Asked = NOTHING) -> Account:
        ref = play.start(registry.latest(workflow), Job(seed=7, calm=True))
        play.play([ref])
        return account(play, ref, tmp_path, asked)

    return audited


def account(play: Play, ref: RunRef, folder: Path, asked: Asked = NOTHING) -> Account:
    return account_of(play.env, ref, asked, by_run(effects_in(folder)).get(ref.run, ()))


def found(account: Account) -> list[tuple[Kind, str]]:
    return [(finding.kind, finding.text) for finding in audit(account)]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_nothing_is_found_in_a_run_as_it_was(audited: Audited, workflow: str) -> None:
    seen = audited(workflow)

    assert found(seen) == []
    assert seen.effects


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forgery_is_found_and_called_by_its_name(audited: Audited, forgery: str) -> None:
    workflow, forge, kind, words = FORGERIES[forgery]
    seen = audited(workflow)

    forge(seen)

    assert [each for each in found(seen) if each[0] == kind and words in each[1]], found(seen)


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        (Asked(created=2), "doubled", "2 answers said that they had created it"),
        (Asked(cancels=1), "lost", "a cancel was accepted"),
        (Asked(reopens=1), "lost", "1 retries or reruns were accepted, 0 are recorded"),
    ],
    ids=["created-twice", "cancel", "retry"],
)
def test_what_was_accepted_must_be_in_the_log(audited: Audited, asked: Asked, kind: Kind, words: str) -> None:
    assert [each for each in found(audited("line", asked)) if each[0] == kind and words in each[1]]


def test_a_run_that_nobody_attends_is_stuck(play: Play, tmp_path: Path) -> None:
    ref = play.start(registry.latest("fan"), Job(seed=7, calm=True))

    assert [kind for kind, _ in found(account(play, ref, tmp_path))] == ["stuck"]


def test_a_log_that_cannot_be_read_is_lost(play: Play, tmp_path: Path) -> None:
    ref = play.start(registry.latest("line"), Job(seed=7, calm=True))
    play.play([ref])
    play.store.delete(ref, "log#0000000002")

    assert [kind for kind, _ in found(account(play, ref, tmp_path))] == ["lost"]


def test_cancelled_and_reopened_runs_pass_with_what_was_accepted_of_them(play: Play, tmp_path: Path) -> None:
    cancelled = play.start(registry.latest("wait"), Job(seed=7, calm=True))
    play.step()
    play.cancel(cancelled)
    reopened = play.start(registry.latest("booking"), Job(seed=7, calm=True))
    play.play([cancelled, reopened])
    play.rerun(reopened, "pay")
    play.play([reopened])

    assert found(account(play, cancelled, tmp_path, Asked(cancels=1))) == []
    assert found(account(play, reopened, tmp_path, Asked(reopens=1))) == []


def test_runs_full_of_trouble_pass_too(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the soak's stages do of themselves is no finding: retries, failures for good, compensation."""
    monkeypatch.setattr("bench.soak.workflows.time.sleep", lambda _seconds: None)
    refs = [play.start(registry.latest(id_), Job(seed=seed)) for id_ in WORKFLOWS for seed in range(12)]
    play.play(refs)

    statuses = {account(play, ref, tmp_path).state.status for ref in refs}  # type: ignore[union-attr]  # they are there
    assert statuses == {RunStatus.COMPLETED, RunStatus.FAILED}
    assert [found(account(play, ref, tmp_path)) for ref in refs] == [[]] * len(refs)


def test_a_closed_log_is_no_finding(audited: Audited) -> None:
    """``Closed`` takes the number of a commit that never came: nothing happens by it."""
    seen = audited("line")
    insert(seen, len(seen.log), Closed())

    assert found(seen) == []


def handed_back(seen: Account, by: str) -> Account:
    """The second stage's attempt is ended before its time, and another one started, both by this one."""
    reap_early(seen)
    place, _ = place_of(seen, LeaseExpired, "b")
    seen.log[place] = replace(seen.log[place], by=by)
    return seen


def test_a_worker_that_was_told_to_stop_may_hand_back_its_own(audited: Audited) -> None:
    seen = audited("line")
    seen.log = [replace(entry, by="worker:a") for entry in seen.log]
    seen.stopped = frozenset({"worker:a", "worker:b"})

    assert found(handed_back(seen, "worker:a")) == []


@pytest.mark.parametrize(
    ("by", "stopped"),
    [("worker:a", ()), ("worker:b", ("worker:a", "worker:b")), ("tick", ("worker:a", "worker:b"))],
    ids=["not-told-to-stop", "another's", "the-tick"],
)
def test_nobody_else_may_end_a_lease_before_its_time(audited: Audited, by: str, stopped: tuple[str, ...]) -> None:
    seen = audited("line")
    seen.log = [replace(entry, by="worker:a") for entry in seen.log]
    seen.stopped = frozenset(stopped)

    (kind, text), *rest = found(handed_back(seen, by))

    assert (kind, rest) == ("broken", [])
    assert text.startswith("timers-are-not-early: LeaseExpired b")
