"""A stretch of simulated histories, played in a process of its own: what ``bench.simulate`` hands out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container
from pathlib import Path

from coverage import Coverage
from msgspec import Struct

from kernel.testing.simulator import history
from kernel.testing.simulator.history import Verdict
from workflows.examples import INPUTS, outside, registry
from workflows.examples.outside import warehouse

KERNEL = Path(__file__).parent.parent / "kernel"


EXAMPLES = [
    (workflow, json.loads(path.read_text()))
    for path in sorted(INPUTS.glob("*/*.json"))
    if not (workflow := registry.latest(path.parent.name)).definition.events
]
"""The examples' workflows, each with the inputs that are shipped; but none whose events nobody would send."""


def play(seed: int, *, keep: Container[str] | None = None, trace: bool = False) -> Verdict:
    """The history of a seed; the examples are among its workflows, in a world in which nothing has happened."""
    outside.forget()
    warehouse.HEAVY_SECONDS = 0.0  # nobody waits in simulated time
    return history.play(seed, keep=keep, trace=trace, further=EXAMPLES)


class Stretch(Struct):
    """What became of some histories.

    Attributes:
        first, count: which: seeds from ``first`` on.
        faults: what went wrong in them, by kind.
        states: abstract states that they reached, as digests.
        runs: runs that were created.
        over_streams: how many of them had their messages in streams.
        of_streams: the states that those reached.
        broken: seed, invariant and message of each history that broke one.
    """

    first: int
    count: int
    faults: Counter[str]
    states: set[int]
    runs: int
    over_streams: int
    of_streams: set[int]
    broken: list[tuple[int, str, str]]


def measuring(folder: str, suffix: str = "") -> Coverage:
    """A measurement of the kernel's branches, kept in ``folder``."""
    return Coverage(
        branch=True,
        include=[f"{KERNEL}/*"],
        omit=[f"{KERNEL}/testing/*"],
        data_file=str(Path(folder, f".coverage{suffix}")),
        concurrency=["greenlet"],
        config_file=False,
    )


def stretch(first: int, count: int, folder: str) -> Stretch:
    """Play ``count`` histories; with a folder, measure which branches of the kernel they take."""
    done = Stretch(
        first=first, count=count, faults=Counter(), states=set(), runs=0, over_streams=0, of_streams=set(), broken=[]
    )
    measurement = measuring(folder, f".{first}") if folder else None
    if measurement is not None:
        measurement.start()
    for seed in range(first, first + count):
        verdict = play(seed)
        done.faults += verdict.faults
        done.states |= verdict.states
        done.runs += verdict.runs
        if verdict.streams:
            done.over_streams += 1
            done.of_streams |= verdict.states
        if verdict.invariant:
            done.broken.append((seed, verdict.invariant, verdict.message))
    if measurement is not None:
        measurement.stop()
        measurement.save()
    return done
