"""What happens without each guard: conditions, fences, tokens, order and lease checks, taken away one at a time.

A guard that can be taken away without any invariant breaking is one that nothing needs. So each has a name here, the
invariant that must be seen to break without it, and a way to take it away for the length of a block: ``conditions`` are
those of writes, ``core`` has what decides, ``machines`` how machines move, ``shell`` what does, and ``stopping`` how
workers end.
"""

from __future__ import annotations

from types import MappingProxyType

from kernel.ports import Guard
from kernel.testing.simulator.breaks.conditions import CONDITIONS
from kernel.testing.simulator.breaks.core import FENCES, PROGRAM, TIMES
from kernel.testing.simulator.breaks.machines import MOVES
from kernel.testing.simulator.breaks.shell import EDGES, LEASES, ORDER, READS, TOKENS
from kernel.testing.simulator.breaks.stopping import STOPPING
from kernel.testing.simulator.breaks.taking import Break, condition_off

__all__ = ["ALIASES", "BREAKS", "Break", "condition_off", "find"]

BREAKS = MappingProxyType(
    {
        each.name: each
        for each in (
            *CONDITIONS,
            *FENCES,
            *PROGRAM,
            *MOVES,
            *TIMES,
            *TOKENS,
            *ORDER,
            *LEASES,
            *STOPPING,
            *READS,
            *EDGES,
        )
    }
)
"""Every guard that can be taken away, by name."""

ALIASES = MappingProxyType({"commit-condition": Guard.COMMIT_IS_NEXT.value})
"""Other names of guards."""


def find(name: str) -> Break | None:
    """The break of a guard, by any of its names."""
    return BREAKS.get(ALIASES.get(name, name))
