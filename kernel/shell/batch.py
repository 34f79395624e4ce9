"""Attending what a transport has delivered: a batch of it, or all that there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from kernel.delivery import Consumer, Delivery
from kernel.errors import Missing, OnewriteError, Unavailable
from kernel.metrics import Count, Duration
from kernel.shell.attend import attend, never
from kernel.shell.environment import Environment
from kernel.shell.logs import log

LOOK = 1.0
"""Seconds that ``process_available`` waits for one more message."""
AGAIN = 5.0
"""Seconds after which a message comes again whose run could not be attended."""


class Lines(Protocol):
    """A logger: the standard library's, or one that is like it."""

    def warning(self, msg: str, /, *, extra: Mapping[str, object]) -> None:
        """Write a line."""
        ...

    def exception(self, msg: str, /, *, extra: Mapping[str, object]) -> None:
        """Write a line with the traceback of what is being handled."""
        ...


class Batch(Struct, frozen=True, kw_only=True):
    """What became of a batch.

    Attributes:
        attended: their runs were looked at, whatever came of that: they can be acknowledged.
        failed: the store, or something else outside, did not answer: they must come again.
        broken: their run cannot be attended, because of a damaged log, one of a newer version, or a mistake of ours:
            they are left to become dead letters.
        foreign: they are none of ours: they are left to become dead letters.
        left: the worker stopped before it came to them: others may have them at once.
        stages: bodies and checks that ran.
        short: a stage was left to others, because there is too little time for it here.
    """

    attended: list[Delivery]
    failed: list[Delivery]
    broken: list[Delivery]
    foreign: list[Delivery]
    left: list[Delivery]
    stages: int
    short: bool


def attend_all(
    env: Environment,
    deliveries: Sequence[Delivery],
    until: float,
    *,
    by: str = "worker",
    stopping: Callable[[], bool] = never,
    begins: Callable[[Delivery], None] = lambda _delivery: None,
    lines: Lines = log,
) -> Batch:
    """Attend the runs of a batch, one after the other; each gets its fair share of the time that is left.

    Args:
        env: the ports.
        deliveries: the batch.
        until: monotonic time in seconds by which to be done.
        by: who does it, for the logs of the runs.
        stopping: see ``kernel.shell.attend.attend``.
        begins: is told of each message before its run is attended.
        lines: where it is said what is wrong.
    """
    attended: list[Delivery] = []
    failed: list[Delivery] = []
    broken: list[Delivery] = []
    foreign: list[Delivery] = []
    left: list[Delivery] = []
    stages, short = 0, False
    for index, delivery in enumerate(deliveries):
        if stopping():
            left.extend(deliveries[index:])
            break
        poke = delivery.poke
        if poke is None:
            extra = {"message_id": delivery.id, "error": delivery.problem}
            lines.warning("message left in the queue: it is none of ours", extra=extra)
            foreign.append(delivery)
            continue
        began = env.clock.monotonic()
        share = began + (until - began) / (len(deliveries) - index)
        begins(delivery)
        try:
            seen = attend(env, poke, until, share=share, by=by, stopping=stopping)
        except OnewriteError as error:
            (failed if isinstance(error, Missing | Unavailable) else broken).append(delivery)
            extra = {"message_id": delivery.id, "run": poke.run, "error": str(error)}
            lines.warning("message returned to the queue", extra=extra)
        except Exception:  # noqa: BLE001 - one bad message must not take the others of its batch with it
            lines.exception("message returned to the queue", extra={"message_id": delivery.id, "run": poke.run})
            broken.append(delivery)
        else:
            attended.append(delivery)
            stages += seen.stages
            short = short or seen.short
            env.metrics.count(Count.POKES_ATTENDED, outcome=seen.outcome)
            env.metrics.observe(Duration.ATTEND, env.clock.monotonic() - began)
    if count := len(failed) + len(broken) + len(foreign):
        env.metrics.count(Count.POKES_FAILED, count)
    return Batch(
        attended=attended, failed=failed, broken=broken, foreign=foreign, left=left, stages=stages, short=short
    )


class Processed(Struct, frozen=True, kw_only=True):
    """What was done with the messages that there were.

    Attributes:
        attended: messages whose run was looked at.
        failed: messages that come again, or become dead letters.
        stages: bodies and checks that ran.
        left: it ended because of the limit or the time, not because there were no more messages.
    """

    attended: int
    failed: int
    stages: int
    left: bool


def process_available(
    env: Environment,
    consumer: Consumer,
    limit: int,
    until: float,
    *,
    wait: float = LOOK,
    by: str = "worker",
    stopping: Callable[[], bool] = never,
) -> Processed:
    """Attend the messages that can be received now, one at a time, for a host that polls inside a function.

    Ends when there are none, after ``limit`` of them, when the monotonic time ``until`` has come, when what is ready
    takes longer than is left until then, or when the store or the transport does not answer.

    Args:
        env: the ports.
        consumer: where the messages come from.
        limit: how many to attend at most.
        until: monotonic time in seconds by which to be done.
        wait: seconds without a message after which there are none. Over SQS at least one: a shorter look asks only some
            of its servers.
        by: who does it, for the logs of the runs.
        stopping: see ``kernel.shell.attend.attend``.

    Raises:
        InfrastructureError: the transport failed before anything was received.
    """
    attended = failed = stages = 0
    while attended + failed < limit and env.clock.monotonic() < until and not stopping():
        try:
            deliveries = consumer.receive(1, min(wait, until - env.clock.monotonic()))
        except OnewriteError:
            if attended + failed:
                return Processed(attended=attended, failed=failed, stages=stages, left=True)
            raise
        if not deliveries:
            return Processed(attended=attended, failed=failed, stages=stages, left=False)
        batch = attend_all(env, deliveries, until, by=by, stopping=stopping)
        answer(consumer, batch)
        attended += len(batch.attended)
        failed += len(batch.failed) + len(batch.broken) + len(batch.foreign)
        stages += batch.stages
        if batch.failed or batch.short:
            break
    return Processed(attended=attended, failed=failed, stages=stages, left=True)


def answer(consumer: Consumer, batch: Batch, delay: float = AGAIN) -> None:
    """Tell the transport what became of a batch: what failed comes again after so many seconds, what is left at once.

    If it cannot be told, all of it comes again once it is not hidden any more, which does no harm.
    """
    try:
        if batch.attended:
            consumer.acknowledge(batch.attended)
        if batch.failed:
            consumer.release(batch.failed, delay)
        if batch.left:
            consumer.release(batch.left)
    except OnewriteError as error:
        log.warning("messages not acknowledged: they will come again", extra={"error": str(error)})
