"""Compensation (DESIGN 9): what is undone, in which order, how often, and what cancel has to do with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.core.events import CompensationStarted, RunCancelled, RunFailed, StageCompleted, StageStarted
from kernel.core.state import RunStatus, StageStatus
from kernel.errors import Conflict
from kernel.ports import RunRef
from kernel.shell.cancel import cancel
from kernel.testing.faults import Crash
from kernel.testing.play import Play
from onewrite import Context, PermanentError, Registry, Retry, Workflow
from tests.shell.script import (
    Act,
    Flow,
    Note,
    Script,
    dies,
    events,
    fork,
    head_of,
    line,
    stage_of,
    state_of,
    throws,
    work,
)

NO = PermanentError("no")


def booking(script: Script, *, undo_flight: Act | None = None, last: Act | None = None, **options: Any) -> Flow:
    """A flight and a hotel, each of which can be undone, and a car that is not to be had."""
    return line(
        script.stage("flight", compensate=script.undo(undo_flight)),
        script.stage("hotel", compensate=script.undo()),
        script.stage("car", last or throws(NO)),
        **options,
    )


def test_what_was_done_is_undone_in_reverse_order_once_each(script: Script) -> None:
    play = Play(flow := booking(script))
    ended = play.run(flow, Note())
    assert script.calls == ["flight", "hotel", "car", "compensate:hotel", "compensate:flight"]
    assert (ended.status, ended.view.compensation) == ("failed", "complete")
    assert ended.view.error is not None
    assert (ended.view.error.stage, ended.view.error.message) == ("car", "no"), "the run fails with what went wrong"


def test_a_compensation_is_given_the_output_it_undoes(script: Script) -> None:
    play = Play(flow := booking(script))
    play.run(flow, Note())
    assert script.seen["compensate:hotel"] == Note(text="hotel")
    assert script.seen["compensate:flight"] == Note(text="flight")


def test_without_any_compensation_the_run_stops(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b", throws(NO))))
    ended = play.run(flow, Note())
    assert (ended.status, ended.view.compensation) == ("failed", "")
    assert not events(play, ended.ref, CompensationStarted)


def test_a_workflow_that_says_stop_undoes_nothing(script: Script) -> None:
    play = Play(flow := booking(script, on_failure="stop"))
    play.run(flow, Note())
    assert script.calls == ["flight", "hotel", "car"]


def test_compensation_begins_when_no_stage_runs_any_more(script: Script) -> None:
    flow = (
        Workflow("flow", input=Note)
        .then(script.stage("a", compensate=script.undo()))
        .together(
            script.stage("b", throws(NO)),
            script.stage("c", throws(ValueError("not yet"), 1), compensate=script.undo(), retry=Retry(2)),
        )
    )
    play = Play(flow)
    play.run(flow, Note())
    assert script.calls == ["a", "b", "c", "c", "compensate:c", "compensate:a"]


def test_a_compensation_is_retried_by_the_policy_of_its_stage(script: Script) -> None:
    play = Play(flow := booking(script, undo_flight=throws(ValueError("not yet"), 2)))
    ended = play.run(flow, Note())
    assert script.calls.count("compensate:flight") == 3
    assert ended.view.compensation == "complete"


@pytest.mark.parametrize(
    "trouble", [throws(NO), throws(ValueError("never")), dies()], ids=["gives up", "fails", "dies"]
)
def test_when_one_compensation_fails_the_others_still_run(script: Script, trouble: Act) -> None:
    flow = line(
        script.stage("a", compensate=script.undo()),
        script.stage("b", compensate=script.undo(trouble)),
        script.stage("c", throws(NO)),
    )
    ended = Play(flow).run(flow, Note())
    assert script.calls[-1] == "compensate:a"
    assert (ended.status, ended.view.compensation) == ("failed", "incomplete")
    assert ended.view.error is not None
    assert ended.view.error.stage == "c"


def test_a_compensation_whose_worker_dies_is_recorded_once(script: Script) -> None:
    play = Play(flow := booking(script, undo_flight=dies(1)))
    ended = play.run(flow, Note())
    assert script.calls.count("compensate:flight") == 2, "its body may repeat"
    completed = [each.stage for each in events(play, ended.ref, StageCompleted)]
    assert completed.count("compensate:flight") == 1
    assert ended.view.compensation == "complete"


# --- cancel -----------------------------------------------------------------------------------------------------------


def half_done(script: Script, **options: Any) -> tuple[Play, RunRef]:
    """The flight is booked, and the hotel's stage waits for a worker."""
    play = Play(flow := booking(script, chain=False, **options))
    ref = play.start(flow, Note())
    play.step()
    return play, ref


def test_cancel_undoes_nothing_unless_the_workflow_says_so(script: Script) -> None:
    play, ref = half_done(script)
    play.cancel(ref, "changed my mind")
    play.play([ref])
    assert script.calls == ["flight"]
    assert play.ended(ref).status == "cancelled"


def test_cancel_undoes_the_run_if_the_workflow_says_so(script: Script) -> None:
    play, ref = half_done(script, on_cancel="compensate")
    play.cancel(ref, "changed my mind")
    assert state_of(play, ref).status is RunStatus.COMPENSATING
    play.play([ref])
    assert script.calls == ["flight", "compensate:flight"]
    assert events(play, ref, RunCancelled) == [RunCancelled("changed my mind", "complete")]
    assert head_of(play, ref).status == "cancelled"


def test_a_cancel_that_cannot_undo_what_it_must_is_refused(script: Script) -> None:
    """A deployment without the run's workflow would break its promise without a word."""
    play, ref = half_done(script, on_cancel="compensate")
    there, gone = play.env, replace(play.env, definitions=Registry())
    with pytest.raises(Conflict, match="takes flow version 1, and this deployment does not have it"):
        cancel(gone, ref, by="test")
    assert state_of(play, ref).status is RunStatus.RUNNING
    cancel(there, ref, by="test")
    play.play([ref])
    assert script.calls == ["flight", "compensate:flight"]


def test_a_cancel_that_need_not_undo_anything_takes_no_workflow(script: Script) -> None:
    play = Play(flow := booking(script, on_cancel="compensate"))
    nothing_done = play.start(flow, Note())
    cancel(replace(play.env, definitions=Registry()), nothing_done, by="test")
    play, nothing_promised = half_done(script)
    cancel(replace(play.env, definitions=Registry()), nothing_promised, by="test")
    assert state_of(play, nothing_promised).status is RunStatus.CANCELLED


def test_the_compensation_of_a_cancelled_run_is_poked_for(script: Script) -> None:
    play, ref = half_done(script, on_cancel="compensate")
    play.queue.clear()
    play.cancel(ref)
    work(play)
    assert script.calls == ["flight", "compensate:flight"]


def test_cancel_discards_a_stage_that_runs_and_does_not_undo_it(script: Script) -> None:
    def cancelled(_ctx: Context) -> None:
        play.cancel(ref)

    flow = line(
        script.stage("a", compensate=script.undo()),
        script.stage("b", cancelled, compensate=script.undo()),
        on_cancel="compensate",
    )
    play = Play(flow)
    ref = play.start(flow, Note())
    play.play([ref])
    assert script.calls == ["a", "b", "compensate:a"]
    assert play.ended(ref).status == "cancelled"


def cut_off(script: Script, act: Act) -> tuple[Play, RunRef]:
    """A run of three stages that can be undone, the second of which does that."""
    flow = line(
        *(script.stage(id_, act if id_ == "b" else None, compensate=script.undo()) for id_ in "abc"),
        on_cancel="compensate",
    )
    play = Play(flow)
    return play, play.start(flow, Note())


@pytest.mark.parametrize("then", ["returns", "throws"])
def test_undoing_a_cancelled_run_begins_when_the_stage_that_still_runs_is_over(script: Script, then: str) -> None:
    """Compensation starts when no stage runs: what the stage does until it hears of the cancel is not raced."""

    def act(_ctx: Context) -> None:
        play.cancel(ref)
        play.clock.move(30_000)
        play.attend(ref)
        play.attend(ref, "compensate:a")
        script.calls.append("b is over")
        if then == "throws":
            raise ValueError("cut off")

    play, ref = cut_off(script, act)
    play.play([ref])
    assert script.calls == ["a", "b", "b is over", "compensate:a"]
    assert events(play, ref, RunCancelled) == [RunCancelled("", "complete")]
    assert stage_of(play, ref, "b").status is StageStatus.FAILED


def test_undoing_a_cancelled_run_does_not_wait_for_a_worker_that_died(script: Script) -> None:
    def act(_ctx: Context) -> None:
        play.cancel(ref)
        raise Crash

    play, ref = cut_off(script, act)
    play.play([ref], days=1)
    assert script.calls == ["a", "b", "compensate:a"]
    assert events(play, ref, RunCancelled) == [RunCancelled("", "complete")]
    assert not [each for each in events(play, ref, StageStarted) if each.stage == "b" and each.attempt > 1]


def test_nothing_new_starts_in_a_cancelled_run_that_waits_to_be_undone(script: Script) -> None:
    """Neither what is ready, nor a retry, nor a check (invariant 7)."""

    def act(_ctx: Context) -> None:
        play.cancel(ref)
        play.clock.move(50_000)
        for stage in ("c", "d", "e"):
            play.attend(ref, stage)

    flow = fork(
        script.stage("a", compensate=script.undo()),
        script.stage("b", act),
        script.stage("c"),
        script.stage("d", throws(ValueError("not yet"))),
        script.job("e", every=timedelta(seconds=10)),
        on_cancel="compensate",
    )
    play = Play(flow)
    ref = play.start(flow, Note())
    play.step()
    assert script.calls[:2] == ["a", "b"]
    assert set(script.calls[2:]) <= {"compensate:a"}


def test_cancel_is_refused_while_a_run_is_being_undone(script: Script) -> None:
    def cancel(_ctx: Context) -> None:
        with pytest.raises(Conflict, match="being compensated"):
            play.cancel(ref)

    flow = booking(script, undo_flight=cancel, on_cancel="compensate")
    play = Play(flow)
    ref = play.start(flow, Note())
    play.play([ref])
    assert script.calls[-1] == "compensate:flight"
    assert play.ended(ref).status == "failed"


def test_a_cancelled_run_whose_compensation_fails_is_cancelled_and_incomplete(script: Script) -> None:
    play, ref = half_done(script, undo_flight=throws(NO), on_cancel="compensate")
    play.cancel(ref)
    play.play([ref])
    assert events(play, ref, RunCancelled) == [RunCancelled("", "incomplete")]


# --- deadline and retry -----------------------------------------------------------------------------------------------


def test_a_deadline_ends_a_compensation_that_does_not_end(script: Script) -> None:
    flow = booking(script, undo_flight=throws(ValueError("never")))
    play = Play(flow)
    ref = play.start(flow, Note())
    play.step()
    play.queue.clear()
    play.clock.move(play.env.limits.deadline + play.env.limits.max_skew)
    play.tick()
    (failed,) = events(play, ref, RunFailed)
    assert (failed.error.category, failed.compensation) == ("deadline", "incomplete")


def test_retry_does_again_what_was_undone(script: Script) -> None:
    play = Play(flow := booking(script, last=throws(NO, 1)))
    ref = play.run(flow, Note()).ref
    play.retry(ref)
    play.play([ref])
    assert script.calls[-3:] == ["flight", "hotel", "car"]
    assert play.ended(ref).status == "completed"


def test_what_is_undone_a_second_time_is_undone_once_more(script: Script) -> None:
    play = Play(flow := booking(script))
    ref = play.run(flow, Note()).ref
    play.retry(ref)
    play.play([ref])
    assert script.calls.count("compensate:flight") == 2
    assert play.ended(ref).view.compensation == "complete"
