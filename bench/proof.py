"""The whole proof, and one table of it: simulated histories, guards, the gallery, engines, crash points.

    python -m bench.proof                          # all of it: one to two hours on two cores
    python -m bench.proof --parts hostile guards   # only these parts of it
    python -m bench.proof --histories 2000         # fewer simulated histories

It simulates, takes each guard away in turn, and runs the tests that enumerate or explore with their full share. Each
part says what failed when it ends, and how long it took. The exit status is 1 if anything broke.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kernel.testing.simulator.breaks import BREAKS

ROOT = Path(__file__).parent.parent
TESTS = {
    "engines": ("gallery", "conformance", "contention", "engines", "deployed", "simulator", "soak"),
    "hostile": ("hostile",),
    "crashes": ("crashes",),
}
"""By part: the folders of tests/ whose tests have a share of the proof."""
PARTS = ("histories", "guards", *TESTS)
"""In the order in which they run: what is likeliest to find something comes first."""

Figures = dict[str, Any]


def main() -> int:
    """Run everything; the exit status is 1 if anything broke."""
    parser = argparse.ArgumentParser(prog="python -m bench.proof", description=__doc__.partition("\n")[0])
    parser.add_argument("--histories", type=int, default=20_000, help="simulated histories (20000)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes of the test run")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    given = parser.parse_args()
    console = Console()
    began = time.monotonic()
    good = True
    simulated: Figures = {}
    if "histories" in given.parts:
        console.rule(f"{given.histories} simulated histories")
        with _timed(console, "histories"):
            simulated = _bench("simulate", "--histories", str(given.histories))
        good &= simulated.get("violations") == simulated.get("unfinished") == 0
    guards: list[Figures] = []
    if "guards" in given.parts:
        console.rule("each guard taken away")
        with _timed(console, "guards"), ThreadPoolExecutor(given.workers) as pool:  # each is a process of its own
            guards = list(pool.map(partial(_guard, console), BREAKS))
        good &= all(guard.get("caught") for guard in guards)
    with tempfile.TemporaryDirectory() as folder:
        for part in [each for each in TESTS if each in given.parts]:
            console.rule(f"{part}: tests, with their full share")
            with _timed(console, part):
                good &= _tests(folder, TESTS[part], given.workers)
        told, engines, missing = _told(Path(folder))
    console.print(_table(told, engines, guards, simulated))
    for engine in missing:
        console.print(f"[red]NOT tested, because it does not run here: {engine}[/]")
    good &= not missing
    verdict = "[green]proved[/], as far as trying goes" if good else "[red]broken[/]"
    console.print(f"{verdict}: {', '.join(given.parts)}; {(time.monotonic() - began) / 60:.0f} minutes")
    return 0 if good else 1


@contextmanager
def _timed(console: Console, part: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    console.print(f"{part}: {(time.monotonic() - began) / 60:.1f} minutes")


def _tests(folder: str, names: Sequence[str], workers: int) -> bool:
    folders = [str(ROOT / "tests" / name) for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), *folders]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PROOF": folder}, check=False).returncode == 0


def _told(folder: Path) -> tuple[dict[str, Counter[str]], list[str], list[str]]:
    """What the tests left: numbers added up by part, the engines that were exercised, and those that are missing."""
    parts: dict[str, Counter[str]] = {}
    engines: set[str] = set()
    missing: set[str] = set()
    for file in sorted(folder.glob("*.jsonl")):
        name_of_part = file.name.partition(".")[0]
        part = parts.setdefault(name_of_part, Counter())
        for line in file.read_text().splitlines():
            for name, figure in json.loads(line).items():
                if isinstance(figure, str):
                    (missing if name_of_part == "missing" else engines).add(figure)
                else:
                    part[name] += figure
    return parts, sorted(engines), sorted(missing)


def _guard(console: Console, name: str) -> Figures:
    figures = _bench("simulate", "--break", name)
    if figures.get("caught"):
        console.print(f"[green]✓[/] {name}: {figures['invariant']}, seed {figures['seed']}")
    else:
        console.print(f"[red]✗[/] {name}: {figures.get('message', 'no figures')}")
    return figures


def _bench(name: str, *arguments: str) -> Figures:
    command = [sys.executable, "-m", f"bench.{name}", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    try:
        figures: Figures = json.loads(done.stdout)
    except ValueError:
        return {"message": f"{' '.join(arguments)} gave no figures, but exit status {done.returncode}"}
    return figures


def _table(told: dict[str, Counter[str]], engines: list[str], guards: list[Figures], simulated: Figures) -> Table:
    table = Table(title="What was tried", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    none: Counter[str] = Counter()
    crashes, hostile = told.get("crashes", none), told.get("hostile", none)
    caught = sum(bool(guard.get("caught")) for guard in guards)
    tried: list[tuple[str, object]] = [
        ("scenarios of the crash enumeration", crashes["scenarios"]),
        ("crash points, one at a time", crashes["single"]),
        ("crash points, in pairs", crashes["pairs"]),
        ("guards taken away, caught", f"{len(guards)}, {caught}" if guards else 0),
        ("gallery entries", told.get("gallery", none)["entries"]),
        *(("engine", engine) for engine in engines),
        *((f"hostile input: {name.replace('_', ' ')}", figure) for name, figure in sorted(hostile.items())),
    ]
    rows = [(name, figure) for name, figure in tried if figure != 0]  # the others are of parts that were not asked for
    if simulated:
        rows += [(name.replace("_", " "), simulated.get(name, "?")) for name in SIMULATED]
    for name, figure in rows:
        table.add_row(name, f"{figure:,}" if isinstance(figure, int) else str(figure))
    return table


SIMULATED = (
    "histories",
    "runs",
    "faults_injected",
    "distinct_states",
    "growth_over_last_tenth",
    "kernel_branch_coverage",
    "core_branch_coverage",
    "shell_branch_coverage",
    "define_branch_coverage",
    "unfinished",
    "violations",
)
"""Figures of ``bench.simulate`` that the table shows."""


if __name__ == "__main__":
    sys.exit(main())
