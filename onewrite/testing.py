"""Testing workflows: play them to their end in memory, move the clock, crash and duplicate them at any point."""

from kernel.shell.environment import Limits
from kernel.testing.context import context
from kernel.testing.faults import Call, Crash, Fault, Faults
from kernel.testing.memory import FakeClock, MemorySink
from kernel.testing.play import Ended, Play
from kernel.testing.simulator.simulate import simulate
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
