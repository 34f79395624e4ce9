"""Shrinking: of a history that breaks an invariant, the few faults without which it would not."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # what is played is given, so that who only imports this needs no greenlet
    from kernel.testing.simulator.history import Verdict

ATTEMPTS = 250
"""Histories that are played to shrink one."""


class Play(Protocol):
    """Plays a history of which only these faults are kept."""

    def __call__(self, seed: int, /, *, keep: Container[str], trace: bool = False) -> Verdict:
        """Play it."""
        ...


def shrink(verdict: Verdict, play: Play, *, attempts: int = ATTEMPTS) -> Verdict:
    """Leave out faults as long as the same invariant breaks (delta debugging), and keep a trace of what is left."""
    seed, invariant = verdict.seed, verdict.invariant
    kept = smallest(verdict.happened, lambda keep: play(seed, keep=keep).invariant == invariant, attempts)
    return play(seed, keep=kept, trace=True)


def smallest(whole: Sequence[str], breaks: Callable[[frozenset[str]], bool], attempts: int) -> frozenset[str]:
    """A small part of ``whole`` that still ``breaks``, found with so many attempts; all of it if none is found."""
    kept, parts = list(whole), 2
    while attempts > 0 and kept:
        size = -(-len(kept) // parts)
        for start in range(0, len(kept), size):
            rest = [*kept[:start], *kept[start + size :]]
            attempts -= 1
            if breaks(frozenset(rest)):
                kept, parts = rest, max(2, parts - 1)
                break
            if attempts <= 0:
                break
        else:
            if size == 1:
                break
            parts = min(len(kept), parts * 2)
    return frozenset(kept)
