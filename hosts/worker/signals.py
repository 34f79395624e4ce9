"""What ends a worker: SIGTERM and SIGINT, of which the first asks it to stop, the second to hurry."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Signals:
    """The signals that have come.

    Attributes:
        stop: take no more, and let what is under way end.
        hurry: hand back at once what is under way.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.hurry = threading.Event()

    def install(self) -> None:
        """Handle them from now on. Only in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle)

    def handle(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """One has come."""
        (self.hurry if self.stop.is_set() else self.stop).set()
