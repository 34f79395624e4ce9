"""Waiting for a lock: how long, how often, what is waited out; and the names of roles."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernel.errors import InvalidInput, Missing, Unavailable
from kernel.locks import Lock, Locks
from kernel.shell.locks import FIRST_PAUSE, LONGEST_PAUSE, acquire, role_name, take
from kernel.testing.faults import Fault, Faults
from kernel.testing.locks import MemoryLocks
from kernel.testing.memory import FakeClock, SeededRandom

TTL = 10_000


class Paced(FakeClock):
    """Notes how long was slept; and runs what is to happen meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.naps: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        super().sleep(seconds)
        self.meanwhile()


@pytest.fixture
def clock() -> Paced:
    return Paced()


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def locks(clock: Paced, faults: Faults) -> Locks:
    return faults.wrap("locks", MemoryLocks(clock))


def others(locks: Locks, ttl: int = 3_600_000) -> Lock:
    lock = locks.acquire("job", "somebody-else", ttl)
    assert lock is not None
    return lock


def test_a_free_lock_is_taken_without_waiting(locks: Locks, clock: Paced) -> None:
    lock = acquire(locks, clock, SeededRandom(), "job", ttl=TTL, wait=60_000)

    assert lock is not None
    assert locks.held("job") == lock
    assert clock.naps == []


def test_who_does_not_wait_asks_once(locks: Locks, clock: Paced, faults: Faults) -> None:
    others(locks)

    assert acquire(locks, clock, SeededRandom(), "job", ttl=TTL) is None
    assert len(faults.calls) == 2
    assert clock.naps == []


def test_each_holding_has_an_owner_of_its_own(locks: Locks, clock: Paced) -> None:
    random = SeededRandom()
    names = [acquire(locks, clock, random, name, ttl=TTL) for name in "abc"]

    assert len({lock.owner for lock in names if lock}) == 3


def test_a_lock_is_had_soon_after_it_is_given_up(locks: Locks, clock: Paced) -> None:
    theirs = others(locks)
    given_up = clock.now() + 5_000
    clock.meanwhile = lambda: clock.now() >= given_up and locks.release(theirs)

    lock = acquire(locks, clock, SeededRandom(), "job", ttl=TTL, wait=60_000)

    assert lock is not None
    assert lock.fence > theirs.fence
    assert 0 <= clock.now() - given_up <= LONGEST_PAUSE * 1000


def test_pauses_grow_are_jittered_and_end_with_the_wait(locks: Locks, clock: Paced) -> None:
    others(locks)
    began = clock.monotonic()

    assert acquire(locks, clock, SeededRandom(), "job", ttl=TTL, wait=20_000) is None

    assert clock.monotonic() - began == pytest.approx(20, abs=0.1)
    wanted = [min(FIRST_PAUSE * 2**number, LONGEST_PAUSE) for number in range(len(clock.naps))]
    shares = [nap / full for nap, full in zip(clock.naps, wanted, strict=True)][:-1]  # the last one is cut
    assert all(0.5 <= share <= 1 for share in shares)
    assert len({round(share, 6) for share in shares}) > len(shares) / 2
    assert len(clock.naps) < 40, "it does not ask without pause"


def test_two_that_wait_do_not_ask_in_step(clock: Paced) -> None:
    naps = []
    for seed in (1, 2):
        paced = Paced()
        locks = MemoryLocks(paced)
        others(locks)
        acquire(locks, paced, SeededRandom(seed), "job", ttl=TTL, wait=5_000)
        naps.append(paced.naps)

    assert naps[0] != naps[1]


def test_the_last_try_is_made_at_the_end_of_the_wait(locks: Locks, clock: Paced, faults: Faults) -> None:
    others(locks, ttl=1_999)

    lock = acquire(locks, clock, SeededRandom(), "job", ttl=TTL, wait=2_000)

    assert lock is not None


def test_an_outage_is_waited_out(locks: Locks, clock: Paced, faults: Faults) -> None:
    back = clock.now() + 3_000
    faults.choose = lambda _call: Fault.UNAVAILABLE if clock.now() < back else None

    assert acquire(locks, clock, SeededRandom(), "job", ttl=TTL, wait=10_000) is not None


def test_an_outage_that_lasts_longer_is_told(locks: Locks, clock: Paced, faults: Faults) -> None:
    faults.choose = lambda _call: Fault.UNAVAILABLE

    with pytest.raises(Unavailable):
        acquire(locks, clock, SeededRandom(), "job", ttl=TTL, wait=10_000)
    assert clock.naps
    with pytest.raises(Unavailable):
        acquire(locks, clock, SeededRandom(), "job", ttl=TTL)


def test_somebody_else_is_told_from_an_outage_by_the_last_try(locks: Locks, clock: Paced, faults: Faults) -> None:
    others(locks)
    back = clock.now() + 3_000
    faults.choose = lambda _call: Fault.UNAVAILABLE if clock.now() < back else None

    assert acquire(locks, clock, SeededRandom(), "job", ttl=TTL, wait=10_000) is None


def test_what_no_waiting_helps_is_told_at_once(clock: Paced) -> None:
    class Nowhere(MemoryLocks):
        def acquire(self, name: str, owner: str, ttl: int) -> Lock | None:
            raise Missing("no table")

    with pytest.raises(Missing):
        acquire(Nowhere(clock), clock, SeededRandom(), "job", ttl=TTL, wait=10_000)
    assert clock.naps == []


def test_lost_replies_give_one_holding(locks: Locks, clock: Paced, faults: Faults) -> None:
    faults.choose = lambda call: Fault.LOST_REPLY if call.number < 3 else None

    lock = acquire(locks, clock, SeededRandom(), "job", ttl=TTL, wait=10_000)

    assert lock is not None
    assert lock.fence == 1
    assert locks.held("job") == lock


def test_its_time_counts_from_before_the_call_that_gave_it(clock: Paced) -> None:
    class Slow(MemoryLocks):
        def acquire(self, name: str, owner: str, ttl: int) -> Lock | None:
            lock = super().acquire(name, owner, ttl)
            clock.move(4_000)
            return lock

    locks = Slow(clock)
    began = clock.monotonic()
    taken = take(locks, clock, SeededRandom(), "job", ttl=TTL)

    assert taken is not None
    assert taken.since == began


def test_what_was_given_so_late_that_it_is_over_is_not_given(clock: Paced) -> None:
    class Slow(MemoryLocks):
        calls = 0

        def acquire(self, name: str, owner: str, ttl: int) -> Lock | None:
            lock = super().acquire(name, owner, ttl)
            clock.move(TTL if self.calls == 0 else 0)
            self.calls += 1
            return lock

    slow = Slow(clock)
    assert acquire(slow, clock, SeededRandom(), "job", ttl=TTL) is None

    slow = Slow(clock)
    lock = acquire(slow, clock, SeededRandom(), "job", ttl=TTL, wait=60_000)
    assert lock is not None
    assert lock.until > clock.now()
    assert slow.calls == 2


# --- roles ------------------------------------------------------------------------------------------------------------


def test_a_role_is_named_after_what_it_is_for() -> None:
    assert role_name("order", "poller", 2, 4) == "order-poller-2-of-4"
    assert role_name("order-v2", "outbox_flush") == "order-v2-outbox_flush-1-of-1"


def test_a_roles_name_is_that_of_a_lock() -> None:
    longest = role_name("w" * 64, "p" * 64, 1_000_000, 1_000_000)

    assert MemoryLocks(FakeClock()).acquire(longest, "o", 1) is not None


def test_no_two_roles_have_one_name() -> None:
    given = [(workflow, process) for workflow in ("a", "a-b", "a-b-c") for process in ("b", "c", "d_1")]

    assert len({role_name(*each) for each in given}) == len(given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("", "poller", 1, 1), "no workflow's id"),
        (("1order", "poller", 1, 1), "no workflow's id"),
        (("or der", "poller", 1, 1), "no workflow's id"),
        (("order", "", 1, 1), "no process's name"),
        (("order", "out-box", 1, 1), "no process's name"),
        (("order", "x" * 65, 1, 1), "no process's name"),
        (("order", "poller", 0, 4), "no shard 0 of 4: shards are counted from 1"),
        (("order", "poller", 5, 4), "no shard 5 of 4"),
        (("order", "poller", 1, 0), "no shard 1 of 0"),
    ],
)
def test_what_is_no_role_is_refused(given: tuple[str, str, int, int], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        role_name(*given)
