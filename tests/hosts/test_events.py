"""Events of SQS and EventBridge, compared with what their documentation shows; and partial batch responses."""

from __future__ import annotations

from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import EventBridgeEvent, SQSEvent

from hosts.local.events import failed_messages, schedule_event, sqs_event

ARN = "arn:aws:sqs:us-east-2:123456789012:my-queue"
MESSAGE: Any = {
    "MessageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
    "ReceiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
    "MD5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
    "Body": "Test message.",
    "Attributes": {
        "ApproximateReceiveCount": "1",
        "SentTimestamp": "1545082649183",
        "SenderId": "AIDAIENQZJOLO23YVJ4VO",
        "ApproximateFirstReceiveTimestamp": "1545082649185",
    },
}


def test_a_record_has_the_documented_fields() -> None:
    assert sqs_event([MESSAGE], ARN) == {
        "Records": [
            {
                "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
                "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
                "body": "Test message.",
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": "1545082649183",
                    "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                    "ApproximateFirstReceiveTimestamp": "1545082649185",
                },
                "messageAttributes": {},
                "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
                "awsRegion": "us-east-2",
            }
        ]
    }


def test_message_attributes_come_as_documented() -> None:
    attributes = {
        "text": {"DataType": "String", "StringValue": "a"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x01"},
    }

    event = sqs_event([MESSAGE | {"MessageAttributes": attributes, "MD5OfMessageAttributes": "m"}], ARN)

    record = event["Records"][0]
    assert record["messageAttributes"] == {
        "text": {"stringValue": "a", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
        "bytes": {"binaryValue": "AQ==", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
    }
    assert record["md5OfMessageAttributes"] == "m"
    parsed = next(SQSEvent(event).records)
    text = parsed.message_attributes["text"]
    assert text is not None
    assert text.string_value == "a"
    assert parsed.attributes.approximate_receive_count == "1"


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        pytest.param(None, "", id="nothing"),
        pytest.param({}, "", id="an empty answer"),
        pytest.param({"batchItemFailures": []}, "", id="an empty list"),
        pytest.param({"batchItemFailures": None}, "", id="no list"),
        pytest.param({"batchItemFailures": [{"itemIdentifier": "b"}]}, "b", id="one"),
        pytest.param({"batchItemFailures": [{"itemIdentifier": ""}]}, "abc", id="an empty id"),
        pytest.param({"batchItemFailures": [{"itemIdentifier": None}]}, "abc", id="no id"),
        pytest.param({"batchItemFailures": [{"id": "b"}]}, "abc", id="a wrong key"),
        pytest.param({"batchItemFailures": [{"itemIdentifier": "x"}]}, "abc", id="an id that was not sent"),
        pytest.param({"batchItemFailures": ["b"]}, "abc", id="no object"),
        pytest.param("fine", "abc", id="a text"),
    ],
)
def test_what_counts_as_failed_is_what_lambda_documents(answer: object, failed: str) -> None:
    assert failed_messages(answer, ["a", "b", "c"]) == set(failed)


def test_a_scheduled_event_has_the_documented_fields() -> None:
    rule = "arn:aws:events:us-east-1:123456789012:rule/MyScheduledRule"

    event = schedule_event(rule, "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", 1444323413456)

    assert event == {
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": "2015-10-08T16:56:53Z",
        "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:123456789012:rule/MyScheduledRule"],
        "detail": {},
    }
    assert EventBridgeEvent(event).detail_type == "Scheduled Event"
