"""Settings: right ones are read, and one error lists everything that is wrong."""

from __future__ import annotations

import re

import pytest

from infra.settings import Settings
from kernel.errors import SettingsError

REQUIRED = {
    "WORKFLOWS": "workflows:registry",
    "TABLE_NAME": "onewrite-Table-1A2B3C",
    "QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/onewrite-pokes",
}


def problems(env: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)
    return str(caught.value)


def test_with_only_what_is_required_the_rest_is_as_documented() -> None:
    assert Settings.from_env(REQUIRED) == Settings(
        workflows="workflows:registry",
        table_name="onewrite-Table-1A2B3C",
        queue_url="https://sqs.eu-west-1.amazonaws.com/123456789012/onewrite-pokes",
        priority_queue_url=None,
        blob_bucket=None,
        event_bus_name=None,
        default_tenant=None,
        tenant_claim="tenant",
        index_shards=4,
        retention_days=30,
        deadline_days=30,
        look_grace_seconds=120,
        lease_grace_seconds=5,
        max_skew_ms=1000,
        tick_seconds=60,
        chain_cap=1000,
        job_timeout_seconds=300,
        publish="run",
        localstack_host=None,
    )


def test_everything_can_be_set() -> None:
    env = REQUIRED | {
        "PRIORITY_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/onewrite-priority-pokes",
        "BLOB_BUCKET": "blobs-1",
        "EVENT_BUS_NAME": "arn:aws:events:eu-west-1:123456789012:event-bus/onewrite",
        "DEFAULT_TENANT": "acme",
        "TENANT_CLAIM": "custom:tenant",
        "INDEX_SHARDS": "8",
        "RETENTION_DAYS": "7",
        "DEADLINE_DAYS": "14",
        "LOOK_GRACE_SECONDS": "2",
        "LEASE_GRACE_SECONDS": "1",
        "MAX_SKEW_MS": "0",
        "TICK_SECONDS": "1",
        "CHAIN_CAP": "1",
        "JOB_TIMEOUT_SECONDS": "900",
        "PUBLISH": "none",
        "METRICS_NAMESPACE": "shop/orders",
    }

    assert Settings.from_env(env) == Settings(
        workflows=REQUIRED["WORKFLOWS"],
        table_name=REQUIRED["TABLE_NAME"],
        queue_url=REQUIRED["QUEUE_URL"],
        priority_queue_url=env["PRIORITY_QUEUE_URL"],
        blob_bucket="blobs-1",
        event_bus_name="arn:aws:events:eu-west-1:123456789012:event-bus/onewrite",
        default_tenant="acme",
        tenant_claim="custom:tenant",
        index_shards=8,
        retention_days=7,
        deadline_days=14,
        look_grace_seconds=2,
        lease_grace_seconds=1,
        max_skew_ms=0,
        tick_seconds=1,
        chain_cap=1,
        job_timeout_seconds=900,
        publish="none",
        metrics_namespace="shop/orders",
    )


def test_over_redis_no_queue_of_sqs_is_needed() -> None:
    env = {name: value for name, value in REQUIRED.items() if name != "QUEUE_URL"}
    url = "rediss://onewrite:secret@redis.internal:6380/1"

    settings = Settings.from_env(
        env | {"TRANSPORT": "redis", "REDIS_URL": url, "REDIS_CLUSTER": "true", "REDIS_PREFIX": "shop"}
    )

    assert (settings.transport, settings.redis_url, settings.queue_url) == ("redis", url, "")
    assert (settings.redis_cluster, settings.redis_prefix) == (True, "shop")
    assert "- REDIS_URL is missing: it must be a Redis server's URL" in problems(env | {"TRANSPORT": "redis"})


def test_a_password_is_not_shown() -> None:
    message = problems(REQUIRED | {"REDIS_URL": "http://user:hunter2@redis.internal"})

    assert "- REDIS_URL is not shown, and not right: it must be a Redis server's URL, for example rediss://" in message
    assert "hunter2" not in message


def test_an_empty_variable_counts_as_absent() -> None:
    empty = dict.fromkeys(("BLOB_BUCKET", "DEFAULT_TENANT", "TENANT_CLAIM", "PUBLISH", "TICK_SECONDS"), "")

    assert Settings.from_env(REQUIRED | empty) == Settings.from_env(REQUIRED)


def test_one_error_lists_everything_that_is_missing_or_wrong_with_an_example_each() -> None:
    message = problems({"WORKFLOWS": "workflows", "INDEX_SHARDS": "0", "PUBLISH": "some", "TABLE_NAME": ""})

    assert message.splitlines() == [
        "5 settings are missing or wrong in the environment:",
        "- WORKFLOWS is 'workflows': it must be module:name of the registry, for example workflows:registry",
        ("- TABLE_NAME is missing: it must be a DynamoDB table's name or ARN, for example onewrite-Table-1A2B3C"),
        (
            "- QUEUE_URL is missing: it must be a queue's URL, for example "
            "https://sqs.eu-west-1.amazonaws.com/123456789012/onewrite-pokes"
        ),
        "- INDEX_SHARDS is '0': it must be a whole number from 1 to 64, for example 4",
        "- PUBLISH is 'some': it must be run, all or none, for example run",
    ]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("INDEX_SHARDS", 1, 64),
        ("RETENTION_DAYS", 1, 3650),
        ("DEADLINE_DAYS", 1, 3650),
        ("LOOK_GRACE_SECONDS", 1, 900),
        ("LEASE_GRACE_SECONDS", 1, 600),
        ("MAX_SKEW_MS", 0, 60_000),
        ("TICK_SECONDS", 1, 3600),
        ("CHAIN_CAP", 1, 100_000),
        ("JOB_TIMEOUT_SECONDS", 30, 86_400),
    ],
)
def test_a_number_must_be_whole_and_in_its_range(name: str, low: int, high: int) -> None:
    for right in (low, high):
        assert getattr(Settings.from_env(REQUIRED | {name: str(right)}), name.lower()) == right
    for wrong in (str(low - 1), str(high + 1), "four", "4.0", "1e3", " 4", "4_0", "٤", "9" * 40):
        message = problems(REQUIRED | {name: wrong})
        assert re.search(rf"^- {name} is .*: it must be a whole number from {low} to {high}, ", message, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("TRANSPORT", "kafka"),
        ("METRICS_NAMESPACE", "AWS Lambda"),
        ("REDIS_CLUSTER", "yes"),
        ("REDIS_PREFIX", "a{b}"),
        ("WORKFLOWS", "workflows.registry"),
        ("WORKFLOWS", "work flows:registry"),
        ("WORKFLOWS", ":registry"),
        ("TABLE_NAME", "no spaces"),
        ("TABLE_NAME", "ab"),
        ("QUEUE_URL", "onewrite-pokes"),
        ("QUEUE_URL", "https://"),
        ("PRIORITY_QUEUE_URL", "onewrite-priority-pokes"),
        ("BLOB_BUCKET", "Capitals"),
        ("BLOB_BUCKET", "s3://bucket"),
        ("EVENT_BUS_NAME", "no spaces"),
        ("DEFAULT_TENANT", "a#b"),
        ("DEFAULT_TENANT", "x" * 129),
        ("DEFAULT_TENANT", "ténant"),
        ("TENANT_CLAIM", "no spaces"),
        ("PUBLISH", "RUN"),
        ("LOCALSTACK_HOST", "http://localhost:4566"),
    ],
)
def test_a_text_must_look_like_what_it_names(name: str, wrong: str) -> None:
    message = problems(REQUIRED | {name: wrong})

    assert message.startswith("one setting is missing or wrong")
    assert f"- {name} is " in message
    assert "for example" in message


def test_a_long_wrong_value_is_shown_cut() -> None:
    assert len(problems(REQUIRED | {"PUBLISH": "x" * 100_000})) < 400


@pytest.mark.parametrize(
    ("env", "host"),
    [
        ({}, None),
        ({"LOCALSTACK": "0"}, None),
        ({"LOCALSTACK": "1"}, "localhost:4566"),
        ({"LOCALSTACK": "true"}, "localhost:4566"),
        ({"LOCALSTACK_HOST": "localstack:4510"}, "localstack:4510"),
        ({"LOCALSTACK_HOST": "localstack"}, "localstack"),
        ({"LOCALSTACK_HOSTNAME": "172.17.0.2"}, "172.17.0.2:4566"),
        ({"LOCALSTACK_HOSTNAME": "172.17.0.2", "EDGE_PORT": "4510"}, "172.17.0.2:4510"),
        ({"LOCALSTACK_HOST": "first:1", "LOCALSTACK_HOSTNAME": "second"}, "first:1"),
        ({"LOCALSTACK": "1", "AWS_ENDPOINT_URL": "http://localhost:8000"}, None),
        ({"LOCALSTACK": "1", "AWS_ENDPOINT_URL_DYNAMODB": "http://localhost:8000"}, None),
        ({"LOCALSTACK": "1", "AWS_ENDPOINT_URL": ""}, "localhost:4566"),
    ],
)
def test_localstack_is_used_where_it_is_named_and_no_endpoint_is(env: dict[str, str], host: str | None) -> None:
    assert Settings.from_env(REQUIRED | env).localstack_host == host
