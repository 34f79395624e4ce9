"""A worker's log: a line of JSON for each record, on standard error, with what was said beside it as fields."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; anything else was given as ``extra``."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON.

    Args:
        fields: what stands in every line, such as the worker's name.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__()
        self._fields = dict(fields)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields,
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up(environ: Mapping[str, str], **fields: str) -> None:
    """Let everything that is logged in this process be written so; ``LOG_LEVEL`` says from which level on (INFO)."""
    level = environ.get("LOG_LEVEL", "").upper()
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(fields))
    logging.basicConfig(level=level if level in LEVELS else "INFO", handlers=[handler], force=True)
    logging.getLogger("botocore").setLevel("WARNING")
