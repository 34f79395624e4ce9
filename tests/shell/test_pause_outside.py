"""A paused run and the world outside: third parties answer, events come, and the pause counts for no limit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from kernel.core.events import EventReceived, StageFailed, StageStarted, WaitMatched
from kernel.core.state import StageStatus
from kernel.ports import RunRef
from kernel.testing.play import Play
from onewrite import Context
from tests.shell.script import DAY, HOUR, SECOND, Note, Script, events, line, stage_of, state_of, work

LABEL = Note(text="label")


def asked(script: Script, **options: Any) -> tuple[Play, RunRef]:
    """A run whose first stage waits for its answer, and that is paused."""
    play = Play(flow := line(script.asks("ask", **options), script.stage("send")))
    ref = play.start(flow, Note())
    work(play)
    play.pause(ref, reason="a long weekend")
    work(play)
    return play, ref


def test_an_answer_that_comes_while_the_run_is_paused_counts_and_what_follows_waits(script: Script) -> None:
    play, ref = asked(script)
    assert play.answer(script.tokens[0], LABEL).status == "completed"
    work(play)
    assert stage_of(play, ref, "send").status is StageStatus.SCHEDULED
    play.resume(ref)
    play.play(ref)
    assert script.calls == ["ask", "send"]


def test_the_limit_of_a_callback_does_not_count_the_pause(script: Script) -> None:
    play, ref = asked(script, callback=timedelta(hours=1))
    play.clock.move(3 * DAY)
    play.resume(ref)
    work(play)
    play.clock.move(HOUR // 2)
    work(play)
    assert not events(play, ref, StageFailed)
    assert play.answer(script.tokens[0], LABEL).status == "completed"
    play.play(ref)
    assert len(events(play, ref, StageStarted)) == 2


def test_an_answer_after_the_limit_of_a_run_that_is_paused_counts(script: Script) -> None:
    play, ref = asked(script, callback=timedelta(hours=1))
    play.clock.move(2 * HOUR)
    assert play.answer(script.tokens[0], LABEL).status == "completed"
    play.resume(ref)
    play.play(ref)
    assert play.ended(ref).status == "completed"


def test_heartbeats_past_the_limit_of_a_callback_cost_nothing_while_the_run_is_paused(script: Script) -> None:
    play, ref = asked(script, callback=timedelta(hours=1))
    play.clock.move(3 * HOUR)
    before = (state_of(play, ref).seq, play.meter.snapshot().writes)
    assert play.heartbeat(script.tokens[0]).status == "waiting"
    assert (state_of(play, ref).seq, play.meter.snapshot().writes) == before


def test_a_callback_still_ends_at_its_limit_after_the_pause(script: Script) -> None:
    play, ref = asked(script, callback=timedelta(hours=1))
    play.clock.move(2 * HOUR)
    play.resume(ref)
    begun = play.clock.now()
    play.play(ref)
    assert play.ended(ref).status == "failed"
    (failed,) = events(play, ref, StageFailed)
    assert failed.error.kind == "WaitLimitReached"
    assert HOUR - 2 * SECOND <= play.clock.now() - begun <= HOUR + 2 * SECOND


def waits(script: Script) -> Any:
    """A stage, a wait for an event, and a stage."""
    flow: Any = line(script.stage("a"))
    return flow.wait_for(Note, timeout=timedelta(hours=1)).then(script.stage("b"))


def test_an_event_that_comes_while_the_run_is_paused_is_received_and_what_follows_waits(script: Script) -> None:
    play = Play(flow := waits(script))
    ref = play.start(flow, Note())
    work(play)
    play.pause(ref)
    play.send(ref, LABEL, id="e-1")
    work(play)
    assert play.event(ref, "e-1").status == "applied"
    assert stage_of(play, ref, "b").status is StageStatus.SCHEDULED
    play.resume(ref)
    play.play(ref)
    assert script.seen["b"] == LABEL


def test_an_event_for_a_run_that_is_paused_before_it_begins_is_kept_and_begins_nothing(script: Script) -> None:
    play = Play(flow := waits(script))
    ref = play.start(flow, Note())
    play.pause(ref)
    play.send(ref, LABEL, id="e-1")
    work(play)
    assert len(events(play, ref, EventReceived)) == 1
    assert not state_of(play, ref).stages
    play.resume(ref)
    play.play(ref)
    assert script.calls == ["a", "b"]
    assert len(events(play, ref, WaitMatched)) == 1


def test_the_time_out_of_a_wait_does_not_count_the_pause(script: Script) -> None:
    play = Play(flow := waits(script))
    ref = play.start(flow, Note())
    work(play)
    play.pause(ref)
    play.clock.move(2 * HOUR)
    play.tick()
    work(play)
    assert stage_of(play, ref, "wait-1").status is StageStatus.WAITING
    play.resume(ref)
    begun = play.clock.now()
    play.play(ref)
    assert play.ended(ref).status == "failed"
    assert HOUR - 2 * SECOND <= play.clock.now() - begun <= HOUR + 2 * SECOND


def test_of_a_pause_in_which_a_stage_begins_to_wait_only_the_rest_does_not_count(script: Script) -> None:
    def late(ctx: Context) -> None:
        play.pause(started[0])
        play.clock.move(HOUR // 4)

    play: Play = Play(flow := line(script.asks("ask", late, callback=timedelta(hours=1), timeout=timedelta(hours=1))))
    started = [play.start(flow, Note())]
    (ref,) = started
    play.attend(ref, seconds=7_200)
    assert stage_of(play, ref, "ask").status is StageStatus.SUSPENDED
    play.resume(ref)
    work(play)
    left = stage_of(play, ref, "ask").give_up_at - play.clock.now()
    assert HOUR - 2 * SECOND <= left <= HOUR


def test_resuming_sends_nobody_to_a_wait_without_a_time_out(script: Script) -> None:
    flow: Any = line(script.stage("a"))
    play = Play(flow := flow.wait_for(Note).then(script.stage("b")))
    ref = play.start(flow, Note())
    work(play)
    play.pause(ref)
    play.queue.clear()
    play.resume(ref)
    assert play.queue.next_at is None
