"""``python -m hosts.worker.table``: make the table of the settings, where no CloudFormation does: on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from infra.clients import Clients
from infra.dynamodb.table import create_table
from infra.settings import Settings
from kernel.errors import OnewriteError

UNUSED = {"WORKFLOWS": "not:asked", "QUEUE_URL": "https://not-asked"}
"""Settings that a worker needs, and this does not."""


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Make it unless it is there; the exit status."""
    try:
        settings = Settings.from_env({**UNUSED, **environ})
        with Clients(localstack_host=settings.localstack_host) as clients:
            create_table(clients.dynamodb, settings.table_name)
    except OnewriteError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"table {settings.table_name} is there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
