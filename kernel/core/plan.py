"""``plan``: what a look at a run should do next. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType

from msgspec import Struct

from kernel.core.state import Pause, StageStatus, State


class Start(Struct, frozen=True):
    """The run has only been created: begin its program."""


class Execute(Struct, frozen=True):
    """Claim this stage and run its body."""

    stage: str


class Check(Struct, frozen=True):
    """Run this suspended stage's check."""

    stage: str


class Fire(Struct, frozen=True):
    """The time has come of this timer, or of this wait's time-out."""

    timer: str


class Recover(Struct, frozen=True):
    """This stage's lease ran out: unless it showed a sign of life, settle it."""

    stage: str


class EndPause(Struct, frozen=True):
    """The run was paused until a time that has come."""


class Overdue(Struct, frozen=True):
    """The run is past its deadline."""


class Over(Struct, frozen=True):
    """The run is finished."""


class Idle(Struct, frozen=True):
    """Nothing can be done here now.

    Attributes:
        until: when the next stage needs somebody (end of lease, retry, check), a timer fires, a pause ends, or the
            deadline passes.
        quiet: no stage is ready or running, so the run may sleep until then; in a paused one, none is running.
    """

    until: int
    quiet: bool


_NONE: Mapping[str, int] = MappingProxyType({})

Step = Start | Execute | Check | Fire | Recover | EndPause | Overdue | Over | Idle


def plan(  # noqa: PLR0911 - one for each step
    state: State,
    now: int,
    skew: int,
    hint: str = "",
    *,
    others: Container[str] = (),
    leases: Mapping[str, int] = _NONE,
) -> Step:
    """What to do next.

    Args:
        state: the run.
        now: the time, in milliseconds.
        skew: how far the clocks of workers may be apart: nothing fires before ``now - skew`` has reached it.
        hint: the stage to look at first.
        others: scheduled stages that are left to the pokes that were sent for them.
        leases: leases that were extended by a sign of life, by stage.
    """
    if state.status.finished:
        return Over()
    sure = now - skew
    if sure >= state.deadline:
        return Overdue()
    if state.paused is not None:
        return _paused(state, state.paused, sure, skew, leases)
    if not state.begun:
        return Start()
    if hint in state.active and (step := _step(state, hint, sure, leases)):
        return step
    until, quiet = state.deadline, True
    for id_ in state.active:
        stage = state.stages[id_]
        if (step := _step(state, id_, sure, leases)) and not (stage.status is _SCHEDULED and id_ in others):
            return step
        if stage.status in _BUSY:
            quiet = False
        if stage.at:
            until = min(until, leases.get(id_, stage.at))
    return Idle(until + skew, quiet)


def _paused(state: State, pause: Pause, sure: int, skew: int, leases: Mapping[str, int]) -> Step:
    """What was begun is settled once its lease is over; all else waits until the pause is."""
    if pause.until is not None and sure >= pause.until:
        return EndPause()
    until, quiet = state.deadline if pause.until is None else min(state.deadline, pause.until), True
    for id_ in state.active:
        stage = state.stages[id_]
        if stage.status in _BEGUN:
            if step := _step(state, id_, sure, leases):
                return step
            until, quiet = min(until, leases.get(id_, stage.at)), False
    return Idle(until + skew, quiet)


_SCHEDULED = StageStatus.SCHEDULED
_BEGUN = frozenset({StageStatus.RUNNING, StageStatus.EXPIRED})
_BUSY = _BEGUN | {_SCHEDULED}
_TIMED = frozenset({StageStatus.SLEEPING, StageStatus.WAITING})


def _step(state: State, id_: str, sure: int, leases: Mapping[str, int]) -> Step | None:  # noqa: PLR0911 - one for each status
    stage = state.stages[id_]
    match stage.status:
        case StageStatus.SCHEDULED:
            return Execute(id_)
        case StageStatus.RETRYING if stage.at <= sure:
            return Execute(id_)
        case StageStatus.SUSPENDED if stage.at <= sure:
            return Check(id_)
        case status if status in _TIMED and 0 < stage.at <= sure:
            return Fire(_first_timer(state, sure))
        case StageStatus.EXPIRED:
            return Recover(id_)
        case StageStatus.RUNNING if leases.get(id_, stage.at) <= sure:
            return Recover(id_)
        case _:
            return None


def _first_timer(state: State, sure: int) -> str:
    """Of the timers and time-outs that are due: whatever a poke is for, they come in order, of time or else as set."""
    due = [id_ for id_ in state.active if state.stages[id_].status in _TIMED and 0 < state.stages[id_].at <= sure]
    return min(due, key=lambda id_: state.stages[id_].at)
