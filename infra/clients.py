"""AWS clients: one botocore session for all, each client made when first asked for, with short time-outs.

botocore's session makes the same clients as boto3's: what it leaves out are boto3's resources and S3
transfers, which nothing here uses. That saves a fifth of the start (`python -m bench.coldstart`). A second
client from the same session costs a tenth of the first, since the session keeps what it has loaded.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore.config import Config
from botocore.exceptions import NoRegionError

from kernel.errors import SettingsError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0
"""botocore's own time-outs of a minute outlive a lease."""
ATTEMPTS = 3
STORE_ATTEMPTS = 2
"""Including the first. The kernel repeats calls of the store by itself: it knows how much time is left."""
POLL_SECONDS = 20.0
"""The longest that SQS waits for a message (WaitTimeSeconds)."""
CONNECTIONS = 10
"""botocore's own default."""
BEST_EFFORT: dict[str, Any] = {"connect_timeout": 1.0, "read_timeout": 2.0, "attempts": 2}
"""Of calls that must not take long, and may be lost: pokes and events are found again by a tick. Between the claim of a
stage and its body there is one to SQS, and it eats of the lease."""


class Clients:
    """The clients of a deployment. May be shared by threads.

    Where they connect to: ``endpoint`` if given; else ``localstack_host`` by the rules of localstack-client,
    which must then be installed; else what botocore finds: AWS_ENDPOINT_URL and its kin, or AWS itself. In
    the first two cases the credentials are made up.

    Args:
        endpoint: address of an emulator, for all services.
        localstack_host: ``Settings.localstack_host``.
        connections: how many each client keeps open: as many as there are threads that use it.

    Raises (on first use of a client):
        SettingsError: no region is set, or localstack-client is needed and not installed.
    """

    def __init__(
        self, *, endpoint: str | None = None, localstack_host: str | None = None, connections: int = CONNECTIONS
    ) -> None:
        self._session = botocore.session.get_session()
        self._endpoint = endpoint
        self._localstack_host = localstack_host
        self._connections = connections
        self._lock = threading.Lock()  # a session makes its first clients safely for one thread only
        self._made: dict[str, Any] = {}
        if self._session.get_config_variable("region") is None and (region := os.environ.get("AWS_REGION")):
            self._session.set_config_variable("region", region)  # botocore itself knows AWS_DEFAULT_REGION only
        if endpoint is not None or localstack_host is not None:
            self._make_up_identity()

    @property
    def dynamodb(self) -> DynamoDBClient:
        """The client for DynamoDB."""
        # Parameters are built in one module and checked by mypy; checking each call again is 6% of a put.
        return cast("DynamoDBClient", self._client("dynamodb", attempts=STORE_ATTEMPTS, parameter_validation=False))

    @property
    def sqs(self) -> SQSClient:
        """The client for SQS."""
        return cast("SQSClient", self._client("sqs", **BEST_EFFORT))

    @property
    def sqs_polling(self) -> SQSClient:
        """The client for taking messages out of SQS, which lets it wait for them."""
        return cast("SQSClient", self._client("sqs", purpose="polling", read_timeout=POLL_SECONDS + READ_SECONDS))

    @property
    def s3(self) -> S3Client:
        """The client for S3. Costs 40 ms to make: only runs with big values need it."""
        return cast("S3Client", self._client("s3"))

    @property
    def events(self) -> EventBridgeClient:
        """The client for EventBridge."""
        return cast("EventBridgeClient", self._client("events", **BEST_EFFORT))

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in self._made.values():
                client.close()
            self._made.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # botocore makes the classes of clients at run time; the properties above give them their types back.
    def _client(self, service: str, *, purpose: str = "", attempts: int = ATTEMPTS, **options: Any) -> Any:  # noqa: ANN401 - clients are made of data at run time
        known = f"{service} {purpose}".rstrip()
        with self._lock:
            if known not in self._made:
                self._made[known] = self._make(service, attempts, options)
            return self._made[known]

    def _make(self, service: str, attempts: int, options: dict[str, Any]) -> Any:  # noqa: ANN401 - clients are made of data at run time
        chosen = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS} | options
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            tcp_keepalive=True,
            max_pool_connections=self._connections,
            # Otherwise botocore composes this line anew for every request.
            user_agent=f"onewrite {self._session.user_agent()}",
            **chosen,
        )
        endpoint = self._endpoint
        if endpoint is None and self._localstack_host is not None:
            endpoint = _localstack_endpoint(service, self._localstack_host)
        try:
            return self._session.create_client(service, endpoint_url=endpoint, config=config)
        except NoRegionError as error:
            raise SettingsError(
                f"AWS_DEFAULT_REGION is missing: the {service} client needs a region, for example eu-west-1"
            ) from error

    def _make_up_identity(self) -> None:
        # Never real credentials: an emulator does not need them and should not see them.
        self._session.set_credentials("test", "test")
        if self._session.get_config_variable("region") is None:
            self._session.set_config_variable("region", "us-east-1")


def _localstack_endpoint(service: str, host: str) -> str | None:
    try:
        from localstack_client import config  # noqa: PLC0415  # a development dependency, not in the artefact
    except ImportError as error:
        raise SettingsError(
            f"LocalStack at {host} was asked for, but localstack-client is not installed: "
            "install it, or set AWS_ENDPOINT_URL to LocalStack's address instead"
        ) from error
    return config.get_service_endpoint(service, localstack_host=host)
