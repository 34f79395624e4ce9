"""The one write path: decide, put the next commit if its number is free, fold.

The token of a commit is freshly random, so a refused put can be told from one whose reply was lost: the record that is
there carries our own token in the second case. Any other record means that somebody else was faster: catch up with the
log and decide again.
"""

from __future__ import annotations

from collections.abc import Callable

from kernel.core.codec import FORMAT, encode_events, encode_snapshot
from kernel.core.commands import Command
from kernel.core.decide import Decision, Stale, decide
from kernel.core.definition import Definition, MissingValue
from kernel.core.evolve import FOLD_VERSION
from kernel.errors import InfrastructureError, Unavailable
from kernel.ports import Commit, Guard, Inbox, Item, Refusal, Snapshot
from kernel.shell import heads
from kernel.shell.environment import Environment
from kernel.shell.insist import FIRST_PAUSE, LONGEST_PAUSE, insist
from kernel.shell.load import Session, catch_up
from kernel.shell.logs import log

SNAPSHOT_EVERY = 16
"""The fewest commits between two snapshots: shorter runs never pay for one."""
SNAPSHOT_PER_KB = 8
"""Commits between two snapshots per KB of snapshot: a long run pays an eighth of a write unit per commit for them."""


def commit(
    env: Environment,
    session: Session,
    definition: Definition | None,
    command: Command,
    *,
    by: str,
    until: float | None = None,
    renew: Callable[[Command], Command] = lambda command: command,
    settle: Callable[[int], Inbox] | None = None,
    annotations: bytes = b"",
) -> Decision:
    """Decide ``command`` and commit what follows; the session's state moves on.

    Args:
        env: the ports.
        session: the run.
        definition: its workflow, if the command needs it.
        command: what is asked.
        by: who asks.
        until: monotonic time in seconds by which to give up.
        renew: brings the command up to date when it is decided again.
        settle: gives the inbox item of the external event that the commit of this number applies, settled: both are
            written, or neither.
        annotations: what is said beside, as the commit keeps it.

    Raises:
        Stale: what the command speaks of is no longer current, or the event is settled. Nothing was written.
        Refused: the state of the run does not allow it. Nothing was written.
        InfrastructureError: time ran out; whether the commit landed is unknown, and must not be decided again here.
    """
    end = env.clock.monotonic() + 30.0 if until is None else until
    pause = FIRST_PAUSE
    while True:
        now = env.clock.now()
        decision = _decided(env, session, definition, command, now, end)
        state = decision.state
        record = Commit(
            seq=state.seq,
            at=state.at,
            token=env.random.token(),
            by=by,
            events=encode_events(decision.events),
            ttl=session.ttl,
            v=FORMAT,
            annotations=annotations,
        )
        if session.state.asleep is not None or session.state.status.finished:
            heads.wake(env, session, now)
        settled = None if settle is None else settle(state.seq)
        refusal, too_late = insist(env, lambda: _put(env, session, record, settled), end)  # noqa: B023 - called at once
        if refusal is not None and _is_ours(refusal.existing, record.token):
            refusal, too_late = None, False
        if too_late:
            message = f"event {settled.id if settled else ''} is settled already"
            raise Stale(message)
        if refusal is None:
            session.state = state
            session.recent[state.seq] = tuple(decision.events)
            session.times[state.seq] = state.at
            session.settle()
            _snapshot(env, session)
            return decision
        if env.clock.monotonic() >= end:
            message = f"run {session.ref.run} is so busy that a commit found no place in time"
            raise Unavailable(message)
        env.clock.sleep(pause * env.random.roll())
        pause = min(pause * 2, LONGEST_PAUSE)
        # Last of all, so that what is decided next is decided on what is there now.
        insist(env, lambda: catch_up(env, session), end)
        command = renew(command)


def _put(env: Environment, session: Session, record: Commit, settled: Inbox | None) -> tuple[Refusal | None, bool]:
    """Put a commit, and with it, in a transaction, the event that it applies.

    Returns:
        What refused the commit, if anything did; and whether the event was settled by somebody else.
    """
    if settled is None:
        return env.store.put(session.ref, record, Guard.COMMIT_IS_NEXT), False
    puts: list[tuple[Item, Guard]] = [(record, Guard.COMMIT_IS_NEXT), (settled, Guard.EVENT_IS_OPEN)]
    refusals = env.store.put_all(session.ref, puts)
    if refusals is None:
        return None, False
    taken, closed = refusals
    return taken, closed is not None


def _is_ours(existing: object, token: str) -> bool:
    return isinstance(existing, Commit) and existing.token == token


def _decided(
    env: Environment, session: Session, definition: Definition | None, command: Command, now: int, end: float
) -> Decision:
    """Decide, fetching the recorded values that the decision turns out to need."""
    while True:
        try:
            return decide(definition, session.state, command, now, session.recall)
        except MissingValue as missing:
            session.provide(env, missing.stage, missing.seq, end)


def _snapshot(env: Environment, session: Session) -> None:
    """Keep the tail short. A snapshot is never needed, so failing to write one is no failure."""
    state = session.state
    tail = state.seq - session.snapshot_seq
    if tail < SNAPSHOT_EVERY or tail < _distance(session.snapshot_size) or state.status.finished:
        return
    body = encode_snapshot(state)
    session.snapshot_size = len(body)
    if tail < _distance(len(body)):
        return
    snapshot = Snapshot(state.seq, FOLD_VERSION, body, session.ttl)
    session.snapshot_seq = state.seq
    try:
        env.store.put(session.ref, snapshot, Guard.SNAPSHOT_FORWARD)
    except InfrastructureError as error:
        log.warning("snapshot not written", extra={"run": session.ref.run, "error": str(error)})


def _distance(size: int) -> int:
    kilobytes = -(-(size + 100) // 1024)  # about 100 bytes of keys and names go with the body
    return max(SNAPSHOT_EVERY, SNAPSHOT_PER_KB * kilobytes)
