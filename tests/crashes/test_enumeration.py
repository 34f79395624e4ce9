"""Every blow at every port call of every scenario, one at a time and in pairs, through the real handlers.

A blow is a crash before or after the call, a lost reply, a call that is not made, or an outage that begins with it.
After each history: every invariant that can be seen; every run ended as it would have; every answer to a client was
true.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.crashes.fate import Blow, Kind
from tests.crashes.histories import History, Trial, followers, singles, trial
from tests.crashes.scenarios import SCENARIOS
from tests.proof import share, tell

SAMPLE = 15
"""Pairs per scenario that a bounded run takes."""
PARTS = share(1, 4)
"""Tests per scenario that the pairs are spread over, so that several processes can share them."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_one_blow_breaks_nothing(name: str) -> None:
    count = 0
    for blow in singles(name):
        trial(name).history(blow)
        count += 1
    assert count > 30, "the scenario crosses ports"
    tell("crashes", scenarios=1, single=count)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", SCENARIOS)
def test_two_blows_break_nothing(name: str, part: int) -> None:
    count = 0
    for pair in share(_some, _all)(name, part):
        trial(name).history(*pair)
        count += 1
    tell("crashes", pairs=count)


def _all(name: str, part: int) -> Iterator[tuple[Blow, Blow]]:
    for first in singles(name):
        if first.number % PARTS == part:
            for second in followers(name, first):
                yield first, second


def _some(name: str, part: int) -> Iterator[tuple[Blow, Blow]]:
    random = Random(name)
    firsts = list(singles(name))
    for _ in range(SAMPLE):
        first = random.choice(firsts)
        if seconds := list(followers(name, first)):
            yield first, random.choice(seconds)


@pytest.mark.parametrize("name", ["branches", "cancelled-asleep"])
def test_a_history_can_be_repeated(name: str) -> None:
    """Else numbers would not name calls. A process that stayed warm makes no difference."""
    for blow in list(singles(name))[::7]:
        again, fresh = trial(name).history(blow), Trial(SCENARIOS[name]).history(blow)
        assert told(again) == told(fresh)


@pytest.mark.parametrize("name", ["read", "a-worker-dies"])
def test_before_and_after_a_call_that_only_reads_is_the_same_history(name: str) -> None:
    """So one of the two is enough."""
    for line in trial(name).undisturbed.trace:
        if not line.effect:
            number = line.call.number
            for one, other in ((Kind.CRASH_BEFORE, Kind.CRASH_AFTER), (Kind.UNAVAILABLE, Kind.LOST_REPLY)):
                assert told(trial(name).history(Blow(number, one))) == told(trial(name).history(Blow(number, other)))


def told(history: History) -> list[tuple[int, str, str]]:
    """When was what called, with what."""
    return [(line.at, line.name, str(line.call.arguments)) for line in history.trace]
