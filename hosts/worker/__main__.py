"""``python -m hosts.worker --transport redis``: attend runs on a container or server. See docs/workers.md."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import IO

from hosts.worker.logs import set_up
from hosts.worker.options import FAILED, parse, settings_of
from hosts.worker.signals import Signals
from kernel.errors import SettingsError

log = logging.getLogger(__name__)

MEMBER = "--member"
"""Given by a supervisor to each of its processes, and no option for people."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Be a worker, or several; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    member = MEMBER in given
    options = parse([each for each in given if each != MEMBER])
    signals = Signals()
    signals.install(member=member)
    if options.processes > 1 and not member:
        from hosts.worker.supervisor import supervise  # noqa: PLC0415 - sets a variable that others read when imported

        set_up(os.environ, worker="supervisor")
        try:
            settings_of(options, os.environ)  # else each of them would say so, again and again
            return supervise(options, given, os.environ, signals)
        except SettingsError as error:
            log.critical("workers cannot run: %s", error)
            return FAILED
    from hosts.worker.process import name_of_worker, run  # noqa: PLC0415 - a supervisor composes nothing

    name = name_of_worker()
    set_up(os.environ, worker=name)
    return run(options, os.environ, signals, name=name, report=_reports(signals) if member else None)


def _reports(signals: Signals) -> IO[bytes]:
    """Where a supervisor listens. When it closes our standard input, or dies, that is the first signal."""
    said = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what stages print must not meet what is said here

    def wait_for_the_end() -> None:
        while os.read(0, 4096):
            pass
        signals.come()

    threading.Thread(target=wait_for_the_end, name="supervisor", daemon=True).start()
    return said


if __name__ == "__main__":
    sys.exit(main())
