"""Pausing (R7): nothing starts while a run is paused, nothing is lost or doubled when it goes on, a day is free."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.core.events import RunCompleted, RunPaused, RunResumed, StageChecked, StageStarted, TimerFired
from kernel.core.state import StageStatus
from kernel.define.registry import Registry
from kernel.errors import Conflict, InvalidInput, NotFound, Unavailable
from kernel.ports import Guard, RunRef
from kernel.shell import heads, read
from kernel.shell.attend import Outcome, attend
from kernel.shell.environment import Limits
from kernel.shell.load import Session
from kernel.shell.pause import pause
from kernel.shell.rerun import rerun
from kernel.testing.faults import Call, Crash, Fault
from kernel.testing.play import TENANT, Play
from onewrite import Context, Retry, Workflow
from tests.shell.invariants import check, check_kept, plain
from tests.shell.script import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Flow,
    Note,
    Script,
    commits_of,
    events,
    fork,
    head_of,
    is_commit_of,
    is_under,
    line,
    once,
    once_before,
    pending,
    poke,
    session_of,
    stage_of,
    state_of,
    throws,
    work,
)

SKEW = SECOND


def listed(play: Play, status: str) -> list[RunRef]:
    """What a list of runs with this status shows."""
    return [each.ref for each in read.list_runs(play.env, TENANT, ["flow"], statuses=[status])]


def started(play: Play, flow: Flow) -> RunRef:
    """A run that nobody has looked at yet, and no message speaks of."""
    ref = play.start(flow, Note())
    play.queue.clear()
    return ref


def pauses(**options: Any) -> Callable[[Context], None]:
    """In the middle of a stage, pause its run."""

    def act(ctx: Context) -> None:
        play: Play = options["play"][0]
        play.pause(RunRef(TENANT, ctx.run_id), lasts=options.get("lasts"))

    return act


def held(script: Script, *, lasts: timedelta | None = None, **limits: Any) -> tuple[Play, RunRef]:
    """A run of two stages that was paused in the middle of the first, which has ended."""
    plays: list[Play] = []
    flow = line(script.stage("a", pauses(play=plays, lasts=lasts)), script.stage("b"))
    plays.append(Play(flow, limits=Limits(**limits)))
    ref = plays[0].start(flow, Note())
    work(plays[0])
    return plays[0], ref


def let_pass(play: Play, milliseconds: int) -> None:
    """Let so much time pass, with every message and every tick."""
    end = play.clock.now() + milliseconds
    while play.clock.now() < end:
        play.clock.move(min(MINUTE, end - play.clock.now()))
        work(play)
        play.tick()
        work(play)


# --- what happens while it is paused ----------------------------------------------------------------------------------


def test_a_stage_that_runs_may_end_and_the_next_one_waits(script: Script) -> None:
    play, ref = held(script)
    assert script.calls == ["a"]
    assert stage_of(play, ref, "a").status is StageStatus.COMPLETED
    assert stage_of(play, ref, "b").status is StageStatus.SCHEDULED
    let_pass(play, HOUR)
    assert script.calls == ["a"]
    play.resume(ref, "go on")
    work(play)
    assert script.calls == ["a", "b"]
    assert play.ended(ref).status == "completed"
    check(play, ref)


def test_a_run_that_is_paused_before_it_begins_begins_when_it_goes_on(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())
    play.pause(ref)
    let_pass(play, HOUR)
    assert script.calls == []
    play.resume(ref)
    work(play)
    assert script.calls == ["a", "b"]
    check(play, ref)


def test_timers_retries_and_checks_wait_and_are_made_up_for_at_once(script: Script) -> None:
    steady = Retry(3, first=timedelta(minutes=5), factor=1, jitter=0)
    fails = script.stage("b", throws(ValueError("no"), 1), retry=steady)
    waits = script.job("c", pending(0), every=timedelta(minutes=6), limit=timedelta(minutes=20))
    flow: Any = line(script.stage("a")).together(fails, waits)
    flow = flow.output(fails).sleep(timedelta(minutes=7)).then(script.stage("d"))
    play = Play(flow)
    ref = play.start(flow, Note())
    work(play)
    play.pause(ref)
    before = len(script.calls)
    let_pass(play, HOUR)
    assert len(script.calls) == before
    play.resume(ref)
    work(play)
    assert sorted(script.calls[before:]) == ["b", "check:c"], "each once, though an hour has passed"
    let_pass(play, 10 * MINUTE)
    assert play.ended(ref).status == "completed"
    check(play, ref)


def test_a_timer_whose_time_passes_fires_when_the_run_goes_on_and_one_to_come_in_its_time(script: Script) -> None:
    for minutes, late in ((5, 10), (20, 0)):
        flow: Any = Workflow("flow", input=Note).then(script.stage("a"))
        play = Play(flow := flow.sleep(timedelta(minutes=minutes)).then(script.stage("b")))
        ref = play.start(flow, Note())
        begun = play.clock.now()
        work(play)
        play.pause(ref, lasts=timedelta(minutes=15))
        play.play(ref)
        (fired,) = (commit.at for commit in commits_of(play, ref) if b"TimerFired" in commit.events)
        assert 0 <= fired - begun - (minutes + late) * MINUTE <= 3 * SKEW


def test_a_worker_that_dies_is_reaped_and_settled_and_its_retry_waits(script: Script) -> None:
    plays: list[Play] = []
    flow = line(script.stage("a", throws(Crash("dies"), 1)), script.stage("b"))
    plays.append(play := Play(flow))
    ref = play.start(flow, Note())
    work(play)
    play.pause(ref)
    let_pass(play, HOUR)
    assert stage_of(play, ref, "a").status is StageStatus.RETRYING
    assert script.calls == ["a"]
    play.resume(ref)
    let_pass(play, 5 * MINUTE)
    assert script.calls == ["a", "a", "b"]
    check(play, ref)


def test_pokes_for_a_paused_run_are_done_with(script: Script) -> None:
    play, ref = held(script)
    before, used = head_of(play, ref), play.meter.of(ref).writes
    for stage in ("", "a", "b"):
        assert play.attend(ref, stage).outcome is Outcome.ATTENDED
    assert (head_of(play, ref), play.meter.of(ref).writes, play.queue.waiting) == (before, used, [])


# --- races ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["StageStarted", "TimerFired", "StageChecked", "StageCompleted"])
def test_whoever_was_about_to_go_on_when_the_pause_landed_does_not(script: Script, event: str) -> None:
    waits = script.job("c", pending(1), every=timedelta(minutes=6), limit=timedelta(hours=20))
    flow: Any = line(script.stage("a")).sleep(timedelta(minutes=5)).then(waits)
    play = Play(flow)
    ref = play.start(flow, Note())
    seen: list[int] = []

    def act() -> None:
        play.pause(ref)
        seen.append(state_of(play, ref).seq)

    once_before(play, lambda call: is_commit_of(call, event), act)
    while not seen:
        play._advance()
    let_pass(play, HOUR)
    later = [commit for commit in commits_of(play, ref) if commit.seq > seen[0]]
    for kind in (StageStarted, TimerFired, StageChecked):
        assert not any(kind.__name__.encode() in commit.events for commit in later), log(later)
    play.resume(ref)
    play.play(ref)
    assert play.ended(ref).status == "completed"
    check(play, ref)


def log(commits: Any) -> str:
    return "\n".join(commit.events.decode() for commit in commits)


def test_a_claim_that_comes_first_is_kept_and_its_stage_may_end(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "RunPaused"), play.step)
    with suppress(Conflict):
        play.pause(ref)
    assert script.calls == ["a", "b"], "the worker was faster, and finished the run"
    assert not events(play, ref, RunPaused)


def test_pausing_twice_and_resuming_twice_is_refused(script: Script) -> None:
    play, ref = held(script)
    with pytest.raises(Conflict, match="paused already"):
        play.pause(ref)
    play.resume(ref)
    with pytest.raises(Conflict, match="not paused"):
        play.resume(ref)
    assert (len(events(play, ref, RunPaused)), len(events(play, ref, RunResumed))) == (1, 1)
    work(play)
    with pytest.raises(Conflict, match="completed already"):
        play.pause(ref)


@pytest.mark.parametrize("event", ["RunPaused", "RunResumed"])
def test_what_landed_though_its_reply_was_lost_is_done_once(script: Script, event: str) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = started(play, flow)
    once(play, lambda call: is_commit_of(call, event), Fault.LOST_REPLY)
    play.pause(ref)
    play.resume(ref)
    work(play)
    assert (len(events(play, ref, RunPaused)), len(events(play, ref, RunResumed))) == (1, 1)
    assert script.calls == ["a", "b"]
    check(play, ref)


def test_everything_that_is_ready_goes_on_at_once_and_once(script: Script) -> None:
    play = Play(flow := fork(script.stage("a"), *(script.stage(f"b{number}") for number in range(4))))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "a"), lambda: play.pause(ref))
    work(play)
    assert script.calls == ["a"]
    play.resume(ref)
    assert sorted(sent.stage for sent in play.queue.waiting) == ["b0", "b1", "b2", "b3"]
    work(play)
    assert sorted(script.calls) == ["a", "b0", "b1", "b2", "b3"]
    check(play, ref)


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lasts", [1, 30, 14 * 60, 15 * 60, 16 * 60, 3 * 24 * 3_600], ids=str)
@pytest.mark.parametrize("lost", [False, True], ids=["messages arrive", "all messages are lost"])
def test_a_pause_ends_by_itself_never_early_and_in_time(script: Script, lasts: int, *, lost: bool) -> None:
    play, ref = held(script, lasts=timedelta(seconds=lasts))
    begun = state_of(play, ref).paused
    assert begun is not None
    while not events(play, ref, RunResumed):
        if lost:
            play.queue.clear()
            play.clock.move(MINUTE)
            play.tick()
        else:
            play._advance()
        check_kept(plain(play), ref)
    (resumed,) = (commit.at for commit in commits_of(play, ref) if b"RunResumed" in commit.events)
    late = resumed - begun.since - lasts * SECOND
    assert SKEW <= late <= (play.env.limits.tick + play.env.limits.look_grace + 2 * SKEW if lost else 2 * SKEW)
    play.play(ref)
    assert script.calls == ["a", "b"]
    check(play, ref)


def test_a_tick_lets_it_go_on_without_any_worker(script: Script) -> None:
    play, ref = held(script, lasts=timedelta(minutes=5))
    play.queue.clear()
    play.clock.move(10 * MINUTE)
    assert play.tick().resumed == 1
    assert [sent.stage for sent in play.queue.waiting] == ["b"]
    assert head_of(play, ref).status == "open"
    assert play.tick().resumed == 0


def test_who_resumes_it_first_counts_and_the_end_of_that_pause_is_not_that_of_the_next(script: Script) -> None:
    play, ref = held(script, lasts=timedelta(minutes=5))
    play.resume(ref)
    play.queue.clear()
    play.pause(ref, "again")
    let_pass(play, HOUR)
    assert len(events(play, ref, RunResumed)) == 1
    assert play.look(ref).status == "paused"


def test_a_paused_run_can_be_cancelled(script: Script) -> None:
    play, ref = held(script)
    play.cancel(ref, "enough")
    assert (play.ended(ref).status, head_of(play, ref).status, head_of(play, ref).due) == (
        "cancelled",
        "cancelled",
        None,
    )
    assert play.look(ref).paused is None
    check(play, ref)


def test_a_paused_run_that_is_undone_when_cancelled_is_undone_at_once(script: Script) -> None:
    undo = script.undo()
    flow = line(script.stage("a", compensate=undo), script.stage("b"), on_cancel="compensate")
    play = Play(flow)
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "a"), lambda: play.pause(ref))
    work(play)
    play.cancel(ref)
    assert (play.look(ref).status, head_of(play, ref).status) == ("compensating", "open")
    with pytest.raises(Conflict, match="being compensated and cannot be paused"):
        play.pause(ref)
    work(play)
    assert script.calls == ["a", "compensate:a"]
    check(play, ref)


def test_a_failure_is_undone_only_once_the_run_goes_on(script: Script) -> None:
    flow = line(
        script.stage("a", compensate=script.undo()),
        script.stage("b", throws(ValueError("no")), retry=Retry(1)),
        on_failure="compensate",
    )
    play = Play(flow)
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageFailed", "b"), lambda: play.pause(ref))
    let_pass(play, HOUR)
    assert (script.calls, play.look(ref).status, head_of(play, ref).status) == (["a", "b"], "paused", "paused")
    play.resume(ref)
    work(play)
    assert script.calls == ["a", "b", "compensate:a"]
    check(play, ref)


def test_the_last_stage_ends_the_run_though_it_is_paused(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageCompleted"), lambda: play.pause(ref))
    work(play)
    assert len(events(play, ref, RunCompleted)) == 1
    assert (head_of(play, ref).status, play.look(ref).paused) == ("completed", None)
    check(play, ref)


def test_the_deadline_holds_and_a_new_generation_is_not_paused(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b"), deadline=timedelta(hours=2)))
    ref = started(play, flow)
    play.pause(ref)
    play.play(ref)
    assert play.clock.now() - head_of(play, ref).created <= 2 * HOUR + 4 * MINUTE
    assert play.ended(ref).view.error is not None
    check(play, ref)
    rerun(play.env, ref, "a", by="test")
    assert (play.look(ref).status, head_of(play, ref).status) == ("running", "open")
    play.play(ref)
    assert script.calls == ["a", "b"]


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_it_is_shown_and_listed_as_paused_with_reason_and_time(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = started(play, flow)
    pause(play.env, ref, by="test", reason="the bank is down", until=play.clock.now() + HOUR)
    shown = play.look(ref)
    assert shown.status == "paused"
    assert shown.paused is not None
    assert (shown.paused.since, shown.paused.until) == (play.clock.now(), play.clock.now() + HOUR)
    assert shown.paused.reason == "the bank is down"
    assert (listed(play, "paused"), listed(play, "open")) == ([ref], [])
    assert read.show(play.env, ref, seq=0).status == "running", "as it was"
    play.resume(ref)
    assert (play.look(ref).status, play.look(ref).paused) == ("running", None)
    assert (listed(play, "paused"), listed(play, "open")) == ([], [ref])


def test_both_are_published(script: Script) -> None:
    play, ref = held(script)
    play.resume(ref, "go on")
    work(play)
    told = {event.id: event.type for event in play.sink.events}
    assert list(told.values()) == ["RunCreated", "RunPaused", "RunResumed", "RunCompleted"]


@pytest.mark.parametrize("goes_on", [False, True], ids=["paused", "resumed"])
@pytest.mark.parametrize("running", [False, True], ids=["asleep", "while a stage runs"])
def test_a_status_that_a_crash_has_left_is_mended_by_whoever_looks_next(
    script: Script, *, running: bool, goes_on: bool
) -> None:
    play = Play(flow := line(script.stage("a", throws(Crash("dies"), 1)), script.stage("b")))
    ref = play.start(flow, Note())
    if running:
        work(play)
    play.queue.clear()
    if goes_on:
        play.pause(ref)
    guard = Guard.SLEEP_IS_LATEST if not running and not goes_on else Guard.STATUS_AS_SEEN
    once(play, lambda call: is_under(call, guard), Fault.CRASH_BEFORE)
    with suppress(Crash, Unavailable):
        play.resume(ref) if goes_on else play.pause(ref)
    shown = "paused" if goes_on else "open"
    assert head_of(play, ref).status == shown, "which is wrong"
    play.queue.clear()
    play.clock.move(play.env.limits.look_grace)
    play.tick()
    assert head_of(play, ref).status == ("open" if goes_on else "paused")


def test_who_is_late_to_show_a_pause_does_not_once_the_run_has_gone_on_and_sleeps(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).then(script.stage("a"))
    play = Play(flow := flow.sleep(timedelta(days=3)).then(script.stage("b")))
    ref = play.start(flow, Note())
    late: list[Session] = []

    def act() -> None:
        once(play, lambda call: is_under(call, Guard.STATUS_AS_SEEN), Fault.CRASH_BEFORE)
        with suppress(Crash):
            play.pause(ref)
        late.append(session_of(play, ref))
        play.resume(ref)

    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "a"), act)
    work(play)
    assert state_of(play, ref).asleep is not None
    heads.show_status(play.env, late[0])
    assert (head_of(play, ref).status, state_of(play, ref).paused) == ("open", None)


@pytest.mark.parametrize("lasts", [None, timedelta(minutes=5)], ids=["for good", "for a while"])
def test_a_paused_run_is_not_parked_and_one_that_goes_on_without_its_code_is(
    script: Script, lasts: timedelta | None
) -> None:
    play, ref = held(script, lasts=lasts)
    without = replace(play.env, definitions=Registry())
    attend(without, poke(ref), without.clock.monotonic() + 60)
    assert (head_of(play, ref).status, play.look(ref).status) == ("paused", "paused")
    if lasts is None:
        play.resume(ref)
    else:
        play.clock.move(5 * MINUTE + SKEW)
    attend(without, poke(ref), without.clock.monotonic() + 60)
    assert (head_of(play, ref).status, play.look(ref).status) == ("parked", "parked")
    play.pause(ref)
    assert (head_of(play, ref).status, play.look(ref).status) == ("paused", "paused")
    play.resume(ref)
    work(play)
    assert play.ended(ref).status == "completed"


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "says"),
    [(-1, "still to come"), (0, "still to come"), (31 * DAY, "before the run's deadline"), (10**12, "deadline")],
)
def test_a_time_that_makes_no_sense_is_refused_by_name_and_nothing_is_stored(
    script: Script, until: int, says: str
) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    with pytest.raises(InvalidInput, match=says) as refused:
        pause(play.env, ref, by="test", until=play.clock.now() + until)
    assert [where for where, _ in refused.value.problems] == ["until"]
    assert not commits_of(play, ref)


def test_a_reason_that_cannot_be_kept_and_a_run_that_is_not_there_are_refused(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    for act in (play.pause, play.resume):
        with pytest.raises(InvalidInput, match="reason"):
            act(ref, "x" * 501)
        with pytest.raises(NotFound, match="there is no run"):
            act(RunRef("test", "0" * 24))
    assert not commits_of(play, ref)


def test_a_pause_that_is_in_the_log_is_accepted_whatever_fails_afterwards(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = started(play, flow)
    landed: list[Call] = []

    def choose(call: Call) -> Fault | None:
        if landed:
            return Fault.UNAVAILABLE
        if is_commit_of(call, "RunPaused"):
            landed.append(call)
        return None

    play.faults.choose = choose
    play.pause(ref, lasts=timedelta(hours=1))
    play.faults.choose = lambda _call: None
    play.play(ref)
    assert play.ended(ref).status == "completed"


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_a_pause_of_a_run_that_waits_costs_two_commits_and_one_update_of_its_head(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = started(play, flow)
    before = play.meter.of(ref).write_units
    play.pause(ref)
    assert play.meter.of(ref).write_units - before == 2 + 5, (
        "its own, and the one that puts it to sleep; due and status"
    )
    assert play.meter.of(ref).messages == 1, "that of its start"


def test_a_day_of_pause_costs_nothing(script: Script) -> None:
    play, ref = held(script, lasts=timedelta(days=5))
    before = play.meter.of(ref)
    writes, reads = before.writes, before.reads
    for _ in range(24 * 60):
        play.clock.move(MINUTE)
        play.tick()
    assert (play.meter.of(ref).writes, play.meter.of(ref).reads) == (writes, reads)


@pytest.mark.parametrize("lasts", [timedelta(hours=1), timedelta(days=20)], ids=str)
def test_a_pause_and_its_end_cost_the_same_however_long_it_lasts(script: Script, lasts: timedelta) -> None:
    def cost(*, paused: bool) -> float:
        play = Play(flow := line(script.stage("a"), script.stage("b")))
        ref = started(play, flow) if paused else play.start(flow, Note())
        if paused:
            play.pause(ref, lasts=lasts)
        play.play(ref)
        return play.meter.of(ref).write_units

    assert cost(paused=True) - cost(paused=False) == 16


def test_heads_know_what_goes_on() -> None:
    assert set(heads.GOES_ON) < set(heads.COARSE)
