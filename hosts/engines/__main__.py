"""`python -m hosts.engines`: have everything in the cache that the tests need, and say loudly what cannot be.

Run by `make test` before pytest, so that the first test does not pay for a download, and so that nobody
believes that suites ran against DynamoDB Local when they did not. Under CI=true what is missing is a failure.
"""

from __future__ import annotations

import os
import sys

from hosts.engines.dynamodb_local import ENGINE_VERSION, DynamoDbLocal
from hosts.engines.environment import EngineMissing


def main() -> int:
    """Start DynamoDB Local once, fetching it where needed; the result is the exit status."""
    try:
        with DynamoDbLocal.start():
            print(f"DynamoDB Local {ENGINE_VERSION} is ready")
    except EngineMissing as missing:
        rule = "!" * 100
        print(
            f"{rule}\n!! {missing}\n"
            "!! Everything marked dynamodb_local DOES NOT RUN on this machine, cost figures included.\n"
            f"{rule}",
            file=sys.stderr,
        )
        return 1 if os.environ.get("CI", "").lower() in {"1", "true"} else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
