"""Reopening, decided (R8): what is taken back, what is used again, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernel.core import commands as c
from kernel.core.draft import Stale
from kernel.core.events import RunReopened
from kernel.core.state import RunStatus, StageStatus
from kernel.errors import Conflict, NotFound
from tests.core.pure import DAY, IDENTITY, NO_CHAIN, NOW, PROCEED, Run, node, oops
from tests.core.test_endings import failed_at_c, line

LATER = NOW + DAY // 2


def failed_at_b() -> Run:
    """``b`` has failed for good; nothing was undone."""
    run = Run(node("a"), node("b", "a"), node("c", "b"), node("x", "a"))
    run.begin()
    run.through("a", "x")
    run.fail_for_good("b")
    return run


def reopened(run: Run, stage: str = "", deadline: int = LATER) -> tuple[tuple[str, ...], list[str]]:
    """What was taken back, and what is ready now."""
    run.do(c.Reopen(stage, deadline, "why"))
    event = run.log[-1][0]
    assert isinstance(event, RunReopened)
    return event.reset, [id_ for id_ in run.state.active if run.state.stages[id_].status is StageStatus.SCHEDULED]


def test_retry_runs_the_failed_stage_again_and_keeps_what_was_done() -> None:
    run = failed_at_b()
    assert reopened(run) == (("b",), ["b"])
    assert (run.state.generation, run.state.deadline) == (1, LATER)
    run.through("b", "c")
    assert run.state.status is RunStatus.COMPLETED


def test_attempts_are_counted_anew_in_a_new_generation() -> None:
    run = failed_at_b()
    reopened(run)
    run.claim("b")
    assert run.state.stages["b"].attempt == 1


def test_rerun_takes_back_the_stage_and_what_depends_on_it() -> None:
    run = Run(node("a"), node("b", "a"), node("c", "b"), node("x", "a"))
    run.begin()
    run.through("a", "b", "c", "x")
    assert reopened(run, "b") == (("b", "c"), ["b"])


def test_retry_does_again_what_was_undone() -> None:
    run = failed_at_c()
    run.through("compensate:b", "compensate:a")
    reset, ready = reopened(run)
    assert set(reset) == {"a", "b", "c", "compensate:a", "compensate:b"}
    assert ready == ["a"]


def test_rerun_below_what_was_undone_is_refused() -> None:
    run = failed_at_c()
    run.through("compensate:b", "compensate:a")
    with pytest.raises(Conflict, match="'b', which it depends on, has no output"):
        run.do(c.Reopen("c", LATER, ""))


@pytest.mark.parametrize("stage", ["b", "c"])
def test_rerun_below_what_never_ran_or_failed_is_refused(stage: str) -> None:
    run = Run(node("a"), node("b", "a"), node("c", "b"))
    run.begin()
    run.fail_for_good("a")
    with pytest.raises(Conflict, match="has no output"):
        run.do(c.Reopen(stage, LATER, ""))


def test_rerun_below_what_was_allowed_to_fail_sees_the_failure_again() -> None:
    run = Run(node("a", on_failure=PROCEED), node("b", "a"))
    run.begin()
    run.fail_for_good("a")
    run.through("b")
    assert reopened(run, "b") == (("b",), ["b"])


def test_retry_does_not_run_again_what_was_allowed_to_fail_nor_what_saw_that() -> None:
    """The run failed elsewhere, and what completed upstream of that is used again (R8)."""
    run = Run(node("a", on_failure=PROCEED), node("b", "a"), node("c", "b"))
    run.begin()
    run.fail_for_good("a")
    run.through("b")
    run.fail_for_good("c")
    assert reopened(run) == (("c",), ["c"])


def test_rerun_of_a_cancelled_run_also_runs_what_was_cut_off() -> None:
    run = Run(node("a"), node("b", "a"), node("c", "a"))
    run.begin()
    run.through("a")
    run.claim("b")
    run.do(c.Cancel(""))
    reset, ready = reopened(run, "c")
    assert set(reset) == {"b", "c"}
    assert set(ready) == {"b", "c"}


def test_a_run_that_failed_before_it_began_can_be_retried() -> None:
    run = Run(node("a"), node("b", "a"))
    run.do(c.Expire(run.state.deadline))
    assert reopened(run) == ((), ["a"])


REFUSED: dict[str, tuple[Callable[[], Run], c.Reopen, type[Exception], str]] = {
    "unknown stage": (failed_at_b, c.Reopen("nope", LATER, ""), NotFound, "no stage 'nope'; it has a, b, c, x"),
    "a compensation": (failed_at_c, c.Reopen("compensate:a", LATER, ""), Conflict, "only a finished run"),
    "still running": (line, c.Reopen("a", LATER, ""), Conflict, "only a finished run"),
    "expires too soon": (failed_at_b, c.Reopen("", IDENTITY.expires + 1, ""), Conflict, "expires before"),
}


@pytest.mark.parametrize(("given", "command", "error", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_run_again_is_refused(
    given: Callable[[], Run], command: c.Reopen, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        given().do(command)


def test_only_a_failed_run_can_be_retried() -> None:
    run = Run(node("a"))
    run.begin()
    run.through("a")
    with pytest.raises(Conflict, match="only a failed run can be retried"):
        run.do(c.Reopen("", LATER, ""))


def test_what_an_attempt_of_an_older_generation_says_is_stale() -> None:
    run = Run(node("a"), node("b", "a"))
    run.begin()
    run.claim("a")
    old = run.seq("a")
    run.do(c.Cancel(""))
    reopened(run, "a")
    run.claim("a")
    with pytest.raises(Stale):
        run.do(c.Fail("a", old, oops("a"), True, 0.0, NO_CHAIN))
