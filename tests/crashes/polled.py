"""The same deployment with its pokes in streams: no function is given them, but workers that poll, as containers do.

Streams are those of ``kernel.testing``, which are held to the suite of the real ones; a worker is that of
``hosts.worker`` without its threads: whoever plays lets it come round once, as one of its slots would.
"""

from __future__ import annotations

import threading
from typing import Any

from hosts.worker.health import Health
from hosts.worker.options import Options
from hosts.worker.pauses import Pauses
from hosts.worker.worker import Worker
from kernel.ports import Store
from kernel.shell.environment import Limits
from kernel.testing.faults import Crash
from kernel.testing.memory import MemoryQueue
from kernel.testing.transport import MemoryConsumer
from tests.crashes.deployment import Deployment, check_pokes
from tests.shell.script import Flow


class Polled(Deployment):
    """Intake and tick as before; and one worker process at a time, with one slot.

    Attributes:
        stopped: how each process that was told to stop has ended: stages and messages that it gave back.
    """

    def __init__(self, *flows: Flow, limits: Limits, visibility: int = 60_000, prefetch: int = 1) -> None:
        """Deploy workflows; messages are hidden for so many milliseconds, and taken so many at a time."""
        self._options = Options(prefetch=prefetch, concurrency=1, drain=0.0, visibility=visibility / 1000)
        super().__init__(*flows, limits=limits, visibility=visibility)
        self._env = self._faults.over(self.plain)

    def _new_queue(self) -> Any:
        """Streams, of which nobody has taken anything: there is no process."""
        queue = _Streams(self.clock.now)
        queue.store = self.store
        self._process: Worker | None = None
        self._named = self._again = 0
        self.stopped: list[tuple[int, int]] = []
        return queue

    def _next(self) -> int:
        arrives = self.queue.next_at
        return self._next_tick if arrives is None else min(max(arrives, self._again), self._next_tick)

    def _do_job(self) -> None:
        """A slot comes round once."""
        worker = self._process = self._process or self._started()
        self.fate.reached.clear()
        self.fate.missed.clear()
        caller, self.fate.process = self.fate.process, worker.name.replace("worker:", "work-")
        try:
            pause = worker.once(0, Pauses(self.plain.random))
            self._again = self.clock.now() + int(pause * 1000)
        except Crash:
            if self._process is worker:
                self._process = None
            self.fate.dying = False
        finally:
            self.fate.process = caller
            self.ended()

    def _started(self) -> Worker:
        """A process, with a name and a consumer of its own. That it stops receiving is no call that can fail."""
        self._named += 1
        name = f"worker:{self._named}"
        own = MemoryConsumer(self.queue, self.clock, self._options.visibility)
        consumer: Any = self._faults.wrap("consumer", own)
        consumer.close = own.close
        health = Health(self.clock, name, self._options.concurrency)
        return Worker(self._env, consumer, self._options, name=name, seconds=300.0, health=health)

    def drain(self) -> None:
        """Tell the worker to stop, whose time for that is over at once; from now on there is another one."""
        worker, self._process = self._process, None
        assert worker is not None
        done = worker.stop(threading.Event())
        self.stopped.append((done.handed_back, done.given_back))


class _Streams(MemoryQueue):
    """Looks at what is sent."""

    store: Store

    def send(self, pokes: Any) -> None:
        check_pokes(self.store, pokes)
        super().send(pokes)
