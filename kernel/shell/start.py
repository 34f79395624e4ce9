"""Starting a run: validate, write the head that carries commit 0, poke. Idempotent for callers that give a key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import UNSET, Struct

from kernel.annotations import BESIDE, Scalar, accept
from kernel.core.codec import FORMAT, encode_events
from kernel.core.events import RunCreated
from kernel.define.startable import Request, Startable
from kernel.errors import Conflict, CorruptLog, Unavailable
from kernel.limits import check_business_key, check_key, check_priority, check_tenant
from kernel.metrics import Count
from kernel.ports import HEAD, Guard, Head, Refusal, RunRef, readable
from kernel.shell import heads
from kernel.shell.environment import Environment
from kernel.shell.insist import insist
from kernel.shell.keys import Hold
from kernel.shell.leave import send
from kernel.shell.load import creation, ttl_of
from kernel.shell.values import check_size, fetch, keep

SHORT_NAMES = 40
"""Characters of tenant, workflow and caller that a head has room for beside the largest value kept in it."""
BUSINESS_KEY = 12
"""Characters of the name under which a head has its business key."""
REFERENCE = 160
"""Characters that the reference to a value kept elsewhere takes."""

PROMISE = 24
"""Characters that the promise to undo what was done takes in the head."""

TAKES = 10
"""How often a start tries to take a business key over, while others do the same."""

HEAD_TTL_EXTRA = 7 * 86_400
"""Seconds that a head outlives the rest of its run, so that whenever a head is gone, the rest is."""


class Started(Struct, frozen=True):
    """A run that exists now.

    Attributes:
        ref: which run.
        replay: it existed already: the same key and input had been given before.
    """

    ref: RunRef
    replay: bool


def start(  # noqa: PLR0913 - all that can be said of a start
    env: Environment,
    workflow: Startable[Any],
    input: object,  # noqa: A002 - the domain's word
    *,
    tenant: str,
    by: str,
    key: str | None = None,
    config: Mapping[str, object] | None = None,
    preset: str | None = None,
    business_key: str | None = None,
    priority: Literal["normal", "high"] = "normal",
    annotations: Mapping[str, Scalar] | None = None,
) -> Started:
    """Create a run of ``workflow``.

    Args:
        env: the ports.
        workflow: what to run.
        input: a model, a mapping, or JSON text; validated against the workflow's input model.
        tenant: whose run it is.
        by: who starts it.
        key: idempotency key; the same key and input give the same run.
        config: configuration by stage id.
        preset: name of a configuration that the workflow declares.
        business_key: what the run is about: of the workflow's runs with the same, at most one is under way.
        priority: its class: messages of a run of high priority do not wait behind those of others.
        annotations: what is said of this start, by key. Not part of what is asked for: with a key that was used before,
            they are dropped.

    Raises:
        InvalidInput: input, config, a key, priority or annotations do not fit. Nothing was stored.
        Conflict: the key was used with other input, or with another business key.
        KeyHeld: another run that is under way has the business key.
        InfrastructureError: the store failed; whether the run exists is unknown, so repeat with the same key.
    """
    check_tenant(tenant)
    class_ = check_priority(priority)
    said = accept(annotations)
    accepted = workflow.accept(input)
    configured = workflow.configure(config, preset)
    for text in (accepted, configured or b""):
        check_size(env, text)
    definition = workflow.definition
    if key is not None:
        check_key("idempotency key", key)
    name = "" if business_key is None else check_business_key(business_key)
    asked = _Asked(workflow, (accepted, configured), key, name)
    run = env.random.token() if key is None else _digest(tenant, workflow.id, key)
    ref = RunRef(tenant, run)
    # What is kept beside the head is written before it: so look first, lest a conflict leave something behind.
    aside_first = len(accepted) + len(configured or b"") + len(said) > env.limits.inline
    if key is not None and aside_first:
        found = readable(insist(env, lambda: env.store.get(ref, HEAD)))
        if isinstance(found, Head):
            return _known(env, ref, found, asked)
    now = env.clock.now()
    deadline = now + (definition.deadline if definition.deadline is not None else env.limits.deadline)
    expires = deadline + env.limits.retention
    ttl = ttl_of(expires)
    hold = Hold(env, ref, workflow.id, name, ttl) if name else None
    if hold is not None and aside_first:
        hold.look()
    # The names are in the head twice, in its keys: with long ones, less of it is left for values under 1 KB.
    long = 2 * len(tenant) + 2 * len(workflow.id) + len(by) + (BUSINESS_KEY + len(name) if name else 0)
    names = max(0, long - SHORT_NAMES) + PROMISE * definition.undo_on_cancel
    names += (len(said) + BESIDE if said else 0) + (len("priority") + len(class_) if class_ else 0)
    room = env.limits.inline - names - len(accepted)
    aside = 0 if configured is None else len(configured) if len(configured) <= room else REFERENCE
    value = keep(env, ref, 0, accepted, ttl, since=now, beside=names + aside)
    kept = len(accepted) if value.json is not UNSET else REFERENCE
    config_value = None if configured is None else keep(env, ref, 0, configured, ttl, since=now, beside=names + kept)
    shard = heads.shard_of(run, env.limits.shards)
    head = Head(
        workflow=workflow.id,
        version=definition.version,
        fingerprint=definition.fingerprint,
        created=now,
        deadline=deadline,
        expires=expires,
        ttl=ttl + HEAD_TTL_EXTRA,
        status=heads.OPEN,
        listing=heads.listing(tenant, workflow.id, shard),
        listing_order=heads.listing_order(heads.OPEN, now, run),
        due_shard=heads.due_shard(shard),
        due=now + env.limits.look_grace,
        due_seq=0,
        published=-1,
        publish_failures=0,
        look="",
        token=env.random.token(),
        by=by,
        events=encode_events((RunCreated(value, config_value, definition.undo_on_cancel),)),
        digest=asked.digest,
        v=FORMAT,
        business_key=name,
        priority=class_,
        annotations=said,
    )
    refusal = _create(env, ref, head, hold)
    if refusal is not None and not _is_ours(existing := _head(ref, refusal), head.token):
        return _known(env, ref, existing, asked)
    env.metrics.count(Count.RUNS_STARTED, workflow=workflow.id)
    send(env, [(head.poke(ref), 0)])
    return Started(ref, replay=False)


class _Asked(Struct, frozen=True):
    """What a start asks for: the accepted input and configuration, under which key."""

    workflow: Startable[Any]
    request: Request
    key: str | None
    business_key: str

    @property
    def digest(self) -> str:
        """Of all but the keys."""
        accepted, configured = self.request
        return _digest(self.workflow.id, accepted.decode(), (configured or b"").decode())


def _create(env: Environment, ref: RunRef, head: Head, hold: Hold | None) -> Refusal | None:
    """Put the head, and with it, in a transaction, its business key; gives what there is of the run already.

    Raises:
        KeyHeld: another run that is under way has the key.
    """
    if hold is None:
        return insist(env, lambda: env.store.put(ref, head, Guard.RUN_IS_NEW))
    for _ in range(TAKES):
        put = hold.by(0)
        refusals = insist(env, lambda: env.store.put_all([(ref, head, Guard.RUN_IS_NEW), put]))  # noqa: B023 - at once
        if refusals is None:
            return None
        exists, held = refusals
        if exists is not None:
            return exists
        hold.refused(held.existing if held else None)
    message = f"the business key {head.business_key!r} changes hands too fast: start the run again"
    raise Unavailable(message)


def _head(ref: RunRef, refusal: Refusal) -> Head:
    """The head that is there."""
    head = readable(refusal.existing)
    if not isinstance(head, Head):
        message = f"run {ref.run} was there, and is gone: its retention is over; start it again"
        raise Unavailable(message)
    return head


def _is_ours(existing: Head, token: str) -> bool:
    """Refused by an earlier try of this very put, whose reply was lost: the run is ours."""
    return existing.token == token


def _known(env: Environment, ref: RunRef, head: Head, asked: _Asked) -> Started:
    """The key was used before: for the same request that run is the answer, for another one it is a conflict."""
    if head.business_key != asked.business_key:
        message = f"idempotency key {asked.key!r} was used with another business key: take a new key"
        raise Conflict(message)
    if env.clock.now() >= head.expires:
        message = f"idempotency key {asked.key!r} was used for a run whose retention is over: take a new key"
        raise Conflict(message)
    if head.digest != asked.digest and not asked.workflow.same(asked.request, _recorded(env, ref, head)):
        message = f"idempotency key {asked.key!r} was used for {head.workflow} with other input: take a new key"
        raise Conflict(message)
    if head.due is not None and env.clock.now() < head.created + env.limits.look_grace:
        send(env, [(head.poke(ref), 0)])  # whoever created the run may have died before poking
    return Started(ref, replay=True)


def _recorded(env: Environment, ref: RunRef, head: Head) -> Request:
    """What the run was asked for with."""
    _, (created, *_) = creation(ref, head)
    if not isinstance(created, RunCreated):
        message = f"run {ref.run}: its first event is not its creation"
        raise CorruptLog(message)
    return fetch(env, ref, created.input), None if created.config is None else fetch(env, ref, created.config)


def _digest(*parts: str) -> str:
    """24 hexadecimal digits, as a random token has."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
