"""Pokes over SQS: batches, groups, failures; and messages that are none of ours."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from infra.pokes import ForeignMessage, encode, parse
from infra.sqs import SqsQueue
from kernel.errors import Missing
from kernel.ports import HIGH, Poke
from tests.infra.aws import client_error, fake

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/pokes"
PRIORITY_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/priority-pokes"


def pokes(count: int, delay: int = 0) -> list[tuple[Poke, int]]:
    return [(Poke("acme", f"r{i}"), delay) for i in range(count)]


def entries(client: Any) -> list[dict[str, Any]]:
    return [entry for _, request in client.requests for entry in request["Entries"]]


def failed(id_: str, message: str = "boom", code: str = "InternalError") -> dict[str, Any]:
    return {"Id": id_, "Code": code, "Message": message, "SenderFault": False}


# --- sending ------------------------------------------------------------------------------------


def test_pokes_are_sent_in_batches_of_ten() -> None:
    client = fake()

    SqsQueue(client, URL).send(pokes(23))

    assert [len(request["Entries"]) for _, request in client.requests] == [10, 10, 3]
    assert [json.loads(entry["MessageBody"])["run"] for entry in entries(client)] == [f"r{i}" for i in range(23)]
    assert all(len({entry["Id"] for entry in request["Entries"]}) for _, request in client.requests)
    assert {request["QueueUrl"] for _, request in client.requests} == {URL}


@pytest.mark.parametrize(("delay", "sent"), [(0, 0), (17, 17), (900, 900), (901, 900), (-3, 0)])
def test_a_delay_is_kept_within_what_sqs_takes(delay: int, sent: int) -> None:
    client = fake()

    SqsQueue(client, URL).send(pokes(1, delay))

    assert entries(client)[0]["DelaySeconds"] == sent


@pytest.mark.parametrize(
    ("tenant", "group"), [("acme", "acme"), ("Å b", "__b"), ("x" * 200, "x" * 128), ("a:b@c", "a:b@c")]
)
def test_a_message_is_grouped_by_its_tenant(tenant: str, group: str) -> None:
    client = fake()

    SqsQueue(client, URL).send([(Poke(tenant, "r1"), 0)])

    assert entries(client)[0]["MessageGroupId"] == group


def test_pokes_that_fail_are_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    client = fake({"Failed": [failed("1"), failed("2", "too busy")]}, {})

    with caplog.at_level(logging.WARNING):
        SqsQueue(client, URL).send(pokes(12))

    assert len(client.requests) == 2  # the rest is sent, the failed ones are not sent again
    assert [record.message for record in caplog.records] == [
        "poke for run r1 not sent, left to the due index: InternalError: boom",
        "poke for run r2 not sent, left to the due index: InternalError: too busy",
    ]


def test_a_call_that_fails_is_logged_and_does_not_keep_the_rest_from_being_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = fake(EndpointConnectionError(endpoint_url=URL), {})

    with caplog.at_level(logging.WARNING):
        SqsQueue(client, URL).send(pokes(12))

    assert [len(request["Entries"]) for _, request in client.requests] == [10, 2]
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "10 pokes not sent, left to the due index"
    ]


def test_a_queue_that_is_not_there_is_missing() -> None:
    client = fake(client_error("AWS.SimpleQueueService.NonExistentQueue"))

    with pytest.raises(Missing, match=f"{URL}.*Check QUEUE_URL"):
        SqsQueue(client, URL).send(pokes(1))


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(
            client_error(
                "InvalidParameterValue", "The request include parameter that is not valid for this queue type"
            ),
            id="whole-call",
        ),
        pytest.param(
            {"Failed": [failed(str(i), "Value x for parameter MessageGroupId is invalid.") for i in range(3)]},
            id="each-message",
        ),
    ],
)
def test_an_endpoint_without_fair_queues_is_found_out_once_and_loses_nothing(
    refusal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = fake(refusal)
    queue = SqsQueue(client, URL)

    with caplog.at_level(logging.WARNING):
        queue.send(pokes(3))
        queue.send(pokes(2))

    grouped = [["MessageGroupId" in entry for entry in request["Entries"]] for _, request in client.requests]
    assert grouped == [[True] * 3, [False] * 3, [False] * 2]
    assert caplog.records == []


def test_only_the_messages_that_were_refused_their_group_are_sent_again() -> None:
    client = fake({"Failed": [failed("1", "Value x for parameter MessageGroupId is invalid.")]})

    SqsQueue(client, URL).send(pokes(3))

    sent = [[json.loads(entry["MessageBody"])["run"] for entry in request["Entries"]] for _, request in client.requests]
    assert sent == [["r0", "r1", "r2"], ["r1"]]


def test_a_queue_that_is_missing_is_not_taken_for_one_without_groups() -> None:
    client = fake(client_error("AWS.SimpleQueueService.NonExistentQueue"), {})
    queue = SqsQueue(client, URL)
    with pytest.raises(Missing):
        queue.send(pokes(1))

    queue.send(pokes(1))

    assert "MessageGroupId" in client.requests[1][1]["Entries"][0]


# --- classes ------------------------------------------------------------------------------------


def mixed() -> list[tuple[Poke, int]]:
    return [(Poke("acme", f"r{i}", priority=HIGH if i % 2 else ""), i) for i in range(24)]


def test_pokes_go_to_the_queue_of_their_class_in_batches_of_its_own() -> None:
    client = fake()

    SqsQueue(client, URL, PRIORITY_URL).send(mixed())

    sent = [
        (request["QueueUrl"], [entry["DelaySeconds"] for entry in request["Entries"]]) for _, request in client.requests
    ]
    assert sent == [
        (URL, list(range(0, 20, 2))),
        (URL, [20, 22]),
        (PRIORITY_URL, list(range(1, 20, 2))),
        (PRIORITY_URL, [21, 23]),
    ]


def test_without_a_second_queue_all_pokes_go_to_the_one() -> None:
    client = fake()

    SqsQueue(client, URL).send(mixed())

    assert {request["QueueUrl"] for _, request in client.requests} == {URL}
    assert [parse(entry["MessageBody"]) for entry in entries(client)] == [poke for poke, _ in mixed()]


def test_what_is_of_no_class_that_is_known_goes_with_the_normal_ones() -> None:
    client = fake()

    SqsQueue(client, URL, PRIORITY_URL).send([(Poke("acme", "r1", priority="urgent"), 0)])

    assert {request["QueueUrl"] for _, request in client.requests} == {URL}


def test_a_second_queue_that_is_not_there_is_missing_and_its_setting_is_named() -> None:
    client = fake(client_error("AWS.SimpleQueueService.NonExistentQueue"))

    with pytest.raises(Missing, match=f"{PRIORITY_URL}.*Check PRIORITY_QUEUE_URL"):
        SqsQueue(client, URL, PRIORITY_URL).send([(Poke("acme", "r1", priority=HIGH), 0)])


def test_a_message_that_was_refused_its_group_is_sent_again_to_the_queue_of_its_class() -> None:
    client = fake({"Failed": [failed("0", "Value x for parameter MessageGroupId is invalid.")]})

    SqsQueue(client, URL, PRIORITY_URL).send([(Poke("acme", "r1", priority=HIGH), 0)])

    assert [request["QueueUrl"] for _, request in client.requests] == [PRIORITY_URL] * 2


def test_a_message_of_a_normal_run_says_nothing_of_its_class() -> None:
    assert encode(Poke("acme", "r1", "charge")) == '{"tenant":"acme","run":"r1","stage":"charge"}'


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "poke",
    [
        Poke("acme", "r1"),
        Poke("acme", "r1", stage="charge"),
        Poke("acme", "r1", event="e-1"),
        Poke("acme", "r1", priority=HIGH),
        Poke("acme", "r1", stage="compensate:größe 🌟#2", at=1_893_456_000_000),
        Poke("a" * 256, "r" * 256, stage="s" * 256, at=253_402_300_799_999),
    ],
)
def test_a_poke_is_read_as_it_was_written(poke: Poke) -> None:
    read = parse(encode(poke))

    assert (type(read), read) == (Poke, poke)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="empty"),
        pytest.param("hello", id="no-json"),
        pytest.param('{"tenant":"a","run":"b"', id="cut-off"),
        pytest.param("[]", id="array"),
        pytest.param("null", id="null"),
        pytest.param('"x"', id="text"),
        pytest.param("{}", id="nothing-in-it"),
        pytest.param('{"tenant":"a"}', id="no-run"),
        pytest.param('{"run":"r"}', id="no-tenant"),
        pytest.param('{"tenant":1,"run":"r"}', id="wrong-type"),
        pytest.param('{"tenant":"a","run":"r","at":"1"}', id="time-as-text"),
        pytest.param('{"tenant":"a","run":"r","at":1.5}', id="time-with-fraction"),
        pytest.param('{"tenant":"a","run":"r","at":-1}', id="time-before-all"),
        pytest.param('{"tenant":"a","run":"r","at":1e400}', id="time-infinite"),
        pytest.param('{"tenant":"a","run":"r","at":' + "9" * 400 + "}", id="time-huge"),
        pytest.param('{"tenant":"","run":"r"}', id="empty-tenant"),
        pytest.param('{"tenant":"a","run":""}', id="empty-run"),
        pytest.param('{"tenant":"a#b","run":"r"}', id="separator-in-tenant"),
        pytest.param('{"tenant":"a","run":"r#1"}', id="separator-in-run"),
        pytest.param('{"tenant":"a","run":"' + "r" * 257 + '"}', id="long-run"),
        pytest.param('{"tenant":"a","run":"r","stage":"' + "s" * 257 + '"}', id="long-stage"),
        pytest.param('{"tenant":"a","run":"r","priority":1}', id="priority-no-text"),
        pytest.param('{"tenant":"a","run":"r","priority":"' + "p" * 257 + '"}', id="long-priority"),
        pytest.param('{"tenant":"a","run":"r","v":0}', id="version-zero"),
        pytest.param('{"tenant":"a","run":"r","v":"1"}', id="version-as-text"),
        pytest.param('{"tenant":"a","run":"r","order":7}', id="something-unknown"),
        pytest.param('{"tenant":"\ud800","run":"r"}', id="lone-surrogate"),
        pytest.param('{"x":' + "[" * 2000 + "]" * 2000 + "}", id="deep"),
        pytest.param('{"tenant":"a","run":"r"}' + " " * 5000, id="long"),
        pytest.param('{"Records":[{"eventSource":"aws:s3"}]}', id="of-another-service"),
    ],
)
def test_a_message_that_is_none_of_ours_is_foreign(body: str) -> None:
    with pytest.raises(ForeignMessage, match="not a poke") as caught:
        parse(body)

    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("body", ['{"tenant":"a","run":"r","v":2}', '{"v":3,"ref":{"tenant":"a"},"hints":["charge"]}'])
def test_a_message_of_a_newer_version_says_so(body: str) -> None:
    with pytest.raises(ForeignMessage, match=r"a poke of version [23], written by a newer version of Onewrite"):
        parse(body)
