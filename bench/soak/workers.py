"""Worker processes, ``python -m hosts.worker``: each that ends, killed or stopped, has another in its place at once.

Their standard input is held open, whose end is for them a signal to stop: so they end when this process dies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from hosts.local.functions import ROOT, InvocationFailed

LOOK_EVERY = 0.02
"""Seconds between two looks whether one has ended."""
STOPS_IN = 40.0
"""Seconds within which a worker must end that was told to stop: its drain, handing back, and a machine that is busy."""
STARTS_IN = 60.0
"""Seconds that starting them may take, on a machine that has a lot to do."""
RUNS, STOPPED = "worker runs", "worker has stopped"
ROLE, TAKEN, NO_LONGER = ("role ", "lock "), " taken,", (" given up", " is lost")
OUTSIDE = "kernel.errors.Unavailable: "
"""What workers tell; how what they tell of the role begins, and what is in it; and how an error of others begins."""


class Told(Struct):
    """What a worker told in its log.

    Attributes:
        name: its own.
        runs: it takes messages, or did.
        leads: it had the role of the tick last.
        stopped: what it said when it had stopped: seconds, handed_back, given_back, clean.
        errors: what it called an error before it had stopped, in words, but for what did not answer in time. What its
            threads say after that, when it has closed its connections, is lost with them.
    """

    name: str = ""
    runs: bool = False
    leads: bool = False
    stopped: dict[str, Any] | None = None
    errors: list[str] = field(default_factory=list)


class Worker(Struct):
    """A process.

    Attributes:
        pid: its id.
        process: itself.
        log: file that it tells in.
        told_at: when it was told to stop, in monotonic seconds; None if it was not.
        killed: it was killed.
        status: with which it ended; None if it has not.
    """

    pid: int
    process: subprocess.Popen[bytes]
    log: Path
    told_at: float | None = None
    killed: bool = False
    status: int | None = None

    def told(self) -> Told:
        """What it told so far."""
        with self.log.open(errors="replace") as lines:
            return told(lines)


class Workers:
    """Some of them, always as many.

    Args:
        count: how many.
        command: what to run.
        variables: their environment.
        folder: where their logs go.
        held_by: tells the runs whose messages a process had in hand when it died.

    Attributes:
        name: what they are called in figures.
        all: every process that there was.
        held: the runs whose messages a process had in hand when it was killed, by its id.
        wrong: what must not be, in words.
    """

    name = "worker"

    def __init__(
        self,
        count: int,
        command: Sequence[str],
        variables: Mapping[str, str],
        folder: Path,
        held_by: Callable[[int], tuple[str, ...]],
    ) -> None:
        self.all: list[Worker] = []
        self.held: dict[int, tuple[str, ...]] = {}
        self.wrong: list[str] = []
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        self._count = count
        self._command = list(command)
        self._variables = {**variables, "PYTHONPATH": path}
        self._folder = folder
        self._held_by = held_by
        self._lock = threading.Lock()
        self._running: list[Worker] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workers", daemon=True)

    @property
    def pids(self) -> list[int]:
        """Ids of those that run."""
        with self._lock:
            return [each.pid for each in self._running if each.process.poll() is None]

    @property
    def busy(self) -> list[int]:
        """Ids of those that may have something in hand: all of them, for others do not see it."""
        return self.pids

    def start(self) -> None:
        """Start them, and wait until all of them take messages.

        Raises:
            InvocationFailed: one does not.
        """
        self._running = [self._started() for _ in range(self._count)]
        end = time.monotonic() + STARTS_IN
        for each in self._running:
            while not each.told().runs:
                if each.process.poll() is not None or time.monotonic() > end:
                    last = each.log.read_text(errors="replace")[-2_000:]
                    raise InvocationFailed(f"a worker does not start. Its last words:\n{last}")
                time.sleep(LOOK_EVERY)
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """End all of them; those that do not end by themselves in this time are killed. Twice is no error."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        for each in self._running:
            _close(each.process)
        end = time.monotonic() + seconds
        for each in self._running:
            try:
                each.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                each.process.kill()
                each.process.wait()
        self._running = []

    def kill(self, pid: int) -> bool:
        """Kill one with SIGKILL, and note what it had in hand; False if it is none of them."""
        with self._lock:
            found = self._found(pid)
            if found is None:
                return False
            found.killed = True
            found.process.kill()
        # Nobody else can have it yet: it is hidden for longer than this takes.
        self.held[pid] = self._held_by(pid)
        return True

    def ask(self, pid: int) -> bool:
        """Tell one to stop, with SIGTERM, as a rolling deployment does; False if it is none, or was told already."""
        with self._lock:
            found = self._found(pid)
            if found is None or found.told_at is not None:
                return False
            found.told_at = time.monotonic()
            found.process.send_signal(signal.SIGTERM)
            return True

    def _found(self, pid: int) -> Worker | None:
        return next((each for each in self._running if each.pid == pid and each.process.poll() is None), None)

    def _started(self) -> Worker:
        path = self._folder / f"worker-{len(self.all) + 1:04}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                self._command,
                env=self._variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the soak only, which then ends everything in order
            )
        worker = Worker(process.pid, process, path)
        self.all.append(worker)
        return worker

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_EVERY):
            with self._lock:
                self._running = [self._looked_after(each) for each in self._running]

    def _looked_after(self, worker: Worker) -> Worker:
        """The same if it runs, else another one in its place."""
        worker.status = worker.process.poll()
        if worker.status is None:
            late = worker.told_at is not None and time.monotonic() - worker.told_at > STOPS_IN
            if late and not worker.killed:
                self.wrong.append(f"worker {worker.pid} was told to stop, and had not {STOPS_IN:g} s later")
                worker.killed = True
                worker.process.kill()
            return worker
        _close(worker.process)
        # One that is told before it can listen ends as the system has it.
        expected = worker.killed or (worker.told_at is not None and worker.status in (0, -signal.SIGTERM))
        if not expected:
            self.wrong.append(
                f"worker {worker.pid} ended by itself, with status {worker.status}: see {worker.log.name}"
            )
        return self._started()


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def told(lines: Iterable[str]) -> Told:
    """What the lines of a worker's log come to; those that are cut off, or none of its own, do not count."""
    found = Told()
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if not isinstance(record, dict):
            continue
        message = str(record.get("message", ""))
        found.name = found.name or str(record.get("worker", ""))
        if message == RUNS:
            found.runs = True
        elif message == STOPPED:
            found.stopped = record
        elif message.startswith(ROLE):
            found.leads = TAKEN in message or (found.leads and not any(each in message for each in NO_LONGER))
        if record.get("level") in ("ERROR", "CRITICAL") and found.stopped is None:
            last = str(record.get("exception", "")).strip().rpartition("\n")[2]
            if not last.startswith(OUTSIDE):
                found.errors.append(": ".join(filter(None, (message, last))))
    return found
