"""`python -m hosts.engines`: have everything in the cache that the tests need, and say loudly what cannot be.

Run by `make test` before pytest, so that the first test does not pay for a download, and so that nobody believes that
suites ran against DynamoDB Local, LocalStack or Redis when they did not. Under CI=true what is missing is a failure.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from hosts.engines import dynamodb_local
from hosts.engines.environment import EngineMissing
from hosts.engines.localstack import engine as localstack
from hosts.engines.redis_server import RedisServer

Start = Callable[[], AbstractContextManager[object]]

ENGINES: dict[str, tuple[str, Start]] = {
    f"DynamoDB Local {dynamodb_local.ENGINE_VERSION}": (
        "Everything marked dynamodb_local DOES NOT RUN on this machine, cost figures included.",
        dynamodb_local.DynamoDbLocal.start,
    ),
    f"LocalStack {localstack.ENGINE_VERSION}": (
        "Everything marked localstack DOES NOT RUN on this machine: nobody has deployed template.yaml.",
        localstack.LocalStack.start,
    ),
    "Redis": (
        "Everything marked redis DOES NOT RUN on this machine: nobody has sent a poke over a stream.",
        RedisServer.start,
    ),
}
"""By name: what does not run without it, and how to start it."""


def main(engines: dict[str, tuple[str, Start]] = ENGINES) -> int:
    """Start each engine once, fetching it where needed; the result is the exit status."""
    missing = [name for name, (without, start) in engines.items() if not _runs(name, without, start)]
    return 1 if missing and os.environ.get("CI", "").lower() in {"1", "true"} else 0


def _runs(name: str, without: str, start: Start) -> bool:
    try:
        with start():
            print(f"{name} is ready", flush=True)
    except EngineMissing as missing:
        rule = "!" * 100
        print(f"{rule}\n!! {missing}\n!! {without}\n{rule}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
