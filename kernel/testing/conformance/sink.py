"""What an event sink must be true to: every event gets an answer, and what is accepted arrives in order."""

# ruff: noqa: S101, D102
# It is a suite: it asserts, and each test's name is its sentence.

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from kernel.testing.conformance.examples import fresh_ref, published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.ports import Sink


class SinkContract:
    """The suite for ``kernel.ports.Sink``. A subclass gives the fixture ``sink`` and ``received``."""

    @pytest.fixture
    def sink(self) -> Sink:
        """The sink under test, which accepts events."""
        raise NotImplementedError

    def received(self, sink: Sink, count: int) -> Sequence[tuple[str, bytes]]:
        """Type and body of the events that arrived behind the sink since it was made, in order of submission.

        Args:
            sink: the sink.
            count: how many are expected; a subclass may wait for so many.
        """
        raise NotImplementedError

    def test_an_event_arrives_as_it_was_published(self, sink: Sink) -> None:
        event = published(fresh_ref(), 0, kind="RunCreated")

        assert list(sink.publish([event])) == [None]

        [(type_, body)] = self.received(sink, 1)
        assert (type_, msgspec.json.decode(body)) == ("RunCreated", msgspec.json.decode(event.body))

    def test_more_events_than_fit_one_call_arrive_in_order_with_an_answer_each(self, sink: Sink) -> None:
        ref = fresh_ref()
        events = [published(ref, seq) for seq in range(25)]

        answers = sink.publish(events)

        assert list(answers) == [None] * 25
        arrived = [msgspec.json.decode(body)["seq"] for _, body in self.received(sink, 25)]
        assert arrived == list(range(25))

    def test_publishing_nothing_is_answered_with_nothing(self, sink: Sink) -> None:
        assert list(sink.publish([])) == []
        assert list(self.received(sink, 0)) == []
