"""Calls a function at intervals, as an EventBridge rule with a rate does."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import Any

from hosts.local.events import schedule_event
from hosts.local.functions import Invocable, InvocationFailed

log = logging.getLogger(__name__)


class Schedule:
    """A rule with a rate. One invocation at a time: one that takes long delays the next.

    Args:
        function: gets the events.
        rule_arn: the rule's ARN, which events name.
        every: seconds between two events.
    """

    def __init__(self, function: Invocable, rule_arn: str, every: float) -> None:
        self._function = function
        self._rule_arn = rule_arn
        self._every = every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedule", daemon=True)

    def start(self) -> None:
        """Begin; the first event comes after one interval."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stopping.set()

    def join(self, seconds: float = 5.0) -> None:
        """Wait until the last invocation is over."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def fire(self) -> Any:  # noqa: ANN401 - whatever the function answers
        """Send one event; gives the function's answer.

        Raises:
            InvocationFailed: there is none.
        """
        return self._function.invoke(schedule_event(self._rule_arn, str(uuid.uuid4()), time.time_ns() // 1_000_000))

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            try:
                self.fire()
            except InvocationFailed as error:
                if not self._stopping.is_set():
                    log.warning("the scheduled invocation failed: %s", error)
