"""External events, in two phases: accepted once into the run's inbox, then applied once by a worker.

Until it is settled an accepted event is itself an entry of the *due* index, so that a lost poke loses none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from kernel.core.codec import inline
from kernel.core.decide import KEPT
from kernel.core.definition import Later
from kernel.core.draft import Stale
from kernel.core.events import Value
from kernel.core.state import State
from kernel.errors import Conflict, InvalidInput, NotDeployed, NotFound, Unavailable
from kernel.limits import check_event_id, check_roles
from kernel.ports import INBOX, Found, Guard, Inbox, Put, RunRef, readable
from kernel.shell import heads
from kernel.shell.environment import HOUR, Environment
from kernel.shell.insist import insist
from kernel.shell.keys import find_holder
from kernel.shell.leave import send
from kernel.shell.load import Session, ttl_of
from kernel.shell.logs import log
from kernel.shell.read import find, find_head

LARGEST = 100_000
"""Bytes that what an event carries may have, as JSON text."""


PAGE, PAGES = 200, 5
"""Events of a run that are looked at, to see how many of them wait."""


class EventView(Struct, frozen=True, omit_defaults=True):
    """An external event, for people.

    Attributes:
        id: of the event.
        run: which run it is for.
        name: its class.
        at: when it was accepted, in milliseconds.
        status: accepted, applied or refused.
        seq: number of the commit that applied it.
        reason: why it was refused.
    """

    id: str
    run: str
    name: str
    at: int
    status: str
    seq: int | None = None
    reason: str = ""


def accept(
    env: Environment,
    ref: RunRef,
    name: str,
    payload: object,
    *,
    by: str,
    id_: str | None = None,
    roles: Collection[str] = (),
) -> EventView:
    """Accept an external event for a run: it will be applied once, or refused with a reason that ``look_up`` tells.

    Args:
        env: the ports.
        ref: which run.
        name: the event's class.
        payload: what it carries: a model, a mapping, or JSON text.
        by: who sends it.
        id_: of the event: the same id is the same event, however often it is sent. Made up if absent.
        roles: what they are allowed to act as.

    Raises:
        NotFound: there is no such run.
        InvalidInput: its workflow waits for no such event, what it carries does not fit, or the id is none.
        Conflict: the run is over, its machine is in a state that does not take it, or the id was used for another
            event.
        Forbidden: its machine takes it from other roles only.
        NotDeployed: this deployment does not have the run's workflow; another one may.
    """
    id_ = env.random.token() if id_ is None else check_event_id(id_)
    roles = check_roles(roles)
    head = find_head(env, ref)
    definition = env.definitions.find(head.workflow, head.version, head.fingerprint)
    if definition is None:
        message = (
            f"this deployment does not have {head.workflow} version {head.version} as the run began with it: "
            "send the event to one that has"
        )
        raise NotDeployed(message)
    if name not in definition.events:
        known = ", ".join(sorted(definition.events)) or "none"
        message = f"workflow {head.workflow} waits for no event {name[:100]!r}; it waits for: {known}"
        raise InvalidInput(message, (("name", f"give one of: {known}"),))
    text: bytes = definition.events[name].accept(payload)
    if len(text) > LARGEST:
        message = f"what the event carries has {len(text)} bytes: at most {LARGEST}; keep it elsewhere, pass its key"
        raise InvalidInput(message, (("payload", f"at most {LARGEST} bytes"),))
    known_already = _known(env, ref, id_)
    if known_already is None and head.status not in heads.GOES_ON:
        message = f"run {ref.run} is {head.status}: it takes no events any more"
        raise Conflict(message)
    if known_already is None and definition.selective:
        with suppress(Later):
            definition.program.require_event(find(env, ref).state, name, roles)
    now = env.clock.now()
    item = Inbox(
        id=id_,
        name=name,
        body=text,
        digest=hashlib.sha256(name.encode() + b"\0" + text).hexdigest()[:24],
        at=now,
        by=by,
        roles=roles if definition.selective else (),
        priority=head.priority,
        due_shard=head.due_shard,
        due=now + env.limits.look_grace,
        ttl=ttl_of(head.expires),
    )
    existing = known_already or _put(env, ref, item)
    if existing is not None and existing.digest != item.digest:
        message = f"event id {id_!r} was used for another event of this run: take a new id"
        raise Conflict(message)
    found = existing or item
    if found.due is not None:
        send(env, [(found.poke(ref), 0)])
    return _view(ref, found)


def accept_by_key(
    env: Environment,
    tenant: str,
    workflow: str,
    key: str,
    name: str,
    payload: object,
    *,
    by: str,
    id_: str | None,
    roles: Collection[str] = (),
) -> EventView:
    """Accept an external event for the run that holds a business key, as ``accept`` does.

    An event that is sent again is answered by the run that took it, also when that is over and nobody holds the key.

    Raises:
        NotFound: nobody holds the key.
        InvalidInput, Conflict, Forbidden, NotDeployed: as ``accept`` does, or it cannot be a business key.
    """
    if id_ is not None:
        check_event_id(id_)

    def took_it(last: RunRef) -> bool:
        return id_ is not None and _known(env, last, id_) is not None

    ref = find_holder(env, tenant, workflow, key, or_last=took_it)
    return accept(env, ref, name, payload, by=by, id_=id_, roles=roles)


def _put(env: Environment, ref: RunRef, item: Inbox) -> Inbox | None:
    """The event of that id that was there already, if one was."""
    refusal = insist(env, lambda: env.store.put(ref, item, Guard.EVENT_IS_NEW))
    if refusal is None:
        return None
    existing = readable(refusal.existing)
    if not isinstance(existing, Inbox):
        message = f"event {item.id} of run {ref.run} was there, and is gone: send it again"
        raise Unavailable(message)
    return existing


def _known(env: Environment, ref: RunRef, id_: str, until: float | None = None) -> Inbox | None:
    item = readable(insist(env, lambda: env.store.get(ref, f"{INBOX}{id_}"), until))
    return item if isinstance(item, Inbox) else None


def look_up(env: Environment, ref: RunRef, id_: str) -> EventView:
    """What became of an external event.

    Raises:
        NotFound: there is no such run, or it was sent no such event.
    """
    find_head(env, ref)
    item = _known(env, ref, check_event_id(id_))
    if item is None:
        message = f"run {ref.run} was sent no event {id_!r}"
        raise NotFound(message)
    return _view(ref, item)


def _view(ref: RunRef, item: Inbox) -> EventView:
    status = "accepted" if item.due is not None else "refused" if item.refused else "applied"
    return EventView(
        id=item.id,
        run=ref.run,
        name=item.name,
        at=item.at,
        status=status,
        seq=item.seq or None,
        reason=item.refused,
    )


def unsettled(env: Environment, ref: RunRef, id_: str, until: float | None = None) -> Inbox | None:
    """An accepted event that is neither applied nor refused so far."""
    item = _known(env, ref, id_, until)
    return item if item is not None and item.due is not None else None


def payload_of(env: Environment, item: Inbox) -> Value:
    """What an event carries, as the log records it: in the log itself, or where it is already."""
    if len(item.body) <= env.limits.inline:
        return inline(item.body)
    return Value(data=item.key, size=len(item.body), sha256=hashlib.sha256(item.body).hexdigest())


class Applied(Struct, frozen=True):
    """An external event that a commit applies: it is settled in the same transaction."""

    env: Environment
    ref: RunRef
    item: Inbox

    def put(self, state: State) -> Put:
        """The event once it is applied; what it carries is kept only if the log does not have it."""
        kept = self.item.body if len(self.item.body) > self.env.limits.inline else b""
        return self.ref, replace(self.item, due=None, seq=state.seq, body=kept), Guard.EVENT_IS_OPEN

    def refused(self, existing: Found | None) -> None:  # noqa: ARG002 - whoever it was
        """Somebody else has settled it.

        Raises:
            Stale: always.
        """
        message = f"event {self.item.id} is settled already"
        raise Stale(message)


def refuse(env: Environment, ref: RunRef, item: Inbox, reason: str) -> None:
    """Settle an event that the run cannot take any more."""
    settled = replace(item, due=None, refused=reason[:500], body=b"")
    if insist(env, lambda: env.store.put(ref, settled, Guard.EVENT_IS_OPEN)) is None:
        log.warning("event refused", extra={"run": ref.run, "event": item.id, "reason": reason})


def waiting(env: Environment, ref: RunRef, until: float | None = None) -> list[Inbox]:
    """The events of a run that are not settled, of the first pages by id."""
    low, found = INBOX, list[Inbox]()
    for _ in range(PAGES):
        start = low
        page = insist(env, lambda: env.store.range(ref, start, f"{INBOX}~", limit=PAGE), until)  # noqa: B023 - called at once
        found += (each for each in page if isinstance(each, Inbox) and each.due is not None)
        if len(page) < PAGE:
            break
        low = f"{page[-1].key}!"
    return found


def poke_waiting(env: Environment, session: Session, before: State, until: float | None, *, known: str = "") -> None:
    """A machine may have come to a state: events that came before need not wait until a tick looks at them.

    Args:
        env: the ports.
        session: the run, after a commit.
        before: its state before that.
        until: monotonic time in seconds until which to insist.
        known: id of an event that is looked at anyway.
    """
    if not _is_between(before) or _is_between(session.state):
        return
    # One page, so that the thousandth transition costs what the hundredth does; what is past it, a tick finds. That of
    # the last ids: most senders number their events, or name them by the time, and those that wait are the latest.
    ref = session.ref
    page = insist(env, lambda: env.store.range(ref, INBOX, f"{INBOX}~", limit=PAGE, descending=True), until)
    waits = [each for each in reversed(page) if isinstance(each, Inbox) and each.due is not None]
    if pokes := [(each.poke(ref), 0) for each in waits if each.id != known]:
        send(env, pokes)


def _is_between(state: State) -> bool:
    """Whether a machine is in no state (yet): events wait."""
    return not state.status.finished and (state.place is None or bool(state.place.transition))


def is_crowded(env: Environment, ref: RunRef, item: Inbox, until: float) -> bool:
    """Whether so many events of the run have waited longer than this one that it is not to wait, too."""
    ahead = [each for each in waiting(env, ref, until) if (each.at, each.id) < (item.at, item.id)]
    return len(ahead) >= KEPT


def deliver(env: Environment, ref: RunRef, id_: str) -> bool:
    """A tick takes an event that nobody has settled: pokes for it, and looks again after the look grace.

    Returns:
        Whether there was anything to do.
    """
    item = unsettled(env, ref, id_)
    now = env.clock.now()
    if item is None or item.due is None or item.due > now:
        return False
    # One that nobody can settle for long, such as of a run that is parked, is looked at ever more rarely.
    again = max(env.limits.look_grace, min(HOUR, (now - item.at) // 8))
    later = replace(item, due=now + again)
    if insist(env, lambda: env.store.put(ref, later, Guard.EVENT_IS_OPEN)) is not None:
        return False
    send(env, [(item.poke(ref), 0)])
    return True
