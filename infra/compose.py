"""The composition root: settings and clients in, an ``Environment`` for each function out; of workers see ``polling``.

The tick runs no user code, so it gets no workflows, and this module imports them only when they are asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from infra.alarm import SignalAlarm
from infra.clients import Clients
from infra.dynamodb.store import DynamoDbStore
from infra.eventbridge import EventBridgeSink
from infra.s3 import NoBlobs, S3Blobs
from infra.settings import Settings
from infra.sqs import SqsQueue
from infra.system import SystemClock, SystemRandom
from kernel.errors import SettingsError
from kernel.metrics import NO_METRICS, Metrics
from kernel.ports import Queue
from kernel.shell.environment import DAY, SECOND, Definitions, Environment, Limits, NoDefinitions, NoSink

if TYPE_CHECKING:
    from kernel.define.registry import Registry

MARGIN = timedelta(seconds=15)
"""What an invocation needs besides a stage's own timeout: cold start, load, commit."""


def limits_of(settings: Settings) -> Limits:
    """The engine's limits as the deployment has set them."""
    return Limits(
        lease_grace=settings.lease_grace_seconds * SECOND,
        look_grace=settings.look_grace_seconds * SECOND,
        max_skew=settings.max_skew_ms,
        tick=settings.tick_seconds * SECOND,
        shards=settings.index_shards,
        retention=settings.retention_days * DAY,
        deadline=settings.deadline_days * DAY,
        chain_cap=settings.chain_cap,
        publish=settings.publish if settings.event_bus_name else "none",
    )


def queue_of(settings: Settings, aws: Clients) -> Queue:
    """Where pokes are sent."""
    if settings.redis_url is not None and settings.transport == "redis":
        from infra.redis.client import connect  # noqa: PLC0415 - redis-py is not in the Lambda artefact
        from infra.redis.queue import RedisQueue  # noqa: PLC0415 - as above

        return RedisQueue(connect(settings.redis_url, cluster=settings.redis_cluster), settings.redis_prefix)
    return SqsQueue(aws.sqs, settings.queue_url, settings.priority_queue_url)


def environment(
    settings: Settings, definitions: Definitions, clients: Clients | None = None, queue: Queue | None = None
) -> Environment:
    """Everything wired to AWS, or to whatever the settings point at; ``queue`` if there is one already."""
    aws = clients or Clients(localstack_host=settings.localstack_host)
    bus = settings.event_bus_name
    return Environment(
        store=DynamoDbStore(aws.dynamodb, settings.table_name),
        queue=queue or queue_of(settings, aws),
        blobs=S3Blobs(lambda: aws.s3, settings.blob_bucket) if settings.blob_bucket else NoBlobs(),
        sink=EventBridgeSink(lambda: aws.events, bus) if bus else NoSink(),
        clock=SystemClock(),
        random=SystemRandom(),
        alarm=SignalAlarm(),
        definitions=definitions,
        limits=limits_of(settings),
        metrics=_metrics(settings),
    )


def _metrics(settings: Settings) -> Metrics:
    if settings.metrics_namespace is None:
        return NO_METRICS
    from infra.emf import on_standard_output  # noqa: PLC0415 - only who pays CloudWatch for metrics needs it

    return on_standard_output(settings.metrics_namespace)


def registry(settings: Settings) -> Registry:
    """The deployment's workflows, checked against the time that a worker has.

    Raises:
        SettingsError: ``WORKFLOWS`` does not lead to a registry.
        DefinitionError: a workflow is wrong, or has a stage that no invocation could finish.
    """
    from kernel.define.registry import Registry  # noqa: PLC0415 - spares the tick pydantic

    module_name, _, name = settings.workflows.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ModuleNotFoundError, AttributeError) as error:
        if not _leads_nowhere(error, module_name, name):
            raise  # something is wrong inside the module: its own error says it better
        message = f"WORKFLOWS={settings.workflows} leads nowhere: {error}"
        raise SettingsError(message) from error
    if not isinstance(found, Registry):
        message = f"WORKFLOWS={settings.workflows} is a {type(found).__name__}, not a Registry"
        raise SettingsError(message)
    found.check(timedelta(seconds=settings.job_timeout_seconds), margin=MARGIN)
    return found


def _leads_nowhere(error: ModuleNotFoundError | AttributeError, module: str, name: str) -> bool:
    if isinstance(error, ModuleNotFoundError):
        return error.name is not None and (module == error.name or module.startswith(f"{error.name}."))
    return error.name == name


def worker(env: Mapping[str, str]) -> Environment:
    """For the job function, which runs stages."""
    settings = Settings.from_env(env)
    return environment(settings, registry(settings))


def maintenance(env: Mapping[str, str]) -> Environment:
    """For the tick."""
    return environment(Settings.from_env(env), NoDefinitions())
