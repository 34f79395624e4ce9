"""Attending runs that SQS was poked about: ``handlers.job.handler``, for batches with partial responses.

A message is acknowledged once its run was attended, whatever became of it: that is the log's business. Only messages
whose run could not be read or written return to the queue, and those that are not ours, which end in its dead-letter
queue.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger

from handlers.runtime import LambdaContext
from infra import compose
from infra.sqs import messages, parse
from kernel.errors import OnewriteError
from kernel.shell.attend import attend
from kernel.shell.environment import Environment

MARGIN = 2.0
"""Seconds before the end of the invocation by which everything must be done."""


Handler = Callable[[dict[str, Any], LambdaContext], dict[str, Any]]


def make_handler(env: Environment, logger: Logger | None = None) -> Handler:
    """The handler over an environment."""
    log = logger or Logger(child=False)

    def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        batch = messages(event)
        until = env.clock.monotonic() + context.get_remaining_time_in_millis() / 1000 - MARGIN
        failed: list[str] = []
        for index, (message, body) in enumerate(batch):
            now = env.clock.monotonic()
            share = now + (until - now) / (len(batch) - index)
            try:
                attend(env, parse(body), until, share=share)
            except OnewriteError as error:
                log.warning("message returned to the queue", extra={"message_id": message, "error": str(error)})
                failed.append(message)
            except Exception:  # one bad message must not take the others of its batch with it
                log.exception("message returned to the queue", extra={"message_id": message})
                failed.append(message)
        return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}

    return handle


def __getattr__(name: str) -> Handler:
    """Compose on first use; Lambda asks for ``handler`` during initialisation."""
    if name != "handler":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()["handler"] = composed = make_handler(compose.worker(os.environ))
    return composed
