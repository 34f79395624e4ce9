"""What hostile input is made of: junk, valid things that were damaged, and any value of a record type."""

from __future__ import annotations

import copy
import json
import types
import typing
from collections.abc import Iterator
from functools import cache
from math import inf, nan
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from msgspec import Raw, Struct

from kernel.core.events import Value

T = TypeVar("T")
Json = Any

# --- junk -------------------------------------------------------------------------------------------------------------

ODD_TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "null",
    "0",
    "-1",
    "1e999",
    "NaN",
    "#",
    "a#b",
    "~head",
    "../..",
    "%00",
    "'; --",
    "{}",
    "[",
    "\u202e",
    "\ud800",
    "\U0001f31f",
    "٣",
    "é",
    "e\u0301",
    "9" * 5_000,
    "[" * 5_000,
    "x" * 70_000,
)
"""Texts that have broken somebody's parser before: each is tried far more often than chance would."""

odd_texts = st.sampled_from(ODD_TEXTS)
texts = st.one_of(odd_texts, st.text(), st.text(st.characters(), max_size=30))
"""Any text, lone surrogates included: JSON can escape them, so Lambda hands them over."""
valid_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
"""Text that has an encoding."""
numbers = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 1.0, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, nan, inf, -inf]),
    st.floats(),
)
junk: SearchStrategy[Json] = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=5,
)
"""Whatever JSON text decodes to, and then some: NaN, huge numbers, lone surrogates."""
plain_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
"""Text that every part takes."""
json_values: SearchStrategy[Json] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63),
        st.floats(allow_nan=False, allow_infinity=False),
        plain_texts,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(plain_texts, inner, max_size=3)),
    max_leaves=5,
)
"""Plain JSON, as everybody may send it."""


def deep(levels: int) -> str:
    """JSON text of lists within lists."""
    return "[" * levels + "]" * levels


# --- valid things, damaged --------------------------------------------------------------------------------------------


@st.composite
def damaged(draw: DrawFn, valid: Json) -> Json:
    """A valid value in which one to three places were changed: left out, doubled, replaced, wrapped, added to."""
    root = [copy.deepcopy(valid)]
    for _ in range(draw(st.integers(1, 3))):
        if places := list(_places(root)):
            _damage(draw, *places[draw(st.integers(0, len(places) - 1))])
    return root[0] if root else None


def _places(value: Json) -> Iterator[tuple[Json, Any]]:
    """Every place in a value: what holds it, and under which key."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _damage(draw: DrawFn, holder: Json, key: Any) -> None:
    match draw(st.sampled_from(["replace", "replace", "remove", "add", "wrap", "text"])):
        case "remove":
            del holder[key]
        case "add" if isinstance(holder, dict):
            holder[draw(texts)] = draw(junk)
        case "wrap":
            holder[key] = draw(st.sampled_from([[holder[key]], {"": holder[key]}]))
        case "text":
            holder[key] = str(holder[key])
        case _:
            holder[key] = draw(junk)


@st.composite
def damaged_text(draw: DrawFn, valid: str) -> str:
    """A valid text that was cut, extended, or changed somewhere."""
    at = draw(st.integers(0, len(valid)))
    piece = draw(st.one_of(odd_texts, st.text(max_size=3)))
    kept = draw(st.integers(0, len(valid) - at))
    return valid[:at] + piece + valid[at + kept :]


def as_lambda_gives(value: Json) -> Json:
    """A value after a journey through JSON text, as Lambda hands events over."""
    return json.loads(json.dumps(value))


# --- records ----------------------------------------------------------------------------------------------------------


@cache
def any_of(annotation: Any) -> SearchStrategy[Any]:
    """Any value of a type that this project's records are made of."""
    if annotation in _LEAVES:
        return _LEAVES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return records(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(any_of, arguments))
    assert origin is tuple, f"no strategy for {annotation}"
    return st.lists(any_of(arguments[0]), max_size=4).map(tuple)


def records(kind: type[T], **fields: SearchStrategy[Any]) -> SearchStrategy[T]:
    """Any value of a struct, some fields of it as given."""
    hints = typing.get_type_hints(kind)
    wanted = {
        name: fields[name] if name in fields else any_of(hints[name]) for name in cast("Any", kind).__struct_fields__
    }
    return st.builds(kind, **wanted)


names = valid_texts.filter(bool)
sizes = st.integers(0, 10**12)

_LEAVES: dict[Any, SearchStrategy[Any]] = {
    str: valid_texts,
    int: st.integers(-(2**63), 2**63),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=50),
    type(None): st.none(),
    Raw: json_values.map(lambda value: Raw(msgspec.json.encode(value))),
    Value: st.one_of(
        json_values.map(lambda value: Value(json=Raw(msgspec.json.encode(value)))),
        st.builds(Value, data=names, size=sizes, sha256=names),
        st.builds(Value, blob=names, size=sizes, sha256=names),
    ),
}
