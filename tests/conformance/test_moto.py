"""The AWS adapters on moto, embedded, behind one lock."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from hosts.engines.environment import ACCOUNT
from infra.dynamodb.store import DynamoDbStore
from infra.dynamodb.table import create_table
from infra.eventbridge import EventBridgeSink
from infra.pokes import parse
from infra.s3 import S3Blobs
from infra.sqs import SqsQueue
from kernel.errors import Missing
from kernel.ports import HIGH, Poke
from kernel.testing.conformance import BlobsContract, QueueContract, SinkContract, StoreContract
from kernel.testing.conformance.examples import fresh_ref, fresh_token, published
from tests.conformance.consuming import SqsConsumerContract
from tests.conformance.queues import drain, new_queue, queue_behind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.clients import Clients
    from kernel.ports import Blobs, Queue, Sink, Store

pytestmark = pytest.mark.moto

TABLE = "onewrite-conformance"
BUCKET = "onewrite-conformance"


@pytest.fixture(scope="module")
def table(moto: Clients) -> str:
    create_table(moto.dynamodb, TABLE)
    return TABLE


@pytest.fixture(scope="module")
def bucket(moto: Clients) -> str:
    region = moto.s3.meta.region_name
    if region == "us-east-1":  # S3 refuses to hear the name of its first region
        moto.s3.create_bucket(Bucket=BUCKET)
    else:
        moto.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": cast("Any", region)})
    return BUCKET


class TestDynamoDbStoreOnMoto(StoreContract):
    @pytest.fixture
    def store(self, moto: Clients, table: str) -> Store:
        return DynamoDbStore(moto.dynamodb, table)


class TestSqsQueueOnMoto(QueueContract):
    @pytest.fixture
    def queue(self, moto: Clients) -> Queue:
        self.sqs = moto.sqs
        self.url = new_queue(moto.sqs)
        return SqsQueue(moto.sqs, self.url)

    def receive(self, queue: Queue) -> Sequence[Poke]:
        return [parse(body) for body in drain(self.sqs, self.url)]

    def wait(self, queue: Queue, seconds: float) -> None:
        time.sleep(seconds)  # the engine's clock is the machine's

    def test_messages_carry_their_tenant_as_group_so_that_the_queue_is_fair(self, queue: Queue) -> None:
        queue.send([(Poke("acme", "r1"), 0)])

        [message] = self.sqs.receive_message(QueueUrl=self.url, MessageSystemAttributeNames=["MessageGroupId"])[
            "Messages"
        ]
        assert message["Attributes"]["MessageGroupId"] == "acme"

    def test_a_queue_that_is_not_there_is_missing(self, moto: Clients) -> None:
        queue = SqsQueue(moto.sqs, f"{moto.sqs.meta.endpoint_url}/{ACCOUNT}/no-such-queue")

        with pytest.raises(Missing, match=r"no-such-queue.*Check QUEUE_URL"):
            queue.send([(Poke("acme", "r1"), 0)])


class TestSqsQueuesOfBothPrioritiesOnMoto(QueueContract):
    @pytest.fixture
    def queue(self, moto: Clients) -> Queue:
        self.sqs = moto.sqs
        self.url, self.priority_url = new_queue(moto.sqs), new_queue(moto.sqs)
        return SqsQueue(moto.sqs, self.url, self.priority_url)

    def receive(self, queue: Queue) -> Sequence[Poke]:
        bodies = [drain(self.sqs, url) for url in (self.url, self.priority_url)]
        normal, high = [[parse(body) for body in each] for each in bodies]
        assert {poke.priority for poke in normal} <= {""}
        assert {poke.priority for poke in high} <= {HIGH}
        return [*high, *normal]

    def wait(self, queue: Queue, seconds: float) -> None:
        time.sleep(seconds)  # the engine's clock is the machine's


class TestSqsConsumerOnMoto(SqsConsumerContract):
    @pytest.fixture
    def aws(self, moto: Clients) -> Clients:
        return moto


class TestS3BlobsOnMoto(BlobsContract):
    @pytest.fixture
    def blobs(self, moto: Clients, bucket: str) -> Blobs:
        return S3Blobs(lambda: moto.s3, bucket)

    def test_a_bucket_that_is_not_there_is_missing(self, moto: Clients) -> None:
        blobs = S3Blobs(lambda: moto.s3, "no-such-bucket")

        with pytest.raises(Missing, match=r"'no-such-bucket'.*Check BLOB_BUCKET"):
            blobs.get("key")
        with pytest.raises(Missing, match=r"'no-such-bucket'.*Check BLOB_BUCKET"):
            blobs.put("key", b"body")


class TestEventBridgeSinkOnMoto(SinkContract):
    @pytest.fixture
    def sink(self, moto: Clients) -> Sink:
        """A bus with a rule that sends everything of Onewrite's to a queue."""
        self.sqs, bus = moto.sqs, f"bus-{fresh_token()}"
        moto.events.create_event_bus(Name=bus)
        self.url = queue_behind(moto, bus)
        return EventBridgeSink(lambda: moto.events, bus)

    def received(self, sink: Sink, count: int) -> Sequence[tuple[str, bytes]]:
        events = [json.loads(body) for body in drain(self.sqs, self.url)]
        return [(event["detail-type"], json.dumps(event["detail"]).encode()) for event in events]

    def test_a_bus_that_is_not_there_is_missing(self, moto: Clients) -> None:
        sink = EventBridgeSink(lambda: moto.events, "no-such-bus")

        with pytest.raises(Missing, match=r"'no-such-bus'.*Check EVENT_BUS_NAME"):
            sink.publish([published(fresh_ref(), 1)])
