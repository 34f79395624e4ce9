"""The simulator: thousands of random histories with some seventy faults each, and every invariant looked at.

    python -m bench.simulate --histories 20000 --json
    python -m bench.simulate --list-guards
    python -m bench.simulate --break commit-condition     # without this guard an invariant breaks: which, at which seed
    python -m bench.simulate --seed 17                    # replay one history, line by line

A history follows from its seed alone: the same seed gives the same trace, to the byte.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bench.arguments import positive
from bench.histories import Stretch, measuring, play, stretch
from kernel.testing.simulator.breaks import ALIASES, BREAKS, Break, find
from kernel.testing.simulator.history import Verdict
from kernel.testing.simulator.shrink import shrink

AT_ONCE = 100
"""Histories that a process plays before it reports."""
MEASURED = 0.3
"""Share of the histories in which the kernel's branches are measured, which takes twice as long."""
WITHIN = 2_500
"""Histories within which the lack of a guard must show."""
REPLAY = ".venv/bin/python -m bench.simulate"
"""What plays one history again, or a guard away."""
PARTS = ("core", "shell", "define")
"""Parts of the kernel whose branches are counted apart, too: a high share in one must not hide a low one in another."""
SHOWN = 150
"""Lines of a shrunk trace that are printed: its end, and of what is before, the lines of those to whom a fault came."""
LISTED = 5
"""Broken histories that are named."""


def main() -> int:
    """Play histories; the exit status is 1 if an invariant broke, or if none did without its guard."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description=__doc__.partition("\n")[0])
    parser.add_argument("--histories", type=positive(int), default=2_000, help="how many (2000)")
    parser.add_argument("--first", type=int, default=0, help="the seed to begin with (0)")
    parser.add_argument("--seed", type=int, help="replay this one history, and print its trace")
    parser.add_argument("--break", dest="guard", metavar="GUARD", help="take a guard away, and see what breaks")
    parser.add_argument("--list-guards", action="store_true", help="the guards that can be taken away")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    given = parser.parse_args()
    if given.list_guards:
        return _list()
    guard = None
    if given.guard is not None:
        guard = find(given.guard)
        if guard is None:
            parser.error(f"there is no guard {given.guard}: --list-guards names them")
    if given.seed is not None:
        return _replay(given.seed, guard)
    if guard is not None:
        return _without(guard, given.first, min(given.histories, WITHIN), as_json=given.json)
    return _play(given.first, given.histories, as_json=given.json)


def _list() -> int:
    others = {name: alias for alias, name in ALIASES.items()}
    for name, each in BREAKS.items():
        also = f" (also: {others[name]})" if name in others else ""
        print(f"{name:<20} {each.guards}{also}\n{'':<20} breaks: {', '.join(sorted(each.invariants))}")
    return 0


def _replay(seed: int, guard: Break | None) -> int:
    with guard.without() if guard else nullcontext():
        verdict = play(seed, trace=True)
    print("\n".join(verdict.trace))
    print(f"seed {seed}: {verdict.message or 'every invariant held'}; {len(verdict.happened)} faults")
    return 1 if verdict.invariant else 0


def _without(guard: Break, first: int, most: int, *, as_json: bool) -> int:
    """Look for a history that breaks an invariant which the guard is there for, and that holds with the guard."""
    verdict = next(
        (found for found in _broken(guard, range(first, first + most)) if not play(found.seed).invariant), None
    )
    if as_json:
        print(json.dumps(_figures_without(guard, verdict, first, most)))
    elif verdict is None:
        print(f"✗ without {guard.name} nothing broke in {most} histories, least of all {' or '.join(guard.invariants)}")
    else:
        with guard.without():
            shrunk = shrink(verdict, play)
        _show(shrunk, f"{len(verdict.happened)} faults")
        print(f"\n✓ without {guard.name}, history {verdict.seed} breaks {shrunk.message}")
        print(f"  replay: {REPLAY} --break {guard.name} --seed {verdict.seed}")
    return 1 if verdict is None else 0


def _figures_without(guard: Break, verdict: Verdict | None, first: int, most: int) -> dict[str, Any]:
    if verdict is None:
        message = f"none of {', '.join(guard.invariants)} broke"
        return {"guard": guard.name, "caught": False, "histories": most, "message": message}
    return {
        "guard": guard.name,
        "caught": True,
        "histories": verdict.seed - first + 1,
        "seed": verdict.seed,
        "invariant": verdict.invariant,
        "message": verdict.message,
        "replay": f"{REPLAY} --break {guard.name} --seed {verdict.seed}",
    }


def _broken(guard: Break, seeds: Iterable[int]) -> Iterator[Verdict]:
    """The histories that break an invariant of the guard without it."""
    for seed in seeds:
        with guard.without():
            verdict = play(seed)
        if verdict.invariant in guard.invariants:
            yield verdict


def _show(shrunk: Verdict, whole: str) -> None:
    """What is left of a history when all faults are left out that do not matter."""
    trace = shrunk.trace
    begin = max(0, len(trace) - SHOWN)
    struck = {name.split()[0] for name in shrunk.happened}
    before = [line for line in trace[:begin] if any(f"  {who.partition('.')[0]} " in line for who in struck)]
    print(f"{whole}, of which these matter: {', '.join(shrunk.happened) or 'none'}", file=sys.stderr)
    if begin:
        print(f"(of the first {begin} lines, those of the processes that they came to)", file=sys.stderr)
    print("\n".join((*before[-SHOWN:], *(["..."] if begin else []), *trace[begin:])), file=sys.stderr)


def _play(first: int, histories: int, *, as_json: bool) -> int:
    """Play them all, on every core."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        figures = _figures(_stretches(first, histories, folder), histories)
        figures |= _coverage(folder)
    figures["seconds"] = round(time.monotonic() - began)
    broken = figures.pop("broken")
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        figures.pop("branches_not_taken")
        figures["faults"] = ", ".join(f"{kind} {count}" for kind, count in figures["faults"].items())
        for name, value in figures.items():
            print(f"{name:<28} {value}")
    if not broken:
        print(f"✓ {histories} histories, and every promise held", file=sys.stderr)
        return 0
    shrunk = shrink(play(broken[0][0]), play)
    _show(shrunk, f"seed {shrunk.seed}")
    for seed, _, message in broken[:LISTED]:
        print(f"\nseed {seed}: {message}\n  replay: {REPLAY} --seed {seed}", file=sys.stderr)
    if len(broken) > LISTED:
        print(f"\nand {len(broken) - LISTED} more", file=sys.stderr)
    print(f"\n✗ {len(broken)} of {histories} histories broke a promise", file=sys.stderr)
    return 1


def _stretches(first: int, histories: int, folder: str) -> Iterator[Stretch]:
    """The stretches, in order of their seeds, as they are done."""
    begins = range(first, first + histories, AT_ONCE)
    every = round(1 / MEASURED)
    # A fresh process for each: none inherits what another has measured or cached.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        futures = [
            pool.submit(stretch, begin, min(AT_ONCE, first + histories - begin), "" if number % every else folder)
            for number, begin in enumerate(begins)
        ]
        done = 0
        for future in futures:
            found = future.result()
            done += found.count
            if sys.stderr.isatty():
                print(f"\r{done} of {histories} histories", end="", file=sys.stderr, flush=True)
            yield found
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)


def _figures(stretches: Iterator[Stretch], histories: int) -> dict[str, Any]:
    faults: Counter[str] = Counter()
    states: set[int] = set()
    broken: list[tuple[int, str, str]] = []
    of_streams: set[int] = set()
    runs = done = before = over_streams = 0
    for each in stretches:
        faults += each.faults
        states |= each.states
        of_streams |= each.of_streams
        over_streams += each.over_streams
        runs += each.runs
        done += each.count
        broken += each.broken
        if done <= histories * 0.9:
            before = len(states)
    return {
        "histories": done,
        "histories_over_streams": over_streams,
        "runs": runs,
        "faults_injected": faults.total(),
        "faults": dict(faults.most_common()),
        "violations": len(broken),
        "unfinished": sum(invariant == "quiet-at-last" for _, invariant, _ in broken),
        "distinct_states": len(states),
        "distinct_states_over_streams": len(of_streams),
        "growth_over_last_tenth": round((len(states) - before) / before, 4) if before else None,
        "broken": broken,
    }


def _coverage(folder: str) -> dict[str, Any]:
    """The share of the kernel's branches that were taken, of each part of it by itself, and those that were not."""
    measurement = measuring(folder)
    measurement.combine(data_paths=[folder])
    report = Path(folder, "report.json")
    measurement.json_report(outfile=str(report))
    told = json.loads(report.read_text())
    missing = {
        f"{Path(name).parent.name}/{Path(name).name}": each["missing_branches"]
        for name, each in told["files"].items()
        if each["missing_branches"]
    }
    shares = {part: _share(told["files"], part) for part in ("kernel", *PARTS)}
    return {
        **{f"{part}_branches": branches for part, (_, branches) in shares.items()},
        **{f"{part}_branch_coverage": round(taken / branches, 4) for part, (taken, branches) in shares.items()},
        "branches_not_taken": {name: [f"{a}->{b}" for a, b in arcs] for name, arcs in sorted(missing.items())},
    }


def _share(files: dict[str, Any], part: str) -> tuple[int, int]:
    """How many branches were taken, and how many there are, in the files of a part of the kernel or in all of it."""
    summaries = [each["summary"] for name, each in files.items() if part == "kernel" or Path(name).parent.name == part]
    return sum(each["covered_branches"] for each in summaries), sum(each["num_branches"] for each in summaries)


if __name__ == "__main__":
    sys.exit(main())
