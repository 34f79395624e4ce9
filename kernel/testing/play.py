"""Playing a workflow to its end in memory: one line in a test, and every fault at hand.

::

    play = Play(order)
    ended = play.run(order, Order(id="1"))
    assert ended.status == "completed"
    assert ended.output == Shipment(id="1")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel

from kernel.annotations import Scalar
from kernel.core.definition import Available
from kernel.core.events import AnyEvent, ErrorRecord, StageStarted
from kernel.core.state import FINISHED_STAGE
from kernel.core.tokens import Token, digest_of, write_token
from kernel.define.registry import AnyWorkflow, Registry
from kernel.define.startable import Startable
from kernel.errors import InfrastructureError, NotFound
from kernel.ports import HEAD, MAX_DELAY, Head, Poke, RunRef
from kernel.shell import callback, read
from kernel.shell import cancel as _cancel
from kernel.shell import pause as _pause
from kernel.shell import rerun as _rerun
from kernel.shell.attend import Attended, attend
from kernel.shell.environment import DAY, Environment, Limits
from kernel.shell.heads import GOES_ON
from kernel.shell.keys import find_holder
from kernel.shell.load import load
from kernel.shell.receive import EventView, accept, look_up
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
SHOWN = 20
"""Events of a run that its ``repr`` shows: half of them its first, half of them its last."""


class Ended(Struct, frozen=True):
    """A run that was played. Its ``repr`` is short: every ``assert`` that fails prints it.

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
            why = _why(self.view.error)
            message = f"run {self.ref.run} has no output, it is {self.status}{': ' if why else ''}{why}"
            raise AssertionError(message)
        if len(self.outputs) != 1:
            message = f"run {self.ref.run} has {len(self.outputs)} outputs: ask for .outputs"
            raise AssertionError(message)
        return self.outputs[0]

    def names(self) -> list[str]:
        """The log in short: ``StageStarted charge``, ..."""
        return [_name(event) for events in self.log for event in events]

    def __repr__(self) -> str:
        names = self.names()
        if (more := len(names) - SHOWN) > 0:
            names[SHOWN // 2 : -SHOWN // 2] = [f"... {more} more ..."]
        error = f" error={_why(self.view.error)!r}," if self.view.error else ""
        return f"Ended(run={self.ref.run!r}, status={self.status!r},{error} names=[{', '.join(names)}])"


Run = RunRef | Ended
"""Which run: as ``start`` gave it, or as ``run`` and ``ended`` did."""


_SUBJECTS = ("stage", "timer", "wait", "name", "state", "transition")
"""What an event of a log is about, in order of preference."""


def _name(event: AnyEvent) -> str:
    stage = next((getattr(event, name) for name in _SUBJECTS if hasattr(event, name)), "")
    return f"{type(event).__name__} {stage}".rstrip()


def _why(error: ErrorRecord | None) -> str:
    if error is None:
        return ""
    return f"{error.stage} {error.kind}: {error.message}".lstrip()


def _ref(run: object) -> RunRef:
    """Which run is meant, or, where nobody checks types, what to give instead."""
    if isinstance(run, Ended):
        return run.ref
    if not isinstance(run, RunRef):
        raise TypeError(f"give the run as start or run gave it, not {run!r}")
    return run


def _milliseconds(lasts: object) -> int:
    if not isinstance(lasts, timedelta) or lasts < timedelta(0):
        raise TypeError(f"give a datetime.timedelta, such as timedelta(days=3), not {lasts!r}")
    return lasts // timedelta(milliseconds=1)


def _require_workflow(given: object) -> None:
    if isinstance(given, Registry):
        raise TypeError("a registry is given as Play(registry=...)")
    if not isinstance(given, Startable):
        raise TypeError(f"give the workflow itself, not {given!r}")


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
        *workflows: AnyWorkflow,
        registry: Registry | None = None,
        limits: Limits | None = None,
        seed: int = 0,
    ) -> None:
        """Deploy ``workflows`` (or a registry of them).

        Args:
            workflows: what to deploy.
            registry: what to deploy, in place of ``workflows``.
            limits: the deployment's settings.
            seed: of the runs' ids and of what is random in delays. The same seed gives the same ids in each ``Play``.

        Raises:
            TypeError: something is no workflow.
            DefinitionError: two have the same id and version.
        """
        for each in workflows:
            _require_workflow(each)
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.queue = MemoryQueue(self.clock.now)
        self.sink = MemorySink()
        self.blobs = MemoryBlobs()
        self.meter = Meter()
        self.faults = Faults()
        self._random = SeededRandom(seed)
        self._plain = Environment(
            store=self.store,
            queue=self.queue,
            blobs=self.blobs,
            sink=self.sink,
            clock=self.clock,
            random=self._random,
            alarm=NoAlarm(),
            definitions=registry or Registry(*workflows),
            limits=limits or Limits(),
        )
        store, queue = MeteredStore(self.store, self.meter), MeteredQueue(self.queue, self.meter)
        self.env = self.faults.over(replace(self._plain, store=store, queue=queue))
        self._next_tick = self.clock.now() + self.env.limits.tick

    def start(
        self,
        workflow: AnyWorkflow,
        input: object,  # noqa: A002 - the domain's word
        *,
        key: str | None = None,
        config: Mapping[str, object] | None = None,
        preset: str | None = None,
        business_key: str | None = None,
        tenant: str = TENANT,
        priority: Literal["normal", "high"] = "normal",
        annotations: Mapping[str, Scalar] | None = None,
    ) -> RunRef:
        """Start a run, and do nothing else.

        Args:
            workflow: what to run, itself and not its id.
            input: a model, a mapping, or JSON text.
            key: idempotency key; the same key and input give the same run.
            config: configuration by stage id.
            preset: name of a configuration that the workflow declares.
            business_key: what the run is about: of the workflow's runs with the same, at most one is under way.
            tenant: whose run it is.
            priority: its class: messages of runs of high priority come first, up to three in a row.
            annotations: what is said of this start, by key.

        Raises:
            TypeError: ``workflow`` is no workflow.
            NotFound: the workflow is not among those that are deployed here.
            InvalidInput: input, config, a key, priority or annotations do not fit. Nothing was stored.
            Conflict: the key was used with other input.
            KeyHeld: another run that is under way has the business key.
        """
        _require_workflow(workflow)
        known = workflow.definition
        if self.env.definitions.find(known.id, known.version, known.fingerprint) is None:
            message = f"workflow {known.id} is not deployed in this Play: name it where the Play is made"
            raise NotFound(message)
        started = start(
            self.env,
            workflow,
            input,
            tenant=tenant,
            by="test",
            key=key,
            config=config,
            preset=preset,
            business_key=business_key,
            priority=priority,
            annotations=annotations,
        )
        return started.ref

    def holder(self, workflow: AnyWorkflow, business_key: str, *, tenant: str = TENANT) -> RunRef:
        """The run that holds a business key, past the faults and the meter.

        Raises:
            NotFound: nobody holds it.
        """
        _require_workflow(workflow)
        return find_holder(self._plain, tenant, workflow.id, business_key)

    def run(
        self,
        workflow: AnyWorkflow,
        input: object,  # noqa: A002 - the domain's word
        *,
        key: str | None = None,
        config: Mapping[str, object] | None = None,
        preset: str | None = None,
        business_key: str | None = None,
        tenant: str = TENANT,
        priority: Literal["normal", "high"] = "normal",
        annotations: Mapping[str, Scalar] | None = None,
    ) -> Ended:
        """Start a run as ``start`` does, and play it to its end."""
        ref = self.start(
            workflow,
            input,
            key=key,
            config=config,
            preset=preset,
            business_key=business_key,
            tenant=tenant,
            priority=priority,
            annotations=annotations,
        )
        self.play([ref])
        return self.ended(ref)

    def look(self, run: Run) -> read.RunView:
        """A run as it is now, under way or over. Looking is not part of what is played: no faults, and not counted.

        Raises:
            NotFound: there is no such run, or its retention is over.
        """
        return read.show(self._plain, _ref(run))

    def annotations(self, run: Run, prefix: str = "") -> list[read.Annotation]:
        """All that was said of a run under keys that begin with ``prefix``. As ``look``, it is not part of the play.

        Raises:
            NotFound: there is no such run, or its retention is over.
        """
        found: list[read.Annotation] = []
        after: int | None = -1
        while after is not None:
            page = read.list_annotations(self._plain, _ref(run), prefix=prefix, after=after)
            found.extend(page.annotations)
            after = page.after
        return found

    def ended(self, run: Run) -> Ended:
        """A run with its log and its outputs, also before its end. As ``look``, it is not part of what is played.

        Raises:
            NotFound: there is no such run, or its retention is over.
        """
        env, ref = self._plain, _ref(run)
        session = read.find(env, ref)
        log = tuple(entry.events for entry in read.log_page(env, ref, limit=1_000_000))
        outputs: tuple[Any, ...] = ()
        head = session.head
        definition = env.definitions.find(head.workflow, head.version, head.fingerprint)
        shown = read.view(session.state, head)
        if definition is not None and shown.status == "completed":
            texts = read.result(env, session, definition)
            stages = definition.program.outcome()
            reads = {**definition.code, **definition.waits}
            outputs = tuple(reads[stage].read_output(text) for stage, text in zip(stages, texts, strict=True))
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

    def attend(self, run: Run, stage: str = "", seconds: float = 300, *, event: str = "") -> Attended:
        """Let a worker look at a run, as if it had been poked."""
        ref = _ref(run)
        return attend(self.env, Poke(ref.tenant, ref.run, stage, event=event), self.clock.monotonic() + seconds)

    def tick(self) -> Counts:
        """Let the maintenance tick happen, now."""
        return tick(self.env, self.clock.monotonic() + 50)

    def play(self, runs: Run | Iterable[Run], *, days: float = 400) -> None:
        """Deliver messages and ticks, moving the clock, until these runs are over and out of the index.

        Crashes and failures on the way are survived as a deployment survives them.

        Args:
            runs: one run, or several.
            days: how much time may pass.

        Raises:
            NotFound: there is no such run.
            AssertionError: they are not over after that many days, or by the end of their retention; says what they
                wait for.
        """
        refs = [_ref(run) for run in ([runs] if isinstance(runs, RunRef | Ended) else runs)]
        waiting, end = refs, self.clock.now() + int(days * DAY)
        while waiting := [ref for ref in waiting if self._head(ref).due is not None]:
            if self.clock.now() > end:
                raise AssertionError(self._not_over(waiting, f"after {days:g} days"))
            self._advance()
        if given_up := [ref for ref in refs if self._head(ref).status in GOES_ON]:
            raise AssertionError(self._not_over(given_up, "by the end of their retention, when they are given up"))

    def wait(self, lasts: timedelta) -> None:
        """Deliver messages and ticks for so long, whatever is over or not.

        Crashes and failures on the way are survived as ``play`` survives them.
        """
        end = self.clock.now() + _milliseconds(lasts)
        while self._next() <= end:
            self._advance()
        self.clock.move(max(0, end - self.clock.now()))

    def _not_over(self, refs: Iterable[RunRef], when: str) -> str:
        stuck = "\n".join(map(self._stuck, refs))
        return f"not over {when}; a fault that comes again and again may be why:\n{stuck}"

    def _stuck(self, ref: RunRef) -> str:
        """A run that is not over, and what it waits for; also when its retention is over long since."""
        session = load(self._plain.store, ref, lambda: 0)
        assert session is not None  # noqa: S101 - its head was read before
        lines = [f"run {ref.run} is {read.view(session.state, session.head).status}"]
        for id_, stage in session.state.stages.items():
            if stage.status not in FINISHED_STAGE:
                why = f", {_why(stage.error)}" if stage.error else ""
                lines.append(f"  {id_} is {stage.status}, attempt {stage.attempt}{why}")
        if (place := session.state.place) is not None and not session.state.status.finished:
            known = self._plain.definitions.find(session.head.workflow, session.head.version, session.head.fingerprint)
            events = [each.event for each in known.program.available(session.state)] if known is not None else []
            lines.append(f"  it is in state {place.state}, which takes {', '.join(events) or 'no event'}")
        if session.state.status.finished:
            lines.append("  it is over, but nobody could leave it: to publish its events or to write that down failed")
        return "\n".join(lines)

    def _head(self, ref: RunRef) -> Head:
        # Past the faults and the meter: looking is not part of what is played.
        head = self.store.get(ref, HEAD)
        if not isinstance(head, Head):
            raise NotFound(f"there is no run {ref.run} in this Play")
        return head

    def _advance(self) -> None:
        try:
            if self.step() is not None:
                return
        except (Crash, InfrastructureError):
            return
        arrives, tick = self.queue.next_at, self._tick_at()
        if arrives is not None and arrives < tick:
            self.clock.move(max(0, arrives - self.clock.now()))
            return
        self.clock.move(max(0, tick - self.clock.now()))
        self._next_tick = self.clock.now() + self.env.limits.tick
        try:
            self.tick()
        except (Crash, InfrastructureError):
            return

    def _next(self) -> int:
        """When the next message or tick comes."""
        arrives, tick = self.queue.next_at, self._tick_at()
        return tick if arrives is None else min(arrives, tick)

    def _tick_at(self) -> int:
        """When the next tick comes; those that would find nothing are left out."""
        every = self.env.limits.tick
        # Where a test has put a real store, every tick comes.
        due = self.store.earliest if isinstance(self.store, MemoryStore) else None
        idle = 0 if due is None else max(0, -((self._next_tick - due) // every))
        return self._next_tick + idle * every

    def send(
        self,
        run: Run,
        event: BaseModel,
        *,
        id: str | None = None,  # noqa: A002 - the domain's word
        roles: tuple[str, ...] = (),
    ) -> EventView:
        """Send an external event to a run, and do nothing else.

        Args:
            run: which run.
            event: it; its class is its name.
            id: the same id is the same event, however often it is sent.
            roles: what who sends it is allowed to act as.

        Raises:
            InvalidInput: the run's workflow waits for no such event.
            Conflict: the run is over, its machine is in a state that does not take it, or the id was used for another
                event.
            Forbidden: its machine takes it from other roles only.
        """
        if not isinstance(event, BaseModel):
            raise TypeError(f"give the event itself, a model such as Delivered(...), not {event!r}")
        if isinstance(roles, str):  # type: ignore[unreachable]  # where nobody checks types
            raise TypeError(f"give roles as a tuple, such as ({roles!r},)")
        return accept(self.env, _ref(run), type(event).__name__, event, by="test", id_=id, roles=roles)

    def event(self, run: Run, id: str) -> EventView:  # noqa: A002 - the domain's word
        """What became of an event that was sent."""
        return look_up(self.env, _ref(run), id)

    def available(self, run: Run) -> Sequence[Available]:
        """The external events that a run can take as it stands, of whom, and where they lead."""
        return read.available(self.env, _ref(run))

    def token(self, run: Run, stage: str) -> str:
        """The callback token that the latest attempt at a stage was given, for a test that plays the third party.

        Raises:
            NotFound: no attempt at the stage was given one.
        """
        ref = _ref(run)
        found = ""
        for entry in read.log_page(self._plain, ref, limit=1_000_000):
            for event in entry.events:
                if isinstance(event, StageStarted) and event.stage == stage and event.callback:
                    secret = next(each for each in self._random.secrets if digest_of(each) == event.callback)
                    found = write_token(Token(ref.tenant, ref.run, stage, entry.seq, secret))
        if not found:
            raise NotFound(f"no attempt at {stage} has a callback token: the stage has no callback=, or has not begun")
        return found

    def answer(self, token: str, output: object) -> callback.Answered:
        """Complete the stage whose callback token it is, as ``POST /callbacks/<token>`` does.

        Args:
            token: as the stage gave it out, or as ``token`` tells it.
            output: the stage's output: a model, a mapping, or JSON text.

        Raises:
            InvalidInput: the output does not fit the stage's type.
            NotFound: there is no such token.
            Gone: it counts no more.
            Conflict: it was answered before, with something else.
        """
        return callback.complete(self.env, token, output)

    def decline(
        self, token: str, message: str = "", *, kind: str = "CallbackFailed", retryable: bool = True
    ) -> callback.Answered:
        """Fail the attempt whose callback token it is; the stage is tried again as its retry policy says."""
        return callback.fail(self.env, token, kind=kind, message=message, retryable=retryable)

    def heartbeat(self, token: str, progress: float | None = None) -> callback.Answered:
        """Say that whoever has a callback token is still at work."""
        return callback.heartbeat(self.env, token, progress)

    def cancel(self, run: Run, reason: str = "") -> None:
        """Cancel a run."""
        _cancel.cancel(self.env, _ref(run), by="test", reason=reason)

    def pause(self, run: Run, reason: str = "", *, lasts: timedelta | None = None) -> None:
        """Pause a run: for so long, or until it is resumed."""
        until = None if lasts is None else self.clock.now() + _milliseconds(lasts)
        _pause.pause(self.env, _ref(run), by="test", reason=reason, until=until)

    def resume(self, run: Run, reason: str = "") -> None:
        """Let a paused run go on."""
        _pause.resume(self.env, _ref(run), by="test", reason=reason)

    def retry(self, run: Run, reason: str = "") -> None:
        """Retry a failed run."""
        _rerun.retry(self.env, _ref(run), by="test", reason=reason)

    def rerun(self, run: Run, stage: str, reason: str = "") -> None:
        """Run a finished run again from a stage."""
        _rerun.rerun(self.env, _ref(run), stage, by="test", reason=reason)
