"""The maintenance tick: ``handlers.tick.handler``, on a schedule. Answers with what it did, by kind."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger
from msgspec.structs import asdict

from handlers.runtime import Handler, LambdaContext, measured
from infra import compose
from kernel.shell.environment import Environment
from kernel.shell.tick import tick

MARGIN = 5.0
"""Seconds before the end of the invocation by which everything must be done."""
LONGEST = 50.0
"""Seconds that a tick takes at most, so that it ends before the next one starts."""


def make_handler(env: Environment, logger: Logger | None = None) -> Handler:
    """The handler over an environment."""
    log = logger or Logger(child=False)

    def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - the schedule says nothing
        left = min(context.get_remaining_time_in_millis() / 1000 - MARGIN, LONGEST)
        counts = asdict(tick(env, env.clock.monotonic() + left))
        log.info("tick", extra=counts)
        return counts

    return measured(handle, env)


def __getattr__(name: str) -> Handler:
    """Compose on first use; Lambda asks for ``handler`` during initialisation."""
    if name != "handler":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()["handler"] = composed = make_handler(compose.maintenance(os.environ))
    return composed
