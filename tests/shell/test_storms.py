"""Random workflows under random faults, commands and time: the invariants of DESIGN 13, as far as they can be seen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest

from kernel.errors import Refused, Unavailable
from kernel.ports import RunRef
from kernel.shell.environment import Limits
from kernel.testing.faults import Call, Crash, Fault
from kernel.testing.play import Play
from tests.shell import invariants
from tests.shell.script import Note
from tests.shell.storms import random_flow
from tests.shell.test_chaos import storm

HISTORIES = 60
"""Per test; each takes some milliseconds."""


def disturb(play: Play, ref: RunRef, random: Random) -> None:
    """Something that can happen to a deployment at any time."""
    stage = f"s{random.randrange(10)}"
    match random.randrange(14):
        case 0:
            play.queue.clear()
        case 1 if play.queue.waiting:
            play.queue.send([(random.choice(play.queue.waiting), random.randrange(3))])
        case 2:
            play.clock.move(random.choice((1_000, 60_000, 200_000, 3_600_000)))
        case 3 | 4:
            play.tick()
        case 5 if random.random() < 0.3:
            play.cancel(ref)
        case 6 if random.random() < 0.5:
            play.retry(ref)
        case 7 if random.random() < 0.5:
            play.rerun(ref, stage)
        case 8:
            play.attend(ref, random.choice(("", stage)), seconds=random.choice((300, 62, 30)))
        case _:
            play.step(seconds=random.choice((300, 300, 62, 10)))


def crowd(play: Play, ref: RunRef, random: Random) -> Callable[[], None]:
    """Others, who do something while somebody is frozen: in front of a call, or in the middle of a body."""
    trouble, rate = storm(random), random.choice((0.0, 0.1, 0.3))
    left = [random.randrange(1, 100)]
    depth = [0]

    def others() -> None:
        for _ in range(random.randrange(6)):
            if left[0] <= 0 or depth[0] >= 2:
                return
            left[0] -= 1
            depth[0] += 1
            with suppress(Crash, Unavailable, Refused):
                disturb(play, ref, random)
            depth[0] -= 1

    def choose(call: Call) -> Fault | None:
        if random.random() < rate:
            others()
        return trouble(call)

    play.faults.choose = choose
    return others


def history(seed: int) -> None:
    """One random workflow and what becomes of it."""
    random = Random(seed)

    def move(milliseconds: int) -> None:
        play.clock.move(milliseconds)
        others()

    flow = random_flow(random, move)
    limits = Limits(publish="all", chain_cap=random.choice((1, 2, 1_000)), publish_attempts=1_000)
    play = Play(flow, limits=limits, seed=seed)
    play.faults.choose = storm(random)
    ref: RunRef | None = None
    while ref is None:
        with suppress(Crash, Unavailable):
            ref = play.start(flow, Note(), key="k")
    others = crowd(play, ref, random)
    for _ in range(random.randrange(80)):
        with suppress(Crash, Unavailable, Refused):
            disturb(play, ref, random)
        invariants.check_kept(invariants.plain(play), ref)
    play.play([ref], days=20)
    invariants.check(play, ref)


@pytest.mark.parametrize("block", range(5))
def test_no_history_of_any_workflow_breaks_an_invariant(block: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    for seed in range(block * HISTORIES, (block + 1) * HISTORIES):
        try:
            history(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
