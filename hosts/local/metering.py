"""Counts what each run costs, across processes: every instance tells what it has used, the host adds it up.

An instance tells its totals after every call rather than at the end of an invocation, so that what a killed
one has spent is known too.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

from msgspec.structs import asdict, replace

from kernel.ports import HEAD, Head, HeadUpdate, Poke, Queue, Refusal, RunRef, Store
from kernel.shell.environment import Environment
from kernel.testing.units import Meter, MeteredQueue, MeteredStore, Usage

Tell = Callable[[str, str, dict[str, Any]], None]
"""Given tenant, run, and the run's usage so far in this process."""


class _TellingMeter(Meter):
    """A meter that tells every change of a run's usage."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def told(self, ref: RunRef) -> None:
        """Tell what a run has used."""
        self._tell(ref.tenant, ref.run, asdict(self.of(ref)))

    def wrote(self, ref: RunRef, kind: str, units: int, *, refused: bool = False) -> None:
        """Count a write, and tell."""
        super().wrote(ref, kind, units, refused=refused)
        self.told(ref)

    def read(self, ref: RunRef | None, size: int, *, consistent: bool = True) -> None:
        """Count a read, and tell."""
        super().read(ref, size, consistent=consistent)
        if ref is not None:
            self.told(ref)


class _TellingQueue:
    """A queue whose messages are counted and told."""

    def __init__(self, queue: Queue, meter: _TellingMeter) -> None:
        self._queue = MeteredQueue(queue, meter)
        self._meter = meter

    def send(self, pokes: Sequence[tuple[Poke, int]]) -> None:
        """Send, count, and tell."""
        self._queue.send(pokes)
        for ref in {poke.ref for poke, _ in pokes}:
            self._meter.told(ref)


class _TellingStore(MeteredStore):
    """A store whose requests are counted and told."""

    def __init__(self, store: Store, meter: _TellingMeter) -> None:
        super().__init__(store, meter)
        self._behind = store
        self._heads = meter.heads

    def update(self, ref: RunRef, change: HeadUpdate) -> Refusal | None:
        """Update, and count what that costs in the indexes, which depends on the head as it was."""
        # Another process may have changed it since this one saw it. Read for the meter only, so not counted.
        head = self._behind.get(ref, HEAD)
        if isinstance(head, Head):
            self._heads[ref] = head
        return super().update(ref, change)


def metered(env: Environment, tell: Tell) -> Environment:
    """The same environment, with every call to store and queue counted and told."""
    meter = _TellingMeter(tell)
    return replace(env, store=_TellingStore(env.store, meter), queue=_TellingQueue(env.queue, meter))


class Ledger:
    """What all instances have used. May be shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int], dict[RunRef, Usage]] = defaultdict(dict)

    def told(self, function: str, pid: int, tenant: str, run: str, usage: dict[str, Any]) -> None:
        """An instance tells its totals for a run: they take the place of what it told before."""
        with self._lock:
            self._known[function, pid][RunRef(tenant, run)] = Usage(**usage)

    def of(self, ref: RunRef, functions: Collection[str] = ("intake", "job", "tick")) -> Usage:
        """What a run has used in these functions."""
        total = Usage()
        with self._lock:
            for (function, _), runs in self._known.items():
                used = runs.get(ref)
                if used is not None and function in functions:
                    for name in Usage.__struct_fields__:
                        setattr(total, name, getattr(total, name) + getattr(used, name))
        return total
