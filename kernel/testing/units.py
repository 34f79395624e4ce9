"""The meter: what port calls cost in DynamoDB's request units, counted by DynamoDB's own rules.

A write unit is 1 KB written, a read unit 4 KB read consistently (half of one eventually). A write is charged for the
larger of the item before and after, and again for every index entry that it puts or removes; a refused conditional
write is charged too. Source: "DynamoDB read and write operations" in Amazon's developer guide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kernel.ports import (
    HEAD,
    Commit,
    Data,
    Dead,
    Due,
    Found,
    Guard,
    Head,
    HeadUpdate,
    Inbox,
    Item,
    Key,
    Listed,
    Live,
    Poke,
    Put,
    Queue,
    Refusal,
    RunRef,
    Snapshot,
    Store,
    Unreadable,
    log_key,
)


@lru_cache(4096)  # the same few times come again and again
def number(value: float) -> int:
    """Bytes of a number attribute: one per two significant digits, and one."""
    digits = str(abs(value)).replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1 + (value < 0)


def _commit(item: Commit) -> int:
    # names: SK is counted by the caller; at 2, token 5, by 2, events 6, ttl 3, v 1
    return 19 + number(item.at) + len(item.token) + len(item.by) + len(item.events) + number(item.ttl) + 2


def _snapshot(item: Snapshot) -> int:
    return 14 + number(item.seq) + number(item.fold) + len(item.body) + number(item.ttl)


def _data(item: Data) -> int:
    return 7 + len(item.body) + number(item.ttl)


def _live(item: Live) -> int:
    return 8 + number(item.until) + number(item.ttl) + (0 if item.progress is None else 8 + number(item.progress))


def _dead(item: Dead) -> int:
    return 14 + number(item.at) + len(item.error.encode()) + len(item.body) + number(item.ttl)


_INBOX_NAMES = sum(map(len, Inbox.__struct_fields__))


def _inbox(item: Inbox) -> int:
    texts = len(item.name) + len(item.digest) + len(item.by) + len(item.due_shard) + len(item.refused.encode())
    texts += len(" ".join(item.roles)) if item.roles else -len("roles")
    due = -len("due") if item.due is None else number(item.due)
    return _INBOX_NAMES + texts + len(item.body) + number(item.at) + due + number(item.seq) + number(item.ttl)


_KEY_NAMES = sum(map(len, ("holder", "was", "ttl")))


def _key(item: Key) -> int:
    return _KEY_NAMES + len(item.holder) + len(item.was) + number(item.ttl)


_BUSINESS_KEY = len("business_key")
_HEAD_NAMES = sum(map(len, Head.__struct_fields__)) - _BUSINESS_KEY


def _head(item: Head) -> int:
    texts = (
        item.workflow,
        item.fingerprint,
        item.status,
        item.listing,
        item.listing_order,
        item.due_shard,
        item.look,
        item.token,
        item.by,
        item.digest,
    )
    times = number(item.created) + number(item.deadline) + number(item.expires) + number(item.ttl)
    due = -len("due") if item.due is None else number(item.due)
    small = number(item.version) + number(item.due_seq) + number(item.publish_failures) + number(item.v)
    small += number(item.published_events)
    small += len(item.business_key) + _BUSINESS_KEY if item.business_key else 0
    return _HEAD_NAMES + len("".join(texts)) + len(item.events) + times + due + small + number(item.published)


_COMMIT_KEYS = 5 + len(log_key(0))
_SIZES: dict[type[Any], Callable[[Any], int]] = {
    Commit: _commit,
    Snapshot: _snapshot,
    Data: _data,
    Live: _live,
    Dead: _dead,
    Inbox: _inbox,
    Key: _key,
    Head: _head,
    Unreadable: lambda _item: 0,
}


def size_of(ref: RunRef, item: Found) -> int:
    """Bytes that an item takes in the table: attribute names and values, keys included; of an unreadable one, keys."""
    if type(item) is Commit:
        return _COMMIT_KEYS + len(ref.tenant) + len(ref.run) + _commit(item)
    return 5 + len(ref.tenant) + len(ref.run) + len(item.key) + _SIZES[type(item)](item)


def write_units(size: int) -> int:
    """Units of writing an item of ``size`` bytes."""
    return max(1, -(-size // 1024))


def read_units(size: int, *, consistent: bool) -> float:
    """Units of reading ``size`` bytes in one request."""
    units = max(1, -(-size // 4096))
    return units if consistent else units / 2


class Usage(Struct):
    """What was used.

    Attributes:
        write_units: DynamoDB write request units, indexes included.
        read_units: DynamoDB read request units.
        writes, reads: requests to the table.
        refused: conditional writes among them that were refused.
        messages: messages sent.
        blobs: requests to the blob store.
    """

    write_units: float = 0
    read_units: float = 0
    writes: int = 0
    reads: int = 0
    refused: int = 0
    messages: int = 0
    blobs: int = 0

    def minus(self, other: Usage) -> Usage:
        """What was used since ``other`` was taken."""
        pairs = ((getattr(self, name) - getattr(other, name)) for name in self.__struct_fields__)
        return Usage(*pairs)


class Meter:
    """Counts what a store and a queue are used for, in all and per run.

    Attributes:
        total: everything.
        runs: by run.
        kinds: write units by kind of item, and requests by kind.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.total = Usage()
        self.runs: dict[RunRef, Usage] = {}
        self.kinds: dict[str, int] = {}
        self.sizes: dict[tuple[RunRef, str], int] = {}
        self.heads: dict[RunRef, Head] = {}
        self.due: dict[tuple[RunRef, str], int | None] = {}

    def of(self, ref: RunRef) -> Usage:
        """What a run has used so far."""
        usage = self.runs.get(ref)
        if usage is None:
            usage = self.runs[ref] = Usage()
        return usage

    def wrote(self, ref: RunRef, kind: str, units: int, *, refused: bool = False) -> None:
        """Count a write."""
        total, own = self.total, self.of(ref)
        total.write_units += units
        own.write_units += units
        total.writes += 1
        own.writes += 1
        if refused:
            total.refused += 1
            own.refused += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + units

    def read(self, ref: RunRef | None, size: int, *, consistent: bool = True) -> None:
        """Count a read; of an index when there is no run."""
        units = read_units(size, consistent=consistent)
        for usage in (self.total,) if ref is None else (self.total, self.of(ref)):
            usage.read_units += units
            usage.reads += 1

    def snapshot(self) -> Usage:
        """The total as it is now."""
        return replace(self.total)


def index_units(before: Head | None, after: Head) -> int:
    """Write units that a change of a head costs in the two indexes: their entries are well under 1 KB."""
    if before is None:
        return 1 + (after.due is not None)
    units = 0
    if before.due != after.due:
        units += (before.due is not None) + (after.due is not None)
    if before.listing_order != after.listing_order:
        units += 2
    elif before.status != after.status:
        units += 1
    return units


def apply(head: Head, change: HeadUpdate) -> Head:
    """The head after an update."""
    return replace(
        head,
        look=head.look if change.look is None else change.look,
        due=None if change.clear_due else head.due if change.due is None else change.due,
        due_seq=head.due_seq if change.due_seq is None else change.due_seq,
        status=head.status if change.status is None else change.status,
        listing_order=head.listing_order if change.listing_order is None else change.listing_order,
        published=head.published if change.published is None else change.published,
        published_events=head.published_events if change.published_events is None else change.published_events,
        publish_failures=head.publish_failures if change.publish_failures is None else change.publish_failures,
    )


class MeteredStore:
    """A store that counts what passes through, by DynamoDB's rules, whatever is behind it."""

    def __init__(self, store: Store, meter: Meter) -> None:
        """Count calls of ``store`` in ``meter``."""
        self._store = store
        self._meter = meter

    def put(self, ref: RunRef, item: Item, guard: Guard | None = None) -> Refusal | None:
        """Put, and count the larger of old and new item, and index entries of a head."""
        refusal = self._store.put(ref, item, guard)
        meter = self._meter
        kind = type(item).__name__
        size = size_of(ref, item)
        if refusal is not None:
            existing = size_of(ref, refusal.existing) if refusal.existing is not None else 0
            meter.wrote(ref, kind, write_units(max(size, existing)), refused=True)
            return refusal
        if type(item) is Commit:
            meter.wrote(ref, kind, write_units(size))
            return None
        known = (ref, item.key)
        units = write_units(max(size, meter.sizes.get(known, 0)))
        meter.sizes[known] = size
        if isinstance(item, Head):
            units += index_units(None, item)
            meter.heads[ref] = item
        if isinstance(item, Inbox):
            units += self._moved(ref, item)
        meter.wrote(ref, kind, units)
        return None

    def put_all(self, puts: Sequence[Put]) -> Sequence[Refusal | None] | None:
        """Put in a transaction, and count each item twice, as AWS does, and its index entries once."""
        refusals = self._store.put_all(puts)
        meter = self._meter
        for ref, item, _ in puts:
            known, size = (ref, item.key), size_of(ref, item)
            units = 2 * write_units(max(size, meter.sizes.get(known, 0)))
            if refusals is None:
                meter.sizes[known] = size
                units += self._moved(ref, item) if isinstance(item, Inbox) else 0
                if isinstance(item, Head):
                    units += index_units(None, item)
                    meter.heads[ref] = item
            meter.wrote(ref, type(item).__name__, units, refused=refusals is not None)
        return refusals

    def _moved(self, ref: RunRef, item: Inbox) -> int:
        """Entries of the *due* index that an inbox item puts and removes."""
        known = (ref, item.key)
        before = self._meter.due.get(known)
        self._meter.due[known] = item.due
        return 0 if before == item.due else (before is not None) + (item.due is not None)

    def update(self, ref: RunRef, change: HeadUpdate) -> Refusal | None:
        """Update, and count the head and its index entries."""
        meter = self._meter
        if ref not in meter.heads and isinstance(found := self._store.get(ref, HEAD), Head):
            meter.heads[ref] = found  # uncounted: only to know which index entries will move
        refusal = self._store.update(ref, change)
        if refusal is not None:
            if isinstance(refusal.existing, Head):
                meter.heads[ref] = refusal.existing
            size = size_of(ref, refusal.existing) if refusal.existing is not None else 0
            meter.wrote(ref, change.guard.value, write_units(size), refused=True)
            return refusal
        before = meter.heads.get(ref)
        if before is None:
            meter.wrote(ref, change.guard.value, 1)
            return None
        after = apply(before, change)
        meter.heads[ref] = after
        known = (ref, HEAD)
        old = meter.sizes.get(known) or size_of(ref, before)
        new = meter.sizes[known] = size_of(ref, after)
        units = write_units(max(old, new)) + index_units(before, after)
        meter.wrote(ref, change.guard.value, units)
        return None

    def get(self, ref: RunRef, key: str) -> Found | None:
        """Get, and count the item."""
        item = self._store.get(ref, key)
        self._meter.read(ref, 0 if item is None else size_of(ref, item))
        return item

    def range(self, ref: RunRef, low: str, high: str, *, limit: int, descending: bool = False) -> Sequence[Found]:
        """Range, and count all items of the page together."""
        items = self._store.range(ref, low, high, limit=limit, descending=descending)
        self._meter.read(ref, sum(size_of(ref, item) for item in items))
        for item in items:
            if isinstance(item, Head):
                self._meter.heads[ref] = item
        return items

    def delete(self, ref: RunRef, key: str) -> None:
        """Delete, and count it."""
        self._store.delete(ref, key)
        self._meter.wrote(ref, "delete", write_units(self._meter.sizes.pop((ref, key), 0)))

    def due(self, shard: str, until: int, limit: int) -> Sequence[Due]:
        """Query the *due* index, and count about 150 bytes an entry."""
        entries = self._store.due(shard, until, limit)
        self._meter.read(None, 150 * len(entries), consistent=False)
        return entries

    def runs(self, listing: str, low: str, high: str, limit: int) -> Sequence[Listed]:
        """Query the *runs* index, and count about 250 bytes an entry."""
        entries = self._store.runs(listing, low, high, limit)
        self._meter.read(None, 250 * len(entries), consistent=False)
        return entries


class MeteredQueue:
    """A queue that counts its messages."""

    def __init__(self, queue: Queue, meter: Meter) -> None:
        """Count messages of ``queue`` in ``meter``."""
        self._queue = queue
        self._meter = meter

    def send(self, pokes: Sequence[tuple[Poke, int]]) -> None:
        """Send, and count."""
        self._queue.send(pokes)
        self._meter.total.messages += len(pokes)
        for poke, _ in pokes:
            self._meter.of(poke.ref).messages += 1
