"""A function: a few instances, each a process that gets one event at a time, as in Lambda."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from hosts.local.metering import Ledger
from kernel.errors import OnewriteError

ROOT = Path(__file__).parents[2]
"""Where the packages are, for processes that are started from somewhere else."""
START_SECONDS = 60.0
"""How long an instance may take to start, on a machine that has a lot to do."""


class InvocationFailed(OnewriteError):
    """A function raised an error, ran out of time, or its process died. The message says which."""


class ProcessDied(InvocationFailed):
    """The process that had the event ended before it answered.

    Attributes:
        pid: which process.
    """

    def __init__(self, message: str, pid: int) -> None:
        self.pid = pid
        super().__init__(message)


class TimedOut(InvocationFailed):
    """A function ran out of time, and its process was killed."""


class Invocable(Protocol):
    """What can be given an event: a function here, or a handler called directly in a test."""

    def invoke(self, event: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Hand over an event and wait for the answer.

        Raises:
            InvocationFailed: there is none.
        """
        ...


class _Instance:
    """One process."""

    def __init__(self, name: str, variables: Mapping[str, str], log: IO[bytes], ledger: Ledger | None) -> None:
        self._name = name
        self._ledger = ledger
        self._said: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        command = [sys.executable, "-m", "hosts.local.worker", name, *(["--meter"] if ledger else [])]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=dict(variables),
            text=True,
            # Of its own, so that Ctrl-C reaches the host only, which then ends everything in order.
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name=f"{name}-{self.pid}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was opened with a pipe
        with self._process.stdout as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                except json.JSONDecodeError:
                    break  # cut off in the middle of a line: it was killed
                if message["kind"] == "usage" and self._ledger is not None:
                    self._ledger.told(self._name, self.pid, message["tenant"], message["run"], message["usage"])
                else:
                    self._said.put(message)
        self._said.put(None)

    def _hear(self, seconds: float) -> dict[str, Any]:
        try:
            message = self._said.get(timeout=seconds)
        except queue.Empty:
            self.kill()
            self._process.wait()  # or somebody might take it for alive
            raise TimedOut(f"{self._name}: not done after {seconds:g} s, killed") from None
        if message is None:
            status = self._process.wait()
            how = signal.Signals(-status).name if status < 0 else f"status {status}"
            raise ProcessDied(f"{self._name}: its process {self.pid} ended with {how}", self.pid)
        if message["kind"] in ("broken", "error"):
            raise InvocationFailed(f"{self._name}: {message['error']}")
        return message

    def wait_until_ready(self) -> None:
        """Wait until it has started."""
        self._hear(START_SECONDS)

    def invoke(self, event: dict[str, Any], seconds: float) -> Any:  # noqa: ANN401 - JSON
        """Hand over an event and wait for the answer."""
        request = {"id": str(uuid.uuid4()), "seconds": seconds, "event": event}
        assert self._process.stdin is not None  # noqa: S101 - it was opened with a pipe
        # It has died, or is being stopped: what it said last tells how.
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._hear(seconds)["answer"]

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        self._process.kill()

    def stop(self, seconds: float) -> None:
        """Close its input, which ends it; kill it if it does not end."""
        assert self._process.stdin is not None  # noqa: S101 - it was opened with a pipe
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1.0)


class Function:
    """A function with instances that are started when they are needed, up to a limit.

    Args:
        name: ``intake``, ``job`` or ``tick``.
        variables: its environment.
        seconds: how long an invocation may take before its process is killed.
        limit: how many instances there may be; more events wait.
        log: file that its instances' output goes to.
        ledger: is told what runs have used; None for no metering.
    """

    def __init__(
        self,
        name: str,
        variables: Mapping[str, str],
        *,
        seconds: float,
        limit: int,
        log: Path,
        ledger: Ledger | None = None,
    ) -> None:
        self.name = name
        self.seconds = seconds
        self._variables = dict(variables) | {
            "AWS_LAMBDA_FUNCTION_NAME": f"onewrite-local-{name}",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        }
        self._log = log.open("ab")
        self._ledger = ledger
        self._slots = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[_Instance] = []
        self._busy: set[_Instance] = set()
        self._all: set[_Instance] = set()
        self._stopped = False

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that are running."""
        with self._lock:
            return [instance.pid for instance in self._all if instance.alive]

    @property
    def busy(self) -> list[int]:
        """Ids of those that have an event in hand."""
        with self._lock:
            return [instance.pid for instance in self._busy if instance.alive]

    def warm(self, count: int) -> None:
        """Start some instances in advance, side by side.

        Raises:
            InvocationFailed: one does not start; the message says why.
        """
        instances = [self._start() for _ in range(count)]
        for instance in instances:
            self._await(instance)
            with self._lock:
                self._idle.append(instance)

    def invoke(self, event: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Hand an event to an idle instance, a new one if there is none, and wait for the answer.

        Raises:
            InvocationFailed: it raised, ran out of time, or died.
        """
        with self._slots:
            instance = self._take()
            try:
                return instance.invoke(event, self.seconds)
            finally:
                self._give_back(instance)

    def kill(self, pid: int) -> bool:
        """Kill one of the instances as the system would, with SIGKILL; False if it is none of them."""
        with self._lock:
            found = next((each for each in self._all if each.pid == pid and each.alive), None)
            if found is None:
                return False
            found.kill()
            return True

    def stop(self, seconds: float = 3.0) -> None:
        """End all instances; those that do not end by themselves in this time are killed."""
        with self._lock:
            self._stopped = True
            instances = list(self._all)
        end = time.monotonic() + seconds
        for instance in instances:
            instance.stop(end - time.monotonic())
        self._log.close()

    def _take(self) -> _Instance:
        with self._lock:
            while self._idle:
                instance = self._idle.pop()
                if instance.alive:
                    self._busy.add(instance)
                    return instance
                self._discard(instance)
        instance = self._start()
        self._await(instance)
        with self._lock:
            self._busy.add(instance)
        return instance

    def _start(self) -> _Instance:
        with self._lock:
            if self._stopped:
                raise InvocationFailed(f"{self.name}: the host is stopping")
            instance = _Instance(self.name, self._variables, self._log, self._ledger)
            self._all.add(instance)
            return instance

    def _await(self, instance: _Instance) -> None:
        try:
            instance.wait_until_ready()
        except InvocationFailed:
            with self._lock:
                self._discard(instance)
            raise

    def _give_back(self, instance: _Instance) -> None:
        with self._lock:
            self._busy.discard(instance)
            if instance.alive:
                self._idle.append(instance)
            else:
                self._discard(instance)

    def _discard(self, instance: _Instance) -> None:
        self._all.discard(instance)
        instance.stop(1.0)
