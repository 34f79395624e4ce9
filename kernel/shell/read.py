"""Reading runs: as they are now, as they were, their logs, lists of them, and waiting for one to get somewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from kernel.annotations import Scalar, decode
from kernel.core.codec import initial_state
from kernel.core.definition import Available, Definition
from kernel.core.events import AnyEvent, ErrorRecord
from kernel.core.evolve import fold
from kernel.core.state import Pause, StageStatus, State
from kernel.errors import InvalidInput, NotDeployed, NotFound
from kernel.limits import is_run_id
from kernel.ports import HEAD, Head, Listed, RunRef, readable
from kernel.shell import heads
from kernel.shell.environment import Environment
from kernel.shell.insist import insist
from kernel.shell.load import Session, commits_after, creation, events_of, load, sign_of_life, unless_gone


def find(env: Environment, ref: RunRef) -> Session:
    """Load a run.

    Raises:
        NotFound: there is no such run, its retention is over, or it is another tenant's.
    """
    session = insist(env, lambda: load(env.store, ref, env.clock.now)) if is_run_id(ref.run) else None
    if session is None:
        raise _not_found(ref)
    return session


def find_head(env: Environment, ref: RunRef) -> Head:
    """The head of a run, without its log.

    Raises:
        NotFound: there is no such run, its retention is over, or it is another tenant's.
    """
    head = readable(insist(env, lambda: env.store.get(ref, HEAD))) if is_run_id(ref.run) else None
    if not isinstance(head, Head) or env.clock.now() >= head.expires:
        raise _not_found(ref)
    return head


def _not_found(ref: RunRef) -> NotFound:
    return NotFound(f"there is no run {ref.run[:40]!r}, or its retention is over")


class StageView(Struct, frozen=True, omit_defaults=True):
    """One stage of a run, for people. Times are milliseconds."""

    stage: str
    status: str
    attempt: int = 0
    at: int | None = None
    progress: float | None = None
    error: ErrorRecord | None = None


class RunView(Struct, frozen=True, omit_defaults=True):
    """A run, for people.

    Attributes:
        run, tenant, workflow, version, fingerprint: which run of what.
        status: paused, parked, running, compensating, completed, failed or cancelled.
        seq: number of the last commit it shows.
        created, updated, deadline: milliseconds.
        stages: those that have begun, in order.
        generation: how often it was reopened.
        asleep: until when nobody needs to look.
        error, reason, compensation: how it ended.
        paused: since when, until when and why nothing of it starts.
        state: the state that a machine is in, or has left last.
        transition: the transition of a machine whose work is under way.
        business_key: which no other run of the workflow has that is under way.
        priority: its class, unless that is the normal one.
    """

    run: str
    tenant: str
    workflow: str
    version: int
    fingerprint: str
    status: str
    seq: int
    created: int
    updated: int
    deadline: int
    stages: list[StageView]
    generation: int = 0
    asleep: int | None = None
    error: ErrorRecord | None = None
    reason: str = ""
    compensation: str = ""
    paused: Pause | None = None
    state: str = ""
    transition: str = ""
    business_key: str = ""
    priority: str = ""


def view(state: State, head: Head | None = None) -> RunView:
    """What a state shows; with the head as it is now, whether the run is parked, and its priority."""
    identity = state.identity
    shown = heads.coarse(state) if head is None else heads.coarse(state, head.status)
    return RunView(
        run=identity.run,
        tenant=identity.tenant,
        workflow=identity.workflow,
        version=identity.version,
        fingerprint=identity.fingerprint,
        status=state.status.value if shown == heads.OPEN else shown,
        seq=state.seq,
        created=identity.created,
        updated=state.at,
        deadline=state.deadline,
        stages=[
            StageView(
                stage=id_,
                status=stage.status.value,
                attempt=stage.attempt,
                at=stage.at if id_ in state.active and stage.at else None,
                progress=stage.progress,
                error=stage.error,
            )
            for id_, stage in state.stages.items()
        ],
        generation=state.generation,
        asleep=state.asleep,
        error=state.error,
        reason=state.reason,
        compensation=state.compensation,
        paused=state.paused,
        state="" if state.place is None else state.place.state,
        transition="" if state.place is None else state.place.transition,
        business_key=identity.business_key,
        priority="" if head is None else head.priority,
    )


def show(env: Environment, ref: RunRef, *, seq: int | None = None, at: int | None = None) -> RunView:
    """A run as it is now, as of commit ``seq``, or as of a time in milliseconds.

    Raises:
        NotFound: there is no such run, or it did not exist yet at that time.
    """
    session = find(env, ref)
    if seq is None and at is None:
        return present(env, session)
    state = replay(env, session, seq=seq, at=at)
    return view(state, replace(session.head, status=heads.OPEN))  # whether it is parked now says nothing of then


def present(env: Environment, session: Session) -> RunView:
    """A run as it is now, with what the stages that run just now have said since: how far they are, and their lease."""
    shown = view(session.state, session.head)
    stages = [
        replace(stage, progress=live.progress, at=max(stage.at or 0, live.until))
        if stage.status == StageStatus.RUNNING.value and (live := sign_of_life(env, session, stage.stage))
        else stage
        for stage in shown.stages
    ]
    return replace(shown, stages=stages)


def available(env: Environment, ref: RunRef) -> Sequence[Available]:
    """The external events that a run can take as it stands.

    Raises:
        NotFound: there is no such run.
        NotDeployed: this deployment does not have its workflow; another one may.
    """
    session = find(env, ref)
    head = session.head
    definition = env.definitions.find(head.workflow, head.version, head.fingerprint)
    if definition is None:
        message = f"this deployment does not have {head.workflow} version {head.version} as the run began with it"
        raise NotDeployed(message)
    return () if session.state.status.finished else definition.program.available(session.state)


def replay(env: Environment, session: Session, *, seq: int | None = None, at: int | None = None) -> State:
    """Fold a run's log from the start until a number or a time, without any snapshot.

    Raises:
        NotFound: the run did not exist yet at that time.
        InvalidInput: the log has no such commit.
    """
    last = _initial(session)
    if at is not None and at < session.identity.created:
        message = f"run {session.ref.run} was created after that time"
        raise NotFound(message)
    if seq is not None and not 0 <= seq <= session.state.seq:
        message = f"run {session.ref.run} has no commit {seq}"
        raise InvalidInput(message, (("seq", f"it has commits 0 to {session.state.seq}"),))
    for _, state in steps(env, session):
        if (seq is not None and state.seq > seq) or (at is not None and state.at > at):
            break
        last = state
    return last


def _initial(session: Session) -> State:
    identity, created = creation(session.ref, session.head)
    return initial_state(identity, created)


def steps(env: Environment, session: Session) -> Iterator[tuple[tuple[AnyEvent, ...], State]]:
    """Every commit's events with the state that they lead to: the fold, step by step."""
    state = _initial(session)
    yield session.recent[0], state.fork()
    with unless_gone(env, session):
        for commit in commits_after(env.store, session.ref, 0):
            events = events_of(session.ref, commit)
            yield events, fold(state, commit.seq, commit.at, events).fork()


class LogEntry(Struct, frozen=True):
    """One commit, for people."""

    seq: int
    at: int
    by: str
    events: tuple[AnyEvent, ...]


def log_page(env: Environment, ref: RunRef, *, after: int = -1, limit: int = 100) -> list[LogEntry]:
    """Up to ``limit`` commits after number ``after``, in order.

    Raises:
        NotFound: there is no such run.
    """
    session = find(env, ref)
    entries: list[LogEntry] = []
    if after < 0:
        entries.append(LogEntry(0, session.head.created, session.head.by, session.recent[0]))
    wanted = limit - len(entries)
    commits = commits_after(env.store, ref, max(after, 0), page=max(1, wanted))
    with unless_gone(env, session):
        entries.extend(
            LogEntry(commit.seq, commit.at, commit.by, events_of(ref, commit)) for commit in islice(commits, wanted)
        )
    return entries


class Annotation(Struct, frozen=True, omit_defaults=True):
    """What somebody said of a run: key and value, with its place in the log.

    Attributes:
        key, value: what.
        seq, at: the commit that it was written with, and when that was, in milliseconds.
        by: who wrote that commit.
        stage: whose attempt said it; empty for whoever started the run.
    """

    key: str
    value: Scalar
    seq: int
    at: int
    by: str
    stage: str = ""


class AnnotationPage(Struct, frozen=True):
    """A page of a run's annotations; ``after`` leads to the next one, if there may be more."""

    annotations: list[Annotation]
    after: int | None


SCANNED = 1_000
"""Commits that are read for one page of annotations, at most."""


def list_annotations(
    env: Environment, ref: RunRef, *, prefix: str = "", after: int = -1, limit: int = 100
) -> AnnotationPage:
    """A run's annotations, in order of its log, also those that later ones have the same key as.

    Args:
        env: the ports.
        ref: which run.
        prefix: only those whose key begins so.
        after: number of the last commit of the page before.
        limit: at most so many; but those of a single commit always come together.

    Raises:
        NotFound: there is no such run.
        LogError: some cannot be read.
    """
    session = find(env, ref)
    found: list[Annotation] = []
    last = after
    with unless_gone(env, session):
        for seq, at, by, text in islice(_annotated(env, session, after), SCANNED):
            notes = decode(text, f"run {ref.run}, commit {seq},") if text else None
            said = [(key, value) for key, value in notes.said if key.startswith(prefix)] if notes else []
            if said and found and len(found) + len(said) > limit:
                return AnnotationPage(found, last)
            found.extend(Annotation(key, value, seq, at, by, notes.stage) for key, value in said if notes)
            last = seq
    return AnnotationPage(found, last if last < session.state.seq else None)


def _annotated(env: Environment, session: Session, after: int) -> Iterator[tuple[int, int, str, bytes]]:
    """The commits after number ``after``: number, time, who, and the text of their annotations."""
    head = session.head
    if after < 0:
        yield 0, head.created, head.by, head.annotations
    for commit in commits_after(env.store, session.ref, max(after, 0)):
        yield commit.seq, commit.at, commit.by, commit.annotations


def result(env: Environment, session: Session, definition: Definition) -> tuple[bytes, ...]:
    """The outputs that are a completed run's result, as JSON texts, in order.

    Raises:
        NotUpstream: a stage that is part of the result has no output.
    """
    values = [session.value(env, stage) for stage in definition.program.outcome()]
    return tuple(value if isinstance(value, bytes) else b"null" for value in values)


def wait_for(
    env: Environment,
    ref: RunRef,
    *,
    timeout: float,
    until: frozenset[str] = frozenset({"completed", "failed", "cancelled"}),
    pause: float = 0.25,
) -> RunView | None:
    """Wait until a run has one of these statuses, at once if it has; or is finished, whichever way.

    Args:
        env: the ports.
        ref: which run.
        timeout: how long to wait, in seconds.
        until: statuses to wait for, as in ``RunView.status``.
        pause: seconds between two looks; grows to eight times that.

    Returns:
        The run as it then is; None when the time is up first.

    Raises:
        NotFound: there is no such run.
    """
    end = env.clock.monotonic() + timeout
    longest = pause * 8
    while True:
        session = find(env, ref)
        shown = view(session.state, session.head)
        if shown.status in until or session.state.status.finished:
            return shown
        left = end - env.clock.monotonic()
        if left <= 0:
            return None
        env.clock.sleep(min(pause, left))
        pause = min(pause * 1.5, longest)


def list_runs(
    env: Environment,
    tenant: str,
    workflows: Sequence[str],
    *,
    statuses: Sequence[str] = heads.COARSE,
    since: int = 0,
    before: int | None = None,
    cursor: tuple[int, str] | None = None,
    limit: int = 50,
) -> list[Listed]:
    """A tenant's runs, newest first, from the *runs* index (which follows the heads within about a second).

    Args:
        env: the ports.
        tenant: whose.
        workflows: of which workflows.
        statuses: with which coarse statuses.
        since: created at this time or later, in milliseconds.
        before: created before this time.
        cursor: ``(created, run)`` of the last run of the page before.
        limit: at most so many.
    """
    parts = [
        _listed(env, heads.listing(tenant, workflow, shard), status, since, before, cursor, limit)
        for workflow in workflows
        for shard in range(env.limits.shards)
        for status in statuses
    ]
    newest_first = merge(*parts, key=lambda entry: (entry.created, entry.ref.run), reverse=True)
    return list(islice(newest_first, limit))


def _listed(
    env: Environment,
    listing: str,
    status: str,
    since: int,
    before: int | None,
    cursor: tuple[int, str] | None,
    limit: int,
) -> Iterator[Listed]:
    """One shard's entries of one status, newest first; read only when the merge asks for them."""
    high = f"{status}#~" if before is None else f"{status}#{before:013d}"
    if cursor is not None:
        high = min(high, f"{status}#{cursor[0]:013d}#{cursor[1]}")
    yield from env.store.runs(listing, f"{status}#{since:013d}", high, limit)
