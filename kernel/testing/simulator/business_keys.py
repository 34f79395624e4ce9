"""The judgement on business keys: of the runs with the same one at most one is under way, and none is kept in vain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kernel.core.events import AnyEvent, RunReopened
from kernel.ports import Item, Key, RunRef
from kernel.shell.environment import SECOND
from kernel.testing.simulator.due_index import DueIndex
from kernel.testing.simulator.seen import Seen
from kernel.testing.simulator.world import World

LATE = 3 * SECOND
"""Milliseconds after a run's retention in which some clock may still say that it is there."""


class BusinessKeys:
    """Judges who holds them."""

    def __init__(self, world: World, runs: Mapping[RunRef, Seen], due: DueIndex) -> None:
        """Nobody holds any. ``runs`` are those that the watch has seen."""
        self._world = world
        self._runs = runs
        self._due = due
        self._ended: dict[RunRef, int] = {}

    def begins(self, seen: Seen) -> None:
        """A run begins, or goes on: no other one that is under way has its key."""
        self._ended.pop(seen.ref, None)
        for other in self._runs.values():
            if other is not seen and self.same(seen, other) and self._under_way(other):
                key = seen.head.business_key
                self._world.fail("one-run-per-key", f"{seen.ref} begins while {other.ref} is under way, both for {key}")

    def committed(self, seen: Seen, events: Sequence[AnyEvent]) -> None:
        """A run's log goes on, ends, or begins anew."""
        if any(isinstance(event, RunReopened) for event in events):
            self.begins(seen)
        if seen.witness.books.over:
            self._ended.setdefault(seen.ref, self._world.now)

    def put(self, tenant: str, item: Key, existing: Item | None) -> None:
        """A key is taken, or freed: by who may, and from nobody who needs it."""
        fail = self._world.fail
        if item.holder:
            seen = self._runs[RunRef(tenant, item.run)]
            if (seen.head.business_key, seen.state.generation) != (item.name, item.generation):
                fail("one-run-per-key", f"{item} is held by a run that does not say so")
        if isinstance(existing, Key) and existing.holder not in ("", item.holder):
            seen = self._runs[RunRef(tenant, existing.run)]
            if seen.state.generation == existing.generation and self._under_way(seen):
                fail("one-run-per-key", f"{seen.ref} is under way, and loses {item.key}")

    def held(self, ref: RunRef, since: int) -> None:
        """A start was refused that began at a true time, because this run was under way with its key."""
        seen = self._runs[ref]
        ended = self._ended.get(ref, since)
        if (ended < since or self._due.expired(seen.head, since - LATE)) and not self._world.weather.counts["garbled"]:
            self._world.fail("keys-are-freed", f"{ref} is said to be under way, which is over for {since - ended} ms")

    def same(self, one: Seen, other: Seen) -> bool:
        """Whether two runs have the same key."""
        return bool(one.head.business_key) and _key_of(one) == _key_of(other)

    def left(self, seen: Seen, found: Item | None) -> None:
        """A run is over, and nobody looks at it any more."""
        if isinstance(found, Key) and found.run == seen.ref.run:
            self._world.fail("keys-are-freed", f"{found.key} is kept by {seen.ref}, which is over")

    def _under_way(self, seen: Seen) -> bool:
        return not seen.witness.books.over and not self._due.maybe_expired(seen.head)


def _key_of(seen: Seen) -> tuple[str, str, str]:
    return seen.ref.tenant, seen.head.workflow, seen.head.business_key
