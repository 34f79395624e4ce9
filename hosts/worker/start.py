"""``python -m hosts.worker.start order order.json``: start a run from where workers are, without an API."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.compose import environment, registry
from infra.settings import Settings
from kernel.errors import OnewriteError
from kernel.shell.start import start

REFUSED = 1
"""Exit status when no run was started."""


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Do it; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m hosts.worker.start", description="Start a run. Settings come from the environment."
    )
    parser.add_argument("workflow", help="its id")
    parser.add_argument("input", help="a file of JSON, or - for standard input")
    parser.add_argument("--key", help="idempotency key: the same one and input give the same run")
    parser.add_argument("--tenant", help="whose run it is; without it, that of the setting DEFAULT_TENANT")
    given = parser.parse_args(arguments)
    try:
        settings = Settings.from_env(environ)
        known = registry(settings)
        tenant = given.tenant or settings.default_tenant
        if not tenant:
            parser.error("whose run is it? Give --tenant, or set DEFAULT_TENANT")
        text = sys.stdin.read() if given.input == "-" else Path(given.input).read_text(encoding="utf-8")
        workflow = known.latest(given.workflow)
        started = start(environment(settings, known), workflow, text, tenant=tenant, by="start", key=given.key)
    except (OnewriteError, OSError, UnicodeError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    print(json.dumps({"run": started.ref.run, "workflow": given.workflow, "replay": started.replay}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
