"""People who write workflows and make mistakes, or write what is right in a way that nobody expects.

Each case draws what is written, and knows what must become of it: a mistake is refused with an error of one class whose
message names it, an oddity is accepted and works. What a message must hold stands in the table in the manner of
``str.format``: ``{0!r}`` is what was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.mistakes import (
    inputs,
    machines,
    odd_details,
    odd_flows,
    odd_values,
    records,
    stages,
    waits,
    workflows,
)
from kernel.testing.simulator.mistakes.cases import Case

__all__ = ["CASES", "Case", "blunder"]


def _table() -> Iterator[tuple[str, Case]]:
    for module in (stages, workflows, waits, machines, inputs, records):
        for group, error, attempt, rows in module.REFUSALS:
            for says, draw in rows.items():
                yield f"{group}: {says}", Case(draw, attempt, error, says)
    for each in (
        odd_values.ODDITIES,
        inputs.ODDITIES,
        odd_flows.ODDITIES,
        odd_details.ODDITIES,
        waits.ODDITIES,
        machines.ODDITIES,
    ):
        for name, (attempt, draw) in each.items():
            yield f"oddity: {name}", Case(draw, attempt, None, "")


CASES: Mapping[str, Case] = MappingProxyType(dict(_table()))
"""Everything that people do wrong, or oddly, by name."""

_NAMES = tuple(CASES)


def blunder(chance: Chance) -> str | None:
    """Let somebody do something wrong, or odd.

    Returns:
        What became of it, if it is not what must; else None.
    """
    name = chance.pick(_NAMES)
    said = CASES[name].run(chance)
    return f"{name}: {said}" if said else None
