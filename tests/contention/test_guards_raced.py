"""Every guard of the store, raced for by four processes of eight threads: what comes of it is as if they took turns."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from hosts.engines.dynamodb_local import ENGINE_VERSION
from infra.dynamodb.store import DynamoDbStore
from kernel.ports import HEAD, Guard, HeadUpdate, RunRef, keys_of, readable
from kernel.testing.conformance.examples import fresh_ref, fresh_token, head, held
from kernel.testing.conformance.store import UPDATE_GUARDS
from tests.contention.crew import PROCESSES, THREADS, Crew
from tests.contention.racing import Holds, Move, Puts, Updates, hold_all, put_all, update_all
from tests.contention.serial import assert_never_backwards, chain_of, written
from tests.proof import share, tell

pytestmark = pytest.mark.dynamodb_local

PUT_GUARDS = (Guard.RUN_IS_NEW, Guard.COMMIT_IS_NEXT, Guard.SNAPSHOT_FORWARD)
ALONE = (Guard.RUN_IS_NEW, Guard.COMMIT_IS_NEXT)
"""Of whose items there is ever only one version."""


def told(moves: list[Move]) -> None:
    tell(
        "engines",
        engine=f"DynamoDB Local {ENGINE_VERSION}: {PROCESSES} processes of {THREADS} threads on the same items",
        guarded_writes_raced=len(moves),
        of_them_refused=sum(not move.accepted for move in moves),
    )


def raced_puts(crew: Crew, store: DynamoDbStore, puts: Puts, off: Guard | None = None) -> list[list[Move]]:
    """Race, and check; gives the chain of each item."""
    moves = [move for part in crew.race(put_all, puts, off=off) for move in part]
    by_item: dict[tuple[RunRef, str], list[Move]] = defaultdict(list)
    for move in moves:
        assert not isinstance(move.write, HeadUpdate)
        by_item[move.ref, move.write.key].append(move)
    chains = [chain_of(those, None, readable(store.get(ref, key))) for (ref, key), those in by_item.items()]
    told(moves)
    return chains


def raced_updates(crew: Crew, store: DynamoDbStore, count: int, off: Guard | None = None) -> list[Move]:
    """Race, and check; gives all moves."""
    ref = fresh_ref()
    first = head(ref)
    store.put(ref, first)
    moves = [move for part in crew.race(update_all, Updates(ref, count), off=off) for move in part]
    chain = chain_of(moves, first, readable(store.get(ref, HEAD)))
    assert_never_backwards([first, *(written(move.seen, move.write) for move in chain)])
    claims = Counter(
        move.write.seen_due for move in chain if isinstance(move.write, HeadUpdate) and move.guard is Guard.DUE_AS_SEEN
    )
    assert max(claims.values(), default=1) == 1, f"two ticks claimed the same look: {claims.most_common(3)}"
    told(moves)
    return moves


@pytest.mark.parametrize("guard", PUT_GUARDS, ids=str)
def test_guard_of_puts_lets_writers_take_turns(crew: Crew, store: DynamoDbStore, guard: Guard) -> None:
    items = share(6, 80)
    refs = (fresh_ref(),) if guard is not Guard.RUN_IS_NEW else tuple(fresh_ref() for _ in range(items))

    chains = raced_puts(crew, store, Puts(guard, refs, items if len(refs) == 1 else 1))

    if guard in ALONE:
        assert [len(chain) for chain in chains] == [1] * items, "one winner, whose record the losers are shown"
    else:
        assert len(chains[0]) > 1


def test_guard_of_updates_lets_writers_take_turns(crew: Crew, store: DynamoDbStore) -> None:
    moves = raced_updates(crew, store, share(10, 100))

    assert {move.guard for move in moves} == set(UPDATE_GUARDS)
    accepted = sum(move.accepted for move in moves)
    assert THREADS < accepted < len(moves) - THREADS, "some got through, and some had to stand back"


def raced_keys(crew: Crew, store: DynamoDbStore, count: int, off: Guard | None = None) -> list[Move]:
    """Race for a business key, and check; gives all moves."""
    ref = keys_of(fresh_token())
    moves = [move for part in crew.race(hold_all, Holds(ref, count), off=off) for move in part]
    chain_of(moves, None, readable(store.get(ref, held("k", "").key)))
    told(moves)
    return moves


def test_guard_of_business_keys_lets_writers_take_turns(crew: Crew, store: DynamoDbStore) -> None:
    moves = raced_keys(crew, store, share(10, 100))

    accepted = sum(move.accepted for move in moves)
    assert 1 < accepted < len(moves), "some got through, and some had to stand back"


def test_a_guard_of_business_keys_that_is_off_is_noticed(crew: Crew, store: DynamoDbStore) -> None:
    with pytest.raises(AssertionError):
        raced_keys(crew, store, 4, Guard.KEY_AS_SEEN)


@pytest.mark.parametrize("off", PUT_GUARDS, ids=str)
def test_a_guard_of_puts_that_is_off_is_noticed(crew: Crew, store: DynamoDbStore, off: Guard) -> None:
    with pytest.raises(AssertionError):
        raced_puts(crew, store, Puts(off, (fresh_ref(),), 3), off)


@pytest.mark.parametrize("off", UPDATE_GUARDS, ids=str)
def test_a_guard_of_updates_that_is_off_is_noticed(crew: Crew, store: DynamoDbStore, off: Guard) -> None:
    with pytest.raises(AssertionError):
        raced_updates(crew, store, 4, off)
