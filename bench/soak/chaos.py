"""What goes wrong in the soak: processes killed at random times, messages lost, doubled and shuffled on their way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

from msgspec import Struct

from bench.soak.effects import is_in_body
from hosts.local.functions import Invocable, ProcessDied

Json = dict[str, Any]
Send = Callable[[str, int], None]
"""Puts a message's body into the queue, to arrive after so many seconds."""


class Rates(Struct, frozen=True, kw_only=True):
    """How much goes wrong.

    Attributes:
        kill_every: seconds between two kills, on the average; telling a worker to stop counts as one.
        lost, doubled: the share of messages, where something carries them that can be made to.
        restart_every: seconds between two times that Redis is killed and started again, on the average.
        away: seconds for which it stays away now and then.
        flush_at: seconds after which everything in it is deleted; None: never.
    """

    kill_every: float = 2.7
    lost: float = 0.04
    doubled: float = 0.10
    restart_every: float = 33.0
    away: float = 10.0
    flush_at: float | None = None


class Kill(Struct):
    """A process that was killed, or told to stop.

    Attributes:
        function: what it was an instance of: job, tick, intake, or worker.
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


class Killable(Protocol):
    """Processes that can be killed: a ``Function``'s, or workers."""

    @property
    def name(self) -> str:
        """What they are instances of."""
        ...

    @property
    def pids(self) -> list[int]:
        """Ids of those that run."""
        ...

    @property
    def busy(self) -> list[int]:
        """Ids of those that may have something in hand."""
        ...

    def kill(self, pid: int) -> bool:
        """Kill one with SIGKILL; False if it is none of them."""
        ...


class Target(Struct, frozen=True):
    """Something to kill.

    Attributes:
        victims: one of these.
        weight: how often, compared with other targets.
        in_body: the share of times that it is hit in the middle of a stage's body.
        ask: tells one to stop, instead of killing it; False if it is none, or was told before.
    """

    victims: Killable
    weight: int
    in_body: float = 0.0
    ask: Callable[[int], bool] | None = None


class Killer:
    """Kills processes at random times, most of them in the middle of something; tells others to stop.

    Attributes:
        kills: those that it did.
        stops: processes that it told to stop.
    """

    def __init__(self, random: Random, rates: Rates, targets: Sequence[Target], effects: Path) -> None:
        self.kills: list[Kill] = []
        self.stops: list[Kill] = []
        self._random = random
        self._every = rates.kill_every
        self._targets = targets
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
            self.once()
            # Evenly spread on the whole, so that minutes tell how many there will be; the time it took counts.
            pause = max(0.05, self._random.uniform(0.3, 1.7) * self._every - (time.monotonic() - began))

    def once(self) -> None:
        """Kill one process, or tell it to stop."""
        target = self._random.choices(self._targets, [each.weight for each in self._targets])[0]
        victims = target.victims
        pid = self._found(victims, in_body=self._random.random() < target.in_body)
        if pid is None:
            return
        kill = Kill(victims.name, pid, time.time_ns() // 1_000_000, pid in victims.busy)
        if target.ask is not None:
            if target.ask(pid):
                self.stops.append(kill)
        elif victims.kill(pid):
            self.kills.append(kill)

    def _found(self, victims: Killable, *, in_body: bool, seconds: float = 2.0) -> int | None:
        """Wait for a process that is at work, and then a moment; any process when none is for long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._stopped.is_set():
            pids = [pid for pid in victims.busy if not in_body or is_in_body(self._effects, pid)]
            if pids:
                time.sleep(self._random.uniform(0, 0.004 if in_body else 0.05))
                return self._random.choice(pids)
            time.sleep(0.002)
        return self._random.choice(victims.pids or [0]) or None
