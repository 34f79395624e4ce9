"""A run without a shell: a graph of bare stages, driven by commands. What the tests of the core share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kernel.core import commands as c
from kernel.core.codec import inline
from kernel.core.decide import decide
from kernel.core.definition import Definition, MissingValue, PollPolicy, RetryPolicy, StageSpec, Strategy, Values
from kernel.core.events import COMPENSATE, AnyEvent, ErrorRecord, RunCreated, StageCompleted
from kernel.core.evolve import fold
from kernel.core.graph import Graph, Node
from kernel.core.state import Identity, State

NOW = 1_767_225_600_000
MINUTE = 60_000
DAY = 86_400_000
TIMEOUT, GRACE = 60_000, 5_000
NO_CHAIN = c.Chain(-1, GRACE)
CHAIN = c.Chain(10 * TIMEOUT, GRACE)
STEADY = RetryPolicy(attempts=3, first=1_000, factor=1.0, jitter=0.0)
IDENTITY = Identity("acme", "r" * 24, "flow", 1, "f", NOW, NOW + DAY, NOW + 2 * DAY)


def node(id_: str, *after: str, condition: Callable[[Values], bool] | None = None, **options: Any) -> Node:
    """A stage that follows others; retried at a steady pace unless told otherwise."""
    return Node(StageSpec(id_, **{"timeout": TIMEOUT, "retry": STEADY, **options}), after, condition)


def definition(*nodes: Node, **options: Any) -> Definition:
    """A workflow of these stages, with a compensation for those that say they have one."""
    stages = {each.spec.id: each.spec for each in nodes}
    undone = [COMPENSATE + each.spec.id for each in nodes if each.spec.compensated]
    stages |= {id_: StageSpec(id_, timeout=TIMEOUT, retry=STEADY) for id_ in undone}
    return Definition("flow", 1, "f", Graph(nodes, [nodes[-1].spec.id]), stages, {}, **options)


def names(events: Sequence[AnyEvent]) -> list[str]:
    """Events in short: ``StageStarted a``."""
    return [f"{type(each).__name__} {getattr(each, 'stage', '')}".rstrip() for each in events]


class Run:
    """A run that is only created, and what has become of it.

    Attributes:
        state: as of its last commit.
        log: the events of each commit.
        now: the time of whoever commands next.
    """

    def __init__(self, *nodes: Node, **options: Any) -> None:
        self.definition = definition(*nodes, **options)
        created = (RunCreated(inline(b"{}"), undo_on_cancel=self.definition.undo_on_cancel),)
        self.state = fold(State.initial(IDENTITY), 0, NOW, created)
        self.log: list[Sequence[AnyEvent]] = [created]
        self.now = NOW
        self._outputs: dict[tuple[str, int], bytes] = {("", 0): b"{}"}
        self._offered: tuple[str, bytes] | None = None

    def do(self, command: c.Command) -> list[str]:
        """Decide and commit; what happened, in short."""
        decision = decide(self.definition, self.state, command, self.now, self.recall)
        self.state = decision.state
        self.log.append(decision.events)
        for event in decision.events:
            if isinstance(event, StageCompleted):
                self._outputs[event.stage, self.state.seq] = bytes(event.output.json)  # type: ignore[arg-type]  # kept in its event, so it is there
        return names(decision.events)

    def recall(self, stage: str, seq: int) -> bytes:
        """What the run has recorded, or is about to."""
        if self._offered and self._offered[0] == stage and seq == self.state.seq + 1:
            return self._offered[1]
        if (stage, seq) not in self._outputs:
            raise MissingValue(stage, seq)
        return self._outputs[stage, seq]

    def seq(self, stage: str) -> int:
        """The fencing token of a stage's attempt."""
        return self.state.stages[stage].seq

    def begin(self, chain: c.Chain = NO_CHAIN) -> list[str]:
        """Let a worker find the run."""
        return self.do(c.Begin(chain))

    def claim(self, stage: str) -> list[str]:
        """Let a worker take a stage."""
        return self.do(c.Claim(stage, self.seq(stage), GRACE))

    def complete(self, stage: str, output: bytes = b"{}", chain: c.Chain = NO_CHAIN) -> list[str]:
        """Let a running stage return."""
        self._offered = (stage, output)
        return self.do(c.Complete(stage, self.seq(stage), inline(output), chain))

    def fail(self, stage: str, *, retryable: bool = True, roll: float = 0.0, chain: c.Chain = NO_CHAIN) -> list[str]:
        """Let a running stage throw."""
        return self.do(c.Fail(stage, self.seq(stage), oops(stage), retryable, roll, chain))

    def through(self, *stages: str) -> None:
        """Claim and complete these stages, one after the other."""
        for each in stages:
            self.claim(each)
            self.complete(each)

    def fail_for_good(self, stage: str) -> list[str]:
        """Claim a stage and fail it, whatever its policy says."""
        self.claim(stage)
        return self.fail(stage, retryable=False)


def oops(stage: str) -> ErrorRecord:
    """An error that user code threw."""
    return ErrorRecord("user", "RuntimeError", "oops", stage, 1)


PROCEED, STOP, UNDO = Strategy.PROCEED, Strategy.STOP, Strategy.COMPENSATE

POLL = PollPolicy(every=MINUTE, limit=10 * MINUTE, errors=3)


def waiting() -> Run:
    """A stage ``a`` that is suspended, checked by the minute."""
    run = Run(node("a", poll=POLL))
    run.begin(CHAIN)
    run.do(c.Suspend("a", run.seq("a"), inline(b"{}")))
    return run


def check_at(run: Run) -> int:
    return run.state.stages["a"].at


def not_ready(run: Run, *, throws: bool = False, progress: float | None = None) -> list[str]:
    """Let the check look at its time."""
    run.now = check_at(run)
    error = oops("a") if throws else None
    return run.do(c.NotReady("a", run.seq("a"), check_at(run), progress, error, NO_CHAIN))
