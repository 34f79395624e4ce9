"""Locks and roles: extended while the work goes on, given up when it does not, and nothing to whom was overtaken."""

from __future__ import annotations

from contextlib import suppress

from hosts.worker.roles import TTL, Role, hold
from kernel.locks import Lock
from kernel.testing.faults import Crash, Fault, Faults
from kernel.testing.locks import MemoryLocks
from kernel.testing.memory import FakeClock, SeededRandom
from tests.gallery.traps import trap
from tests.hosts.rounds import Rounds

ALGA, DURABLETASK = "AlgaPSA", "azure durabletask"
SKEW = 1_000


class Fenced:
    """Something that only the holder of a lock may write: it refuses a token lower than one that it has seen."""

    def __init__(self) -> None:
        self.text, self.fence = "", 0

    def write(self, text: str, fence: int) -> bool:
        if fence < self.fence:
            return False
        self.text, self.fence = text, fence
        return True


def ask(locks: MemoryLocks, owner: str, ttl: int = TTL) -> Lock | None:
    return locks.acquire("report", owner, ttl)


@trap(ALGA, "A lock is never extended: work that outlasts it is done by two.")
def test_a_lock_is_extended_for_as_long_as_its_holder_works() -> None:
    clock = FakeClock()
    locks = MemoryLocks(clock, max_skew_ms=SKEW)
    began = clock.now()
    rounds = Rounds(clock, 200)
    with hold(locks, clock, SeededRandom(), "report", waiting=rounds) as held:
        assert rounds.done.wait(30)
        assert clock.now() - began > 50 * TTL
        assert ask(locks, "another") is None
        held.check()
    assert ask(locks, "another") is not None


@trap(ALGA, "A lock has no fencing token: a holder that stood still writes over what its successor wrote.")
def test_whoever_is_written_to_can_refuse_a_holder_that_was_overtaken_without_noticing() -> None:
    clock = FakeClock()
    locks, report = MemoryLocks(clock, max_skew_ms=SKEW), Fenced()
    first = ask(locks, "first")
    assert first is not None
    assert report.write("half of it", first.fence)
    clock.move(TTL + SKEW + 1)  # it stands still, in the middle of its work
    second = ask(locks, "second")
    assert second is not None
    assert report.write("all of it", second.fence)
    assert not report.write("the other half", first.fence)
    assert report.text == "all of it"
    locks.release(second)
    third = ask(locks, "third")
    assert third is not None
    assert first.fence < second.fence < third.fence, "whether it was taken over or given up"


@trap(DURABLETASK, "An owner that no longer listens goes on renewing its lease, so nobody takes over.", 2534)
def test_an_instance_that_no_longer_does_the_work_of_its_role_loses_it_to_one_that_does() -> None:
    clock = FakeClock()
    locks = MemoryLocks(clock, max_skew_ms=SKEW)
    came_round = clock.now()
    deaf = Role(locks, clock, SeededRandom(1), "listener", alive=lambda: clock.now() - came_round < 60_000)
    well = Role(locks, clock, SeededRandom(2), "listener")
    deaf.step()
    for _ in range(1_000):
        if deaf.held is None:
            break
        clock.sleep(min(deaf.step(), well.step()))
    assert deaf.held is None, "its loop has not come round for a minute, though its process lives"
    assert clock.now() - came_round < 60_000 + TTL
    well.step()
    assert well.held is not None
    for _ in range(100):
        clock.sleep(min(deaf.step(), well.step()))
        assert (deaf.held, well.held is not None) == (None, True), "it does not take it back either"


@trap("Powertools idempotency", "The release carries no owner: a zombie gives up what its successor holds.", 8386, 8049)
def test_who_was_overtaken_neither_gives_up_nor_extends_what_its_successor_holds() -> None:
    clock = FakeClock()
    locks = MemoryLocks(clock, max_skew_ms=SKEW)
    zombie = ask(locks, "first")
    clock.move(TTL + SKEW + 1)
    successor = ask(locks, "second")
    assert zombie is not None
    assert successor is not None
    assert not locks.release(zombie)
    assert locks.extend(zombie, TTL) is None
    assert locks.held("report") == successor
    assert ask(locks, "third") is None


@trap("dbos-transact-py", "One dead holder wedges everything that has to be done one at a time.", 805)
def test_a_holder_that_dies_at_any_call_is_followed_within_its_time() -> None:
    for number in range(4):  # taking, two renewals, giving up
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            clock = FakeClock()
            locks, faults = MemoryLocks(clock, max_skew_ms=SKEW), Faults()
            dying = Role(faults.wrap("locks", locks), clock, SeededRandom(1), "queue-1-of-1")
            heir = Role(locks, clock, SeededRandom(2), "queue-1-of-1")
            faults.at(number, fault)
            live_and_die(dying, clock)
            assert not faults.waiting
            died = clock.now()
            while heir.held is None:
                assert clock.now() - died <= TTL + SKEW + TTL / 2, f"nobody follows after {fault} at call {number}"
                clock.sleep(heir.step())


def live_and_die(role: Role, clock: FakeClock) -> None:
    """Take a role, renew it twice, give it up: or die in the middle of that."""
    with suppress(Crash):
        for _ in range(3):
            clock.sleep(role.step())
        role.stop()
