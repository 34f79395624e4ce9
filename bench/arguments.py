"""Arguments of the benchmarks' command lines."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def positive(number: Callable[[str], float]) -> Callable[[str], float]:
    """An argument that is a number above zero."""

    def read(text: str) -> float:
        value = number(text)
        if not (value > 0 and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text} will not do: give a number above 0")
        return value

    read.__name__ = number.__name__  # argparse says so when it is no number at all
    return read
