"""The books on what of a run is to be published, and the judgement on the sink."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.core.events import RUN_LEVEL, AnyEvent
from kernel.ports import Published
from kernel.testing.simulator.books import Fail

Place = tuple[int, int]
"""Where an event is: number of the commit, and which of its events it is."""


class Outbox:
    """What of a run is to be published, and was.

    Attributes:
        wanted: places of the events that are to be published, in order.
        settled: of those, the ones that the sink has taken or that are dead letters.
    """

    def __init__(self, publish: str, fail: Fail) -> None:
        """Nothing is to be published yet; ``publish`` says what will: run, all or none."""
        self.wanted: list[Place] = []
        self.settled: set[Place] = set()
        self._publish = publish
        self._fail = fail
        self._last: Place = (-1, -1)  # that was submitted for the first time

    def committed(self, seq: int, events: Sequence[AnyEvent]) -> None:
        """Events were committed, some of which are to be published."""
        if self._publish != "none":
            every = self._publish == "all"
            self.wanted += [(seq, index) for index, each in enumerate(events) if every or isinstance(each, RUN_LEVEL)]

    def submitted(self, event: Published, problem: str | None) -> None:
        """An event was submitted to the sink, which took it or did not."""
        run, seq, index = event.id.split("#")
        place = (int(seq), int(index))
        if run != event.run or place not in self.wanted:
            self._fail("published-at-least-once", f"{event.id} is not in the log, or not to be published")
        if place > self._last:
            skipped = [each for each in self.wanted if self._last < each < place and each not in self.settled]
            if skipped:
                self._fail("published-in-order", f"{place} before {skipped}")
            self._last = place
        if problem is None:
            self.settled.add(place)

    def unsettled(self, until: int | None = None) -> list[Place]:
        """What nobody has heard of yet: all of it, or up to a commit."""
        return [each for each in self.wanted if each not in self.settled and (until is None or each[0] <= until)]
