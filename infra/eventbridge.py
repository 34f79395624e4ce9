"""Published events as entries of an EventBridge bus."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infra.failures import AWS_ERRORS, PASSING, translate
from kernel.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

    from kernel.ports import Published

SOURCE = "onewrite"
BATCH = 10
"""Entries per call (EventBridge, PutEvents)."""
MAX_BYTES = 256 * 1024
"""Bytes per call and so per event. AWS has raised it to 1 MB, but not everywhere nor for every target."""
_TIME_BYTES = 14


class EventBridgeSink:
    """Implements ``kernel.ports.Sink``. May be shared by threads.

    An event becomes an entry with source ``onewrite``, its type as detail type, and its body as detail.

    Args:
        client: gives an EventBridge client; called at the first use.
        bus: name or ARN of the bus.
    """

    def __init__(self, client: Callable[[], EventBridgeClient], bus: str) -> None:
        self._client = client
        self._bus = bus

    def publish(self, events: Sequence[Published]) -> Sequence[str | None]:
        """Submit the events, in order. One answer each: None, or why it was not accepted.

        Raises:
            Unavailable: a call failed as a whole, or the bus could not take an entry just now. Other events may have
                been accepted: submitting all again is at-least-once delivery, which consumers are ready for.
            Missing: the bus does not exist, or putting events on it is denied.
        """
        answers: list[str | None] = [None] * len(events)
        accepted: list[int] = []
        for i, event in enumerate(events):
            if (size := _size(event)) > MAX_BYTES:
                answers[i] = f"TooLarge: the event has {size} bytes, EventBridge takes at most {MAX_BYTES}"
            else:
                accepted.append(i)
        for batch in _batches(accepted, [_size(event) for event in events]):
            for i, answer in zip(batch, self._put([events[i] for i in batch]), strict=True):
                answers[i] = answer
        return answers

    def _put(self, events: Sequence[Published]) -> list[str | None]:
        try:
            answer = self._client().put_events(Entries=[self._entry(event) for event in events])
        except AWS_ERRORS as error:
            raise translate(
                error,
                f"publishing {len(events)} events to bus {self._bus!r}",
                "Check EVENT_BUS_NAME, the region, and what the function's role allows.",
            ) from error
        problems = [
            f"{entry['ErrorCode']}: {entry.get('ErrorMessage', '')}" if entry.get("ErrorCode") else None
            for entry in answer["Entries"]
        ]
        passing = (entry.get("ErrorCode") in PASSING for entry in answer["Entries"])
        if any(passing):  # nothing is wrong with the event: it is the bus that cannot take it now
            raise Unavailable(f"publishing to bus {self._bus!r}: {next(filter(None, problems))}")
        return problems

    def _entry(self, event: Published) -> PutEventsRequestEntryTypeDef:
        return {
            "Source": SOURCE,
            "DetailType": event.type,
            "Detail": event.body.decode(),
            "Time": datetime.fromtimestamp(event.at / 1000, UTC),
            "EventBusName": self._bus,
        }


def _size(event: Published) -> int:
    """Bytes of an entry as EventBridge counts them.

    Source: "Calculating PutEvents event entry size", Amazon EventBridge User Guide.
    """
    return _TIME_BYTES + len(SOURCE) + len(event.type.encode()) + len(event.body)


def _batches(indexes: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Cut into calls, in order, none with too many entries or bytes."""
    batch: list[int] = []
    total = 0
    for i in indexes:
        if batch and (len(batch) == BATCH or total + sizes[i] > MAX_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(i)
        total += sizes[i]
    if batch:
        yield batch
