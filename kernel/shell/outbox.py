"""The outbox: the log past the head's cursor. Publishing is at least once and in order of submission per run.

An event that fails again and again becomes a dead letter of its own, and what comes after it goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from kernel.core.codec import from_json, to_json
from kernel.core.events import RUN_LEVEL, AnyEvent
from kernel.errors import CorruptLog, InfrastructureError, Missing, Unavailable
from kernel.metrics import NO_METRICS, Count, Duration
from kernel.ports import DEAD, Dead, Published, RunRef, Sink, Unreadable
from kernel.shell import heads
from kernel.shell.environment import Environment
from kernel.shell.insist import insist
from kernel.shell.load import Session, load
from kernel.shell.logs import log

GIVEN_UP = 720
"""What it takes for an event to be given up. Each look of a tick at which the sink cannot be reached, or is not there,
counts 1, so that an outage may last a day at least; each at which the sink refuses the event counts more, by
``Limits.publish_attempts``."""


PAGE = 100
"""Dead letters that are read at a time."""


class Envelope(Struct, frozen=True, kw_only=True):
    """The body of a published event: itself, and where in which run it happened. ``at`` is in milliseconds."""

    id: str
    type: str
    tenant: str
    run: str
    workflow: str
    version: int
    seq: int
    index: int
    at: int
    event: Any


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


def flush(env: Environment, session: Session, *, counting: bool = False) -> Flush:
    """Publish what the cursor says is still to be published.

    The cursor itself is moved here only when something is left over; with a run that is flushed clean, ``leave`` moves
    it, together with what else is to be said of the head.

    Args:
        env: the ports.
        session: the run.
        counting: a failure counts. Only ticks count, whose looks at a run are minutes apart: workers may come by many
            times a second.
    """
    head = session.head
    settled, failures = head.published_events, head.publish_failures
    published = dead = 0
    for seq in _pending(env, session):
        for index, event in enumerate(session.events(env, seq)):
            if not _wanted(env, event) or (seq == head.published + 1 and index < settled):
                continue
            letter = _envelope(session, seq, index, event)
            problem, weight = _submit(env, letter)
            failures += weight if counting else 0
            if problem is None:
                _measure(env, letter)
                published += 1
            elif failures < GIVEN_UP:
                if published or dead or failures != head.publish_failures:
                    # Keep where to go on, and how often that has failed.
                    heads.move_cursor(env, session, seq - 1, events=index, failures=failures)
                return Flush(published, dead, clean=False)
            else:
                _bury(env, session, letter, (seq, index), problem)
                dead += 1
            failures = 0
    return Flush(published, dead, clean=True)


def _submit(env: Environment, letter: Published) -> tuple[str | None, int]:
    """Why the sink did not take an event, and how much that counts."""
    refused = -(-GIVEN_UP // env.limits.publish_attempts)
    try:
        problem = env.sink.publish((letter,))[0]
    except NotAsked as error:
        return str(error), 0
    except (Unavailable, Missing) as error:
        return str(error), 1
    except InfrastructureError as error:
        return str(error), refused
    return problem, refused if problem else 0


def _measure(env: Environment, letter: Published) -> None:
    """The sink took it."""
    if env.metrics is not NO_METRICS:
        env.metrics.count(Count.EVENTS_PUBLISHED)
        env.metrics.observe(Duration.OUTBOX_AGE, max(0, env.clock.now() - letter.at) / 1000)


class NotAsked(Unavailable):
    """The sink could not be reached a moment ago, so it was not asked again."""


class PatientSink:
    """A sink that is not asked again once it could not be reached: a tick has other runs to look at."""

    def __init__(self, sink: Sink) -> None:
        """Nothing went wrong so far."""
        self._sink = sink
        self._down = ""

    def publish(self, events: Sequence[Published]) -> Sequence[str | None]:
        """Submit the events.

        Raises:
            NotAsked: the sink could not be reached before.
        """
        if self._down:
            raise NotAsked(self._down)
        try:
            return self._sink.publish(events)
        except (Unavailable, Missing) as error:
            self._down = str(error)
            raise


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


def _envelope(session: Session, seq: int, index: int, event: AnyEvent) -> Published:
    identity = session.identity
    id_ = f"{identity.run}#{seq}#{index}"
    kind = type(event).__name__
    at = session.times[seq]
    told = Envelope(
        id=id_,
        type=kind,
        tenant=identity.tenant,
        run=identity.run,
        workflow=identity.workflow,
        version=identity.version,
        seq=seq,
        index=index,
        at=at,
        event=event,
    )
    return Published(id_, kind, identity.tenant, identity.run, at, to_json(told))


def _bury(env: Environment, session: Session, letter: Published, place: tuple[int, int], problem: str) -> None:
    dead = Dead(*place, env.clock.now(), problem[:1000], letter.body, session.ttl)
    insist(env, lambda: env.store.put(session.ref, dead))
    env.metrics.count(Count.EVENTS_DEAD)
    log.error("event given up as dead letter", extra={"run": session.ref.run, "event": letter.id, "error": problem})


def dead_letters(env: Environment, ref: RunRef) -> Iterator[Dead | Unreadable]:
    """The dead letters of a run, oldest first; one that cannot be read keeps nobody from the others."""
    after = DEAD
    while items := env.store.range(ref, f"{after}!", f"{DEAD}~", limit=PAGE):
        yield from (_checked(ref, item) for item in items if isinstance(item, Dead | Unreadable))
        after = items[-1].key


def _checked(ref: RunRef, letter: Dead | Unreadable) -> Dead | Unreadable:
    if isinstance(letter, Unreadable):
        return letter
    try:
        from_json(letter.body, Envelope)
    except ValueError as error:
        message = f"run {ref.run}: the event in {letter.key} cannot be read: {error}"
        return Unreadable(letter.key, CorruptLog(message))
    return letter


def replay_dead_letters(env: Environment, ref: RunRef) -> Flush | None:
    """Publish a run's dead letters once more; those that the sink accepts are removed. None if there is no such run.

    Raises:
        InfrastructureError: the sink or the store cannot be reached; what was accepted before that is removed.
    """
    if load(env.store, ref, env.clock.now) is None:
        return None
    published = left = 0
    for letter in dead_letters(env, ref):
        if isinstance(letter, Dead) and env.sink.publish((event := _event(ref, letter),))[0] is None:
            _measure(env, event)
            env.store.delete(ref, letter.key)
            published += 1
        else:
            left += 1
    return Flush(published, 0, clean=not left)


def _event(ref: RunRef, letter: Dead) -> Published:
    """The event that a dead letter holds."""
    told: Envelope = from_json(letter.body, Envelope)
    return Published(told.id, told.type, ref.tenant, ref.run, told.at, letter.body)
