"""What is soaked: the three functions on SQS, or worker processes on Redis. Each knows how it is attacked."""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from msgspec import Struct

from bench.soak.chaos import Carrier, Target
from bench.soak.effects import VARIABLE
from bench.soak.losses import Loss, Losses
from bench.soak.messages import Messages
from bench.soak.plan import Plan
from bench.soak.workers import Told, Workers
from hosts.engines.redis_server import RedisServer
from hosts.local.host import LocalHost, Options

TENANT = "soak"
SETTINGS = {
    "WORKFLOWS": "bench.soak.workflows:registry",
    "DEFAULT_TENANT": TENANT,
    "LOG_LEVEL": "WARNING",
    "TICK_SECONDS": "1",
    "LOOK_GRACE_SECONDS": "2",
    "LEASE_GRACE_SECONDS": "1",
    "MAX_SKEW_MS": "100",
    "JOB_TIMEOUT_SECONDS": "30",
}
"""Short, as the stages' timeout of two seconds is, so that recovery takes seconds."""
BATCH = 3
"""Messages that a worker gets at a time. Those of a killed one stay hidden in the queue for a minute and a half, and
moto looks at every hidden message whenever it is asked for one: with larger batches it is soon busy with nothing else.
"""
PREFIX = "soak"
"""Of all keys in Redis."""
WORKER = (
    *("-m", "hosts.worker", "--transport", "redis", "--port", "none"),
    *("--concurrency", "4", "--visibility", "3"),
    *("--drain", "0.25"),  # shorter than one body in thirty takes, so that there is something to hand back
    "--member",  # of ours: it ends when we do
)
"""The command line of a worker."""


class Toll(Struct, frozen=True, kw_only=True):
    """What went wrong besides kills, and what was seen of it.

    Attributes:
        messages, lost, doubled: that were carried, and what was done to them.
        held: ids of the runs whose messages a process had in hand when it died, by its id.
        leaders: ids of the processes that had the role of the tick when they died.
        stopped: what was told by each worker that was told to stop.
        losses: of Redis.
        wrong: what must not be, in words.
    """

    messages: int = 0
    lost: int = 0
    doubled: int = 0
    held: Mapping[int, tuple[str, ...]] = {}
    leaders: frozenset[int] = frozenset()
    stopped: Sequence[Told] = ()
    losses: Sequence[Loss] = ()
    wrong: Sequence[str] = ()


class Trial(ABC):
    """Something to soak. A context manager: starts on entering, and leaves no process behind on leaving.

    Attributes:
        host: the API, and what it needs.
    """

    host: LocalHost

    def __init__(self, plan: Plan, effects: Path, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._say = say
        self._variables = {**SETTINGS, VARIABLE: str(effects), **plan.variables}
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    @abstractmethod
    def _start(self) -> None:
        """Start everything but what goes wrong."""

    @property
    @abstractmethod
    def targets(self) -> Sequence[Target]:
        """What can be killed."""

    @abstractmethod
    def begin(self) -> None:
        """Let go wrong what is not killing."""

    @abstractmethod
    def end(self) -> None:
        """Let nothing go wrong any more."""

    @abstractmethod
    def quit(self) -> None:
        """End whoever runs stages, so that nobody writes effects any more."""

    @abstractmethod
    def toll(self) -> Toll:
        """What went wrong so far."""

    @abstractmethod
    def line(self) -> str:
        """The same, in a few words."""


class Functions(Trial):
    """The three functions, as on Lambda, and SQS."""

    def _start(self) -> None:
        plan = self._plan
        self._carrier = Carrier(Random(f"{plan.seed}/carrier"), plan.rates, self._send)
        options = Options(engine="dynamodb-local", workers=plan.workers, batch=BATCH, variables=self._variables)
        self.host = self._undo.enter_context(LocalHost(options, self._say, self._carrier.between))
        self._undo.enter_context(self.host.logged())

    def _send(self, body: str, delay: int) -> None:
        queue = self.host.deployment.queue_url
        self.host.aws.sqs.send_message(QueueUrl=queue, MessageBody=body, DelaySeconds=delay)

    @property
    def targets(self) -> Sequence[Target]:
        """Mostly workers, some ticks, a few intakes."""
        host = self.host
        return Target(host.job, 76, in_body=0.6), Target(host.tick, 16), Target(host.intake, 8)

    def begin(self) -> None:
        """Nothing to do: the carrier is no good from the beginning."""

    def end(self) -> None:
        """Carry everything from now on."""
        self._carrier.stop()

    def quit(self) -> None:
        """End the job function."""
        self.host.job.stop()

    def toll(self) -> Toll:
        """What became of messages."""
        carrier = self._carrier
        return Toll(messages=carrier.messages, lost=carrier.lost, doubled=carrier.doubled, held=carrier.held)

    def line(self) -> str:
        """What became of messages."""
        carrier = self._carrier
        return f"of {carrier.messages} messages {carrier.lost} lost, {carrier.doubled} doubled"


class Containers(Trial):
    """Worker processes, as in containers, and Redis, which keeps nothing when it is killed."""

    def _start(self) -> None:
        plan = self._plan
        self._say("starting Redis")
        server = self._undo.enter_context(RedisServer.start())
        self._say(f"Redis {server.version}")
        contents = self._undo.enter_context(Messages(server.url, PREFIX))
        self._losses = Losses(Random(f"{plan.seed}/losses"), plan.rates, server, contents)
        transport = {"TRANSPORT": "redis", "REDIS_URL": server.url, "REDIS_PREFIX": PREFIX}
        options = Options(engine="dynamodb-local", attends=False, variables={**self._variables, **transport})
        self.host = self._undo.enter_context(LocalHost(options, self._say))
        self._undo.enter_context(self.host.logged())
        variables = {**self.host.variables, "LOG_LEVEL": "INFO"}  # they tell there what they handed back
        self._workers = Workers(plan.workers, [sys.executable, *WORKER], variables, self.host.folder, contents.held_by)
        self._say("starting the workers")
        self._undo.callback(self._workers.stop)
        self._workers.start()

    @property
    def targets(self) -> Sequence[Target]:
        """Mostly workers; some of them are told to stop, as a rolling deployment does; a few intakes."""
        workers = self._workers
        return (
            Target(workers, 74, in_body=0.75),
            Target(workers, 18, in_body=0.75, ask=workers.ask),
            Target(self.host.intake, 8),
        )

    def begin(self) -> None:
        """Begin to lose what Redis holds."""
        self._losses.start()

    def end(self) -> None:
        """Let Redis be."""
        self._losses.stop()

    def quit(self) -> None:
        """End the workers."""
        self._workers.stop()

    def toll(self) -> Toll:
        """What was lost, and what workers told in their logs, which are read for that."""
        workers = self._workers
        killed = {each.pid: each.told() for each in workers.all if each.killed}
        stopped = [each.told() for each in workers.all if each.told_at is not None]
        errors = [f"{each.log.name}: {error}" for each in workers.all for error in each.told().errors]
        return Toll(
            held=workers.held,
            leaders=frozenset(pid for pid, told in killed.items() if told.leads),
            stopped=stopped,
            losses=self._losses.done,
            wrong=[*workers.wrong, *self._losses.wrong, *errors],
        )

    def line(self) -> str:
        """What was lost."""
        stops = sum(each.told_at is not None for each in self._workers.all)
        return f"{stops} workers stopped; Redis restarted {self._losses.restarts} times"


def trial_of(plan: Plan, effects: Path, say: Callable[[str], None]) -> Trial:
    """What a plan soaks."""
    return (Containers if plan.transport == "redis" else Functions)(plan, effects, say)
