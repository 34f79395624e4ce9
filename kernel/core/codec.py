"""Bytes in, bytes out: the log's event format and the snapshot's. The only module that knows either.

Events are a JSON array of objects tagged by ``type``, readable in any console. Snapshots are compressed MessagePack and
may be thrown away, so their format needs no history: ``FOLD_VERSION`` says which one it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from kernel.core.events import AnyEvent, RunCreated, Value
from kernel.core.evolve import fold
from kernel.core.state import Identity, StageState, StageStatus, State
from kernel.errors import CorruptLog, NewerFormat

FORMAT = 1
"""Version of the event format. A reader refuses a newer one; it never guesses."""

_encode_events = msgspec.json.Encoder().encode
_decode_events = msgspec.json.Decoder(tuple[AnyEvent, ...]).decode
_encode_any = msgspec.json.Encoder().encode


def encode_events(events: Sequence[AnyEvent]) -> bytes:
    """The JSON text of a commit's events."""
    return _encode_events(events)


def decode_events(version: int, text: bytes, where: str) -> tuple[AnyEvent, ...]:
    """Read a commit's events.

    Args:
        version: the format they were written in.
        text: their JSON text.
        where: the run and commit, for the error's message.

    Raises:
        NewerFormat: a newer version of Onewrite wrote them.
        CorruptLog: they do not fit the format.
    """
    if version > FORMAT:
        message = f"{where} is written in event format {version}; this version of Onewrite reads up to {FORMAT}"
        raise NewerFormat(message)
    if version < 1:
        message = f"{where} says that it is written in event format {version}, which never was"
        raise CorruptLog(message)
    try:
        return _decode_events(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{where} does not fit event format {version}: {error}"
        raise CorruptLog(message) from error


def to_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON-able struct or builtin
    """The JSON text of records that are shown or published."""
    return _encode_any(value)


def from_json(text: bytes, kind: Any = Any) -> Any:  # noqa: ANN401 - JSON is untyped, unless it is said what it holds
    """A record of this kind from JSON text, or else plain Python values.

    Raises:
        ValueError: the text holds something else.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError:
        raise ValueError("the text is nested too deeply") from None


def inline(text: bytes) -> Value:
    """A value that is kept in its event."""
    return Value(json=Raw(text))


class _Packed(Struct, array_like=True):
    """What a snapshot holds: the state without what the head tells anyway.

    Completed stages are most of a long run, so they take three short columns instead of a record each.
    """

    state: State
    done: list[str]
    done_seqs: list[int]
    done_attempts: list[int]
    order: list[str]


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Packed).decode


def _plain(stage: StageState) -> bool:
    return stage.status is StageStatus.COMPLETED and stage.external is None


def encode_snapshot(state: State) -> bytes:
    """The state, compressed. Input and configuration stay with the head; outputs are never in the state."""
    stages = state.stages
    done = [id_ for id_, stage in stages.items() if _plain(stage)]
    packed = _Packed(
        state=replace(
            state,
            stages={id_: stage for id_, stage in stages.items() if not _plain(stage)},
            input=None,
            config=None,
        ),
        done=done,
        # Differences of neighbours are small and alike, which is what compression wants.
        done_seqs=[now - before for before, now in _pairs([stages[id_].seq for id_ in done])],
        done_attempts=[stages[id_].attempt for id_ in done],
        order=list(stages) if len(done) != len(stages) else [],
    )
    return zlib.compress(_pack(packed), 6)


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    return list(zip([0, *numbers], numbers, strict=False))


def decode_snapshot(body: bytes, created: RunCreated) -> State:
    """Read a snapshot of this version's fold back. ``created`` is the event that the head carries.

    Raises:
        Exception: it is none. What exactly is wrong with it matters to nobody: it may be thrown away.
    """
    packed = _unpack(_inflate(body))
    seq = 0
    done: dict[str, StageState] = {}
    for id_, step, attempt in zip(packed.done, packed.done_seqs, packed.done_attempts, strict=True):
        seq += step
        done[id_] = StageState(StageStatus.COMPLETED, attempt, seq)
    state = packed.state
    rest = state.stages
    state.stages = {id_: rest.get(id_) or done[id_] for id_ in packed.order} if packed.order else done
    state.input = created.input
    state.config = created.config
    return state


LARGEST = 64 * 1024 * 1024
"""Bytes that a snapshot may unpack to: many times what any item, of 400 KB at most, holds of a real run."""


def _inflate(body: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(body, LARGEST)
    if not unpacking.eof:
        message = f"it is cut off, or unpacks to more than {LARGEST} bytes"
        raise ValueError(message)
    return data


def initial_state(identity: Identity, created: Sequence[AnyEvent]) -> State:
    """The state after commit 0."""
    return fold(State.initial(identity), 0, identity.created, created)
