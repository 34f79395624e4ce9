"""Seeded histories with many faults at once: crashes, lost replies, lost and doubled messages, commands."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest

from kernel.errors import Refused, Unavailable
from kernel.ports import RunRef
from kernel.testing.faults import Call, Crash, Fault
from kernel.testing.play import Play
from onewrite import Workflow
from tests.shell import invariants
from tests.shell.flows import ALL, Note, Order, media, media_slow, order, order_stopping, steps, world

STAGES = ("", "charge", "pack", "ship", "render", "publish", "s1", "s3")
CASES: tuple[tuple[Workflow[Order, Note], Order], ...] = (
    (order, Order()),
    (order, Order(fail={"charge": 1, "bill": 1})),
    (order, Order(fail={"ship": 9})),
    (order_stopping, Order(fail={"pack": 9})),
    (media, Order(polls=2)),
    (media_slow, Order(polls=1)),
    (steps[12, True], Order()),
    (steps[5, False], Order()),
    (steps[40, True], Order()),
)
"""Branches and a join; retries; compensation; a failure that stops; checks by the minute and by the hour; a chain, one
that is not chained, and one with snapshots."""
HISTORIES = 60
"""Per test; each takes a few milliseconds."""


def storm(random: Random) -> Callable[[Call], Fault | None]:
    """A bounded number of faults, at a rate of its own."""
    rate = random.choice((0.02, 0.1, 0.3))
    left = [random.randrange(1, 60)]

    def choose(_call: Call) -> Fault | None:
        if left[0] <= 0 or random.random() >= rate:
            return None
        left[0] -= 1
        return random.choice(list(Fault))

    return choose


def disturb(play: Play, ref: RunRef, random: Random) -> None:
    """Something that can happen to a deployment at any time."""
    waiting = play.queue.waiting
    match random.randrange(12):
        case 0 if waiting:
            play.queue.clear()
        case 1 if waiting:
            play.queue.send([(random.choice(waiting), random.randrange(3))])
        case 2:
            play.clock.move(random.randrange(200_000))
        case 3:
            play.tick()
        case 4 if random.random() < 0.2:
            play.cancel(ref)
        case 5 if random.random() < 0.4:
            play.retry(ref)
        case 6 if random.random() < 0.4:
            play.rerun(ref, random.choice(STAGES[1:]))
        case 7:
            play.attend(ref, random.choice(STAGES), seconds=random.choice((300, 62, 30)))
        case _:
            play.step(seconds=random.choice((300, 300, 62, 10)))


@pytest.mark.parametrize("block", range(5))
def test_no_history_breaks_an_invariant(block: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever happens, every run ends, and everything about it is as it should be."""
    caplog.set_level(logging.CRITICAL)
    for seed in range(block * HISTORIES, (block + 1) * HISTORIES):
        random = Random(seed)
        workflow, given = random.choice(CASES)
        world.clear()
        play = Play(*ALL, seed=seed)
        play.faults.choose = storm(random)
        ref: RunRef | None = None
        while ref is None:
            with suppress(Crash, Unavailable):
                ref = play.start(workflow, given, key="k")
        for _ in range(random.randrange(60)):
            with suppress(Crash, Unavailable, Refused):
                disturb(play, ref, random)
        try:
            play.play([ref], days=40)
            invariants.check(play, ref)
        except AssertionError as error:
            message = f"seed {seed}: {error}"
            raise AssertionError(message) from error
