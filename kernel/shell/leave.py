"""Leaving a run in order: pokes for what comes next, sleep for long waits, the outbox, the head of a finished run.

Shared by workers and ticks; knows no user code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kernel.core import commands as c
from kernel.core.draft import Stale
from kernel.core.events import AnyEvent, StageChecked, StageFailed, StageSuspended, TimerSet, WaitStarted
from kernel.core.plan import Idle, plan
from kernel.core.state import StageStatus
from kernel.errors import InfrastructureError
from kernel.ports import MAX_DELAY, Poke
from kernel.shell import heads, keys
from kernel.shell.commit import commit
from kernel.shell.environment import NAP, Environment
from kernel.shell.load import Session, sign_of_life
from kernel.shell.logs import log
from kernel.shell.outbox import Flush, flush

WAITS = frozenset({StageStatus.RETRYING, StageStatus.SUSPENDED, StageStatus.SLEEPING, StageStatus.WAITING})
"""What a stage is in while it waits for its time, and nothing else."""


def send(env: Environment, pokes: Sequence[tuple[Poke, int]]) -> None:
    """Send pokes, each to arrive at its time in milliseconds (0: at once), or as late as a message can be delayed.

    Whether they can be sent does not matter to the run, only to how soon somebody looks at it.
    """
    now = env.clock.now()
    try:
        env.queue.send([(poke, delay_of(at, now)) for poke, at in pokes])
    except InfrastructureError as error:
        log.error("pokes not sent, left to the tick", extra={"run": pokes[0][0].run, "error": str(error)})


def delay_of(at: int, now: int) -> int:
    """Seconds from ``now`` until ``at``, rounded up, so that a poke is not early; at most what a message can wait."""
    return min(MAX_DELAY, max(0, -((now - at) // 1000)))


def times_of(events: Iterable[AnyEvent]) -> dict[str, int]:
    """When somebody must look at the stages and timers that these events leave waiting, by their ids."""
    times: dict[str, int] = {}
    for event in events:
        match event:
            case StageFailed(stage=id_, retry_at=int(at)):
                times[id_] = at
            case StageSuspended(stage=id_, check_at=at) | StageChecked(stage=id_, check_at=at):
                times[id_] = at
            case TimerSet(timer=id_, at=at) | WaitStarted(wait=id_, until=int(at)):
                times[id_] = at
            case _:
                pass
    return times


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
    counting: bool = False,
) -> Flush:
    """See to it that somebody looks at the run when it needs it, and that it is published and finalised.

    Args:
        env: the ports.
        session: the run.
        by: who leaves, for the log.
        timers: retries, checks and timers that this look has set, by stage, in milliseconds.
        met: end of the lease of somebody else whom this look met, or of a pause.
        until: monotonic time in seconds by which to be done.
        counting: failures to publish count against their event, as those that ticks see do.
    """
    state = session.state
    if not state.status.finished and state.asleep is None:
        rest(env, session, by=by, until=until)
    pokes = _pokes(env, session, timers, met)
    if pokes:
        send(env, pokes)
    flushed = flush(env, session, counting=counting)
    if not flushed.clean:  # nobody sleeps and nothing is over before it is published
        if not session.state.status.finished:
            heads.show_status(env, session)
        return flushed
    state = session.state
    if state.status.finished:
        if not heads.is_final(session):
            keys.free(env, session)  # first: once it is out of the index, nobody sees to that any more
            heads.finalise(env, session)
        return flushed
    if state.asleep is not None and heads.is_near(env, session, state.asleep):
        heads.sleep(env, session, state.asleep)
    heads.show_status(env, session)
    if (flushed.published or flushed.dead) and session.head.published < state.seq:
        heads.move_cursor(env, session, state.seq)
    return flushed


def _pokes(env: Environment, session: Session, timers: Mapping[str, int], met: int | None) -> list[tuple[Poke, int]]:
    state, skew = session.state, env.limits.max_skew
    if state.status.finished or state.asleep is not None:
        return []
    soon = env.clock.now() + NAP + skew  # the commit's time may be ahead of this clock
    times = [
        (stage, at + skew)
        for stage, at in timers.items()
        if stage in state.active
        and state.paused is None
        and state.stages[stage].at == at <= soon  # what is later is found by the due index
        and state.stages[stage].status in WAITS
    ]
    if met is not None:
        times.append(("", met + skew))
    return [(session.poke(stage, at), at) for stage, at in times]


def pause_ends(env: Environment, session: Session) -> int | None:
    """When a pause ends that ends so soon that a message can wait for it."""
    paused = session.state.paused
    if paused is None or paused.until is None or paused.until - env.clock.now() > NAP + env.limits.max_skew:
        return None
    return paused.until


def rest(env: Environment, session: Session, *, by: str, until: float | None = None) -> bool:
    """Put the run to sleep if nobody needs to look at it for long. False if it stays awake.

    Its head follows once everything is published.
    """
    now, skew = env.clock.now(), env.limits.max_skew
    idle = plan(session.state, now, skew)
    # A wait of just a nap still rides on a message, though its end and its commit may each be off by the skew.
    if not isinstance(idle, Idle) or not idle.quiet or idle.until - now <= NAP + 2 * skew:
        return False
    try:
        commit(env, session, None, c.Sleep(idle.until, env.limits.max_skew), by=by, until=until)
    except Stale:
        return False
    return True
