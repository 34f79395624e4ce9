"""What goes wrong in the soak: processes killed at random times, messages lost, doubled and shuffled on their way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct

from bench.soak.effects import is_in_body
from hosts.local.functions import Function, Invocable, ProcessDied

Json = dict[str, Any]
Send = Callable[[str, int], None]
"""Puts a message's body into the queue, to arrive after so many seconds."""


class Rates(Struct, frozen=True, kw_only=True):
    """How much goes wrong.

    Attributes:
        kill_every: seconds between two kills, on the average.
        lost, doubled: the share of messages.
    """

    kill_every: float = 2.7
    lost: float = 0.04
    doubled: float = 0.10


class Kill(Struct):
    """A process that was killed.

    Attributes:
        function: what it was an instance of.
        pid: which.
        at: when, in milliseconds.
        busy: it had an event in hand.
        holding: ids of the runs whose messages it had in hand.
    """

    function: str
    pid: int
    at: int
    busy: bool
    holding: tuple[str, ...] = ()


class Carrier:
    """Stands between the queue and its function, and is no good at it. An ``Invocable``.

    Attributes:
        messages: how many came by.
        lost, doubled: how many of them it lost, and how many it delivered twice.
        held: ids of the runs of the messages that a process had in hand when it died, by its id.
    """

    def __init__(self, random: Random, rates: Rates, send: Send) -> None:
        self._random = random
        self._rates = rates
        self._send = send
        self._function: Invocable | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.messages = self.lost = self.doubled = 0
        self.held: dict[int, tuple[str, ...]] = {}

    def between(self, function: Invocable) -> Invocable:
        """Carry to this function."""
        self._function = function
        return self

    def stop(self) -> None:
        """Deliver everything from now on, once."""
        self._stopped.set()

    def invoke(self, event: Json) -> Any:  # noqa: ANN401 - whatever the function answers
        """Carry a batch, or what is left of it."""
        assert self._function is not None  # noqa: S101 - it is set where the host is put together
        records = event["Records"] if self._stopped.is_set() else self._meddled(event["Records"])
        if not records:
            return {}  # as if all had been attended, so that the queue forgets them
        try:
            return self._function.invoke({"Records": records})
        except ProcessDied as death:
            self.held[death.pid] = tuple({json.loads(record["body"])["run"] for record in records})
            raise

    def _meddled(self, records: Sequence[Json]) -> list[Json]:
        """What is left of a batch: some lost, some twice at once, some to come once more later, in any order."""
        carried: list[Json] = []
        again: list[tuple[str, int]] = []
        with self._lock:
            self.messages += len(records)
            for record in records:
                fate = self._random.random()
                if fate < self._rates.lost:
                    self.lost += 1
                    continue
                carried.append(record)
                if fate < self._rates.lost + self._rates.doubled:
                    self.doubled += 1
                    if self._random.random() < 0.3:
                        carried.append(record)
                    else:
                        again.append((record["body"], self._random.choice((0, 0, 1, 2))))
            self._random.shuffle(carried)
        for body, delay in again:
            self._send(body, delay)
        return carried


class Killer:
    """Kills instances of functions at random times, most of them in the middle of something.

    Attributes:
        kills: those that it did.
    """

    def __init__(self, random: Random, rates: Rates, functions: Sequence[Function], effects: Path) -> None:
        self.kills: list[Kill] = []
        self._random = random
        self._every = rates.kill_every
        self._job, self._tick, self._intake = functions
        self._effects = effects
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Kill no more."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        pause = self._every
        while not self._stopped.wait(pause):
            began = time.monotonic()
            self._once()
            # Evenly spread on the whole, so that minutes tell how many there will be; the time it took counts.
            pause = max(0.05, self._random.uniform(0.3, 1.7) * self._every - (time.monotonic() - began))

    def _once(self) -> None:
        """Kill one process: mostly a worker, every other time in the middle of a stage's body."""
        function = self._random.choices((self._job, self._tick, self._intake), (76, 16, 8))[0]
        in_body = function is self._job and self._random.random() < 0.6
        pid = self._found(function, in_body=in_body)
        if pid is None:
            return
        busy = pid in function.busy
        at = time.time_ns() // 1_000_000
        if function.kill(pid):
            self.kills.append(Kill(function.name, pid, at, busy))

    def _found(self, function: Function, *, in_body: bool, seconds: float = 2.0) -> int | None:
        """Wait for a process that is at work, and then a moment; any process when none is for long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._stopped.is_set():
            pids = [pid for pid in function.busy if not in_body or is_in_body(self._effects, pid)]
            if pids:
                time.sleep(self._random.uniform(0, 0.004 if in_body else 0.05))
                return self._random.choice(pids)
            time.sleep(0.002)
        return self._random.choice(function.pids or [0]) or None
