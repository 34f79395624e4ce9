"""Handing back what a worker is in the middle of when it has to stop, so that nobody waits for a lease to run out."""

from __future__ import annotations

from kernel.core import commands as c
from kernel.core.draft import Stale
from kernel.core.state import StageStatus
from kernel.ports import Commit, RunRef, log_key
from kernel.shell.commit import commit
from kernel.shell.environment import Environment
from kernel.shell.insist import insist
from kernel.shell.leave import send
from kernel.shell.load import Session, load
from kernel.shell.logs import log


def hand_back(env: Environment, ref: RunRef, by: str, until: float) -> list[str]:
    """End the attempts at a run's stages that this worker has under way, and poke others for them.

    Which ones are its own, the log says. Each counts as an attempt whose lease ran out: whatever its body still does,
    it cannot commit any more. What was committed meanwhile stays.

    Args:
        env: the ports.
        ref: the run.
        by: who the worker is in the log; only its own attempts are ended.
        until: monotonic time in seconds by which to be done.

    Returns:
        Ids of the stages that were handed back.

    Raises:
        InfrastructureError: the store failed; others find the stages when their leases are over.
    """
    session = insist(env, lambda: load(env.store, ref, env.clock.now), until)
    if session is None or session.state.status.finished:
        return []
    given: list[str] = []
    try:
        # One by one: what was given before the store failed counts, too.
        given.extend(stage for stage in tuple(session.state.active) if _given(env, session, stage, by, until))
    finally:
        if given and session.state.paused is None:
            send(env, [(session.poke(stage), 0) for stage in given])
    return given


def _given(env: Environment, session: Session, stage: str, by: str, until: float) -> bool:
    """End the attempt at a stage, if it is this worker's."""
    found = session.state.stages.get(stage)
    if found is None or found.status is not StageStatus.RUNNING:
        return False
    claim = insist(env, lambda: env.store.get(session.ref, log_key(found.seq)), until)
    if not isinstance(claim, Commit) or claim.by != by:
        return False
    try:
        commit(env, session, None, c.Reap(stage, found.seq), by=by, until=until)
    except Stale:  # its result came first
        return False
    log.info("stage handed back", extra={"run": session.ref.run, "stage": stage})
    return True
