"""The one write path: decide, put the next commit if its number is free, fold.

The token of a commit is freshly random, so a refused put can be told from one whose reply was lost: the record that is
there carries our own token in the second case. Any other record means that somebody else was faster: catch up with the
log and decide again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import UNSET
from msgspec.structs import replace

from kernel.core.codec import FORMAT, encode_events, encode_snapshot
from kernel.core.commands import Command
from kernel.core.decide import Decision, decide
from kernel.core.definition import DATA, Definition, MissingValue
from kernel.core.events import AnyEvent, StateEntered, TransitionStarted, TransitionTaken
from kernel.core.evolve import FOLD_VERSION
from kernel.core.state import State
from kernel.errors import InfrastructureError, Unavailable
from kernel.metrics import NO_METRICS, Count
from kernel.ports import Commit, Found, Guard, Put, Refusal, Snapshot
from kernel.shell import heads
from kernel.shell.environment import Environment
from kernel.shell.insist import FIRST_PAUSE, LONGEST_PAUSE, insist
from kernel.shell.load import Session, catch_up
from kernel.shell.logs import log
from kernel.shell.measure import of_commit, tell
from kernel.shell.values import keep_aside

SNAPSHOT_EVERY = 16
"""The fewest commits between two snapshots: shorter runs never pay for one."""
SNAPSHOT_PER_KB = 8
"""Commits between two snapshots per KB of snapshot: a long run pays an eighth of a write unit per commit for them."""


class Beside(Protocol):
    """What is written in one transaction with a commit: both are, or neither."""

    def put(self, state: State) -> Put:
        """The put that goes with the commit that makes this state."""
        ...

    def refused(self, existing: Found | None) -> None:
        """Its guard said no to the put, so nothing was written. The commit will be decided again.

        Raises:
            Stale, Refused: it need not be.
        """
        ...


def commit(
    env: Environment,
    session: Session,
    definition: Definition | None,
    command: Command,
    *,
    by: str,
    until: float | None = None,
    renew: Callable[[Command], Command] = lambda command: command,
    beside: Beside | None = None,
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
        beside: what is written together with the commit.
        annotations: what is said beside, as the commit keeps it.

    Raises:
        Stale: what the command speaks of is no longer current, or what goes beside it says so. Nothing was written.
        Refused: the state of the run, or what goes beside it, does not allow it. Nothing was written.
        InfrastructureError: time ran out; whether the commit landed is unknown, and must not be decided again here.
    """
    end = env.clock.monotonic() + 30.0 if until is None else until
    pause = FIRST_PAUSE
    while True:
        now = env.clock.now()
        decision = _kept(env, session, _decided(env, session, definition, command, now, end), end)
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
        other = None if beside is None else beside.put(state)
        taken, refused = insist(env, lambda: _put(env, session, record, other), end)  # noqa: B023 - called at once
        if taken is not None and _is_ours(taken.existing, record.token):
            taken = refused = None
        if beside is not None and refused is not None:
            beside.refused(refused.existing)
        if taken is None and refused is None:
            before, session.state = session.state, state
            session.recent[state.seq] = tuple(decision.events)
            session.times[state.seq] = state.at
            if decision.data is not None:
                session.offer(DATA, decision.data)
            session.settle()
            if env.metrics is not NO_METRICS:
                tell(env.metrics, of_commit(before, state, decision.events, session.times))
            _snapshot(env, session)
            return decision
        if env.clock.monotonic() >= end:
            message = f"run {session.ref.run} is so busy that a commit found no place in time"
            raise Unavailable(message)
        env.clock.sleep(pause * env.random.roll())
        pause = min(pause * 2, LONGEST_PAUSE)
        # Last of all, so that what is decided next is decided on what is there now.
        insist(env, lambda: catch_up(env, session), end)
        if taken is not None:
            env.metrics.count(Count.CONFLICTS)
        command = renew(command)


def _kept(env: Environment, session: Session, decision: Decision, until: float) -> Decision:
    """The decision, with what of a machine's data is too big for the commit kept aside, before that refers to it."""
    if decision.data is None:
        return decision
    beside = 0
    events: list[AnyEvent] = []
    for event in decision.events:
        if isinstance(event, StateEntered | TransitionStarted | TransitionTaken) and event.data is not None:
            assert event.data.json is not UNSET  # noqa: S101 - decided just now, so it is kept nowhere yet
            text, value = bytes(event.data.json), event.data
            if len(text) + beside <= env.limits.inline:
                beside += len(text)
            else:
                value = keep_aside(
                    env, session.ref, decision.state.seq, text, session.ttl, since=decision.state.at, until=until
                )
            events.append(replace(event, data=value))
        else:
            events.append(event)
    return replace(decision, events=events)


def _put(
    env: Environment, session: Session, record: Commit, other: Put | None
) -> tuple[Refusal | None, Refusal | None]:
    """Put a commit, and with it, in a transaction, what goes beside it; what refused either, if anything did."""
    if other is None:
        return env.store.put(session.ref, record, Guard.COMMIT_IS_NEXT), None
    taken, refused = env.store.put_all([(session.ref, record, Guard.COMMIT_IS_NEXT), other]) or (None, None)
    return taken, refused


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
