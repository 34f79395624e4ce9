"""What stands in a message, whatever carries it: a poke as JSON text, and how that becomes a poke again."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from kernel.delivery import Delivery
from kernel.errors import OnewriteError
from kernel.ports import Poke

FORMAT = 1
"""The newest message format that this version reads."""
MAX_BODY = 4096
"""Characters. Ours are under 1 KB: what is longer is not one."""
MAX_NAME = 256
"""Characters of a tenant, a run id or a stage id in a message."""


class ForeignMessage(OnewriteError):
    """A queue message that is no poke, or one of a newer version of Onewrite.

    It can never be attended: it belongs in the dead-letter queue.
    """


def encode(poke: Poke) -> str:
    """The body of a poke's message: JSON text."""
    return msgspec.json.encode(poke).decode()


class _Message(Poke, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A poke as it must stand in a message of this version: nothing unknown in it."""


class _Version(msgspec.Struct):
    """What messages of all versions have."""

    v: int = FORMAT


_message = msgspec.json.Decoder(_Message)
_version = msgspec.json.Decoder(_Version)


def parse(body: object) -> Poke:
    """The poke in a message's body.

    Raises:
        ForeignMessage: it is no poke of ours, or of a newer version.
    """
    if not isinstance(body, str):
        raise ForeignMessage(f"not a poke: its body is a {type(body).__name__}, not a text")
    if len(body) > MAX_BODY:
        raise ForeignMessage(f"not a poke: its body has {len(body)} characters, a poke at most {MAX_BODY}")
    try:
        message = _message.decode(body)
    except (msgspec.MsgspecError, UnicodeError) as error:
        _refuse_newer(body)
        raise ForeignMessage(f"not a poke: {error}") from error
    if message.v != FORMAT:
        _refuse_newer(body)
        raise ForeignMessage(f"not a poke: there is no version {message.v}")
    for problem in _problems(message):
        raise ForeignMessage(f"not a poke: {problem}")
    return Poke(
        tenant=message.tenant,
        run=message.run,
        stage=message.stage,
        at=message.at,
        event=message.event,
        priority=message.priority,
    )


def delivered(id_: str, body: object, *, source: str = "", count: int = 0) -> Delivery:
    """A message in hand, whatever stands in it."""
    try:
        return Delivery(id=id_, poke=parse(body), source=source, count=count)
    except ForeignMessage as error:
        return Delivery(id=id_, poke=None, problem=str(error), source=source, count=count)


def _refuse_newer(body: str) -> None:
    try:
        found = _version.decode(body).v
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return
    if found > FORMAT:
        raise ForeignMessage(
            f"a poke of version {found}, written by a newer version of Onewrite (this reads up to {FORMAT}). "
            "Deploy that version: the due index keeps the run until then"
        )


def _problems(poke: Poke) -> Iterator[str]:
    names = (
        ("tenant", poke.tenant),
        ("run", poke.run),
        ("stage", poke.stage),
        ("event", poke.event),
        ("priority", poke.priority),
    )
    for name, value in names:
        if len(value) > MAX_NAME:
            yield f"its {name} has {len(value)} characters, more than {MAX_NAME}"
        elif not value and name in _KEYS:
            yield f"its {name} is empty"
        elif "#" in value and name in _KEYS:
            yield f"its {name} contains '#'"
    if not 0 <= poke.at < _END_OF_TIME:
        yield f"its time {poke.at} is none"


_KEYS = ("tenant", "run")
"""What a partition's key is made of."""
_END_OF_TIME = 253_402_300_800_000  # the year 10000, in milliseconds
