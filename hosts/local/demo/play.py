"""Plays the demo: sets everything up, lets the director do his work, and reports."""

from __future__ import annotations

import time
import uuid

from msgspec.structs import replace
from rich.console import Console

from hosts.local.client import Api
from hosts.local.demo.cases import CASES
from hosts.local.demo.director import Director
from hosts.local.demo.report import report
from hosts.local.host import JOB_LIMIT, Engine, LocalHost, Options
from kernel.errors import OnewriteError
from kernel.ports import RunRef
from kernel.testing.units import Usage
from workflows.examples.media import ASK_EVERY
from workflows.examples.outside import World

SHORTENED = {
    "TICK_SECONDS": ("1", "a tick every 1 s (else 60)"),
    "LOOK_GRACE_SECONDS": ("9", "look grace 9 s (120)"),
    "LEASE_GRACE_SECONDS": ("1", "lease grace 1 s (5)"),
    "MAX_SKEW_MS": ("0", "no clock skew (1 s)"),
}
"""Settings that spare people the two minutes until a dead worker is found, and what is said about each."""
PLAIN_WIDTH = 132
"""Columns where there is no terminal that has a width."""
LAST_LINES = 15
"""Lines of each function's output that are shown when something went wrong."""
INTERRUPTED = 130
"""Exit status after Ctrl-C."""


def play(console: Console, engine: Engine, endpoint_url: str | None) -> int:
    """Play it.

    Args:
        console: where to.
        engine: as in ``Options``.
        endpoint_url: as in ``Options``.

    Returns:
        The exit status: 0 if everything that was claimed holds.

    Raises:
        OnewriteError: something cannot be started; the message says what.
    """
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH, highlight=False)
    # A tenant of its own, should there be runs of an earlier demo at the endpoint.
    tenant = f"demo-{uuid.uuid4().hex[:8]}"
    variables = {name: value for name, (value, _) in SHORTENED.items()}
    variables |= {"WORKFLOWS": "workflows.examples:registry", "DEFAULT_TENANT": tenant}
    options = Options(engine=engine, endpoint_url=endpoint_url, metered=True, variables=variables)
    console.print("[bold]Onewrite, the demo:[/] the real Lambda handlers on this machine, without an account")
    began = time.monotonic()
    host = LocalHost(options, lambda text: console.print(text, style="dim"))
    good = False
    try:
        with host, host.logged():
            _introduce(console, host, time.monotonic() - began)
            try:
                good = _play(console, host, tenant)
            except OnewriteError as error:
                console.print(str(error), style="red", markup=False)
            host.keep = not good
    except KeyboardInterrupt:
        console.print("stopped")
        return INTERRUPTED
    if not good:
        _last_words(console, host)
    return 0 if good else 1


def _introduce(console: Console, host: LocalHost, seconds: float) -> None:
    shortened = ", ".join(said for _, said in SHORTENED.values())
    console.print(
        f"up after {seconds:.1f} s: the API at {host.url}, {JOB_LIMIT} workers as processes of their own\n"
        f"shortened for the demo: {shortened}; the provider is asked every {ASK_EVERY.seconds} s\n",
        style="dim",
    )


def _play(console: Console, host: LocalHost, tenant: str) -> bool:
    api = Api(host.url)
    world = World(host.world)
    began = time.monotonic()
    runs = Director(api, host.job, world, console).direct(CASES)
    seconds = time.monotonic() - began
    for each in runs:
        each.usage = _usage(host, RunRef(tenant, each.run))
    listed = [each["run"] for each in api.runs(limit=200)["runs"]]
    return report(console, runs, listed, world, seconds)


def _usage(host: LocalHost, ref: RunRef) -> Usage:
    """What a run used. Whatever the API read was read to watch it: starting a run reads nothing."""
    used = host.ledger.of(ref)
    watching = host.ledger.of(ref, ("intake",))
    return replace(used, read_units=used.read_units - watching.read_units)


def _last_words(console: Console, host: LocalHost) -> None:
    for log in sorted(host.folder.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        if lines:
            console.print(f"\n[bold]the last lines of {log}[/]")
            console.print("\n".join(lines), markup=False, style="dim", soft_wrap=True)
