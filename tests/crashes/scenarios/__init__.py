"""The scenarios: each a few dozen port calls long; together, every command, event, operation and guard."""

from tests.crashes.scenario import SCENARIOS
from tests.crashes.scenarios import asked, dying, ending, pausing, running, waiting

__all__ = ["SCENARIOS", "asked", "dying", "ending", "pausing", "running", "waiting"]
