"""A handler that does what the field ``do`` of its event says, and answers with what it sees of its runtime."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

COUNTED = [0]
"""State of the module, which lives as long as the process."""


def handler(event: dict[str, Any], context: Any) -> Any:
    COUNTED[0] += 1
    match event.get("do"):
        case "raise":
            raise ValueError(event["message"])
        case "exit":
            os._exit(event["status"])
        case "sleep":
            Path(event["begun"]).touch()
            time.sleep(event["seconds"])
        case "print":
            print(event["text"])  # noqa: T201 - the log is what is tested
        case "import":
            importlib.import_module(event["module"])
        case "read":
            return sys.stdin.read()
    return {
        "count": COUNTED[0],
        "pid": os.getpid(),
        "id": context.aws_request_id,
        "name": context.function_name,
        "left": context.get_remaining_time_in_millis(),
        "variables": dict(os.environ),
        "folder": str(Path.cwd()),
        "modules": list(sys.modules),
    }
