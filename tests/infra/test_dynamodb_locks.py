"""Locks in DynamoDB where no engine can be made to behave: answers without the item, failures, odd items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from infra.dynamodb.locks import CONDITIONS, DynamoDbLocks
from kernel.errors import InfrastructureError, Unavailable
from kernel.locks import Lock, LockGuard
from kernel.testing.memory import FakeClock
from tests.infra.aws import client_error, fake

REFUSED = "ConditionalCheckFailedException"
CLOCK = FakeClock()
NOW = CLOCK.now()
OURS = Lock(name="job", owner="o1", fence=7, until=NOW + 1_000)
KEY = {"PK": {"S": "~lock#job"}, "SK": {"S": "~lock"}}


def item(owner: str = "o1", fence: Any = 7, until: Any = NOW + 1_000) -> dict[str, Any]:
    return {**KEY, "owner": {"S": owner}, "fence": {"N": str(fence)}, "until": {"N": str(until)}}


def locks(client: Any) -> DynamoDbLocks:
    return DynamoDbLocks(client, "t", CLOCK, max_skew_ms=50)


def test_every_guard_has_a_condition() -> None:
    assert set(CONDITIONS) == set(LockGuard)


def test_a_lock_is_taken_by_one_conditional_update_that_asks_for_the_item_it_may_lose_to() -> None:
    client = fake({"Attributes": {"fence": {"N": "8"}}})

    lock = locks(client).acquire("job", "o1", 500)

    assert lock == Lock(name="job", owner="o1", fence=8, until=NOW + 500)
    assert client.requests == [
        (
            "update_item",
            {
                "TableName": "t",
                "Key": KEY,
                "UpdateExpression": "SET #owner = :owner, #until = :until ADD fence :one",
                "ConditionExpression": "(attribute_not_exists(#owner) OR #until < :over)",
                "ExpressionAttributeNames": {"#owner": "owner", "#until": "until"},
                "ExpressionAttributeValues": {
                    ":owner": {"S": "o1"},
                    ":until": {"N": str(NOW + 500)},
                    ":one": {"N": "1"},
                    ":over": {"N": str(NOW - 50)},
                },
                "ReturnValues": "UPDATED_NEW",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            },
        )
    ]


def test_a_refusal_that_shows_somebody_elses_lock_costs_no_read() -> None:
    client = fake(client_error(REFUSED, Item=item("o2")))

    assert locks(client).acquire("job", "o1", 500) is None
    assert len(client.requests) == 1


def test_a_refusal_that_shows_our_own_lock_is_the_answer_that_was_lost() -> None:
    client = fake(client_error(REFUSED, Item=item()), {})

    assert locks(client).acquire("job", "o1", 2_000) == Lock(name="job", owner="o1", fence=7, until=NOW + 2_000)
    assert [operation for operation, _ in client.requests] == ["update_item"] * 2
    assert "ADD" not in client.requests[1][1]["UpdateExpression"]


def test_our_own_lock_that_is_taken_over_meanwhile_is_not_ours() -> None:
    client = fake(client_error(REFUSED, Item=item()), client_error(REFUSED, Item=item("o2", fence=8)))

    assert locks(client).acquire("job", "o1", 500) is None


@pytest.mark.parametrize(
    ("call", "found", "answer"),
    [
        (lambda it: it.acquire("job", "o1", 500), item("o2"), None),
        (lambda it: it.extend(OURS, 500), item("o2", fence=8), None),
        (lambda it: it.extend(OURS, 500), {}, None),
        (lambda it: it.extend(OURS, 500), item(), OURS),
        (lambda it: it.release(OURS), item("o2", fence=8), False),
    ],
    ids=["acquire", "extend-other", "extend-none", "extend-longer-already", "release"],
)
def test_a_refusal_without_the_item_is_followed_by_a_consistent_read(
    call: Callable[[DynamoDbLocks], object], found: dict[str, Any], answer: object
) -> None:
    client = fake(client_error(REFUSED), {"Item": found} if found else {})

    assert call(locks(client)) == answer
    operation, request = client.requests[1]
    assert (operation, request["ConsistentRead"], request["Key"]) == ("get_item", True, KEY)


@pytest.mark.parametrize(
    "raw",
    [
        item(fence="x"),
        item(until="1.5"),
        {**item(), "owner": {"N": "1"}},
        {**KEY, "owner": {"S": "o1"}},
    ],
    ids=["fence", "until", "owner", "bare"],
)
def test_an_item_that_cannot_be_read_is_an_error_of_the_call(raw: dict[str, Any]) -> None:
    with pytest.raises(InfrastructureError, match=r"the item of lock job in table 't' cannot be read"):
        locks(fake({"Item": raw})).held("job")
    with pytest.raises(InfrastructureError, match=r"the item of lock job in table 't' cannot be read"):
        locks(fake(client_error(REFUSED, Item=raw))).extend(OURS, 500)


def test_an_answer_without_a_fencing_token_gives_no_lock() -> None:
    with pytest.raises(InfrastructureError, match="fence is missing"):
        locks(fake({})).acquire("job", "o1", 500)


@pytest.mark.parametrize(
    "error",
    [
        client_error("ThrottlingException"),
        client_error("TransactionConflictException"),
        client_error("InternalServerError", status=500),
        ReadTimeoutError(endpoint_url="x"),
    ],
    ids=["throttled", "conflict", "500", "no-answer"],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.acquire("job", "o1", 500),
        lambda it: it.extend(OURS, 500),
        lambda it: it.release(OURS),
        lambda it: it.held("job"),
    ],
    ids=["acquire", "extend", "release", "held"],
)
def test_what_is_not_known_is_unavailable_and_no_refusal(
    call: Callable[[DynamoDbLocks], object], error: Exception
) -> None:
    with pytest.raises(Unavailable, match="lock job in table 't'"):
        call(locks(fake(error)))
