"""Roles and held locks: one at a time whatever fails, take-over in time, prompt where it can be; and no zombie's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from hosts.worker import roles
from hosts.worker.roles import Held, LockHeld, LockLost, Role, hold
from kernel.errors import InvalidInput, Missing
from kernel.locks import Lock, LockGuard, Locks
from kernel.testing.faults import Call, Fault, Faults
from kernel.testing.locks import CONDITIONS, MemoryLocks
from kernel.testing.memory import FakeClock, SeededRandom
from tests.hosts.instances import NAME, SKEW, TTL, history
from tests.hosts.rounds import Rounds
from tests.proof import share

THIRD = TTL // 3


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def locks(clock: FakeClock, faults: Faults) -> Locks:
    return faults.wrap("locks", MemoryLocks(clock, max_skew_ms=SKEW))


@pytest.fixture
def role(locks: Locks, clock: FakeClock) -> Role:
    return Role(locks, clock, SeededRandom(1), NAME, ttl=TTL)


@pytest.fixture
def other(locks: Locks, clock: FakeClock) -> Role:
    return Role(locks, clock, SeededRandom(2), NAME, ttl=TTL)


def fence(role: Role) -> int:
    """The token of a role that is held."""
    assert role.held is not None
    return role.held.fence


def until_held(role: Role, clock: FakeClock, most: int) -> int:
    """Let it go on until it has the role; the milliseconds that took."""
    began = clock.now()
    while True:
        pause = role.step()
        if role.held is not None:
            return clock.now() - began
        clock.sleep(pause)
        assert clock.now() - began <= most, "it was not taken over in time"


# --- one at a time ----------------------------------------------------------------------------------------------------


def test_the_first_that_asks_has_the_role_and_the_others_have_not(role: Role, other: Role) -> None:
    assert role.held is None

    role.step()
    other.step()

    assert fence(role) == 1
    assert other.held is None


def test_it_is_renewed_every_third_of_its_time_and_never_changes_hands(
    role: Role, other: Role, clock: FakeClock
) -> None:
    for _ in range(100):
        pause = role.step()
        other.step()
        assert 0.8 * THIRD <= pause * 1000 <= THIRD
        assert fence(role) == 1
        assert other.held is None
        clock.sleep(pause)


def test_those_that_wait_ask_about_every_third_of_its_time_and_not_in_step(
    role: Role, other: Role, clock: FakeClock
) -> None:
    role.step()
    pauses = [other.step() * 1000 for _ in range(50)]

    assert all(THIRD / 2 <= pause <= THIRD * 1.5 for pause in pauses)
    assert len(set(pauses)) == 50


def test_one_that_stops_is_followed_at_once(role: Role, other: Role) -> None:
    role.step()

    role.stop()

    assert role.held is None
    other.step()
    assert fence(other) == 2


def test_one_that_dies_is_followed_when_its_time_is_over_by_every_clock(
    role: Role, other: Role, clock: FakeClock
) -> None:
    role.step()

    passed = until_held(other, clock, TTL + SKEW + 2 * THIRD)

    assert passed > TTL + SKEW
    assert fence(other) == 2


def test_it_is_not_called_held_any_more_before_anybody_else_can_have_it(
    role: Role, other: Role, clock: FakeClock
) -> None:
    role.step()
    clock.move(TTL - TTL // 10 - 1)
    assert fence(role) == 1

    clock.move(1)

    assert role.held is None
    other.step()
    assert other.held is None


def test_one_that_stood_still_finds_that_it_was_overtaken_and_takes_nothing_back(
    role: Role, other: Role, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    role.step()
    clock.move(TTL + SKEW + 1)
    other.step()

    role.step()

    assert role.held is None
    assert "is lost" in caplog.text
    role.step()
    assert (role.held, fence(other)) == (None, 2)


def test_one_that_stood_still_and_was_not_overtaken_goes_on(role: Role, clock: FakeClock) -> None:
    role.step()
    clock.move(2 * TTL)
    assert role.held is None

    role.step()

    assert fence(role) == 1


def test_each_holding_of_it_has_an_owner_of_its_own(role: Role, clock: FakeClock, faults: Faults) -> None:
    for _ in range(3):
        role.step()
        role._give_up()

    assert len({call.arguments[1] for call in faults.calls if call.method == "acquire"}) == 3


def test_one_that_was_overtaken_has_its_turn_again(role: Role, other: Role, clock: FakeClock) -> None:
    role.step()
    clock.move(TTL + SKEW + 1)
    other.step()
    role.step()
    other.stop()

    role.step()

    assert fence(role) == 3


# --- failures ---------------------------------------------------------------------------------------------------------


def test_through_a_short_outage_it_is_held(role: Role, clock: FakeClock, faults: Faults) -> None:
    clock.sleep(role.step())
    faults.choose = lambda _call: Fault.UNAVAILABLE
    for _ in range(3):
        pause = role.step()
        assert pause * 1000 <= THIRD / 2, "it is tried again soon"
        assert fence(role) == 1
        clock.sleep(pause)
    faults.choose = lambda _call: None

    role.step()

    clock.move(TTL // 2)
    assert fence(role) == 1


def test_through_a_long_outage_nobody_holds_it(role: Role, other: Role, clock: FakeClock, faults: Faults) -> None:
    role.step()
    faults.choose = lambda _call: Fault.UNAVAILABLE
    began = clock.now()
    while clock.now() < began + 3 * TTL:
        clock.sleep(min(role.step(), other.step()))
        assert (role.held is not None) == (clock.now() < began + TTL * 0.9)
        assert other.held is None


def test_a_renewal_whose_reply_was_lost_is_counted_from_the_one_before(
    role: Role, other: Role, clock: FakeClock, faults: Faults
) -> None:
    role.step()
    clock.move(TTL // 2)
    faults.choose = lambda _call: Fault.LOST_REPLY
    role.step()

    clock.move(TTL // 2)

    assert role.held is None
    faults.choose = lambda _call: None
    other.step()
    assert other.held is None, "it took effect"


def test_a_role_that_was_taken_without_an_answer_is_had_with_the_next_one(role: Role, faults: Faults) -> None:
    faults.choose = lambda call: Fault.LOST_REPLY if call.number < 2 else None
    for _ in range(2):
        role.step()
        assert role.held is None

    role.step()

    assert fence(role) == 1


def test_what_no_waiting_helps_is_said_and_asked_for_again(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    class Nowhere(MemoryLocks):
        def acquire(self, name: str, owner: str, ttl: int) -> Lock | None:
            raise Missing("there is no table 't'")

    role = Role(Nowhere(clock), clock, SeededRandom(), NAME, ttl=TTL)

    assert 0 < role.step() <= THIRD
    assert "there is no table 't'" in caplog.text


def test_a_release_that_fails_is_said_and_the_role_ends_by_itself(
    role: Role, other: Role, clock: FakeClock, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    role.step()
    faults.choose = lambda call: Fault.UNAVAILABLE if call.method == "release" else None

    role.stop()

    assert role.held is None
    assert "ends by itself" in caplog.text
    assert until_held(other, clock, TTL + SKEW + 2 * THIRD) > TTL


def test_what_is_given_so_late_that_it_is_over_is_not_called_held(clock: FakeClock) -> None:
    class Slow(MemoryLocks):
        def acquire(self, name: str, owner: str, ttl: int) -> Lock | None:
            lock = super().acquire(name, owner, ttl)
            clock.move(TTL)
            return lock

    role = Role(Slow(clock), clock, SeededRandom(), NAME, ttl=TTL)

    assert role.step() == 0.0
    assert role.held is None
    role.step()
    assert fence(role) == 1


@pytest.mark.parametrize(("name", "ttl"), [("~x", TTL), (NAME, 0)])
def test_what_is_no_role_is_refused_when_it_is_made(clock: FakeClock, name: str, ttl: int) -> None:
    with pytest.raises(InvalidInput):
        Role(MemoryLocks(clock), clock, SeededRandom(), name, ttl=ttl)


# --- whether anything is done with it ---------------------------------------------------------------------------------


def test_a_role_is_neither_taken_nor_kept_where_nothing_is_done_with_it(
    locks: Locks, clock: FakeClock, other: Role, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    alive = False
    role = Role(locks, clock, SeededRandom(), NAME, ttl=TTL, alive=lambda: alive)
    role.step()
    assert (role.held, faults.calls) == (None, [])
    alive = True
    role.step()
    assert fence(role) == 1

    alive = False
    role.step()

    assert role.held is None
    assert "is not being done" in caplog.text
    other.step()
    assert fence(other) == 2


def test_where_it_cannot_be_told_whether_anything_is_done_with_it_it_is_given_up(
    locks: Locks, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def alive() -> bool:
        if broken:
            raise ValueError("of the code")
        return True

    broken = False
    role = Role(locks, clock, SeededRandom(), NAME, ttl=TTL, alive=alive)
    role.step()
    broken = True

    role.step()

    assert (role.held, locks.held(NAME)) == (None, None)
    assert "of the code" in caplog.text


# --- the thread -------------------------------------------------------------------------------------------------------


def test_the_thread_takes_the_role_renews_it_and_gives_it_up_when_it_is_stopped(
    locks: Locks, clock: FakeClock, faults: Faults
) -> None:
    rounds = Rounds(clock, 20)
    role = Role(locks, clock, SeededRandom(), NAME, ttl=TTL, waiting=rounds)

    role.start()
    assert rounds.done.wait(30)
    assert fence(role) == 1
    role.stop()

    assert (role.held, locks.held(NAME)) == (None, None)
    assert [call.method for call in faults.calls][:-1] == ["acquire", *["extend"] * 19, "release"]
    assert rounds.waited[0] == 0
    role.stop()  # twice is no error


def test_stopping_wakes_the_thread_at_once(locks: Locks, clock: FakeClock, faults: Faults) -> None:
    asked = threading.Event()
    faults.choose = lambda _call: asked.set()
    role = Role(locks, clock, SeededRandom(), NAME, ttl=3_600_000)
    role.start()
    assert asked.wait(30)

    role.stop(timeout=30)

    faults.choose = lambda _call: None
    assert locks.held(NAME) is None
    assert not [thread for thread in threading.enumerate() if thread.name == f"lock-{NAME}"]


def test_from_the_moment_it_is_to_stop_it_is_not_called_held(locks: Locks, clock: FakeClock, faults: Faults) -> None:
    def hang(call: Call) -> None:
        if call.method == "extend":
            hanging.set()
            assert answered.wait(30)

    hanging, answered = threading.Event(), threading.Event()
    faults.choose = hang
    role = Role(locks, clock, SeededRandom(), NAME, ttl=TTL, waiting=Rounds(clock, 2))
    role.start()
    assert hanging.wait(30)
    assert fence(role) == 1

    role.stop(timeout=0)

    assert role.held is None
    answered.set()
    role.stop(timeout=30)
    assert locks.held(NAME) is None, "it was given up as soon as the call was over"


def test_a_mistake_does_not_end_the_thread(
    clock: FakeClock, locks: Locks, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    def mistake(call: Any) -> None:
        if call.number in {1, 2}:
            raise ZeroDivisionError

    faults.choose = mistake
    rounds = Rounds(clock, 4)
    role = Role(locks, clock, SeededRandom(), NAME, ttl=TTL, waiting=rounds)

    role.start()
    assert rounds.done.wait(30)
    assert role.held is not None
    role.stop()

    assert len([record for record in caplog.records if "a mistake" in record.message]) == 2


def test_what_happens_to_a_role_is_logged(role: Role, caplog: pytest.LogCaptureFixture, clock: FakeClock) -> None:
    with caplog.at_level(logging.INFO):
        role.step()
        role.stop()

    assert [record.message for record in caplog.records] == [
        f"role {NAME} taken, fencing token 1",
        f"lock {NAME} given up",
    ]


# --- holding for a block ----------------------------------------------------------------------------------------------


def test_a_lock_is_held_and_renewed_for_as_long_as_a_block_takes(
    locks: Locks, clock: FakeClock, faults: Faults
) -> None:
    rounds = Rounds(clock, 30)
    with hold(locks, clock, SeededRandom(), "job", ttl=TTL, waiting=rounds) as held:
        assert rounds.done.wait(30)  # ten times as long as its time
        held.check()
        assert not held.lost
        assert (held.fence, locks.held("job")) == (1, held.held)
        with pytest.raises(LockHeld, match="lock job is held by somebody else"), second(locks, clock):
            pass

    assert locks.held("job") is None
    assert [call.method for call in faults.calls].count("extend") == 30


def second(locks: Locks, clock: FakeClock) -> Any:
    return hold(locks, clock, SeededRandom(9), "job", ttl=TTL)


def test_a_lock_that_was_just_taken_is_not_renewed_at_once(locks: Locks, clock: FakeClock, faults: Faults) -> None:
    rounds = Rounds(clock, 1)
    with hold(locks, clock, SeededRandom(), "job", ttl=TTL, waiting=rounds):
        assert rounds.done.wait(30)

    assert 0.8 * THIRD <= rounds.waited[0] * 1000 <= THIRD


def test_a_block_that_fails_gives_its_lock_up(locks: Locks, clock: FakeClock) -> None:
    with pytest.raises(ZeroDivisionError), second(locks, clock):
        raise ZeroDivisionError

    assert locks.held("job") is None


def test_a_block_waits_for_its_lock(locks: Locks, clock: FakeClock) -> None:
    locks.acquire("job", "somebody-else", 5_000)

    with hold(locks, clock, SeededRandom(), "job", ttl=TTL, wait=20_000) as held:
        assert held.fence == 2


def test_a_block_is_told_when_its_lock_is_lost(locks: Locks, clock: FakeClock) -> None:
    with second(locks, clock) as held:
        held.check()
        clock.move(TTL)

        assert held.lost
        with pytest.raises(LockLost, match="lock job could not be renewed in time"):
            held.check()


def test_what_was_lost_stays_lost_and_its_successor_is_left_alone(locks: Locks, clock: FakeClock) -> None:
    with second(locks, clock) as held:
        assert isinstance(held, Held)
        clock.move(TTL + SKEW + 1)
        successor = locks.acquire("job", "somebody-else", 10 * TTL)
        for _ in range(3):
            held.step()
            assert held.lost

    assert locks.held("job") == successor


# --- everything at once ----------------------------------------------------------------------------------------------


def test_whatever_fails_one_at_a_time_holds_a_role_and_somebody_takes_over() -> None:
    holders = [history(seed) for seed in range(share(40, 2_000))]

    assert min(holders) > 3


@pytest.fixture(params=LockGuard)
def off(request: pytest.FixtureRequest) -> Iterator[LockGuard]:
    guard: LockGuard = request.param
    condition = CONDITIONS[guard]
    CONDITIONS[guard] = lambda *_: True
    yield guard
    CONDITIONS[guard] = condition


def test_without_any_one_of_the_conditions_it_would_not_be_so(off: LockGuard) -> None:
    with pytest.raises(AssertionError, match=r"two hold it|went back"):
        all(map(history, range(60)))


def test_without_counting_from_before_the_call_it_would_not_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = roles._Keeper._got
    monkeypatch.setattr(roles._Keeper, "_got", lambda self, lock, _since: counted(self, lock, self._clock.monotonic()))

    with pytest.raises(AssertionError, match="two hold it"):
        all(map(history, range(60)))
