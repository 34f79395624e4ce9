"""How the demo ends: all runs in a table, what failed and how it recovered, what it cost, and whether that is true."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hosts.local import prices
from hosts.local.demo.cases import Played, Trouble
from hosts.local.demo.verdicts import general, verdict
from hosts.local.show import seconds_of, status_of
from kernel.testing.units import Usage
from workflows.examples.outside import World

WIDE = 118
"""Columns from which on everything is shown."""
SMALL_PRINT = (
    "A step is a try of a stage, a check of a suspended one, or a compensation. Writes and reads are request units of "
    "DynamoDB; indexes, refused writes and looks of the tick are in them, reads of the API (who watches) are not. "
    "Onewrite is those units, three SQS requests and a Lambda request for each message, and a Lambda request for the "
    "start. The others are an operation, or a transition, for each step; Lambda requests and data come on top there. "
    "Left out everywhere: the time that stages run, the API in front, and what is published to a bus."
)


def report(console: Console, runs: Sequence[Played], listed: Collection[str], world: World, seconds: float) -> bool:
    """Print it. False if something that it says does not hold.

    Args:
        console: where to.
        runs: all of them, with their logs.
        listed: ids of the runs that the API lists.
        world: what happened outside.
        seconds: how long the runs took together.
    """
    console.print()
    wide = console.width >= WIDE
    console.print(_table(runs, wide=wide))
    console.print("\n[bold]What was made to fail, and how it recovered[/]\n")
    claims = general(runs, listed, world)
    for trouble in filter(None, Trouble):
        for each in runs:
            if each.case.trouble is trouble:
                claims |= _tell(console, each, world)
    console.print(f"\n[bold]What a million such runs cost[/] (list prices, {prices.AS_OF})\n")
    console.print(_costs(runs, wide=wide))
    console.print(f"\n[dim]{SMALL_PRINT}[/]")
    _total(console, runs)
    return _sum_up(console, runs, claims, seconds)


def _table(runs: Sequence[Played], *, wide: bool) -> Table:
    table = Table(title="All runs", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("run", header_style="dim", overflow="ellipsis")  # a narrow terminal takes from ids only
    for title in ("input", "status"):
        table.add_column(title, header_style="dim", no_wrap=True)
    units = ("writes", "reads", "messages", "$/million")
    for title in ("stages", "attempts", "seconds", *(units if wide else ())):
        table.add_column(title, header_style="dim", justify="right", no_wrap=True)
    for each in runs:
        done = [
            stage
            for stage in each.view["stages"]
            if stage["status"] in ("completed", "skipped") and ":" not in stage["stage"]
        ]
        cells = (
            f"{len(done)}/{each.stages}",
            str(each.attempts),
            f"{seconds_of(each.view):.1f}",
            f"{each.usage.write_units:g}",
            f"{each.usage.read_units:g}",
            str(each.usage.messages),
            f"{prices.bill(each.usage, each.steps).ours * prices.MILLION:.2f}",
        )
        shown = cells if wide else cells[: -len(units)]
        table.add_row(each.run, each.case.name, status_of(each.view), *shown)
    return table


def _tell(console: Console, played: Played, world: World) -> dict[str, bool]:
    """Tell how a run went; gives the claims that make it true."""
    trouble, found = played.case.trouble, verdict(played, world)
    sure = ("✓", "green") if all(found.claims.values()) else ("✗", "red")
    told = Text.assemble(sure, " ", (trouble, "bold"), f" {played.run} ({played.case.name}): ", found.told)
    console.print(told)
    return {f"{trouble}: {played.run}: {claim}": holds for claim, holds in found.claims.items()}


class _Kind(Struct, frozen=True, order=True):
    """Runs that took as many steps of the same workflow, for the same reason."""

    workflow: str
    steps: int
    what: str


def _kind(played: Played) -> _Kind:
    trouble = played.case.trouble
    what = "undisturbed" if trouble in (Trouble.NONE, Trouble.SKIPPED) else trouble.lower()
    return _Kind(played.case.workflow, played.steps, what)


def _costs(runs: Sequence[Played], *, wide: bool) -> Table:
    """The same steps at list prices."""
    table = Table(box=None, pad_edge=False)
    table.add_column("runs", header_style="dim", no_wrap=True)
    for title in ("steps", "writes", *(("reads", "messages") if wide else ()), "Onewrite"):
        table.add_column(title, header_style="dim", justify="right", no_wrap=True)
    for title in ("durable functions", "Step Functions"):
        table.add_column(title, header_style="dim", justify="right", min_width=9)
    for kind in sorted({_kind(each) for each in runs}):
        same = [each.usage for each in runs if _kind(each) == kind]
        usage = _mean(same)
        bill = prices.bill(usage, kind.steps)
        table.add_row(
            f"{len(same)} {kind.workflow}, {kind.what}",
            str(kind.steps),
            f"{usage.write_units:.1f}",
            *((f"{usage.read_units:.1f}", f"{usage.messages:.1f}") if wide else ()),
            Text(_dollars(bill.ours), "bold green"),
            _dollars(bill.durable_functions),
            _dollars(bill.step_functions),
        )
    return table


def _dollars(each: float) -> str:
    """The price of a million."""
    return f"${each * prices.MILLION:,.2f}"


def _mean(usages: Sequence[Usage]) -> Usage:
    names = Usage.__struct_fields__
    return Usage(*(sum(getattr(each, name) for each in usages) / len(usages) for name in names))


def _total(console: Console, runs: Sequence[Played]) -> None:
    bills = [prices.bill(each.usage, each.steps) for each in runs]
    console.print(
        f"\nThese {len(runs)} runs together: [bold green]${sum(each.ours for each in bills):.6f}[/]; "
        f"${sum(each.durable_functions for each in bills):.6f} as durable functions, "
        f"${sum(each.step_functions for each in bills):.6f} in Step Functions."
    )
    onboardings = [each for each in runs if each.case.workflow == "onboarding"]
    calm = [each for each in onboardings if _kind(each).what == "undisturbed"]
    units = {steps: [each.usage.write_units for each in calm if each.steps == steps] for steps in (12, 13)}
    if all(units.values()):
        more = min(units[13]) - min(units[12])
        console.print(
            f"One step more in a chain: [bold]{more:g} write unit{'' if more == 1 else 's'}[/] "
            "(an onboarding of 13 steps beside one of 12)."
        )


def _sum_up(console: Console, runs: Sequence[Played], claims: dict[str, bool], seconds: float) -> bool:
    broken = [claim for claim, holds in claims.items() if not holds]
    console.print()
    for claim in broken:
        console.print(f"✗ does not hold: {claim}", style="red", markup=False)
    if broken:
        console.print(f"{len(broken)} of {len(claims)} claims do not hold.", style="bold red")
        return False
    console.print(
        f"[bold green]✓[/] {len(runs)} runs in {seconds:.0f} s. All {len(claims)} claims were checked against the "
        "logs of the runs and the world outside, and hold."
    )
    return True
