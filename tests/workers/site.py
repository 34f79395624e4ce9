"""Where worker processes run in tests: a table on DynamoDB Local, a Redis, and the processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from hosts.engines import aws_environment
from hosts.engines.redis_server import RedisServer
from infra.clients import Clients
from infra.compose import worker as compose_worker
from infra.dynamodb.table import create_table
from kernel.core.events import AnyEvent
from kernel.ports import RunRef
from kernel.shell.environment import Environment
from kernel.shell.load import commits_after, events_of
from kernel.shell.read import show
from kernel.shell.start import start
from kernel.testing.conformance.examples import fresh_token
from tests.workers.flows import Nap, registry

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 120.0
"""Seconds after which something that ought to happen has not."""


class Process:
    """A worker, or a supervisor of several.

    Attributes:
        url: where its health is, if it serves that.
    """

    def __init__(self, environ: Mapping[str, str], log: Path, *flags: str) -> None:
        self.log = log
        self._file = log.open("ab")
        command = [sys.executable, "-m", "hosts.worker", "--host", "127.0.0.1", "--port", "0", *flags]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=dict(environ), stdin=subprocess.DEVNULL, stdout=self._file, stderr=self._file
        )

    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def said(self, message: str) -> dict[str, Any] | None:
        """The last line with this message."""
        return next((line for line in reversed(self.lines()) if line["message"] == message), None)

    def get(self, path: str) -> tuple[int, str]:
        """What it answers: status and body; 0 while it does not."""
        where = self.said("health and metrics")
        if where is None:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{where['port']}/{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_until_ready(self) -> Self:
        """It takes messages."""
        until(lambda: self.get("ready")[0] == 200, self.log.read_text)
        return self

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, seconds: float = PATIENCE) -> int:
        """Its exit status."""
        return self.process.wait(seconds)

    def stop(self) -> None:
        """End it, however it is."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._file.close()


class Site:
    """A deployment over Redis for one test, and its worker processes."""

    def __init__(self, dynamodb: Clients, redis: RedisServer, folder: Path, **settings: str) -> None:
        table = f"workers-{fresh_token()}"
        create_table(dynamodb.dynamodb, table)
        self.redis = redis
        self.folder = folder
        self.environ = {
            **os.environ,
            **aws_environment(str(dynamodb.dynamodb.meta.endpoint_url)),
            "WORKFLOWS": "tests.workers.flows:registry",
            "TABLE_NAME": table,
            "TRANSPORT": "redis",
            "REDIS_URL": redis.url,
            "REDIS_PREFIX": table,
            "TICK_SECONDS": "1",
            "LOOK_GRACE_SECONDS": "2",
            **settings,
        }
        self.processes: list[Process] = []
        self._undo = contextlib.ExitStack()

    @contextlib.contextmanager
    def open(self) -> Iterator[Self]:
        """Leave no process behind."""
        before = dict(os.environ)
        os.environ.update(self.environ)
        try:
            self.env: Environment = compose_worker(self.environ)
            yield self
        finally:
            os.environ.clear()
            os.environ.update(before)
            for process in self.processes:
                process.stop()

    def worker(self, *flags: str, **settings: str) -> Process:
        """Start a worker."""
        log = self.folder / f"worker-{len(self.processes)}.log"
        process = Process({**self.environ, **settings}, log, *flags)
        self.processes.append(process)
        return process

    def begin(self, workflow: str, **nap: Any) -> RunRef:
        """Start a run."""
        flow = next(each for each in registry if each.id == workflow)
        return start(self.env, flow, Nap(**nap), tenant="acme", by="test").ref

    def status(self, ref: RunRef) -> str:
        """How a run is."""
        return show(self.env, ref).status

    def events(self, ref: RunRef) -> list[tuple[int, str, AnyEvent]]:
        """Its events, each with when and by whom."""
        return [
            (commit.at, commit.by, event)
            for commit in commits_after(self.env.store, ref, 0)
            for event in events_of(ref, commit)
        ]


def until(what: Callable[[], object], why: Callable[[], object] = lambda: "", seconds: float = PATIENCE) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise AssertionError(f"it did not happen in time: {why()}")
        time.sleep(0.05)


class Silence:
    """A server that accepts every connection and never says anything. A context manager.

    Attributes:
        port: where.
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._server.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
