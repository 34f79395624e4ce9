"""Failure (DESIGN 9): which errors are retried and when, what a strategy does, and what counts as a value."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.core.events import RunFailed, StageFailed, StageStarted
from kernel.core.state import StageStatus
from kernel.ports import DATA
from kernel.testing.play import Play
from onewrite import Context, Failed, PermanentError, Retry, StageTimedOut, Workflow, stage
from tests.shell.script import (
    Note,
    Script,
    commits_of,
    dies,
    events,
    fork,
    gives,
    keys_of,
    line,
    stage_of,
    state_of,
    throws,
    work,
)

STEADY = Retry(3, first=timedelta(seconds=10), factor=1.0, jitter=0.0)


def attempts(play: Play, flow: Any) -> tuple[str, int]:
    """How a run ends, and how often its stage ``a`` was started."""
    ended = play.run(flow, Note())
    return ended.status, sum(each.stage == "a" for each in events(play, ended.ref, StageStarted))


# --- retries ----------------------------------------------------------------------------------------------------------


def test_a_stage_that_throws_is_tried_again_until_it_succeeds(script: Script) -> None:
    flow = line(script.stage("a", throws(ValueError("no"), 2), retry=STEADY))
    assert attempts(Play(flow), flow) == ("completed", 3)


def test_a_stage_that_keeps_throwing_is_tried_as_often_as_its_policy_says(script: Script) -> None:
    flow = line(script.stage("a", throws(ValueError("no")), retry=STEADY))
    assert attempts(Play(flow), flow) == ("failed", 3)


def test_a_retry_comes_after_its_delay_and_not_before(script: Script) -> None:
    play = Play(flow := line(script.stage("a", throws(ValueError("no"), 1), retry=STEADY)))
    ref = play.start(flow, Note())
    begun = play.clock.now()
    play.step()
    assert stage_of(play, ref, "a").at == begun + 10_000
    play.clock.move(10_000 + play.env.limits.max_skew - 1)
    play.attend(ref)
    assert script.calls == ["a"], "not within the skew of clocks"
    play.clock.move(1)
    work(play)
    assert script.calls == ["a", "a"], "the poke for it is there in time"


def test_delays_repeat_themselves_under_the_same_seed(script: Script) -> None:
    def retries(seed: int) -> list[int]:
        flow = line(script.stage("a", throws(ValueError("no")), retry=Retry(5, jitter=1.0)))
        play = Play(flow, seed=seed)
        return [each.retry_at for each in events(play, play.run(flow, Note()).ref, StageFailed)]

    assert retries(1) == retries(1)
    assert retries(1) != retries(2)


class Declined(Exception):
    """An error that no retry helps."""


class DeclinedForGood(Declined):
    """A kind of it."""


GIVEN_UP: dict[str, tuple[Retry, BaseException]] = {
    "permanent": (STEADY, PermanentError("no")),
    "give up on": (Retry(3, give_up_on=(Declined,)), Declined("no")),
    "a subclass": (Retry(3, give_up_on=(Declined,)), DeclinedForGood("no")),
    "not one to retry": (Retry(3, on=(OSError,)), Declined("no")),
    "time-out given up on": (Retry(3, give_up_on=(StageTimedOut,)), StageTimedOut("too long")),
    "time-out not one to retry": (Retry(3, on=(OSError,)), StageTimedOut("too long")),
}


@pytest.mark.parametrize(("retry", "error"), GIVEN_UP.values(), ids=GIVEN_UP.keys())
def test_an_error_that_the_policy_gives_up_on_is_not_retried(
    script: Script, retry: Retry, error: BaseException
) -> None:
    flow = line(script.stage("a", throws(error), retry=retry))
    assert attempts(Play(flow), flow) == ("failed", 1)


RETRIED: dict[str, tuple[Retry, BaseException]] = {
    "one to retry": (Retry(2, on=(OSError,)), ConnectionError("no")),
    "time-out": (Retry(2), StageTimedOut("too long")),
    "exit": (Retry(2), SystemExit(3)),
}


@pytest.mark.parametrize(("retry", "error"), RETRIED.values(), ids=RETRIED.keys())
def test_an_error_that_the_policy_retries_is_retried(script: Script, retry: Retry, error: BaseException) -> None:
    flow = line(script.stage("a", throws(error, 1), retry=retry))
    assert attempts(Play(flow), flow) == ("completed", 2)


def test_an_output_that_does_not_fit_is_not_kept_and_not_retried(script: Script) -> None:
    play = Play(flow := line(script.stage("a", gives(7)), script.stage("b")))
    ended = play.run(flow, Note())
    assert script.calls == ["a"]
    assert ended.status == "failed"
    assert ended.view.error is not None
    assert (ended.view.error.category, ended.view.error.kind) == ("output", "InvalidOutput")


def test_an_input_that_no_longer_fits_is_not_retried(script: Script) -> None:
    """A newer deployment's model refuses what an older one recorded."""

    play = Play(flow := line(script.stage("a"), script.stage("b"), chain=False))
    ref = play.start(flow, Note())
    play.step()
    (_, commit) = commits_of(play, ref)
    play.store.put(ref, replace(commit, events=commit.events.replace(b'{"text":"a"}', b'{"text":7}')))
    play.play([ref])
    assert script.calls == ["a"]
    error = state_of(play, ref).error
    assert error is not None
    assert (error.category, error.kind, error.stage, error.attempt) == ("input", "InvalidStageInput", "b", 1)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(int, 0), (str, ""), (list[int], []), (bool, False), (dict[str, int], {}), (int | None, None), (float, 0.0)],
    ids=repr,
)
def test_a_falsy_output_is_a_value(annotation: Any, value: Any) -> None:
    """bratsos/workflow-engine: falsy outputs are treated as missing."""
    seen: list[Any] = []

    def a(ctx: Context, note: Note) -> Any:
        return value

    def b(ctx: Context, given: Any) -> Any:
        seen.append(given)
        return given

    a.__annotations__["return"] = annotation
    b.__annotations__.update({"given": annotation, "return": annotation})
    flow: Any = Workflow("flow", input=Note).then(stage(a)).then(stage(b))
    ended = Play(flow).run(flow, Note(text="input"))
    assert (ended.status, seen, ended.output) == ("completed", [value], value)
    assert type(seen[0]) is type(value)


def test_a_missing_upstream_output_is_never_replaced_by_the_input(script: Script) -> None:
    """bratsos/workflow-engine: it is silently replaced by the workflow's input."""
    play = Play(flow := line(script.stage("a", gives(Note(text="x" * 1_000))), script.stage("b"), chain=False))
    ref = play.start(flow, Note(text="input"))
    play.step()
    (key,) = keys_of(play, ref, DATA)
    play.store.delete(ref, key)
    play.play([ref])
    assert script.calls == ["a"]
    error = state_of(play, ref).error
    assert error is not None
    assert (error.category, error.kind, error.stage) == ("infrastructure", "CorruptLog", "b")


# --- strategies -------------------------------------------------------------------------------------------------------


def test_stop_lets_siblings_finish_and_then_fails_the_run(script: Script) -> None:
    flow = fork(script.stage("a"), script.stage("b", throws(PermanentError("no"))), script.stage("c")).then(
        script.join("d")
    )
    play = Play(flow)
    ended = play.run(flow, Note())
    assert sorted(script.calls) == ["a", "b", "c"]
    assert ended.status == "failed"
    assert stage_of(play, ended.ref, "c").status is StageStatus.COMPLETED


def test_stop_waits_for_a_sibling_that_has_a_retry_coming(script: Script) -> None:
    """bratsos/workflow-engine: a parallel stage that fails for good kills the run while its sibling retries."""
    flow = fork(
        script.stage("a"),
        script.stage("b", throws(ValueError("not yet"), 2), retry=STEADY),
        script.stage("c", throws(PermanentError("no"))),
    )
    play = Play(flow)
    ended = play.run(flow, Note())
    assert script.calls.count("b") == 3
    assert stage_of(play, ended.ref, "b").status is StageStatus.COMPLETED
    (failed,) = events(play, ended.ref, RunFailed)
    assert failed.error.stage == "c"


def test_proceed_lets_dependents_see_the_failure(script: Script) -> None:
    flow: Any = line(script.stage("a"), script.stage("b", throws(PermanentError("no")), on_failure="proceed"))
    flow = flow.then(script.after_failure("c"))
    play = Play(flow)
    ended = play.run(flow, Note())
    assert ended.status == "completed"
    assert script.seen["c"] == Failed(stage="b", kind="PermanentError", message="no", category="user")


def test_proceed_gives_dependents_the_output_when_there_is_no_failure(script: Script) -> None:
    flow: Any = line(script.stage("b", on_failure="proceed"))
    flow = flow.then(script.after_failure("c"))
    ended = Play(flow).run(flow, Note())
    assert (ended.status, script.seen["c"]) == ("completed", Note(text="b"))


def test_proceed_after_a_lost_worker(script: Script) -> None:
    flow: Any = line(script.stage("b", dies(), on_failure="proceed", retry=Retry(1)))
    flow = flow.then(script.after_failure("c"))
    play = Play(flow)
    ended = play.run(flow, Note())
    assert ended.status == "completed"
    assert script.seen["c"].category == "lease"


# --- conditions -------------------------------------------------------------------------------------------------------


def conditional(script: Script, condition: Any) -> Any:
    """``a``, then ``b`` on that condition."""
    return line(script.stage("a")).then_if(condition, script.stage("b"))


@pytest.mark.parametrize("wanted", [True, False])
def test_a_condition_decides_whether_its_stage_runs(script: Script, wanted: bool) -> None:
    flow = conditional(script, lambda _note: wanted)
    ended = Play(flow).run(flow, Note())
    assert ended.status == "completed"
    assert script.calls == (["a", "b"] if wanted else ["a"])
    assert ended.output == (Note(text="b") if wanted else None)


def test_a_condition_that_throws_fails_its_stage_and_not_the_engine(script: Script) -> None:
    def condition(note: Note) -> bool:
        raise KeyError(note.text)

    flow = conditional(script, condition)
    ended = Play(flow).run(flow, Note())
    assert ended.status == "failed"
    assert ended.view.error is not None
    assert (ended.view.error.category, ended.view.error.kind, ended.view.error.stage) == ("condition", "KeyError", "b")
    assert script.calls == ["a"], "the stage before it is not run again"
