"""``python -m bench.soak --minutes 5``: kill, lose and double for minutes, then account for every run."""

from __future__ import annotations

import argparse
import sys

import msgspec
from rich.console import Console

from bench.soak.plan import KILLS_PER_MINUTE, MEDDLED_PER_MINUTE, RUNS_PER_MINUTE, Plan
from bench.soak.report import Progress, report
from bench.soak.soak import Soak
from hosts.local.host import isolate
from kernel.errors import OnewriteError

WIDTH = 132
"""Columns where there is no terminal that has a width."""
INTERRUPTED = 130
"""Exit status after Ctrl-C."""


def main() -> int:
    """Do it; the exit status is 0 if nothing was found, and there was enough of everything."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long things go wrong (5)")
    parser.add_argument("--workers", type=int, default=Plan().workers, help="processes that run stages (6)")
    parser.add_argument("--seed", type=int, default=Plan().seed, help="of the soak's own chance")
    parser.add_argument("--json", action="store_true", help="print one JSON object; how it goes is told on stderr")
    arguments = parser.parse_args()
    plan = Plan(
        seconds=arguments.minutes * 60,
        workers=arguments.workers,
        seed=arguments.seed,
        least_runs=int(RUNS_PER_MINUTE * arguments.minutes),
        least_kills=int(KILLS_PER_MINUTE * arguments.minutes),
        least_meddled=int(MEDDLED_PER_MINUTE * arguments.minutes),
    )
    isolate()
    console = Console(stderr=arguments.json, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=arguments.json, highlight=False, width=WIDTH)
    console.print(
        f"[bold]Onewrite, the soak:[/] {plan.workers} workers on DynamoDB Local, {arguments.minutes:g} minutes"
    )
    try:
        with Progress(console) as progress:
            result = Soak(plan, progress.say, progress.watch).run()
    except OnewriteError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return INTERRUPTED
    report(console, result)
    if arguments.json:
        told = msgspec.json.encode({**msgspec.to_builtins(result.figures), "good": result.good})
        print(told.decode())
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
