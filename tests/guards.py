"""Switching guards off, to see that tests notice: ``GUARD=<name> make test-guards``; ``--list`` names them.

A guard is switched off by replacing its condition with one that always holds, in every store that maps guards.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from infra.dynamodb import guards as dynamodb
from kernel.ports import Guard
from kernel.testing import memory

ALWAYS = "attribute_exists(PK) OR attribute_not_exists(PK)"


@contextmanager
def switched_off(guard: Guard) -> Iterator[None]:
    """Within the block, this guard lets everything pass."""
    condition = dynamodb.CONDITIONS[guard]
    put, update = memory.PUTS.get(guard), memory.UPDATES.get(guard)
    dynamodb.CONDITIONS[guard] = ALWAYS
    if put is not None:
        memory.PUTS[guard] = lambda _existing, _new: True
    if update is not None:
        memory.UPDATES[guard] = lambda _head, _change: True
    try:
        yield
    finally:
        dynamodb.CONDITIONS[guard] = condition
        if put is not None:
            memory.PUTS[guard] = put
        if update is not None:
            memory.UPDATES[guard] = update


def main() -> None:
    """List the guards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the names of all guards, a line each")
    parser.parse_args()
    for guard in Guard:
        print(guard.value)  # noqa: T201 - a list for a person


if __name__ == "__main__":
    main()
