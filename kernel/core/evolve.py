"""``evolve``: how each event changes the state. Knows no workflow, so anything that has the log can fold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from kernel.core.events import (
    COMPENSATE,
    AnyEvent,
    Closed,
    CompensationStarted,
    EventReceived,
    LeaseExpired,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunFailed,
    RunPaused,
    RunReopened,
    RunResumed,
    Slept,
    StageChecked,
    StageCompleted,
    StageFailed,
    StageScheduled,
    StageSkipped,
    StageStarted,
    StageSuspended,
    StateEntered,
    TimerFired,
    TimerSet,
    TransitionStarted,
    TransitionTaken,
    Value,
    WaitMatched,
    WaitStarted,
)
from kernel.core.state import Kept, Pause, Place, RunStatus, StageState, StageStatus, State
from kernel.errors import CorruptLog

FOLD_VERSION = 4
"""Changes whenever the fold, the shape of ``State`` or the event format does: another version's snapshot is ignored."""


def fold(state: State, seq: int, at: int, events: Iterable[AnyEvent]) -> State:
    """Fold one commit into ``state`` (which is changed) and return it.

    Raises:
        CorruptLog: it speaks of a stage that nothing before it has.
    """
    state.seq = seq
    state.at = at
    state.asleep = None
    try:
        for event in events:
            evolve(state, event)
    except LookupError as error:
        message = f"run {state.identity.run}: commit {seq} contradicts what comes before it: {error!r}"
        raise CorruptLog(message) from error
    return state


def evolve(state: State, event: AnyEvent) -> State:
    """Fold one event of the commit ``state.seq`` into ``state`` (which is changed) and return it."""
    _FOLDS[type(event)](state, event)
    return state


def _put(state: State, stage: str, new: StageState) -> None:
    state.stages[stage] = new
    if new.finished:
        state.active.pop(stage, None)
    else:
        state.active[stage] = None


def _external(value: Value) -> Value | None:
    return value if value.data or value.blob else None


def _created(state: State, event: RunCreated) -> None:
    state.input = event.input
    state.config = event.config
    state.undo_on_cancel = event.undo_on_cancel
    _milestone(state)


def _milestone(state: State) -> None:
    if state.seq not in state.milestones[-1:]:
        state.milestones = (*state.milestones, state.seq)


def _finish(state: State, status: RunStatus, compensation: str) -> None:
    state.status = status
    state.compensation = compensation
    state.undo = ()
    state.paused = None
    state.active.clear()
    _milestone(state)


def _completed(state: State, _event: RunCompleted) -> None:
    _finish(state, RunStatus.COMPLETED, "")


def _failed(state: State, event: RunFailed) -> None:
    state.error = event.error
    _finish(state, RunStatus.FAILED, event.compensation)


def _cancelled(state: State, event: RunCancelled) -> None:
    state.reason = event.reason
    _finish(state, RunStatus.CANCELLED, event.compensation)


def _compensation_started(state: State, event: CompensationStarted) -> None:
    state.status = RunStatus.COMPENSATING
    state.undo = event.stages
    state.error = event.error
    state.cancelling = event.cancelled is not None
    state.reason = event.cancelled or ""
    state.compensation = "complete"
    if state.cancelling:
        state.paused = None  # who cancels wants it undone now
    # What runs just now, when the run is cancelled, is waited for; everything else is dropped.
    state.active = {id_: None for id_ in state.active if state.stages[id_].status in _BEGUN}


_BEGUN = frozenset({StageStatus.RUNNING, StageStatus.EXPIRED})


def _reopened(state: State, event: RunReopened) -> None:
    state.status = RunStatus.RUNNING
    state.generation += 1
    state.deadline = event.deadline
    state.error = None
    state.reason = ""
    state.cancelling = False
    state.compensation = ""
    done = [stage for stage in event.reset if state.stages[stage].status is StageStatus.COMPLETED]
    state.redone = state.redone | {stage: state.redone.get(stage, 0) + 1 for stage in done}
    for stage in event.reset:
        del state.stages[stage]
    _milestone(state)


def _paused(state: State, event: RunPaused) -> None:
    state.paused = Pause(state.at, event.until, event.reason)
    _milestone(state)


def _resumed(state: State, _event: RunResumed) -> None:
    if state.paused is not None:
        # What suspended stages and waits wait for, nobody has heard meanwhile: their limits do not count that time.
        lasted = state.at - state.paused.since
        for id_ in state.active:
            state.stages[id_] = _moved(state.stages[id_], lasted)
    state.paused = None
    _milestone(state)


def _moved(stage: StageState, by: int) -> StageState:
    """The stage with a limit that is so much later."""
    match stage.status:
        case StageStatus.SUSPENDED:
            limit = stage.give_up_at + by
            return replace(stage, at=limit if stage.at == stage.give_up_at else stage.at, give_up_at=limit)
        case StageStatus.WAITING if stage.at:
            return replace(stage, at=stage.at + by)
        case _:
            return stage


def _begun(state: State, stage: StageState) -> StageState:
    """The stage, as it is to be kept: of a pause in which it begins to wait, only the rest does not count."""
    return stage if state.paused is None else _moved(stage, state.paused.since - state.at)


def _scheduled(state: State, event: StageScheduled) -> None:
    _put(state, event.stage, StageState(StageStatus.SCHEDULED, seq=state.seq))


def _skipped(state: State, event: StageSkipped) -> None:
    _put(state, event.stage, StageState(StageStatus.SKIPPED, seq=state.seq))


def _started(state: State, event: StageStarted) -> None:
    _put(
        state,
        event.stage,
        StageState(StageStatus.RUNNING, attempt=event.attempt, seq=state.seq, at=event.lease),
    )


def _stage_completed(state: State, event: StageCompleted) -> None:
    new = StageState(StageStatus.COMPLETED, event.attempt, state.seq, external=_external(event.output))
    _put(state, event.stage, new)
    _undone(state, event.stage)


def _undone(state: State, stage: str) -> None:
    """A compensation is over, one way or the other: the next one may start."""
    if state.undo and stage.partition(":")[2] == state.undo[0]:
        state.undo = state.undo[1:]


def _stage_failed(state: State, event: StageFailed) -> None:
    status = StageStatus.FAILED if event.retry_at is None else StageStatus.RETRYING
    new = StageState(status, event.attempt, state.seq, event.retry_at or 0, error=event.error)
    _put(state, event.stage, new)
    if event.retry_at is None and event.stage.startswith(COMPENSATE):
        state.compensation = "incomplete"
        _undone(state, event.stage)


def _suspended(state: State, event: StageSuspended) -> None:
    kept = event.state
    new = StageState(
        StageStatus.SUSPENDED,
        event.attempt,
        state.stages[event.stage].seq if kept is None else state.seq,
        at=event.check_at,
        give_up_at=event.give_up_at,
        external=None if kept is None else _external(kept),
    )
    _put(state, event.stage, _begun(state, new))


def _checked(state: State, event: StageChecked) -> None:
    old = state.stages[event.stage]
    new = replace(
        old,
        at=event.check_at,
        check_errors=0 if event.error is None else old.check_errors + 1,
        error=event.error,
        progress=old.progress if event.progress is None else event.progress,
    )
    _put(state, event.stage, new)


def _timer_set(state: State, event: TimerSet) -> None:
    _put(state, event.timer, StageState(StageStatus.SLEEPING, seq=state.seq, at=event.at))


def _timer_fired(state: State, event: TimerFired) -> None:
    found = state.stages[event.timer]
    if found.status is StageStatus.WAITING:  # what that means for the wait, the program says in the same commit
        _put(state, event.timer, replace(found, at=0))
        return
    _put(state, event.timer, StageState(StageStatus.COMPLETED, seq=state.seq))


def _wait_started(state: State, event: WaitStarted) -> None:
    _put(state, event.wait, _begun(state, StageState(StageStatus.WAITING, seq=state.seq, at=event.until or 0)))


def _event_received(state: State, event: EventReceived) -> None:
    state.events[event.event] = Kept(event.name, state.seq, _external(event.payload), event.roles)


def _wait_matched(state: State, event: WaitMatched) -> None:
    taken = state.events.pop(event.event)
    _put(state, event.wait, StageState(StageStatus.COMPLETED, seq=taken.seq, external=taken.external))


def _state_entered(state: State, event: StateEntered) -> None:
    _forget(state)
    taken = 0 if state.place is None else state.place.taken + (not state.place.transition)
    state.place = _moved_on(state, event, Place(event.state, state.at, state.seq, taken))


def _transition_started(state: State, event: TransitionStarted) -> None:
    _forget(state)
    old = _place(state)
    new = replace(old, taken=old.taken + 1, transition=event.transition)
    state.place = _moved_on(state, event, new)


def _transition_taken(state: State, event: TransitionTaken) -> None:
    old = _place(state)
    state.place = _moved_on(state, event, replace(old, taken=old.taken + 1))


def _place(state: State) -> Place:
    if state.place is None:
        message = "a transition of a machine that has not begun"
        raise LookupError(message)
    return state.place


def _moved_on(state: State, event: StateEntered | TransitionStarted | TransitionTaken, new: Place) -> Place:
    """The place, with the data that the event gives or leaves; the external event is nobody else's any more."""
    if event.event:
        del state.events[event.event]
    return replace(new, seq=_place(state).seq if event.data is None else state.seq)


def _forget(state: State) -> None:
    """A machine moves on: what was under way where it was is stale, and should it come again, it is done anew."""
    if state.stages:
        state.redone = state.redone | {stage: state.redone.get(stage, 0) + 1 for stage in state.stages}
    state.stages.clear()
    state.active.clear()


def _lease_expired(state: State, event: LeaseExpired) -> None:
    _put(state, event.stage, replace(state.stages[event.stage], status=StageStatus.EXPIRED, at=0))


def _slept(state: State, event: Slept) -> None:
    state.asleep = event.until


def _closed(state: State, _event: Closed) -> None:
    """Nothing: the commit's number is what counts."""


_FOLDS: dict[type[Any], Callable[[State, Any], None]] = {
    RunCreated: _created,
    RunCompleted: _completed,
    RunFailed: _failed,
    RunCancelled: _cancelled,
    CompensationStarted: _compensation_started,
    RunReopened: _reopened,
    RunPaused: _paused,
    RunResumed: _resumed,
    StageScheduled: _scheduled,
    StageSkipped: _skipped,
    StageStarted: _started,
    StageCompleted: _stage_completed,
    StageFailed: _stage_failed,
    StageSuspended: _suspended,
    StageChecked: _checked,
    TimerSet: _timer_set,
    TimerFired: _timer_fired,
    WaitStarted: _wait_started,
    EventReceived: _event_received,
    WaitMatched: _wait_matched,
    StateEntered: _state_entered,
    TransitionStarted: _transition_started,
    TransitionTaken: _transition_taken,
    LeaseExpired: _lease_expired,
    Slept: _slept,
    Closed: _closed,
}
