"""The table's definition, in one place: local set-up creates it, a test compares template.yaml with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.failures import AWS_ERRORS, code_of, translate

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        AttributeDefinitionTypeDef,
        GlobalSecondaryIndexUnionTypeDef,
        KeySchemaElementTypeDef,
    )

DUE_INDEX = "due"
"""Sparse: holds the runs that somebody must look at, by when."""
RUNS_INDEX = "runs"
"""Holds all runs of a tenant and workflow, by coarse status and time of creation."""
TTL_ATTRIBUTE = "ttl"
BILLING_MODE: Final = "PAY_PER_REQUEST"

KEY_SCHEMA: list[KeySchemaElementTypeDef] = [
    {"AttributeName": "PK", "KeyType": "HASH"},
    {"AttributeName": "SK", "KeyType": "RANGE"},
]

ATTRIBUTE_DEFINITIONS: list[AttributeDefinitionTypeDef] = [
    {"AttributeName": "PK", "AttributeType": "S"},
    {"AttributeName": "SK", "AttributeType": "S"},
    {"AttributeName": "due_shard", "AttributeType": "S"},
    {"AttributeName": "due", "AttributeType": "N"},
    {"AttributeName": "listing", "AttributeType": "S"},
    {"AttributeName": "listing_order", "AttributeType": "S"},
]

# Every projected attribute that a head update changes is a write to the index as well. The hot path changes
# none.
INDEXES: list[GlobalSecondaryIndexUnionTypeDef] = [
    {
        "IndexName": DUE_INDEX,
        "KeySchema": [
            {"AttributeName": "due_shard", "KeyType": "HASH"},
            {"AttributeName": "due", "KeyType": "RANGE"},
        ],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    },
    {
        "IndexName": RUNS_INDEX,
        "KeySchema": [
            {"AttributeName": "listing", "KeyType": "HASH"},
            {"AttributeName": "listing_order", "KeyType": "RANGE"},
        ],
        "Projection": {
            "ProjectionType": "INCLUDE",
            "NonKeyAttributes": ["workflow", "version", "status", "created"],
        },
    },
]


def create_table(client: DynamoDBClient, name: str) -> None:
    """Create the table and wait until it can be used; nothing happens if there is one of that name.

    For local set-up and tests: in AWS, template.yaml creates it.

    Raises:
        InfrastructureError: it could not be created.
    """
    try:
        client.create_table(
            TableName=name,
            KeySchema=KEY_SCHEMA,
            AttributeDefinitions=ATTRIBUTE_DEFINITIONS,
            GlobalSecondaryIndexes=INDEXES,
            BillingMode=BILLING_MODE,
        )
        client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        client.update_time_to_live(
            TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
        )
    except AWS_ERRORS as error:
        if code_of(error) == "ResourceInUseException":
            return
        raise translate(error, f"creating table {name!r}", "Check the endpoint and the credentials.") from error
