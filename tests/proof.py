"""The share of the proof that a test run takes, and what it has to show for it.

``make test`` runs a bounded share of each enumeration; ``make proof`` sets ``PROOF`` to a folder, runs all of it, and
makes one table of what the tests left there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

FOLDER = os.environ.get("PROOF", "")
"""Where figures are left; empty in ``make test``."""


def share(bounded: T, full: T) -> T:
    """How much to do: ``bounded`` in ``make test``, ``full`` in ``make proof``."""
    return full if FOLDER else bounded


def tell(part: str, **figures: int | str) -> None:
    """Leave figures for the table. Numbers told under the same part and name add up, texts are listed."""
    if FOLDER:
        with Path(FOLDER, f"{part}.{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps(figures) + "\n")
