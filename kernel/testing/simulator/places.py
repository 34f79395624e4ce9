"""What stands behind the ports: the memory store and sink, watched, and troubled by the weather."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.ports import HEAD, INBOX, Due, Guard, Head, HeadUpdate, Inbox, Item, Published, Put, Refusal, RunRef
from kernel.shell.environment import SECOND
from kernel.testing.memory import MemoryStore
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.ports import WILD
from kernel.testing.simulator.watch import Watch
from kernel.testing.simulator.world import World

HIGHEST = "\x7f"
"""A key after all others."""
MEMORY = 5
"""States of the *due* index that a stale read may show."""


class WatchedStore(MemoryStore):
    """The memory store, watched. Its indexes lag, and what is past its time to live vanishes, as the weather says."""

    def __init__(self, world: World, watch: Watch) -> None:
        """Start empty."""
        super().__init__()
        self._world = world
        self._watch = watch
        self._clocks = WILD if world.weather.wild else 0
        self._past: list[dict[tuple[RunRef, str], tuple[str, int]]] = [{}]
        self._shown: dict[tuple[RunRef, str], tuple[str, int]] = {}

    def put(self, ref: RunRef, item: Item, guard: Guard | None = None) -> Refusal | None:
        """Put, under the watch's eyes."""
        self._crumble(ref)
        existing = super().get(ref, item.key)
        refusal = super().put(ref, item, guard)
        if refusal is None:
            self._written(ref, item, existing)
        return refusal

    def put_all(self, puts: Sequence[Put]) -> Sequence[Refusal | None] | None:
        """Put several, or none, under the watch's eyes."""
        for ref in {ref: None for ref, _, _ in puts}:
            self._crumble(ref)
        before = [super(WatchedStore, self).get(ref, item.key) for ref, item, _ in puts]
        refusals = super().put_all(puts)
        if refusals is None:
            for (ref, item, _), existing in zip(puts, before, strict=True):
                self._written(ref, item, existing)
        return refusals

    def _written(self, ref: RunRef, item: Item, existing: Item | None) -> None:
        if isinstance(item, Head | Inbox):
            self._show(ref, item)
        self._watch.put(ref, item, existing)

    def update(self, ref: RunRef, change: HeadUpdate) -> Refusal | None:
        """Update, under the watch's eyes."""
        self._crumble(ref)
        before = super().get(ref, HEAD)
        refusal = super().update(ref, change)
        after = super().get(ref, HEAD)
        if refusal is None and isinstance(before, Head) and isinstance(after, Head):
            self._show(ref, after)
            self._watch.updated(ref, change, before, after)
        return refusal

    def get(self, ref: RunRef, key: str) -> Item | None:
        """Get, under the watch's eyes."""
        self._crumble(ref)
        if not key.startswith(INBOX):
            self._watch.read(ref)
        return super().get(ref, key)

    def range(self, ref: RunRef, low: str, high: str, *, limit: int, descending: bool = False) -> Sequence[Item]:
        """Read on, under the watch's eyes."""
        self._crumble(ref)
        self._watch.read(ref)
        return super().range(ref, low, high, limit=limit, descending=descending)

    def _crumble(self, ref: RunRef) -> None:
        """Of what is past its time to live, let some vanish: no store says when it deletes that, or in what order."""
        acting, now = self._world.acting, self._world.now
        if acting is not None and not ref.run:
            past = [key.key for key in super().range(ref, "", HIGHEST, limit=100) if key.ttl * 1000 <= now]
            if past and self._world.weather.strikes("vanished", acting.chance, f"{acting.name}.{acting.calls}"):
                self.delete(ref, acting.chance.pick(past))
            return
        head = super().get(ref, HEAD)
        if acting is None or not isinstance(head, Head) or now < head.expires + self._clocks - SECOND:
            return
        past = [item.key for item in super().range(ref, "", HIGHEST, limit=1_000_000) if item.ttl * 1000 <= now]
        if past and self._world.weather.strikes("vanished", acting.chance, f"{acting.name}.{acting.calls}"):
            share = acting.chance.pick((0.1, 0.5, 1.0))
            for key in past:
                if acting.chance.happens(share):
                    self.delete(ref, key)
            self._watch.crumbled(ref)

    def delete(self, ref: RunRef, key: str) -> None:
        """Delete; what is gone leaves the index, too."""
        super().delete(ref, key)
        if (ref, key) in self._shown:
            self._index_shows({each: shown for each, shown in self._shown.items() if each != (ref, key)})

    def _show(self, ref: RunRef, item: Head | Inbox) -> None:
        """Keep what the index shows from now on."""
        shown = dict(self._shown)
        shown.pop((ref, item.key), None)
        if item.due is not None:
            shown[ref, item.key] = (item.due_shard, item.due)
        self._index_shows(shown)

    def _index_shows(self, shown: dict[tuple[RunRef, str], tuple[str, int]]) -> None:
        self._shown = shown
        self._past = [*self._past[1 - MEMORY :], shown]

    def due(self, shard: str, until: int, limit: int) -> Sequence[Due]:
        """The index, as it is or was."""
        acting, weather = self._world.acting, self._world.weather
        shown = self._shown
        if acting is not None and weather.strikes("stale", acting.chance, f"{acting.name}.{acting.calls}"):
            shown = acting.chance.pick(self._past)
        entries = ((ref, key, where, due) for (ref, key), (where, due) in shown.items())
        found = [Due(ref, due, key) for ref, key, where, due in entries if where == shard and due <= until]
        return sorted(found, key=lambda entry: entry.due)[:limit]

    @property
    def earliest(self) -> int | None:
        """When the tick will find something."""
        return min((due for _, due in self._shown.values()), default=None)


class Unwatched:
    """What is in a store, for the watch itself: nothing happens when it is read."""

    def __init__(self, store: MemoryStore) -> None:
        """Read from ``store``."""
        self._store = store

    def get(self, ref: RunRef, key: str) -> Item | None:
        """Get."""
        return MemoryStore.get(self._store, ref, key)

    def range(self, ref: RunRef, low: str, high: str, *, limit: int, descending: bool = False) -> Sequence[Item]:
        """Read on."""
        return MemoryStore.range(self._store, ref, low, high, limit=limit, descending=descending)


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
