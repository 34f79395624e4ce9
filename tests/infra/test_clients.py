"""Clients: made late, with time-outs that end, connected to what the environment says."""

from __future__ import annotations

import sys

import pytest

from hosts.engines import aws_environment
from infra.clients import Clients
from kernel.errors import SettingsError


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_PROFILE", "USE_SSL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in aws_environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("service", "attempts", "seconds"),
    [("dynamodb", 2, (2.0, 5.0)), ("sqs", 2, (1.0, 2.0)), ("s3", 3, (2.0, 5.0)), ("events", 2, (1.0, 2.0))],
)
def test_every_client_has_short_time_outs_and_retries_in_standard_mode(
    service: str, attempts: int, seconds: tuple[float, float]
) -> None:
    """Shortest for what may be lost, pokes and events: a claimed stage or a whole tick waits for them."""
    with Clients() as clients:
        config = getattr(clients, service).meta.config

        assert config.retries == {"mode": "standard", "total_max_attempts": attempts}
        assert (config.connect_timeout, config.read_timeout) == seconds
        assert config.tcp_keepalive is True


def test_no_client_is_made_before_it_is_asked_for_and_none_twice() -> None:
    with Clients() as clients:
        assert clients._made == {}

        assert clients.dynamodb is clients.dynamodb

        assert list(clients._made) == ["dynamodb"]


def test_by_default_the_endpoint_is_that_of_the_region() -> None:
    with Clients() as clients:
        assert clients.dynamodb.meta.endpoint_url == "https://dynamodb.eu-west-1.amazonaws.com"
        address = clients.s3.generate_presigned_url("get_object", Params={"Bucket": "blobs", "Key": "key"})
        assert address.startswith("https://blobs.s3.")


def test_endpoints_in_the_environment_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4000")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://localhost:8000")

    with Clients() as clients:
        assert clients.dynamodb.meta.endpoint_url == "http://localhost:8000"
        assert clients.sqs.meta.endpoint_url == "http://localhost:4000"


def test_a_given_endpoint_serves_everything_and_sees_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4000")
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    with Clients(endpoint="http://127.0.0.1:5000") as clients:
        assert {
            clients.dynamodb.meta.endpoint_url,
            clients.sqs.meta.endpoint_url,
            clients.s3.meta.endpoint_url,
            clients.events.meta.endpoint_url,
        } == {"http://127.0.0.1:5000"}
        credentials = clients._session.get_credentials()
        assert credentials is not None
        assert (credentials.access_key, credentials.secret_key) == ("test", "test")


def test_an_emulator_is_sent_buckets_in_the_path_since_it_has_no_names_for_them() -> None:
    with Clients(endpoint="http://localhost:5000") as clients:
        address = clients.s3.generate_presigned_url("get_object", Params={"Bucket": "blobs", "Key": "key"})

        assert address.startswith("http://localhost:5000/blobs/key?")


def test_localstack_is_found_by_the_rules_of_its_client() -> None:
    with Clients(localstack_host="localstack:4510") as clients:
        assert clients.dynamodb.meta.endpoint_url == "http://localstack:4510"
        assert clients.s3.meta.endpoint_url == "http://localstack:4510"


def test_localstack_without_its_client_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "localstack_client", None)

    with (
        Clients(localstack_host="localhost:4566") as clients,
        pytest.raises(SettingsError, match=r"localstack-client is not installed.*AWS_ENDPOINT_URL"),
    ):
        _ = clients.dynamodb


def test_the_region_of_containers_is_read_which_botocore_itself_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")

    with Clients() as clients:
        assert clients.dynamodb.meta.region_name == "eu-central-1"


def test_no_region_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)

    with (
        Clients() as clients,
        pytest.raises(SettingsError, match=r"AWS_DEFAULT_REGION is missing.*eu-west-1"),
    ):
        _ = clients.dynamodb
