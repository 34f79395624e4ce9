"""Queues of SQS to receive from in tests: new ones, and those that show what arrives on an event bus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.testing.conformance.examples import fresh_token

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from infra.clients import Clients


def new_queue(sqs: SQSClient) -> str:
    """The address of a new queue."""
    return sqs.create_queue(QueueName=f"queue-{fresh_token()}")["QueueUrl"]


def queue_behind(aws: Clients, bus: str) -> str:
    """The address of a new queue that gets everything of Onewrite's on a bus."""
    url = new_queue(aws.sqs)
    target = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws.events.put_rule(Name=bus, EventBusName=bus, EventPattern='{"source":["onewrite"]}')
    aws.events.put_targets(Rule=bus, EventBusName=bus, Targets=[{"Id": "queue", "Arn": target}])
    return url


def drain(sqs: SQSClient, url: str) -> list[str]:
    """Bodies of all messages that can be received now."""
    bodies = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies
