"""What it takes from one stage to the next over Redis: ``python -m bench.hops --json``.

A *hop*, in a run whose stages are not chained: from the moment at which the worker that ran a stage has the store's
answer to the commit which completes it, to the moment at which the body of the next stage begins, wherever that is. On
DynamoDB Local and a Redis server of its own, with two worker processes of one thread each, made as ``hosts.worker``
makes them. They take turns by themselves: who has completed a stage is still leaving the run when the other one has the
message. Hops from the first stages of a run do not count: their loads are short.

Its *parts* are measured bare, in turn with the runs: the query that loads such a run and the conditional put of a claim
of the same size, by plain boto3, and a message from before XADD until another process has it out of a blocked
XREADGROUP. ``hop_over_parts`` is the median of the rounds: each compares the median hop of a run with the sum of the
medians of the parts after it, so that both had the same machine. ``hop_p50_over_parts_p50`` compares medians of all
rounds: the same, but on a machine whose load changes, where a sum suffers more often than any one of its parts.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, NamedTuple, TypeAlias, cast

import boto3
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from redis import Redis

from bench.deployment import TABLE, dynamodb_local, show
from bench.payloads import Order, Receipt, order, receipt
from hosts.engines.environment import aws_environment
from hosts.engines.redis_server import RedisServer
from hosts.worker.health import Health
from hosts.worker.options import Options
from hosts.worker.worker import Worker
from infra.call_alarm import CallAlarm
from infra.clients import Clients
from infra.dynamodb.table import create_table
from infra.pokes import encode
from infra.polling import Polling, compose
from infra.prometheus import PrometheusMetrics
from infra.settings import Settings
from kernel.core.codec import decode_events
from kernel.core.events import StageCompleted
from kernel.ports import HEAD, LOG, SNAPSHOT, Commit, Guard, Head, Item, Poke, Refusal, RunRef, Store, log_key
from kernel.shell.load import PAGE
from kernel.shell.start import start
from onewrite import Context, Registry, Workflow, stage

WORKERS = 2
STAGES = 40
SHORT = PAGE // 2
"""Hops from so many first stages of a run do not count: a stage makes two commits, and a load reads a page of them."""
ROUNDS, WARM_UP = 24, 3
SAMPLES = 30
"""Of each part, after each run."""
LOOK, PATIENCE = 0.25, 60.0
"""Seconds between two looks whether a run is over, and until it must be."""
PARTS = ("load_query", "claim_put", "redis")
STREAM, GROUP = "bench:messages", "bench"

When: TypeAlias = Mapping[tuple[str, str], Sequence[int]]
"""By run and stage, monotonic nanoseconds, which all processes have in common; several if it happened again."""

_begun: dict[tuple[str, str], list[int]] = {}
_OUT = receipt()


@stage
def first(ctx: Context, placed: Order) -> Receipt:  # noqa: ARG001 - a stage is given its context
    """A step that does nothing but answer."""
    return _OUT


@stage
def step(ctx: Context, before: Receipt) -> Receipt:  # noqa: ARG001 - a stage is given what comes before it
    """A further such step, that notes when it began."""
    now = time.monotonic_ns()
    _begun.setdefault((ctx.run_id, ctx.stage), []).append(now)
    return _OUT


NAMES = ("first", *(f"step{number:04d}" for number in range(1, STAGES)))


def _flow() -> Workflow[Order, Receipt]:
    flow = Workflow("hops", input=Order, chain=False).then(first)
    for name in NAMES[1:]:
        flow = flow.then(step.named(name))
    return flow


FLOW = _flow()
REGISTRY = Registry(FLOW)


# --- from what was noted to figures -----------------------------------------------------------------------------------


class Seen(NamedTuple):
    """When a worker had the answers to the commits that complete stages, and when bodies began there."""

    completed: When
    begun: When


class Hop(NamedTuple):
    """A hop: in milliseconds, and whether it led to another worker."""

    ms: float
    apart: bool


def hops(seen: Sequence[Seen], stages: Sequence[str], run: str) -> list[Hop]:
    """The hops of a run from each of these stages to the next in this order, from what each worker has noted.

    What happened more than once, as it does when a lease runs out, or is not known, makes no hop.
    """
    completed = _once(each.completed for each in seen)
    begun = _once(each.begun for each in seen)
    return [
        Hop((began - ended) / 1e6, there != here)
        for before, after in pairwise(stages)
        if (run, before) in completed and (run, after) in begun
        for (ended, here), (began, there) in [(completed[run, before], begun[run, after])]
    ]


def _once(noted: Iterable[When]) -> dict[tuple[str, str], tuple[int, int]]:
    """When what happened once did, and the worker's number."""
    merged: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for worker, when in enumerate(noted):
        for key, times in when.items():
            merged.setdefault(key, []).extend((at, worker) for at in times)
    return {key: times[0] for key, times in merged.items() if len(times) == 1}


def percentile(samples: Sequence[float], percent: int) -> float:
    """The smallest of the samples that so many percent of them do not exceed."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]


class Round(NamedTuple):
    """The hops of a run, and what the parts took after it, in milliseconds."""

    hops: Sequence[Hop]
    parts: Mapping[str, Sequence[float]]

    @property
    def over(self) -> float:
        """How many times as long as its parts, by medians."""
        return median(hop.ms for hop in self.hops) / sum(map(median, self.parts.values()))


def figures(rounds: Sequence[Round]) -> dict[str, Any]:
    """What the rounds come to."""
    found = [hop for each in rounds for hop in each.hops]
    samples = {"hop": [hop.ms for hop in found]}
    samples |= {part: [ms for each in rounds for ms in each.parts[part]] for part in PARTS}
    p50 = {name: median(each) for name, each in samples.items()}
    p50["parts"] = sum(p50[part] for part in PARTS)
    return {
        "hop_over_parts": round(median(each.over for each in rounds), 3),
        "hop_p50_over_parts_p50": round(p50["hop"] / p50["parts"], 3),
        **{f"{name}_ms_p50": round(value, 3) for name, value in p50.items()},
        **{f"{name}_ms_p99": round(percentile(each, 99), 3) for name, each in samples.items()},
        "hops": len(found),
        "hops_to_another_worker": sum(hop.apart for hop in found),
    }


# --- workers ----------------------------------------------------------------------------------------------------------


class Watched:
    """A store that notes when it has answered commits."""

    def __init__(self, store: Store) -> None:
        """Watch ``store``."""
        self._store = store
        self._answered: list[tuple[str, Commit, int]] = []

    def put(self, ref: RunRef, item: Item, guard: Guard | None = None) -> Refusal | None:
        """Put, and note when that was answered."""
        refusal = self._store.put(ref, item, guard)
        if refusal is None and type(item) is Commit:
            self._answered.append((ref.run, item, time.monotonic_ns()))
        return refusal

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401 - whatever else a store has
        """Everything else is the store's."""
        return getattr(self._store, method)

    def completed(self) -> When:
        """When a commit that completes a stage was answered."""
        found: dict[tuple[str, str], list[int]] = {}
        for run, commit, at in self._answered:
            for event in decode_events(commit.v, commit.events, run):
                if isinstance(event, StageCompleted):
                    found.setdefault((run, event.stage), []).append(at)
        return found


def _compose(settings: Settings, name: str, options: Options) -> Polling:
    return compose(
        settings,
        REGISTRY,
        name=name,
        visibility=options.visibility,
        deliveries=options.deliveries,
        threads=options.concurrency,
        alarm=CallAlarm(),
        metrics=PrometheusMetrics(CollectorRegistry()),
    )


def _work(settings: Settings, number: int, owner: Connection) -> None:
    """Be a worker until the owner says something, and tell what was seen. In a process of its own."""
    options = Options(concurrency=1, tick=False, port=None)
    host = _compose(settings, f"bench-{number}", options)
    store = Watched(host.env.store)
    worker = Worker(
        replace(host.env, store=cast("Store", store)),
        host.consumer,
        options,
        name=f"worker:bench-{number}",
        seconds=settings.job_timeout_seconds,
        health=Health(host.env.clock, f"bench-{number}", options.concurrency),
    )
    worker.start()
    owner.send("ready")
    owner.recv()
    worker.stop(threading.Event())
    host.consumer.close()
    host.close()
    owner.send((store.completed(), _begun))


def _listen(url: str, owner: Connection) -> None:
    """Tell when each message of the bare stream was there, until it is an empty one. In a process of its own."""
    with Redis.from_url(url, protocol=2, socket_timeout=None) as client:
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        owner.send("ready")
        body = b"-"
        while body:
            [[_, [(id_, fields)]]] = cast("Any", client.xreadgroup(GROUP, "bench", {STREAM: ">"}, count=1, block=0))
            owner.send(time.monotonic_ns())
            body = fields[b"m"]
            client.xack(STREAM, GROUP, id_)
            client.xdel(STREAM, id_)


def _process(undo: ExitStack, target: Any, *arguments: object) -> Connection:  # noqa: ANN401 - any function
    """Run a function in a process of its own until ``undo``; gives the connection to it once it is ready."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    undo.callback(ours.close)
    undo.callback(process.join, PATIENCE)
    undo.callback(process.kill)
    _answer(ours)
    return ours


def _answer(process: Connection) -> Any:  # noqa: ANN401 - each process has its own
    """What a process says next."""
    if not process.poll(PATIENCE):
        raise TimeoutError("a process of the bench does not answer")
    return process.recv()


# --- measuring --------------------------------------------------------------------------------------------------------


class Bare:
    """The parts of a hop by themselves."""

    def __init__(self, endpoint: str, redis: Redis, listener: Connection) -> None:
        """Measure on these."""
        self._client: Any = boto3.client("dynamodb", endpoint_url=endpoint)
        self._redis = redis
        self._listener = listener

    def measure(self, like: RunRef, round_: int) -> dict[str, list[float]]:
        """Milliseconds of each part, several times, with items like those of this run, which is over."""
        key = {"PK": {"S": like.partition}, "SK": {"S": log_key(2 * STAGES - 1)}}
        claim = self._client.get_item(TableName=TABLE, Key=key)["Item"]
        body = encode(Poke(like.tenant, like.run, NAMES[-1]))
        found: dict[str, list[float]] = {part: [] for part in PARTS}
        for number in range(SAMPLES):
            times = [time.monotonic_ns()]
            self._query(like)
            times.append(time.monotonic_ns())
            self._put({**claim, "PK": {"S": f"bare#{round_:025d}"}, "SK": {"S": log_key(number)}})
            times.append(time.monotonic_ns())
            times.append(self.message(body))
            for part, (began, ended) in zip(PARTS, pairwise(times), strict=True):
                found[part].append((ended - began) / 1e6)
        return found

    def _query(self, like: RunRef) -> None:
        answer = self._client.query(
            TableName=TABLE,
            KeyConditionExpression="PK = :pk AND SK BETWEEN :low AND :high",
            ExpressionAttributeValues={":pk": {"S": like.partition}, ":low": {"S": LOG}, ":high": {"S": SNAPSHOT}},
            ConsistentRead=True,
            ScanIndexForward=False,
            Limit=PAGE,
        )
        if answer["Count"] != PAGE:
            raise RuntimeError(f"the bare query found {answer['Count']} items, not {PAGE}")

    def _put(self, item: dict[str, Any]) -> None:
        self._client.put_item(TableName=TABLE, Item=item, ConditionExpression="attribute_not_exists(PK)")

    def message(self, body: str) -> int:
        """Send a message; when the other process had it."""
        self._redis.xadd(STREAM, {"m": body})
        at: int = _answer(self._listener)
        return at

    def close(self) -> None:
        """Close the client of DynamoDB."""
        self._client.close()


@contextmanager
def _engines() -> Iterator[tuple[str, Settings]]:
    """DynamoDB Local with the table, and Redis; gives the former's address, and the settings of workers."""
    with dynamodb_local() as endpoint, RedisServer.start() as redis:
        os.environ.update(aws_environment(endpoint))
        with Clients(endpoint=endpoint) as clients:
            create_table(clients.dynamodb, TABLE)
        given = {"WORKFLOWS": "bench.hops:REGISTRY", "TABLE_NAME": TABLE, "TRANSPORT": "redis", "REDIS_URL": redis.url}
        yield endpoint, Settings.from_env(given)


def _run(host: Polling) -> RunRef:
    """Start a run, and wait until the workers are done with it."""
    ref = start(host.env, FLOW, order(), tenant="bench", by="bench").ref
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(LOOK)
        head = host.env.store.get(ref, HEAD)
        if isinstance(head, Head) and head.due is None:
            return ref
    raise TimeoutError(f"run {ref.run} is not over after {PATIENCE:.0f} s")


def measure() -> dict[str, Any]:
    """Measure, runs and parts taking turns."""
    with _engines() as (endpoint, settings), ExitStack() as undo:
        url = str(settings.redis_url)
        host = _compose(settings, "bench", Options())
        undo.callback(host.close)
        redis = undo.enter_context(Redis.from_url(url, protocol=2))
        bare = Bare(endpoint, redis, _process(undo, _listen, url))
        undo.callback(bare.close)
        workers = [_process(undo, _work, settings, number) for number in range(WORKERS)]
        rounds: list[tuple[str, dict[str, list[float]]]] = []
        for number in range(WARM_UP + ROUNDS):
            ref = _run(host)
            rounds.append((ref.run, bare.measure(ref, number)))
        bare.message("")
        for worker in workers:
            worker.send("stop")
        seen = [Seen(*_answer(worker)) for worker in workers]
    return figures([Round(hops(seen, NAMES[SHORT:], run), parts) for run, parts in rounds[WARM_UP:]])


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    show(measure(), as_json=parser.parse_args().json)


if __name__ == "__main__":
    main()
