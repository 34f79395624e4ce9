"""How a soak is told: a line now and then while it goes on, a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.soak.driver import PATIENCE
from bench.soak.plan import COUNTED, Figures, Result, Tally
from bench.soak.recovery import Times
from bench.soak.soak import Soak
from hosts.local.show import counted

LINE_EVERY = 5.0
"""Seconds between two lines where there is no terminal to draw on."""
SHOWN = 20
"""Findings that are shown."""


class Progress:
    """Tells how a soak goes: in place on a terminal, else a line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0.0
        self._status = console.status("starting") if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """Tell what goes on."""
        self._console.print(text, style="dim", markup=False)

    def watch(self, soak: Soak) -> None:
        """Tell how it goes."""
        if self._status is not None:
            self._status.update(_line(soak))
        elif time.monotonic() - self._told >= LINE_EVERY:
            self._told = time.monotonic()
            self.say(_line(soak))


def _line(soak: Soak) -> str:
    callers, kills = soak.callers, soak.killer.kills
    return (
        f"{soak.seconds:5.0f} s  {len(callers.accepted):5} runs accepted, {len(callers.open):3} under way; "
        f"{len(kills):3} kills; {soak.trial.line()}"
    )


def report(console: Console, result: Result) -> None:
    """The table at the end, and what was found."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    for row in _rows(result):
        table.add_row(*row)
    console.print()
    console.print(table)
    for finding in result.findings[:SHOWN]:
        console.print(f"{finding.kind:>8}  {finding.run}  {finding.text}", style="red", markup=False, soft_wrap=True)
    if len(result.findings) > SHOWN:
        console.print(f"... and {len(result.findings) - SHOWN} more", style="red")
    if result.folder is not None:
        console.print(f"kept: {result.folder}", style="dim", soft_wrap=True)
    console.print()
    console.print(verdict(result))


def _rows(result: Result) -> Iterator[tuple[str, str, str]]:
    figures, least = result.figures, result.plan.least
    kills = ", ".join(f"{count} {name}" for name, count in figures.kills.items())
    ends = f"{figures.completed} completed, {figures.failed} failed, {figures.cancelled} cancelled"
    yield "runs", _of(figures.runs, least.runs), ends
    yield "stages started", str(figures.stages), f"in {figures.commits} commits"
    yield "processes killed", _of(sum(figures.kills.values()), least.kills), kills
    yield "  in mid-stage", str(figures.kills_in_a_stage), f"the bodies of {figures.bodies_killed} stages were running"
    if result.plan.transport == "redis":
        yield from _rows_of_workers(figures, least)
    else:
        yield "  in mid-tick", str(figures.kills_in_a_tick), ""
        yield "  with messages", str(figures.kills_holding_messages), "in hand"
        yield "messages", str(figures.messages), f"{figures.messages_lost} lost, {figures.messages_doubled} doubled"
    yield "starts sent twice", str(figures.starts_doubled), "at once, with the same key"
    yield "starts given up", str(figures.starts_unanswered), f"by a caller that got no answer in {PATIENCE:g} seconds"
    yield "cancels, reopens", f"{figures.cancels}, {figures.reopens}", "accepted"
    yield "bodies run", str(figures.bodies), f"{figures.bodies_again} of them again: retries, and what kills took"
    yield "results discarded", str(figures.results_discarded), "returned, and not recorded: killed, or too late"
    yield "recovery of a run", *_times(figures.recovery_of_runs, "from a kill that hit it to its next commit")
    yield (
        "recovery of a stage",
        *_times(figures.recovery_of_stages, "from a kill in its body to its next event"),
    )
    if result.plan.transport == "redis":
        meaning = "from the loss of a message that nobody had in hand to its run's next commit"
        yield "recovery after a loss", *_times(figures.recovery_after_loss, meaning)
    yield "quiet after", f"{figures.quiet_after:g} s", "all runs over, once nothing went wrong any more"
    yield "lost", str(figures.lost), "runs that are gone, or of which something accepted or done is"
    yield "doubled", str(figures.doubled), "runs in which something happened twice, or a result changed"
    yield "stuck", str(figures.stuck), "runs that are not over"
    yield "broken", str(figures.broken), "runs in which another promise does not hold"


def _rows_of_workers(figures: Figures, least: Tally) -> Iterator[tuple[str, str, str]]:
    yield "  with the tick", str(figures.kills_in_a_tick), "it had the role: another worker has to take it over"
    yield "  with messages", str(figures.kills_holding_messages), "in hand"
    back = f"{figures.stops_clean} with nothing under way; slowest {figures.slowest_stop:.1f} s"
    yield "workers stopped", _of(figures.stops, least.stops), back
    yield "  handed back", str(figures.stages_handed_back), f"stages; {figures.messages_given_back} messages"
    away = f"all messages lost; the longest time away was {figures.longest_away:.1f} s"
    yield "Redis restarted", _of(figures.restarts, least.restarts), away
    yield "Redis emptied", _of(figures.flushes, least.flushes), "FLUSHALL"
    yield "messages vanished", str(figures.messages_vanished), "that nobody had in hand"


def _of(count: int, least: int) -> str:
    return f"{count}" if count >= least else f"{count} (of {least})"


def _times(times: Times, meaning: str) -> tuple[str, str]:
    return (
        f"{times.median:.1f} s",
        f"median; 95% {times.p95:.1f} s, maximum {times.maximum:.1f} s; {counted(times.count, 'time')}: {meaning}",
    )


def verdict(result: Result) -> Text:
    """What it comes to."""
    if result.findings:
        return Text("✗ something was found", "bold red")
    if result.lacks:
        return Text(
            f"Nothing was found, but too little happened to count: {', '.join(result.lacks)}. The machine is slow or "
            f"busy: give it more minutes (from {COUNTED:g} on, no more is wanted of it).",
            "bold yellow",
        )
    return Text("✓ every accepted run is accounted for", "bold green")
