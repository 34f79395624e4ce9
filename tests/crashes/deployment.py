"""A deployment in memory, made of the real handlers: processes that die, a queue that redelivers, a schedule.

Nobody does two things at once here, but for clients who call in the middle of a stage. That faults strike while others
are at work is the simulator's part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from msgspec.structs import replace

from handlers import intake, job, tick
from infra.pokes import parse
from infra.settings import Settings
from kernel.core.state import StageStatus
from kernel.define.registry import Registry
from kernel.ports import Published, RunRef, Store
from kernel.shell.environment import DAY, MINUTE, Environment, Limits, NoDefinitions
from kernel.shell.heads import due_shard
from kernel.shell.load import load
from kernel.testing.faults import Crash, Faults
from kernel.testing.memory import FakeClock, MemoryBlobs, MemorySink, MemoryStore, NoAlarm, SeededRandom
from tests.crashes.fate import Blow, Fate, watching
from tests.crashes.flows import forget
from tests.crashes.sqs import Sqs
from tests.handlers.aws import Context, Handler, Json
from tests.handlers.test_tick import SCHEDULED
from tests.proof import share
from tests.shell.invariants import check_kept, loaded
from tests.shell.script import Flow

TENANT = "acme"
FOR_EVER = 1 << 50
MOST_CALLS = 2_000


class Deployment:
    """Three functions over the ports of ``kernel.testing``, and what calls them.

    Attributes:
        plain: the environment, past the faults.
        intake, job, tick: the functions.
        clock, store, sink, queue: the ports.
        fate: what strikes which call.
        refs: runs that a client knows of.
        submitted: events that the sink was given, in order.
        refused: the type of event that the sink does not take; empty for none.
        helped: what ticks had to do, by kind.
        disturbed: whether blows strike in this history.
    """

    def __init__(
        self,
        *flows: Flow,
        limits: Limits,
        visibility: int = 6 * MINUTE,
        receives: int = 5,
        batch: int = 10,
        seconds: int = 300,
    ) -> None:
        """Deploy workflows, by default as the template does.

        The queue is as in ``tests.crashes.sqs`` and gives up to ``batch`` messages at a time to a function that may
        take so many ``seconds``.
        """
        self._visibility, self._receives, self._batch, self._seconds = visibility, receives, batch, seconds
        self.flows = flows
        self._slots: dict[str, Any] = {name: _Slot() for name in ("store", "queue", "blobs", "sink", "clock", "random")}
        registry = Registry(*flows)
        self.plain = Environment(**self._slots, alarm=NoAlarm(), definitions=registry, limits=limits)
        self._faults = Faults()
        env = self._faults.over(self.plain)
        settings = Settings(workflows="tests:crashes", table_name="table", queue_url="https://q", default_tenant=TENANT)
        without = replace(env, definitions=NoDefinitions())
        self.intake = Function("intake", lambda: intake.make_handler(env, registry, settings, _LOGGER), self)
        self.tick = Function("tick", lambda: tick.make_handler(without, _LOGGER), self)
        self._job = Function("job", lambda: job.make_handler(env, _LOGGER), self)
        self._job_without = Function("job", lambda: job.make_handler(without, _LOGGER), self)
        self.begin()

    def begin(self, *blows: Blow) -> None:
        """Begin a history in which these blows strike. Processes stay warm; nothing else is left of the one before."""
        forget()
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.sink = MemorySink(self._submit)
        self.submitted: list[Published] = []
        self.refused = ""
        self.queue = self._new_queue()
        for name, adapter in (
            ("store", self.store),
            ("queue", self.queue),
            ("blobs", MemoryBlobs()),
            ("sink", self.sink),
            ("clock", self.clock),
            ("random", SeededRandom()),
        ):
            self._slots[name].adapter = adapter
        self.fate = Fate(self.clock, blows)
        self._faults.calls = []
        self._faults.choose = self.fate.choose
        self.job = self._job
        self.refs: set[RunRef] = set()
        self.helped: Counter[str] = Counter()
        self.disturbed = bool(blows)
        self._seen = 0
        self.began = self.clock.now()
        self._next_tick = self.began + self.plain.limits.tick

    def _new_queue(self) -> Any:
        """What carries pokes."""
        queue = _Queue(self.clock, self._visibility, self._receives)
        queue.store = self.store
        return queue

    def workers_have_it(self, *, deployed: bool) -> None:
        """Deploy other workers: such that have the workflows, or such that do not."""
        self.job = self._job if deployed else self._job_without

    def _submit(self, event: Published) -> str | None:
        self.submitted.append(event)
        return "no" if event.type == self.refused else None

    # --- time ---------------------------------------------------------------------------------------------------------

    def go(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.clock.now() + int(seconds * 1000)
        while (at := self._next()) <= end:
            self._advance(at)
        self.clock.move(max(0, end - self.clock.now()))

    def until(self, there: Callable[[], bool]) -> None:
        """Let time pass until it is so.

        Raises:
            AssertionError: it is not so after far more calls, or far longer, than any scenario takes.
        """
        end = self.clock.now() + DAY
        while not there():
            assert self.clock.now() < end, "quiet-at-last: there is no end to it after a day"
            assert len(self.fate.trace) < MOST_CALLS, f"quiet-at-last: there is no end to it after {MOST_CALLS} calls"
            self._advance(self._next())

    def settle(self) -> None:
        """Let time pass until all is done: nothing is due, and no message is left."""
        self.until(self.nothing_is_due)
        self.until(lambda: self.queue.next_at is None)

    def nothing_is_due(self) -> bool:
        """Whether nobody has to look at any run."""
        return not self._due()

    def asleep(self, run: str) -> bool:
        """Whether a run sleeps."""
        return loaded(self.plain, RunRef(TENANT, run)).state.asleep is not None

    def over(self, run: str) -> bool:
        """Whether a run's log has ended, finalised or not."""
        return loaded(self.plain, RunRef(TENANT, run)).state.status.finished

    def taken(self, run: str) -> int:
        """How many transitions a machine has taken."""
        place = loaded(self.plain, RunRef(TENANT, run)).state.place
        return 0 if place is None else place.taken

    def waits(self, run: str, stage: str) -> bool:
        """Whether a stage waits for an answer, or for what a check asks."""
        found = loaded(self.plain, RunRef(TENANT, run)).state.stages.get(stage)
        return found is not None and found.status is StageStatus.SUSPENDED

    def _due(self) -> list[RunRef]:
        shards = range(self.plain.limits.shards)
        return [due.ref for shard in shards for due in self.store.due(due_shard(shard), FOR_EVER, 100)]

    def _next(self) -> int:
        arrives = self.queue.next_at
        return self._next_tick if arrives is None else min(arrives, self._next_tick)

    def _advance(self, at: int) -> None:
        self.clock.move(max(0, at - self.clock.now()))
        if self._next_tick <= at:
            self._next_tick = at + self.plain.limits.tick
            self._do_tick()
        else:
            self._do_job()

    # --- functions ----------------------------------------------------------------------------------------------------

    def _do_tick(self) -> None:
        try:
            counts = self.tick(SCHEDULED, Context(60))
        except Crash:
            return  # the next minute's comes anyway
        self.helped.update({kind: count for kind, count in counts.items() if count})
        assert counts["skipped"] == 0, "no-run-is-forgotten: the only tick there is passed over a run"

    def _do_job(self) -> None:
        batch = self.queue.receive(self._batch)
        if not batch:
            return
        self.fate.reached.clear()
        self.fate.missed.clear()
        try:
            answer = self.job({"Records": [message.record for message in batch]}, Context(self._seconds))
        except Crash:
            return  # all of them come back when they are visible again
        failed = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
        for message in batch:
            ref = _ref(message.body)
            unreachable = ref in self.fate.missed and ref not in self.fate.reached
            assert not unreachable or message.id in failed, f"acknowledged, though nobody could look at the run: {ref}"
        self.queue.delete(batch, failed)

    def ended(self) -> None:
        """An invocation ended, however it did: every run that needs somebody is in the index."""
        fresh, self._seen = self.fate.trace[self._seen :], len(self.fate.trace)
        with watching():
            assert not self.fate.dying, f"a process went on after it had died: {self.fate.trace[-1].process}"
            if not any(line.effect for line in fresh):
                return  # what was near enough before has only come nearer
            for ref in self.refs.union(self._due()):
                check_kept(self.plain, ref)


class Function:
    """A Lambda function with one process, which is made when it is needed and no more than that.

    In the full enumeration a process that died is followed by one that was composed before: composing is a quarter of
    its time, and that a warm process makes no difference is tested by itself.
    """

    def __init__(self, name: str, make: Callable[[], Handler], deployment: Deployment) -> None:
        self._name = name
        self._make = make
        self._deployment = deployment
        self._process: Handler | None = None
        self._kept: Handler | None = None

    def __call__(self, event: object, context: Context) -> Json:
        """Invoke it.

        Raises:
            Crash: the process died; what it held is gone.
        """
        fate = self._deployment.fate
        caller, fate.process = fate.process, self._name
        if self._process is None:
            self._process = self._kept or self._make()
            self._kept = share(None, self._process)
        try:
            answer = self._process(event, context)
        except Crash:
            self._process = None
            fate.dying = False
            raise
        finally:
            fate.process = caller
            self._deployment.ended()
        return answer


class _Slot:
    """Stands in for a port whose adapter is another one in each history, so that warm processes can be kept."""

    adapter: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapter, name)


def check_pokes(store: Store, pokes: Any) -> None:
    """Nobody is poked about what is not committed: they would find nothing, and be done with it."""
    with watching():
        for poke, _ in pokes:
            session = load(store, poke.ref, lambda: 0)
            assert session is not None, f"commit-before-poke: there is no run {poke.run}"
            known = not poke.stage or poke.stage in session.state.stages
            assert known, f"commit-before-poke: there is no {poke.stage} to look at"


class _Queue(Sqs):
    """Looks at what is sent."""

    store: Store

    def send(self, pokes: Any) -> None:
        check_pokes(self.store, pokes)
        super().send(pokes)


def _ref(body: str) -> RunRef | None:
    return parse(body).ref if body.startswith('{"tenant"') else None


_LOGGER: Any = Logger(service="crashes", child=False, level="CRITICAL")
