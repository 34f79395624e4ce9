"""LocalStack as a process that ends with its owner, with DynamoDB Local behind it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from hosts.engines.dynamodb_local import DynamoDbLocal
from hosts.engines.environment import EngineMissing, aws_environment
from hosts.engines.lambda_runtime import runtime_folder

ENGINE_VERSION = "4.14.0"  # what requirements/localstack.txt locks
ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / ".venv-localstack"
HOST = Path(__file__).with_name("host.py")
ACCOUNT = "000000000000"
"""The account that LocalStack takes made-up credentials for."""
SERVICES = (
    "apigateway",
    "cloudformation",
    "cloudwatch",
    "dynamodb",
    "events",
    "iam",
    "kms",
    "lambda",
    "logs",
    "s3",
    "sqs",
    "sts",
)
"""What template.yaml has resources of, and what these need of each other."""
REMOVAL = 30.0
"""Seconds that removing what it kept may take."""
TAIL = 4000
"""Characters of the log that an error shows."""


class LocalStack:
    """A running LocalStack, with nothing in it, on a loopback port of its own.

    Example::

        with LocalStack.start() as engine:
            boto3.client("sqs", endpoint_url=engine.endpoint_url)

    Attributes:
        endpoint_url: where it answers, for every service.
        pid: process id.
        table: the DynamoDB Local behind it.
        folder: all that it keeps, its log and those of the functions included; removed when it ends.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path, table: DynamoDbLocal) -> None:
        self._process = process
        self.table = table
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self.pid = process.pid
        self.folder = folder

    @classmethod
    def start(cls, variables: Mapping[str, str] | None = None, *, timeout: float = 90.0) -> Self:
        """Start one, and wait until it serves.

        It ends with `stop`, or when this process ends in whatever way, since it watches a pipe that only we hold; and
        the processes of its functions end with it.

        Args:
            variables: environment variables of all functions, besides those of their configuration.
            timeout: seconds to wait.

        Raises:
            EngineMissing: it is not installed, Java is missing, or it does not start.
        """
        python = installed()
        table = DynamoDbLocal.start()
        folder = Path(tempfile.mkdtemp(prefix="onewrite-localstack-"))
        try:
            process, port = _launch(python, folder, table, variables or {})
            engine = cls(process, port, folder, table)
        except BaseException:
            table.stop()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            engine._await(timeout)
        except BaseException:
            engine.stop()
            raise
        return engine

    @property
    def logs(self) -> Path:
        """The folder with what functions wrote: a file for each execution environment, named after the function."""
        return _logs_in(self.folder)

    def log_of(self, function: str) -> str:
        """All that a function wrote."""
        return "".join(
            file.read_text(encoding="utf-8", errors="replace") for file in self.logs.glob(f"{function}-*.log")
        )

    def stop(self) -> None:
        """End it and everything that belongs to it. Stopping twice is no error."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.table.stop()
        # The process had somebody remove its thousands of files, unless it had to be killed.
        end = time.monotonic() + REMOVAL
        while self._process.returncode == 0 and self.folder.exists() and time.monotonic() < end:
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _await(self, timeout: float) -> None:
        # The socket listened before the process was there, so one request waits until somebody serves it; if the
        # process dies, the socket goes with it.
        try:
            with urllib.request.urlopen(f"{self.endpoint_url}/_localstack/health", timeout=timeout):  # noqa: S310 - its own
                pass
        except (OSError, ValueError) as error:
            said = _log_in(self.folder).read_text(encoding="utf-8", errors="replace")[-TAIL:].strip()
            raise EngineMissing(
                f"LocalStack served no requests within {timeout:g} s ({error}). Its last words:\n"
                f"{said or '(it printed nothing)'}"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def installed() -> Path:
    """The interpreter of its virtual environment.

    Raises:
        EngineMissing: it is not there, or not whole.
    """
    python = VENV / "bin" / "python"
    if not python.exists() or not (VENV / ".locked").exists():
        raise EngineMissing(
            f"LocalStack cannot run here: {VENV.name} is missing, or not whole. It needs a Python 3.12 or later beside "
            "the project's own: `make test` installs it with the one that LOCALSTACK_PYTHON names, else with one that "
            "it finds on PATH, at uv or at pyenv"
        )
    return python


def _launch(
    python: Path, folder: Path, table: DynamoDbLocal, variables: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    logs = _logs_in(folder)
    logs.mkdir()
    scratch = folder / "tmp"
    scratch.mkdir()
    runtime = runtime_folder(folder / "runtime")
    with socket.create_server(("127.0.0.1", 0)) as listener, _log_in(folder).open("wb") as log:
        listener.setblocking(False)  # noqa: FBT003 - the method's own signature
        port: int = listener.getsockname()[1]
        options = {
            "state": str(folder),
            "listener": listener.fileno(),
            "dynamodb": int(table.endpoint_url.rpartition(":")[2]),
            "endpoint_url": f"http://127.0.0.1:{port}",
            "python": sys.executable,
            "runtime": str(runtime),
            "logs": str(logs),
            "variables": dict(variables),
        }
        process = subprocess.Popen(
            [str(python), str(HOST), json.dumps(options)],
            stdin=subprocess.PIPE,  # nothing is written: it is what the process watches
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_environment(folder, scratch, port),
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is ours to handle
        )
    return process, port


def _environment(folder: Path, scratch: Path, port: int) -> dict[str, str]:
    """Of LocalStack's process: nothing of ours, and nothing that would lead it out of this machine."""
    return {
        **aws_environment(),
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "TMPDIR": str(scratch),
        "FILESYSTEM_ROOT": str(folder / "state"),
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "LOCALSTACK_HOST": f"127.0.0.1:{port}",  # its own domain needs a name server
        "SQS_ENDPOINT_STRATEGY": "path",
        "LS_LOG": "warning",
        "DNS_ADDRESS": "0",
        "OVERRIDE_IN_DOCKER": "0",
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT": "60",
        # It looks at an idle queue ever less often, up to every ten seconds.
        "LAMBDA_EVENT_SOURCE_MAPPING_POLL_INTERVAL_SEC": "0.2",
        "LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC": "0.5",
        # Loaded before the first request, which would otherwise take longer than clients wait.
        "EAGER_SERVICE_LOADING": "1",
        "SERVICES": ",".join(SERVICES),
    }


def _logs_in(folder: Path) -> Path:
    return folder / "functions"


def _log_in(folder: Path) -> Path:
    return folder / "localstack.log"
