"""Faults at a chosen call: those that can never strike are refused, and those that did not are found."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.errors import Unavailable
from onewrite.testing import Crash, Fault, Play
from tests.shell.flows import Order, order


def test_a_fault_strikes_at_the_call_it_was_set_for_and_no_longer_waits() -> None:
    play = Play(order)
    run = play.start(order, Order())
    number = len(play.faults.calls)

    play.faults.at(number, Fault.CRASH_AFTER)
    assert play.faults.waiting == {number: Fault.CRASH_AFTER}

    with pytest.raises(Crash, match=f"call {number}"):
        play.step()
    assert play.faults.waiting == {}

    play.play(run)
    assert play.ended(run).status == "completed"


def test_a_fault_at_a_call_that_is_never_made_is_still_waiting_at_the_end() -> None:
    play = Play(order)
    play.faults.at(9_999, Fault.UNAVAILABLE)

    play.run(order, Order())

    assert play.faults.waiting == {9_999: Fault.UNAVAILABLE}


def test_a_second_fault_does_not_take_the_place_of_the_first() -> None:
    play = Play(order)
    run = play.start(order, Order())
    number = len(play.faults.calls)
    play.faults.at(number, Fault.CRASH_BEFORE)
    play.faults.at(number + 1, Fault.CRASH_BEFORE)

    for _ in range(2):
        with pytest.raises(Crash):
            play.attend(run)


def test_calls_are_counted_from_nought() -> None:
    with pytest.raises(ValueError, match="none has the number -1"):
        Play(order).faults.at(-1, Fault.CRASH_AFTER)


def test_a_call_that_has_passed_can_no_longer_meet_a_fault() -> None:
    play = Play(order)
    play.start(order, Order())
    following = len(play.faults.calls)

    with pytest.raises(ValueError, match=f"call 0 has passed already: the next one is call {following}"):
        play.faults.at(0, Fault.CRASH_AFTER)


@pytest.mark.parametrize("wrong", ["crash", "crash-after", None])
def test_what_is_not_a_fault_is_refused_with_those_that_there_are(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a fault; there are Fault\.CRASH_BEFORE, Fault\.CRASH_AFTER, "):
        Play(order).faults.at(2, wrong)


def test_a_choice_that_is_not_a_fault_is_refused_too() -> None:
    play = Play(order)
    wrong: Any = "crash-after"
    play.faults.choose = lambda _call: wrong

    with pytest.raises(ValueError, match="'crash-after' is not a fault"):
        play.start(order, Order())


def test_a_choice_is_still_asked_where_no_fault_waits() -> None:
    play = Play(order)
    play.faults.at(9_999, Fault.CRASH_AFTER)
    play.faults.choose = lambda _call: Fault.UNAVAILABLE

    with pytest.raises(Unavailable):
        play.start(order, Order())
