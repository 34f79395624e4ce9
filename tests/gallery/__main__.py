"""Prints the gallery, for people: ``python -m tests.gallery``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path
from textwrap import fill

from tests.gallery.traps import GALLERY, Trap

WIDTH = 100


def entries() -> list[Trap]:
    """Every entry, section by section."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        import_module(f"{__package__}.{path.stem}")
    return sorted(GALLERY, key=lambda entry: entry.module)


def lines(gallery: list[Trap]) -> Iterator[str]:
    """The list as it is printed."""
    for section, group in groupby(gallery, key=lambda entry: entry.section):
        yield f"\n{section.capitalize()}\n"
        for entry in group:
            yield fill(
                f"{entry.source}: {entry.text}",
                WIDTH,
                initial_indent="  ",
                subsequent_indent="    ",
                break_on_hyphens=False,
            )
            yield f"      -> {entry.test}"
    systems = {entry.system for entry in gallery}
    yield f"\n{len(gallery)} entries from {len(systems)} systems; a number is that of an issue there"


def main() -> None:
    """Print the gallery."""
    argparse.ArgumentParser(prog=f"python -m {__package__}", description="Print the gallery.").parse_args()
    print("\n".join(lines(entries())))  # noqa: T201 - a list for a person


if __name__ == "__main__":
    main()
