"""Where requests come in: ``handlers.intake.handler``, for API Gateway, EventBridge and direct invocation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from handlers.direct import Direct
from handlers.gateway import Gateway, is_http
from handlers.operations import Operations
from handlers.runtime import Handler, LambdaContext, measured
from infra import compose
from infra.settings import Settings

if TYPE_CHECKING:
    from kernel.define.registry import Registry
    from kernel.shell.environment import Environment

MARGIN = 2.0
"""Seconds before the end of the invocation by which a caller who waits must have an answer."""


def make_handler(env: Environment, registry: Registry, settings: Settings, logger: Logger | None = None) -> Handler:
    """The handler over an environment. Several threads may call it at once."""
    log = logger or Logger(child=False)
    operations = Operations(env, registry)
    gateway = Gateway(settings, operations, log, env.limits.payload)
    direct = Direct(settings, operations, log)

    def handle(event: Any, context: LambdaContext) -> dict[str, Any]:  # noqa: ANN401 - whatever it is
        left = max(0.0, context.get_remaining_time_in_millis() / 1000 - MARGIN)
        if isinstance(event, dict) and is_http(event):
            return gateway.handle(event, left)
        if isinstance(event, dict) and "detail-type" in event:
            return direct.take(event)
        return direct.invoke(event, left)

    return measured(handle, env)


def __getattr__(name: str) -> Handler:
    """Compose on first use; Lambda asks for ``handler`` during initialisation."""
    if name != "handler":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    settings = Settings.from_env(os.environ)
    registry = compose.registry(settings)
    composed = make_handler(compose.environment(settings, registry), registry, settings)
    globals()["handler"] = composed
    return composed
