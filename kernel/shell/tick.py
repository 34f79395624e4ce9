"""The maintenance pass over due runs: finds what was lost, reaps what died, wakes what slept, publishes what was left.

Runs no user code and knows no workflow: what needs one is poked to a worker. Its cost depends on the number of due runs
only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from heapq import merge

from msgspec import Struct
from msgspec.structs import asdict, replace

from kernel.core import commands as c
from kernel.core.draft import Stale
from kernel.core.state import StageStatus
from kernel.errors import InfrastructureError
from kernel.metrics import NO_METRICS
from kernel.ports import INBOX, Due, Poke
from kernel.shell import heads
from kernel.shell.commit import commit
from kernel.shell.environment import Environment
from kernel.shell.insist import PATIENCE, insist
from kernel.shell.leave import lease_of, leave, rest, send
from kernel.shell.load import Session, load
from kernel.shell.logs import log
from kernel.shell.measure import of_tick, tell
from kernel.shell.outbox import PatientSink
from kernel.shell.pause import resume_if_due
from kernel.shell.receive import deliver

PAGE = 50
"""Due runs read from a shard at a time."""


class Counts(Struct):
    """What a tick did, by kind.

    Attributes:
        looked: due runs that were claimed and loaded.
        claimed: runs or stages that were ready and had nobody: poked.
        suspended: suspended stages whose check was due: poked.
        timers: retries, timers and time-outs of waits that were due: poked.
        events: external events that nobody had applied: poked.
        reaped: attempts whose lease had run out.
        slept: runs put to sleep (again).
        woken: sleeping runs whose time is near: poked.
        flushed: events published.
        dead: events given up as dead letters.
        resumed: paused runs that go on, since their time has come.
        deadlines: runs failed because their deadline had passed.
        finalised: finished runs taken out of the index.
        parked: runs whose workflow no deployment has had so far: poked.
        skipped: entries of the index that another tick had taken, or that were stale.
        failed: runs that could not be looked at; they come again.
        left: the budget of time or runs was used up before the index was.
    """

    looked: int = 0
    claimed: int = 0
    suspended: int = 0
    timers: int = 0
    events: int = 0
    reaped: int = 0
    slept: int = 0
    woken: int = 0
    flushed: int = 0
    dead: int = 0
    resumed: int = 0
    deadlines: int = 0
    finalised: int = 0
    parked: int = 0
    skipped: int = 0
    failed: int = 0
    left: bool = False


def tick(env: Environment, until: float, *, runs: int = 2_000, by: str = "tick") -> Counts:
    """Look at the runs that are due, at most ``runs`` of them, until the monotonic time ``until``.

    One bad run or shard does not starve the others: what fails is logged, counted, and comes again.
    """
    counts, began = Counts(), env.clock.monotonic()
    env = replace(env, sink=PatientSink(env.sink))
    for seen, entry in enumerate(_due(env, counts, until)):
        now = env.clock.monotonic()
        if seen >= runs or now >= until:
            counts.left = True
            break
        try:
            _look(env, entry, counts, min(until, now + PATIENCE), by)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one run must not starve the others
            counts.failed += 1
            extra = {"tenant": entry.ref.tenant, "run": entry.ref.run, "error": str(error)}
            if isinstance(error, InfrastructureError):  # as likely as not somebody else's moment: it comes again
                log.warning("tick could not look at a run", extra=extra)
            else:
                log.exception("tick could not look at a run", extra=extra)
    if env.metrics is not NO_METRICS:
        tell(env.metrics, of_tick(asdict(counts), env.clock.monotonic() - began))
    return counts


def _due(env: Environment, counts: Counts, until: float) -> Iterator[Due]:
    """Due runs of all shards, those that have waited longest first, so that no shard starves another."""
    now = env.clock.now()
    shards = (_due_of(env, heads.due_shard(shard), now, counts, until) for shard in range(env.limits.shards))
    return merge(*shards, key=lambda entry: entry.due)


def _due_of(env: Environment, shard: str, now: int, counts: Counts, until: float) -> Iterator[Due]:
    """Due runs of a shard, earliest first."""
    given: set[Due] = set()
    full = True
    while full:
        if env.clock.monotonic() >= until:  # where the store is slow, shards take all the time
            counts.left = True
            return
        # The index follows with a delay: past what it still shows of those that were given already.
        limit = PAGE + len(given)
        try:
            page = env.store.due(shard, now, limit)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one shard must not starve the others
            counts.failed += 1
            log.exception("tick could not read a shard", extra={"shard": shard, "error": str(error)})
            return
        fresh = [entry for entry in page if entry not in given]
        given.update(fresh)
        yield from fresh
        full = len(page) == limit


def _look(env: Environment, entry: Due, counts: Counts, until: float, by: str) -> None:
    if entry.key.startswith(INBOX):
        delivered = deliver(env, entry.ref, entry.key.removeprefix(INBOX))
        counts.events += delivered
        counts.skipped += not delivered
        return
    if not heads.claim_look(env, entry.ref, entry.due, env.clock.now()):
        counts.skipped += 1
        return

    def late() -> int:
        return env.clock.now() - env.limits.max_skew  # by the slowest clock that is allowed

    session = insist(env, lambda: load(env.store, entry.ref, late), until)
    if session is None:
        heads.forget(env, entry.ref, late())
        counts.skipped += 1
        return
    counts.looked += 1
    if not session.state.status.finished:
        _tend(env, session, counts, until, by)
    finished = session.state.status.finished
    if finished and session.head.due_seq > session.state.seq:
        # Whoever was about to reopen the run died. The new commit takes the number that was announced, so that the
        # run can be finalised: nobody who thaws can commit it any more.
        with suppress(Stale):
            commit(env, session, None, c.Close(), by=by, until=until)
    flushed = leave(env, session, by=by, timers={}, met=None, until=until, counting=True)
    counts.flushed += flushed.published
    counts.dead += flushed.dead
    counts.finalised += finished and heads.is_final(session)


def _tend(env: Environment, session: Session, counts: Counts, until: float, by: str) -> None:
    """An unfinished run: fail it if it is overdue, else see who is needed."""
    now = env.clock.now()
    state = session.state
    if now - env.limits.max_skew >= state.deadline:
        try:
            commit(env, session, None, c.Expire(state.deadline), by=by, until=until)
        except Stale:
            counts.skipped += 1
        else:
            counts.deadlines += 1
        return
    if state.asleep is not None and now - env.limits.max_skew < state.asleep:
        _asleep(env, session, state.asleep, counts, by)
        return
    if resume_if_due(env, session, by=by, until=until):
        counts.resumed += 1
        return
    pokes = _needs(env, session, counts, until, by)
    if session.head.status == heads.PARKED:
        counts.parked += 1
    if pokes:
        send(env, [(poke, 0) for poke in pokes])


def _asleep(env: Environment, session: Session, until: int, counts: Counts, by: str) -> None:
    """A sleeping run was met: its time is near, or it has to be put to sleep again, as ``leave`` will.

    Or somebody has just done that, so that nobody is needed for long.
    """
    if not heads.is_near(env, session, until):
        if until - heads.lead(env) > env.clock.now() + env.limits.look_grace:
            counts.skipped += 1
            return
        counts.woken += 1
        send(env, [(session.poke(at=until), until)])
        return
    counts.slept += 1
    if session.head.due_seq > session.state.seq:
        # Somebody announced a commit that never came. The new commit takes its number, so it never will.
        rest(env, session, by=by)


def _needs(env: Environment, session: Session, counts: Counts, until: float, by: str) -> list[Poke]:
    """Reap what died, and say which stages a worker has to look at."""
    now = env.clock.now()
    sure = now - env.limits.max_skew
    state = session.state
    if not state.begun and state.paused is None:
        counts.claimed += 1
        return [session.poke()]
    pokes: list[Poke] = []
    for id_ in tuple(state.active):
        stage = session.state.stages.get(id_)
        if stage is None:  # forgotten by what somebody committed while another one was reaped
            continue
        if state.paused is not None and stage.status not in (StageStatus.RUNNING, StageStatus.EXPIRED):
            continue
        match stage.status:
            case StageStatus.SCHEDULED | StageStatus.EXPIRED:
                counts.claimed += 1
            case StageStatus.SUSPENDED if stage.at <= sure:
                counts.suspended += 1
            case StageStatus.RETRYING | StageStatus.SLEEPING | StageStatus.WAITING if 0 < stage.at <= sure:
                counts.timers += 1
            case StageStatus.RUNNING if stage.at <= sure and lease_of(env, session, id_) <= sure:
                try:
                    commit(env, session, None, c.Reap(id_, stage.seq), by=by, until=until)
                except Stale:
                    counts.skipped += 1
                    continue
                counts.reaped += 1
            case _:
                continue
        pokes.append(session.poke(id_))
    return pokes
