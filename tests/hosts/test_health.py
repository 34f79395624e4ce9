"""Whether a worker is well: by what it is told, and what watching table and transport adds to that."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import pytest
from msgspec.structs import replace

from hosts.worker.health import Bounds, Health, Part, Status
from hosts.worker.watch import Watch, show
from kernel.delivery import Backlog, Delivery
from kernel.errors import Unavailable
from kernel.metrics import Gauge
from kernel.shell import heads
from kernel.testing.faults import Fault
from kernel.testing.memory import FakeClock
from kernel.testing.play import Play
from tests.handlers.shop import GOOD, order, registry

BOUNDS = Bounds(round=100, grace=10, failure=50, behind=500, tick=200)


class Worker:
    """A worker of two slots that is told about, and its clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.health = Health(self.clock, "w-1", 2, BOUNDS)

    def wait(self, seconds: float) -> None:
        self.clock.move(int(seconds * 1000))

    def lease(self, seconds: float) -> float:
        return self.clock.monotonic() + seconds

    def status(self) -> Status:
        return self.health.report().status

    @property
    def reasons(self) -> tuple[str, ...]:
        return self.health.report().reasons


@pytest.fixture
def worker() -> Worker:
    """It is ready, and does nothing."""
    worker = Worker()
    worker.health.composed()
    for part in Part:
        worker.health.reached(part)
    return worker


def test_a_worker_that_has_nothing_to_do_is_healthy_and_ready(worker: Worker) -> None:
    report = worker.health.report()
    assert (report.status, report.reasons, report.worker) == (Status.HEALTHY, (), "w-1")
    assert (report.ready, report.unready) == (True, ())
    assert (report.slots, report.busy, report.stuck, report.leader) == (2, 0, 0, False)


# --- the receive loop -------------------------------------------------------------------------------------------------


def test_a_receive_loop_that_does_not_come_round_is_unhealthy_until_it_does(worker: Worker) -> None:
    worker.wait(100)
    assert worker.status() is Status.HEALTHY
    worker.wait(1)
    assert worker.status() is Status.UNHEALTHY
    assert worker.reasons == ("the receive loop has not come round for 101 s",)
    worker.health.came_round()
    assert worker.status() is Status.HEALTHY


def test_a_worker_that_never_gets_to_receive_is_unhealthy_too() -> None:
    worker = Worker()
    worker.wait(101)
    assert worker.status() is Status.UNHEALTHY


# --- slots ------------------------------------------------------------------------------------------------------------


def test_a_slot_is_stuck_once_its_lease_and_the_grace_are_over(worker: Worker) -> None:
    worker.health.began("one", worker.lease(30))
    worker.wait(40)
    assert (worker.status(), worker.health.report().busy) == (Status.HEALTHY, 1)
    worker.wait(1)
    assert worker.status() is Status.DEGRADED
    assert worker.reasons == ("1 of 2 slots are in a stage that does not end",)
    worker.health.ended("one")
    assert worker.status() is Status.HEALTHY


def test_all_slots_stuck_is_unhealthy_but_not_while_one_of_them_works(worker: Worker) -> None:
    worker.health.began("one", worker.lease(0))
    worker.health.began("two", worker.lease(20))
    worker.wait(15)
    assert worker.status() is Status.DEGRADED
    worker.wait(20)
    assert worker.status() is Status.UNHEALTHY
    assert worker.reasons == ("all 2 slots are in a stage that does not end",)
    worker.health.ended("two")
    assert worker.status() is Status.DEGRADED


# --- what a restart does not help against -----------------------------------------------------------------------------


@pytest.mark.parametrize("part", Part)
def test_what_cannot_be_reached_degrades_and_never_makes_unhealthy(worker: Worker, part: Part) -> None:
    for _ in range(1000):
        worker.wait(10)
        worker.health.came_round()
        worker.health.failed(part, "connection refused")
        assert worker.status() is Status.DEGRADED
    assert worker.reasons == (f"the {part} failed 0 s ago: connection refused",)
    assert worker.health.report().ready, "another worker could not reach it either"
    worker.health.reached(part)
    assert worker.status() is Status.HEALTHY


def test_a_failure_of_long_ago_tells_nothing_of_the_present(worker: Worker) -> None:
    worker.health.failed(Part.TABLE, "throttled")
    worker.wait(50)
    assert worker.status() is Status.DEGRADED
    worker.wait(1)
    assert worker.status() is Status.HEALTHY


def test_what_one_caller_reaches_does_not_make_up_for_what_another_does_not(worker: Worker) -> None:
    worker.health.failed(Part.TRANSPORT, "no such group", "receiver")
    worker.health.reached(Part.TRANSPORT, "watch")
    assert worker.status() is Status.DEGRADED
    worker.health.reached(Part.TRANSPORT, "receiver")
    assert worker.status() is Status.HEALTHY


def test_runs_that_are_due_for_long_degrade(worker: Worker) -> None:
    worker.health.oldest_due(500)
    assert worker.status() is Status.HEALTHY
    worker.health.oldest_due(501)
    assert worker.status() is Status.DEGRADED
    worker.health.oldest_due(0)
    assert worker.status() is Status.HEALTHY


# --- the tick ---------------------------------------------------------------------------------------------------------


def test_whoever_holds_the_tick_and_does_not_tick_is_unhealthy(worker: Worker) -> None:
    worker.health.leads()
    for _ in range(5):
        worker.wait(150)
        worker.health.came_round()
        worker.health.ticked()
        worker.health.leads()
    assert (worker.status(), worker.health.report().leader) == (Status.HEALTHY, True)
    worker.wait(90)
    worker.health.leads()
    worker.health.came_round()
    worker.wait(99)
    assert worker.status() is Status.HEALTHY
    worker.wait(12)
    worker.health.came_round()
    assert worker.status() is Status.UNHEALTHY, "saying again that it leads is no tick"
    worker.health.follows()
    assert (worker.status(), worker.health.report().leader) == (Status.HEALTHY, False)


def test_a_tick_that_ends_after_its_role_was_lost_does_not_bring_it_back(worker: Worker) -> None:
    worker.health.leads()
    worker.health.follows()
    worker.health.ticked()
    assert not worker.health.report().leader


# --- ready, and draining ----------------------------------------------------------------------------------------------


def test_a_worker_is_ready_once_it_is_composed_and_has_reached_everything() -> None:
    health = Health(FakeClock(), "w-1", 2)
    assert health.report().unready == (
        "not composed yet",
        "has not reached the transport yet",
        "has not reached the table yet",
    )
    health.composed()
    health.failed(Part.TRANSPORT, "connection refused")
    health.reached(Part.TABLE)
    assert not health.report().ready
    health.reached(Part.TRANSPORT)
    assert health.report().ready
    health.failed(Part.TRANSPORT, "connection refused")
    assert health.report().ready, "once is enough"


def test_a_worker_that_drains_is_not_ready_and_is_not_restarted_for_what_it_does_no_more(worker: Worker) -> None:
    worker.health.leads()
    worker.health.began("one", worker.lease(0))
    worker.health.began("two", worker.lease(0))
    worker.health.draining()
    worker.wait(1000)
    report = worker.health.report()
    assert (report.ready, report.unready) == (False, ("draining",))
    assert report.status is Status.DEGRADED
    assert report.reasons == ("2 of 2 slots are in a stage that does not end",)


# --- watching ---------------------------------------------------------------------------------------------------------


class Dials:
    """Gauges as they were set last."""

    def __init__(self) -> None:
        self.now: dict[Gauge, float] = {}

    def set(self, name: Gauge, value: float) -> None:
        self.now[name] = value


class Transport:
    """The receiving end of one that is only looked at."""

    visibility = 30.0

    def __init__(self) -> None:
        self.found: Backlog | Exception = Backlog(waiting=3, in_hand=2, delayed=1, dead=4, oldest=5.5)
        self.asked = 0

    def backlog(self) -> Backlog:
        self.asked += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def receive(self, most: int, wait: float) -> Sequence[Delivery]:
        raise NotImplementedError

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        raise NotImplementedError

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        raise NotImplementedError

    def keep(self, deliveries: Sequence[Delivery]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Watched:
    """A deployment in memory that is watched."""

    def __init__(self) -> None:
        self.play = Play(registry=registry)
        self.transport, self.dials = Transport(), Dials()
        self.health = Health(self.play.clock, "w-1", 2, BOUNDS)
        self.watch = Watch(self.play.env, self.transport, self.dials, self.health, every=5)

    def refreshed(self, after: float = 6) -> dict[Gauge, float]:
        self.play.clock.move(int(after * 1000))
        self.watch.refresh()
        return self.dials.now


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_the_gauges_tell_the_backlog(watched: Watched) -> None:
    found = watched.refreshed()
    assert found[Gauge.MESSAGES_WAITING] == 3
    assert found[Gauge.MESSAGES_IN_HAND] == 2
    assert found[Gauge.MESSAGES_DELAYED] == 1
    assert found[Gauge.MESSAGES_DEAD] == 4
    assert found[Gauge.OLDEST_MESSAGE] == 5.5
    assert found[Gauge.WATCH_FAILED] == 0


def test_what_the_transport_does_not_say_is_no_number(watched: Watched) -> None:
    watched.transport.found = Backlog(waiting=0, in_hand=0, delayed=0, dead=0)
    assert isnan(watched.refreshed()[Gauge.OLDEST_MESSAGE])


def test_the_run_that_is_due_for_longest_is_found_in_whatever_shard_it_is(watched: Watched) -> None:
    refs = []
    for _ in range(12):
        refs.append(watched.play.start(order, GOOD))
        watched.play.clock.move(1000)
    shards = {heads.shard_of(ref.run, watched.play.env.limits.shards) for ref in refs}
    assert len(shards) > 1
    assert watched.refreshed()[Gauge.OLDEST_DUE] == 0, "none is due yet"
    grace = watched.play.env.limits.look_grace / 1000
    assert watched.refreshed(grace)[Gauge.OLDEST_DUE] == 18
    watched.play.tick()
    assert watched.refreshed()[Gauge.OLDEST_DUE] == 0
    assert watched.refreshed(grace + 600)[Gauge.OLDEST_DUE] > 600
    assert "a run has been due for" in " ".join(watched.health.report().reasons)


def test_table_and_transport_are_asked_every_few_seconds_at_most(watched: Watched) -> None:
    watched.watch.refresh()
    for _ in range(4):
        watched.refreshed(1)
    assert watched.transport.asked == 1
    watched.refreshed(1)
    assert watched.transport.asked == 2


def test_looking_once_is_enough_to_have_reached_both(watched: Watched) -> None:
    watched.health.composed()
    assert not watched.health.report().ready
    watched.refreshed()
    assert watched.health.report().ready


def test_a_transport_that_fails_is_a_reason_and_leaves_the_other_gauges_alone(watched: Watched) -> None:
    watched.refreshed()
    watched.transport.found = Unavailable("connection refused")
    found = watched.refreshed()
    assert isnan(found[Gauge.MESSAGES_WAITING])
    assert isnan(found[Gauge.OLDEST_MESSAGE])
    assert (found[Gauge.OLDEST_DUE], found[Gauge.WATCH_FAILED]) == (0, 1)
    assert watched.health.report().reasons == ("the transport failed 0 s ago: connection refused",)


def test_a_table_that_fails_is_a_reason_and_leaves_the_other_gauges_alone(watched: Watched) -> None:
    watched.refreshed()
    watched.health.oldest_due(1000)
    watched.play.faults.choose = lambda call: Fault.UNAVAILABLE if call.method == "due" else None
    found = watched.refreshed()
    assert isnan(found[Gauge.OLDEST_DUE])
    assert (found[Gauge.MESSAGES_WAITING], found[Gauge.WATCH_FAILED]) == (3, 1)
    (reason,) = watched.health.report().reasons
    assert reason.startswith("the table failed 0 s ago: ")
    watched.transport.found = ValueError("whatever")
    assert watched.refreshed()[Gauge.WATCH_FAILED] == 2
    watched.play.faults.choose = lambda _call: None
    watched.transport.found = Backlog(waiting=0, in_hand=0, delayed=0, dead=0)
    assert watched.refreshed()[Gauge.WATCH_FAILED] == 0
    assert watched.health.report().status is Status.HEALTHY


def test_while_one_asks_the_others_do_not_wait(watched: Watched) -> None:
    class Slow(Transport):
        def backlog(self) -> Backlog:
            self.asked += 1
            watch.refresh()  # as another thread would: it returns at once, and asks nobody
            return Backlog(waiting=0, in_hand=0, delayed=0, dead=0)

    slow = Slow()
    watch = Watch(replace(watched.play.env), slow, watched.dials, watched.health)
    watch.refresh()
    assert slow.asked == 1


def test_what_a_process_has_for_itself_is_shown_without_asking_anybody(watched: Watched) -> None:
    watched.health.began("one", 1e9)
    watched.health.leads()
    show(watched.dials, watched.health)
    assert watched.dials.now == {Gauge.IN_FLIGHT: 1, Gauge.SLOTS: 2, Gauge.LEADER: 1}
    assert watched.transport.asked == 0
