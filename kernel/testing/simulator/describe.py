"""Lines of a trace: what a port was asked and what it answered, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET
from msgspec.structs import asdict

from kernel.core.codec import decode_events
from kernel.core.events import AnyEvent
from kernel.delivery import Delivery
from kernel.ports import (
    Commit,
    Data,
    Dead,
    Due,
    Guard,
    Head,
    HeadUpdate,
    Inbox,
    Key,
    Live,
    Poke,
    Published,
    Refusal,
    RunRef,
    Snapshot,
)
from kernel.testing.simulator.world import EPOCH

FEW = 6
"""Things of a list that are shown; of more only how many they are."""
SHORT = 8
"""Digits of a run's id or a token that tell it from the others of a history."""


def call_line(port: str, method: str, arguments: Sequence[Any], answer: object, fault: str) -> str:
    """A port call in one line."""
    given = " ".join(filter(None, map(text, arguments)))
    said = text(answer)
    return f"{port}.{method} {given}{f' -> {said}' if said else ''}{f'   <- {fault}' if fault else ''}"


def text(value: object) -> str:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of thing
    """A thing that crosses a port."""
    match value:
        case None:
            return ""
        case RunRef():
            return f"{value.tenant}/{value.run[:SHORT]}"
        case Guard():
            return f"if {value.value}"
        case Head():
            due = f"due {_at(value.due)}, " if value.due is not None else "not due, "
            return f"head({value.status}, {due}due_seq {value.due_seq}, published {value.published})"
        case Commit():
            return f"{value.key} by {value.by} [{', '.join(map(event_text, events_of(value)))}] {value.token[:SHORT]}"
        case Key():
            return f"{value.key} held by {value.holder[:SHORT] or 'nobody'}, was {value.was[:SHORT] or 'nobody'}"
        case Snapshot():
            return f"snapshot({value.seq})"
        case Inbox():
            return f"{value.key}({'open' if value.due is not None else value.refused or 'applied'})"
        case Data() | Live() | Dead():
            return value.key
        case HeadUpdate():
            changes = {key: each for key, each in asdict(value).items() if each is not None and each is not False}
            changes.pop("guard")
            changes.pop("listing_order", None)
            times = {key: _at(changes[key]) for key in ("due", "seen_due") if key in changes}
            told = ", ".join(f"{key}={each}" for key, each in (changes | times).items() if key != "look")
            return f"{told} {(value.look or '')[:SHORT]} if {value.guard.value}"
        case Refusal():
            return f"REFUSED by {text(value.existing) or 'nothing'}"
        case Poke():
            return f"poke({value.run[:SHORT]}{f' {value.stage}' if value.stage else ''})"
        case Delivery():
            return f"#{value.id} {text(value.poke)}"
        case Due():
            return f"{text(value.ref)} due {_at(value.due)}"
        case Published():
            return f"{value.type} {value.id[-8:]}"
        case bytes():
            return f"{len(value)} bytes"
        case list() | tuple() if len(value) > FEW:
            return f"[{len(value)} of them]"
        case list() | tuple():
            return f"[{', '.join(each.key if isinstance(each, Commit) else text(each) or 'ok' for each in value)}]"
        case _:
            return str(value)


def _at(milliseconds: int) -> str:
    """A time as the trace's first column has it."""
    return f"{(milliseconds - EPOCH) / 1000:.3f}"


def events_of(commit: Commit) -> tuple[AnyEvent, ...]:
    """The events of a commit."""
    return decode_events(commit.v, commit.events, commit.key)


_SUBJECTS = ("stage", "transition", "state", "timer", "event")
"""What an event is about, in order of preference."""


def event_text(event: AnyEvent) -> str:
    """An event in a word or two."""
    fields = asdict(event)
    stage = next((fields[name] for name in _SUBJECTS if fields.get(name)), "")
    attempt = f"#{fields['attempt']}" if fields.get("attempt") else ""
    error = getattr(event, "error", None)
    kind = f" ({error.kind})" if error is not None and error is not UNSET else ""
    return f"{type(event).__name__}{f' {stage}{attempt}' if stage else ''}{kind}"
