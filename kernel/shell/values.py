"""Where values are kept: small ones in their event, larger ones in a data item, the largest in the blob store."""

from __future__ import annotations

import hashlib

from msgspec import UNSET

from kernel.core.codec import inline
from kernel.core.events import Value
from kernel.errors import CorruptLog, InvalidInput
from kernel.ports import DATA, Data, Inbox, RunRef, readable
from kernel.shell.environment import Environment
from kernel.shell.insist import insist

BLOB_DAYS = (40, 80, 160, 400, 800, 1_600, 3_200, 7_400)
"""For how many days a blob store may be told to keep an object: what a key begins with says for how many."""
_DAY = 86_400
_SPARE = _DAY
"""Seconds that an object is kept beyond its time, so that no clock that is off takes it away."""


def check_size(env: Environment, text: bytes) -> None:
    """A value is not larger than a value may be.

    Raises:
        InvalidInput: it is.
    """
    if len(text) > env.limits.payload:
        message = (
            f"a value of {len(text)} bytes is too large: at most {env.limits.payload}; keep it elsewhere, pass its key"
        )
        raise InvalidInput(message)


def keep(
    env: Environment,
    ref: RunRef,
    seq: int,
    text: bytes,
    ttl: int,
    *,
    since: int,
    beside: int = 0,
    until: float | None = None,
) -> Value:
    """Put a value where it belongs, before the commit that refers to it.

    Its key is made of ``seq`` (the number of the attempt's Started commit; 0 for the input) and of its content, so
    that writing it twice is harmless and no two writers can overwrite one another. The key of a blob begins with for
    how long it is to be kept.

    Args:
        env: the ports.
        ref: the run.
        seq: which attempt it comes from.
        text: its JSON text.
        ttl: when the store may delete it, in seconds.
        since: a time that is past, in milliseconds, such as that of the run's last commit.
        beside: bytes of other values in the same event.
        until: monotonic time in seconds until which to insist.

    Raises:
        InvalidInput: it is larger than a value may be.
    """
    if len(text) + beside <= env.limits.inline:
        return inline(text)
    check_size(env, text)
    return keep_aside(env, ref, seq, text, ttl, since=since, until=until)


def keep_aside(
    env: Environment, ref: RunRef, seq: int, text: bytes, ttl: int, *, since: int, until: float | None = None
) -> Value:
    """Put a value beside the log, as ``keep`` does with a large one."""
    size, digest = len(text), hashlib.sha256(text).hexdigest()
    if size <= env.limits.data:
        key = f"{DATA}{seq:010d}#{digest[:16]}"
        insist(env, lambda: env.store.put(ref, Data(key, text, ttl)), until)
        return Value(data=key, size=size, sha256=digest)
    key = f"{_shelf(ttl - since // 1000)}/{ref.tenant}/{ref.run}/{seq:010d}-{digest[:16]}"
    insist(env, lambda: env.blobs.put(key, text), until)
    return Value(blob=key, size=size, sha256=digest)


def _shelf(seconds: int) -> str:
    """Where to put what is needed for so long: the store forgets by its shelf (``template.yaml``), never too early."""
    days = next((days for days in BLOB_DAYS if days * _DAY >= seconds + _SPARE), None)
    return "always" if days is None else f"{days}-days"


def fetch(env: Environment, ref: RunRef, value: Value, until: float | None = None) -> bytes:
    """The JSON text of a value, from wherever it is; insisted on until the monotonic time ``until``.

    Raises:
        LogError: it is gone, cannot be read, or is not what was written.
    """
    if value.json is not UNSET:
        return bytes(value.json)
    if value.data:
        item = readable(insist(env, lambda: env.store.get(ref, value.data), until))
        text = item.body if isinstance(item, Data | Inbox) else None
    else:
        text = insist(env, lambda: env.blobs.get(value.blob), until)
    where = value.data or value.blob
    if text is None:
        message = f"run {ref.run}: the value at {where} is missing"
        raise CorruptLog(message)
    if len(text) != value.size or hashlib.sha256(text).hexdigest() != value.sha256:
        message = f"run {ref.run}: the value at {where} is not what was written (size or checksum differ)"
        raise CorruptLog(message)
    return text
