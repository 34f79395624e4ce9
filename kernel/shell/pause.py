"""Pausing a run and letting it go on: ordinary commits that keep trying, as a cancel does, and need no workflow."""

from __future__ import annotations

from datetime import UTC, datetime

from kernel.core import commands as c
from kernel.core.draft import Stale
from kernel.core.plan import EndPause, plan
from kernel.core.state import StageStatus
from kernel.errors import InvalidInput, OnewriteError
from kernel.limits import check_reason
from kernel.ports import RunRef
from kernel.shell.cancel import PATIENCE
from kernel.shell.commit import commit
from kernel.shell.environment import NAP, Environment
from kernel.shell.leave import WAITS, leave, pause_ends, send
from kernel.shell.load import Session
from kernel.shell.logs import log
from kernel.shell.read import find


def pause(env: Environment, ref: RunRef, *, by: str, reason: str = "", until: int | None = None) -> None:
    """Let nothing more of a run start: no stage, no check, no timer. What runs just now may end, and is recorded.

    Args:
        env: the ports.
        ref: which run.
        by: who pauses.
        reason: why, for the log.
        until: time in milliseconds at which it goes on by itself; if absent, it does not before it is resumed.

    Raises:
        NotFound: there is no such run.
        Conflict: it is paused already, or over, or being compensated.
        InvalidInput: the reason is too long, or ``until`` has passed, or is not before the run's deadline.
    """
    check_reason(reason)
    session = find(env, ref)
    if until is not None:
        _check_until(env, session, until)
    end = env.clock.monotonic() + PATIENCE
    commit(env, session, None, c.Pause(reason, until), by=by, until=end)
    _leave(env, session, by, end)


def resume(env: Environment, ref: RunRef, *, by: str, reason: str = "") -> None:
    """Let a paused run go on where it was.

    Args:
        env: the ports.
        ref: which run.
        by: who resumes.
        reason: why, for the log.

    Raises:
        NotFound: there is no such run.
        Conflict: it is not paused.
        InvalidInput: the reason is too long.
    """
    check_reason(reason)
    session = find(env, ref)
    end = env.clock.monotonic() + PATIENCE
    commit(env, session, None, c.Resume(reason), by=by, until=end)
    _poke(env, session)
    _leave(env, session, by, end)


def resume_if_due(env: Environment, session: Session, *, by: str, until: float) -> bool:
    """Let a run go on whose pause was to end by now. Whether it did."""
    paused = session.state.paused
    due = isinstance(plan(session.state, env.clock.now(), env.limits.max_skew), EndPause)
    if not due or paused is None or paused.until is None:
        return False
    try:
        commit(env, session, None, c.EndPause(paused.until), by=by, until=until)
    except Stale:
        return False
    _poke(env, session)
    return True


def _check_until(env: Environment, session: Session, until: int) -> None:
    deadline = session.state.deadline
    if until <= env.clock.now():
        problem = f"give a time that is still to come, not {_iso(until)}"
    elif until >= deadline:
        problem = f"give a time before the run's deadline, {_iso(deadline)}: it fails then, paused or not"
    else:
        return
    message = f"run {session.ref.run} cannot be paused until then"
    raise InvalidInput(message, (("until", problem),))


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _poke(env: Environment, session: Session) -> None:
    """Poke for all that became ready while the run was paused, and for what soon will be."""
    state, skew = session.state, env.limits.max_skew
    soon = env.clock.now() + NAP + skew
    pokes = [] if state.begun else [(session.poke(), 0)]
    for id_ in state.active:
        stage = state.stages[id_]
        if stage.status in (StageStatus.SCHEDULED, StageStatus.EXPIRED):
            pokes.append((session.poke(id_), 0))
        elif stage.status in WAITS and 0 < stage.at <= soon:
            at = stage.at + skew
            pokes.append((session.poke(id_, at), at))
    if pokes:
        send(env, pokes)


def _leave(env: Environment, session: Session, by: str, until: float) -> None:
    """It is in the log: whatever goes wrong now is left to the tick."""
    try:
        leave(env, session, by=by, timers={}, met=pause_ends(env, session), until=until)
    except OnewriteError as error:
        log.warning("paused or resumed, left to the tick", extra={"run": session.ref.run, "error": str(error)})
