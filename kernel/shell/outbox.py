"""The outbox: the log past the head's cursor. Publishing is at least once and in order of submission per run.

An event that fails again and again becomes a dead letter of its own, and what comes after it goes on.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from kernel.core.codec import from_json, to_json
from kernel.core.events import RUN_LEVEL, AnyEvent
from kernel.errors import InfrastructureError
from kernel.ports import DEAD, Dead, Published, RunRef
from kernel.shell import heads
from kernel.shell.environment import Environment
from kernel.shell.load import Session, load
from kernel.shell.logs import log


class Flush(Struct, frozen=True):
    """What a flush did.

    Attributes:
        published: events that the sink accepted.
        dead: events that were given up.
        clean: nothing is left unpublished.
    """

    published: int
    dead: int
    clean: bool


def flush(env: Environment, session: Session) -> Flush:
    """Publish what the cursor says is still to be published.

    The cursor itself is moved here only when something is left over or the run goes on; for a finished run that is
    flushed clean, finalising moves it.
    """
    start = session.head.published
    failures = session.head.publish_failures
    published = dead = 0
    for seq in _pending(env, session):
        for index, event in enumerate(session.events(env.store, seq)):
            if not _wanted(env, event):
                continue
            problem = _publish(env, _envelope(session, seq, index, event))
            if problem is None:
                published += 1
                continue
            failures += 1
            if failures < env.limits.publish_attempts:
                heads.move_cursor(env, session, seq - 1, failures)
                return Flush(published, dead, clean=False)
            _bury(env, session, seq, index, event, problem)
            failures, dead = 0, dead + 1
    if not session.state.status.finished and (published or dead):
        heads.move_cursor(env, session, session.state.seq, 0)
    if published or dead:
        extra = {"run": session.ref.run, "from": start + 1, "to": session.state.seq, "published": published}
        log.debug("outbox flushed", extra=extra)
    return Flush(published, dead, clean=True)


def _pending(env: Environment, session: Session) -> Iterator[int]:
    """Numbers of the commits past the cursor that may hold events to publish."""
    cursor = session.head.published
    match env.limits.publish:
        case "run":
            return (seq for seq in session.state.milestones if seq > cursor)
        case "all":
            return iter(range(cursor + 1, session.state.seq + 1))
        case _:
            return iter(())


def _wanted(env: Environment, event: AnyEvent) -> bool:
    return env.limits.publish == "all" or isinstance(event, RUN_LEVEL)


def _publish(env: Environment, event: Published) -> str | None:
    try:
        return env.sink.publish((event,))[0]
    except InfrastructureError as error:
        return str(error)


def _envelope(session: Session, seq: int, index: int, event: AnyEvent) -> Published:
    identity = session.identity
    id_ = f"{identity.run}#{seq}#{index}"
    kind = type(event).__name__
    body = {
        "id": id_,
        "tenant": identity.tenant,
        "run": identity.run,
        "workflow": identity.workflow,
        "version": identity.version,
        "seq": seq,
        "index": index,
        "event": event,
    }
    return Published(id_, kind, identity.tenant, identity.run, session.state.at, to_json(body))


def _bury(env: Environment, session: Session, seq: int, index: int, event: AnyEvent, problem: str) -> None:
    letter = _envelope(session, seq, index, event)
    dead = Dead(seq, index, env.clock.now(), problem[:1000], letter.body, session.ttl)
    env.store.put(session.ref, dead)
    log.error("event given up as dead letter", extra={"run": session.ref.run, "event": letter.id, "error": problem})


def dead_letters(env: Environment, ref: RunRef, limit: int = 100) -> list[Dead]:
    """The dead letters of a run, oldest first."""
    items = env.store.range(ref, DEAD, DEAD + "~", limit=limit)
    return [item for item in items if isinstance(item, Dead)]


def replay_dead_letters(env: Environment, ref: RunRef) -> Flush | None:
    """Publish a run's dead letters once more; those that the sink accepts are removed. None if there is no such run."""
    session = load(env.store, ref)
    if session is None:
        return None
    published = 0
    letters = dead_letters(env, ref)
    for letter in letters:
        id_ = f"{ref.run}#{letter.seq}#{letter.index}"
        kind = str(from_json(letter.body)["event"]["type"])
        if _publish(env, Published(id_, kind, ref.tenant, ref.run, letter.at, letter.body)) is None:
            env.store.delete(ref, letter.key)
            published += 1
    return Flush(published, 0, clean=published == len(letters))
