"""Whatever user code throws, as the log keeps it: bounded, and always valid text."""

from __future__ import annotations

import traceback
from types import TracebackType

from kernel.core.events import ErrorRecord

MAX_MESSAGE = 1_000
MAX_TRACEBACK = 2_000
"""Characters kept of an error's message and traceback, so that a failure's commit stays small."""


def describe(error: BaseException, category: str, stage: str, attempt: int) -> ErrorRecord:
    """An error record of an exception.

    Args:
        error: what was thrown.
        category: as in ``ErrorRecord``.
        stage: where.
        attempt: in which attempt; 0 before the first.
    """
    kind = type(error).__name__
    try:
        message = str(error) or repr(error)
        lines = "".join(traceback.format_exception(type(error), error, _users(error.__traceback__)))
    except Exception:  # noqa: BLE001 - an error's own text is user code, too
        message, lines = f"{kind} (its text cannot be told)", ""
    return ErrorRecord(category, kind, _text(message)[:MAX_MESSAGE], stage, attempt, _text(lines)[-MAX_TRACEBACK:])


def _users(frames: TracebackType | None) -> TracebackType | None:
    """The frames from the user's code on: the engine's own say nothing about what is wrong."""
    inner = frames
    while inner is not None and str(inner.tb_frame.f_globals.get("__name__", "")).startswith("kernel."):
        inner = inner.tb_next
    return inner or frames


def _text(text: str) -> str:
    """Lone surrogates cannot be stored."""
    return text.encode("utf-8", "backslashreplace").decode()
