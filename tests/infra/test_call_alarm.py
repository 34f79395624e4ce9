"""The alarm of threads: whoever has run too long is told at the next call, and nobody else, ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra import call_alarm
from infra.call_alarm import CallAlarm
from kernel.errors import StageTimedOut


class Time:
    """The machine's monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Service:
    """A port."""

    def __init__(self) -> None:
        self.calls = 0

    def call(self, answer: str) -> str:
        self.calls += 1
        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(call_alarm, "time", clock)
    return clock


@pytest.fixture
def alarm(clock: Time) -> CallAlarm:
    return CallAlarm()


def test_a_block_that_has_run_too_long_is_told_at_its_next_call_which_is_not_made(
    alarm: CallAlarm, clock: Time
) -> None:
    service = Service()
    watched = alarm.watch(service)

    def work() -> None:
        assert watched.call("in time") == "in time"
        clock.now += 5.0
        watched.call("too late")

    with pytest.raises(StageTimedOut, match=r"^ran longer than 5 s$"), alarm.limit(5):
        work()
    assert service.calls == 1


def test_a_block_that_calls_nothing_is_told_at_its_end(alarm: CallAlarm, clock: Time) -> None:
    with pytest.raises(StageTimedOut, match="2 s"), alarm.limit(2):
        clock.now += 2.0


def test_a_block_that_swallows_it_is_told_again(alarm: CallAlarm, clock: Time) -> None:
    service = Service()
    watched = alarm.watch(service)

    def deaf() -> None:
        for _ in range(3):
            with pytest.raises(StageTimedOut):
                watched.call("too late")

    def work() -> None:
        clock.now += 1.0
        deaf()

    with pytest.raises(StageTimedOut), alarm.limit(1):
        work()
    assert service.calls == 0


def test_a_block_within_its_limit_is_left_alone_and_so_is_what_follows(alarm: CallAlarm, clock: Time) -> None:
    watched = alarm.watch(Service())
    with alarm.limit(1):
        clock.now += 0.9
        watched.call("in time")
    clock.now += 10.0
    assert watched.call("no limit") == "no limit"


def test_a_limit_that_is_extended_counts_anew(alarm: CallAlarm, clock: Time) -> None:
    with alarm.limit(1) as limit:
        clock.now += 0.9
        limit.extend(5)
        clock.now += 4.9


def test_a_limit_can_be_extended_from_another_thread(alarm: CallAlarm, clock: Time) -> None:
    """A stage that waits in a library for long has a thread of its own say that it is alive."""
    with alarm.limit(1) as limit:
        clock.now += 0.9
        helper = threading.Thread(target=limit.extend, args=(5,))
        helper.start()
        helper.join()
        clock.now += 4.9


def test_extending_a_limit_that_has_ended_does_nothing(alarm: CallAlarm, clock: Time) -> None:
    with alarm.limit(1) as limit:
        pass
    limit.extend(0.01)
    clock.now += 1.0
    alarm.check()


def test_another_error_of_the_block_comes_through_however_late(alarm: CallAlarm, clock: Time) -> None:
    def work() -> None:
        clock.now += 2.0
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), alarm.limit(1):
        work()


def test_the_outer_of_two_limits_holds_inside_the_inner(alarm: CallAlarm, clock: Time) -> None:
    watched = alarm.watch(Service())

    def work() -> None:
        clock.now += 1.0
        watched.call("too late")

    with pytest.raises(StageTimedOut, match="longer than 1 s"), alarm.limit(1), alarm.limit(5):
        work()


def test_blocks_that_are_long_past_their_time_are_counted_from_outside(alarm: CallAlarm, clock: Time) -> None:
    with alarm.limit(1) as limit:
        clock.now += 30.9
        assert alarm.overdue(30.0) == 0
        clock.now += 0.2
        assert alarm.overdue(30.0) == 1
        limit.extend(60)
        assert alarm.overdue(30.0) == 0
    assert alarm.overdue(30.0) == 0


def test_each_thread_has_its_own_limits() -> None:
    alarm = CallAlarm()
    service = alarm.watch(Service())
    started, over = threading.Event(), threading.Event()

    def slow() -> str:
        try:
            with alarm.limit(0.05):
                started.set()
                time.sleep(0.06)
                over.set()
                service.call("too late")
        except StageTimedOut:
            return "told"
        return "not told"

    def quick() -> str:
        with alarm.limit(60):
            started.wait(5)
            over.wait(5)
            return service.call("not told")

    with ThreadPoolExecutor(2) as pool:
        assert [each.result() for each in (pool.submit(slow), pool.submit(quick))] == ["told", "not told"]
