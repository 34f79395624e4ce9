"""Cancelling a run: an ordinary commit that keeps trying, so that it wins against any number of busy workers."""

from __future__ import annotations

from kernel.core import commands as c
from kernel.core.events import StageScheduled
from kernel.errors import OnewriteError
from kernel.limits import check_reason
from kernel.ports import RunRef
from kernel.shell.commit import commit
from kernel.shell.environment import Environment
from kernel.shell.leave import leave, send
from kernel.shell.logs import log
from kernel.shell.read import find

PATIENCE = 15.0
"""Seconds that a cancel keeps trying: hundreds of times, while a worker that commits once in between is done."""


def cancel(env: Environment, ref: RunRef, *, by: str, reason: str = "") -> None:
    """Cancel an unfinished run. Stages that are running become stale; their results are discarded.

    Args:
        env: the ports.
        ref: which run.
        by: who cancels.
        reason: why, for the log.

    Raises:
        NotFound: there is no such run.
        Conflict: it is finished already, or being compensated.
        InvalidInput: the reason is too long.
    """
    check_reason(reason)
    session = find(env, ref)
    head = session.head
    definition = env.definitions.find(head.workflow, head.version, head.fingerprint)
    end = env.clock.monotonic() + PATIENCE
    decision = commit(env, session, definition, c.Cancel(reason), by=by, until=end)
    undo = [event.stage for event in decision.events if isinstance(event, StageScheduled)]
    if undo:
        send(env, [(session.poke(stage), 0) for stage in undo])
    try:
        leave(env, session, by=by, timers={}, met=None, until=end)
    except OnewriteError as error:  # the cancel is in the log; a tick sees to the rest
        log.warning("cancelled, left to the tick", extra={"run": ref.run, "error": str(error)})
