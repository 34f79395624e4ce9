"""One history, call by call: ``python -m tests.crashes <scenario> [<call>:<kind> [<call>:<kind>]]``.

Without a scenario: what there is.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

from kernel.ports import Commit, Head, HeadUpdate
from tests.crashes.fate import Blow, Kind, Line, Violation
from tests.crashes.histories import trial
from tests.crashes.scenarios import SCENARIOS

SHOWN = 160
"""Characters of each argument."""


def _short(argument: Any) -> str:
    match argument:
        case Commit(seq=seq, events=events):
            text = f"{seq} {events.decode()}"
        case Head():
            text = "head"
        case HeadUpdate():
            changed = {name: getattr(argument, name) for name in argument.__struct_fields__ if name != "look"}
            text = " ".join(f"{name}={value}" for name, value in changed.items() if value)
        case bytes():
            text = f"{len(argument)} bytes"
        case _:
            text = str(argument)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _printed(line: Line, began: int) -> str:
    arguments = line.call.arguments
    told = "  ".join(_short(each) for each in (arguments[1:] if line.call.port == "store" else arguments))
    struck = f"  <<< {line.fault.value}" if line.fault else ""
    seconds = (line.at - began) / 1000
    return f"{line.call.number:4} {seconds:9.3f} s  {line.process:6} {line.name:12} {told}{struck}"


def main() -> int:
    """Play the history that the command line names; 1 if it breaks something."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashes", description=__doc__)
    parser.add_argument("scenario", nargs="?", choices=SCENARIOS, metavar="SCENARIO")
    kinds = ", ".join(kind.value for kind in Kind)
    parser.add_argument("blows", nargs="*", type=Blow.parse, help=f"number of a call, a colon, and one of {kinds}")
    given = parser.parse_args()
    if given.scenario is None:
        for each in SCENARIOS.values():
            sys.stdout.write(f"{each.name:40} {each.play.__doc__}\n")
        return 0
    logging.disable(logging.INFO)
    chosen = trial(given.scenario)
    calls = len(chosen.undisturbed.trace)
    if any(blow.number >= calls for blow in given.blows[:1]):
        parser.error(f"{given.scenario} makes {calls} calls, numbered from 0")
    told, broken = "", False
    try:
        for run, end in chosen.history(*given.blows).ends.items():
            told += f"\nrun {run}: {end.status} {end.error}"
    except Violation as error:
        told, broken = f"\n{error}", True
    for line in chosen.world.fate.trace:
        sys.stdout.write(_printed(line, chosen.world.began) + "\n")
    sys.stdout.write(told + "\n")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
