"""What the threads of a race for runs do: attend the same runs at once, and tick, by a real clock."""

from __future__ import annotations

import time
from contextlib import suppress
from random import Random

from msgspec import Struct

from bench.soak.workflows import registry
from infra.alarm import SignalAlarm
from infra.dynamodb.store import DynamoDbStore
from infra.system import SystemClock, SystemRandom
from kernel.errors import Unavailable
from kernel.ports import HEAD, Guard, Head, Item, Poke, Refusal, RunRef, Store
from kernel.shell.attend import attend
from kernel.shell.environment import Environment, Limits, NoSink
from kernel.shell.tick import tick
from kernel.testing.memory import MemoryBlobs, MemoryQueue
from tests.contention.crew import TABLE, THREADS, Here

LIMITS = Limits(lease_grace=1_000, look_grace=2_000, max_skew=100, tick=1_000, data=380_000)
"""Short, so that what is left to a tick takes seconds; and no value goes past the table, which all of them share."""
TICK_EVERY = 0.5


class Runs(Struct, frozen=True):
    """A race for runs.

    Attributes:
        refs: which.
        seconds: for how long at most.
    """

    refs: tuple[RunRef, ...]
    seconds: float


class Done(Struct):
    """What a thread did: looks at runs, how often somebody else's commit had taken the number, and how many ticks."""

    looks: int = 0
    conflicts: int = 0
    ticks: int = 0


class Counting(DynamoDbStore):
    """The store; counts how often a commit's number was taken, for one thread."""

    conflicts = 0

    def put(self, ref: RunRef, item: Item, guard: Guard | None = None) -> Refusal | None:
        refusal = super().put(ref, item, guard)
        self.conflicts += refusal is not None and guard is Guard.COMMIT_IS_NEXT
        return refusal


_queue = MemoryQueue(SystemClock().now)
"""Of this process, shared by its threads."""


def environment(store: Store) -> Environment:
    """The real kernel on a real store, by a real clock; messages stay within the process."""
    return Environment(
        store=store,
        queue=_queue,
        blobs=MemoryBlobs(),
        sink=NoSink(),
        clock=SystemClock(),
        random=SystemRandom(),
        alarm=SignalAlarm(),
        definitions=registry,
        limits=LIMITS,
    )


def attend_all(here: Here, number: int, runs: Runs) -> Done:
    """Attend these runs until they are over; one thread of each process ticks as well."""
    store = Counting(here.client, TABLE)
    env = environment(store)
    random = Random(number)
    done = Done()
    end = time.monotonic() + runs.seconds
    ticked = time.monotonic()
    waiting = list(runs.refs)
    while waiting and time.monotonic() < end:
        if number % THREADS == 0 and time.monotonic() >= ticked + TICK_EVERY:
            ticked = time.monotonic()
            tick(env, end)
            done.ticks += 1
        ref = random.choice(waiting)
        if _over(env, ref):
            waiting.remove(ref)
            continue
        with suppress(Unavailable):  # too busy just now: it comes again
            attend(env, _queue.receive() or Poke(ref.tenant, ref.run), time.monotonic() + 30)
            done.looks += 1
    done.conflicts = store.conflicts
    return done


def _over(env: Environment, ref: RunRef) -> bool:
    head = env.store.get(ref, HEAD)
    return isinstance(head, Head) and head.due is None
