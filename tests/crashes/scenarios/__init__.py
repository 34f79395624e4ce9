"""The scenarios: each a few dozen port calls long; together, every command, event, operation and guard."""

from tests.crashes.scenario import SCENARIOS
from tests.crashes.scenarios import (
    answering,
    asked,
    dying,
    ending,
    keyed,
    moving,
    pausing,
    polled,
    running,
    sent,
    waiting,
)

__all__ = [
    "SCENARIOS",
    "answering",
    "asked",
    "dying",
    "ending",
    "keyed",
    "moving",
    "pausing",
    "polled",
    "running",
    "sent",
    "waiting",
]
