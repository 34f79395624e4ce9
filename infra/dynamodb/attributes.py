"""One attribute of an item, read with its type checked: whatever else is there is refused by name.

An attribute is a dictionary of one entry, its type and its value: ``{"N": "5"}``. Each of these raises ValueError for
one that is missing or of another type.
"""

from __future__ import annotations

import re
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# As many digits as DynamoDB keeps. int() and float() would also take spaces, underscores and digits of other scripts.
_WHOLE = re.compile(r"-?[0-9]{1,38}")
_ANY = re.compile(r"-?[0-9]{1,130}(\.[0-9]{1,130})?([Ee][+-]?[0-9]{1,3})?")


def text(raw: Mapping[str, Any], name: str) -> str:
    """A text."""
    value: str = _value(raw, name, "S", str)
    return value


def binary(raw: Mapping[str, Any], name: str) -> bytes:
    """Bytes."""
    value: bytes = _value(raw, name, "B", bytes)
    return value


def number(raw: Mapping[str, Any], name: str) -> int:
    """A whole number."""
    digits = _value(raw, name, "N", str)
    if _WHOLE.fullmatch(digits) is None:
        raise ValueError(f"{name} is no whole number")
    return int(digits)


def fraction(raw: Mapping[str, Any], name: str) -> float:
    """Any number."""
    digits = _value(raw, name, "N", str)
    found = float(digits) if _ANY.fullmatch(digits) else nan
    if not isfinite(found):
        raise ValueError(f"{name} is no number")
    return found


def _value(raw: Mapping[str, Any], name: str, kind: str, form: type) -> Any:  # noqa: ANN401 - of that type
    try:
        value = raw[name][kind]
    except (KeyError, TypeError):
        value = None
    if not isinstance(value, form):
        raise ValueError(f"{name} is missing, or not of type {kind}")  # noqa: TRY004 - of the data, not of the code
    return value
