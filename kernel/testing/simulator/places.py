"""What stands behind the ports: the memory store and sink, watched, and troubled by the weather."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.ports import HEAD, Due, Guard, Head, HeadUpdate, Item, Published, Refusal, RunRef
from kernel.testing.memory import MemoryStore
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.watch import Watch
from kernel.testing.simulator.world import World

MEMORY = 5
"""States of the *due* index that a stale read may show."""


class WatchedStore(MemoryStore):
    """The memory store, watched. Its indexes lag when the weather says so."""

    def __init__(self, world: World, watch: Watch) -> None:
        """Start empty."""
        super().__init__()
        self._world = world
        self._watch = watch
        self._past: list[dict[RunRef, tuple[str, int]]] = [{}]
        self._shown: dict[RunRef, tuple[str, int]] = {}

    def put(self, ref: RunRef, item: Item, guard: Guard | None = None) -> Refusal | None:
        """Put, under the watch's eyes."""
        existing = super().get(ref, item.key)
        refusal = super().put(ref, item, guard)
        if refusal is None:
            if isinstance(item, Head):
                self._show(ref, item)
            self._watch.put(ref, item, existing)
        return refusal

    def update(self, ref: RunRef, change: HeadUpdate) -> Refusal | None:
        """Update, under the watch's eyes."""
        before = super().get(ref, HEAD)
        refusal = super().update(ref, change)
        after = super().get(ref, HEAD)
        if refusal is None and isinstance(before, Head) and isinstance(after, Head):
            self._show(ref, after)
            self._watch.updated(ref, change, before, after)
        return refusal

    def get(self, ref: RunRef, key: str) -> Item | None:
        """Get, under the watch's eyes."""
        self._watch.read(ref)
        return super().get(ref, key)

    def range(self, ref: RunRef, low: str, high: str, *, limit: int, descending: bool = False) -> Sequence[Item]:
        """Read on, under the watch's eyes."""
        self._watch.read(ref)
        return super().range(ref, low, high, limit=limit, descending=descending)

    def _show(self, ref: RunRef, head: Head) -> None:
        """Keep what the index shows from now on."""
        shown = dict(self._shown)
        shown.pop(ref, None)
        if head.due is not None:
            shown[ref] = (head.due_shard, head.due)
        self._shown = shown
        self._past = [*self._past[1 - MEMORY :], shown]

    def due(self, shard: str, until: int, limit: int) -> Sequence[Due]:
        """The index, as it is or was."""
        acting, weather = self._world.acting, self._world.weather
        shown = self._shown
        if acting is not None and weather.strikes("stale", acting.chance, f"{acting.name}.{acting.calls}"):
            shown = acting.chance.pick(self._past)
        found = [Due(ref, due) for ref, (where, due) in shown.items() if where == shard and due <= until]
        return sorted(found, key=lambda entry: entry.due)[:limit]

    @property
    def earliest(self) -> int | None:
        """When the tick will find something."""
        return min((due for _, due in self._shown.values()), default=None)


class WatchedSink:
    """Takes events, or does not."""

    def __init__(self, world: World, watch: Watch) -> None:
        """Nothing was published."""
        self._world = world
        self._watch = watch
        self._chance = Chance(world.seed, "sink")
        self._count = 0

    def publish(self, events: Sequence[Published]) -> Sequence[str | None]:
        """Take what the weather lets through."""
        answers: list[str | None] = []
        for event in events:
            self._count += 1
            refused = self._world.weather.strikes("unpublished", self._chance, f"event-{self._count}")
            answers.append("the bus is full" if refused else None)
            self._watch.submitted(event, answers[-1])
        return answers
