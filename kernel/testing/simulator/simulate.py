"""Simulating a user's own workflows: ``simulate`` for their tests."""

from __future__ import annotations

from collections.abc import Container
from functools import partial

from kernel.testing.simulator.flows import Flow
from kernel.testing.simulator.history import Verdict, play
from kernel.testing.simulator.shrink import shrink


def simulate(*runs: tuple[Flow, object], histories: int = 100, first: int = 0) -> None:
    """Play workflows in a world that is out to break them, and look at every invariant all along.

    What a stage throws fails the stage, as it would anywhere: it is the engine's promises that are looked at. An
    ``AssertionError`` is another thing: what your stages assert shall hold whatever happens.

    Args:
        runs: workflows, each with an input that is a model or a mapping.
        histories: how many; each has about a hundred faults, and takes some tens of milliseconds.
        first: the seed of the first one. The same seed gives the same history.

    Raises:
        AssertionError: an invariant, or what a stage asserts, does not hold; names it and the seed, and shows what
            happened, without the faults that do not matter. ``first=seed, histories=1`` plays it again.
    """
    one = partial(_play, runs)
    for seed in range(first, first + histories):
        verdict = one(seed)
        if verdict.invariant:
            shrunk = shrink(verdict, one)
            trace = "\n".join(shrunk.trace)
            message = f"seed {seed}: {verdict.message}\nwith {', '.join(shrunk.happened) or 'no faults'}:\n{trace}"
            raise AssertionError(message)


def _play(
    runs: tuple[tuple[Flow, object], ...], seed: int, *, keep: Container[str] | None = None, trace: bool = False
) -> Verdict:
    return play(seed, keep=keep, trace=trace, further=runs, often=1.0)
