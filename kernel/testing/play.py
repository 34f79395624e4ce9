"""Playing a workflow to its end in memory: one line in a test, and every fault at hand.

::

    play = Play(order)
    ended = play.run(order, Order(id="1"))
    assert ended.status == "completed"
    assert ended.output == Shipment(id="1")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kernel.core.events import AnyEvent
from kernel.define.registry import Registry
from kernel.define.workflow import Workflow
from kernel.errors import InfrastructureError, NotFound
from kernel.ports import HEAD, MAX_DELAY, Head, Poke, RunRef
from kernel.shell import cancel as _cancel
from kernel.shell import read
from kernel.shell import rerun as _rerun
from kernel.shell.attend import Attended, attend
from kernel.shell.environment import Environment, Limits
from kernel.shell.start import start
from kernel.shell.tick import Counts, tick
from kernel.testing.faults import Crash, Faults
from kernel.testing.memory import (
    FakeClock,
    MemoryBlobs,
    MemoryQueue,
    MemorySink,
    MemoryStore,
    NoAlarm,
    SeededRandom,
)
from kernel.testing.units import Meter, MeteredQueue, MeteredStore

TENANT = "test"


class Ended(Struct, frozen=True):
    """A run that was played.

    Attributes:
        ref: which run.
        view: how it stands.
        log: its commits' events, in order.
        outputs: what it resulted in: the parsed outputs of the workflow's last stages; empty unless it completed.
    """

    ref: RunRef
    view: read.RunView
    log: tuple[tuple[AnyEvent, ...], ...]
    outputs: tuple[Any, ...]

    @property
    def status(self) -> str:
        """Where the run stands: ``completed``, ``failed``, ..."""
        return self.view.status

    @property
    def output(self) -> Any:  # noqa: ANN401 - whatever the workflow's last stage returns
        """The one output of a run that has one.

        Raises:
            AssertionError: the run has not completed, or has several outputs.
        """
        if self.status != "completed":
            error = self.view.error
            why = f": {error.stage} {error.kind}: {error.message}" if error else ""
            message = f"run {self.ref.run} has no output, it is {self.status}{why}"
            raise AssertionError(message)
        if len(self.outputs) != 1:
            message = f"run {self.ref.run} has {len(self.outputs)} outputs: ask for .outputs"
            raise AssertionError(message)
        return self.outputs[0]

    def names(self) -> list[str]:
        """The log in short: ``StageStarted charge``, ..."""
        return [_name(event) for events in self.log for event in events]


def _name(event: AnyEvent) -> str:
    stage = getattr(event, "stage", "")
    return f"{type(event).__name__} {stage}".rstrip()


class Play:
    """A whole deployment in memory, with a clock that stands still until it is moved.

    Time passes only between stages: a body takes none, so it never meets its timeout unless it moves the clock itself.

    Attributes:
        env: its environment, as handlers have it, with ``faults`` and the meter in between.
        clock, store, queue, sink, blobs: its ports.
        faults: decides the fate of each port call.
        meter: counts request units and messages.
    """

    def __init__(
        self,
        *workflows: Workflow[Any, *tuple[Any, ...]],
        registry: Registry | None = None,
        limits: Limits | None = None,
        seed: int = 0,
    ) -> None:
        """Deploy ``workflows`` (or a registry of them)."""
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.queue = MemoryQueue(self.clock.now)
        self.sink = MemorySink()
        self.blobs = MemoryBlobs()
        self.meter = Meter()
        self.faults = Faults()
        self._plain = Environment(
            store=self.store,
            queue=self.queue,
            blobs=self.blobs,
            sink=self.sink,
            clock=self.clock,
            random=SeededRandom(seed),
            alarm=NoAlarm(),
            definitions=registry or Registry(*workflows),
            limits=limits or Limits(),
        )
        store, queue = MeteredStore(self.store, self.meter), MeteredQueue(self.queue, self.meter)
        self.env = self.faults.over(replace(self._plain, store=store, queue=queue))
        self._next_tick = self.clock.now() + self.env.limits.tick

    def start(
        self,
        workflow: Workflow[Any, *tuple[Any, ...]],
        input: object,  # noqa: A002 - the domain's word
        *,
        key: str | None = None,
        config: Mapping[str, object] | None = None,
        preset: str | None = None,
        tenant: str = TENANT,
    ) -> RunRef:
        """Start a run, and do nothing else.

        Raises:
            NotFound: the workflow is not among those that are deployed here.
        """
        known = workflow.definition
        if self.env.definitions.find(known.id, known.version, known.fingerprint) is None:
            message = f"workflow {known.id} is not deployed in this Play: name it where the Play is made"
            raise NotFound(message)
        started = start(self.env, workflow, input, tenant=tenant, by="test", key=key, config=config, preset=preset)
        return started.ref

    def run(
        self,
        workflow: Workflow[Any, *tuple[Any, ...]],
        input: object,  # noqa: A002 - the domain's word
        *,
        config: Mapping[str, object] | None = None,
        preset: str | None = None,
    ) -> Ended:
        """Start a run and play it to its end."""
        ref = self.start(workflow, input, config=config, preset=preset)
        self.play([ref])
        return self.ended(ref)

    def ended(self, ref: RunRef) -> Ended:
        """A run as it stands. Looking is not part of what is played: it meets no faults and is not counted."""
        env = self._plain
        session = read.find(env, ref)
        log = tuple(entry.events for entry in read.log_page(env, ref, limit=1_000_000))
        outputs: tuple[Any, ...] = ()
        head = session.head
        definition = env.definitions.find(head.workflow, head.version, head.fingerprint)
        shown = read.view(session.state, head)
        if definition is not None and shown.status == "completed":
            texts = read.result(env, session, definition)
            stages = definition.program.outcome()
            outputs = tuple(definition.code[stage].read_output(text) for stage, text in zip(stages, texts, strict=True))
        return Ended(ref, shown, log, outputs)

    def step(self, seconds: float = 300) -> Attended | None:
        """Let a worker take the next message that is due; None if there is none.

        A worker that crashes or cannot reach the store leaves its message for later, as a queue does.
        """
        poke = self.queue.receive()
        if poke is None:
            return None
        try:
            return attend(self.env, poke, self.clock.monotonic() + seconds)
        except (Crash, InfrastructureError):
            self.queue.send([(poke, MAX_DELAY)])
            raise

    def attend(self, ref: RunRef, stage: str = "", seconds: float = 300) -> Attended:
        """Let a worker look at a run, as if it had been poked."""
        return attend(self.env, Poke(ref.tenant, ref.run, stage), self.clock.monotonic() + seconds)

    def tick(self) -> Counts:
        """Let the maintenance tick happen, now."""
        return tick(self.env, self.clock.monotonic() + 50)

    def play(self, refs: Iterable[RunRef], *, days: float = 400) -> None:
        """Deliver messages and ticks, moving the clock, until these runs are over and out of the index.

        Crashes and failures on the way are survived as a deployment survives them.

        Raises:
            AssertionError: they are not over after that many days.
        """
        waiting = list(refs)
        end = self.clock.now() + int(days * 86_400_000)
        while waiting := [ref for ref in waiting if not self._over(ref)]:
            if self.clock.now() > end:
                stuck = ", ".join(ref.run for ref in waiting)
                message = f"not over after {days} days: {stuck}"
                raise AssertionError(message)
            self._advance()

    def _over(self, ref: RunRef) -> bool:
        # Past the faults and the meter: looking is not part of what is played.
        head = self.store.get(ref, HEAD)
        return isinstance(head, Head) and head.due is None

    def _advance(self) -> None:
        try:
            if self.step() is not None:
                return
        except (Crash, InfrastructureError):
            return
        arrives = self.queue.next_at
        if arrives is not None and arrives < self._next_tick:
            self.clock.move(max(0, arrives - self.clock.now()))
            return
        self.clock.move(max(0, self._next_tick - self.clock.now()))
        self._next_tick = self.clock.now() + self.env.limits.tick
        try:
            self.tick()
        except (Crash, InfrastructureError):
            return

    def cancel(self, ref: RunRef, reason: str = "") -> None:
        """Cancel a run."""
        _cancel.cancel(self.env, ref, by="test", reason=reason)

    def retry(self, ref: RunRef) -> None:
        """Retry a failed run."""
        _rerun.retry(self.env, ref, by="test")

    def rerun(self, ref: RunRef, stage: str) -> None:
        """Run a finished run again from a stage."""
        _rerun.rerun(self.env, ref, stage, by="test")
