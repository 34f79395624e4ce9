"""``trap``: marks a test as an entry of the gallery, with what went wrong and in which system."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import pytest
from msgspec import Struct

from tests.proof import tell

P = ParamSpec("P")


class Trap(Struct, frozen=True):
    """An entry of the gallery.

    Attributes:
        system: in which this happened.
        numbers: of its issues or pull requests that tell of it.
        text: what went wrong.
        module, test: what shows that it cannot happen here.
    """

    system: str
    numbers: tuple[int, ...]
    text: str
    module: str
    test: str

    @property
    def source(self) -> str:
        """The system, with the numbers if there are any."""
        return " ".join((self.system, *(f"#{number}" for number in self.numbers)))

    @property
    def section(self) -> str:
        """What it is about: the name of its file."""
        return self.module.rpartition("test_")[2].replace("_", " ")


GALLERY: list[Trap] = []
"""Every entry, in the order in which the tests stand."""


def trap(system: str, text: str, *numbers: int) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Hang a test in the gallery.

    Args:
        system: in which this happened.
        text: what went wrong there, in a sentence.
        numbers: of that system's issues or pull requests.
    """

    def hang(test: Callable[P, None]) -> Callable[P, None]:
        entry = Trap(system, numbers, text, test.__module__, test.__name__)
        GALLERY.append(entry)

        @wraps(test)
        def shown(*args: P.args, **named: P.kwargs) -> None:
            test(*args, **named)
            tell("gallery", entries=1)

        marked: Callable[P, None] = pytest.mark.trap(entry)(shown)
        return marked

    return hang
