"""``python -m bench.soak --minutes 5``: kill, lose and double for minutes, then account for every run."""

from __future__ import annotations

import argparse
import sys

import msgspec
from rich.console import Console

from bench.arguments import positive
from bench.soak.plan import WORKERS, Plan
from bench.soak.report import Progress, report
from bench.soak.soak import Soak
from hosts.local.host import isolate
from hosts.local.show import counted
from kernel.errors import OnewriteError

WIDTH = 132
"""Columns where there is no terminal that has a width."""
FOUND, TOO_LITTLE, INTERRUPTED = 1, 3, 130
"""Exit statuses: something was found; nothing was, but too little happened to count; Ctrl-C. (2 is argparse's own.)"""

_ON = {"sqs": "DynamoDB Local", "redis": "DynamoDB Local and Redis"}


def main() -> int:
    """Do it; the exit status is 0 if nothing was found, and there was enough of everything."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=positive(float), default=5.0, help="how long things go wrong (5)")
    parser.add_argument(
        "--transport", choices=list(WORKERS), default="sqs", help="sqs: functions; redis: workers (sqs)"
    )
    parser.add_argument("--workers", type=positive(int), help="processes that run stages (6; over redis 4)")
    parser.add_argument("--seed", type=int, default=Plan().seed, help="of the soak's own chance")
    parser.add_argument("--json", action="store_true", help="print one JSON object; how it goes is told on stderr")
    arguments = parser.parse_args()
    plan = Plan.lasting(arguments.minutes, arguments.transport, arguments.workers, arguments.seed)
    isolate()
    console = Console(stderr=arguments.json, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=arguments.json, highlight=False, width=WIDTH)
    console.print(
        f"[bold]Onewrite, the soak:[/] {counted(plan.workers, 'worker')} on {_ON[plan.transport]}, "
        f"{counted(arguments.minutes, 'minute')}"
    )
    try:
        with Progress(console) as progress:
            result = Soak(plan, progress.say, progress.watch).run()
    except OnewriteError as error:
        console.print(str(error), style="red", markup=False)
        return FOUND
    except KeyboardInterrupt:
        console.print("stopped")
        return INTERRUPTED
    report(console, result)
    if arguments.json:
        told = msgspec.json.encode({**msgspec.to_builtins(result.figures), "lacks": result.lacks, "good": result.good})
        print(told.decode())
    if result.good:
        return 0
    return FOUND if result.findings else TOO_LITTLE


if __name__ == "__main__":
    sys.exit(main())
