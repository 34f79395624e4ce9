"""The feeder on a real queue of moto: batches, partial failures, visibility, and the dead-letter queue."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from hosts.local.deployment import MAX_RECEIVE_COUNT, Deployment, deploy
from hosts.local.feeder import Feeder
from hosts.local.functions import InvocationFailed
from infra.clients import Clients
from tests.hosts.conftest import Fake

pytestmark = pytest.mark.moto

_numbers = itertools.count()


@pytest.fixture
def deployment(moto: Clients) -> Deployment:
    """Queues of its own, from which messages stay away for an hour once they are received."""
    return deploy(moto, moto.dynamodb, visibility=3600, name=f"feeder-{next(_numbers)}")


@pytest.fixture
def send(moto: Clients, deployment: Deployment) -> Callable[..., None]:
    def send(*bodies: str) -> None:
        for body in bodies:
            moto.sqs.send_message(QueueUrl=deployment.queue_url, MessageBody=body)

    return send


def feed(moto: Clients, deployment: Deployment, function: Fake) -> Feeder:
    return Feeder(moto.sqs, deployment.queue_url, deployment.queue_arn, function)


def bodies(event: dict[str, Any]) -> list[str]:
    return [record["body"] for record in event["Records"]]


def counts(moto: Clients, url: str) -> tuple[int, int]:
    """Messages that are there, and those that somebody has received."""
    attributes = moto.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return (
        int(attributes["ApproximateNumberOfMessages"]),
        int(attributes["ApproximateNumberOfMessagesNotVisible"]),
    )


def failing(*failed: str) -> Callable[[dict[str, Any]], Any]:
    """An answer that reports messages with these bodies."""
    return lambda event: {
        "batchItemFailures": [
            {"itemIdentifier": record["messageId"]} for record in event["Records"] if record["body"] in failed
        ]
    }


def come_again(moto: Clients, deployment: Deployment, event: dict[str, Any]) -> None:
    """Let the visibility timeout of all messages of an event be over."""
    for record in event["Records"]:
        moto.sqs.change_message_visibility(
            QueueUrl=deployment.queue_url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0
        )


def test_an_empty_queue_invokes_nothing(moto: Clients, deployment: Deployment) -> None:
    function = Fake()

    assert feed(moto, deployment, function).poll() == 0
    assert not function.events


def test_no_more_messages_are_handed_over_at_a_time_than_was_said(
    moto: Clients, deployment: Deployment, send: Callable[..., None]
) -> None:
    send("a", "b", "c")
    function = Fake()

    Feeder(moto.sqs, deployment.queue_url, deployment.queue_arn, function, batch=2).poll()

    assert [len(bodies(event)) for event in function.events] == [2]


def test_at_most_ten_messages_come_at_a_time(moto: Clients, deployment: Deployment, send: Callable[..., None]) -> None:
    send(*map(str, range(12)))
    function = Fake()
    feeder = feed(moto, deployment, function)

    assert [feeder.poll(), feeder.poll(), feeder.poll()] == [10, 2, 0]
    assert sorted(bodies(function.events[0]) + bodies(function.events[1]), key=int) == list(map(str, range(12)))
    assert counts(moto, deployment.queue_url) == (0, 0)


def test_records_carry_what_the_queue_knows(moto: Clients, deployment: Deployment, send: Callable[..., None]) -> None:
    send("hello")
    function = Fake()

    feed(moto, deployment, function).poll()

    (record,) = function.events[0]["Records"]
    assert record["eventSourceARN"] == deployment.queue_arn
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert {"SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"} < record["attributes"].keys()


def test_only_what_was_not_failed_is_deleted(moto: Clients, deployment: Deployment, send: Callable[..., None]) -> None:
    send("good", "bad", "fine")
    function = Fake(failing("bad"))
    feeder = feed(moto, deployment, function)

    feeder.poll()

    assert counts(moto, deployment.queue_url) == (0, 1)
    assert feeder.poll() == 0, "what failed stays away until its visibility timeout is over"
    come_again(moto, deployment, {"Records": [r for r in function.events[0]["Records"] if r["body"] == "bad"]})
    assert feeder.poll() == 1
    (record,) = function.events[1]["Records"]
    assert (record["body"], record["attributes"]["ApproximateReceiveCount"]) == ("bad", "2")


def test_an_invocation_that_fails_leaves_its_whole_batch(
    moto: Clients, deployment: Deployment, send: Callable[..., None]
) -> None:
    def die(_event: dict[str, Any]) -> None:
        raise InvocationFailed("its process ended with SIGKILL")

    send("one", "two")
    feeder = feed(moto, deployment, Fake(die))

    assert feeder.poll() == 2
    assert counts(moto, deployment.queue_url) == (0, 2)
    assert feeder.poll() == 0


def test_what_fails_too_often_ends_in_the_dead_letter_queue(
    moto: Clients, deployment: Deployment, send: Callable[..., None]
) -> None:
    send("foreign")
    function = Fake(failing("foreign"))
    feeder = feed(moto, deployment, function)

    for _ in range(MAX_RECEIVE_COUNT):
        assert feeder.poll() == 1
        come_again(moto, deployment, function.events[-1])

    assert feeder.poll() == 0
    assert counts(moto, deployment.queue_url) == (0, 0)
    assert counts(moto, deployment.dead_letter_url) == (1, 0)


def test_setting_up_twice_changes_nothing(moto: Clients, deployment: Deployment) -> None:
    name = deployment.table.removesuffix("-table")

    assert deploy(moto, moto.dynamodb, visibility=60, name=name) == deployment
    attributes = moto.sqs.get_queue_attributes(QueueUrl=deployment.queue_url, AttributeNames=["VisibilityTimeout"])
    assert attributes["Attributes"]["VisibilityTimeout"] == "60"


# --- two queues -------------------------------------------------------------------------------------------------------


def both(moto: Clients, deployment: Deployment, function: Fake) -> Feeder:
    high = (deployment.priority_queue_url, deployment.priority_queue_arn)
    return Feeder(moto.sqs, deployment.queue_url, deployment.queue_arn, function, batch=1, priority=high)


def test_messages_of_high_priority_come_first_but_the_others_never_starve(
    moto: Clients, deployment: Deployment, send: Callable[..., None]
) -> None:
    send(*["normal"] * 3)
    for _ in range(8):
        moto.sqs.send_message(QueueUrl=deployment.priority_queue_url, MessageBody="high")
    function = Fake()
    feeder = both(moto, deployment, function)

    assert [feeder.poll() for _ in range(12)] == [1] * 11 + [0]

    order = [bodies(event)[0] for event in function.events]
    assert order == ["high", "high", "high", "normal", "high", "high", "high", "normal", "high", "high", "normal"]
    assert counts(moto, deployment.queue_url) == counts(moto, deployment.priority_queue_url) == (0, 0)


def test_either_queue_is_served_while_the_other_is_empty(
    moto: Clients, deployment: Deployment, send: Callable[..., None]
) -> None:
    function = Fake()
    feeder = both(moto, deployment, function)

    send(*["normal"] * 5)
    assert [feeder.poll() for _ in range(6)] == [1] * 5 + [0]
    for _ in range(5):
        moto.sqs.send_message(QueueUrl=deployment.priority_queue_url, MessageBody="high")
    assert [feeder.poll() for _ in range(6)] == [1] * 5 + [0]


def test_records_name_the_queue_that_they_came_from_and_return_to_it(
    moto: Clients, deployment: Deployment, send: Callable[..., None]
) -> None:
    moto.sqs.send_message(QueueUrl=deployment.priority_queue_url, MessageBody="bad")
    send("good")
    function = Fake(failing("bad"))
    feeder = both(moto, deployment, function)

    assert [feeder.poll(), feeder.poll()] == [1, 1]

    arns = [event["Records"][0]["eventSourceARN"] for event in function.events]
    assert arns == [deployment.priority_queue_arn, deployment.queue_arn]
    assert counts(moto, deployment.priority_queue_url) == (0, 1)
    assert counts(moto, deployment.queue_url) == (0, 0)


def test_what_comes_too_often_to_the_queue_of_high_priority_ends_in_its_own_dead_letter_queue(
    moto: Clients, deployment: Deployment
) -> None:
    moto.sqs.send_message(QueueUrl=deployment.priority_queue_url, MessageBody="bad")
    function = Fake(failing("bad"))
    feeder = both(moto, deployment, function)

    for _ in range(MAX_RECEIVE_COUNT):
        assert feeder.poll() == 1
        handle = function.events[-1]["Records"][0]["receiptHandle"]
        url = deployment.priority_queue_url
        moto.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)

    assert feeder.poll() == 0
    assert counts(moto, deployment.priority_dead_letter_url) == (1, 0)
    assert counts(moto, deployment.dead_letter_url) == (0, 0)
