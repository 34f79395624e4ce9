"""Retrying a failed run and rerunning a finished one from a stage: a new generation on the same log."""

from __future__ import annotations

from kernel.core import commands as c
from kernel.core.decide import AFTERWARDS
from kernel.core.events import StageScheduled
from kernel.errors import Conflict
from kernel.limits import check_reason
from kernel.ports import RunRef
from kernel.shell.commit import commit
from kernel.shell.environment import HOUR, Environment
from kernel.shell.keys import Hold
from kernel.shell.leave import send, times_of
from kernel.shell.read import find
from kernel.shell.receive import poke_waiting

LEAST = HOUR
"""Milliseconds that a reopened run has at least before it expires; else it is not reopened."""


def retry(env: Environment, ref: RunRef, *, by: str, reason: str = "") -> None:
    """Let a failed run go on where it failed. What was undone is done again.

    Raises:
        NotFound: there is no such run.
        Conflict: it has not failed, expires too soon, or this deployment does not have its workflow.
        KeyHeld: another run that is under way has its business key.
    """
    _reopen(env, ref, "", by, reason)


def rerun(env: Environment, ref: RunRef, stage: str, *, by: str, reason: str = "") -> None:
    """Let a finished run go on from ``stage``: it and all that depends on it run again, upstream outputs are reused.

    Raises:
        NotFound: there is no such run, or no such stage.
        Conflict: it is not finished, expires too soon, or something upstream of the stage has no output.
        KeyHeld: another run that is under way has its business key.
    """
    _reopen(env, ref, stage, by, reason)


def _reopen(env: Environment, ref: RunRef, stage: str, by: str, reason: str) -> None:
    check_reason(reason)
    session = find(env, ref)
    head = session.head
    definition = env.definitions.find(head.workflow, head.version, head.fingerprint)
    if definition is None:
        message = f"run {ref.run} needs {head.workflow} version {head.version}, which this deployment does not have"
        raise Conflict(message)
    lasts = definition.deadline if definition.deadline is not None else env.limits.deadline
    now = env.clock.now()
    # What is left of the run's retention may be less than the workflow wants, but must be worth it.
    deadline = max(min(now + lasts, head.expires - AFTERWARDS), now + LEAST)
    command = c.Reopen(stage, deadline, reason)
    hold = Hold(env, ref, head.workflow, head.business_key, session.ttl) if head.business_key else None
    if hold is not None:
        hold.look()  # before anybody hears of the commit, lest it be left to a tick to say that there will be none
    before = session.state
    decision = commit(env, session, definition, command, by=by, beside=hold)
    ready = [event.stage for event in decision.events if isinstance(event, StageScheduled)]
    times = {id_: at + env.limits.max_skew for id_, at in times_of(decision.events).items()}
    soon = [(session.poke(id_, at), at) for id_, at in times.items()]
    send(env, [*((session.poke(stage), 0) for stage in ready or [""]), *soon])
    if definition.selective:
        poke_waiting(env, session, before, None)
