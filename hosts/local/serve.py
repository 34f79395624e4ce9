"""`serve`: the host stays up until Ctrl-C, and says how to talk to it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hosts.local.client import DEFAULT_URL
from hosts.local.deployment import VARIABLES
from hosts.local.host import LocalHost, Options
from infra.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

ROUTES = (
    ("POST /workflows/{workflow}/runs", "start a run"),
    ("GET  /runs", "list runs"),
    ("GET  /runs/{run}?wait=20", "a run; waits up to 20 s for its end"),
    ("GET  /runs/{run}/log", "its log"),
    ("POST /runs/{run}/cancel|retry|rerun", "cancel it, or let it run again"),
    ("POST /runs/{run}/events", "send it an event that it waits for"),
    ("POST /callbacks/{token}", "answer a stage"),
    ("POST /runs/{run}/pause|resume", "let nothing more of it start, or let it go on"),
    ("GET  /workflows, /health, /openapi.json", "what there is"),
)


def chosen_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings among environment variables, by the names that template.yaml uses."""
    names = {name.upper() for name in Settings.__struct_fields__} | {"LOG_LEVEL"}
    return {name: value for name, value in environment.items() if name in names}


def interpreter(executable: str, folder: Path) -> str:
    """The Python that runs this as somebody in the folder would call it: `.venv/bin/python`."""
    path = Path(executable)
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def serve(console: Console, options: Options) -> None:
    """Stay up until Ctrl-C.

    Raises:
        OnewriteError: something cannot be started; the message says what.
    """
    with LocalHost(options, lambda text: console.print(text, style="dim")) as host:
        _welcome(console, host, os.environ)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        console.print("stopping", style="dim")


def _welcome(console: Console, host: LocalHost, environment: Mapping[str, str]) -> None:
    url = host.url
    console.print(f"\n[bold]Onewrite[/] answers at [bold]{url}[/]. Ctrl-C ends it.\n")
    for route, meaning in ROUTES:
        console.print(f"  {route:<40} [dim]{meaning}[/]", soft_wrap=True)
    inputs = "workflows/examples/inputs"
    python = interpreter(sys.executable, Path.cwd())
    there = "" if url == DEFAULT_URL else f" --url {url}"
    console.print(
        "\n[dim]Try:[/]\n\n"
        f"  curl -s {url}/workflows/order/runs -H 'Idempotency-Key: my-first' \\\n"
        f"    -H 'Content-Type: application/json' \\\n"
        f'    -d "{{\\"input\\": $(cat {inputs}/order/laptop.json)}}"\n'
        f"  curl -s '{url}/runs/RUN?wait=20'\n"
        f"  {python} -m hosts.local run order {inputs}/order/card-declined-twice.json{there}\n"
        f"  {python} -m hosts.local list{there}\n\n"
        "[dim]Settings are environment variables, as in template.yaml: "
        f"TICK_SECONDS={environment.get('TICK_SECONDS', '60')} "
        f"WORKFLOWS={environment.get('WORKFLOWS', VARIABLES['WORKFLOWS'])} …\n"
        f"Output of handlers and stages: {host.folder}/*.log[/]\n",
        soft_wrap=True,
    )
