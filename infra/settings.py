"""The deployment's settings: read from the environment once, checked all at once, frozen from then on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, cast

from msgspec import Struct

from kernel.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

Publish = Literal["run", "all", "none"]
"""Which events go to the event sink: what happened to runs as a whole, everything, or nothing."""

Transport = Literal["sqs", "redis"]
"""What carries pokes."""


class Settings(Struct, frozen=True, kw_only=True):
    """What a deployment can set. Each field is the environment variable of the same name in capitals.

    An empty variable counts as absent: CloudFormation passes optional parameters that way.

    Attributes:
        workflows: where the registry of workflows is, ``module:name``.
        table_name: name (or ARN) of the DynamoDB table.
        transport: what carries pokes.
        queue_url: address of the SQS queue that carries pokes; empty if Redis does.
        priority_queue_url: address of the queue for pokes of runs of high priority; None lets them use the other one.
        redis_url: where the Redis is that carries pokes, with user and password if it wants them.
        redis_cluster: it is a cluster.
        redis_prefix: what the names of all keys there begin with: deployments that share a Redis need different ones.
        blob_bucket: S3 bucket for values too big for the table.
        event_bus_name: EventBridge bus (name or ARN) that events are published to.
        default_tenant: tenant of callers without the claim; None refuses them.
        tenant_claim: the authoriser's claim that names the tenant.
        roles_claim: the authoriser's claim that lists what the caller may act as.
        index_shards: shards of the two indexes; the largest number ever used, since readers merge over all of
            them.
        retention_days: how long a run is kept beyond its deadline.
        deadline_days: when a run fails that is not told another deadline.
        look_grace_seconds: how far in the future ``due`` of an awake run may lie.
        lease_grace_seconds: slack between a stage's timeout and the end of its lease.
        max_skew_ms: clock error between workers that timers allow for.
        tick_seconds: interval of the tick's schedule.
        chain_cap: how many stages one invocation runs in a row.
        job_timeout_seconds: timeout of the function that runs stages (at most 900 on Lambda), or how long a worker goes
            on with a run at a time; a stage that needs longer is refused.
        publish: which events go to the sink.
        metrics_namespace: CloudWatch's namespace for metrics of the functions; None measures nothing.
        localstack_host: ``host:port`` of a LocalStack to talk to instead of AWS. Not a variable of its own:
            it is set by LOCALSTACK_HOST or LOCALSTACK_HOSTNAME (with EDGE_PORT), or ``LOCALSTACK=1`` for this
            machine's; and ignored when there is an AWS_ENDPOINT_URL (or one for a single service), which
            boto3 honours by itself.
    """

    workflows: str
    table_name: str
    queue_url: str = ""
    transport: Transport = "sqs"
    redis_url: str | None = None
    redis_cluster: bool = False
    redis_prefix: str = "onewrite"
    priority_queue_url: str | None = None
    blob_bucket: str | None = None
    event_bus_name: str | None = None
    default_tenant: str | None = None
    tenant_claim: str = "tenant"
    roles_claim: str = "cognito:groups"
    index_shards: int = 4
    retention_days: int = 30
    deadline_days: int = 30
    look_grace_seconds: int = 120
    lease_grace_seconds: int = 5
    max_skew_ms: int = 1000
    tick_seconds: int = 60
    chain_cap: int = 1000
    job_timeout_seconds: int = 300
    publish: Publish = "run"
    metrics_namespace: str | None = None
    localstack_host: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read and check the settings.

        Args:
            env: the environment, usually ``os.environ``.

        Raises:
            SettingsError: some are missing or wrong; the message lists every one, with an example of a right
                one.
        """
        reader = _Reader(env)
        transport = cast("Transport", reader.text("TRANSPORT", _TRANSPORT) or "sqs")
        over_redis = transport == "redis"
        settings = cls(
            workflows=reader.required("WORKFLOWS", _WORKFLOWS),
            table_name=reader.required("TABLE_NAME", _TABLE),
            transport=transport,
            queue_url=(reader.text("QUEUE_URL", _URL) or "") if over_redis else reader.required("QUEUE_URL", _URL),
            redis_url=reader.required("REDIS_URL", _REDIS) if over_redis else reader.text("REDIS_URL", _REDIS),
            redis_cluster=reader.text("REDIS_CLUSTER", _FLAG) in _TRUE,
            redis_prefix=reader.text("REDIS_PREFIX", _PREFIX) or "onewrite",
            priority_queue_url=reader.text("PRIORITY_QUEUE_URL", _URL),
            blob_bucket=reader.text("BLOB_BUCKET", _BUCKET),
            event_bus_name=reader.text("EVENT_BUS_NAME", _BUS),
            default_tenant=reader.text("DEFAULT_TENANT", _TENANT),
            tenant_claim=reader.text("TENANT_CLAIM", _CLAIM) or "tenant",
            roles_claim=reader.text("ROLES_CLAIM", _CLAIM) or "cognito:groups",
            index_shards=reader.number("INDEX_SHARDS", 1, 64, default=4),
            retention_days=reader.number("RETENTION_DAYS", 1, 3650, default=30),
            deadline_days=reader.number("DEADLINE_DAYS", 1, 3650, default=30),
            look_grace_seconds=reader.number("LOOK_GRACE_SECONDS", 1, 900, default=120),
            lease_grace_seconds=reader.number("LEASE_GRACE_SECONDS", 1, 600, default=5),
            max_skew_ms=reader.number("MAX_SKEW_MS", 0, 60_000, default=1000),
            tick_seconds=reader.number("TICK_SECONDS", 1, 3600, default=60),
            chain_cap=reader.number("CHAIN_CAP", 1, 100_000, default=1000),
            job_timeout_seconds=reader.number("JOB_TIMEOUT_SECONDS", 30, 86_400, default=300),
            publish=cast("Publish", reader.text("PUBLISH", _PUBLISH) or "run"),
            metrics_namespace=reader.text("METRICS_NAMESPACE", _NAMESPACE),
            localstack_host=_localstack_host(reader),
        )
        if reader.problems:
            count = "one setting is" if len(reader.problems) == 1 else f"{len(reader.problems)} settings are"
            listed = "\n".join(f"- {problem}" for problem in reader.problems)
            raise SettingsError(f"{count} missing or wrong in the environment:\n{listed}")
        return settings


class _Form(Struct, frozen=True):
    """What a text must look like: a pattern, the words for it, and an example that fits."""

    pattern: str
    words: str
    example: str


_WORKFLOWS = _Form(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", "module:name of the registry", "workflows:registry")
_TABLE = _Form(r"[\w.-]{3,255}|arn:\S{1,1000}", "a DynamoDB table's name or ARN", "onewrite-Table-1A2B3C")
_URL = _Form(r"https?://\S+", "a queue's URL", "https://sqs.eu-west-1.amazonaws.com/123456789012/onewrite-pokes")
_TRANSPORT = _Form(r"sqs|redis", "sqs or redis", "redis")
_REDIS = _Form(r"(rediss?|unix)://\S+", "a Redis server's URL", "rediss://user:password@redis.internal:6379/0")
_FLAG = _Form(r"0|1|false|true", "1 or 0", "1")
_TRUE = ("1", "true")
_PREFIX = _Form(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "up to 64 letters, digits and . _ -", "onewrite")
_BUCKET = _Form(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "an S3 bucket's name", "onewrite-blobs-1a2b3c")
_BUS = _Form(r"[\w./-]{1,256}|arn:\S{1,1000}", "an event bus's name or ARN", "onewrite-events")
_TENANT = _Form(r"[A-Za-z0-9][A-Za-z0-9_.:@|-]{0,127}", "up to 128 letters, digits and . : @ _ | -", "acme")
_CLAIM = _Form(r"[\w.:/-]{1,256}", "the name of a claim", "custom:tenant")
_PUBLISH = _Form(r"run|all|none", "run, all or none", "run")
_NAMESPACE = _Form(r"[A-Za-z0-9][\w./#:-]{0,254}", "up to 255 letters, digits and . / # : _ -", "onewrite")
_HOST = _Form(r"[\w.-]+(:\d{1,5})?", "host or host:port", "localhost:4566")


class _Reader:
    """Reads variables and notes what is wrong instead of stopping at the first."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.problems: list[str] = []

    def required(self, name: str, form: _Form) -> str:
        value = self.text(name, form)
        if value is None and not self.env.get(name):
            self.problems.append(f"{name} is missing: it must be {form.words}, for example {form.example}")
        return value or ""

    def text(self, name: str, form: _Form) -> str | None:
        value = self.env.get(name, "")
        if not value:
            return None
        if re.fullmatch(form.pattern, value, re.ASCII) is None:
            self._wrong(name, value, form.words, form.example)
            return None
        return value

    def number(self, name: str, low: int, high: int, *, default: int) -> int:
        value = self.env.get(name, "")
        if not value:
            return default
        # Digits only: int() would also take " 4 ", "4_0" and digits of other scripts.
        number = int(value) if re.fullmatch(r"\d{1,9}", value, re.ASCII) else -1
        if not low <= number <= high:
            self._wrong(name, value, f"a whole number from {low} to {high}", str(default))
            return default
        return number

    def _wrong(self, name: str, value: str, words: str, example: str) -> None:
        if name in _SECRET:
            self.problems.append(f"{name} is not shown, and not right: it must be {words}, for example {example}")
            return
        shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
        self.problems.append(f"{name} is {shown!r}: it must be {words}, for example {example}")


_SHOWN = 80
_SECRET = ("REDIS_URL",)
"""Variables that may hold a password."""


def _localstack_host(reader: _Reader) -> str | None:
    """The rule of ``Settings.localstack_host``."""
    if any(name.startswith("AWS_ENDPOINT_URL") and value for name, value in reader.env.items()):
        return None
    if host := reader.text("LOCALSTACK_HOST", _HOST):
        return host
    if host := reader.text("LOCALSTACK_HOSTNAME", _HOST):
        return host if ":" in host else f"{host}:{reader.number('EDGE_PORT', 1, 65_535, default=4566)}"
    return "localhost:4566" if reader.env.get("LOCALSTACK", "").lower() in {"1", "true"} else None
