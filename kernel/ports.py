"""What the kernel needs from outside: seven small ports, and the items, pokes and conditions that cross them.

An adapter implements a port; ``kernel.testing.conformance`` says what it must be true to. Adapters raise
``Unavailable`` when a call was throttled, failed or has an unknown outcome, ``Missing`` when what they talk to does not
exist, and a plain ``InfrastructureError`` when they are asked for what cannot be (an item too large for the store). An
item that cannot be read is no error of the call: ``Unreadable`` takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Final, Protocol

from msgspec import Struct

from kernel.errors import LogError

# --- names of things -------------------------------------------------------------------------------------------------


class RunRef(Struct, frozen=True):
    """Which run, of which tenant."""

    tenant: str
    run: str

    @property
    def partition(self) -> str:
        """The partition that holds everything of the run."""
        return f"{self.tenant}#{self.run}"


HEAD = "~head"
SNAPSHOT = "~snap"
LOG = "log#"
DATA = "data#"
LIVE = "live#"
DEAD = "dead#"
INBOX = "in#"
KEY = "key#"


def log_key(seq: int) -> str:
    """Sort key of the commit with this number. Fixed width, so that keys sort as numbers do."""
    return f"log#{seq:010d}"


def keys_of(tenant: str) -> RunRef:
    """The tenant's own partition, which belongs to no run: it has the tenant's business keys."""
    return RunRef(tenant, "")


def business_key(workflow: str, name: str) -> str:
    """Sort key of a business key."""
    return f"{KEY}{workflow}#{name}"


# --- items of a run's partition --------------------------------------------------------------------------------------
# An item's attributes in the store are the fields of its struct, by name; absent when None. So its size in the store,
# and with it what it costs, follows from here.


class Head(Struct, frozen=True, kw_only=True):
    """The run's one mutable item; holds commit 0. Under 1 KB.

    Attributes:
        workflow, version, fingerprint: the definition that the run is pinned to.
        created, deadline, expires: milliseconds.
        ttl: when the store may delete it, in seconds since the epoch.
        status: coarse status: open, paused, parked, completed, failed, cancelled.
        listing, listing_order: keys of the *runs* index.
        due_shard, due: keys of the *due* index; ``due`` is absent once nobody need ever look again.
        due_seq: the highest commit number that anything said about ``due``.
        published: number of the last commit whose events are published; -1 before commit 0 is.
        published_events: how many events of the commit after that are settled, too.
        publish_failures: how much publishing what comes next has failed so far (``kernel.shell.outbox.GIVEN_UP``).
        look: token of the latest look of a tick, so that the tick knows its own claim again.
        token, by, events, v: commit 0: its token, who wrote it, its events as JSON text, its format.
        digest: of what was asked for, so that a repeated start is told from another one.
        business_key: the run is the only one under way with this key; absent when empty.
        priority: ``HIGH``, or empty; never changes.
        annotations: what the run was started with, as JSON text (``kernel.annotations``), or empty; never changes.
    """

    workflow: str
    version: int
    fingerprint: str
    created: int
    deadline: int
    expires: int
    ttl: int
    status: str
    listing: str
    listing_order: str
    due_shard: str
    due: int | None
    due_seq: int
    published: int
    published_events: int = 0
    publish_failures: int
    look: str
    token: str
    by: str
    events: bytes
    digest: str
    v: int
    business_key: str = ""
    priority: str = ""
    annotations: bytes = b""

    @property
    def key(self) -> str:
        """Its sort key."""
        return HEAD

    def poke(self, ref: RunRef, stage: str = "", at: int = 0) -> Poke:
        """A poke for the run that this is the head of, in the run's class."""
        return Poke(ref.tenant, ref.run, stage, at, priority=self.priority)


class Commit(Struct, frozen=True):
    """A log record: one or more events, written atomically. Immutable.

    Attributes:
        seq: its number, without gaps from 1 (commit 0 is in the head).
        at: when, in milliseconds; never less than the one before.
        token: random per logical commit: whose put this was.
        by: who wrote it (``worker``, ``tick``, ``api:alice``).
        events: JSON text, an array of events.
        ttl: when the store may delete it, in seconds.
        v: version of the event format.
        annotations: what was said beside, as JSON text (``kernel.annotations``), or empty. No fold sees it.
    """

    seq: int
    at: int
    token: str
    by: str
    events: bytes
    ttl: int
    v: int
    annotations: bytes = b""

    @property
    def key(self) -> str:
        """Its sort key."""
        return log_key(self.seq)


class Snapshot(Struct, frozen=True):
    """The folded state as of a commit; may be thrown away.

    Attributes:
        seq: number of the last commit folded in.
        fold: version of the fold; a reader of another version ignores it.
        body: the state, compressed.
        ttl: when the store may delete it, in seconds.
    """

    seq: int
    fold: int
    body: bytes
    ttl: int

    @property
    def key(self) -> str:
        """Its sort key."""
        return SNAPSHOT


class Data(Struct, frozen=True):
    """A value too big for its event. Immutable: its key is derived from what it holds."""

    key: str
    body: bytes
    ttl: int


class Live(Struct, frozen=True):
    """Sign of life of the attempt that commit ``seq`` started; overwritten in place by its owner.

    Attributes:
        seq: number of the attempt's Started commit.
        until: the extended lease, in milliseconds.
        progress: as last reported.
        ttl: when the store may delete it, in seconds.
    """

    seq: int
    until: int
    progress: float | None
    ttl: int

    @property
    def key(self) -> str:
        """Its sort key."""
        return f"live#{self.seq:010d}"


class Dead(Struct, frozen=True):
    """An event that could not be published.

    Attributes:
        seq, index: the event's place in the log.
        at: when it was given up, in milliseconds.
        error: what the sink said last.
        body: the event as it would have been published, JSON text.
        ttl: when the store may delete it, in seconds.
    """

    seq: int
    index: int
    at: int
    error: str
    body: bytes
    ttl: int

    @property
    def key(self) -> str:
        """Its sort key."""
        return f"dead#{self.seq:010d}#{self.index:05d}"


class Inbox(Struct, frozen=True, kw_only=True):
    """An external event that was accepted; an entry of the *due* index until it is settled.

    Attributes:
        id: of the event; the same id is the same event.
        name: its class.
        body: what it carries, as JSON text; empty once the log has it.
        digest: of name and body, so that a repeated event is told from another one.
        at: when it was accepted, in milliseconds.
        by: who sent it.
        roles: what they are allowed to act as.
        due_shard, due: keys of the *due* index; ``due`` is absent once it is settled.
        seq: number of the commit that applied it.
        refused: why it was not applied.
        ttl: when the store may delete it, in seconds.
        priority: of its run, as in the head.
    """

    id: str
    name: str
    body: bytes
    digest: str
    at: int
    by: str
    due_shard: str
    due: int | None
    seq: int = 0
    refused: str = ""
    roles: tuple[str, ...] = ()
    ttl: int
    priority: str = ""

    @property
    def key(self) -> str:
        """Its sort key."""
        return f"{INBOX}{self.id}"

    def poke(self, ref: RunRef) -> Poke:
        """A poke about it for the run, in the run's class."""
        return Poke(ref.tenant, ref.run, event=self.id, priority=self.priority)


class Key(Struct, frozen=True, kw_only=True):
    """A business key, in the tenant's own partition: which run holds it. Nobody does when it is not there.

    Attributes:
        workflow, name: which key of which workflow.
        holder: the run that holds it, and its generation: ``<run>#<generation>``; empty if nobody does.
        was: the holder that was seen when this was put; empty if nobody was.
        ttl: when the store may delete it, in seconds: no sooner than nobody can be holding it.
    """

    workflow: str
    name: str
    holder: str
    was: str
    ttl: int

    @property
    def key(self) -> str:
        """Its sort key."""
        return business_key(self.workflow, self.name)

    @property
    def run(self) -> str:
        """The run that holds it; empty if nobody does."""
        return self.holder.partition("#")[0]

    @property
    def generation(self) -> int:
        """The generation of that run; -1 if nobody holds it."""
        return int(self.holder.partition("#")[2]) if self.holder else -1


class Unreadable(Struct, frozen=True):
    """Stands for an item that is there, but cannot be read. Whether that matters is for the reader to say.

    Attributes:
        key: its sort key.
        error: what is wrong with it.
    """

    key: str
    error: LogError


Item = Head | Commit | Snapshot | Data | Live | Dead | Inbox | Key
"""What can be written."""

Found = Item | Unreadable
"""What can be read."""


def readable(found: Found | None) -> Item | None:
    """An item that was read.

    Raises:
        LogError: it cannot be.
    """
    if isinstance(found, Unreadable):
        raise found.error
    return found


# --- conditions ------------------------------------------------------------------------------------------------------


class Guard(StrEnum):
    """Every condition that a write can carry, named after what it guards. Each store maps these, and only these."""

    RUN_IS_NEW = "run-is-new"
    """Put of a head: there is none. A start creates a run once, whatever is repeated."""
    COMMIT_IS_NEXT = "commit-is-next"
    """Put of a commit: its number is free. One commit per number; a stale attempt cannot commit."""
    SNAPSHOT_FORWARD = "snapshot-forward"
    """Put of a snapshot: it is newer, or as new with a newer fold. A slow writer never takes it backwards."""
    EVENT_IS_NEW = "event-is-new"
    """Put of an inbox item: there is none. An external event is accepted once, whatever is repeated."""
    EVENT_IS_OPEN = "event-is-open"
    """Put of an inbox item over one that is not settled. An external event is settled once."""
    KEY_AS_SEEN = "key-as-seen"
    """Put of a business key: its holder is who was seen, or nobody is. No two runs under way have the same key."""
    DUE_AS_SEEN = "due-as-seen"
    """A tick's claim: ``due`` is what was seen. Two ticks do not do the same work."""
    SLEEP_IS_LATEST = "sleep-is-latest"
    """Putting to sleep: ``due`` as seen, and nobody spoke of a later commit. A late sleeper hides no run."""
    WAKE_IS_NEWER = "wake-is-newer"
    """Waking: nobody spoke of this commit or a later one. A frozen waker changes nothing."""
    FINALISE_IS_LATEST = "finalise-is-latest"
    """Finalising: nobody spoke of a later commit. A late finaliser hides no reopened run."""
    CURSOR_AS_SEEN = "cursor-as-seen"
    """Moving the outbox cursor or its failure count: all are as seen. The cursor never goes backwards."""
    STATUS_AS_SEEN = "status-as-seen"
    """Parking, pausing and back: the coarse status is what was seen, and nobody spoke of a later commit. A finished run
    is never shown as parked, nor a sleeping one as what it no longer is."""


class HeadUpdate(Struct, frozen=True, kw_only=True):
    """A guarded change of a head. What is ``None`` stays as it is.

    Attributes:
        guard: the condition; it compares the ``seen_*`` fields and ``due_seq``.
        look: a tick's claim: its random token, so that the tick knows it again after a lost reply.
        due, due_seq, status, published, published_events, publish_failures: new values.
        listing_order: goes with ``status``.
        clear_due: take the run out of the *due* index.
        seen_due, seen_status, seen_published, seen_events, seen_failures: what the guard compares with.
    """

    guard: Guard
    look: str | None = None
    due: int | None = None
    due_seq: int | None = None
    status: str | None = None
    listing_order: str | None = None
    published: int | None = None
    published_events: int | None = None
    publish_failures: int | None = None
    clear_due: bool = False
    seen_due: int | None = None
    seen_status: str | None = None
    seen_published: int | None = None
    seen_events: int = 0
    seen_failures: int | None = None


Put = tuple[RunRef, Item, Guard]
"""One of the puts of a transaction: where, what, under which guard."""


class Refusal(Struct, frozen=True):
    """A guard said no. ``existing`` is the item as it is, consistently read; None if there is none."""

    existing: Found | None


# --- ports -----------------------------------------------------------------------------------------------------------


class Due(Struct, frozen=True):
    """An entry of the *due* index, possibly stale: a run's head, or an external event, by its sort key."""

    ref: RunRef
    due: int
    key: str = HEAD


class Listed(Struct, frozen=True):
    """An entry of the *runs* index, possibly stale."""

    ref: RunRef
    workflow: str
    version: int
    status: str
    created: int
    order: str


class Store(Protocol):
    """Where runs are kept: items by partition and sort key, two indexes, conditional writes."""

    def put(self, ref: RunRef, item: Item, guard: Guard | None = None) -> Refusal | None:
        """Write an item whole; under a guard, only if it holds."""
        ...

    def put_all(self, puts: Sequence[Put]) -> Sequence[Refusal | None] | None:
        """Write two or more items, each whole, if all their guards hold, and nothing otherwise: a transaction.

        They may be in several partitions; none may be named twice.

        Returns:
            None if they were written; else, for each of them, what its guard said no to, if it did.
        """
        ...

    def update(self, ref: RunRef, change: HeadUpdate) -> Refusal | None:
        """Change the head if the guard holds. Never creates one."""
        ...

    def get(self, ref: RunRef, key: str) -> Found | None:
        """One item, consistently read."""
        ...

    def range(self, ref: RunRef, low: str, high: str, *, limit: int, descending: bool = False) -> Sequence[Found]:
        """Up to ``limit`` items with ``low <= key <= high`` in order of key, consistently read.

        May give fewer than there are only when it gives ``limit`` items.
        """
        ...

    def delete(self, ref: RunRef, key: str) -> None:
        """Remove an item if it is there."""
        ...

    def due(self, shard: str, until: int, limit: int) -> Sequence[Due]:
        """Entries of a shard of the *due* index with ``due <= until``, earliest first. May be stale."""
        ...

    def runs(self, listing: str, low: str, high: str, limit: int) -> Sequence[Listed]:
        """Entries of the *runs* index with ``low <= order < high``, latest first. May be stale."""
        ...


HIGH: Final = "high"
"""The priority of runs whose messages do not wait behind those of others; what is not high says nothing."""


class Poke(Struct, frozen=True, omit_defaults=True):
    """A message "look at this run". Carries no state: may be lost, doubled, late or reordered without harm.

    Attributes:
        tenant, run: which run.
        stage: the stage to look at first, if any.
        event: id of an external event that has come, if one has.
        at: not before this time, in milliseconds; 0 for at once.
        v: version of the message format.
        priority: the run's: ``HIGH``, or empty.
    """

    tenant: str
    run: str
    stage: str = ""
    at: int = 0
    v: int = 1
    event: str = ""
    priority: str = ""

    @property
    def ref(self) -> RunRef:
        """The run."""
        return RunRef(self.tenant, self.run)


MAX_DELAY = 900
"""The longest delay of a message, in seconds (SQS, DelaySeconds)."""


class Queue(Protocol):
    """Carries pokes to workers: those of a ``HIGH`` priority before others, but never only those."""

    def send(self, pokes: Sequence[tuple[Poke, int]]) -> None:
        """Send each poke with a delay in seconds, 0 to ``MAX_DELAY``. Those that fail are logged and dropped."""
        ...


class Blobs(Protocol):
    """Keeps values that are too big for the store."""

    def put(self, key: str, body: bytes) -> None:
        """Write an object. The same key is only ever written with the same content."""
        ...

    def get(self, key: str) -> bytes | None:
        """Read an object; None if it is not there."""
        ...


class Published(Struct, frozen=True):
    """An event on its way to the sink.

    Attributes:
        id: stable: ``run#seq#index``. Consumers drop duplicates by it and order by ``seq`` and ``index``.
        type: the event's class name.
        at: when it happened, in milliseconds.
        body: JSON text: id, type, tenant, run, workflow, version, seq, index, at, and the event itself as ``event``.
    """

    id: str
    type: str
    tenant: str
    run: str
    at: int
    body: bytes


class Sink(Protocol):
    """Takes published events."""

    def publish(self, events: Sequence[Published]) -> Sequence[str | None]:
        """Submit the events, in order. One answer each: None, or why it was not accepted."""
        ...


class Clock(Protocol):
    """Time."""

    def now(self) -> int:
        """Wall-clock time in milliseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Random(Protocol):
    """Chance."""

    def token(self) -> str:
        """A fresh token of 24 hexadecimal digits, unguessable."""
        ...

    def secret(self) -> str:
        """A fresh secret of 48 hexadecimal digits, for whoever must prove that it was given to them."""
        ...

    def roll(self) -> float:
        """A number in [0, 1)."""
        ...


class Limit(Protocol):
    """The time that a block has."""

    def extend(self, seconds: float) -> None:
        """Start it anew with this time, from whichever thread. Once the block has ended, nothing happens."""
        ...


class Alarm(Protocol):
    """Interrupts code that runs too long, where the platform can."""

    def limit(self, seconds: float) -> AbstractContextManager[Limit]:
        """Raise ``StageTimedOut`` inside the block once this time has passed."""
        ...
