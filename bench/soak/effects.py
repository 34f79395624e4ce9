"""What stages did, kept outside of Onewrite: a file per process, a line per effect, appended by one system call.

A process that is killed takes nothing with it: what it has written is the system's already. So whatever the log says
of a stage can be held against what really happened.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
from pydantic import BaseModel

VARIABLE = "SOAK_EFFECTS"
"""Environment variable: the folder of the files."""

BEGAN, RETURNED, RAISED, SUSPENDED, ANSWERED = "began", "returned", "raised", "suspended", "answered"
"""A body began; it returned a result, raised (or was cut off), or handed over to its check; a check gave a result."""


class Effect(msgspec.Struct, frozen=True):
    """Something that a stage did.

    Attributes:
        kind: ``BEGAN``, ``RETURNED``, ``RAISED``, ``SUSPENDED`` or ``ANSWERED``.
        run, stage, attempt: of what.
        seq: number of the commit that started the attempt; for a check, of the one that suspended it.
        pid: of the process.
        at: when, in milliseconds.
        given: digests of the outputs that it was given.
        result: digest of what it returned.
    """

    kind: str
    run: str
    stage: str
    attempt: int
    seq: int
    pid: int
    at: int
    given: tuple[str, ...] = ()
    result: str = ""


def digest(value: object) -> str:
    """A short digest of a value that JSON can say, the same for the value and for its JSON text read back."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def digest_of(model: BaseModel | None) -> str:
    """The digest of a stage's input or output."""
    return digest(None if model is None else model.model_dump(mode="json"))


class Diary:
    """Where the stages of one process write. Made at its first use, so that importing the workflows has no effect.

    Threads may share it: two that use it first at the same time write to the same file all the same.
    """

    def __init__(self) -> None:
        self._file: int | None = None
        self._path = Path()

    def write(
        self,
        kind: str,
        place: tuple[str, str, int, int],
        *,
        given: tuple[str, ...] = (),
        result: str = "",
    ) -> None:
        """Keep an effect. ``place`` is run, stage, attempt and ``seq``."""
        path = Path(os.environ[VARIABLE], f"{os.getpid()}.jsonl")
        file = self._file
        if file is None or path != self._path:
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._file, self._path = file, path
        effect = Effect(kind, *place, os.getpid(), time.time_ns() // 1_000_000, given, result)
        os.write(file, msgspec.json.encode(effect) + b"\n")


def effects_in(folder: Path) -> list[Effect]:
    """Everything that was kept, in order of time. A line that was cut off by a kill does not count."""
    found: list[Effect] = []
    for file in folder.glob("*.jsonl"):
        lines = file.read_bytes().split(b"\n")
        found.extend(_decoder.decode(line) for line in lines[:-1])
    return sorted(found, key=lambda effect: effect.at)


def unfinished(effects: Iterable[Effect]) -> list[Effect]:
    """The bodies of a process that have begun and not ended, given what its bodies did: one per thread at most."""
    begun: dict[tuple[str, str, int, int], Effect] = {}
    for each in effects:
        place = each.run, each.stage, each.attempt, each.seq
        if each.kind == BEGAN:
            begun[place] = each
        elif each.kind != ANSWERED:  # a check is no body
            begun.pop(place, None)
    return list(begun.values())


TAIL = 4096
"""Bytes at the end of a file in which the last lines are, several for each thread."""


def is_in_body(folder: Path, pid: int) -> bool:
    """Whether a process is in the middle of a body, as far as the last that it wrote tells."""
    try:
        with (folder / f"{pid}.jsonl").open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - TAIL)
            file.seek(start)
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return False
    return bool(unfinished(map(_decoder.decode, lines[1:] if start else lines)))


_decoder = msgspec.json.Decoder(Effect)
