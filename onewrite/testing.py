"""Testing workflows: play them to their end in memory, move the clock, crash and duplicate them at any point."""

from kernel.define.registry import AnyWorkflow
from kernel.shell.environment import Limits
from kernel.testing.context import context
from kernel.testing.faults import Call, Crash, Fault, Faults
from kernel.testing.memory import FakeClock, MemorySink
from kernel.testing.play import Ended, Play
from kernel.testing.units import Meter, Usage

__all__ = [
    "Call",
    "Crash",
    "Ended",
    "FakeClock",
    "Fault",
    "Faults",
    "Limits",
    "MemorySink",
    "Meter",
    "Play",
    "Usage",
    "context",
    "simulate",
]


def simulate(*runs: tuple[AnyWorkflow, object], histories: int = 100, first: int = 0) -> None:
    """Play workflows in a world that is out to break them; see ``kernel.testing.simulator``. Needs ``greenlet``.

    Args:
        runs: workflows, each with an input that is a model or a mapping.
        histories: how many; each has about a hundred faults, and takes some tens of milliseconds.
        first: the seed of the first one. The same seed gives the same history.

    Raises:
        AssertionError: an invariant broke; says which, at which seed, and what happened.
    """
    from kernel.testing.simulator.simulate import simulate as play  # noqa: PLC0415 - only who simulates needs greenlet

    play(*runs, histories=histories, first=first)
