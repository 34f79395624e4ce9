"""A context whose run is made up: what it takes to call a stage as the plain function that it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from kernel.annotations import Scalar, add
from kernel.core.codec import to_json
from kernel.core.definition import RUN_INPUT
from kernel.define.context import Context
from kernel.errors import NotUpstream

RUN = "0" * 24


class _Made:
    """Knows what the test has told it."""

    stage = "stage"
    attempt = 1
    tenant = "test"
    run = RUN
    key = f"{RUN}/stage"
    callback_token = "callback-token"  # noqa: S105 - answers nothing
    log = logging.LoggerAdapter(logging.getLogger("onewrite.stage"), {})

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        self._said: list[tuple[str, Scalar]] = []

    def value(self, stage: str) -> bytes:
        if stage not in self._values:
            message = f"the test gave no output of {stage!r}"
            raise NotUpstream(message)
        value = self._values[stage]
        return value.model_dump_json().encode() if isinstance(value, BaseModel) else to_json(value)

    def config(self) -> bytes | None:
        return None

    def heartbeat(self, progress: float | None) -> None:
        """Nobody takes note."""

    def cancelled(self) -> bool:
        return False

    def annotate(self, key: str, value: Scalar) -> None:
        add(self._said, key, value)


def context(run_input: BaseModel, *, config: Any = None, **outputs: object) -> Context[Any]:  # noqa: ANN401 - any model
    """A stage's context.

    ::

        receipt = charge(context(order), order)

    Args:
        run_input: what the run was started with.
        config: the stage's configuration.
        outputs: of the stages before it that it asks for, by id.
    """
    return Context(_Made({RUN_INPUT: run_input, **outputs}), config=config)
