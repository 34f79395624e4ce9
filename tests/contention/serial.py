"""Whether what came of a race can be explained by one write after the other.

Each accepted write says what it replaced. So there is no need to search for an order: the writes of an item form one
chain from the item as it was to the item as it is, or they do not. Along it each guard must have held; every refusal
must show an item of the chain, in which its guard did not hold; and no write may come before one that had been answered
when it was sent. That is linearizability, with a witness.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from kernel.ports import Commit, Guard, Head, HeadUpdate, Item, Snapshot
from kernel.testing import memory
from kernel.testing.units import apply
from tests.contention.racing import Move, Write

# What the guards mean, kept before any test may switch one off.
_PUTS = dict(memory.PUTS)
_UPDATES = dict(memory.UPDATES)


def allowed(guard: Guard, item: Item | None, write: Write) -> bool:
    """Whether a guard holds, by what it means."""
    if isinstance(write, HeadUpdate):
        return isinstance(item, Head) and _UPDATES[guard](item, write)
    return _PUTS[guard](item, write)


def written(item: Item | None, write: Write) -> Item:
    """The item after a write."""
    if isinstance(write, HeadUpdate):
        assert isinstance(item, Head)
        return apply(item, write)
    return write


def name_of(item: Item | None) -> object:
    """What tells a version of an item from every other."""
    match item:
        case Head():
            return item.token, item.look
        case Commit():
            return item.token
        case Snapshot():
            return item.body
        case _:
            return item


def chain_of(moves: Sequence[Move], first: Item | None, last: Item | None) -> list[Move]:
    """The accepted writes to one item in the order in which they took effect.

    Raises:
        AssertionError: there is no such order; the message says which promise does not hold.
    """
    accepted = [move for move in moves if move.accepted]
    after = {name_of(move.seen): move for move in accepted}
    assert len(after) == len(accepted), "two accepted writes replaced the same version: one of them is lost"
    versions: list[Item | None] = [first]
    chain: list[Move] = []
    while (move := after.pop(name_of(versions[-1]), None)) is not None:
        assert move.seen == versions[-1], f"{move.guard}: an accepted write replaced what nobody had written"
        assert allowed(move.guard, versions[-1], move.write), f"{move.guard} let {move.write} pass over {move.seen}"
        versions.append(written(versions[-1], move.write))
        chain.append(move)
    assert not after, f"{len(after)} accepted writes have no place in any order"
    assert versions[-1] == last, "what is there is not what the last accepted write left"
    _check_times(chain)
    _check_refusals([move for move in moves if not move.accepted], chain, versions)
    return chain


def _check_times(chain: Sequence[Move]) -> None:
    latest = 0.0
    for move in chain:
        latest = max(latest, move.began)
        assert move.ended >= latest, f"{move.guard}: took effect after a write that was sent when it had been answered"


def _check_refusals(refused: Sequence[Move], chain: Sequence[Move], versions: Sequence[Item | None]) -> None:
    places = {name_of(version): place for place, version in enumerate(versions)}
    for move in refused:
        assert name_of(move.seen) in places, f"{move.guard}: a refusal shows what never was there: {move.seen}"
        place = places[name_of(move.seen)]
        assert move.seen == versions[place], f"{move.guard}: a refusal shows {move.seen}, it was {versions[place]}"
        assert not allowed(move.guard, move.seen, move.write), f"{move.guard} refused {move.write} over {move.seen}"
        made = chain[place - 1].began if place else 0.0
        replaced = chain[place].ended if place < len(chain) else move.ended
        assert made <= move.ended, f"{move.guard}: a refusal shows a version that had yet to be written"
        assert replaced >= move.began, f"{move.guard}: a refusal shows a version that had long been replaced"


def assert_never_backwards(versions: Sequence[Item]) -> None:
    """What must only grow along the versions of a head."""
    for before, after in pairwise(versions):
        assert isinstance(before, Head)
        assert isinstance(after, Head)
        assert after.due_seq >= before.due_seq, f"due_seq goes back from {before.due_seq} to {after.due_seq}"
        assert after.published >= before.published, f"the cursor goes back from {before.published}"
