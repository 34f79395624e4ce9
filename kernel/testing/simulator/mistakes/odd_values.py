"""Oddities in what is recorded: values of any type, which must come back as they were."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from msgspec import json
from pydantic import BaseModel, Field, RootModel
from typing_extensions import TypeAliasType, TypedDict

from kernel.define.code import NotYet, Suspended
from kernel.define.context import Pending, Suspend
from kernel.define.model import Hint
from kernel.define.shape import describe, fits
from kernel.errors import InvalidOutput
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.mistakes.cases import BILLION, HOUR, Draw, Oddities, all_of, one_of, span
from kernel.testing.simulator.mistakes.writing import (
    EMPTY,
    Anything,
    Colour,
    DictOf,
    Line,
    ListOf,
    Order,
    Receipt,
    SuspendOf,
    TupleOf,
    code_of,
    context_of,
    function_of,
    recorded_of,
    stage_of,
)

_Notes: Any = Annotated


class Size(TypedDict):
    """A dictionary of known fields."""

    width: int


class Shelf(BaseModel):
    """Holds one, and what is one thing or another."""

    size: Size
    label: str | int | Path = ""


class Pair(NamedTuple):
    """A tuple with names."""

    left: int
    right: str


class Tree(BaseModel):
    """Holds others of its kind."""

    children: list[Tree] = []


class Many(RootModel[list[int]]):
    """A model that is a list."""


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    """A model of anything."""

    held: T


class Cat(BaseModel):
    """One of two that are told apart by a field."""

    kind: Literal["cat"] = "cat"
    lives: Annotated[int, Field(ge=0)] = 9


class Dog(BaseModel):
    """The other."""

    kind: Literal["dog"] = "dog"


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
Names = TypeAliasType("Names", list[Receipt])

_LEAVES: Sequence[tuple[Hint, Draw]] = (
    (int, lambda chance: chance.pick((0, -1, 1 << 70, chance.below(BILLION)))),
    (float, lambda chance: chance.pick((0.0, -0.5, 1e308, 5e-324, chance.roll()))),
    (bool, one_of(True, False)),  # noqa: FBT003 - the values there are
    (str, one_of("", "null", "NaN and Infinity", "\u00e9\n\0\u2028\U0001f600", "{")),
    (bytes, one_of(b"", b"ab")),
    (Decimal, one_of(Decimal("9.90"), Decimal(0), Decimal("1e30"))),
    (UUID, lambda chance: UUID(int=chance.below(1 << 60))),
    (datetime, lambda chance: datetime.fromtimestamp(chance.below(BILLION), UTC)),
    (date, one_of(date(2026, 2, 28), date.min, date.max)),
    (time, one_of(time(1, 2, 3), time(0))),
    (timedelta, span(-BILLION, BILLION)),
    (Colour, one_of(*Colour)),
    (Literal["a", 1], one_of("a", 1)),
    (set[int], one_of(set(), {1, 2})),
    (frozenset[str], one_of(frozenset(), frozenset("ab"))),
    (deque[int], one_of(deque(), deque([1, 2]))),
    (defaultdict[str, int], one_of(defaultdict(int), defaultdict(int, a=1))),
    (Sequence[int], one_of([], [1, 2])),
    (list, one_of([], [1, "a", None])),
    (dict, one_of({}, {"a": [1]})),
    (Receipt, one_of(Receipt(), Receipt(id=""))),
    (
        Order,
        lambda chance: Order(
            orderId=str(chance.below(9)), lines=[Line(sku="a")] * chance.below(3), extra=[{"a": None}]
        ),
    ),
    (Shelf, one_of(Shelf(size={"width": 3}), Shelf(size={"width": 0}, label=7))),
    (Pair, one_of(Pair(1, "a"))),
    (Tree, one_of(Tree(), Tree(children=[Tree(), Tree(children=[Tree()])]))),
    (Many, one_of(Many([]), Many([1, 2]))),
    (Box[int], one_of(Box[int](held=3))),
    (Pet, one_of(Cat(), Cat(lives=1), Dog())),
    (Names, one_of([], [Receipt()])),
    (Path, one_of(Path("a/b"))),
    (IPv4Address, lambda chance: IPv4Address(chance.below(1 << 32))),
    (Any, one_of(1, "a", [], {"a": 1.5})),
)


def _typed(chance: Chance) -> tuple[Hint, object]:
    """A type, plain or within others, and one of its values."""
    hint, draw = chance.pick(_LEAVES)
    value, count = draw(chance), chance.below(3)
    held: tuple[Hint, object] = chance.pick(
        (
            (hint, value),
            (ListOf[hint], [value] * count),
            (DictOf[str, hint], {"a": value}),
            (TupleOf[hint, ...], (value,) * count),
            (TupleOf[hint, int], (value, 3)),
            (_Notes[hint, "kept"], value),
            (hint | None, value if count else None),
        )
    )
    return held


def _comes_back(given: tuple[Hint, object]) -> bool:
    """A value that one stage gives is taken by the next, and read by the one after, as it was."""
    hint, value = given
    seen: list[object] = []
    giving = stage_of(Order, id_="one", gives=hint, body=lambda *_given: value)
    taking = stage_of(hint, id_="two", gives=None, body=lambda _ctx, taken: seen.append(taken))
    reading = stage_of(
        None, id_="three", gives=None, body=lambda ctx, _given: seen.extend((ctx.output(giving), ctx.output(giving)))
    )
    code = EMPTY.then(giving).then(taking).then(reading).definition.code
    recorded = code["one"].run(context_of({}), [b"{}"])
    code["two"].run(context_of({}), [recorded])
    code["three"].run(context_of({"one": recorded}), [b"null"])
    known = fits(hint, hint) and describe(hint) == describe(hint)
    return known and seen == [value] * 3 and code["one"].read_output(recorded) == value


def _comes_back_or_not_at_all(given: tuple[Hint, object]) -> bool:
    """A value of one type that is given as another's is refused, or else it is read back as it was."""
    hint, value = given
    code = code_of(stage_of(Order, gives=hint, body=lambda *_given: value))
    with suppress(InvalidOutput):
        return bool(code.read_output(code.run(context_of({}), [b"{}"])) == value)
    return True


def _suspends(given: tuple[Hint, object]) -> bool:
    """A state of any type comes to the check as it was."""
    hint, value = given
    seen: list[object] = []

    def look(_ctx: object, state: object) -> object:
        seen.append(state)
        return Receipt() if len(seen) > 1 else Pending(0.5)

    check = function_of(hint, gives=Receipt | Pending, body=look)
    options = {"check": check, "every": HOUR, "limit": HOUR}
    gives = Suspend if describe(hint) < "c" else SuspendOf[hint]
    code = code_of(stage_of(Order, gives=gives, body=lambda *_given: Suspend(value), options=options))
    left = code.run(context_of({}), [b"{}"])
    answers = [code.check(context_of({}), left.state) for _ in range(2)]
    return isinstance(left, Suspended) and answers == [NotYet(0.5), b'{"id":"7"}'] and seen == [value, value]


def _no_matter(_chance: Chance) -> Anything:
    """Holds what is not recorded, and what says so of itself is not asked."""
    made = Anything(value=["x"])
    return made if made.length else Anything()


ODDITIES: Oddities = {
    "a value of any type comes back": (_comes_back, _typed),
    "a value of each type comes back": (
        all_of(_comes_back),
        lambda chance: [(hint, draw(chance)) for hint, draw in _LEAVES],
    ),
    "a value that need not be": (_comes_back, one_of((Receipt | None, None), (Names | None, None), (None, None))),
    "a value of another type comes back or is refused": (
        _comes_back_or_not_at_all,
        lambda chance: (_typed(chance)[0], _typed(chance)[1]),
    ),
    "a state of any type comes back": (_suspends, _typed),
    "what is never recorded does not count": (
        lambda made: json.decode(recorded_of(made, Anything))["value"] == ["x"],
        _no_matter,
    ),
}
