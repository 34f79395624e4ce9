"""``decide``: which events follow from a command, given the state. Pure; every change of a run passes through here.

A command that the present state does not allow is either stale (``Stale``: an attempt or look that is no longer
current, to be dropped) or refused (``Conflict``, ``Gone``, ``NotFound``: somebody asked for what cannot be).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kernel.core import commands as c
from kernel.core.definition import CallbackPolicy, Definition, Recall, StageSpec, Strategy
from kernel.core.draft import Draft, Stale
from kernel.core.events import (
    COMPENSATE,
    AnyEvent,
    Closed,
    CompensationStarted,
    ErrorRecord,
    EventReceived,
    LeaseExpired,
    RunCancelled,
    RunCreated,
    RunFailed,
    RunPaused,
    RunReopened,
    RunResumed,
    Slept,
    StageChecked,
    StageCompleted,
    StageFailed,
    StageSuspended,
    TimerFired,
)
from kernel.core.plan import Idle, plan
from kernel.core.state import RunStatus, StageState, StageStatus, State
from kernel.errors import Conflict, Gone, NotFound

KEPT = 100
"""Events that a run keeps for waits that have not begun; further ones are refused."""
AFTERWARDS = 3_600_000
"""Milliseconds of a run's retention that must be left after a new deadline, so that the run is failed by it in time."""


class Decision(Struct, frozen=True):
    """The events of one commit, and the state once they are folded.

    Attributes:
        events: in order.
        state: once they are folded.
        data: a machine's new data, as JSON text, if it has changed.
    """

    events: Sequence[AnyEvent]
    state: State
    data: bytes | None = None


def decide(definition: Definition | None, state: State, command: c.Command, now: int, recall: Recall) -> Decision:
    """Which events follow from ``command``. ``state`` is not changed.

    Args:
        definition: the run's workflow; commands that only time or people give do without.
        state: the run as of its last commit.
        command: what is asked.
        now: the time, in milliseconds.
        recall: gives recorded outputs, for the conditions of stages.

    Raises:
        Stale: what the command speaks of is no longer current.
        Conflict: the state of the run does not allow it.
        Gone: a callback's answer comes after its limit.
        Forbidden: whoever sent an event has none of the roles that it takes.
        Later: an event is to be applied once the run is further on.
        NotFound: it names a stage that the workflow does not have.
        MissingValue: an outcome is needed that is not at hand.
    """
    draft = Draft(definition, state, now, recall)
    _DECISIONS[type(command)](draft, command)
    return Decision(draft.events, draft.state, draft.data)


def _begin(draft: Draft, command: c.Begin) -> None:
    if draft.state.begun or draft.state.status.finished:
        message = "the run has begun already"
        raise Stale(message)
    draft.going_on()
    assert draft.definition is not None  # noqa: S101 - only a worker that has the definition begins a run
    assert draft.state.input is not None  # noqa: S101 - commit 0 recorded it
    # Commit 0 is folded already: this commit is what follows from it.
    created = RunCreated(draft.state.input, draft.state.config)
    draft.emit(*map(draft.event_of, draft.definition.program.react(draft.state, created, draft.values)))
    draft.chain(command.chain)


def _claim(draft: Draft, command: c.Claim) -> None:
    draft.going_on()
    draft.current(command.stage, command.seq, StageStatus.SCHEDULED, StageStatus.RETRYING)
    draft.emit(draft.start(command.stage, command.grace, command.callback))


def _complete(draft: Draft, command: c.Complete) -> None:
    if stage := draft.running(command.stage, command.seq):
        draft.emit(StageCompleted(command.stage, stage.attempt, command.output))
    draft.chain(command.chain)


def _fail(draft: Draft, command: c.Fail) -> None:
    if stage := draft.running(command.stage, command.seq):
        draft.fail(command.stage, stage.attempt, command.error, command.roll, retryable=command.retryable)
    draft.chain(command.chain)


def _suspend(draft: Draft, command: c.Suspend) -> None:
    stage = draft.running(command.stage, command.seq)
    if stage is None:
        return
    spec = draft.spec(command.stage)
    if command.state is None:
        give_up_at = draft.now + _callback(spec).limit
        check_at = _heard_by(spec, draft.now, give_up_at)
    else:
        assert spec.poll is not None  # noqa: S101 - only a stage with a check can return Suspend
        give_up_at = draft.now + spec.poll.limit
        check_at = min(draft.now + spec.poll.every, give_up_at)
    draft.emit(StageSuspended(command.stage, stage.attempt, command.state, check_at, give_up_at))


def _callback(spec: StageSpec) -> CallbackPolicy:
    assert spec.callback is not None  # noqa: S101 - only such a stage has tokens, and can return AwaitCallback
    return spec.callback


def _heard_by(spec: StageSpec, now: int, give_up_at: int) -> int:
    """When whoever is to answer must have been heard of next."""
    heartbeat = _callback(spec).heartbeat
    return give_up_at if heartbeat is None else min(now + heartbeat, give_up_at)


def _ready(draft: Draft, command: c.Ready) -> None:
    stage = _checked(draft, command)
    draft.emit(StageCompleted(command.stage, stage.attempt, command.output))
    draft.chain(command.chain)


def _not_ready(draft: Draft, command: c.NotReady) -> None:
    stage = _checked(draft, command)
    poll = draft.spec(command.stage).poll
    assert poll is not None  # noqa: S101 - only a stage with a check is suspended
    problem = None
    if command.error is not None and command.hopeless:
        draft.emit(StageFailed(command.stage, stage.attempt, command.error))
        draft.chain(command.chain)
        return
    if command.error is not None and stage.check_errors + 1 >= poll.errors:
        problem = f"its check threw {poll.errors} times in a row, last {command.error.kind}: {command.error.message}"
    elif draft.now >= stage.give_up_at:
        problem = f"not ready within {timedelta(milliseconds=poll.limit)}"
    if problem is not None:
        error = ErrorRecord("limit", "WaitLimitReached", problem, command.stage, stage.attempt)
        draft.emit(StageFailed(command.stage, stage.attempt, error))
        draft.chain(command.chain)
        return
    check_at = min(draft.now + poll.every, stage.give_up_at)
    draft.emit(StageChecked(command.stage, check_at, command.progress, command.error))


def _checked(draft: Draft, command: c.Ready | c.NotReady) -> StageState:
    """Checks run without a claim, maybe twice at once: the first to commit wins, the other is stale."""
    draft.going_on()
    stage = draft.current(command.stage, command.seq, StageStatus.SUSPENDED)
    if stage.at != command.check_at:
        message = f"{command.stage}: somebody else made this check"
        raise Stale(message)
    return stage


def _receive(draft: Draft, command: c.Receive) -> None:
    state = draft.state
    if state.status is not RunStatus.RUNNING:
        message = f"run {state.identity.run} is {state.status}: it takes no events any more"
        raise Conflict(message)
    definition = draft.definition
    assert definition is not None  # noqa: S101 - only a worker that has the definition applies an event
    definition.program.require_event(state, command.name, command.roles)
    who = (command.by, command.roles) if definition.selective else ("", ())
    draft.emit(EventReceived(command.event, command.name, command.payload, *who))
    if definition.selective:
        _require_taken(state, command)
    if len(state.events) > KEPT:
        message = f"run {state.identity.run} keeps {KEPT} events already that nothing has waited for so far"
        raise Conflict(message)
    draft.chain(command.chain)


def _require_taken(state: State, command: c.Receive) -> None:
    """A run that takes events at once has taken it, and has not failed of what came of that: it is to stay as it was.

    Raises:
        Conflict: it is not so.
    """
    refused = f"event {command.name} is refused"
    if state.status is RunStatus.FAILED and state.error is not None and state.error.category in _OF_EVENTS:
        error = state.error
        why = f"{error.stage} threw {error.kind}: {error.message}" if error.category == "condition" else error.message
        message = f"{refused}: {why}"
        raise Conflict(message)
    if command.event in state.events:
        message = f"{refused}: none of the conditions hold on which it would be taken"
        raise Conflict(message)


_OF_EVENTS = ("condition", "limit")
"""Categories of errors that an event may bring about in the very commit that takes it."""


def _awaited(draft: Draft, command: c.Answer | c.Decline | c.Beat) -> StageState:
    """The stage, if the attempt whose token was used is the one that it is about, and its limit has not passed.

    The attempt may still be running: whoever was given its token may be faster than its body. What they say counts all
    the same, so that no answer has to come twice, and what the body says then comes too late.
    """
    found = draft.current(command.stage, command.seq, StageStatus.RUNNING, StageStatus.SUSPENDED)
    if draft.cut_off(command.stage):
        message = f"{command.stage}: the run is being undone"
        raise Stale(message)
    paused = draft.state.paused is not None  # which is not counted against its limit
    if found.status is StageStatus.SUSPENDED and draft.now >= found.give_up_at and not paused:
        message = f"the time to answer {command.stage} is over"
        raise Gone(message)
    return found


def _answer(draft: Draft, command: c.Answer) -> None:
    stage = _awaited(draft, command)
    draft.emit(StageCompleted(command.stage, stage.attempt, command.output, command.answer))


def _decline(draft: Draft, command: c.Decline) -> None:
    stage, error = _awaited(draft, command), command.error
    error = replace(error, attempt=stage.attempt)
    draft.fail(command.stage, stage.attempt, error, command.roll, retryable=command.retryable, answer=command.answer)


def _beat(draft: Draft, command: c.Beat) -> None:
    stage = _awaited(draft, command)
    if stage.status is StageStatus.RUNNING:
        message = f"{command.stage} runs still: its lease is its attempt's to extend"
        raise Stale(message)
    check_at = _heard_by(draft.spec(command.stage), draft.now, stage.give_up_at)
    draft.emit(StageChecked(command.stage, check_at, command.progress))


def _unanswered(draft: Draft, command: c.Unanswered) -> None:
    """Too late for good, or silent for so long that another attempt may do better."""
    draft.going_on()
    stage = draft.current(command.stage, command.seq, StageStatus.SUSPENDED)
    if stage.at != command.at:
        message = f"{command.stage}: there was a heartbeat meanwhile"
        raise Stale(message)
    late = draft.now >= stage.give_up_at
    policy = _callback(draft.spec(command.stage))
    kind = "WaitLimitReached" if late else "HeartbeatMissed"
    what = f"not answered within {timedelta(milliseconds=policy.limit)}" if late else "no heartbeat in time"
    error = ErrorRecord("limit", kind, what, command.stage, stage.attempt)
    draft.fail(command.stage, stage.attempt, error, command.roll, retryable=not late)
    draft.chain(command.chain)


def _fire(draft: Draft, command: c.Fire) -> None:
    draft.going_on()
    draft.current(command.timer, command.seq, StageStatus.SLEEPING, StageStatus.WAITING)
    draft.emit(TimerFired(command.timer))
    draft.chain(command.chain)


def _reap(draft: Draft, command: c.Reap) -> None:
    stage = draft.current(command.stage, command.seq, StageStatus.RUNNING)
    draft.emit(LeaseExpired(command.stage, stage.attempt))


def _settle(draft: Draft, command: c.Settle) -> None:
    stage = draft.current(command.stage, command.seq, StageStatus.RUNNING, StageStatus.EXPIRED)
    if stage.status is StageStatus.RUNNING:
        draft.emit(LeaseExpired(command.stage, stage.attempt))
    text = "its worker died, froze or was cut off: nothing was committed within the lease"
    error = ErrorRecord("lease", "LeaseLost", text, command.stage, stage.attempt)
    draft.fail(command.stage, stage.attempt, error, command.roll, retryable=True)
    draft.chain(command.chain)


def _expire(draft: Draft, command: c.Expire) -> None:
    if draft.state.status.finished or draft.state.deadline != command.deadline:
        message = "the run is over, or has a new deadline"
        raise Stale(message)
    compensation = "incomplete" if draft.state.status is RunStatus.COMPENSATING else ""
    text = "the run did not end before its deadline"
    draft.emit(RunFailed(ErrorRecord("deadline", "DeadlineExceeded", text), compensation))


def _cancel(draft: Draft, command: c.Cancel) -> None:
    state = draft.state
    if state.status.finished or state.status is RunStatus.COMPENSATING:
        message = f"run {state.identity.run} is {_standing(state)} and cannot be cancelled"
        raise Conflict(message)
    if state.undo_on_cancel and any(stage.status is StageStatus.COMPLETED for stage in state.stages.values()):
        definition, identity = draft.definition, state.identity
        if definition is None:
            message = (
                f"run {identity.run} is undone when it is cancelled, which takes {identity.workflow} version "
                f"{identity.version}, and this deployment does not have it: cancel it from one that has"
            )
            raise Conflict(message)
        undo = definition.program.undo(state)
        if undo:
            draft.emit(CompensationStarted(undo, cancelled=command.reason))
            return
    draft.emit(RunCancelled(command.reason))


def _reopen(draft: Draft, command: c.Reopen) -> None:
    state, definition = draft.state, draft.definition
    assert definition is not None  # noqa: S101 - reopening asks for the definition first
    run = state.identity.run
    if not state.status.finished:
        status = "paused" if state.paused is not None else state.status
        message = f"run {run} is {status}: only a finished run can be run again: wait until it is over"
        raise Conflict(message)
    if not command.stage and state.status is not RunStatus.FAILED:
        message = f"run {run} is {state.status}: only a failed run can be retried; rerun it from a named stage"
        raise Conflict(message)
    if command.deadline + AFTERWARDS > state.identity.expires:
        message = f"run {run} expires before a new deadline could pass; start a new run instead"
        raise Conflict(message)
    undone = {id_.removeprefix(COMPENSATE) for id_ in state.stages if id_.startswith(COMPENSATE)}
    if command.stage:
        _check_rerun(draft, definition, command.stage, undone)
    unfinished = [id_ for id_, stage in state.stages.items() if not stage.finished]
    failed = [
        id_
        for id_, stage in state.stages.items()
        if stage.status is StageStatus.FAILED and definition.stages[id_].on_failure is not Strategy.PROCEED
    ]
    for id_ in unfinished:
        if definition.stages[id_].at_most_once and state.stages[id_].at > draft.now:
            message = f"{id_} of run {run} may run still, and is to run once at most: wait until its lease is over"
            raise Conflict(message)
    wanted = [*unfinished, *failed, *undone, *([command.stage] if command.stage else [])]
    again = set(definition.program.closure(wanted))
    reset = tuple(id_ for id_ in state.stages if id_ in again or id_.startswith(COMPENSATE))
    draft.emit(RunReopened(reset, command.deadline, command.reason))


def _check_rerun(draft: Draft, definition: Definition, stage: str, undone: set[str]) -> None:
    """The named stage exists, and everything that it depends on has an outcome that still stands."""
    if stage not in definition.stages or stage.startswith(COMPENSATE):
        known = ", ".join(id_ for id_ in definition.stages if not id_.startswith(COMPENSATE))
        message = f"workflow {definition.id} has no stage {stage!r}; it has {known}"
        raise NotFound(message)
    definition.program.require_rerun(draft.state, stage)
    for needed in definition.program.needs(stage):
        outcome = draft.state.stages.get(needed)
        failed = outcome is not None and outcome.status is StageStatus.FAILED
        allowed = not failed or definition.stages[needed].on_failure is Strategy.PROCEED
        if outcome is None or not outcome.finished or not allowed or needed in undone:
            message = f"cannot run again from {stage!r}: {needed!r}, which it depends on, has no output; start there"
            raise Conflict(message)


def _pause(draft: Draft, command: c.Pause) -> None:
    state = draft.state
    if state.status is not RunStatus.RUNNING or state.paused is not None:
        what = "paused already" if state.paused is not None else _standing(state)
        message = f"run {state.identity.run} is {what} and cannot be paused"
        raise Conflict(message)
    draft.note(RunPaused(command.reason, command.until))


def _standing(state: State) -> str:
    """How a run stands that is not running, in words."""
    return "being compensated" if state.status is RunStatus.COMPENSATING else f"{state.status} already"


def _resume(draft: Draft, command: c.Resume) -> None:
    state = draft.state
    if state.paused is None:
        message = f"run {state.identity.run} is {state.status} and not paused: there is nothing to resume"
        raise Conflict(message)
    draft.note(RunResumed(command.reason))


def _end_pause(draft: Draft, command: c.EndPause) -> None:
    """Nobody asked for it, so it must be about the very pause that was seen to be over."""
    paused = draft.state.paused
    if paused is None or paused.until != command.until:
        message = "the run is not paused any more, or until another time"
        raise Stale(message)
    draft.note(RunResumed("the time for which it was paused is over"))


def _sleep(draft: Draft, command: c.Sleep) -> None:
    idle = plan(draft.state, draft.now, command.skew)
    if not isinstance(idle, Idle) or not idle.quiet or idle.until < command.until:
        message = "somebody needs to look at the run before that"
        raise Stale(message)
    draft.note(Slept(command.until))


def _close(draft: Draft, _command: c.Close) -> None:
    if not draft.state.status.finished:
        message = "the run goes on"
        raise Stale(message)
    draft.emit(Closed())


_DECISIONS: dict[type[Any], Callable[[Draft, Any], None]] = {
    c.Begin: _begin,
    c.Claim: _claim,
    c.Complete: _complete,
    c.Fail: _fail,
    c.Suspend: _suspend,
    c.Ready: _ready,
    c.NotReady: _not_ready,
    c.Receive: _receive,
    c.Answer: _answer,
    c.Decline: _decline,
    c.Beat: _beat,
    c.Unanswered: _unanswered,
    c.Fire: _fire,
    c.Reap: _reap,
    c.Settle: _settle,
    c.Expire: _expire,
    c.Cancel: _cancel,
    c.Reopen: _reopen,
    c.Pause: _pause,
    c.Resume: _resume,
    c.EndPause: _end_pause,
    c.Sleep: _sleep,
    c.Close: _close,
}
