"""What a mistake or an oddity is, and the draws that most of them are written with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from reprlib import repr as shortened
from typing import Any

from msgspec import Struct

from kernel.testing.simulator.chance import Chance

Draw = Callable[[Chance], Any]
"""What somebody writes this time."""

Attempt = Callable[[Any], object]
"""Writes it; of an oddity, says whether it works."""


class Case(Struct, frozen=True):
    """A mistake or an oddity.

    Attributes:
        draw: what is written.
        attempt: writes it.
        error: the class of the error that refuses it; None if it must be accepted, and work.
        says: what the error's message holds.
    """

    draw: Draw
    attempt: Attempt
    error: type[Exception] | None
    says: str

    def run(self, chance: Chance) -> str | None:
        """Try it; say what happened if it is not what must."""
        given = self.draw(chance)
        try:
            works = self.attempt(given)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer that is judged
            if type(error) is not self.error:
                return f"{shortened(given)} is answered with {error!r}"
            expected = self.says.format(given)
            return None if expected in str(error) else f"the answer to {shortened(given)} lacks {expected!r}: {error}"
        if self.error is not None:
            return f"{shortened(given)} is accepted"
        return None if works else f"{shortened(given)} is accepted, but does not work"


def one_of(*options: object) -> Draw:
    """One of these."""
    return lambda chance: chance.pick(options)


def by_name(**draws: Draw) -> Draw:
    """One of each, by name."""
    return lambda chance: {name: draw(chance) for name, draw in draws.items()}


def whole_number(low: int, high: int) -> Draw:
    """From ``low`` up to, but without, ``high``."""
    return lambda chance: chance.between(low, high)


def span(low: int, high: int) -> Draw:
    """From ``low`` up to, but without, ``high`` microseconds."""
    return lambda chance: timedelta(microseconds=chance.between(low, high))


BILLION = 1_000_000_000
HOUR = timedelta(hours=1)
NAN, INFINITE = float("nan"), float("inf")
_NO_ID_HOLDS = " #:/.|\n\0\u00e4\u0661\udfff"
TOO_SHORT = span(-BILLION, 1_000)
NO_SPAN = one_of(5, 2.5, "5s", b"", (), timedelta, date(2026, 1, 1))
NOT_WHOLE = one_of(0, -1, -BILLION, True, False, 1.0, 2.5, "3", None, Decimal(3))  # noqa: FBT003 - looks like a number
NO_STRATEGY = one_of("retry", "STOP", "", 0, ("stop",), ["stop"])


def no_id(chance: Chance) -> object:
    """What is not the id of a stage or of a workflow."""
    good = good_id(chance)
    at = chance.below(len(good) + 1)
    spoilt = good[:at] + chance.pick(_NO_ID_HOLDS) + good[at:]
    return chance.pick((spoilt, spoilt, chance.pick("09_-") + good, "y" * 64 + good, "", None, 7, b"id", ["id"]))


def good_id(chance: Chance) -> str:
    """What may be one: up to 64 characters."""
    return chance.pick("azAZ") + "".join(chance.pick("azAZ09_-") for _ in range(chance.below(64)))


def all_of(attempt: Attempt) -> Attempt:
    """Each of several works."""
    return lambda given: all(map(attempt, given))


Refusals = Sequence[tuple[str, type[Exception], Attempt, Mapping[str, Draw]]]
"""What is written of, the error that refuses it, who writes it, and by what the message holds, what is drawn."""

Oddities = Mapping[str, tuple[Attempt, Draw]]
"""By what it is: who writes it and says whether it works, and what is drawn."""
