"""Timers (E4): to the second, over any horizon, never early, once; left behind when the run is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.core.events import RunCancelled, StageFailed, StageStarted, TimerFired, TimerSet
from kernel.core.state import StageStatus
from kernel.define.registry import Registry
from kernel.ports import Poke, RunRef
from kernel.shell.attend import attend
from kernel.shell.environment import Limits
from kernel.testing.play import Play
from onewrite import Retry, Workflow
from tests.shell.script import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Flow,
    Note,
    Script,
    calls,
    commits_of,
    events,
    head_of,
    is_commit_of,
    once_before,
    stage_of,
    state_of,
    throws,
    work,
)

SKEW = SECOND
YEARS = timedelta(days=365 * 3)


def napping(script: Script, duration: timedelta, **options: Any) -> Flow:
    """A stage, a wait, and a stage."""
    flow: Any = Workflow("flow", input=Note, **options)
    napping: Flow = flow.then(script.stage("a")).sleep(duration).then(script.stage("b"))
    return napping


def until(script: Script, when: Any, **options: Any) -> Flow:
    """The same, until some time."""
    flow: Any = Workflow("flow", input=Note, **options)
    waiting: Flow = flow.then(script.stage("a")).sleep_until(when).then(script.stage("b"))
    return waiting


def at(time: int) -> datetime:
    """An instant as users give it."""
    return datetime.fromtimestamp(time / 1000, UTC)


@pytest.mark.parametrize(
    ("duration", "late"),
    [
        (timedelta(milliseconds=1), 2 * SKEW),
        (timedelta(seconds=1), 2 * SKEW),
        (timedelta(seconds=90), 2 * SKEW),
        (timedelta(minutes=15), 2 * SKEW),
        (timedelta(minutes=16), 2 * SKEW),
        (timedelta(days=3), 2 * SKEW),
        (YEARS, 2 * SKEW),
    ],
    ids=str,
)
def test_what_comes_after_a_timer_begins_when_it_has_fired_to_the_second(
    script: Script, duration: timedelta, late: int
) -> None:
    play = Play(flow := napping(script, duration, deadline=timedelta(days=365 * 4)))
    begun = play.clock.now()
    ref = play.start(flow, Note())
    play.play(ref, days=5_000)
    assert play.ended(ref).status == "completed"
    assert script.calls == ["a", "b"]
    waited = play.clock.now() - begun
    length = duration // timedelta(milliseconds=1)
    assert length <= waited <= length + late
    assert [type(event) for event in told(play, ref)] == [TimerSet, TimerFired]


def told(play: Play, ref: RunRef) -> list[Any]:
    """What the log says of timers."""
    return [*events(play, ref, TimerSet), *events(play, ref, TimerFired)]


@pytest.mark.parametrize("lost", [False, True], ids=["messages arrive", "all messages are lost"])
def test_no_timer_is_early_and_none_is_later_than_a_tick_and_the_look_grace(script: Script, *, lost: bool) -> None:
    for seconds in (5, 61, 899, 901, 3_600):
        play = Play(flow := napping(script, timedelta(seconds=seconds)))
        ref = play.start(flow, Note())
        work(play)
        begun = state_of(play, ref).at
        while not events(play, ref, TimerFired):
            if lost:
                play.queue.clear()
                play.clock.move(MINUTE)
                play.tick()
                work(play)
            else:
                play._advance()
        (fired,) = (commit for commit in commits_of(play, ref) if b"TimerFired" in commit.events)
        assert fired.at - begun >= seconds * SECOND
        if lost:
            limits = play.env.limits
            assert fired.at - begun <= seconds * SECOND + limits.tick + limits.look_grace + 2 * SKEW


def test_a_timer_may_be_the_first_thing_of_a_run_and_the_last(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).sleep(timedelta(hours=1)).then(script.stage("a")).sleep(timedelta(hours=2))
    play = Play(flow)
    begun = play.clock.now()
    ended = play.run(flow, Note())
    assert (ended.status, ended.output) == ("completed", Note(text="a"))
    assert 3 * HOUR <= play.clock.now() - begun <= 3 * HOUR + 4 * SKEW


def test_timers_follow_on_each_other_and_hold_back_all_that_is_side_by_side(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).sleep(timedelta(minutes=1)).sleep(timedelta(minutes=2))
    flow = flow.together(script.stage("a"), script.stage("b")).then(script.join("c"))
    play = Play(flow)
    begun = play.clock.now()
    ended = play.run(flow, Note())
    assert sorted(script.calls[:2]) == ["a", "b"]
    assert [event.timer for event in events(play, ended.ref, TimerFired)] == ["sleep-1", "sleep-2"]
    assert play.clock.now() - begun >= 3 * MINUTE


def test_a_branch_that_sleeps_holds_nobody_else_up(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note)
    a, b, c = script.stage("a"), script.stage("b"), script.stage("c")
    flow = flow.together(a, b)
    flow = flow.output(a).sleep(timedelta(hours=1)).then(c)
    play = Play(flow)
    ref = play.start(flow, Note())
    work(play)
    assert sorted(script.calls) == ["a", "b"]
    assert stage_of(play, ref, "sleep-1").status is StageStatus.SLEEPING
    play.play(ref)
    assert play.ended(ref).status == "completed"
    assert script.calls[-1] == "c"


def test_a_timer_until_an_instant_that_the_values_tell(script: Script) -> None:
    play: Play = Play(flow := until(script, lambda note: at(play.clock.now() + HOUR) if note.text == "a" else None))
    begun = play.clock.now()
    assert play.run(flow, Note()).status == "completed"
    assert HOUR <= play.clock.now() - begun <= HOUR + 2 * SKEW


def test_a_timer_until_an_instant_rounds_up_to_its_millisecond(script: Script) -> None:
    play: Play = Play(flow := until(script, lambda _note: at(play.clock.now() + 60_000) + timedelta(microseconds=1)))
    begun = play.clock.now()
    ref = play.run(flow, Note()).ref
    (timer,) = events(play, ref, TimerSet)
    assert timer.at - begun == 60_001


@pytest.mark.parametrize("when", [datetime(1960, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)], ids=str)
def test_an_instant_that_has_passed_makes_nobody_wait(script: Script, when: datetime) -> None:
    play = Play(flow := until(script, when))
    begun = play.clock.now()
    ref = play.run(flow, Note()).ref
    assert play.clock.now() == begun
    assert len(commits_of(play, ref)) == 4, "begun; a and the timer; fired and b; b and the end"


WRONG = {
    "no time zone": (lambda _note: datetime(2030, 1, 1), "InvalidOutput", "give a datetime with a time zone"),  # noqa: DTZ001 - the mistake
    "no time": (lambda _note: "tomorrow", "InvalidOutput", "a time to sleep until is 'tomorrow'"),
    "throws": (lambda _note: 1 / 0, "ZeroDivisionError", "division by zero"),
    "too late": (lambda _note: datetime(9999, 12, 31, tzinfo=UTC), "BeyondDeadline", "a longer deadline"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_time_that_makes_no_sense_fails_the_run_and_says_why(script: Script, case: str) -> None:
    when, kind, says = WRONG[case]
    play = Play(flow := until(script, when))
    ended = play.run(flow, Note())
    assert (ended.status, script.calls) == ("failed", ["a"])
    error = ended.view.error
    assert error is not None
    assert (error.stage, error.kind) == ("sleep-1", kind)
    assert says in error.message


def test_a_timer_beyond_the_default_deadline_fails_at_once_instead_of_at_the_deadline(script: Script) -> None:
    play = Play(flow := napping(script, timedelta(days=40)), limits=Limits(deadline=30 * DAY))
    begun = play.clock.now()
    ended = play.run(flow, Note())
    assert ended.status == "failed"
    assert play.clock.now() == begun
    assert ended.view.error is not None
    assert "longer deadline" in ended.view.error.message


def test_a_timer_that_cannot_be_set_lets_nothing_pass_though_the_workflow_proceeds(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note, on_failure="proceed").then(script.stage("a"))
    play = Play(flow := flow.sleep_until(lambda _note: None).then(script.after_failure("b")))
    ended = play.run(flow, Note())
    assert (ended.status, script.calls) == ("failed", ["a"])
    assert [event.stage for event in events(play, ended.ref, StageFailed)] == ["sleep-1"]


def test_a_cancel_leaves_the_timer_behind(script: Script) -> None:
    play = Play(flow := napping(script, timedelta(minutes=5)))
    ref = play.start(flow, Note())
    work(play)
    play.cancel(ref, reason="no more")
    play.clock.move(HOUR)
    work(play)
    play.tick()
    assert (script.calls, play.ended(ref).status) == (["a"], "cancelled")
    assert not events(play, ref, TimerFired)
    assert type(play.ended(ref).log[-1][-1]) is RunCancelled


def test_a_poke_that_comes_twice_fires_a_timer_once(script: Script) -> None:
    play = Play(flow := napping(script, timedelta(minutes=5)))
    ref = play.start(flow, Note())
    work(play)
    play.clock.move(5 * MINUTE + SKEW)
    once_before(play, lambda call: is_commit_of(call, "TimerFired"), lambda: play.attend(ref))
    play.attend(ref)
    play.attend(ref)
    assert len(events(play, ref, TimerFired)) == 1
    assert script.calls == ["a", "b"]


def test_the_timers_of_one_run_are_nothing_to_another_of_the_same_key(script: Script) -> None:
    """luno/workflow: a timer is looked up by business key, so the first run's timer fires on the second run."""
    play = Play(flow := napping(script, timedelta(minutes=10)))
    first = play.start(flow, Note(), key="order-1")
    work(play)
    play.cancel(first)
    play.clock.move(5 * MINUTE)
    second = play.start(flow, Note(text="other"), key="order-2")
    work(play)
    play.clock.move(5 * MINUTE + SKEW)
    work(play)
    assert not events(play, second, TimerFired)
    play.clock.move(5 * MINUTE)
    work(play)
    assert len(events(play, second, TimerFired)) == 1


def test_a_timer_is_set_once_whatever_becomes_of_the_stage_after_it(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).sleep(timedelta(minutes=1))
    flow = flow.then(script.stage("a", throws(ValueError("no"), 2), retry=Retry(3, first=timedelta(seconds=1))))
    play = Play(flow)
    ended = play.run(flow, Note())
    assert ended.status == "completed"
    assert (len(events(play, ended.ref, TimerSet)), len(events(play, ended.ref, StageStarted))) == (1, 3)


def test_a_rerun_from_before_a_timer_waits_again_and_one_from_after_it_does_not(script: Script) -> None:
    play = Play(flow := napping(script, timedelta(hours=1)))
    ref = play.run(flow, Note()).ref
    begun = play.clock.now()
    play.rerun(ref, "b")
    play.play([ref])
    assert play.clock.now() - begun < MINUTE
    play.rerun(ref, "a")
    play.play([ref])
    assert play.clock.now() - begun >= HOUR
    assert script.calls == ["a", "b", "b", "a", "b"]


def test_a_rerun_from_a_timer_is_poked_for_when_it_fires(script: Script) -> None:
    play = Play(flow := napping(script, timedelta(minutes=5)))
    ref = play.run(flow, Note()).ref
    play.rerun(ref, "sleep-1")
    begun = play.clock.now()
    play.play(ref)
    assert 5 * MINUTE <= play.clock.now() - begun <= 5 * MINUTE + 2 * SKEW


def test_while_it_waits_the_run_shows_for_what(script: Script) -> None:
    play = Play(flow := napping(script, timedelta(days=2)))
    ref = play.start(flow, Note())
    work(play)
    timer = play.ended(ref).view.stages[-1]
    assert (timer.stage, timer.status, timer.at) == ("sleep-1", "sleeping", state_of(play, ref).at + 2 * DAY)


def test_a_waiting_run_that_is_parked_fires_its_timer_when_its_code_is_back(script: Script) -> None:
    play = Play(flow := napping(script, timedelta(minutes=5)))
    ref = play.start(flow, Note())
    work(play)
    play.clock.move(5 * MINUTE + SKEW)
    attend(replace(play.env, definitions=Registry()), Poke(ref.tenant, ref.run), play.env.clock.monotonic() + 60)
    assert head_of(play, ref).status == "parked"
    play.play([ref])
    assert play.ended(ref).status == "completed"


# --- what it costs ----------------------------------------------------------------------------------------------------


def cost_of(script: Script, *durations: timedelta) -> float:
    """Write units of a run of two stages, with these waits in between."""
    flow: Any = Workflow("flow", input=Note, deadline=timedelta(days=365 * 4)).then(script.stage("a"))
    for duration in durations:
        flow = flow.sleep(duration)
    play = Play(flow := flow.then(script.stage("b")))
    ref = play.start(flow, Note())
    play.play(ref, days=5_000)
    return play.meter.of(ref).write_units


def test_a_further_short_timer_costs_one_write_unit(script: Script) -> None:
    """But for the looks of ticks, every two minutes, at a run that is awake."""
    one, five = (cost_of(script, *[timedelta(seconds=5)] * count) for count in (1, 5))
    assert five - one == 4


@pytest.mark.parametrize("duration", [timedelta(minutes=16), timedelta(days=1), YEARS], ids=str)
def test_a_long_timer_costs_nine_write_units_whatever_its_length(script: Script, duration: timedelta) -> None:
    assert cost_of(script, duration) - cost_of(script) <= 9


def test_a_day_of_waiting_costs_nothing(script: Script) -> None:
    play = Play(flow := napping(script, timedelta(days=5)))
    ref = play.start(flow, Note())
    work(play)
    before = play.meter.of(ref)
    writes, reads = before.writes, before.reads
    for _ in range(24 * 60):
        play.clock.move(MINUTE)
        play.tick()
    assert (play.meter.of(ref).writes, play.meter.of(ref).reads) == (writes, reads)


def test_putting_a_run_to_sleep_moves_the_cursor_with_it(script: Script) -> None:
    play = Play(flow := napping(script, timedelta(days=5)))
    ref = play.start(flow, Note())
    before = calls(play, "update")
    work(play)
    assert calls(play, "update") - before == 1
    assert head_of(play, ref).published == state_of(play, ref).seq


# --- stages that begin later ------------------------------------------------------------------------------------------


def test_a_delayed_stage_begins_so_much_later_and_its_siblings_do_not_wait_for_it(script: Script) -> None:
    times: dict[str, int] = {}

    def note(ctx: Any) -> None:
        times.setdefault(ctx.stage, play.clock.now())

    flow: Any = Workflow("flow", input=Note).then(script.stage("a", note))
    late = script.stage("late", note, delay=timedelta(days=3))
    flow = flow.together(late, script.stage("soon", note)).then(script.join("end", note))
    play = Play(flow)
    ended = play.run(flow, Note())
    assert ended.status == "completed"
    assert times["soon"] == times["a"]
    assert 3 * DAY <= times["late"] - times["a"] <= 3 * DAY + 2 * SKEW
    assert times["end"] >= times["late"]


def test_a_delay_is_before_the_first_attempt_only(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).then(
        script.stage("a", throws(OSError("no"), 1), delay=timedelta(minutes=5), retry=Retry(2))
    )
    play = Play(flow)
    begun = play.clock.now()
    assert play.run(flow, Note()).status == "completed"
    assert play.clock.now() - begun < 6 * MINUTE


def test_nobody_waits_for_a_delayed_stage_that_is_skipped(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).then_if(
        lambda note: note.text == "yes", script.stage("a", delay=timedelta(days=3))
    )
    play = Play(flow)
    begun = play.clock.now()
    assert play.run(flow, Note(text="no")).status == "completed"
    assert play.clock.now() - begun < MINUTE
    assert script.calls == []
    assert play.run(flow, Note(text="yes")).status == "completed"
    assert script.calls == ["a"]


def test_a_rerun_of_a_delayed_stage_does_not_wait_again(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).then(script.stage("a", delay=timedelta(hours=3)))
    play = Play(flow)
    ended = play.run(flow, Note())
    again = play.clock.now()
    play.rerun(ended, "a")
    play.play(ended)
    assert script.calls == ["a", "a"]
    assert play.clock.now() - again < HOUR
