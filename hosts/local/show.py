"""Runs for people: what the command line and the demo print."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hosts.local.client import FINISHED

Json = dict[str, Any]

COLOURS = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "compensating": "magenta",
    "paused": "yellow",
    "parked": "yellow",
    "running": "cyan",
}
_MARKS = {
    "completed": ("✓", "green"),
    "failed": ("✗", "red"),
    "skipped": ("-", "dim"),
    "running": ("▶", "cyan"),
    "scheduled": ("·", "dim"),
    "retrying": ("↻", "yellow"),
    "suspended": ("⏸", "blue"),
    "sleeping": ("☾", "blue"),
    "waiting": ("…", "blue"),
    "expired": ("!", "red"),
}
FEW = 6
"""Stages that are shown one by one where there is room; of more than that, those that are not over."""


def event_of(event: Mapping[str, Any]) -> str:
    """What became of an event, in one line."""
    by = f" by commit {event['seq']}" if event.get("seq") else ""
    why = f": {event['reason']}" if event.get("reason") else ""
    return f"{event['name']} {event['id']} is {event['status']}{by}{why}"


def available_events(found: Mapping[str, Any]) -> str:
    """The events that a run can take, a line each."""
    return "\n".join(map(_available, found["events"])) or "none"


def _available(event: Mapping[str, Any]) -> str:
    of_whom = f" by {' or '.join(event['roles'])}" if event.get("roles") else ""
    leads = f" to {' or '.join(event['to'])}" if event.get("to") else ""
    return f"{event['event']}{of_whom}{leads}"


def status_of(view: Mapping[str, Any]) -> Text:
    """A run's status, coloured."""
    status = str(view["status"])
    return Text(status, COLOURS.get(status, ""))


def progress_of(view: Mapping[str, Any], few: int = FEW) -> Text:
    """A run's stages in a line: ``✓ charge  ↻ pack (attempt 2)``; those that are over are counted if there are more.

    Of a machine, those of the state or transition that it is in, whose name comes first.
    """
    stages = view["stages"]
    text = Text(view.get("transition") or view.get("state", ""), "bold")
    if len(stages) > few:
        going = [each for each in stages if each["status"] not in ("completed", "skipped")]
        if done := len(stages) - len(going):
            text.append("  " if text else "").append(f"✓ {counted(done, 'stage')}", "green")
        stages = going
    for each in stages:
        mark, colour = _MARKS.get(each["status"], ("?", ""))
        text.append("  " if text else "").append(f"{mark} {each['stage']}", colour)
        if each.get("progress") is not None and each["status"] in ("suspended", "running"):
            text.append(f" {each['progress']:.0%}", "dim")
        if each.get("attempt", 0) > 1:
            text.append(f" (attempt {each['attempt']})", "dim")
    return text


def seconds_of(view: Mapping[str, Any], now: int | None = None) -> float:
    """How long a run took, from its creation to its last commit; as long as it is open, its age.

    Args:
        view: the run.
        now: milliseconds since the epoch; this machine's clock if None.
    """
    if view["status"] in FINISHED:
        end = view["updated"]
    else:
        end = max(view["updated"], time.time_ns() // 1_000_000 if now is None else now)
    return float(end - view["created"]) / 1000


def attempts_of(view: Mapping[str, Any]) -> int:
    """Tries of all stages together."""
    return sum(each.get("attempt", 0) for each in view["stages"])


def counted(number: float, what: str) -> str:
    """So many of it: ``1 attempt``, ``2 attempts``, ``0.5 minutes``."""
    return f"{number:g} {what}" if number == 1 else f"{number:g} {what}s"


def clock(milliseconds: int) -> str:
    """A time of day, local, to the millisecond."""
    when = datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone()
    return when.strftime("%H:%M:%S.") + f"{milliseconds % 1000:03d}"


def moment(milliseconds: int) -> str:
    """A date and time of day, local."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def run_page(view: Json, console: Console) -> RenderableType:
    """Everything about a run, but its log."""
    head = Text.assemble(
        (f"{view['workflow']} ", "bold"),
        view["run"],
        f"  {view['business_key']}" if view.get("business_key") else "",
        "  ",
        status_of(view),
        (f"  {view['priority']} priority" if view.get("priority") else "", "bold"),
        (f"  {seconds_of(view):.1f} s, {counted(attempts_of(view), 'attempt')}, commit {view['seq']}", "dim"),
    )
    table = Table(box=None, pad_edge=False)
    for title in ("stage", "status", "attempt", "error"):
        table.add_column(title, header_style="dim")
    for each in view["stages"]:
        mark, colour = _MARKS.get(each["status"], ("?", ""))
        error = each.get("error")
        table.add_row(
            each["stage"],
            Text(f"{mark} {each['status']}{_until(each)}", colour),
            str(each.get("attempt", 0) or ""),
            f"{error['kind']}: {error['message']}" if error else "",
        )
    parts: list[RenderableType] = [head, table]
    if where := view.get("transition"):
        parts.append(Text(f"between two states, in {where}"))
    elif where := view.get("state"):
        parts.append(Text(f"in state {where}"))
    if error := view.get("error"):
        parts.append(Text(f"failed in {error.get('stage') or 'the run'}: {error['kind']}: {error['message']}", "red"))
    if compensation := view.get("compensation"):
        parts.append(Text(f"compensation {compensation}", "magenta"))
    if paused := view.get("paused"):
        parts.append(Text(_pause(paused), "yellow"))
    if reason := view.get("reason"):
        parts.append(Text(f"reason: {reason}"))
    if "output" in view:
        parts.append(Text("output:", "dim"))
        parts.append(_json(view["output"], console))
    return Group(*parts)


def _pause(paused: Json) -> str:
    """Until when a run is paused, and why."""
    until = f"until {moment(paused['until'])}" if paused.get("until") else "until it is resumed"
    return f"paused {until}: {paused['reason']}" if paused.get("reason") else f"paused {until}"


def _until(stage: Json) -> str:
    """Until when it waits, if that is known."""
    return f" until {moment(stage['at'])}" if stage.get("at") and stage["status"] in _WAITING else ""


_WAITING = ("sleeping", "waiting", "suspended", "retrying")


def log_lines(entries: list[Json]) -> RenderableType:
    """A run's log, a line per event."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for entry in entries:
        for number, event in enumerate(entry["events"]):
            first = number == 0
            table.add_row(
                Text(str(entry["seq"]) if first else "", "dim", justify="right"),
                Text(clock(entry["at"]) if first else "", "dim"),
                Text(entry["by"] if first else "", "dim"),
                event["type"],
                _told(event),
            )
    return table


def _told(event: Json) -> str:
    """What an event says besides its type, in short."""
    names = ("stage", "timer", "wait", "state", "transition", "name", "event", "reason")
    parts = [str(event[name]) for name in names if event.get(name)]
    if event.get("events"):
        parts.append(f"for {' or '.join(event['events'])}")
    if event.get("at"):
        parts.append(f"until {moment(event['at'])}")
    if event.get("attempt"):
        parts.append(f"attempt {event['attempt']}")
    if error := event.get("error"):
        parts.append(f"{error['kind']}: {error['message']}")
    if event.get("progress") is not None:
        parts.append(f"{event['progress']:.0%}")
    if event.get("retry_at"):
        parts.append(f"again at {clock(event['retry_at'])}")
    if event.get("until") and event["type"] in ("RunPaused", "Slept", "WaitStarted"):
        parts.append(f"until {moment(event['until'])}")
    return ", ".join(parts)


def annotation_table(annotations: list[Json]) -> Table:
    """What was said of a run."""
    table = Table(box=None, pad_edge=False)
    for title in ("key", "value", "stage", "by", "at", "commit"):
        table.add_column(title, header_style="dim")
    for each in annotations:
        value = each["value"] if isinstance(each["value"], str) else json.dumps(each["value"])
        told = (each["key"], value, each.get("stage", ""), each["by"], moment(each["at"]), str(each["seq"]))
        table.add_row(*map(Text, told))
    return table


def run_table(runs: list[Json]) -> Table:
    """A list of runs."""
    table = Table(box=None, pad_edge=False)
    for title in ("run", "workflow", "version", "status", "created"):
        table.add_column(title, header_style="dim")
    for each in runs:
        table.add_row(
            each["run"],
            each["workflow"],
            str(each["version"]),
            status_of(each),
            moment(each["created"]),
        )
    return table


def _json(value: object, console: Console) -> RenderableType:
    from rich.json import JSON  # noqa: PLC0415 - most commands print none

    return JSON.from_data(value, highlight=console.is_terminal)
