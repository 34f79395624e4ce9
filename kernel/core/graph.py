"""The graph program: stages that run once everything they depend on is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kernel.core.definition import MissingValue, StageSpec, Strategy, Values
from kernel.core.directives import Compensate, Complete, Directive, Fail, Reject, Schedule, Skip, Wait
from kernel.core.events import (
    AnyEvent,
    ErrorRecord,
    RunCreated,
    RunReopened,
    StageCompleted,
    StageFailed,
    StageSkipped,
    StageStarted,
    TimerFired,
    TimerSet,
)
from kernel.core.failures import describe
from kernel.core.state import StageStatus, State
from kernel.errors import ProcessEnds

_BEYOND = "it would fire after the deadline of the run, which fails then: give the workflow a longer deadline"


class Node(Struct, frozen=True):
    """The place in the graph of a stage, or of a timer.

    Attributes:
        spec: the stage; of a timer, its id and what it means that it could not be set.
        after: ids of what it waits for.
        condition: says from recorded values whether it runs at all; pure user code, so it may throw.
        until: makes it a timer: says from recorded values and the time when it fires; may be user code, too.
    """

    spec: StageSpec
    after: tuple[str, ...]
    condition: Callable[[Values], bool] | None = None
    until: Callable[[Values, int], int] | None = None


class Graph:
    """A directed acyclic graph of stages and timers, in an order in which each comes after what it depends on."""

    def __init__(self, nodes: Sequence[Node], outcome: Sequence[str]) -> None:
        """Index the nodes; ``outcome`` names the stages whose outputs are the run's result."""
        self._nodes: Mapping[str, Node] = {node.spec.id: node for node in nodes}
        self._roots = tuple(node.spec.id for node in nodes if not node.after)
        self._outcome = tuple(outcome)
        dependents: dict[str, list[str]] = {node.spec.id: [] for node in nodes}
        for node in nodes:
            for needed in node.after:
                dependents[needed].append(node.spec.id)
        self._dependents: Mapping[str, tuple[str, ...]] = {id_: tuple(ids) for id_, ids in dependents.items()}

    def react(self, state: State, event: AnyEvent, values: Values) -> Sequence[Directive]:
        """Schedule or skip what became ready."""
        match event:
            case StageStarted() | TimerSet():
                return ()
            case StageCompleted(stage=stage) | StageSkipped(stage=stage) | TimerFired(timer=stage):
                return self._ready(state, self._dependents.get(stage, ()), values)
            case RunCreated():
                return self._ready(state, self._roots, values)
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

    def _passed(self, state: State, id_: str) -> bool:
        stage = state.stages.get(id_)
        if stage is None:
            return False
        if stage.status is StageStatus.FAILED:
            return self._nodes[id_].spec.on_failure is Strategy.PROCEED
        return stage.finished

    @staticmethod
    def _enter(state: State, node: Node, values: Values) -> Directive:
        id_ = node.spec.id
        try:
            if node.condition is not None and not node.condition(values):
                return Skip(id_)
            if node.until is None:
                return Schedule(id_)
            until = node.until(values, state.at)
        except (MissingValue, KeyboardInterrupt, ProcessEnds):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it throws fails the stage or timer that it is about
            return Reject(id_, describe(error, "condition", id_, 0))
        if until >= state.deadline:
            return Reject(id_, ErrorRecord("limit", "BeyondDeadline", _BEYOND, id_))
        return Wait(id_, max(1, until))

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
