"""The machine's timer: it interrupts what runs too long, at any moment, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from infra.alarm import SignalAlarm
from kernel.errors import StageTimedOut
from kernel.ports import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def spin(seconds: float) -> None:
    """Be busy for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getsignal(signal.SIGALRM) == handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_block_that_runs_too_long_is_interrupted() -> None:
    started = time.monotonic()

    with pytest.raises(StageTimedOut, match=r"ran longer than 0.05 s"), SignalAlarm().limit(0.05):
        spin(5)

    assert time.monotonic() - started < 2


def test_a_block_that_waits_is_interrupted_too() -> None:
    with pytest.raises(StageTimedOut), SignalAlarm().limit(0.05):
        threading.Event().wait(5)


def test_a_block_within_its_limit_is_left_alone() -> None:
    with SignalAlarm().limit(0.2):
        pass
    spin(0.3)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_limit_that_is_over_at_the_start_interrupts_at_once(seconds: float) -> None:
    with pytest.raises(StageTimedOut), SignalAlarm().limit(seconds):
        spin(5)


def test_a_limit_that_is_extended_counts_anew() -> None:
    with SignalAlarm().limit(0.3) as limit:
        limit.extend(5)
        spin(0.4)


def test_a_limit_can_be_extended_from_another_thread() -> None:
    """A stage that waits in a library for long has a thread of its own say that it is alive."""
    with SignalAlarm().limit(0.3) as limit:
        helper = threading.Thread(target=limit.extend, args=(5,))
        helper.start()
        helper.join()
        spin(0.4)


def test_a_block_that_swallows_the_interrupt_is_interrupted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's client takes what is thrown within a call for a broken connection, and tries once more."""
    monkeypatch.setattr("infra.alarm.AGAIN", 0.05)
    swallowed = 0

    def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 3:
            try:
                spin(5)
            except StageTimedOut:
                swallowed += 1
        spin(5)

    started = time.monotonic()
    with pytest.raises(StageTimedOut, match=r"longer than 0.05 s"), SignalAlarm().limit(0.05):
        stubborn()

    assert swallowed == 3
    assert time.monotonic() - started < 2
    spin(0.1)


def test_a_limit_can_be_made_shorter() -> None:
    def shorten_and_spin(limit: Limit) -> None:
        limit.extend(0.03)
        spin(5)

    with pytest.raises(StageTimedOut, match=r"0.03 s"), SignalAlarm().limit(10) as limit:
        shorten_and_spin(limit)


def test_extending_a_limit_that_has_ended_does_nothing() -> None:
    with SignalAlarm().limit(5) as limit:
        pass
    limit.extend(0.01)
    spin(0.03)


def test_the_inner_of_two_limits_ends_its_own_block_only() -> None:
    alarm = SignalAlarm()

    with alarm.limit(5):
        with pytest.raises(StageTimedOut, match=r"0.03 s"), alarm.limit(0.03):
            spin(5)
        reached = True

    assert reached


def test_the_outer_of_two_limits_holds_inside_the_inner() -> None:
    alarm = SignalAlarm()

    with pytest.raises(StageTimedOut, match=r"0.03 s"), alarm.limit(0.03), alarm.limit(60):
        spin(5)


def test_the_outer_limit_still_holds_after_the_inner_block_has_ended() -> None:
    alarm = SignalAlarm()

    def limit_a_part() -> None:
        with alarm.limit(5):
            pass
        spin(5)

    with pytest.raises(StageTimedOut, match=r"0.06 s"), alarm.limit(0.06):
        limit_a_part()


def test_an_error_of_the_block_comes_through_and_ends_the_limit() -> None:
    alarm = SignalAlarm()

    with pytest.raises(ZeroDivisionError), alarm.limit(0.02):
        _ = 1 // 0
    spin(0.05)


def test_an_alarm_that_comes_too_early_does_not_end_the_limit() -> None:
    def ring_early_and_spin() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.kill(os.getpid(), signal.SIGALRM)
        spin(5)

    with pytest.raises(StageTimedOut, match=r"0.05 s"), SignalAlarm().limit(0.05):
        ring_early_and_spin()


def test_a_timer_that_somebody_else_had_set_goes_on() -> None:
    rung = []

    def ring(number: int, frame: FrameType | None) -> None:
        rung.append(number)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with SignalAlarm().limit(5):
            pass
        assert rung == []
        spin(0.4)
        assert rung == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_in_another_thread_nothing_is_limited_and_nothing_breaks() -> None:
    outcome = []

    def work() -> None:
        alarm = SignalAlarm()
        with alarm.limit(0.01) as limit:
            limit.extend(0.01)
            spin(0.05)
            outcome.append("whole")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert outcome == ["whole"]


def test_limits_that_end_at_any_moment_leave_nothing_behind() -> None:
    """The alarm rings between any two lines of the alarm's own code, thousands of times."""
    alarm, interrupted = SignalAlarm(), 0

    for i in range(4000):
        try:
            with alarm.limit((i % 40) * 1e-6), alarm.limit((i % 37) * 1e-6):
                spin(i % 11 * 1e-6)
        except StageTimedOut:
            interrupted += 1
        assert alarm._limits == []

    assert interrupted > 400
