"""Time-outs of bodies (DESIGN 9): an alarm for each body and check; what it raises is an error like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread
from typing import Any

from msgspec.structs import replace

from kernel.core.events import StageFailed
from kernel.ports import Live
from kernel.testing.play import Play
from onewrite import Context, Failed, Retry, StageTimedOut
from tests.shell.script import Act, Flow, Note, Script, events, is_commit_of, line, once_before, pending, work


class FakeAlarm:
    """Notes what it is set to, and rings when the test says so."""

    def __init__(self) -> None:
        self.set: list[float] = []
        self.extended: list[float] = []
        self.on = False

    @contextmanager
    def limit(self, seconds: float) -> Iterator[FakeAlarm]:
        """For the length of a body."""
        self.set.append(seconds)
        self.on = True
        try:
            yield self
        finally:
            self.on = False

    def extend(self, seconds: float) -> None:
        """Start anew."""
        self.extended.append(seconds)

    def ring(self) -> None:
        """The time is up."""
        assert self.on, "an alarm must not ring outside a body"
        raise StageTimedOut("the body ran longer than its timeout")


def alarmed(flow: Flow) -> tuple[Play, FakeAlarm]:
    """A deployment that can interrupt bodies."""
    play, alarm = Play(flow), FakeAlarm()
    play.env = replace(play.env, alarm=alarm)
    return play, alarm


def ringing(alarms: list[FakeAlarm]) -> Act:
    """A body whose time is up."""
    return lambda _ctx: alarms[0].ring()


def test_each_body_has_its_own_timeout(script: Script) -> None:
    stages = (script.stage(f"s{seconds}", timeout=timedelta(seconds=seconds)) for seconds in (5, 7))
    play, alarm = alarmed(flow := line(*stages))
    play.run(flow, Note())
    assert alarm.set == [5.0, 7.0]
    assert not alarm.on


def test_checks_have_the_timeout_of_their_stage(script: Script) -> None:
    play, alarm = alarmed(flow := line(script.job("a", pending(1), timeout=timedelta(seconds=9))))
    play.run(flow, Note())
    assert alarm.set == [9.0, 9.0, 9.0]


def test_a_body_whose_time_is_up_is_retried_and_then_fails_with_that_error(script: Script) -> None:
    alarms: list[FakeAlarm] = []
    play, alarm = alarmed(flow := line(script.stage("a", ringing(alarms), retry=Retry(2))))
    alarms.append(alarm)
    ended = play.run(flow, Note())
    assert script.calls == ["a", "a"]
    errors = [(each.error.category, each.error.kind) for each in events(play, ended.ref, StageFailed)]
    assert errors == [("timeout", "StageTimedOut")] * 2


def test_a_check_whose_time_is_up_is_made_again(script: Script) -> None:
    alarms: list[FakeAlarm] = []
    rung = [0]

    def check(_ctx: Context) -> None:
        rung[0] += 1
        if rung[0] < 3:
            alarms[0].ring()

    play, alarm = alarmed(flow := line(script.job("a", check)))
    alarms.append(alarm)
    assert play.run(flow, Note()).status == "completed"


def test_an_alarm_that_rings_while_the_output_is_validated_is_a_timeout(script: Script) -> None:
    alarms: list[FakeAlarm] = []

    class Slow(Note):
        """Takes for ever to be written."""

        def __eq__(self, other: object) -> bool:
            alarms[0].ring()
            return False

        __hash__ = None  # type: ignore[assignment]

    play, alarm = alarmed(flow := line(script.stage("a", lambda _ctx: Slow(), retry=Retry(1))))
    alarms.append(alarm)
    ended = play.run(flow, Note())
    assert ended.view.error is not None
    assert ended.view.error.category in {"timeout", "output"}
    assert ended.status == "failed"


def test_a_sign_of_life_starts_the_timeout_anew_within_the_invocation(script: Script) -> None:
    def act(ctx: Context) -> None:
        for _ in range(3):
            play.clock.move(50_000)
            ctx.heartbeat()

    play, alarm = alarmed(flow := line(script.stage("a", act)))
    play.start(flow, Note())
    play.step(seconds=180)
    assert alarm.extended == [60.0, 60.0, 30.0]


def test_a_sign_of_life_from_a_thread_of_the_stages_own_counts(script: Script) -> None:
    def act(ctx: Context) -> None:
        play.clock.move(50_000)
        helper = Thread(target=ctx.heartbeat)
        helper.start()
        helper.join()

    play, alarm = alarmed(flow := line(script.stage("a", act)))
    play.run(flow, Note())
    assert alarm.extended == [60.0]


def test_a_timeout_of_a_stage_that_may_fail_is_seen_by_what_follows(script: Script) -> None:
    alarms: list[FakeAlarm] = []
    before: Any = line(script.stage("a", ringing(alarms), retry=Retry(1), on_failure="proceed"))
    play, alarm = alarmed(before.then(script.after_failure("b")))
    alarms.append(alarm)
    play.start(before.then(script.after_failure("b")), Note())
    work(play)
    seen = script.seen["b"]
    assert isinstance(seen, Failed)
    assert seen.category == "timeout"


def test_what_a_claim_took_to_be_answered_is_taken_from_its_body_and_not_from_the_next(script: Script) -> None:
    """A body never runs past its lease, whatever came between: else two of them could run at once."""
    play, alarm = alarmed(flow := line(script.stage("a", timeout=timedelta(seconds=60))))
    play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageStarted"), lambda: play.clock.move(50_000))
    work(play)
    lease = 60 + play.env.limits.lease_grace / 1000
    assert alarm.set == [lease - 50]


def test_what_a_heartbeat_took_is_not_given_to_the_body_on_top(script: Script) -> None:
    play, alarm = alarmed(flow := line(script.stage("a", lambda ctx: ctx.heartbeat(), timeout=timedelta(seconds=60))))
    play.start(flow, Note())
    once_before(
        play, lambda call: call.method == "put" and isinstance(call.arguments[1], Live), lambda: play.clock.move(9_000)
    )
    work(play)
    assert alarm.extended == [60 - 9]
