"""Leaving a run in order: pokes for what comes next, sleep for long waits, the outbox, the head of a finished run.

Shared by workers and ticks; knows no user code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kernel.core import commands as c
from kernel.core.decide import Stale
from kernel.core.plan import Idle, plan
from kernel.core.state import StageStatus
from kernel.ports import MAX_DELAY, Poke
from kernel.shell import heads
from kernel.shell.commit import commit
from kernel.shell.environment import NAP, Environment
from kernel.shell.load import Session, sign_of_life
from kernel.shell.outbox import Flush, flush


def send(env: Environment, pokes: Sequence[tuple[Poke, int]]) -> None:
    """Send pokes, each to arrive at its time in milliseconds (0: at once), or as late as a message can be delayed."""
    now = env.clock.now()
    env.queue.send([(poke, delay_of(at, now)) for poke, at in pokes])


def delay_of(at: int, now: int) -> int:
    """Seconds from ``now`` until ``at``, rounded up, so that a poke is not early; at most what a message can wait."""
    return min(MAX_DELAY, max(0, -((now - at) // 1000)))


def lease_of(env: Environment, session: Session, stage: str) -> int:
    """Until when an attempt may run: what its claim said, or what its worker's last sign of life made of it."""
    at = session.state.stages[stage].at
    live = sign_of_life(env, session, stage)
    return max(at, live.until) if live else at


def leave(
    env: Environment,
    session: Session,
    *,
    by: str,
    timers: Mapping[str, int],
    met: int | None,
    until: float | None,
) -> Flush:
    """See to it that somebody looks at the run when it needs it, and that it is published and finalised.

    Args:
        env: the ports.
        session: the run.
        by: who leaves, for the log.
        timers: retries and checks that this look has set, by stage, in milliseconds.
        met: end of the lease of somebody else whom this look met.
        until: monotonic time in seconds by which to be done.
    """
    if not session.state.status.finished and session.state.asleep is None:
        rest(env, session, by=by, until=until)
    pokes = _pokes(env, session, timers, met)
    if pokes:
        send(env, pokes)
    flushed = flush(env, session)
    if session.state.status.finished and flushed.clean and not heads.is_final(session):
        heads.finalise(env, session)
    return flushed


def _pokes(env: Environment, session: Session, timers: Mapping[str, int], met: int | None) -> list[tuple[Poke, int]]:
    state, skew = session.state, env.limits.max_skew
    if state.status.finished or state.asleep is not None:
        return []
    ref = session.ref
    times = [
        (stage, at + skew)
        for stage, at in timers.items()
        if stage in state.active
        and state.stages[stage].at == at
        and state.stages[stage].status in (StageStatus.RETRYING, StageStatus.SUSPENDED)
    ]
    if met is not None:
        times.append(("", met + skew))
    return [(Poke(ref.tenant, ref.run, stage, at), at) for stage, at in times]


def rest(env: Environment, session: Session, *, by: str, until: float | None = None) -> bool:
    """Put the run to sleep if nobody needs to look at it for long. False if it stays awake."""
    idle = plan(session.state, env.clock.now(), env.limits.max_skew)
    if not isinstance(idle, Idle) or not idle.quiet or idle.until - env.clock.now() <= NAP:
        return False
    try:
        commit(env, session, None, c.Sleep(idle.until, env.limits.max_skew), by=by, until=until)
    except Stale:
        return False
    return heads.sleep(env, session, idle.until)
