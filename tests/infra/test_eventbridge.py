"""Events over EventBridge: calls that are not too big, an answer for each event, failures told apart."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from infra.eventbridge import MAX_BYTES, EventBridgeSink
from kernel.errors import Missing, Unavailable
from kernel.ports import Published
from tests.infra.aws import client_error, fake


def event(seq: int, body: bytes = b'{"a":1}', kind: str = "RunCompleted") -> Published:
    return Published(f"r1#{seq}#0", kind, "acme", "r1", 1_767_225_600_500, body)


def sizes(body: bytes) -> int:
    """What such an event counts, by AWS's description: time, source, type and detail."""
    return 14 + len("onewrite") + len("RunCompleted") + len(body)


def answer(count: int, **failures: str) -> dict[str, Any]:
    """An answer of EventBridge with so many entries; ``_1="Code"`` makes the second one a failure."""
    answers: list[dict[str, str]] = [{"EventId": str(i)} for i in range(count)]
    for place, code in failures.items():
        answers[int(place[1:])] = {"ErrorCode": code, "ErrorMessage": "told so"}
    return {"FailedEntryCount": len(failures), "Entries": answers}


def details(client: Any) -> list[list[str]]:
    return [[entry["Detail"] for entry in request["Entries"]] for _, request in client.requests]


def test_an_event_becomes_an_entry() -> None:
    client = fake(answer(1))

    EventBridgeSink(lambda: client, "bus").publish([event(3, '{"π":1}'.encode())])

    assert client.requests == [
        (
            "put_events",
            {
                "Entries": [
                    {
                        "Source": "onewrite",
                        "DetailType": "RunCompleted",
                        "Detail": '{"π":1}',
                        "Time": datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC),
                        "EventBusName": "bus",
                    }
                ]
            },
        )
    ]


def test_calls_hold_ten_entries_at_most_and_keep_the_order() -> None:
    client = fake(answer(10), answer(10), answer(3))
    bodies = [f'{{"n":{i}}}'.encode() for i in range(23)]

    answers = EventBridgeSink(lambda: client, "bus").publish([event(i, body) for i, body in enumerate(bodies)])

    assert list(answers) == [None] * 23
    assert [len(call) for call in details(client)] == [10, 10, 3]
    assert [detail.encode() for call in details(client) for detail in call] == bodies


def test_calls_hold_256_kb_at_most() -> None:
    client = fake(answer(2), answer(2), answer(1))
    body = b"x" * (MAX_BYTES // 2 - sizes(b""))

    answers = EventBridgeSink(lambda: client, "bus").publish([event(i, body) for i in range(5)])

    assert list(answers) == [None] * 5
    assert [len(call) for call in details(client)] == [2, 2, 1]


def test_an_event_that_is_too_big_is_refused_by_itself() -> None:
    client = fake(answer(3))
    fits, too_big = b"x" * (MAX_BYTES - sizes(b"") - 100), b"x" * (MAX_BYTES - sizes(b"") + 1)

    answers = EventBridgeSink(lambda: client, "bus").publish(
        [event(0, b"{}"), event(1, too_big), event(2, b"{}"), event(3, b"[]")]
    )

    assert list(answers) == [
        None,
        f"TooLarge: the event has {MAX_BYTES + 1} bytes, EventBridge takes at most {MAX_BYTES}",
        None,
        None,
    ]
    assert details(client) == [["{}", "{}", "[]"]]
    assert sizes(fits) < MAX_BYTES


def test_an_event_of_exactly_the_limit_is_sent() -> None:
    client = fake(answer(1))

    assert list(EventBridgeSink(lambda: client, "bus").publish([event(0, b"x" * (MAX_BYTES - sizes(b"")))])) == [None]
    assert len(client.requests) == 1


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalFailure"])
def test_an_entry_that_the_bus_cannot_take_just_now_is_no_fault_of_the_event(code: str) -> None:
    """A throttled entry is as an outage: it must not become a dead letter as one does that is never taken."""
    with pytest.raises(Unavailable, match=f"bus 'bus': {code}: told so"):
        EventBridgeSink(lambda: fake(answer(2, _1=code)), "bus").publish([event(0), event(1)])


def test_entries_that_fail_are_answered_with_the_reason_in_their_place() -> None:
    client = fake(answer(10, _3="MalformedDetail"), answer(2, _1="NotAuthorizedForSourceException"))

    answers = EventBridgeSink(lambda: client, "bus").publish([event(i) for i in range(12)])

    reasons = {i: told for i, told in enumerate(answers) if told is not None}
    assert reasons == {3: "MalformedDetail: told so", 11: "NotAuthorizedForSourceException: told so"}


def test_a_call_that_fails_is_unavailable_or_missing() -> None:
    with pytest.raises(Unavailable, match="publishing 1 events to bus 'bus'"):
        EventBridgeSink(lambda: fake(client_error("InternalException", status=500)), "bus").publish([event(0)])
    with pytest.raises(Missing, match=r"'bus'.*Check EVENT_BUS_NAME"):
        EventBridgeSink(lambda: fake(client_error("ResourceNotFoundException")), "bus").publish([event(0)])
