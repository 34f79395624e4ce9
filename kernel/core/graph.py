"""The graph program: stages that run once everything they depend on is finished."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kernel.core.definition import Available, MissingValue, StageSpec, Strategy, Values
from kernel.core.directives import Compensate, Complete, Directive, Fail, Listen, Reject, Schedule, SetTimer, Skip, Take
from kernel.core.events import (
    AnyEvent,
    ErrorRecord,
    EventReceived,
    RunCreated,
    RunReopened,
    StageCompleted,
    StageFailed,
    StageSkipped,
    StageStarted,
    TimerFired,
    TimerSet,
    WaitMatched,
    WaitStarted,
)
from kernel.core.failures import describe
from kernel.core.state import StageStatus, State
from kernel.errors import ProcessEnds

_BEYOND = "its time would come after the run's deadline: give the workflow or machine a longer deadline"


class Listening(Struct, frozen=True):
    """What a wait is for.

    Attributes:
        events: names of the events, any one of which will do.
        match: says from recorded values whether an event, by its name and id, is the one; pure user code.
        timeout: how long it waits, in milliseconds; for ever if absent.
        proceeds: with ``None`` once that has passed; otherwise it fails.
    """

    events: tuple[str, ...]
    match: Callable[[Values, str, str], bool]
    timeout: int | None = None
    proceeds: bool = False


class Node(Struct, frozen=True):
    """The place in the graph of a stage, of a timer, or of a wait.

    Attributes:
        spec: the stage; of a timer or a wait, its id and what it means that it fails.
        after: ids of what it waits for.
        condition: says from recorded values whether it runs at all; pure user code, so it may throw.
        until: makes it a timer: says from recorded values and the time when it fires; may be user code, too.
        listening: makes it a wait, for events.
    """

    spec: StageSpec
    after: tuple[str, ...]
    condition: Callable[[Values], bool] | None = None
    until: Callable[[Values, int], int] | None = None
    listening: Listening | None = None


class Graph:
    """A directed acyclic graph of stages, timers and waits, in an order: each comes after what it depends on."""

    def __init__(self, nodes: Sequence[Node], outcome: Sequence[str]) -> None:
        """Index the nodes; ``outcome`` names the stages whose outputs are the run's result."""
        self._nodes: Mapping[str, Node] = {node.spec.id: node for node in nodes}
        self._roots = tuple(node.spec.id for node in nodes if not node.after)
        self._outcome = tuple(outcome)
        dependents: dict[str, list[str]] = {node.spec.id: [] for node in nodes}
        for node in nodes:
            for needed in node.after:
                dependents[needed].append(node.spec.id)
        self.ids = frozenset(self._nodes)
        self._dependents: Mapping[str, tuple[str, ...]] = {id_: tuple(ids) for id_, ids in dependents.items()}

    def begin(self, state: State, values: Values) -> Sequence[Directive]:
        """Schedule or skip what depends on nothing."""
        return self._ready(state, self._roots, values)

    def react(self, state: State, event: AnyEvent, values: Values) -> Sequence[Directive]:  # noqa: C901, PLR0911 - one case for each event
        """Schedule or skip what became ready."""
        match event:
            case StageStarted() | TimerSet():
                return ()
            case StageCompleted(stage=stage) | StageSkipped(stage=stage) | WaitMatched(wait=stage):
                return self._ready(state, self._dependents.get(stage, ()), values)
            case TimerFired(timer=stage):
                if listening := self._nodes[stage].listening:
                    return (_timed_out(stage, listening),)
                return self._ready(state, self._dependents[stage], values)
            case WaitStarted(wait=wait):
                return self._taking(state, (wait,), state.events, values)
            case EventReceived(event=event_id):
                return self._taking(state, state.active, (event_id,), values)
            case RunCreated():
                return self.begin(state, values)
            case StageFailed(stage=stage, retry_at=None):
                node = self._nodes.get(stage)
                if node and node.spec.on_failure is Strategy.PROCEED:
                    return self._ready(state, self._dependents[stage], values)
            case RunReopened():
                return self._ready(state, (id_ for id_ in self._nodes if id_ not in state.stages), values)
            case _:
                pass
        return ()

    def _ready(self, state: State, candidates: Iterable[str], values: Values) -> list[Directive]:
        ready: list[Directive] = []
        for id_ in candidates:
            node = self._nodes[id_]
            for needed in node.after:
                if not self._passed(state, needed):
                    break
            else:
                ready.append(self._enter(state, node, values))
        return ready

    def _taking(self, state: State, waits: Iterable[str], events: Iterable[str], values: Values) -> Sequence[Directive]:
        """The first of these waits that one of these events is for, if any is: it takes the first such event.

        One that cannot tell fails, and holds nobody else up.
        """
        failed: list[Directive] = []
        for wait in waits:
            node = self._nodes.get(wait)
            if node is None or node.listening is None or state.stages[wait].status is not StageStatus.WAITING:
                continue
            for event in events:
                name = state.events[event].name
                try:
                    if name in node.listening.events and node.listening.match(values, name, event):
                        return (*failed, Take(wait, event))
                except (MissingValue, KeyboardInterrupt, ProcessEnds):
                    raise
                except BaseException as error:  # noqa: BLE001 - whatever it throws fails the wait
                    failed.append(Reject(wait, describe(error, "condition", wait, 0)))
                    break
        return failed

    def _passed(self, state: State, id_: str) -> bool:
        stage = state.stages.get(id_)
        if stage is None:
            return False
        if stage.status is StageStatus.FAILED:
            return self._nodes[id_].spec.on_failure is Strategy.PROCEED
        return stage.finished

    @staticmethod
    def _enter(state: State, node: Node, values: Values) -> Directive:  # noqa: PLR0911 - one for each kind
        id_ = node.spec.id
        try:
            if node.condition is not None and not node.condition(values):
                return Skip(id_)
            if node.listening is not None:
                timeout = node.listening.timeout
                end = None if timeout is None else state.at + timeout
                if end is not None and end >= state.deadline and node.listening.proceeds:
                    return Reject(id_, ErrorRecord("limit", "BeyondDeadline", _BEYOND, id_))
                return Listen(id_, node.listening.events, end)
            if node.until is None:
                return Schedule(id_)
            until = node.until(values, state.at)
        except (MissingValue, KeyboardInterrupt, ProcessEnds):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it throws fails the stage or timer that it is about
            return Reject(id_, describe(error, "condition", id_, 0))
        if until >= state.deadline:
            return Reject(id_, ErrorRecord("limit", "BeyondDeadline", _BEYOND, id_))
        return SetTimer(id_, max(1, until))

    def settle(self, state: State, values: Values) -> Sequence[Directive]:
        """Complete when every stage is finished; otherwise fail with the first failure, undoing if it says so.

        What a failure means may have been changed by a deployment since the stage failed, without another fingerprint.
        So what has not begun though nothing stands in its way any more begins now: a run never completes without it.
        """
        failed = [
            (state.stages[id_], node.spec)
            for id_, node in self._nodes.items()
            if (stage := state.stages.get(id_))
            and stage.status is StageStatus.FAILED
            and node.spec.on_failure is not Strategy.PROCEED
        ]
        if not failed:
            return self._ready(state, (id_ for id_ in self._nodes if id_ not in state.stages), values) or (Complete(),)
        first, _ = min(failed, key=lambda pair: pair[0].seq)
        recorded = first.error or ErrorRecord("user", "Unknown", "the stage failed without an error record")
        error = replace(recorded, traceback="")  # the stage's own record keeps it
        undo = self.undo(state) if any(spec.on_failure is Strategy.COMPENSATE for _, spec in failed) else ()
        return (Compensate(undo, error),) if undo else (Fail(error),)

    def require_event(self, state: State, event: str, roles: Collection[str]) -> None:
        """Nothing is refused: what no wait has taken is kept for one that may come."""

    def available(self, state: State) -> Sequence[Available]:
        """The events that waits are for which have begun."""
        waiting = (self._nodes[id_].listening for id_ in state.active if id_ in self._nodes)
        names = (name for listening in waiting if listening is not None for name in listening.events)
        return [Available(name) for name in dict.fromkeys(names)]

    def require_rerun(self, state: State, stage: str) -> None:
        """Any stage will do, as long as what it depends on has an outcome."""

    def undo(self, state: State) -> tuple[str, ...]:
        """Completed stages that have a compensation, latest completion first."""
        done = [
            (stage.seq, id_)
            for id_, stage in state.stages.items()
            if stage.status is StageStatus.COMPLETED and id_ in self._nodes and self._nodes[id_].spec.compensated
        ]
        return tuple(id_ for _, id_ in sorted(done, reverse=True))

    def closure(self, stages: Sequence[str]) -> Sequence[str]:
        """The stages themselves and everything that depends on them, in graph order."""
        wanted: set[str] = set()
        frontier = [id_ for id_ in stages if id_ in self._nodes]
        while frontier:
            id_ = frontier.pop()
            if id_ not in wanted:
                wanted.add(id_)
                frontier.extend(self._dependents[id_])
        return [id_ for id_ in self._nodes if id_ in wanted]

    def needs(self, stage: str) -> Sequence[str]:
        """The ids of the stages that ``stage`` directly depends on."""
        return self._nodes[stage].after

    def outcome(self) -> Sequence[str]:
        """The ids of the stages whose outputs are the run's result."""
        return self._outcome


def _timed_out(wait: str, listening: Listening) -> Directive:
    if listening.proceeds:
        return Skip(wait)
    return Reject(wait, ErrorRecord("limit", "WaitTimedOut", f"no {' or '.join(listening.events)} came in time", wait))
