"""What locks must be true to: one holder at a time, tokens that grow, and nothing that a late call can spoil."""

# ruff: noqa: S101, D102
# It is a suite: it asserts, and each test's name is its sentence.

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, TypeVar

import pytest
from msgspec.structs import replace

from kernel.errors import InvalidInput, Unavailable
from kernel.locks import LONGEST_TTL, Lock, Locks
from kernel.testing.conformance.examples import fresh_token
from kernel.testing.faults import Fault, Faults

T = TypeVar("T")

CROWD = 16
LOST = 3
"""Replies that are lost, one after the other."""
LONG = 60_000
"""Milliseconds that no test takes."""


class LocksContract:
    """The suite for ``kernel.locks.Locks``. A subclass gives the fixture ``locks`` and the three methods below.

    Attributes:
        ttl: milliseconds after which tests want a lock to be over.
        skew: milliseconds by which the clocks of those who ask may differ; 0 where it is the server's that counts.
        step: milliseconds between two tries in tests that wait for the end of a lock.
    """

    ttl: ClassVar[int] = 200
    skew: ClassVar[int] = 0
    step: ClassVar[int] = 1

    @pytest.fixture
    def locks(self) -> Locks:
        """The locks under test."""
        raise NotImplementedError

    def now(self) -> int:
        """The time by the clock that ``locks`` goes by, in milliseconds."""
        raise NotImplementedError

    def wait(self, milliseconds: int) -> None:
        """Let at least so much time pass."""
        raise NotImplementedError

    def seen_by(self, locks: Locks, offset: int) -> Locks:  # noqa: ARG002 - where the server's clock counts
        """The same locks for a process whose clock is ahead by so many milliseconds."""
        return locks

    # --- taking ---------------------------------------------------------------------------------------------

    def test_a_free_lock_is_taken_and_whoever_looks_sees_who_holds_it(self, locks: Locks) -> None:
        name, owner = fresh_token(), fresh_token()
        assert locks.held(name) is None
        before = self.now()

        lock = taken(locks.acquire(name, owner, LONG))

        assert (lock.name, lock.owner) == (name, owner)
        assert lock.fence > 0
        assert before + LONG <= lock.until <= self.now() + LONG
        assert locks.held(name) == lock

    def test_a_lock_that_somebody_holds_is_refused_and_stays_as_it_is(self, locks: Locks) -> None:
        name = fresh_token()
        lock = taken(locks.acquire(name, fresh_token(), LONG))

        assert [locks.acquire(name, fresh_token(), LONG) for _ in range(3)] == [None] * 3

        assert locks.held(name) == lock

    def test_locks_of_different_names_are_different_locks(self, locks: Locks) -> None:
        base = fresh_token()
        names = [base, f"{base}.", f"{base}/1", f"{base}:1@x-y_z", base.upper()]

        held = [taken(locks.acquire(name, fresh_token(), LONG)) for name in names]

        assert [locks.held(name) for name in names] == held
        assert locks.release(held[0])
        assert [locks.held(name) for name in names] == [None, *held[1:]]

    @pytest.mark.parametrize("name", ["", "~head", "a#b", "a b", "größe", "a\n", "x" * 201, "{a}", "a*"])
    def test_what_is_no_name_is_refused(self, locks: Locks, name: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: locks.acquire(name, "o", LONG),
            lambda: locks.acquire(fresh_token(), name, LONG),
            lambda: locks.held(name),
            lambda: locks.extend(Lock(name=name, owner="o", fence=1, until=1), LONG),
            lambda: locks.release(Lock(name=name, owner="o", fence=1, until=1)),
        ]
        for call in calls:
            with pytest.raises(InvalidInput, match="of a lock is 1 to 200"):
                call()

    @pytest.mark.parametrize("ttl", [0, -1, LONGEST_TTL + 1])
    def test_what_is_no_time_is_refused(self, locks: Locks, ttl: int) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), LONG))

        with pytest.raises(InvalidInput, match="held for 1 to 86,400,000 milliseconds"):
            locks.acquire(lock.name, lock.owner, ttl)
        with pytest.raises(InvalidInput, match="held for 1 to 86,400,000 milliseconds"):
            locks.extend(lock, ttl)

        assert locks.held(lock.name) == lock

    # --- asking again ---------------------------------------------------------------------------------------

    def test_a_repeat_after_a_lost_reply_gets_the_same_fencing_token(self, locks: Locks) -> None:
        name, owner = fresh_token(), fresh_token()
        faults = Faults(lambda call: Fault.LOST_REPLY if call.number < LOST else None)
        unsteady = faults.wrap("locks", locks)
        for _ in range(LOST):
            with pytest.raises(Unavailable):
                unsteady.acquire(name, owner, LONG)
        there = taken(locks.held(name))

        lock = taken(unsteady.acquire(name, owner, LONG))

        assert (lock.owner, lock.fence) == (owner, there.fence)
        assert locks.held(name) == lock
        assert locks.acquire(name, fresh_token(), LONG) is None

    def test_a_repeat_holds_the_lock_for_the_time_from_then(self, locks: Locks) -> None:
        name, owner = fresh_token(), fresh_token()
        first = taken(locks.acquire(name, owner, LONG))
        self.wait(2 * self.step)
        asked = self.now()

        again = taken(locks.acquire(name, owner, LONG))

        assert again.until >= asked + LONG > first.until
        assert locks.held(name) == again

    def test_a_repeat_for_a_shorter_time_ends_nothing_sooner(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), LONG))

        assert locks.acquire(lock.name, lock.owner, 1) == lock
        assert locks.held(lock.name) == lock

    def test_the_same_owner_may_hold_it_again_later_which_is_another_holding(self, locks: Locks) -> None:
        name, owner = fresh_token(), fresh_token()
        first = taken(locks.acquire(name, owner, LONG))
        assert locks.release(first)

        second = taken(locks.acquire(name, owner, LONG))

        assert second.fence > first.fence
        assert locks.extend(first, 2 * LONG) is None
        assert not locks.release(first)
        assert locks.held(name) == second

    # --- taking over ----------------------------------------------------------------------------------------

    def test_a_lock_that_ran_out_is_taken_over_and_not_before(self, locks: Locks) -> None:
        first = taken(locks.acquire(fresh_token(), fresh_token(), self.ttl))

        second = self.taken_over(locks, first, first.until + self.skew)

        assert second.fence > first.fence
        assert locks.held(first.name) == second

    def test_nobody_takes_over_before_the_holders_own_clock_says_so(self, locks: Locks) -> None:
        """Whoever is ahead by all that clocks may differ is right on time, and whoever is behind is late."""
        first = taken(locks.acquire(fresh_token(), fresh_token(), self.ttl))
        self.taken_over(self.seen_by(locks, self.skew), first, first.until)

        second = taken(locks.acquire(fresh_token(), fresh_token(), self.ttl))
        self.taken_over(self.seen_by(locks, -self.skew), second, second.until + 2 * self.skew)

    def taken_over(self, locks: Locks, lock: Lock, end: int) -> Lock:
        """Ask until somebody else's lock is given, which must be the case after its end and not before."""
        owner = fresh_token()
        while True:
            asked = self.now()
            found = locks.acquire(lock.name, owner, LONG)
            if found is not None:
                assert self.now() > end, "given before its time was over"
                return found
            assert asked <= end, "refused although its time was over"
            self.wait(self.step)

    def test_a_lock_that_ran_out_is_held_by_nobody(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), self.ttl))

        self.wait(self.ttl + self.skew + 1)

        assert locks.held(lock.name) is None

    def test_a_lock_that_ran_out_is_its_owners_until_somebody_takes_it(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), self.ttl))
        self.wait(self.ttl + self.skew + 1)

        late = taken(locks.extend(lock, LONG))

        assert late.fence == lock.fence
        assert locks.held(lock.name) == late
        assert locks.acquire(lock.name, fresh_token(), LONG) is None

    def test_what_ran_out_and_was_taken_over_neither_extends_nor_releases_its_successor(self, locks: Locks) -> None:
        zombie = taken(locks.acquire(fresh_token(), fresh_token(), 1))
        self.wait(self.skew + 2)
        successor = taken(locks.acquire(zombie.name, fresh_token(), LONG))

        assert locks.extend(zombie, 2 * LONG) is None
        assert not locks.release(zombie)
        assert not locks.release(replace(zombie, fence=successor.fence)), "the owner's token counts"
        assert not locks.release(replace(successor, fence=zombie.fence)), "the fencing token counts"

        assert locks.held(zombie.name) == successor

    # --- extending ------------------------------------------------------------------------------------------

    def test_a_lock_is_extended_from_now_under_the_same_fencing_token(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), self.ttl))
        asked = self.now()

        longer = taken(locks.extend(lock, LONG))

        assert asked + LONG <= longer.until <= self.now() + LONG
        assert replace(longer, until=lock.until) == lock
        assert locks.held(lock.name) == longer
        self.wait(self.ttl + self.skew + 1)
        assert locks.acquire(lock.name, fresh_token(), LONG) is None
        assert taken(locks.extend(lock, LONG)).fence == lock.fence, "an older copy of the same holding will do"

    def test_an_extension_ends_nothing_sooner(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), LONG))

        assert locks.extend(lock, 1) == lock
        late = self.seen_by(locks, -self.skew)  # as if it had been sent a while ago
        assert taken(late.extend(lock, LONG)).until >= lock.until

        self.wait(self.skew + 2)
        assert taken(locks.held(lock.name)).until >= lock.until
        assert locks.acquire(lock.name, fresh_token(), LONG) is None

    def test_nobody_extends_or_releases_what_was_given_up(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), LONG))
        assert locks.release(lock)

        assert locks.extend(lock, LONG) is None
        assert not locks.release(lock)

        assert locks.held(lock.name) is None

    def test_nobody_extends_or_releases_what_never_was(self, locks: Locks) -> None:
        lock = Lock(name=fresh_token(), owner=fresh_token(), fence=0, until=self.now() + LONG)

        assert locks.extend(lock, LONG) is None
        assert not locks.release(lock)

        assert locks.held(lock.name) is None

    # --- giving up ------------------------------------------------------------------------------------------

    def test_a_lock_that_was_given_up_can_be_taken_at_once(self, locks: Locks) -> None:
        first = taken(locks.acquire(fresh_token(), fresh_token(), LONG))

        assert locks.release(first)

        assert locks.held(first.name) is None
        assert taken(locks.acquire(first.name, fresh_token(), LONG)).fence > first.fence

    def test_a_release_whose_reply_was_lost_has_given_it_up(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), LONG))
        faults = Faults(lambda call: Fault.LOST_REPLY if call.number == 0 else None)
        unsteady = faults.wrap("locks", locks)
        with pytest.raises(Unavailable):
            unsteady.release(lock)

        assert not unsteady.release(lock)

        assert locks.held(lock.name) is None

    def test_fencing_tokens_grow_however_a_holding_ends(self, locks: Locks) -> None:
        name = fresh_token()
        fences: list[int] = []
        for number in range(20):
            lock = taken(locks.acquire(name, fresh_token(), 1 if number % 4 == 0 else LONG))
            fences.append(lock.fence)
            if number % 4 == 0:
                self.wait(self.skew + 2)
            else:
                assert locks.release(lock)

        assert fences == sorted(set(fences))

    # --- contention -----------------------------------------------------------------------------------------

    def test_of_many_that_ask_at_once_one_gets_it(self, locks: Locks) -> None:
        for _ in range(5):
            name = fresh_token()

            answers = at_once(lambda _, name=name: locks.acquire(name, fresh_token(), LONG))  # type: ignore[misc]  # mypy cannot infer a lambda's default

            (lock,) = [answer for answer in answers if answer is not None]
            assert locks.held(name) == lock

    def test_of_many_that_take_over_at_once_one_gets_it(self, locks: Locks) -> None:
        first = taken(locks.acquire(fresh_token(), fresh_token(), 1))
        self.wait(self.skew + 2)

        answers = at_once(lambda _: locks.acquire(first.name, fresh_token(), LONG))

        (lock,) = [answer for answer in answers if answer is not None]
        assert lock.fence > first.fence

    def test_of_an_extension_and_many_that_take_over_at_once_one_gets_it(self, locks: Locks) -> None:
        for _ in range(5):
            first = taken(locks.acquire(fresh_token(), fresh_token(), 1))
            self.wait(self.skew + 2)

            answers = at_once(
                lambda number, first=first: (  # type: ignore[misc]  # mypy cannot infer a lambda's default
                    locks.extend(first, LONG) if number == 0 else locks.acquire(first.name, fresh_token(), LONG)
                )
            )

            (lock,) = [answer for answer in answers if answer is not None]
            assert locks.held(first.name) == lock

    def test_many_that_take_turns_are_never_two_at_a_time(self, locks: Locks) -> None:
        name, inside, fences = fresh_token(), threading.Semaphore(1), list[int]()

        def turn(_: int) -> None:
            owner = fresh_token()
            while (lock := locks.acquire(name, owner, LONG)) is None:
                pass
            assert inside.acquire(blocking=False), "somebody else is there already"
            fences.append(lock.fence)
            inside.release()
            assert locks.release(lock)

        at_once(turn)

        assert len(fences) == CROWD
        assert fences == sorted(set(fences))


def taken(lock: Lock | None) -> Lock:
    """A lock that must have been given."""
    assert lock is not None
    return lock


def at_once(call: Callable[[int], T]) -> list[T]:
    """Make a call in sixteen threads that begin together."""
    together = threading.Barrier(CROWD)

    def one(number: int) -> T:
        together.wait(timeout=30)
        return call(number)

    with ThreadPoolExecutor(CROWD) as crowd:
        return list(crowd.map(one, range(CROWD)))
