"""What the shell works with: the ports, the definitions, and the limits of the deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from kernel.core.definition import Definition
from kernel.metrics import NO_METRICS, Metrics
from kernel.ports import Alarm, Blobs, Clock, Published, Queue, Random, Sink, Store

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NAP = 15 * MINUTE
"""The longest wait that rides on a message's delay; a longer one puts the run to sleep."""


class Limits(Struct, frozen=True, kw_only=True):
    """Settings of the engine. Durations are milliseconds, sizes bytes.

    Attributes:
        lease_grace: slack of a lease after the stage's timeout.
        look_grace: how far ``due`` of an awake run may lie ahead.
        max_skew: clock error between workers that timers allow for.
        tick: time between two ticks.
        shards: number of shards of the indexes; may grow, must never shrink.
        retention: how long a run is kept after its deadline.
        deadline: how long a run may take when its workflow does not say.
        chain_cap: how many stages one invocation may run.
        inline: the largest value kept in its event.
        data: the largest value kept in the store; a larger one goes to the blob store.
        payload: the largest value there may be.
        publish: which events are published: those of the run as a whole, all, or none.
        publish_attempts: how often the sink may refuse an event, at looks of ticks, before it becomes a dead letter.
    """

    lease_grace: int = 5 * SECOND
    look_grace: int = 2 * MINUTE
    max_skew: int = SECOND
    tick: int = MINUTE
    shards: int = 4
    retention: int = 30 * DAY
    deadline: int = 30 * DAY
    chain_cap: int = 1_000
    inline: int = 560
    data: int = 300_000
    payload: int = 5_000_000
    publish: Literal["run", "all", "none"] = "run"
    publish_attempts: int = 10


class Definitions(Protocol):
    """Finds the definition that a run is pinned to."""

    def find(self, workflow: str, version: int, fingerprint: str) -> Definition | None:
        """The definition, or None if this deployment does not have it."""
        ...


class NoDefinitions:
    """For a process that runs no user code, such as the tick."""

    def find(self, workflow: str, version: int, fingerprint: str) -> Definition | None:  # noqa: ARG002 - a port
        """Never."""
        return None


class NoSink:
    """For a deployment that publishes nothing."""

    def publish(self, events: Sequence[Published]) -> Sequence[str | None]:
        """Accept everything, and do nothing with it."""
        return [None] * len(events)


class Environment(Struct, frozen=True, kw_only=True):
    """Everything that the shell reaches the world through."""

    store: Store
    queue: Queue
    blobs: Blobs
    sink: Sink
    clock: Clock
    random: Random
    alarm: Alarm
    definitions: Definitions
    limits: Limits = Limits()
    metrics: Metrics = NO_METRICS
