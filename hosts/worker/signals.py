"""What ends a worker: SIGTERM and SIGINT, of which the first asks it to stop, the second to hurry."""

from __future__ import annotations

import signal
import threading
from queue import SimpleQueue
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
        # A handler runs between any two instructions of the main thread: also while that is inside an Event, whose lock
        # it would wait for in vain. This queue is made for handlers.
        self._come: SimpleQueue[bool] = SimpleQueue()

    def install(self, *, member: bool = False) -> None:
        """Handle them from now on. Only in the main thread.

        Args:
            member: it has a supervisor, whose signals are not to be taken for a second one of the platform, which may
                send one to all processes: it hurries by SIGUSR1 only.
        """
        threading.Thread(target=self._tell, name="signals", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask if member else self._next)
        if member:
            signal.signal(signal.SIGUSR1, self._hurry)

    def come(self, *, hurry: bool = False) -> None:
        """One has come, or whatever is as good as one; from any thread."""
        self._come.put(hurry)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._come.put(False)  # noqa: FBT003 - SimpleQueue.put takes it by position

    def _hurry(self, _number: int, _frame: FrameType | None) -> None:
        self._come.put(True)  # noqa: FBT003 - as above

    def _next(self, _number: int, _frame: FrameType | None) -> None:
        self._come.put(self.stop.is_set())

    def _tell(self) -> None:
        while True:
            hurry = self._come.get()
            self.stop.set()
            if hurry:
                self.hurry.set()
