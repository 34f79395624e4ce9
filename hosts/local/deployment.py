"""The resources that template.yaml declares, made at an endpoint, and what points functions at them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from botocore.exceptions import ClientError
from msgspec import Struct

from hosts.engines.environment import ACCOUNT
from infra.dynamodb.table import create_table
from infra.failures import AWS_ERRORS, code_of, translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import BucketLocationConstraintType
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

    from infra.clients import Clients

STACK = "onewrite-local"
MAX_RECEIVE_COUNT = 5
"""After so many receptions a message goes to the dead-letter queue (template.yaml)."""
VISIBILITY_MARGIN = 60
"""Seconds that the queue's visibility timeout is longer than the job function's timeout (template.yaml)."""
VARIABLES = {
    "WORKFLOWS": "workflows:registry",
    "DEFAULT_TENANT": "local",
    "LOG_LEVEL": "INFO",
    "POWERTOOLS_SERVICE_NAME": "onewrite",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}
"""The functions' environment variables that do not depend on resources, as in template.yaml. What is not here
has the same default there and in ``infra.settings``.
"""


class Deployment(Struct, frozen=True):
    """What was made.

    Attributes:
        table, bucket, bus: names.
        queue_url, queue_arn: of the queue of pokes.
        dead_letter_url: of its dead-letter queue.
        priority_queue_url, priority_queue_arn: of the queue of pokes of runs of high priority.
        priority_dead_letter_url: of its dead-letter queue.
        rule_arn: of the tick's schedule.
        region: where, as far as a local engine has regions.
    """

    table: str
    bucket: str
    bus: str
    queue_url: str
    queue_arn: str
    dead_letter_url: str
    priority_queue_url: str
    priority_queue_arn: str
    priority_dead_letter_url: str
    rule_arn: str
    region: str

    def variables(self) -> dict[str, str]:
        """The functions' environment variables that point at it, by the names that template.yaml uses."""
        return {
            "TABLE_NAME": self.table,
            "QUEUE_URL": self.queue_url,
            "PRIORITY_QUEUE_URL": self.priority_queue_url,
            "BLOB_BUCKET": self.bucket,
            "EVENT_BUS_NAME": self.bus,
        }


def deploy(aws: Clients, dynamodb: DynamoDBClient, *, visibility: int, name: str = STACK) -> Deployment:
    """Make what is not there yet: table, queues with dead-letter queues, bucket and bus.

    Args:
        aws: clients for everything but the table.
        dynamodb: a client for the table, which may be kept elsewhere.
        visibility: seconds that a received message stays hidden.
        name: what names of resources begin with.

    Raises:
        InfrastructureError: something could not be made.
    """
    try:
        create_table(dynamodb, f"{name}-table")
        queue_url, dead_letter_url = _pokes(aws.sqs, f"{name}-pokes", f"{name}-dead-letters", visibility)
        priority_url, priority_dead_letter_url = _pokes(
            aws.sqs, f"{name}-priority-pokes", f"{name}-priority-dead-letters", visibility
        )
        region = aws.sqs.meta.region_name
        _bucket(aws.s3, f"{name}-blobs", region)
        _unless("ResourceAlreadyExistsException", lambda: aws.events.create_event_bus(Name=f"{name}-events"))
        return Deployment(
            table=f"{name}-table",
            bucket=f"{name}-blobs",
            bus=f"{name}-events",
            queue_url=queue_url,
            queue_arn=_arn(aws.sqs, queue_url),
            dead_letter_url=dead_letter_url,
            priority_queue_url=priority_url,
            priority_queue_arn=_arn(aws.sqs, priority_url),
            priority_dead_letter_url=priority_dead_letter_url,
            rule_arn=f"arn:aws:events:{region}:{ACCOUNT}:rule/{name}-tick",
            region=region,
        )
    except AWS_ERRORS as error:
        raise translate(error, "setting up table, queues, bucket and bus", "Is the endpoint right?") from error


def _pokes(sqs: SQSClient, name: str, dead_letters: str, visibility: int) -> tuple[str, str]:
    """Make a queue of pokes, and its dead-letter queue."""
    dead_letter_url = _queue(sqs, dead_letters, {"MessageRetentionPeriod": "1209600"})
    redrive = {"deadLetterTargetArn": _arn(sqs, dead_letter_url), "maxReceiveCount": MAX_RECEIVE_COUNT}
    attributes = {"VisibilityTimeout": str(visibility), "RedrivePolicy": json.dumps(redrive)}
    return _queue(sqs, name, attributes), dead_letter_url


def _queue(sqs: SQSClient, name: str, attributes: dict[str, str]) -> str:
    """Make a queue; one that is there gets these attributes."""
    wanted = cast("dict[QueueAttributeNameType, str]", attributes)
    try:
        return sqs.create_queue(QueueName=name, Attributes=wanted)["QueueUrl"]
    except ClientError as error:
        if not code_of(error).endswith(("QueueAlreadyExists", "QueueNameExists")):
            raise
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted)
        return url


def _arn(sqs: SQSClient, url: str) -> str:
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def _bucket(s3: S3Client, name: str, region: str) -> None:
    if region == "us-east-1":  # the one region that must not be named
        _unless("BucketAlreadyOwnedByYou", lambda: s3.create_bucket(Bucket=name))
        return
    where = cast("BucketLocationConstraintType", region)
    _unless(
        "BucketAlreadyOwnedByYou",
        lambda: s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": where}),
    )


def _unless(code: str, make: Callable[[], object]) -> None:
    """Make something, unless the answer is that it is there already."""
    try:
        make()
    except ClientError as error:
        if code_of(error) != code:
            raise
