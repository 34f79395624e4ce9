"""Starting a run: validate, write the head that carries commit 0, poke. Idempotent for callers that give a key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Struct

from kernel.core.codec import FORMAT, encode_events
from kernel.core.events import RunCreated
from kernel.define.workflow import Workflow
from kernel.errors import Conflict
from kernel.limits import check_key, check_tenant
from kernel.ports import HEAD, Guard, Head, Poke, RunRef
from kernel.shell import heads
from kernel.shell.environment import Environment
from kernel.shell.insist import insist
from kernel.shell.leave import send
from kernel.shell.values import check_size, keep

SHORT_NAMES = 40
"""Characters of tenant, workflow and caller that a head has room for beside the largest value kept in it."""
REFERENCE = 160
"""Characters that the reference to a value kept elsewhere takes."""

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


def start(
    env: Environment,
    workflow: Workflow[Any, *tuple[Any, ...]],
    input: object,  # noqa: A002 - the domain's word
    *,
    tenant: str,
    by: str,
    key: str | None = None,
    config: Mapping[str, object] | None = None,
    preset: str | None = None,
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

    Raises:
        InvalidInput: input, config or key do not fit. Nothing was stored.
        Conflict: the key was used with other input.
        InfrastructureError: the store failed; whether the run exists is unknown, so repeat with the same key.
    """
    check_tenant(tenant)
    accepted = workflow.accept(input)
    configured = workflow.configure(config, preset)
    for text in (accepted, configured or b""):
        check_size(env, text)
    definition = workflow.definition
    if key is not None:
        check_key("idempotency key", key)
    digest = _digest(workflow.id, accepted.decode(), (configured or b"").decode())
    run = env.random.token() if key is None else _digest(tenant, workflow.id, key)
    ref = RunRef(tenant, run)
    if key is not None and len(accepted) + len(configured or b"") > env.limits.inline:
        # What is kept beside the head is written before it: so look first, lest a conflict leave something behind.
        found = insist(env, lambda: env.store.get(ref, HEAD))
        if isinstance(found, Head):
            return _known(env, ref, found, digest, key)
    now = env.clock.now()
    deadline = now + (definition.deadline if definition.deadline is not None else env.limits.deadline)
    expires = deadline + env.limits.retention
    ttl = expires // 1000
    # The names are in the head twice, in its keys: with long ones, less of it is left for values under 1 KB.
    names = max(0, 2 * len(tenant) + 2 * len(workflow.id) + len(by) - SHORT_NAMES)
    room = env.limits.inline - names - len(accepted)
    aside = 0 if configured is None else len(configured) if len(configured) <= room else REFERENCE
    value = keep(env, ref, 0, accepted, ttl, beside=names + aside)
    kept = len(accepted) if value.json is not UNSET else REFERENCE
    config_value = None if configured is None else keep(env, ref, 0, configured, ttl, beside=names + kept)
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
        touched="",
        token=env.random.token(),
        by=by,
        events=encode_events((RunCreated(value, config_value),)),
        digest=digest,
        v=FORMAT,
    )
    refusal = insist(env, lambda: env.store.put(ref, head, Guard.RUN_IS_NEW))
    # Refused by an earlier try of this very put, whose reply was lost: the run is ours.
    if refusal is not None and isinstance(refusal.existing, Head) and refusal.existing.token != head.token:
        return _known(env, ref, refusal.existing, digest, key)
    send(env, [(Poke(tenant, run), 0)])
    return Started(ref, replay=False)


def _known(env: Environment, ref: RunRef, head: Head, digest: str, key: str | None) -> Started:
    """The key was used before: for the same request that run is the answer, for another one it is a conflict."""
    if env.clock.now() >= head.expires:
        message = f"idempotency key {key!r} was used for a run whose retention is over: take a new key"
        raise Conflict(message)
    if head.digest != digest:
        message = f"idempotency key {key!r} was used for {head.workflow} with other input: take a new key"
        raise Conflict(message)
    if head.due is not None and env.clock.now() < head.created + env.limits.look_grace:
        send(env, [(Poke(ref.tenant, ref.run), 0)])  # whoever created the run may have died before poking
    return Started(ref, replay=True)


def _digest(*parts: str) -> str:
    """24 hexadecimal digits, as a random token has."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
