"""What the kernel logs during a history: an error that is not one of its own is a finding, whoever survives it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from kernel.errors import OnewriteError
from kernel.shell.logs import log
from kernel.testing.simulator.world import World


class _Reader(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OnewriteError):
            self._world.judge(error)
        elif error is not None:
            self._world.fail("no-unexpected-error", repr(error))


@contextmanager
def read_by(world: World) -> Iterator[None]:
    """Within the block, what the kernel logs is judged, and shown to nobody else."""
    reader, propagate = _Reader(world), log.propagate
    log.addHandler(reader)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(reader)
        log.propagate = propagate
