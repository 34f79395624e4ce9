"""The consumer's suite on SQS, whoever stands in for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from infra.sqs import SqsQueue
from infra.sqs_consumer import SqsConsumer
from kernel.delivery import Consumer
from kernel.ports import Queue
from kernel.testing.conformance import ConsumerContract
from kernel.testing.conformance.consumer import FOREIGN
from tests.conformance.queues import drain, new_queue

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from infra.clients import Clients


class SqsConsumerContract(ConsumerContract):
    """A subclass gives ``aws``."""

    forgives = False
    tells_age = False

    @pytest.fixture
    def aws(self) -> Clients:
        """Clients of the stand-in."""
        raise NotImplementedError

    @pytest.fixture
    def queue(self, aws: Clients) -> Queue:
        self.sqs: SQSClient = aws.sqs
        self.dead_url = new_queue(aws.sqs)
        self.url, self.priority_url = self.watched(), self.watched()
        return SqsQueue(aws.sqs, self.url, self.priority_url)

    def watched(self) -> str:
        """The address of a new queue whose dead letters are kept."""
        arn = self.sqs.get_queue_attributes(QueueUrl=self.dead_url, AttributeNames=["QueueArn"])["Attributes"]
        policy = json.dumps({"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": self.deliveries})
        url = new_queue(self.sqs)
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})
        return url

    @pytest.fixture
    def consumers(self, queue: Queue) -> Callable[[], Consumer]:
        return lambda: SqsConsumer(self.sqs, self.url, self.priority_url, visibility=self.visibility)

    def put(self, queue: Queue, body: str) -> None:
        self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def dead(self, queue: Queue) -> int:
        return drain(self.sqs, self.dead_url).count(FOREIGN)

    def wait(self, queue: Queue, seconds: float) -> None:
        time.sleep(seconds)  # the engine's clock is the machine's
