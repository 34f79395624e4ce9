"""Every port in memory: complete, thread-safe, and true to the same suites as the real adapters."""

from __future__ import annotations

import random
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Self

from kernel.ports import (
    HEAD,
    HIGH,
    Due,
    Guard,
    Head,
    HeadUpdate,
    Inbox,
    Item,
    Key,
    Listed,
    Poke,
    Published,
    Put,
    Refusal,
    RunRef,
    Snapshot,
)
from kernel.testing.units import apply


class _Partition:
    """A run's items, and their keys in order."""

    __slots__ = ("items", "keys")

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.keys: list[str] = []


def _is_new(existing: Item | None, _new: Item) -> bool:
    return existing is None


def _forward(existing: Item | None, new: Item) -> bool:
    if not isinstance(existing, Snapshot) or not isinstance(new, Snapshot):
        return existing is None
    return (existing.seq, existing.fold) < (new.seq, new.fold)


def _is_open(existing: Item | None, _new: Item) -> bool:
    return isinstance(existing, Inbox) and existing.due is not None


def _as_seen(existing: Item | None, new: Item) -> bool:
    return existing is None or (isinstance(existing, Key) and isinstance(new, Key) and existing.holder == new.was)


PUTS: dict[Guard, Callable[[Item | None, Item], bool]] = {
    Guard.RUN_IS_NEW: _is_new,
    Guard.COMMIT_IS_NEXT: _is_new,
    Guard.SNAPSHOT_FORWARD: _forward,
    Guard.EVENT_IS_NEW: _is_new,
    Guard.EVENT_IS_OPEN: _is_open,
    Guard.KEY_AS_SEEN: _as_seen,
}
"""What each guard of a put allows, given the item that is there and the one that shall be."""

UPDATES: dict[Guard, Callable[[Head, HeadUpdate], bool]] = {
    Guard.DUE_AS_SEEN: lambda head, change: head.due is not None and head.due == change.seen_due,
    Guard.SLEEP_IS_LATEST: lambda head, change: (
        head.due is not None and head.due == change.seen_due and head.due_seq <= _number(change.due_seq)
    ),
    Guard.WAKE_IS_NEWER: lambda head, change: head.due_seq < _number(change.due_seq),
    Guard.FINALISE_IS_LATEST: lambda head, change: head.due_seq <= _number(change.due_seq),
    Guard.CURSOR_AS_SEEN: lambda head, change: (
        (head.published, head.published_events, head.publish_failures)
        == (change.seen_published, change.seen_events, change.seen_failures)
    ),
    Guard.STATUS_AS_SEEN: lambda head, change: (
        head.status == change.seen_status and head.due_seq <= _number(change.due_seq)
    ),
}
"""What each guard of a head update allows, given the head that is there."""


def _number(value: int | None) -> int:
    return -1 if value is None else value


class MemoryStore:
    """``Store`` in memory."""

    def __init__(self) -> None:
        """Start empty."""
        self._partitions: dict[RunRef, _Partition] = {}
        self._due: dict[str, dict[tuple[RunRef, str], int]] = {}
        self._runs: dict[str, dict[RunRef, Listed]] = {}
        self._lock = threading.Lock()

    def put(self, ref: RunRef, item: Item, guard: Guard | None = None) -> Refusal | None:
        """Write an item whole; under a guard, only if it holds."""
        with self._lock:
            existing = self._existing(ref, item.key)
            if guard is not None and not PUTS[guard](existing, item):
                return Refusal(existing)
            self._write(ref, item, existing)
            return None

    def put_all(self, puts: Sequence[Put]) -> Sequence[Refusal | None] | None:
        """Write several items, or none of them."""
        with self._lock:
            found = [self._existing(ref, item.key) for ref, item, _ in puts]
            held = [PUTS[guard](existing, item) for (_, item, guard), existing in zip(puts, found, strict=True)]
            if not all(held):
                return [None if holds else Refusal(existing) for holds, existing in zip(held, found, strict=True)]
            for (ref, item, _), existing in zip(puts, found, strict=True):
                self._write(ref, item, existing)
            return None

    def _existing(self, ref: RunRef, key: str) -> Item | None:
        partition = self._partitions.get(ref)
        return partition.items.get(key) if partition else None

    def _write(self, ref: RunRef, item: Item, existing: Item | None) -> None:
        partition = self._partitions.get(ref)
        if partition is None:
            partition = self._partitions[ref] = _Partition()
        if existing is None:
            insort(partition.keys, item.key)
        partition.items[item.key] = item
        if isinstance(item, Head):
            self._index(ref, existing if isinstance(existing, Head) else None, item)
        elif isinstance(item, Inbox):
            self._index_due(ref, item)

    def update(self, ref: RunRef, change: HeadUpdate) -> Refusal | None:
        """Change the head if the guard holds. Never creates one."""
        with self._lock:
            partition = self._partitions.get(ref)
            head = partition.items.get(HEAD) if partition else None
            if partition is None or not isinstance(head, Head):
                return Refusal(None)
            if not UPDATES[change.guard](head, change):
                return Refusal(head)
            after = apply(head, change)
            partition.items[HEAD] = after
            self._index(ref, head, after)
            return None

    def _index(self, ref: RunRef, before: Head | None, after: Head) -> None:
        self._index_due(ref, after)
        if before is None or before.listing_order != after.listing_order:
            self._runs.setdefault(after.listing, {})[ref] = Listed(
                ref, after.workflow, after.version, after.status, after.created, after.listing_order
            )

    def _index_due(self, ref: RunRef, item: Head | Inbox) -> None:
        due = self._due.setdefault(item.due_shard, {})
        if item.due is None:
            due.pop((ref, item.key), None)
        else:
            due[ref, item.key] = item.due

    def get(self, ref: RunRef, key: str) -> Item | None:
        """One item, consistently read."""
        with self._lock:
            partition = self._partitions.get(ref)
            return partition.items.get(key) if partition else None

    def range(self, ref: RunRef, low: str, high: str, *, limit: int, descending: bool = False) -> Sequence[Item]:
        """Up to ``limit`` items between two keys, inclusive, in order."""
        with self._lock:
            partition = self._partitions.get(ref)
            if partition is None:
                return []
            keys = partition.keys
            first, last = bisect_left(keys, low), bisect_right(keys, high)
            if descending:
                chosen = keys[max(first, last - limit) : last]
                chosen.reverse()
            else:
                chosen = keys[first : min(last, first + limit)]
            return [partition.items[key] for key in chosen]

    def delete(self, ref: RunRef, key: str) -> None:
        """Remove an item if it is there."""
        with self._lock:
            partition = self._partitions.get(ref)
            if partition and partition.items.pop(key, None) is not None:
                partition.keys.remove(key)
                for due in self._due.values():
                    due.pop((ref, key), None)
                if key == HEAD:
                    for entries in self._runs.values():
                        entries.pop(ref, None)

    def due(self, shard: str, until: int, limit: int) -> Sequence[Due]:
        """Entries of a shard of the *due* index, earliest first."""
        with self._lock:
            found = [Due(ref, due, key) for (ref, key), due in self._due.get(shard, {}).items() if due <= until]
        return sorted(found, key=lambda entry: entry.due)[:limit]

    @property
    def earliest(self) -> int | None:
        """When a tick will find something."""
        with self._lock:
            return min((due for entries in self._due.values() for due in entries.values()), default=None)

    def runs(self, listing: str, low: str, high: str, limit: int) -> Sequence[Listed]:
        """Entries of the *runs* index, latest first."""
        with self._lock:
            found = [entry for entry in self._runs.get(listing, {}).values() if low <= entry.order < high]
        return sorted(found, key=lambda entry: entry.order, reverse=True)[:limit]


FAIR = 4
"""Of so many messages in a row, one is not of high priority if there is one that is due."""


class MemoryQueue:
    """``Queue`` in memory: keeps messages until they are due by its clock, oldest first.

    Those of high priority come before the others, up to three in a row.

    Attributes:
        dead: messages that were taken too often and never settled.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        """Delays are measured on ``clock``, in milliseconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._messages: list[tuple[int, int, Poke]] = []
        self._count = 0
        self._favoured = 0
        self._taken: dict[int, int] = {}
        self.dead: list[Poke] = []

    def send(self, pokes: Sequence[tuple[Poke, int]]) -> None:
        """Keep the messages."""
        now = self._clock()
        with self._lock:
            for poke, delay in pokes:
                self._count += 1
                insort(self._messages, (now + delay * 1000, self._count, poke), key=lambda entry: entry[:2])

    def receive(self) -> Poke | None:
        """Take the next message that is due; None if there is none."""
        now = self._clock()
        with self._lock:
            if not self._messages or self._messages[0][0] > now:
                return None
            _, number, poke = self._messages.pop(self._next(now))
            self._taken.pop(number, None)
            return poke

    def take(self, hide: int, deliveries: int) -> tuple[int, int, Poke] | None:
        """Take the next message that is due, and keep it, hidden for so many milliseconds.

        Returns:
            Its number, how often it was taken, and what it says. One that was taken so often already is ``dead``.
        """
        now = self._clock()
        with self._lock:
            while self._messages and self._messages[0][0] <= now:
                _, number, poke = self._messages.pop(self._next(now))
                count = self._taken.pop(number, 0) + 1
                if count > deliveries:
                    self.dead.append(poke)
                    continue
                self._taken[number] = count
                insort(self._messages, (now + hide, number, poke), key=lambda entry: entry[:2])
                return number, count, poke
            return None

    def settle(self, number: int) -> None:
        """A message that was taken is dealt with."""
        with self._lock:
            if self._taken.pop(number, None) is not None:
                self._messages = [entry for entry in self._messages if entry[1] != number]

    def hide(self, number: int, count: int, by: int, *, taken: bool) -> bool:
        """Hide a message that was taken for so many milliseconds from now, as still taken or as if it never was.

        Returns:
            Whether that was done: nobody has settled it or taken it once more meanwhile.
        """
        now = self._clock()
        with self._lock:
            if self._taken.get(number) != count:
                return False
            if not taken:
                del self._taken[number]
            place = next(place for place, entry in enumerate(self._messages) if entry[1] == number)
            poke = self._messages.pop(place)[2]
            insort(self._messages, (now + by, number, poke), key=lambda entry: entry[:2])
            return True

    def ages(self) -> list[tuple[int, bool]]:
        """For each message: for how many milliseconds it has been due (less than 0: not yet), and if it is taken."""
        now = self._clock()
        with self._lock:
            return [(now - at, number in self._taken) for at, number, _ in self._messages]

    def _next(self, now: int) -> int:
        """Place of the message that comes next: the oldest of high priority, but not four times in a row."""
        due = bisect_right(self._messages, now, key=lambda entry: entry[0])
        high = [place for place in range(due) if self._messages[place][2].priority == HIGH]
        if not high or len(high) == due:
            self._favoured = 0
            return 0
        self._favoured = (self._favoured + 1) % FAIR
        if self._favoured:
            return high[0]
        return next(place for place in range(due) if self._messages[place][2].priority != HIGH)

    @property
    def next_at(self) -> int | None:
        """When the next message is due, in milliseconds."""
        return self._messages[0][0] if self._messages else None

    @property
    def waiting(self) -> list[Poke]:
        """The messages that nobody has taken."""
        return [poke for _, number, poke in self._messages if number not in self._taken]

    def clear(self) -> None:
        """Lose all messages."""
        with self._lock:
            self._messages.clear()
            self._taken.clear()


class MemoryBlobs:
    """``Blobs`` in memory."""

    def __init__(self) -> None:
        """Start empty."""
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, body: bytes) -> None:
        """Write an object."""
        self.objects[key] = body

    def get(self, key: str) -> bytes | None:
        """Read an object; None if it is not there."""
        return self.objects.get(key)


class MemorySink:
    """``Sink`` in memory; refuses the events for which ``refuse`` gives a reason."""

    def __init__(self, refuse: Callable[[Published], str | None] = lambda _event: None) -> None:
        """Accept everything, unless told otherwise."""
        self.events: list[Published] = []
        self.refuse = refuse

    def publish(self, events: Sequence[Published]) -> Sequence[str | None]:
        """Keep what is accepted."""
        answers = [self.refuse(event) for event in events]
        self.events.extend(event for event, problem in zip(events, answers, strict=True) if problem is None)
        return answers


class FakeClock:
    """``Clock`` that stands still until it is moved; sleeping moves it."""

    def __init__(self, now: int = 1_767_225_600_000) -> None:
        """Start at ``now`` in milliseconds; by default on 1 January 2026."""
        self._now = now

    def now(self) -> int:
        """The time, in milliseconds."""
        return self._now

    def monotonic(self) -> float:
        """The time, in seconds."""
        return self._now / 1000

    def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self._now += max(1, int(seconds * 1000))

    def move(self, by: int | timedelta) -> None:
        """Move the clock, by so many milliseconds or by a ``timedelta``."""
        self._now += by // timedelta(milliseconds=1) if isinstance(by, timedelta) else by


class SystemClock:
    """``Clock`` of the machine, for benchmarks."""

    @staticmethod
    def now() -> int:
        """The time, in milliseconds."""
        return time.time_ns() // 1_000_000

    @staticmethod
    def monotonic() -> float:
        """Seconds that never go back."""
        return time.monotonic()

    @staticmethod
    def sleep(seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class SeededRandom:
    """``Random`` that repeats itself: the same seed gives the same tokens and rolls.

    Attributes:
        secrets: those that were drawn, for a test that plays the third party who is given one.
    """

    def __init__(self, seed: int = 0) -> None:
        """Draw from ``seed``."""
        self._random = random.Random(seed)  # noqa: S311 - repeatable by design, for tests only
        self.secrets: list[str] = []

    def token(self) -> str:
        """24 characters."""
        return f"{self._random.getrandbits(96):024x}"

    def secret(self) -> str:
        """48 characters."""
        self.secrets.append(f"{self._random.getrandbits(192):048x}")
        return self.secrets[-1]

    def roll(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()


class NoAlarm:
    """``Alarm`` that never rings."""

    def limit(self, seconds: float) -> AbstractContextManager[Self]:  # noqa: ARG002 - a port
        """Nothing."""
        return nullcontext(self)

    def extend(self, seconds: float) -> None:
        """Nothing."""
