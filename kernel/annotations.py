"""Annotations: typed key-values that say who, why, or what the trigger was. Nothing is ever decided by them.

They stand beside the events of the commit that they were written with, as JSON text; those of a start in the head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isfinite

import msgspec
from msgspec import Struct

from kernel.errors import CorruptLog, InvalidInput

Scalar = str | bool | int | float
"""What an annotation can say."""

MOST = 16
"""Annotations of a start, and of a commit."""
LONGEST = 256
"""Characters of a text."""
WIDEST = 2**63
"""Whole numbers are those of 64 bits."""
KEY = r"[A-Za-z][A-Za-z0-9._-]{0,63}"
"""What a key looks like, as a pattern."""
BESIDE = len("annotations")
"""Bytes that annotations take in an item beside their text."""

_SHOWN = 80
_key = re.compile(KEY)


class Notes(Struct, frozen=True, omit_defaults=True):
    """The annotations of one commit.

    Attributes:
        said: keys and values, in the order in which they were said.
        stage: whose attempt said it; empty for whoever started the run.
    """

    said: list[tuple[str, Scalar]]
    stage: str = ""


_notes = msgspec.json.Decoder(Notes)


def checked(key: object, value: object) -> tuple[str, Scalar]:
    """An annotation that can be kept.

    Raises:
        TypeError: the key is no text, or the value neither a text, a bool, nor a number.
        ValueError: either is not within its limits.
    """
    if not isinstance(key, str):
        raise TypeError(f"the key of an annotation is a text, not {type(key).__name__}")
    if not _key.fullmatch(key):
        raise ValueError("a key is a letter, and up to 63 letters, digits, dots, hyphens and underscores more")
    name = str.__str__(key)  # of a subclass, such as an enumeration, what it stands for
    match value:
        case bool():
            return name, value
        case str():
            return name, _text(value)
        case int():
            if not -WIDEST <= value < WIDEST:
                raise ValueError("a whole number has at most 64 bits")
            return name, int(value)
        case float():
            if not isfinite(value):
                raise ValueError(f"{float(value)} is not a finite number")
            return name, float(value)
        case _:
            raise TypeError(f"the value is a text, a bool, or a number, not {type(value).__name__}")


def _text(value: str) -> str:
    if len(value) > LONGEST:
        raise ValueError(f"a text has at most {LONGEST} characters, not {len(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("the text contains characters that are not valid Unicode") from None
    return str.__str__(value)


def add(said: list[tuple[str, Scalar]], key: object, value: object) -> None:
    """Say one thing more, for the commit that records the end of an attempt.

    Raises:
        TypeError, ValueError: it cannot be kept, or there are too many; named by its key.
    """
    if len(said) >= MOST:
        raise ValueError(f"an attempt has at most {MOST} annotations: {_shown(key)} is one too many")
    try:
        said.append(checked(key, value))
    except (TypeError, ValueError) as error:
        raise type(error)(f"annotation {_shown(key)}: {error}") from None


def accept(annotations: Mapping[str, Scalar] | None) -> bytes:
    """What a run is started with, as its head keeps it; nothing for none.

    Raises:
        InvalidInput: some cannot be kept; names each as ``annotations.<key>``.
    """
    if annotations is None:
        return b""
    if not isinstance(annotations, Mapping) or len(annotations) > MOST:
        message = f"annotations are up to {MOST} keys and values"
        raise InvalidInput(message, (("annotations", f"give an object of at most {MOST} fields"),))
    said: list[tuple[str, Scalar]] = []
    problems: list[tuple[str, str]] = []
    for key, value in annotations.items():
        try:
            said.append(checked(key, value))
        except (TypeError, ValueError) as error:
            problems.append((f"annotations.{_shown(key)}", str(error)))
    if problems:
        message = "the annotations cannot be kept"
        raise InvalidInput(message, tuple(problems))
    return encode(said)


def _shown(key: object) -> str:
    """A key as it can be told, whatever it is."""
    return str(key)[:_SHOWN].encode(errors="backslashreplace").decode()


def encode(said: Sequence[tuple[str, Scalar]], stage: str = "") -> bytes:
    """Annotations as an item keeps them; nothing for none."""
    return msgspec.json.encode(Notes(list(said), stage)) if said else b""


def decode(text: bytes, where: str) -> Notes:
    """The annotations that an item keeps, which is not empty.

    Raises:
        CorruptLog: they cannot be read; ``where`` says which.
    """
    try:
        return _notes.decode(text)
    except (ValueError, RecursionError) as error:
        message = f"{where} has annotations that cannot be read: {error}"
        raise CorruptLog(message) from error
