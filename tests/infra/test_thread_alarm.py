"""The alarm of threads: it interrupts what runs too long in any of them, and nothing else, ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.thread_alarm import ThreadAlarm
from kernel.errors import StageTimedOut


def spin(seconds: float) -> None:
    """Be busy for so long, as user code is: between instructions it can be interrupted."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def in_thread(work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


@pytest.fixture
def alarm() -> ThreadAlarm:
    return ThreadAlarm()


def test_a_block_in_any_thread_that_runs_too_long_is_interrupted(alarm: ThreadAlarm) -> None:
    def work() -> None:
        with pytest.raises(StageTimedOut, match=r"^ran longer than 0.05 s and was interrupted$"), alarm.limit(0.05):
            spin(5)

    started = time.monotonic()
    in_thread(work)
    assert time.monotonic() - started < 2


def test_only_the_thread_that_is_over_its_time_is_interrupted(alarm: ThreadAlarm) -> None:
    def slow() -> str:
        try:
            with alarm.limit(0.05):
                spin(5)
        except StageTimedOut:
            return "interrupted"
        return "ended"

    def quick() -> str:
        with alarm.limit(5):
            spin(0.3)
        return "ended"

    with ThreadPoolExecutor(4) as pool:
        told = [pool.submit(each) for each in (slow, quick, slow, quick)]
        assert [each.result() for each in told] == ["interrupted", "ended", "interrupted", "ended"]


def test_a_block_within_its_limit_is_left_alone_and_so_is_what_follows(alarm: ThreadAlarm) -> None:
    with alarm.limit(0.1):
        pass
    spin(0.2)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_limit_that_is_over_at_the_start_interrupts_at_once(alarm: ThreadAlarm, seconds: float) -> None:
    with pytest.raises(StageTimedOut), alarm.limit(seconds):
        spin(5)


def test_a_limit_that_is_extended_counts_anew(alarm: ThreadAlarm) -> None:
    with alarm.limit(0.2):
        alarm.extend(5)
        spin(0.3)


def test_a_limit_can_be_made_shorter(alarm: ThreadAlarm) -> None:
    def shorten_and_spin() -> None:
        alarm.extend(0.03)
        spin(5)

    with pytest.raises(StageTimedOut, match=r"0.03 s"), alarm.limit(10):
        shorten_and_spin()


def test_extending_without_a_limit_does_nothing(alarm: ThreadAlarm) -> None:
    alarm.extend(0.01)
    spin(0.03)


def test_a_block_that_swallows_the_interrupt_is_interrupted_again(
    alarm: ThreadAlarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.thread_alarm.AGAIN", 0.05)
    swallowed = 0

    def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 3:
            try:
                spin(5)
            except StageTimedOut:
                swallowed += 1
        spin(5)

    with pytest.raises(StageTimedOut, match=r"longer than 0.05 s"), alarm.limit(0.05):
        stubborn()

    assert swallowed == 3


def test_the_inner_of_two_limits_ends_its_own_block_only(alarm: ThreadAlarm) -> None:
    with alarm.limit(5):
        with pytest.raises(StageTimedOut, match=r"0.03 s"), alarm.limit(0.03):
            spin(5)
        reached = True

    assert reached


def test_the_outer_of_two_limits_holds_inside_the_inner(alarm: ThreadAlarm) -> None:
    def nested() -> None:
        with alarm.limit(5):
            spin(5)
        pytest.fail("it went on")

    with pytest.raises(StageTimedOut, match=r"^ran longer than 0.05 s"), alarm.limit(0.05):
        nested()


def test_another_error_of_the_block_comes_through(alarm: ThreadAlarm) -> None:
    with pytest.raises(ValueError, match="mine"), alarm.limit(5):
        raise ValueError("mine")


def test_whatever_the_moment_it_rings_a_block_ends_whole_and_nothing_rings_afterwards(alarm: ThreadAlarm) -> None:
    """Thousands of blocks that end just as their time does."""

    def hurry(number: int) -> int:
        interrupted = 0
        for turn in range(400):
            try:
                with alarm.limit(0.0005 + (turn + number) % 7 * 0.00005):
                    spin(0.00065)
            except StageTimedOut:
                interrupted += 1
        spin(0.02)
        return interrupted

    with ThreadPoolExecutor(4) as pool:
        interrupted = sum(pool.map(hurry, range(4)))

    assert interrupted > 0
    assert alarm._innermost == {}
    with alarm.limit(5):  # its lock was left open
        pass


class Service:
    """Something that all threads share, and that must not be left half done."""

    def __init__(self) -> None:
        self.begun = self.done = 0

    def call(self, seconds: float) -> str:
        self.begun += 1
        spin(seconds)
        self.done += 1
        return "answer"


def test_a_call_of_a_shielded_port_is_not_interrupted_in_the_middle_but_right_after(alarm: ThreadAlarm) -> None:
    service = Service()
    shielded = alarm.shield(service)
    after: list[str] = []

    def call() -> None:
        shielded.call(0.2)
        after.append("went on")

    def work() -> None:
        with pytest.raises(StageTimedOut, match=r"0.05 s"), alarm.limit(0.05):
            call()

    in_thread(work)
    assert (service.begun, service.done, after) == (1, 1, [])


def test_once_the_time_is_over_no_call_of_a_shielded_port_is_made(alarm: ThreadAlarm) -> None:
    service = Service()
    shielded = alarm.shield(service)

    def deaf() -> None:
        for _ in range(3):
            try:
                spin(0.06)
                shielded.call(0.0)
            except StageTimedOut:
                continue
        shielded.call(0.0)

    with pytest.raises(StageTimedOut), alarm.limit(0.05):
        deaf()
    assert service.begun == 0


def test_a_shielded_port_without_a_limit_is_just_the_port(alarm: ThreadAlarm) -> None:
    assert alarm.shield(Service()).call(0.0) == "answer"


def test_what_waits_inside_the_system_is_interrupted_when_it_comes_back(alarm: ThreadAlarm) -> None:
    def wait_and_spin() -> None:
        threading.Event().wait(0.3)
        spin(5)

    started = time.monotonic()
    with pytest.raises(StageTimedOut), alarm.limit(0.05):
        wait_and_spin()
    assert time.monotonic() - started < 2
