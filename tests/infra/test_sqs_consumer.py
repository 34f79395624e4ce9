"""Taking pokes out of SQS: which requests are made, and what each answer means."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from infra.pokes import encode
from infra.sqs_consumer import SqsConsumer
from kernel.delivery import Backlog, Delivery
from kernel.errors import Missing, Unavailable
from kernel.ports import HIGH, Poke
from tests.infra.aws import FakeClient, client_error

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/pokes"
PRIORITY_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/priority-pokes"
POKE = Poke("acme", "r1", priority=HIGH)


class Polled(FakeClient):
    """A fake that takes the time that it is told to wait."""

    def __init__(self, *answers: Any, read_timeout: float = 60) -> None:
        super().__init__(*answers)
        self.meta = SimpleNamespace(config=SimpleNamespace(read_timeout=read_timeout))
        self.now = 1000.0

    def receive_message(self, **request: Any) -> Any:
        answer = self.__getattr__("receive_message")(**request)
        if not answer:
            self.now += request["WaitTimeSeconds"]
        return answer

    def clock(self) -> float:
        return self.now

    def polls(self) -> list[tuple[str, int]]:
        return [(request["QueueUrl"], request["WaitTimeSeconds"]) for _, request in self.requests]


def fake(*answers: Any, **options: Any) -> Any:
    return Polled(*answers, **options)


def consumer_of(client: Any, priority_url: str | None = None, visibility: float = 30) -> SqsConsumer:
    return SqsConsumer(client, URL, priority_url, visibility=visibility, monotonic=client.clock)


def message(handle: str, body: str = encode(POKE), count: int = 1) -> dict[str, Any]:
    return {"ReceiptHandle": handle, "Body": body, "Attributes": {"ApproximateReceiveCount": str(count)}}


def in_hand(count: int, url: str = URL) -> list[Delivery]:
    return [Delivery(id=f"handle-{i}", poke=POKE, source=url) for i in range(count)]


def test_a_message_is_received_with_its_count_its_queue_and_for_the_visibility() -> None:
    client = fake({"Messages": [message("h1", count=3), message("h2", body="{}")]})

    received, foreign = consumer_of(client, visibility=29.5).receive(50, 0)

    assert received == Delivery(id="h1", poke=POKE, source=URL, count=3)
    assert (foreign.id, foreign.poke, foreign.problem.partition(":")[0]) == ("h2", None, "not a poke")
    [(_, request)] = client.requests
    assert (request["MaxNumberOfMessages"], request["VisibilityTimeout"]) == (10, 30)


def test_one_queue_is_polled_as_long_as_sqs_allows_and_the_wait_lasts() -> None:
    client = fake()

    assert consumer_of(client).receive(10, 45) == []

    assert client.polls() == [(URL, 20), (URL, 20), (URL, 5)]


def test_a_poll_ends_before_the_client_gives_up_on_its_answer() -> None:
    client = fake(read_timeout=3)

    assert consumer_of(client).receive(10, 5) == []

    assert client.polls() == [(URL, 2), (URL, 2), (URL, 1)]


def test_two_queues_are_looked_at_in_turn_and_the_urgent_one_first() -> None:
    client = fake()

    assert consumer_of(client, PRIORITY_URL).receive(10, 7) == []

    assert client.polls()[:2] == [(PRIORITY_URL, 0), (URL, 0)]
    assert client.polls()[2:4] == [(PRIORITY_URL, 2), (URL, 2)]
    assert client.now <= 1007


def test_a_look_of_a_second_asks_all_servers_however_late_it_is_by_then() -> None:
    """Without a wait SQS asks only some of its servers, and may say that there is nothing."""
    client = fake()

    def clock() -> float:  # which goes on between any two looks at it
        client.now += 0.0001
        return float(client.clock())

    assert SqsConsumer(client, URL, visibility=30, monotonic=clock).receive(1, 1.0) == []

    assert client.polls() == [(URL, 1)]


def test_what_one_queue_gave_is_not_dropped_because_the_other_fails() -> None:
    throttled = client_error("ThrottlingException", "slow down")
    consumer = consumer_of(fake({"Messages": [message("h1")]}, throttled, throttled), PRIORITY_URL)

    assert [each.id for each in consumer.receive(3, 20)] == ["h1"]
    with pytest.raises(Unavailable, match="slow down"):
        consumer.receive(3, 20)


def test_one_look_in_four_begins_with_the_queue_of_the_others() -> None:
    client = fake(*({"Messages": [message(f"h{i}")]} for i in range(8)))
    consumer = consumer_of(client, PRIORITY_URL)

    sources = [each.source for _ in range(8) for each in consumer.receive(1, 0)]

    assert sources == [PRIORITY_URL, PRIORITY_URL, PRIORITY_URL, URL] * 2


def test_what_is_left_of_a_look_is_filled_from_the_other_queue_without_waiting() -> None:
    client = fake({"Messages": [message("h1")]}, {"Messages": [message("h2")]})

    received = consumer_of(client, PRIORITY_URL).receive(3, 20)

    assert [(each.id, each.source) for each in received] == [("h1", PRIORITY_URL), ("h2", URL)]
    assert [request["MaxNumberOfMessages"] for _, request in client.requests] == [3, 2]
    assert client.polls() == [(PRIORITY_URL, 0), (URL, 0)]


def test_acknowledging_deletes_ten_at_a_time_from_the_queue_that_each_came_from() -> None:
    client = fake()

    consumer_of(client, PRIORITY_URL).acknowledge([*in_hand(12), *in_hand(1, PRIORITY_URL)])

    assert [(name, request["QueueUrl"], len(request["Entries"])) for name, request in client.requests] == [
        ("delete_message_batch", URL, 10),
        ("delete_message_batch", URL, 2),
        ("delete_message_batch", PRIORITY_URL, 1),
    ]
    assert client.requests[1][1]["Entries"] == [
        {"Id": "0", "ReceiptHandle": "handle-10"},
        {"Id": "1", "ReceiptHandle": "handle-11"},
    ]


@pytest.mark.parametrize(
    ("call", "seconds"),
    [
        (lambda consumer, held: consumer.release(held), 0),
        (lambda consumer, held: consumer.release(held, 1.2), 2),
        (lambda consumer, held: consumer.keep(held), 30),
    ],
    ids=["released", "released-for-later", "kept"],
)
def test_giving_back_and_keeping_change_the_visibility(call: Any, seconds: int) -> None:
    client = fake()

    call(consumer_of(client), in_hand(1))

    [(name, request)] = client.requests
    assert name == "change_message_visibility_batch"
    assert request["Entries"] == [{"Id": "0", "ReceiptHandle": "handle-0", "VisibilityTimeout": seconds}]


def test_what_failed_often_comes_again_the_later_since_sqs_counts_it() -> None:
    """Else an outage of a minute or two would make a dead letter of every message."""
    client = fake()
    held = [Delivery(id=f"handle-{count}", poke=POKE, source=URL, count=count) for count in range(6)]

    consumer_of(client).release(held, 5)
    consumer_of(client).release(held)

    later, at_once = ([each["VisibilityTimeout"] for each in request["Entries"]] for _, request in client.requests)
    assert later == [5, 5, 30, 120, 600, 600]
    assert at_once == [0] * 6


def test_what_fails_of_a_batch_by_no_fault_of_ours_is_unavailable_and_the_rest_is_anothers_by_now(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = {"Id": "0", "Code": "ReceiptHandleIsInvalid", "Message": "expired", "SenderFault": True}
    busy = {"Id": "1", "Code": "InternalError", "Message": "boom", "SenderFault": False}
    consumer = consumer_of(fake({"Failed": [gone]}, {"Failed": [gone, busy]}))

    with caplog.at_level(logging.INFO):
        consumer.acknowledge(in_hand(2))
    assert "somebody else has it by now" in caplog.text
    with pytest.raises(Unavailable, match="InternalError: boom"):
        consumer.keep(in_hand(2))


def test_the_backlog_is_that_of_both_queues_and_of_the_dead_letter_queue_that_they_share() -> None:
    def counts(waiting: int, in_hand: int, delayed: int, **more: str) -> dict[str, Any]:
        numbers = {"": waiting, "NotVisible": in_hand, "Delayed": delayed}
        return {"Attributes": {f"ApproximateNumberOfMessages{key}": str(n) for key, n in numbers.items()} | more}

    policy = '{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:123456789012:dead","maxReceiveCount":5}'
    first, second, dead = (
        counts(1, 2, 3, RedrivePolicy=policy),
        counts(10, 20, 30, RedrivePolicy=policy),
        counts(7, 0, 0),
    )
    client = fake(first, second, first, {"QueueUrl": "dead-url"}, second, {"QueueUrl": "dead-url"}, dead)
    consumer = consumer_of(client, PRIORITY_URL)

    assert consumer.backlog() == Backlog(waiting=11, in_hand=22, delayed=33, dead=7)
    asked = len(client.requests)
    client._answers += [first, second, dead]
    assert consumer.backlog().dead == 7
    assert len(client.requests) == asked + 3


def test_a_queue_without_dead_letters_has_none() -> None:
    counts = {"ApproximateNumberOfMessages": "1"}
    counts |= {f"ApproximateNumberOfMessages{key}": "0" for key in ("NotVisible", "Delayed")}

    assert consumer_of(fake({"Attributes": counts}, {"Attributes": counts})).backlog().dead == 0


def test_who_has_closed_receives_nothing_and_gives_back_what_comes_meanwhile() -> None:
    client = fake()
    consumer = consumer_of(client)

    def answer(**request: Any) -> Any:
        consumer.close()
        return {"Messages": [message("h1")]}

    client.receive_message = answer

    assert consumer.receive(1, 20) == []
    [(name, request)] = client.requests
    assert name == "change_message_visibility_batch"
    assert request["Entries"][0]["VisibilityTimeout"] == 0
    assert consumer.receive(1, 20) == []
    assert len(client.requests) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (client_error("AWS.SimpleQueueService.NonExistentQueue"), Missing),
        (client_error("AccessDenied"), Missing),
        (client_error("ThrottlingException"), Unavailable),
        (EndpointConnectionError(endpoint_url=URL), Unavailable),
    ],
    ids=["missing", "denied", "throttled", "unreachable"],
)
def test_what_sqs_refuses_says_whether_trying_again_can_help(error: Exception, expected: type[Exception]) -> None:
    for call in (
        lambda consumer: consumer.receive(1, 0),
        lambda consumer: consumer.acknowledge(in_hand(1)),
        lambda consumer: consumer.release(in_hand(1)),
        lambda consumer: consumer.keep(in_hand(1)),
        lambda consumer: consumer.backlog(),
    ):
        with pytest.raises(expected, match=URL):
            call(consumer_of(fake(error)))
