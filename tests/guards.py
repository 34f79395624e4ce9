"""Switching off the condition of a write, to see that tests notice.

    python -m tests.guards                              # the guards, and what each is there for
    python -m tests.guards status-as-seen -n 2          # without this one: the tests that notice; pytest gets the rest

A guard is switched off by replacing its condition with one that always holds, in every store that maps guards. That
nobody notices is an error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import fill

import pytest

from infra.dynamodb.guards import ALWAYS, CONDITIONS
from kernel.ports import Guard
from kernel.testing.simulator.breaks import ALIASES, BREAKS, condition_off, find

VARIABLE = "GUARD"
"""Environment variable that tells the tests which guard is off."""
QUIET = ("-p", "no:cacheprovider", "-q", "--no-header", "--tb=no", "-rN")
"""A test that fails is what is wanted: no tracebacks, and a list of our own."""
WIDTH = 100


@contextmanager
def switched_off(guard: Guard) -> Iterator[None]:
    """Within the block, this guard lets everything pass."""
    condition = CONDITIONS[guard]
    CONDITIONS[guard] = ALWAYS
    try:
        with condition_off(guard):
            yield
    finally:
        CONDITIONS[guard] = condition


class Notices:
    """A plugin of pytest: a test of a guard that fails has noticed.

    Attributes:
        noticed: tests that failed.
        held: how many passed.
        broken: tests that could not be run, which tells nothing about the guard.
    """

    def __init__(self) -> None:
        self.noticed: list[str] = []
        self.held = 0
        self.broken: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take it down."""
        if report.failed:
            (self.noticed if report.when == "call" else self.broken).append(report.nodeid)
        elif report.passed and report.when == "call":
            self.held += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Call it by its name, so that the terminal shows no failure where there is none."""
        return ("noticed", "!", "NOTICED") if report.when == "call" and report.failed else None


def verdict(guard: Guard, notices: Notices, status: int) -> tuple[str, int]:
    """What a run of the tests without this guard comes to, and the exit status; ``status`` is pytest's."""
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return f"✗ the tests could not be run without {guard.value}", status
    if notices.broken:
        return f"✗ could not be run: {', '.join(notices.broken)}", 1
    if not notices.noticed:
        return f"✗ no test noticed that {guard.value} is off", 1
    if not notices.held:
        return "✗ every test failed, those of other guards as well: something else is wrong", 1
    lines = [*(f"  {test}" for test in notices.noticed), ""]
    tests = "1 test" if len(notices.noticed) == 1 else f"{len(notices.noticed)} tests"
    return "\n".join([*lines, f"✓ {tests} noticed that {guard.value} is off"]), 0


def listing() -> Iterator[str]:
    """Every guard and what it is there for."""
    for guard in Guard:
        others = "".join(f" (also: {alias})" for alias, name in ALIASES.items() if name == guard)
        text = f"{guard.value:<20} {BREAKS[guard.value].guards}{others}"
        yield fill(text, WIDTH, subsequent_indent=" " * 21, break_on_hyphens=False)


def guard_named(name: str) -> Guard:
    """The guard with this name, or this other name.

    Raises:
        argparse.ArgumentTypeError: there is none; or it is none of a write, and the simulator has to take it away.
    """
    found = find(name)
    if found is None:
        raise argparse.ArgumentTypeError(f"there is no guard {name}: make test-guards lists them")
    if found.name not in set(Guard):
        raise argparse.ArgumentTypeError(
            f"{name} is not the condition of a write: python -m bench.simulate --break {name} takes it away"
        )
    return Guard(found.name)


def main() -> int:
    """List the guards, or see who notices that one is off; the exit status is 0 if somebody did."""
    parser = argparse.ArgumentParser(prog="make test-guards", usage="make test-guards [GUARD=name] [ARGS=...]")
    parser.add_argument("guard", nargs="?", type=guard_named)
    given, rest = parser.parse_known_args()
    if given.guard is None:
        print("\n".join(listing()))  # noqa: T201 - a list for a person
        return 0
    os.environ[VARIABLE] = given.guard.value
    notices = Notices()
    text, status = verdict(given.guard, notices, pytest.main(["-m", "guards", *QUIET, *rest], plugins=[notices]))
    print(f"\n{text}")  # noqa: T201 - as above
    return status


if __name__ == "__main__":
    sys.exit(main())
