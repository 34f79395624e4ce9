"""What a scenario is: what clients ask for and what happens, to which workflows, in what kind of deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from kernel.shell.environment import MINUTE, Limits
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.shell.script import Flow

Play = Callable[[Deployment, Client], None]


class Scenario(Struct, frozen=True, kw_only=True):
    """A scenario. What is said of how it ends and what it needs holds while no blow strikes.

    Attributes:
        name: its name.
        play: lets it happen.
        flows: the workflows that are deployed.
        limits: of the engine.
        platform: how queue and functions differ from those of the template.
        ends: the status in which its runs end.
        needs: what ticks had to do for it, as they count it; otherwise workers do without them.
        also: the status in which a run may end when a process dies, or nothing can be reached.
        longer: milliseconds that a further attempt or wait takes, should one become necessary.
        streams: pokes are in streams, and workers are processes that poll.
    """

    name: str
    play: Play
    flows: tuple[Flow, ...]
    limits: Limits
    platform: dict[str, int]
    ends: str
    needs: dict[str, int]
    also: str
    longer: int
    streams: bool


SCENARIOS: dict[str, Scenario] = {}

FAST = {"visibility": 20_000}
"""Messages come back before anybody misses the run."""
LOST = {"receives": 1}
"""Messages do not come back: what was lost with them is found through the due index."""
RARELY = 5 * MINUTE
"""Between two ticks, where a run sleeps and most ticks would find nothing."""


def scenario(
    *deployed: Flow,
    platform: dict[str, int] | None = None,
    ends: str = "completed",
    needs: dict[str, int] | None = None,
    also: str = "",
    longer: int = 0,
    streams: bool = False,
    **limits: Any,
) -> Callable[[Play], Play]:
    """Make a function a scenario, named after it. With one shard, a tick that finds nothing is one call."""

    def register(play: Play) -> Play:
        name = play.__name__.replace("_", "-")
        SCENARIOS[name] = Scenario(
            name=name,
            play=play,
            flows=deployed,
            limits=Limits(**{"shards": 1, **limits}),
            platform=platform or {},
            ends=ends,
            needs=needs or {},
            also=also,
            longer=longer,
            streams=streams,
        )
        return play

    return register
