"""Attending runs that SQS was poked about: ``handlers.job.handler``, for batches with partial responses.

A message is acknowledged once its run was attended, whatever became of it: that is the log's business. Only messages
whose run could not be read or written return to the queue, and those that are not ours, which end in its dead-letter
queue.
"""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger

from handlers.runtime import Handler, LambdaContext, measured
from infra import compose
from infra.pokes import delivered
from infra.sqs import messages
from kernel.shell.batch import attend_all
from kernel.shell.environment import Environment

MARGIN = 2.0
"""Seconds before the end of the invocation by which everything must be done."""


def make_handler(env: Environment, logger: Logger | None = None) -> Handler:
    """The handler over an environment."""
    log = logger or Logger(child=False)

    def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        batch = [delivered(id_, body) for id_, body in messages(event)]
        until = env.clock.monotonic() + context.get_remaining_time_in_millis() / 1000 - MARGIN
        seen = attend_all(env, batch, until, lines=log)
        returned = {id(each) for each in (*seen.failed, *seen.broken, *seen.foreign)}
        return {"batchItemFailures": [{"itemIdentifier": each.id} for each in batch if id(each) in returned]}

    return measured(handle, env)


def __getattr__(name: str) -> Handler:
    """Compose on first use; Lambda asks for ``handler`` during initialisation."""
    if name != "handler":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()["handler"] = composed = make_handler(compose.worker(os.environ))
    return composed
