"""What the handlers need of Lambda's runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from kernel.shell.environment import Environment


class LambdaContext(Protocol):
    """The part of Lambda's context object that is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is cut off."""
        ...


Handler = Callable[[Any, LambdaContext], dict[str, Any]]
"""What Lambda calls."""


def measured(handle: Handler, env: Environment) -> Handler:
    """The handler, which hands over what was measured in an invocation once it is over, however it ends."""

    def flushed(event: Any, context: LambdaContext) -> dict[str, Any]:  # noqa: ANN401 - whatever it is
        try:
            return handle(event, context)
        finally:
            env.metrics.flush()

    return flushed
