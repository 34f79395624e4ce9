"""How the demo ends: what failed and how it recovered, all runs and their cost in a table, and whether that is true."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hosts.local import prices
from hosts.local.demo.cases import Played, Trouble
from hosts.local.demo.verdicts import general, verdict
from hosts.local.demo.year import a_year
from hosts.local.show import counted, seconds_of, status_of
from kernel.testing.units import Usage
from workflows.examples.outside import World

WIDE = 118
"""Columns from which on everything is shown."""
SMALL_PRINT = (
    f"List prices, {prices.AS_OF}. "
    "A step is a try of a stage, a check of a suspended one, a compensation, a wait for events, or an event that moves "
    "a machine. Onewrite is what was counted: request units of DynamoDB, SQS and Lambda requests. The others are an "
    "operation, or a transition, for each step. Left out everywhere: the time that stages run, the API in front and "
    "who watches through it, what is published."
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
    console.print("\n[bold]What was made to fail, and how it recovered[/]\n")
    claims = general(runs, listed, world)
    for trouble in filter(None, Trouble):
        claims |= _tell(console, trouble, [each for each in runs if each.case.trouble is trouble], world)
    claims |= _tell_of_a_year(console)
    console.print("\n[bold]What became of each run, and what a million such cost[/]\n")
    console.print(_table(runs, wide=console.width >= WIDE))
    console.print(f"\n[dim]{SMALL_PRINT}[/]\n")
    _total(console, runs)
    return _sum_up(console, runs, claims, seconds)


def _tell(console: Console, trouble: Trouble, runs: Sequence[Played], world: World) -> dict[str, bool]:
    """Tell how a run of these went, and each that went otherwise than it should; gives the claims that make it true."""
    found = [(each, verdict(each, world)) for each in runs]
    good = [(each.case.name, said.told) for each, said in found if all(said.claims.values())]
    bad = [(each.case.name, said.told) for each, said in found if not all(said.claims.values())]
    more = f", and {len(good) - 1} more" if len(good) > 1 else ""
    for name, told in good[:1]:
        console.print(Text.assemble(("✓", "green"), " ", (trouble, "bold"), f" ({name}{more}): ", told))
    for name, told in bad:
        console.print(Text.assemble(("✗", "red"), " ", (trouble, "bold"), f" ({name}): ", told))
    return {f"{trouble}: {each.run}: {claim}": holds for each, said in found for claim, holds in said.claims.items()}


def _tell_of_a_year(console: Console) -> dict[str, bool]:
    """Tell of the one workflow that takes longer than anybody would watch."""
    year = a_year()
    mark = ("✓", "green") if all(year.claims.values()) else ("✗", "red")
    console.print(Text.assemble(mark, " ", ("A year", "bold"), " (subscription/a-year, in memory): ", year.told))
    return {f"A year: {claim}": holds for claim, holds in year.claims.items()}


def _table(runs: Sequence[Played], *, wide: bool) -> Table:
    """Every run, and the same steps at list prices."""
    table = Table(box=None, pad_edge=False)
    table.add_column("input", header_style="dim", overflow="ellipsis", no_wrap=True)
    table.add_column("status", header_style="dim", no_wrap=True)
    for title in (*(("seconds", "writes", "reads", "messages") if wide else ()), "steps", "Onewrite"):
        table.add_column(title, header_style="dim", justify="right", no_wrap=True)
    for title in ("durable functions", "Step Functions"):
        table.add_column(title, header_style="dim", justify="right", min_width=9)
    for each in runs:
        table.add_row(each.case.name, status_of(each.view), *_figures([each], "g", wide=wide))
    table.add_row(f"all {len(runs)}, on average", "", *_figures(runs, ".1f", wide=wide), style="bold")
    return table


def _figures(runs: Sequence[Played], form: str, *, wide: bool) -> Iterator[str | Text]:
    """The cells about what these runs took, on average; ``form`` is that of plain numbers."""
    steps = sum(each.steps for each in runs) / len(runs)
    usage = _mean([each.usage for each in runs])
    bill = prices.bill(usage, steps)
    if wide:
        yield f"{sum(seconds_of(each.view) for each in runs) / len(runs):.1f}"
        yield from (f"{used:{form}}" for used in (usage.write_units, usage.read_units, usage.messages))
    yield f"{steps:{form}}"
    yield Text(_dollars(bill.ours), "green")
    yield from map(_dollars, (bill.durable_functions, bill.step_functions))


def _dollars(each: float) -> str:
    """The price of a million."""
    return f"${each * prices.MILLION:,.2f}"


def _mean(usages: Sequence[Usage]) -> Usage:
    names = Usage.__struct_fields__
    return Usage(*(sum(getattr(each, name) for each in usages) / len(usages) for name in names))


def _total(console: Console, runs: Sequence[Played]) -> None:
    calm = [each for each in runs if each.case.trouble in (Trouble.NONE, Trouble.SKIPPED)]
    onboardings = [each for each in calm if each.case.workflow == "onboarding"]
    units = {steps: [each.usage.write_units for each in onboardings if each.steps == steps] for steps in (12, 13)}
    if all(units.values()):
        more = min(units[13]) - min(units[12])
        console.print(
            f"A step more in a chain costs [bold]{counted(more, 'write unit')}[/] (onboardings of 13 and of 12 steps)."
        )
    bills = [prices.bill(each.usage, each.steps) for each in runs]
    console.print(
        f"Together [bold green]${sum(each.ours for each in bills):.6f}[/]; "
        f"${sum(each.durable_functions for each in bills):.6f} as durable functions, "
        f"${sum(each.step_functions for each in bills):.6f} in Step Functions."
    )


def _sum_up(console: Console, runs: Sequence[Played], claims: dict[str, bool], seconds: float) -> bool:
    broken = [claim for claim, holds in claims.items() if not holds]
    for claim in broken:
        console.print(f"✗ does not hold: {claim}", style="red", markup=False)
    if broken:
        console.print(f"{len(broken)} of {len(claims)} claims do not hold.", style="bold red")
        return False
    console.print(
        f"[bold green]✓[/] {len(runs)} runs in {seconds:.0f} s. All {len(claims)} claims hold: runs' logs and the "
        "world outside say so."
    )
    return True
