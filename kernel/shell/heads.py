"""Changing a head: waking, sleeping, claiming, showing, finalising. Each change carries the guard that makes it safe.

No late or frozen process can hide a run from the *due* index: ``due`` moves away only under a condition that fails once
anybody has spoken of a later commit.
"""

from __future__ import annotations

from zlib import crc32

from msgspec.structs import replace

from kernel.core.state import State
from kernel.errors import NotFound
from kernel.ports import HEAD, Guard, Head, HeadUpdate, RunRef, readable
from kernel.shell.environment import Environment
from kernel.shell.insist import insist
from kernel.shell.load import Session
from kernel.shell.logs import log

OPEN = "open"
PAUSED = "paused"
PARKED = "parked"
GOES_ON = (OPEN, PAUSED, PARKED)
"""The coarse statuses of a run that is not over."""
COARSE = (*GOES_ON, "completed", "failed", "cancelled")
"""The coarse statuses of a head; anything finer is in the log."""


def coarse(state: State, known: str = OPEN) -> str:
    """The coarse status that a state calls for, of a run that is known to be parked, or not to be.

    A paused run needs no code, so it is not parked, whoever has its workflow.
    """
    if state.status.finished:
        return state.status.value
    if state.paused is not None:
        return PAUSED
    return PARKED if known == PARKED else OPEN


def shard_of(run: str, shards: int) -> int:
    """The shard of the indexes that a run is in."""
    return crc32(run.encode()) % shards


def due_shard(shard: int) -> str:
    """Partition of the *due* index."""
    return f"due#{shard}"


def listing(tenant: str, workflow: str, shard: int) -> str:
    """Partition of the *runs* index."""
    return f"{tenant}#{workflow}#{shard}"


def listing_order(status: str, created: int, run: str) -> str:
    """Sort key of the *runs* index."""
    return f"{status}#{created:013d}#{run}"


def _update(env: Environment, session: Session, change: HeadUpdate) -> None:
    """Make the change if its guard allows it; the session's head is then what is known of it.

    Refused by an earlier try of this very update, whose reply was lost, or by what others did since: the head that
    comes with the refusal says what is left to do, if anything.
    """
    refusal = insist(env, lambda: env.store.update(session.ref, change))
    if refusal is not None:
        existing = readable(refusal.existing)
        if not isinstance(existing, Head):
            message = f"run {session.ref.run} is gone: its retention is over"
            raise NotFound(message)
        session.head = existing
        return
    head = session.head
    session.head = replace(
        head,
        due=None if change.clear_due else head.due if change.due is None else change.due,
        due_seq=head.due_seq if change.due_seq is None else change.due_seq,
        status=change.status or head.status,
        listing_order=change.listing_order or head.listing_order,
        published=head.published if change.published is None else change.published,
        published_events=head.published_events if change.published_events is None else change.published_events,
        publish_failures=head.publish_failures if change.publish_failures is None else change.publish_failures,
    )


def claim_look(env: Environment, ref: RunRef, seen: int, now: int) -> bool:
    """A tick takes a due run: moves ``due``, so that no other tick does the same work."""
    look = env.random.token()
    change = HeadUpdate(guard=Guard.DUE_AS_SEEN, look=look, due=now + env.limits.look_grace, seen_due=seen)
    refusal = insist(env, lambda: env.store.update(ref, change))
    return refusal is None or _is_ours(refusal.existing, look)


def _is_ours(existing: object, look: str) -> bool:
    """Refused by an earlier try of this very claim, whose reply was lost: the run is taken."""
    return isinstance(existing, Head) and existing.look == look


def wake(env: Environment, session: Session, now: int) -> None:
    """Before the first commit on a sleeping or finished run: bring ``due`` near, so that a crash is found.

    A refusal means that somebody else did it.
    """
    status = OPEN if session.state.status.finished else None
    near, seen = now + env.limits.look_grace, session.head.due
    # Near already, since a tick has just looked: written all the same, so that a late sleeper is refused, but unchanged
    # it costs no index entry.
    due = seen if seen is not None and now < seen <= near else near
    change = HeadUpdate(
        guard=Guard.WAKE_IS_NEWER,
        due=due,
        due_seq=session.state.seq + 1,
        status=status,
        listing_order=_order(session, status) if status else None,
    )
    _update(env, session, change)


def sleep(env: Environment, session: Session, until: int) -> None:
    """After the commit that put the run to sleep: move ``due`` to shortly before it must wake.

    Everything is published by then, so the cursor moves with it: as long as no commit past this one was announced,
    nobody else can have moved it further. So does the status, lest a late one of before be shown for days.
    """
    for _ in range(2):  # a refusal tells what a tick has made of ``due`` meanwhile
        if session.head.due_seq > session.state.seq or not is_near(env, session, until):
            return
        status = coarse(session.state, session.head.status)
        change = HeadUpdate(
            guard=Guard.SLEEP_IS_LATEST,
            due=until - lead(env),
            due_seq=session.state.seq,
            status=status,
            listing_order=_order(session, status),
            published=session.state.seq,
            published_events=0,
            publish_failures=0,
            seen_due=session.head.due,
        )
        _update(env, session, change)


def is_near(env: Environment, session: Session, until: int) -> bool:
    """Whether ``due`` of a run that sleeps ``until`` then lies nearer than it need."""
    due, far = session.head.due, until - lead(env)
    return due is not None and due < far and far > env.clock.now() + env.limits.look_grace


def lead(env: Environment) -> int:
    """How long before its time the tick meets a sleeping run again."""
    return max(2 * env.limits.tick, env.limits.look_grace)


def finalise(env: Environment, session: Session) -> None:
    """After a finished run's events are published: set its coarse status and take it out of the *due* index."""
    status = coarse(session.state)
    change = HeadUpdate(
        guard=Guard.FINALISE_IS_LATEST,
        due_seq=session.state.seq,
        status=status,
        listing_order=_order(session, status),
        published=session.state.seq,
        published_events=0,
        publish_failures=0,
        clear_due=True,
    )
    _update(env, session, change)


def forget(env: Environment, ref: RunRef, now: int) -> None:
    """Take a run out of the *due* index whose retention is over: none of it counts any more, finished or not."""
    head = readable(insist(env, lambda: env.store.get(ref, HEAD)))
    if not isinstance(head, Head) or head.due is None or now < head.expires:
        return  # it is gone, or there is another run of that key by now
    if head.status in GOES_ON:
        log.error("run taken out of the due index unfinished: its retention is over", extra={"run": ref.run})
    change = HeadUpdate(guard=Guard.DUE_AS_SEEN, seen_due=head.due, clear_due=True)
    insist(env, lambda: env.store.update(ref, change))


def show_status(env: Environment, session: Session) -> None:
    """See to it that lists show whether the run is paused.

    Once somebody has spoken of a later commit, it is for them to do so.
    """
    status = coarse(session.state, session.head.status)
    if status != session.head.status and session.head.due_seq <= session.state.seq:
        set_status(env, session, status)


def set_status(env: Environment, session: Session, status: str) -> None:
    """Park or unpark: this deployment does not have, or has again, what the run is pinned to; pause or go on."""
    change = HeadUpdate(
        guard=Guard.STATUS_AS_SEEN,
        due_seq=max(session.state.seq, session.head.due_seq),
        status=status,
        listing_order=_order(session, status),
        seen_status=session.head.status,
    )
    _update(env, session, change)


def move_cursor(env: Environment, session: Session, published: int, *, events: int = 0, failures: int = 0) -> None:
    """Commits up to ``published`` and ``events`` of the next are settled; what comes then has failed so often."""
    change = HeadUpdate(
        guard=Guard.CURSOR_AS_SEEN,
        published=published,
        published_events=events,
        publish_failures=failures,
        seen_published=session.head.published,
        seen_events=session.head.published_events,
        seen_failures=session.head.publish_failures,
    )
    _update(env, session, change)


def _order(session: Session, status: str) -> str:
    return listing_order(status, session.identity.created, session.ref.run)


def is_final(session: Session) -> bool:
    """The head says already what the finished state calls for."""
    head = session.head
    return head.due is None and head.status == coarse(session.state) and head.published == session.state.seq
