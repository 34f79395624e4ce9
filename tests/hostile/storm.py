"""The storm: Schemathesis, as its command line runs it, against the API at an address; and a host in memory for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from handlers import intake, job
from hosts.local.gateway import Gateway
from infra.pokes import encode
from kernel.ports import RunRef
from kernel.testing.play import Play
from tests.handlers.aws import Context, queue_record
from tests.handlers.shop import settings
from tests.hostile.deployed import registry
from tests.hostile.hooks import LOG, TENANTS, URL, bearer
from tests.hostile.shapes import as_lambda_gives

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")
USERS = "STORM_USERS"
"""Environment variable of ``schemathesis.toml``: the file that says who calls."""


class Answer(Struct, frozen=True):
    """What came back for one request.

    Attributes:
        method, path: of the operation, as the document writes it.
        status: of the response.
        tenant, run: the run that it started, or had started before, and whose; else empty.
    """

    method: str
    path: str
    status: int
    tenant: str
    run: str


def storm(url: str, folder: Path, *, examples: int) -> list[Answer]:
    """Let Schemathesis storm the API; fails with its report if it finds anything.

    Args:
        url: where the API is.
        folder: for files.
        examples: how many requests each operation gets in each of the random phases, and how many scenarios there are.
    """
    users = [{"name": name, "fixedHeaders": [{"name": "Authorization", "value": bearer(name)}]} for name in TENANTS]
    (folder / "users.json").write_text(json.dumps({"auth": users}))
    command = ["-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{url}/openapi.json"]
    done = subprocess.run(
        [sys.executable, *command, "--max-examples", str(examples)],
        cwd=folder,  # it may leave files
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "120",
            URL: url,
            LOG: str(folder / "answers"),
            USERS: str(folder / "users.json"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [msgspec.json.decode(line, type=Answer) for line in (folder / "answers").read_bytes().splitlines()]


class MemoryHost:
    """The intake over a deployment in memory, behind the local host's gateway.

    Workers take what is in the queue after every third request only, so that requests meet runs in all their states.

    Attributes:
        play: the deployment.
        url: where the API is.
    """

    def __init__(self, gateway_url: str, play: Play) -> None:
        self.play = play
        self.url = gateway_url


class _Intake:
    """The function behind the gateway. One request at a time, so that a storm repeats itself."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self._intake = intake.make_handler(play.env, registry, settings(default_tenant=None))
        self._job = job.make_handler(play.env)
        self._lock = threading.Lock()
        self._count = 0

    def invoke(self, event: dict[str, Any]) -> Any:
        with self._lock:
            answer = as_lambda_gives(self._intake(as_lambda_gives(event), Context()))
            self._play.clock.move(5)
            self._count += 1
            while self._count % 3 == 0 and (poke := self._play.queue.receive()) is not None:
                returned = self._job({"Records": [queue_record(encode(poke), "m")]}, Context(300))
                assert returned == {"batchItemFailures": []}
            return answer


@contextmanager
def memory_host(*, rest: bool) -> Iterator[MemoryHost]:
    """A host in memory, serving."""
    play = Play(registry=registry)
    gateway = Gateway(_Intake(play), rest=rest)
    gateway.start()
    try:
        yield MemoryHost(gateway.url, play)
    finally:
        gateway.stop()


def accepted(answers: list[Answer]) -> set[RunRef]:
    """The runs that were accepted."""
    return {RunRef(each.tenant, each.run) for each in answers if each.run}
