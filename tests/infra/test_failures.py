"""What AWS's errors become: may be retried, is missing, or is a mistake."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
)

from infra.failures import code_of, translate
from kernel.errors import InfrastructureError, Missing, Unavailable
from tests.infra.aws import client_error

URL = "https://dynamodb.eu-west-1.amazonaws.com"


def name_of(error: Exception) -> str:
    return code_of(error) or type(error).__name__


@pytest.mark.parametrize(
    "error",
    [
        client_error("ThrottlingException"),
        client_error("ProvisionedThroughputExceededException"),
        client_error("RequestLimitExceeded"),
        client_error("TransactionConflictException"),
        client_error("InternalServerError", status=500),
        client_error("SlowDown", status=503),
        client_error("NobodyKnows", status=500),
        client_error("500", status=502),
        client_error("TooOften", status=429),
        ConnectTimeoutError(endpoint_url=URL),
        ReadTimeoutError(endpoint_url=URL),
        EndpointConnectionError(endpoint_url=URL),
        ConnectionClosedError(endpoint_url=URL),
        BotoCoreError(),
    ],
    ids=name_of,
)
def test_what_may_pass_is_unavailable(error: Exception) -> None:
    failure = translate(error, "putting log#0000000001", "Check TABLE_NAME.")

    assert type(failure) is Unavailable
    assert str(failure).startswith("putting log#0000000001: ")


@pytest.mark.parametrize(
    "error",
    [
        client_error("ResourceNotFoundException", "Requested resource not found"),
        client_error("AccessDeniedException", "User is not authorized to perform: dynamodb:PutItem"),
        client_error("AccessDenied", status=403),
        client_error("UnrecognizedClientException"),
        client_error("ExpiredTokenException"),
        client_error("AWS.SimpleQueueService.NonExistentQueue"),
        client_error("QueueDoesNotExist"),
        client_error("NoSuchBucket", status=404),
        NoCredentialsError(),
        PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
    ],
    ids=name_of,
)
def test_what_is_not_there_or_denied_is_missing_and_says_what_to_check(error: Exception) -> None:
    failure = translate(error, "putting log#0000000001 in table 'onewrite'", "Check TABLE_NAME.")

    assert type(failure) is Missing
    assert str(failure).startswith("putting log#0000000001 in table 'onewrite': ")
    assert str(failure).endswith(". Check TABLE_NAME.")


@pytest.mark.parametrize(
    "error",
    [
        client_error("ValidationException", "Value provided in ExpressionAttributeValues unused"),
        client_error("SerializationException"),
        ParamValidationError(report="Missing required parameter"),
    ],
    ids=["validation", "serialization", "parameters"],
)
def test_what_was_not_understood_is_neither_retried_nor_missing(error: Exception) -> None:
    failure = translate(error, "putting log#0000000001", "Check TABLE_NAME.")

    assert type(failure) is InfrastructureError


def test_the_message_tells_code_and_text_of_the_service_and_is_bounded() -> None:
    assert str(translate(client_error("SlowDown", "Reduce your rate.", 503), "reading object k", "")) == (
        "reading object k: SlowDown: Reduce your rate"
    )
    assert len(str(translate(client_error("SlowDown", "x" * 100_000, 503), "reading object k", ""))) < 600
