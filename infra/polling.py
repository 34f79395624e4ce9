"""The composition root of hosts that poll: an environment, and what takes messages out of the transport."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from infra.call_alarm import CallAlarm
from infra.clients import Clients
from infra.compose import environment
from infra.dynamodb.locks import DynamoDbLocks
from infra.settings import Settings
from infra.sqs import SqsQueue
from infra.sqs_consumer import SqsConsumer
from kernel.delivery import Consumer
from kernel.locks import Locks
from kernel.metrics import Metrics
from kernel.ports import Queue
from kernel.shell.environment import Definitions, Environment

SPARE = 8
"""Connections beside those of the slots: for the tick, the role, health, and what is handed back."""


class Polling(Struct, frozen=True, kw_only=True):
    """What a host needs that takes messages out of the transport for itself.

    Attributes:
        env: the ports.
        consumer: where its messages come from.
        locks: where its roles are.
        close: closes all connections.
    """

    env: Environment
    consumer: Consumer
    locks: Locks
    close: Callable[[], None]


def compose(
    settings: Settings,
    definitions: Definitions,
    *,
    name: str,
    visibility: float,
    deliveries: int,
    threads: int,
    alarm: CallAlarm,
    metrics: Metrics,
) -> Polling:
    """Everything for a host with so many threads.

    Args:
        settings: the deployment's.
        definitions: its workflows.
        name: of the host, for the transport.
        visibility: seconds for which a message is hidden from others.
        deliveries: after so many, a message is a dead letter; of SQS its queue says.
        threads: how many there will be.
        alarm: tells stages that run too long in them.
        metrics: takes measurements.
    """
    aws = Clients(localstack_host=settings.localstack_host, connections=threads + SPARE)
    queue, consumer, close = _transport(settings, aws, name, visibility, deliveries)
    made = environment(settings, definitions, aws, queue)
    # A stage that has run too long is told when it next calls one of these.
    env = replace(
        made,
        store=alarm.watch(made.store),
        queue=alarm.watch(made.queue),
        blobs=alarm.watch(made.blobs),
        sink=alarm.watch(made.sink),
        alarm=alarm,
        metrics=metrics,
    )
    locks = DynamoDbLocks(aws.dynamodb, settings.table_name, env.clock, max_skew_ms=settings.max_skew_ms)

    def close_all() -> None:
        close()
        aws.close()

    return Polling(env=env, consumer=consumer, locks=locks, close=close_all)


def _transport(
    settings: Settings, aws: Clients, name: str, visibility: float, deliveries: int
) -> tuple[Queue, Consumer, Callable[[], None]]:
    """Both ends of what carries pokes, and what closes their connections beside those to AWS."""
    if settings.redis_url is not None and settings.transport == "redis":
        from infra.redis.client import connect  # noqa: PLC0415 - only where Redis is wanted does redis-py have to be
        from infra.redis.consumer import RedisConsumer  # noqa: PLC0415 - as above
        from infra.redis.queue import RedisQueue  # noqa: PLC0415 - as above

        client = connect(settings.redis_url, cluster=settings.redis_cluster)
        prefix = settings.redis_prefix
        consumer = RedisConsumer(client, prefix, name, visibility=visibility, deliveries=deliveries)
        return RedisQueue(client, prefix), consumer, client.close
    url, priority_url = settings.queue_url, settings.priority_queue_url
    polling = SqsConsumer(aws.sqs_polling, url, priority_url, visibility=visibility)
    return SqsQueue(aws.sqs, url, priority_url), polling, lambda: None
