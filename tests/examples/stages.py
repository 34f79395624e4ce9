"""What it takes to call a stage as a plain function: a context whose run is made up."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from kernel.core.definition import RUN_INPUT
from kernel.errors import NotUpstream
from onewrite import Context

RUN = "r" * 24


class _Handle:
    """A handle that knows what the test tells it."""

    stage = "stage"
    attempt = 1
    tenant = "test"
    run = RUN
    log = logging.LoggerAdapter(logging.getLogger("test"), {})

    def __init__(self, values: Mapping[str, BaseModel]) -> None:
        self._values = values

    def value(self, stage: str) -> bytes:
        if stage not in self._values:
            raise NotUpstream(stage)
        return self._values[stage].model_dump_json().encode()

    def config(self) -> bytes | None:
        return None

    def heartbeat(self, progress: float | None) -> None: ...

    def cancelled(self) -> bool:
        return False


def context(run_input: BaseModel, *, config: Any = None, **outputs: BaseModel) -> Context[Any]:
    """A stage's context.

    Args:
        run_input: what the run was started with.
        config: of the stage.
        outputs: of the stages before it, by id.
    """
    return Context(_Handle({RUN_INPUT: run_input, **outputs}), config=config)
