"""The threads of a worker: they take messages, attend runs, back off, and stop in good order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from msgspec.structs import replace

from hosts.worker.health import Health, Status
from hosts.worker.options import Options
from hosts.worker.pauses import LONGEST, Pauses
from hosts.worker.worker import Worker
from infra.system import SystemClock
from kernel.core.events import LeaseExpired, StageCompleted, StageStarted
from kernel.delivery import Backlog, Delivery
from kernel.errors import Unavailable
from kernel.ports import Commit, Poke, RunRef, log_key
from kernel.shell.attend import attend
from kernel.shell.environment import Environment
from kernel.shell.load import commits_after, events_of
from kernel.shell.read import show
from kernel.shell.start import start
from kernel.testing.memory import MemoryBlobs, MemoryQueue, MemorySink, MemoryStore, NoAlarm, SeededRandom
from onewrite import Context, Registry
from tests.shell.script import Note, Script, line

ME = "worker:me"
PATIENCE = 10.0
"""Seconds after which something that ought to happen has not."""


class Box:
    """A ``Consumer`` whose messages a test puts in, and that keeps what became of them."""

    visibility = 30.0

    def __init__(self) -> None:
        self.messages: SimpleQueue[Delivery] = SimpleQueue()
        self.acknowledged: list[str] = []
        self.released: list[tuple[str, float]] = []
        self.kept: list[str] = []
        self.down = self.closed = False
        self._count = 0

    def put(self, poke: Poke | None) -> str:
        self._count += 1
        self.messages.put(Delivery(id=str(self._count), poke=poke, problem="" if poke else "not a poke"))
        return str(self._count)

    def receive(self, most: int, wait: float) -> Sequence[Delivery]:
        if self.down:
            raise Unavailable("the transport is down")
        try:
            return [self.messages.get(timeout=min(wait, 0.05))]
        except Empty:
            return []

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self.acknowledged += [each.id for each in deliveries]

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        self.released += [(each.id, delay) for each in deliveries]

    def keep(self, deliveries: Sequence[Delivery]) -> None:
        self.kept += [each.id for each in deliveries]

    def backlog(self) -> Backlog:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


class Place:
    """A deployment in memory by the machine's clock, and one worker in it."""

    def __init__(self, script: Script, *acts: Callable[[Context], Any] | None, **options: Any) -> None:
        names = "abc"[: len(acts)]
        self.flow = line(*(script.stage(name, act) for name, act in zip(names, acts, strict=True)))
        self.clock = SystemClock()
        self.queue = MemoryQueue(self.clock.now)
        self.env = Environment(
            store=MemoryStore(),
            queue=self.queue,
            blobs=MemoryBlobs(),
            sink=MemorySink(),
            clock=self.clock,
            random=SeededRandom(),
            alarm=NoAlarm(),
            definitions=Registry(self.flow),
        )
        self.box = Box()
        self.options = Options(**{"concurrency": 2, "drain": PATIENCE, **options})
        self.health = Health(self.clock, ME, self.options.concurrency)
        self.hurry = threading.Event()

    def worker(self, env: Environment | None = None) -> Worker:
        return Worker(env or self.env, self.box, self.options, name=ME, seconds=300, health=self.health)

    @contextmanager
    def working(self, env: Environment | None = None) -> Iterator[Worker]:
        worker = self.worker(env)
        worker.start()
        try:
            yield worker
        finally:
            self.hurry.set()
            worker.stop(self.hurry)

    def begin(self) -> tuple[RunRef, str]:
        """A run, and the id of the message about it."""
        ref = start(self.env, self.flow, Note(), tenant="acme", by="test").ref
        self.queue.clear()
        return ref, self.box.put(Poke(ref.tenant, ref.run))

    def events(self, ref: RunRef, kind: type[Any]) -> list[Any]:
        commits = commits_after(self.env.store, ref, 0)
        return [each for commit in commits for each in events_of(ref, commit) if isinstance(each, kind)]

    def go_on(self, ref: RunRef) -> str:
        """Let others attend what was poked for; how the run is then."""
        while (poke := self.queue.receive()) is not None:
            attend(self.env, poke, self.clock.monotonic() + 300, by="worker:other")
        return show(self.env, ref).status


def until(what: Callable[[], object]) -> None:
    """Wait for it."""
    moment = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if what():
            return
        moment.wait(0.01)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def script() -> Script:
    return Script()


# --- taking messages --------------------------------------------------------------------------------------------------


def test_a_message_is_attended_and_acknowledged_and_its_commits_name_the_worker(script: Script) -> None:
    place = Place(script, None, None)
    with place.working():
        ref, id_ = place.begin()
        until(lambda: id_ in place.box.acknowledged)

    assert show(place.env, ref).status == "completed"
    assert {each.by for each in commits_after(place.env.store, ref, 0)} == {ME}


def test_as_many_runs_are_attended_at_a_time_as_there_are_slots_and_no_more_are_taken(script: Script) -> None:
    gate, inside = threading.Event(), threading.Semaphore(0)

    def wait(_ctx: Context) -> None:
        inside.release()
        gate.wait(PATIENCE)

    place = Place(script, wait, concurrency=3)
    with place.working():
        for _ in range(5):
            place.begin()
        for _ in range(3):
            assert inside.acquire(timeout=PATIENCE)
        assert not inside.acquire(timeout=0.2)
        assert place.box.messages.qsize() == 2, "what nobody has a slot for is left to others"
        gate.set()
        until(lambda: len(place.box.acknowledged) == 5)


def test_a_transport_that_fails_is_asked_less_and_less_often_and_makes_the_worker_degraded(script: Script) -> None:
    place = Place(script, None)
    place.box.down = True
    worker, pauses = place.worker(), Pauses(place.env.random)

    waits = [worker.once(0, pauses) for _ in range(12)]

    assert all(0.0 < each <= LONGEST for each in waits)
    assert min(waits[-3:]) >= LONGEST / 2
    assert place.health.report().status is Status.DEGRADED

    place.box.down = False
    assert worker.once(0, pauses) == 0.0
    assert place.health.report().status is Status.HEALTHY


def test_without_the_store_a_message_is_given_back_and_no_more_are_taken_for_a_while(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.shell.attend.PATIENCE", 0.0)
    place = Place(script, None)
    ref, id_ = place.begin()

    class Down:
        def __getattr__(self, _method: str) -> Callable[..., Any]:
            def call(*_arguments: Any, **_named: Any) -> Any:
                raise Unavailable("the table is down")

            return call

    broken: Any = Down()
    worker, pauses = place.worker(replace(place.env, store=broken)), Pauses(place.env.random)

    assert worker.once(0, pauses) > 0.0

    assert [each for each, delay in place.box.released if delay > 0.0] == [id_]
    assert place.box.acknowledged == []
    assert show(place.env, ref).status == "running"


def test_a_message_that_is_none_of_ours_is_not_answered_and_stops_nothing(script: Script) -> None:
    place = Place(script, None)
    worker, pauses = place.worker(), Pauses(place.env.random)
    place.box.put(None)

    assert worker.once(0, pauses) == 0.0

    assert (place.box.acknowledged, place.box.released) == ([], [])


def test_what_is_in_hand_is_kept_from_others_as_long_as_its_time_is_not_over(script: Script) -> None:
    gate, inside = threading.Event(), threading.Event()

    def wait(_ctx: Context) -> None:
        inside.set()
        gate.wait(PATIENCE)

    place = Place(script, wait)
    with place.working() as worker:
        _, id_ = place.begin()
        assert inside.wait(PATIENCE)
        worker.keep()
        assert place.box.kept == [id_]
        gate.set()
        until(lambda: place.box.acknowledged == [id_])
        worker.keep()
        assert place.box.kept == [id_]


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_an_idle_worker_stops_at_once_and_takes_no_more(script: Script) -> None:
    place = Place(script, None)
    with place.working() as worker:
        stopped = worker.stop(place.hurry)
        _, id_ = place.begin()

    assert (stopped.clean, stopped.handed_back, stopped.given_back) == (True, 0, 0)
    assert stopped.seconds < PATIENCE / 2
    assert place.box.closed
    assert id_ not in place.box.acknowledged


def test_a_stage_that_ends_within_the_drain_is_recorded_and_the_next_is_for_others(script: Script) -> None:
    gate, inside = threading.Event(), threading.Event()

    def wait(_ctx: Context) -> None:
        inside.set()
        gate.wait(PATIENCE)

    place = Place(script, wait, None)
    with place.working() as worker:
        ref, id_ = place.begin()
        assert inside.wait(PATIENCE)
        threading.Timer(0.2, gate.set).start()
        stopped = worker.stop(place.hurry)

    assert (stopped.clean, place.box.acknowledged) == (True, [id_])
    assert [each.stage for each in place.events(ref, StageCompleted)] == ["a"]
    assert [each.stage for each in place.events(ref, StageStarted)] == ["a"], "no further stage is begun"
    assert place.go_on(ref) == "completed"


@pytest.mark.parametrize("hurried", [False, True])
def test_what_does_not_end_in_time_is_handed_back_and_goes_on_elsewhere_at_once(
    script: Script, *, hurried: bool
) -> None:
    gate, inside = threading.Event(), threading.Event()

    def wait(ctx: Context) -> None:
        if ctx.attempt == 1:
            inside.set()
            gate.wait(PATIENCE)

    place = Place(script, wait, drain=PATIENCE if hurried else 0.1)
    try:
        with place.working() as worker:
            ref, id_ = place.begin()
            assert inside.wait(PATIENCE)
            if hurried:
                place.hurry.set()
            stopped = worker.stop(place.hurry)
            assert (stopped.clean, stopped.handed_back, stopped.given_back) == (False, 1, 0)
            assert stopped.seconds < PATIENCE / 2
            assert place.box.acknowledged == [id_], "its stage is poked for, so its message is not needed any more"
            assert len(place.events(ref, LeaseExpired)) == 1
            assert [each.stage for each in place.queue.waiting] == ["a"], "others are poked before its body has ended"
    finally:
        gate.set()
    until(lambda: place.go_on(ref) == "completed")
    assert [each.attempt for each in place.events(ref, StageStarted)] == [1, 2]


def test_a_claim_that_was_on_its_way_when_things_are_handed_back_is_handed_back_too(script: Script) -> None:
    """The worker asked whether it shall stop, was told no, and stood still; then it claims."""
    gate, claiming, may_claim, claimed = (threading.Event() for _ in range(4))
    place = Place(script, lambda ctx: gate.wait(PATIENCE) if ctx.attempt == 1 else None, drain=0.0)

    class Slow:
        def __init__(self, store: Any) -> None:
            self._store = store

        def __getattr__(self, method: str) -> Any:
            return getattr(self._store, method)

        def put(self, ref: RunRef, item: Any, guard: Any = None) -> Any:
            if isinstance(item, Commit) and item.key == log_key(1) and item.by == ME:
                claiming.set()
                may_claim.wait(PATIENCE)
                answer = self._store.put(ref, item, guard)
                claimed.set()
                return answer
            return self._store.put(ref, item, guard)

    class Clock(SystemClock):
        def sleep(self, seconds: float) -> None:
            """Between the two passes."""
            may_claim.set()
            claimed.wait(PATIENCE)

    slow: Any = Slow(place.env.store)
    try:
        with place.working(replace(place.env, store=slow, clock=Clock())) as worker:
            ref, _ = place.begin()
            assert claiming.wait(PATIENCE)
            assert worker.stop(place.hurry).handed_back == 1
    finally:
        gate.set()
    until(lambda: place.go_on(ref) == "completed")


def test_a_message_whose_run_was_not_begun_is_given_back_for_others_at_once(script: Script) -> None:
    gate, loading = threading.Event(), threading.Event()
    place = Place(script, None, drain=0.0)

    class Stuck:
        def __init__(self, store: Any) -> None:
            self._store = store

        def __getattr__(self, method: str) -> Any:
            function = getattr(self._store, method)

            def call(*arguments: Any, **named: Any) -> Any:
                if threading.current_thread().name.startswith("slot-"):
                    loading.set()
                    gate.wait(PATIENCE)
                return function(*arguments, **named)

            return call

    stuck: Any = Stuck(place.env.store)
    try:
        with place.working(replace(place.env, store=stuck)) as worker:
            _, id_ = place.begin()
            assert loading.wait(PATIENCE)
            stopped = worker.stop(place.hurry)
            assert (stopped.handed_back, stopped.given_back) == (0, 1)
            assert place.box.released == [(id_, 0.0)]
    finally:
        gate.set()


def test_messages_of_both_streams_with_one_id_are_not_taken_for_each_other(script: Script) -> None:
    """Each stream numbers its messages for itself."""
    gate, loading, inside = threading.Event(), threading.Event(), threading.Event()

    def wait(ctx: Context) -> None:
        if ctx.attempt == 1:
            inside.set()
            gate.wait(PATIENCE)

    place = Place(script, wait, drain=0.0)

    class Stuck:
        """Does not answer who asks for the second run."""

        def __init__(self, store: Any) -> None:
            self._store = store

        def __getattr__(self, method: str) -> Any:
            function = getattr(self._store, method)

            def call(ref: RunRef, *arguments: Any, **named: Any) -> Any:
                if inside.is_set() and ref == other and threading.current_thread().name.startswith("slot-"):
                    loading.set()
                    gate.wait(PATIENCE)
                return function(ref, *arguments, **named)

            return call

    other = start(place.env, place.flow, Note(), tenant="acme", by="test").ref
    stuck: Any = Stuck(place.env.store)
    try:
        with place.working(replace(place.env, store=stuck)) as worker:
            ref, _ = place.begin()
            assert inside.wait(PATIENCE)
            place.box.messages.put(Delivery(id="1", poke=Poke(other.tenant, other.run), source="pokes"))
            assert loading.wait(PATIENCE)
            stopped = worker.stop(place.hurry)
            assert (stopped.handed_back, stopped.given_back) == (1, 1)
            assert place.box.acknowledged == ["1"]
            assert place.box.released == [("1", 0.0)], "the other one, of which nothing was handed back"
    finally:
        gate.set()
    assert place.events(ref, LeaseExpired)


def test_stopping_takes_no_longer_than_it_may_though_the_store_does_not_answer(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hosts.worker.worker.HAND_BACK", 0.3)
    gate, inside, frozen = threading.Event(), threading.Event(), threading.Event()

    def wait(_ctx: Context) -> None:
        inside.set()
        gate.wait(PATIENCE)

    class Frozen:
        def __init__(self, store: Any) -> None:
            self._store = store

        def __getattr__(self, method: str) -> Any:
            function = getattr(self._store, method)

            def call(*arguments: Any, **named: Any) -> Any:
                if frozen.is_set():
                    gate.wait(PATIENCE)
                return function(*arguments, **named)

            return call

    place = Place(script, wait, drain=0.0)
    store: Any = Frozen(place.env.store)
    try:
        with place.working(replace(place.env, store=store)) as worker:
            _, id_ = place.begin()
            assert inside.wait(PATIENCE)
            frozen.set()
            stopped = worker.stop(place.hurry)
            assert stopped.seconds < PATIENCE / 2
            assert place.box.released == [(id_, 0.0)], "the message goes back, whatever the table does"
    finally:
        gate.set()


def test_whoever_was_seized_answers_no_more(script: Script) -> None:
    gate, inside = threading.Event(), threading.Event()

    def wait(ctx: Context) -> None:
        if ctx.attempt == 1:
            inside.set()
            gate.wait(PATIENCE)

    place = Place(script, wait, drain=0.0)
    with place.working() as worker:
        _, id_ = place.begin()
        assert inside.wait(PATIENCE)
        worker.stop(place.hurry)
        gate.set()
        until(lambda: not any(each.name == "slot-0" and each.is_alive() for each in threading.enumerate()))
    assert place.box.acknowledged == [id_]
