"""Suspended stages and sleep, decided: checks by interval and limit, a budget for those that throw, no hidden stage."""

from __future__ import annotations

import pytest

from kernel.core import commands as c
from kernel.core.codec import inline
from kernel.core.definition import PollPolicy
from kernel.core.draft import Stale
from kernel.core.events import StageChecked
from tests.core.pure import CHAIN, MINUTE, NO_CHAIN, NOW, Run, check_at, node, not_ready, oops, waiting


def test_a_suspended_stage_is_checked_after_its_interval() -> None:
    run = waiting()
    assert (check_at(run), run.state.stages["a"].give_up_at) == (NOW + MINUTE, NOW + 10 * MINUTE)


def test_a_check_that_is_not_ready_sets_the_next_one_and_reports_progress() -> None:
    run = waiting()
    assert not_ready(run, progress=0.5) == ["StageChecked a"]
    assert check_at(run) == NOW + 2 * MINUTE
    assert run.state.stages["a"].progress == 0.5
    not_ready(run)
    assert run.state.stages["a"].progress == 0.5, "a check that says nothing takes nothing back"


def test_the_last_check_is_at_the_limit_and_then_it_fails() -> None:
    run = Run(node("a", poll=PollPolicy(every=4 * MINUTE, limit=10 * MINUTE)))
    run.begin(CHAIN)
    run.do(c.Suspend("a", run.seq("a"), inline(b"{}")))
    not_ready(run)
    not_ready(run)
    assert check_at(run) == NOW + 10 * MINUTE
    assert not_ready(run) == ["StageFailed a", "RunFailed"]
    assert run.state.error is not None
    assert (run.state.error.category, run.state.error.kind) == ("limit", "WaitLimitReached")


def test_a_stage_that_is_ready_at_the_limit_completes() -> None:
    run = waiting()
    for _ in range(9):
        not_ready(run)
    run.now = check_at(run)
    ready = c.Ready("a", run.seq("a"), check_at(run), inline(b"{}"), NO_CHAIN)
    assert run.do(ready) == ["StageCompleted a", "RunCompleted"]


def test_checks_that_throw_have_a_budget_that_a_quiet_one_renews() -> None:
    run = waiting()
    for throws in (True, True, False, True, True):
        assert not_ready(run, throws=throws) == ["StageChecked a"]
    assert not_ready(run, throws=True) == ["StageFailed a", "RunFailed"]
    assert run.state.error is not None
    assert "threw 3 times in a row" in run.state.error.message
    assert "oops" in run.state.error.message


@pytest.mark.parametrize("ready", [True, False], ids=["ready", "not ready"])
def test_of_two_checks_at_once_the_second_is_stale(*, ready: bool) -> None:
    run = waiting()
    at = check_at(run)
    not_ready(run)
    late: c.Command = c.NotReady("a", run.seq("a"), at, None, None, NO_CHAIN)
    if ready:
        late = c.Ready("a", run.seq("a"), at, inline(b"{}"), NO_CHAIN)
    with pytest.raises(Stale):
        run.do(late)


def test_the_interval_never_reaches_past_the_limit() -> None:
    run = Run(node("a", poll=PollPolicy(every=20 * MINUTE, limit=15 * MINUTE)))
    run.begin(CHAIN)
    run.do(c.Suspend("a", run.seq("a"), inline(b"{}")))
    assert check_at(run) == NOW + 15 * MINUTE


def test_a_checks_error_is_in_the_log() -> None:
    run = waiting()
    not_ready(run, throws=True)
    (event,) = run.log[-1]
    assert isinstance(event, StageChecked)
    assert event.error == oops("a")


def test_sleep_is_stale_when_a_stage_is_ready_or_runs() -> None:
    """A sleeper that was overtaken by a commit which made a stage ready must not hide the run (invariant 2)."""
    run = Run(node("a"))
    run.begin()
    with pytest.raises(Stale):
        run.do(c.Sleep(NOW + 60 * MINUTE))
    run.claim("a")
    with pytest.raises(Stale):
        run.do(c.Sleep(NOW + 60 * MINUTE))
    with pytest.raises(Stale):
        run.do(c.Sleep(run.state.stages["a"].at))


def test_sleep_is_over_with_the_next_commit() -> None:
    run = waiting()
    run.do(c.Sleep(NOW + MINUTE))
    assert run.state.asleep == NOW + MINUTE
    not_ready(run)
    assert run.state.asleep is None
