"""A handler that cannot be loaded."""

from __future__ import annotations

message = "nothing works today"
raise RuntimeError(message)
