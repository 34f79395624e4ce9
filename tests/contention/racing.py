"""What the threads of a race do: guarded writes to the same items, each with all that was seen of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from kernel.ports import HEAD, Guard, Head, HeadUpdate, Item, Key, RunRef, readable
from kernel.testing.conformance.examples import TTL, commit, fresh_token, head, held, snapshot
from kernel.testing.units import apply
from tests.contention.crew import Here

Write = Item | HeadUpdate


class Move(Struct, frozen=True):
    """A guarded write, and what came of it.

    Attributes:
        ref: of which run.
        guard, write: what was wanted.
        accepted: whether it was.
        seen: the item that it replaced; or, when it was refused, the item that stood in its way.
        began, ended: when it was sent and answered, on the machine's monotonic clock, in seconds.
    """

    ref: RunRef
    guard: Guard
    write: Write
    accepted: bool
    seen: Item | None
    began: float
    ended: float


def _move(here: Here, ref: RunRef, guard: Guard, write: Write) -> Move:
    began = time.monotonic()
    refusal = here.store.update(ref, write) if isinstance(write, HeadUpdate) else here.store.put(ref, write, guard)
    ended = time.monotonic()
    seen = here.replaced if refusal is None else readable(refusal.existing)
    return Move(ref, guard, write, refusal is None, seen, began, ended)


# --- puts -------------------------------------------------------------------------------------------------------------


class Puts(Struct, frozen=True):
    """A race of puts: every thread puts each of these, in the same order.

    Attributes:
        guard: under which guard.
        refs: of these runs.
        count: so many items of each.
    """

    guard: Guard
    refs: tuple[RunRef, ...]
    count: int


def put_all(here: Here, number: int, puts: Puts) -> list[Move]:
    """Put each item, all threads the same ones. Now and then put one once more, as after a reply that was lost."""
    random = Random(f"{number}/{puts.refs}")
    make = _MADE[puts.guard]
    moves: list[Move] = []
    for ref in puts.refs:
        for index in range(1, puts.count + 1):
            item = make(ref, index, random)
            moves.append(_move(here, ref, puts.guard, item))
            if random.random() < 0.2:
                moves.append(_move(here, ref, puts.guard, item))
    return moves


_MADE: dict[Guard, Callable[[RunRef, int, Random], Item]] = {
    Guard.RUN_IS_NEW: lambda ref, _index, _random: head(ref),
    Guard.COMMIT_IS_NEXT: lambda _ref, index, _random: commit(index),
    Guard.SNAPSHOT_FORWARD: lambda _ref, index, random: snapshot(
        index + random.randrange(4), random.randrange(3), fresh_token().encode()
    ),
}


# --- business keys ----------------------------------------------------------------------------------------------------


class Holds(Struct, frozen=True):
    """A race for a business key: every thread takes it and frees it so many times, in the partition of ``ref``."""

    ref: RunRef
    count: int


def hold_all(here: Here, number: int, holds: Holds) -> list[Move]:
    """Take the key, from whoever was last seen to hold it, and free what is one's own, or another one's by now.

    A holder that says it once more may come back when others have freed the key, so it is there twice. Each write has
    a time to live of its own, which tells one version from the other; no guard looks at that.
    """
    random = Random(f"{number}/{holds.ref}")
    sort_key = held("k", "").key
    known: Item | None = None
    moves: list[Move] = []

    def move(item: Key) -> None:
        moves.append(_move(here, holds.ref, Guard.KEY_AS_SEEN, replace(item, ttl=TTL + number * 100_000 + len(moves))))

    for index in range(holds.count):
        if random.random() < 0.5:
            known = readable(here.store.get(holds.ref, sort_key))
        holder = known.holder if isinstance(known, Key) else ""
        free = bool(holder) and (holder.startswith(f"{number}#") or random.random() < 0.2)
        item = held("k", "" if free else f"{number}#{index}", was=holder)
        move(item)
        known = item if moves[-1].accepted else moves[-1].seen
        if random.random() < 0.2:  # once more, as after a reply that was lost
            move(item)
    return moves


# --- head updates -----------------------------------------------------------------------------------------------------


class Updates(Struct, frozen=True):
    """A race of head updates: every thread makes so many, of any kind, on one head."""

    ref: RunRef
    count: int


def update_all(here: Here, number: int, updates: Updates) -> list[Move]:
    """Update the head again and again, as of what was last seen of it, which others will have changed."""
    random = Random(f"{number}/{updates.ref}")
    known = here.store.get(updates.ref, HEAD)
    moves: list[Move] = []
    for index in range(updates.count):
        if random.random() < 0.5:  # as it is, or nearly; else as the last answer showed it
            known = here.store.get(updates.ref, HEAD)
        assert isinstance(known, Head)
        # No two claims name the same time, so that a time that was seen says whose claim it was.
        due = known.created + 1_000_000 + number * 100_000 + index
        change = _change(random, known, due)
        move = _move(here, updates.ref, change.guard, change)
        moves.append(move)
        assert isinstance(move.seen, Head)
        known = apply(move.seen, change) if move.accepted else move.seen
    return moves


def _change(random: Random, known: Head, due: int) -> HeadUpdate:
    """An update of any kind, right as of what is known, or a little off."""
    update = HeadUpdate(guard=Guard.WAKE_IS_NEWER, look=fresh_token())
    seq = known.due_seq
    changes: dict[str, object]
    guards = [*_KINDS] if known.due is not None else [Guard.WAKE_IS_NEWER, Guard.CURSOR_AS_SEEN, Guard.STATUS_AS_SEEN]
    match guard := random.choice(guards):
        case Guard.DUE_AS_SEEN:
            changes = {"due": due, "seen_due": known.due}
        case Guard.SLEEP_IS_LATEST:
            changes = {"due": due, "seen_due": known.due, "due_seq": seq + random.choice((-1, 0, 1))}
        case Guard.WAKE_IS_NEWER:
            changes = {"due": due, "due_seq": seq + random.choice((0, 1, 2))}
        case Guard.FINALISE_IS_LATEST:
            changes = {"due_seq": seq + random.choice((-1, 0)), "clear_due": True}
        case Guard.CURSOR_AS_SEEN:
            changes = {
                "published": known.published + random.choice((0, 1)),
                "publish_failures": known.publish_failures + 1,
                "seen_published": known.published,
                "seen_events": known.published_events,
                "seen_failures": known.publish_failures,
            }
        case _:
            other = "open" if known.status == "parked" else "parked"
            changes = {"status": other, "listing_order": f"{other}#{due}", "seen_status": known.status}
            changes["due_seq"] = seq + random.choice((-1, 0))
    return replace(update, guard=guard, **changes)


_KINDS = (
    Guard.DUE_AS_SEEN,
    Guard.SLEEP_IS_LATEST,
    Guard.WAKE_IS_NEWER,
    Guard.FINALISE_IS_LATEST,
    Guard.CURSOR_AS_SEEN,
    Guard.STATUS_AS_SEEN,
)
