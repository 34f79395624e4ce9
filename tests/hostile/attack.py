"""A property under attack: tried with as much hostile input as the profile says, and counted."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar, cast

from hypothesis import given, settings
from hypothesis.strategies import SearchStrategy

F = TypeVar("F", bound=Callable[..., None])

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

PROFILE = "hostile"
"""Name of the Hypothesis profile; conftest.py says what is in it."""

TRIED: Counter[str] = Counter()
"""Examples tried by the test that runs, by its name."""


def attack(**inputs: SearchStrategy[Any]) -> Callable[[F], F]:
    """Make a test a property of generated ``inputs``; other arguments are fixtures, made once for all examples."""

    def attacked(test: F) -> F:
        @functools.wraps(test)
        def counted(*arguments: Any, **named: Any) -> None:
            TRIED[test.__name__] += 1
            test(*arguments, **named)

        return cast("F", settings(settings.get_profile(PROFILE))(given(**inputs)(counted)))

    return attacked


def either(refusal: type[E], call: Callable[..., T], *arguments: Any, **named: Any) -> T | E:
    """What a call gives, or the documented error that it refuses with. Whatever else it raises is a failure."""
    try:
        return call(*arguments, **named)
    except refusal as error:
        return error
