"""A year within a second: the subscription, too long for the demo, in memory and with a clock that is moved."""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from kernel.core.events import StageCompleted
from kernel.shell import read
from kernel.shell.logs import log
from kernel.testing.faults import Call, Fault
from kernel.testing.play import Play
from workflows.examples.outside import VARIABLE, World
from workflows.examples.subscription import MONTH, Subscription, subscription

INPUT = Path(__file__).parents[3] / "workflows" / "examples" / "inputs" / "subscription" / "a-year.json"
OFTEN = 0.1
"""The part of all calls to the store and the queue that meet a fault."""


class Year(Struct, frozen=True):
    """How a year went.

    Attributes:
        told: in a sentence or two.
        claims: what makes that true.
    """

    told: str
    claims: dict[str, bool]


def a_year() -> Year:
    """Play it."""
    chance = random.Random(4)  # noqa: S311 - the same year each time
    struck: list[Fault] = []

    def strikes(_call: Call) -> Fault | None:
        if chance.random() >= OFTEN:
            return None
        struck.append(chance.choice(tuple(Fault)))
        return struck[-1]

    ordered = Subscription.model_validate(json.loads(INPUT.read_text()))
    began = time.monotonic()
    with _world() as world, _quiet():
        play = Play(subscription)
        run = play.start(subscription, ordered)
        play.faults.choose = strikes
        play.play(run)
        play.faults.choose = lambda _call: None
        ended, paid = play.ended(run), list(_paid(read.log_page(play.env, run, limit=10_000)))
        seconds = time.monotonic() - began
        charges = [effect.key for effect in world.effects("payment.charged")]
    between = [later - earlier for earlier, later in pairwise(paid)]
    crashes = sum("crash" in fault for fault in struck)
    return Year(
        f"twelve months of a subscription in {seconds:.1f} s, by a clock that is moved. On the way workers died at "
        f"{crashes} calls, and {len(struck) - crashes} more failed or lost their answer. It was charged "
        f"{len(charges)} times, each month once, and none early.",
        {
            "it completed": ended.status == "completed",
            "each month was charged once": len(charges) == len(set(charges)) == len(paid) == ended.output.paid,
            "there were twelve": len(charges) == ordered.months == 12,  # noqa: PLR2004 - a year's
            "none was early": all(each >= MONTH for each in between),
        },
    )


def _paid(entries: list[read.LogEntry]) -> Iterator[timedelta]:
    """When the months were paid, since the epoch."""
    for entry in entries:
        if any(isinstance(event, StageCompleted) and event.stage == "charge" for event in entry.events):
            yield timedelta(milliseconds=entry.at)


@contextmanager
def _quiet() -> Iterator[None]:
    """The faults are meant: nobody needs to read of each."""
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = False


@contextmanager
def _world() -> Iterator[World]:
    """A world of its own, for as long as this lasts."""
    before = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "world.jsonl"
        os.environ[VARIABLE] = str(file)
        try:
            yield World(file)
        finally:
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before
