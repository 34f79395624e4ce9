"""A pretend outside world: what the examples call instead of a payment gateway, a carrier, a mail server.

Whatever happens out there is kept as an *effect*, so that a test or the demo can look what really happened:
in the file that the environment variable ``ONEWRITE_WORLD`` names, which worker processes share, or else in
this process's memory. Real services behave as these do in the one way that matters here: a request that
carries a key they have seen already is answered as before, and done once.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARIABLE = "ONEWRITE_WORLD"

Details = dict[str, str | int]


@dataclass(frozen=True)
class Effect:
    """Something that happened outside.

    Attributes:
        kind: what, such as ``payment.charged``.
        key: the caller's idempotency key; for most of them it begins with the run's id.
        by: id of the process that caused it.
        details: what the service knows about it.
    """

    kind: str
    key: str
    by: int
    details: Details = field(default_factory=dict[str, str | int])


class World:
    """Keeps effects. May be shared by threads, and by processes when it has a file."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._memory: list[Effect] = []
        self._lock = threading.Lock()

    def once(self, kind: str, key: str, **details: str | int) -> Effect:
        """Let it happen, unless it has under this key already: then give what happened at that time."""
        with self._open() as (effects, add):
            for effect in effects:
                if (effect.kind, effect.key) == (kind, key):
                    return effect
            return add(Effect(kind, key, os.getpid(), details))

    def count(self, kind: str, key: str, **details: str | int) -> int:
        """Let it happen once more; gives how often it has happened under this key by now."""
        with self._open() as (effects, add):
            add(Effect(kind, key, os.getpid(), details))
            return 1 + sum((effect.kind, effect.key) == (kind, key) for effect in effects)

    def effects(self, kind: str = "", run: str = "") -> list[Effect]:
        """What has happened so far, in order: of one kind if given, with keys of one run if given."""
        with self._open() as (effects, _):
            return [each for each in effects if each.kind.startswith(kind) and each.key.startswith(run)]

    def clear(self) -> None:
        """Forget what is kept in memory."""
        self._memory = []

    @contextmanager
    def _open(self) -> Iterator[tuple[list[Effect], Callable[[Effect], Effect]]]:
        """All effects so far, and a way to add one, while nobody else can."""
        if self._file is None:
            with self._lock:
                known = self._memory

                def remember(effect: Effect) -> Effect:
                    self._memory = [*known, effect]
                    return effect

                yield known, remember
            return
        with self._file.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, or when this process dies

            def write(effect: Effect) -> Effect:
                file.write(json.dumps(asdict(effect)) + "\n")
                return effect

            file.seek(0)
            yield [Effect(**json.loads(line)) for line in file], write


_memory = World()


def forget() -> None:
    """Nothing has happened, as far as this process's memory goes."""
    _memory.clear()


def world() -> World:
    """The world that this process lives in."""
    file = os.environ.get(VARIABLE)
    return World(Path(file)) if file else _memory
