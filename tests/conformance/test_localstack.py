"""The AWS adapters on LocalStack: its own SQS, S3 and EventBridge, and DynamoDB Local behind its front."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from hosts.engines.localstack.engine import ACCOUNT, ENGINE_VERSION
from infra.clients import Clients
from infra.dynamodb.store import DynamoDbStore
from infra.dynamodb.table import create_table
from infra.eventbridge import EventBridgeSink
from infra.pokes import parse
from infra.s3 import S3Blobs
from infra.sqs import SqsQueue
from kernel.errors import Missing
from kernel.ports import HIGH, Poke
from kernel.testing.conformance import BlobsContract, QueueContract, SinkContract, StoreContract
from kernel.testing.conformance.examples import fresh_token
from tests.conformance.consuming import SqsConsumerContract
from tests.conformance.queues import drain, new_queue, queue_behind
from tests.proof import tell

if TYPE_CHECKING:
    from hosts.engines.localstack.engine import LocalStack
    from kernel.ports import Blobs, Queue, Sink, Store

pytestmark = pytest.mark.localstack

TABLE = "onewrite-conformance"
BUCKET = "onewrite-conformance"
LAG = 1.0
"""Seconds by which its timers may be late."""


@pytest.fixture(scope="module")
def aws(localstack: LocalStack) -> Iterator[Clients]:
    with Clients(endpoint=localstack.endpoint_url) as clients:
        yield clients
    tell("engines", engine=f"LocalStack {ENGINE_VERSION}: SQS, S3, EventBridge and DynamoDB suites")


@pytest.fixture(scope="module")
def table(aws: Clients) -> str:
    create_table(aws.dynamodb, TABLE)
    return TABLE


@pytest.fixture(scope="module")
def bucket(aws: Clients) -> str:
    aws.s3.create_bucket(Bucket=BUCKET)
    return BUCKET


class TestDynamoDbStoreOnLocalStack(StoreContract):
    @pytest.fixture
    def store(self, aws: Clients, table: str) -> Store:
        return DynamoDbStore(aws.dynamodb, table)


class TestSqsQueueOnLocalStack(QueueContract):
    @pytest.fixture
    def queue(self, aws: Clients) -> Queue:
        self.sqs = aws.sqs
        self.url = new_queue(aws.sqs)
        return SqsQueue(aws.sqs, self.url)

    def receive(self, queue: Queue) -> Sequence[Poke]:
        return [parse(body) for body in drain(self.sqs, self.url)]

    def wait(self, queue: Queue, seconds: float) -> None:
        time.sleep(seconds + LAG)  # the engine's clock is the machine's

    def test_a_queue_that_is_not_there_is_missing(self, aws: Clients) -> None:
        queue = SqsQueue(aws.sqs, f"{aws.sqs.meta.endpoint_url}/queue/us-east-1/{ACCOUNT}/no-such-queue")

        with pytest.raises(Missing, match=r"no-such-queue.*Check QUEUE_URL"):
            queue.send([(Poke("acme", "r1"), 0)])


class TestSqsQueuesOfBothPrioritiesOnLocalStack(QueueContract):
    @pytest.fixture
    def queue(self, aws: Clients) -> Queue:
        self.sqs = aws.sqs
        self.url, self.priority_url = new_queue(aws.sqs), new_queue(aws.sqs)
        return SqsQueue(aws.sqs, self.url, self.priority_url)

    def receive(self, queue: Queue) -> Sequence[Poke]:
        bodies = [drain(self.sqs, url) for url in (self.url, self.priority_url)]
        normal, high = [[parse(body) for body in each] for each in bodies]
        assert {poke.priority for poke in normal} <= {""}
        assert {poke.priority for poke in high} <= {HIGH}
        return [*high, *normal]

    def wait(self, queue: Queue, seconds: float) -> None:
        time.sleep(seconds + LAG)  # the engine's clock is the machine's


class TestSqsConsumerOnLocalStack(SqsConsumerContract):
    lag = LAG

    @pytest.fixture
    def aws(self, aws: Clients) -> Clients:
        return aws


class TestS3BlobsOnLocalStack(BlobsContract):
    @pytest.fixture
    def blobs(self, aws: Clients, bucket: str) -> Blobs:
        return S3Blobs(lambda: aws.s3, bucket)

    def test_a_bucket_that_is_not_there_is_missing(self, aws: Clients) -> None:
        blobs = S3Blobs(lambda: aws.s3, "no-such-bucket")

        with pytest.raises(Missing, match=r"'no-such-bucket'.*Check BLOB_BUCKET"):
            blobs.get("key")


class TestEventBridgeSinkOnLocalStack(SinkContract):
    @pytest.fixture
    def sink(self, aws: Clients) -> Sink:
        """A bus with a rule that sends everything of Onewrite's to a queue."""
        self.sqs, bus = aws.sqs, f"bus-{fresh_token()}"
        aws.events.create_event_bus(Name=bus)
        self.url = queue_behind(aws, bus)
        return EventBridgeSink(lambda: aws.events, bus)

    def received(self, sink: Sink, count: int) -> Sequence[tuple[str, bytes]]:
        events: list[dict[str, Any]] = []
        end = time.monotonic() + 10
        while len(events) < count and time.monotonic() < end:
            events += [json.loads(body) for body in drain(self.sqs, self.url)]
        # It delivers side by side, as the real bus may: consumers have the numbers to restore the order by.
        events.sort(key=lambda event: event["detail"]["seq"])
        return [(event["detail-type"], json.dumps(event["detail"]).encode()) for event in events]
