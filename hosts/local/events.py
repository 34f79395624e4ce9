"""What SQS and EventBridge send to functions, and what an event source mapping makes of the answer.

Sources: "Using Lambda with Amazon SQS" (AWS Lambda Developer Guide); "Scheduled events" (EventBridge User Guide).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

Event = dict[str, Any]


def sqs_event(messages: Sequence[MessageTypeDef], queue_arn: str) -> Event:
    """The event of an SQS event source mapping: one record per message."""
    region = queue_arn.split(":")[3]
    return {"Records": [_record(message, queue_arn, region) for message in messages]}


def _record(message: MessageTypeDef, queue_arn: str, region: str) -> Event:
    record: Event = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {
            name: {
                **({"stringValue": value["StringValue"]} if "StringValue" in value else {}),
                **({"binaryValue": base64.b64encode(value["BinaryValue"]).decode()} if "BinaryValue" in value else {}),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value["DataType"],
            }
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": region,
    }
    if "MD5OfMessageAttributes" in message:
        record["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return record


def failed_messages(answer: object, sent: Sequence[str]) -> set[str]:
    """Ids of the messages that a function with ``ReportBatchItemFailures`` did not handle.

    Source: "Success and failure conditions" of partial batch responses, AWS Lambda Developer Guide. Nothing
    reported is success; what cannot be understood, an id that was not sent included, fails the whole batch.

    Args:
        answer: what the function returned.
        sent: ids of the messages of the batch.
    """
    if answer is None or answer == {}:
        return set()
    everything = set(sent)
    if not isinstance(answer, dict):
        return everything
    failures = answer.get("batchItemFailures")
    if failures is None:
        return set()
    if not isinstance(failures, list):
        return everything
    ids = [failure.get("itemIdentifier") if isinstance(failure, dict) else None for failure in failures]
    return {str(id_) for id_ in ids} if all(isinstance(id_, str) and id_ in everything for id_ in ids) else everything


def schedule_event(rule_arn: str, id_: str, at: int) -> Event:
    """The event of a rule with a schedule.

    Args:
        rule_arn: of the rule.
        id_: of the event.
        at: when it fires, in milliseconds since the epoch; the event says it in seconds.
    """
    _, _, _, region, account, _ = rule_arn.split(":", 5)
    return {
        "version": "0",
        "id": id_,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [rule_arn],
        "detail": {},
    }
