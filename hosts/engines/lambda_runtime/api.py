"""The Runtime API for one process: it asks for its next invocation, and reports what became of it.

Source: Lambda Developer Guide, "Using the Lambda runtime API for custom runtimes".
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATH = "/2018-06-01/runtime"


@dataclass(frozen=True)
class Invocation:
    """What a process is given.

    Attributes:
        id: the request's.
        payload: JSON.
        deadline: when it is cut off, in milliseconds since the epoch.
        arn: of the function, as it was called.
    """

    id: str
    payload: bytes
    deadline: int
    arn: str


@dataclass(frozen=True)
class Ready:
    """It asks for an invocation: it has started, or has answered the last one."""


@dataclass(frozen=True)
class Answered:
    """What an invocation came to: the handler's result, or the error that it raised, as JSON."""

    id: str
    body: bytes
    error: bool


@dataclass(frozen=True)
class InitError:
    """The handler could not be loaded; the error, as JSON."""

    body: bytes


@dataclass(frozen=True)
class Exited:
    """The process has ended, with this status: that of `subprocess.Popen.returncode`."""

    status: int


Report = Ready | Answered | InitError | Exited


class RuntimeApi:
    """Serves one process, on a loopback port of its own.

    Attributes:
        address: ``host:port``, what `AWS_LAMBDA_RUNTIME_API` says.
        reports: what the process has said, in order.
    """

    def __init__(self) -> None:
        self.reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._invocations: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        self._server = _Server(self)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="runtime-api", daemon=True
        )
        self._thread.start()

    def give(self, invocation: Invocation) -> None:
        """Let it be the answer to the process's next question."""
        self._invocations.put(invocation)

    def next(self) -> Invocation | None:
        """Wait for the next invocation; None when there will be none."""
        return self._invocations.get()

    def close(self) -> None:
        """Serve no more. To be called when the process has ended; twice is no error."""
        self._invocations.put(None)
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a connection may wait for an invocation that never comes

    def __init__(self, api: RuntimeApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else head and body of an answer wait 40 ms for each other
    wbufsize = -1  # one packet for both

    def do_GET(self) -> None:
        if self.path != f"{PATH}/invocation/next":
            self._reply(404)
            return
        api = self.server.api
        api.reports.put(Ready())
        invocation = api.next()
        if invocation is None:
            self.close_connection = True
            return
        headers = {
            "Content-Type": "application/json",  # the client of awslambdaric 4 crashes without one
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
            "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000;Sampled=0",
        }
        self._reply(200, invocation.payload, headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match self.path.removeprefix(f"{PATH}/").split("/"):
            case ["invocation", id_, "response"]:
                report: Report = Answered(id_, body, error=False)
            case ["invocation", id_, "error"]:
                report = Answered(id_, body, error=True)
            case ["init", "error"]:
                report = InitError(body)
            case _:
                self._reply(404)
                return
        # The client goes on when it has its answer, and may end by what it goes on with: what it said comes first.
        self.server.api.reports.put(report)
        self._reply(202, b'{"status":"OK"}', {"Content-Type": "application/json"})

    def _reply(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Nothing: the function's own log says what happened."""
