"""``/health``, ``/ready`` and ``/metrics`` over HTTP, for whoever runs and watches the worker.

A client that is slow, silent or endless takes one of a few threads for a few seconds, and nothing else.
"""

from __future__ import annotations

import io
import logging
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread
from typing import Any, ClassVar, Self

from msgspec import json

from hosts.worker.health import Report, Status
from hosts.worker.options import Options
from kernel.errors import SettingsError

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a client may take to send its request, and again to take the answer."""
LARGEST = 8_192
"""Bytes of a request, at most."""
AT_ONCE = 16
"""Clients that are answered at a time, at most; who comes on top is hung up on."""


class Endpoints:
    """The server. A context manager: serves inside the block.

    Args:
        report: says how the worker is; must not wait for anybody.
        metrics: gives the text for Prometheus.
        content_type: of that text.
        host: where to listen.
        port: where to listen; 0 for any free port.
        patience: seconds that a client may take to send its request, and again to take the answer.

    Raises:
        OSError: the port cannot be used.
    """

    def __init__(
        self,
        report: Callable[[], Report],
        metrics: Callable[[], bytes],
        *,
        content_type: str = "text/plain; version=0.0.4; charset=utf-8",
        host: str = "127.0.0.1",
        port: int = 0,
        patience: float = PATIENCE,
    ) -> None:
        class Handler(_Handler):
            seconds = patience

            def answer(self, path: str) -> tuple[HTTPStatus, str, bytes] | None:
                match path:
                    case "/health":
                        return _health(report())
                    case "/ready":
                        return _ready(report())
                    case "/metrics":
                        return HTTPStatus.OK, content_type, metrics()
                    case _:
                        return None

        self._server = _Server(host, port, Handler)
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="endpoints", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serve from now on, in threads that keep no process alive."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more. Stopping twice, or what was never started, is no error."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


def _health(report: Report) -> tuple[HTTPStatus, str, bytes]:
    bad = report.status is Status.UNHEALTHY
    return HTTPStatus.SERVICE_UNAVAILABLE if bad else HTTPStatus.OK, "application/json", json.encode(report)


def _ready(report: Report) -> tuple[HTTPStatus, str, bytes]:
    text = json.encode({"ready": report.ready, "reasons": report.unready, "worker": report.worker})
    return HTTPStatus.OK if report.ready else HTTPStatus.SERVICE_UNAVAILABLE, "application/json", text


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # so that a client that is slow does not hold up the end
    request_queue_size = 64

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = BoundedSemaphore(AT_ONCE)
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the library has it
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._free.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as above
        log.debug("a client of the endpoints went away")


class _TooLarge(Exception):
    """The request has more than ``LARGEST`` bytes."""


class _Bounded(io.RawIOBase):
    """Reads so much of a socket, at most, and for so long."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        super().__init__()
        self._connection = connection
        self._end = time.monotonic() + seconds
        self._left = LARGEST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - the library's annotation is not to be had at run time
        if not self._left:
            raise _TooLarge
        if (seconds := self._end - time.monotonic()) <= 0:
            raise TimeoutError
        self._connection.settimeout(seconds)
        count = self._connection.recv_into(buffer, min(len(buffer), self._left))
        self._left -= count
        return count


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, and hangs up."""

    server_version = "onewrite"
    sys_version = ""
    seconds: ClassVar[float]

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes] | None:
        """Status, type and text; None if there is nothing at that path."""
        raise NotImplementedError

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Bounded(self.connection, self.seconds))

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except _TooLarge:
            self.close_connection = True
            self.requestline = self.command = ""
            self.request_version = self.protocol_version
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def do_GET(self) -> None:
        """Answer."""
        try:
            answer = self.answer(self.path.partition("?")[0])
        except Exception:
            log.exception("no answer to %s", self.path)
            answer = HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"see the log\n"
        self._send(*(answer or (HTTPStatus.NOT_FOUND, "text/plain", b"/health, /ready, /metrics\n")))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - as the library has it
        """A request that is not one, or not GET."""
        unknown = code == HTTPStatus.NOT_IMPLEMENTED
        status = HTTPStatus.METHOD_NOT_ALLOWED if unknown else HTTPStatus(code)
        self.close_connection = True
        self._send(status, "text/plain", f"{status.phrase}\n".encode())

    def _send(self, status: HTTPStatus, content_type: str, text: bytes) -> None:
        self.connection.settimeout(self.seconds)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Cache-Control", "no-store")
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as the library has it
        """Probes come every few seconds: they are not worth a line."""
        log.debug(format, *args)


def serving(
    report: Callable[[], Report], metrics: Callable[[], bytes], options: Options, *, content_type: str
) -> Endpoints:
    """Endpoints where the options want them, started.

    Raises:
        SettingsError: nothing can be served there.
    """
    try:
        endpoints = Endpoints(report, metrics, content_type=content_type, host=options.host, port=options.port or 0)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"--host {options.host} --port {options.port}: health and metrics cannot be served there ({error}): "
            "choose another port, 0 for any that is free, or none"
        ) from error
    endpoints.start()
    log.info("health and metrics", extra={"host": options.host, "port": endpoints.port})
    return endpoints
