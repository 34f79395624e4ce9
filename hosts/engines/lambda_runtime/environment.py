"""An execution environment: one process of a function at a time, kept between invocations, replaced when it died."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hosts.engines.lambda_runtime.api import Answered, Exited, InitError, Invocation, Ready, Report, RuntimeApi

BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
INIT_SECONDS = 60.0
"""How long a process may take to load its handler. Lambda gives ten seconds, on a machine of its own."""


class InitFailed(Exception):
    """The handler could not be loaded.

    Attributes:
        error: what Lambda answers with, as JSON.
    """

    def __init__(self, error: bytes) -> None:
        super().__init__(error.decode(errors="replace"))
        self.error = error


@dataclass(frozen=True)
class Function:
    """What Lambda knows of a function.

    Attributes:
        handler: as in its configuration, such as ``handlers.job.handler``.
        task_root: the folder with its code.
        python: the interpreter that runs it.
        runtime: the folder with the runtime client, for that interpreter (`runtime_folder`).
        seconds: how long an invocation may take.
        layers: folders that modules are found in besides, as those of Lambda's layers.
        name: the function's.
        variables: its environment variables, credentials included. It has no others, but for those that Lambda sets.
    """

    handler: str
    task_root: Path
    python: str
    runtime: Path
    seconds: float = 30.0
    layers: tuple[Path, ...] = ()
    name: str = "function"
    variables: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Outcome:
    """What an invocation came to.

    Attributes:
        body: the result, or the error, as JSON.
        error: whether it is an error: Lambda's ``FunctionError``.
        logs: what the function wrote meanwhile.
    """

    body: bytes
    error: bool
    logs: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON has any shape
        """The body, read."""
        return json.loads(self.body)


class ExecutionEnvironment:
    """Runs a function. Any thread may call; invocations wait for each other, since a process gets one at a time.

    Args:
        function: what to run.
        log: file that its processes write to; lines of ours say where each invocation begins and ends.

    Attributes:
        log: the file.
        starts: how many processes there have been.
    """

    def __init__(self, function: Function, log: Path) -> None:
        self.function = function
        self.starts = 0
        self.log = log
        self.log.touch()
        self._turn = threading.Lock()
        self._process: _Process | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Id of the process, if there is one."""
        process = self._process
        return process.pid if process is not None and process.alive else None

    def start(self) -> None:
        """Have a process that has loaded its handler, as provisioned concurrency has.

        Raises:
            InitFailed: it could not be loaded.
        """
        with self._turn:
            self._ready(_new_id())

    def invoke(self, event: object) -> Outcome:
        """Hand an event to the function, and wait for what it comes to."""
        return self.invoke_with(json.dumps(event).encode())

    def invoke_with(self, payload: bytes, id_: str | None = None, arn: str | None = None) -> Outcome:
        """The same, with JSON as it is, and with the request's id and the function's ARN where there are such."""
        id_ = id_ or _new_id()
        with self._turn:
            begin = self.log.stat().st_size
            try:
                body, error = self._invoke(payload, id_, arn or f"arn:aws:lambda:::function:{self.function.name}")
            except InitFailed as failed:
                body, error = failed.error, True
            with self.log.open("rb") as file:
                file.seek(begin)
                return Outcome(body, error, file.read().decode(errors="replace"))

    def kill(self) -> None:
        """End the process as the system would, whatever it does. The next invocation gets a fresh one."""
        process = self._process
        if process is not None:
            process.kill()

    def stop(self) -> None:
        """End the process, and start no other. Stopping twice is no error."""
        self._stopped = True
        self.kill()
        with self._turn:
            self._discard()

    def _invoke(self, payload: bytes, id_: str, arn: str) -> tuple[bytes, bool]:
        process = self._ready(id_)
        seconds = self.function.seconds
        self._write(f"START RequestId: {id_}")
        begin = time.monotonic()
        process.api.give(Invocation(id_, payload, int((time.time() + seconds) * 1000), arn))
        report = process.wait_for(Answered, Exited, seconds=seconds)
        self._write(f"END RequestId: {id_}\tDuration: {(time.monotonic() - begin) * 1000:.1f} ms")
        match report:
            case Answered(body=body, error=error):
                return body, error
            case Exited(status=status):
                self._discard()
                return _exit_error(id_, status), True
            case _:
                self._discard()
                return _error("Sandbox.Timedout", id_, f"Task timed out after {seconds:.2f} seconds"), True

    def _ready(self, id_: str) -> _Process:
        """The process, which may get an invocation; a fresh one if there is none.

        Raises:
            InitFailed: it could not load its handler.
        """
        if self._process is not None and self._process.alive:
            return self._process
        self._discard()
        if self._stopped:
            raise InitFailed(_error("Sandbox.Failure", id_, "the environment was stopped"))
        self.starts += 1
        self._write(f"INIT_START {self.function.name}, {self.function.handler}, process {self.starts}")
        process = self._process = _Process(self.function, self.log)
        match process.wait_for(Ready, InitError, Exited, seconds=INIT_SECONDS):
            case Ready():
                return process
            case InitError(body=body):
                failed = InitFailed(body)
            case Exited(status=status):
                failed = InitFailed(_exit_error(id_, status))
            case _:
                failed = InitFailed(_error("Sandbox.Timedout", id_, f"Init timed out after {INIT_SECONDS:.2f} seconds"))
        self._discard()
        raise failed

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _write(self, line: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Process:
    """A process with its Runtime API."""

    def __init__(self, function: Function, log: Path) -> None:
        self.api = RuntimeApi()
        folders = [str(folder) for folder in (function.task_root, *function.layers, function.runtime)]
        command = [function.python, "-I", "-S", "-B", str(BOOTSTRAP), function.handler, *folders]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # nothing is written: it is what the process watches
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=function.task_root,
                env=_variables(function, self.api.address),
                start_new_session=True,  # Ctrl-C is the owner's to handle
            )
        self.pid = self._process.pid
        self._watch = threading.Thread(target=self._await_exit, name="function-exit", daemon=True)
        self._watch.start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, *kinds: type[Report], seconds: float) -> Report | None:
        """The next report of one of these kinds; None when the time is over."""
        end = time.monotonic() + seconds
        while True:
            try:
                report = self.api.reports.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return None
            if isinstance(report, kinds):
                return report

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self._process.kill()
        self._watch.join()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self.api.close()

    def _await_exit(self) -> None:
        self.api.reports.put(Exited(self._process.wait()))


def _variables(function: Function, api: str) -> dict[str, str]:
    """The environment of a process. Source: Lambda Developer Guide, "Defined runtime environment variables"."""
    return {
        "AWS_EXECUTION_ENV": "AWS_Lambda_python",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": _new_id(),
        "LANG": "en_US.UTF-8",
        "PATH": os.defpath,
        "TZ": ":UTC",
        **function.variables,
        "AWS_LAMBDA_RUNTIME_API": api,
        "LAMBDA_TASK_ROOT": str(function.task_root),
        "_HANDLER": function.handler,
    }


def _exit_error(id_: str, status: int) -> bytes:
    how = f"exit status {status}" if status >= 0 else f"signal: {-status}"
    return _error("Runtime.ExitError", id_, f"Error: Runtime exited with error: {how}")


def _error(kind: str, id_: str, message: str) -> bytes:
    """As Lambda words what a process can no longer say itself."""
    return json.dumps({"errorType": kind, "errorMessage": f"RequestId: {id_} {message}"}).encode()


def _new_id() -> str:
    return str(uuid.uuid4())
