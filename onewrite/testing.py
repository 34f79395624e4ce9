"""Testing workflows: play them to their end in memory, move the clock, crash and duplicate them at any point."""

from kernel.core.definition import Available
from kernel.ports import RunRef
from kernel.shell.attend import Attended
from kernel.shell.callback import Answered
from kernel.shell.environment import Limits
from kernel.shell.read import Annotation, RunView, StageView
from kernel.shell.receive import EventView
from kernel.shell.tick import Counts
from kernel.testing.context import context
from kernel.testing.faults import Call, Crash, Fault, Faults
from kernel.testing.memory import FakeClock, MemorySink
from kernel.testing.play import Ended, Play
from kernel.testing.simulator.simulate import simulate
from kernel.testing.units import Meter, Usage

__all__ = [
    "Annotation",
    "Answered",
    "Attended",
    "Available",
    "Call",
    "Counts",
    "Crash",
    "Ended",
    "EventView",
    "FakeClock",
    "Fault",
    "Faults",
    "Limits",
    "MemorySink",
    "Meter",
    "Play",
    "RunRef",
    "RunView",
    "StageView",
    "Usage",
    "context",
    "simulate",
]
