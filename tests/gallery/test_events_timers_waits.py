"""Events, timers, waits: nothing is told before it is true, missed, forgotten, mixed up, waited for in vain."""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from pydantic import BaseModel, PrivateAttr

from kernel.core.codec import FORMAT, to_json
from kernel.core.events import LeaseExpired, StageChecked, StageFailed
from kernel.ports import Published, RunRef
from kernel.shell import read
from kernel.shell.environment import Limits
from kernel.testing.faults import Fault
from kernel.testing.play import Play
from onewrite import Context, Pending, PermanentError, Retry, Workflow, stage
from tests.gallery.stage import SOON, attempts, finish, published, restart
from tests.gallery.traps import trap
from tests.shell.script import (
    HOUR,
    MINUTE,
    SECOND,
    Act,
    Note,
    Script,
    dies,
    events,
    fork,
    head_of,
    is_commit_of,
    line,
    once,
    once_before,
    pending,
    throws,
    work,
)

ALGA, BRATSOS, LUNO = "AlgaPSA", "bratsos/workflow-engine", "luno/workflow"
NO = PermanentError("no")


@trap(
    ALGA,
    "The event is published inside the database transaction: the worker sees it before the commit, "
    "or sees one that was rolled back.",
)
def test_no_event_is_published_before_its_commit_nor_of_a_commit_that_never_was(script: Script) -> None:
    def listen(event: Published) -> None:
        _, seq, index = event.id.split("#")
        log = play.ended(RunRef(event.tenant, event.run)).log
        told = msgspec.json.decode(event.body)["event"]
        committed = int(seq) < len(log) and told == msgspec.json.decode(to_json(log[int(seq)][int(index)]))
        seen.append((event.type, committed))

    seen: list[tuple[str, bool]] = []
    flow = fork(script.stage("a"), script.stage("b"), script.stage("c")).then(script.join("d"))
    play = Play(flow, limits=Limits(publish="all"))
    play.sink.refuse = listen
    contended, cancelled = play.start(flow, Note()), play.start(flow, Note())
    # The commit of b's end is refused by that of c's; and that of the run's end by a cancel: both are rolled back.
    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "b"), lambda: play.attend(contended, "c"))
    play.attend(contended)
    once_before(play, lambda call: is_commit_of(call, "RunCompleted"), lambda: play.cancel(cancelled))
    play.attend(cancelled)
    rolled_back = [call for call in play.faults.calls if is_commit_of(call, "StageCompleted", "b")]
    assert len(rolled_back) == 3, "b's end was committed twice in one of the runs, once in the other"
    play.play([contended, cancelled], days=1)
    assert all(committed for _, committed in seen), seen
    for ref, end in ((contended, "RunCompleted"), (cancelled, "RunCancelled")):
        assert published(play, ref) == [name.split()[0] for name in play.ended(ref).names()]
        assert [each for each in published(play, ref) if each.startswith("Run")] == ["RunCreated", end]


@trap(ALGA, "The enqueued event is already in the log when it is processed: 'no transition'.")
def test_a_worker_that_finds_its_own_commit_in_the_log_already_goes_on_from_it() -> None:
    def unheard(event: str) -> None:
        """The commit of this event lands, and its writer is told that nobody knows."""
        script = Script()
        flow = line(script.stage("a"), script.stage("b", throws(ValueError("again"), 1)), script.stage("c"))
        play = Play(flow)
        ref = play.start(flow, Note())
        begun = play.clock.now()
        once(play, lambda call: is_commit_of(call, event), Fault.LOST_REPLY)
        play.attend(ref)
        play.clock.move(SOON)
        play.attend(ref, "b")
        tokens = [call.arguments[1].token for call in play.faults.calls if is_commit_of(call, event)]
        assert len(tokens) == len(set(tokens)) + 1, "it was put again"
        assert play.ended(ref).status == "completed", "at once: nobody had to wait for a lease"
        assert play.clock.now() - begun < 2 * SOON
        finish(play, ref)
        assert script.calls == ["a", "b", "b", "c"]
        assert events(play, ref, LeaseExpired) == []

    for event in ("StageStarted", "StageFailed", "StageCompleted", "RunCompleted"):
        unheard(event)


class Amount(BaseModel):
    """Something that a condition decides on."""

    euros: Decimal
    within: timedelta
    _unseen: str = PrivateAttr("")


@trap(ALGA, "Guards see other data live than on replay.")
def test_a_condition_sees_what_is_recorded_whoever_decides_and_is_not_asked_again_by_a_replay() -> None:
    @stage
    def quote(ctx: Context, note: Note) -> Amount:
        amount = Amount(euros=Decimal("500.00"), within=timedelta(days=1))
        amount._unseen = "in memory only"
        return amount

    @stage
    def ship(ctx: Context, one: Amount, two: Amount) -> Note:
        return Note(text="shipped")

    def large(one: Amount, two: Amount) -> bool:
        given.extend((repr(each), each._unseen) for each in (one, two))
        return one.euros > 100

    given: list[tuple[str, str]] = []
    first = quote.named("first")
    flow = Workflow("flow", input=Note).together(first, quote.named("second")).then_if(large, ship)
    play = Play(flow)
    ref = play.start(flow, Note())
    play.attend(ref, "first")  # one worker has just given the one output, and reads the other from the log
    play.attend(ref)
    finish(play, ref)
    assert len(given) == 2
    read.replay(play.env, read.find(play.env, ref))
    for seq in range(len(play.ended(ref).log)):
        read.show(play.env, ref, seq=seq)
    assert len(given) == 2, "what was decided stands in the log"
    play.rerun(ref, "ship")  # decided anew, by somebody who has to read both
    finish(play, ref)
    assert given == [(repr(Amount(euros=Decimal("500.00"), within=timedelta(days=1))), "")] * 4


@trap(ALGA, "An event that arrives before the wait is missed.")
def test_what_happens_before_anybody_waits_for_it_is_not_missed(script: Script) -> None:
    """A provider is done before the run waits for it, and a branch before the other ones are."""
    done: list[int] = []
    play = Play(flow := line(script.job("a", lambda _ctx: None if done else Pending())))
    ref = play.start(flow, Note())
    # The provider is done before the commit that says that somebody waits for it.
    once_before(play, lambda call: is_commit_of(call, "StageSuspended"), lambda: done.append(play.clock.now()))
    play.step()
    assert done
    finish(play, ref)
    assert script.calls == ["a", "check:a"], "found by the first look"

    def joined(early: str, late: str) -> None:
        """One branch ends while the other's end, already in its worker's hand, waits to be committed."""
        script.calls.clear()
        flow = fork(script.stage("z"), script.stage("b"), script.stage("c"), chain=False).then(script.join("d"))
        play = Play(flow)
        ref = play.start(flow, Note())
        play.attend(ref)
        once_before(play, lambda call: is_commit_of(call, "StageCompleted", late), lambda: play.attend(ref, early))
        play.attend(ref, late)
        finish(play, ref)
        assert script.calls == ["z", late, early, "d"]
        assert script.seen["d"] == (Note(text="b"), Note(text="c"))

    joined("b", "c")
    joined("c", "b")


@trap(ALGA, "Waits and listeners live in memory: a restart forgets them.")
def test_a_restart_forgets_no_wait_of_any_length(script: Script) -> None:
    def waits(name: str, wait: timedelta) -> Any:
        """Fails, or hands over to a provider, and goes on after that time."""

        def act(ctx: Context) -> Any:
            begun = times.setdefault(name, play.clock.now())
            if begun == play.clock.now():
                raise ConnectionError("later")
            times[name] = play.clock.now() - begun

        def check(ctx: Context) -> None:
            times[name] = play.clock.now() - created

        if name.startswith("poll"):
            return line(script.job("a", check, every=wait, limit=timedelta(days=5)), id=name)
        return line(script.stage("a", act, retry=Retry(2, first=wait, cap=wait, jitter=0.0)), id=name)

    times: dict[str, int] = {}
    wanted = {
        f"{kind}-{minutes}": timedelta(minutes=minutes)
        for kind in ("poll", "retry")
        for minutes in (3, 14, 16, 360, 2_880)
    }
    flows = {name: waits(name, wait) for name, wait in wanted.items()}
    play = Play(*flows.values())
    created = play.clock.now()
    refs = [play.start(flow, Note()) for flow in flows.values()]
    work(play)
    play.queue.clear()  # everything stops, and every message is lost
    for _ in range(2_880 + 10):
        restart(play, *flows.values())
        play.clock.move(MINUTE)
        play.tick()
        work(play)
    limits = play.env.limits
    for name, wait in wanted.items():
        late = times[name] - wait // timedelta(milliseconds=1)
        assert 0 <= late <= limits.look_grace + 2 * limits.tick + limits.max_skew, f"{name}: {late}"
    for ref in refs:
        finish(play, ref)


@trap(LUNO, "A timer is looked up by business key, so the first run's timer fires on the second run.")
def test_a_timer_fires_for_nothing_but_the_very_wait_that_set_it(script: Script) -> None:
    """A run is cancelled while it waits to try again. What comes after it waits, too, and is not woken by its timer."""
    wait = timedelta(minutes=10)
    retry = Retry(2, first=wait, cap=wait, jitter=0.0)
    for again in ("another run for the same order", "another generation of the run"):
        script.calls.clear()
        play = Play(flow := line(script.stage("a", throws(ConnectionError("later"), 2), retry=retry)))
        first = play.start(flow, Note(text="order 7"))
        work(play)
        (message,) = play.queue.waiting
        play.cancel(first)
        play.clock.move(5 * MINUTE)
        if again.startswith("another run"):
            second = play.start(flow, Note(text="order 7"))
        else:
            play.rerun(second := first, "a")
        work(play)
        assert script.calls == ["a", "a"]
        play.clock.move(5 * MINUTE + 2 * SECOND)
        assert message in play.queue.waiting
        work(play)
        assert message not in play.queue.waiting
        assert script.calls == ["a", "a"], "the first timer has come, and it is not the second one's time"
        play.clock.move(5 * MINUTE)
        work(play)
        assert script.calls == ["a", "a", "a"]
        finish(play, second)


@trap(LUNO, "A failing timer handler is retried hundreds of times a second without a log line.")
def test_what_fails_at_its_time_is_tried_at_its_pace_and_each_failure_is_told(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    def check(_ctx: Context) -> None:
        times.append(play.clock.now())
        if len(times) < 10:
            raise ConnectionError("no")

    times: list[int] = []
    play = Play(flow := line(script.job("a", check)))
    ref = play.start(flow, Note())
    finish(play, ref)
    assert len(times) == 10
    assert all(after - before >= MINUTE for before, after in pairwise(times))
    assert [each.error.kind for each in events(play, ref, StageChecked)] == ["ConnectionError"] * 9

    bad = play.start(flow, Note())
    play.store.put(bad, replace(head_of(play, bad), v=FORMAT + 1))
    caplog.clear()
    with caplog.at_level(logging.ERROR, "onewrite"):
        failed = 0
        for _ in range(60):
            play.clock.move(play.env.limits.tick)
            failed += play.tick().failed
    assert failed == 30, "once in two minutes"
    assert [getattr(record, "run", "") for record in caplog.records] == [bad.run] * failed


@trap(LUNO, "Waiting for a status that was already reached hangs.")
def test_waiting_for_what_was_reached_or_passed_already_returns_at_once(script: Script) -> None:
    flows = (
        line(script.stage("a")),
        line(script.stage("a", throws(NO)), id="failing"),
        line(script.stage("a", compensate=script.undo()), script.stage("b", throws(NO)), id="undone"),
    )
    play = Play(*flows)
    for flow, status in zip(flows, ("completed", "failed", "failed"), strict=True):
        ref = play.run(flow, Note()).ref
        before = play.clock.now()
        for wanted in (("completed", "failed", "cancelled"), (status,), ("running",), ("compensating",), ("parked",)):
            shown = read.wait_for(play.env, ref, timeout=60, until=frozenset(wanted))
            assert shown is not None
            assert shown.status == status
        assert play.clock.now() == before


@trap(LUNO, "Waiting for the end returns on 'paused'.")
def test_waiting_for_the_end_goes_on_while_a_run_is_parked(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parked run is what a paused one is elsewhere: not running, and not over."""
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    restart(play)  # a deployment that does not have its workflow
    work(play)
    shown = read.wait_for(play.env, ref, timeout=60, until=frozenset({"parked"}))
    assert shown is not None
    assert shown.status == "parked"
    assert read.wait_for(play.env, ref, timeout=60) is None

    def meanwhile(seconds: float) -> None:
        naps.append(seconds)
        play.clock.move(int(seconds * 1_000))
        if len(naps) == 20:
            restart(play, flow)
            play.attend(ref)

    naps: list[float] = []
    monkeypatch.setattr(play.clock, "sleep", meanwhile)
    shown = read.wait_for(play.env, ref, timeout=600)
    assert shown is not None
    assert (shown.status, len(naps)) == ("completed", 20)


@trap(BRATSOS, "One network error in a poll's check fails the whole run.")
def test_a_network_error_while_polling_fails_neither_the_stage_nor_the_run(script: Script) -> None:
    errors: list[BaseException] = [ConnectionError("reset"), TimeoutError("slow"), OSError("no route to host")]

    def check(_ctx: Context) -> Pending | None:
        looks = script.calls.count("check:a")
        if looks % 4 == 0:
            return Pending() if looks < 12 else None
        raise errors[looks % 4 - 1]

    play = Play(flow := line(script.job("a", check), script.stage("b")))
    ref = play.start(flow, Note())
    finish(play, ref)
    assert script.calls == ["a", *["check:a"] * 12, "b"]
    assert (attempts(play, ref), events(play, ref, StageFailed)) == ([1], [])


@trap(BRATSOS, "`maxWait` is accepted and ignored.")
def test_a_wait_ends_at_its_limit_whatever_its_checks_do(script: Script) -> None:
    checks: dict[str, Act] = {
        "are not ready": pending(1_000),
        "throw": throws(ConnectionError("no")),
        "kill their process": dies(),
        "are poked for in vain": pending(1_000),
    }
    for what, check in checks.items():
        for limit in (30 * MINUTE, 3 * HOUR):
            every = timedelta(milliseconds=limit / 3)
            flow = line(script.job("a", check, every=every, limit=timedelta(milliseconds=limit)))
            play = Play(flow)
            ref = play.start(flow, Note())
            play.step()
            if what == "are poked for in vain":
                for _ in range(limit // MINUTE + 10):
                    play.queue.clear()  # what workers send is lost; what a tick sends at once arrives
                    play.clock.move(MINUTE)
                    play.tick()
                    work(play)
            view = finish(play, ref, "failed", days=1 / 4).view
            assert view.error is not None
            assert (view.error.kind, view.error.stage) == ("WaitLimitReached", "a"), what
            limits = play.env.limits
            late = view.updated - view.created - limit
            assert 0 <= late <= 2 * (limits.look_grace + limits.tick) + MINUTE + limits.lease_grace, (what, late)
