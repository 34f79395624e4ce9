"""moto's server inside this process, with every request behind one lock.

The lock is what makes it usable: moto's conditional writes check, then act, and under a few threads it
accepts both of two that exclude each other. One request at a time, they are atomic. It still does not count
units as AWS does.
"""

from __future__ import annotations

import logging
import threading
import urllib.request
from typing import TYPE_CHECKING, Self

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIEnvironment


class EmbeddedMoto:
    """A running moto server: DynamoDB, SQS, S3 and EventBridge, in memory, on a loopback port of its own.

    moto keeps resources in module globals, so engines that run in one process at the same time share them.

    Example::

        with EmbeddedMoto.start() as engine:
            boto3.client("sqs", endpoint_url=engine.endpoint_url)

    Attributes:
        endpoint_url: where it answers, for every service.
    """

    _lock = threading.Lock()  # the class's, because the resources behind it are the process's

    def __init__(self) -> None:
        self._application = DomainDispatcherApplication(create_backend_app)
        # A line per request on stderr is of no use to anybody who runs a demo or a test.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, self._one_at_a_time, threaded=True, request_handler=_KeepAlive)
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="embedded-moto",
            daemon=True,
        )

    @classmethod
    def start(cls) -> Self:
        """Start one in a thread of this process. It serves requests when this returns."""
        engine = cls()
        engine._thread.start()
        return engine

    def reset(self) -> None:
        """Forget all resources of all services, as between two tests."""
        url = f"{self.endpoint_url}/moto-api/reset"  # always http, always this machine
        with urllib.request.urlopen(urllib.request.Request(url, method="POST")):  # noqa: S310 - its own address
            pass

    def stop(self) -> None:
        """Forget everything and stop serving. Stopping twice is no error."""
        if self._thread.is_alive():
            self.reset()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def _one_at_a_time(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Joined under the lock: an answer may be produced while it is read.
        with self._lock:
            return [b"".join(self._application(environ, start_response))]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _KeepAlive(WSGIRequestHandler):
    """One connection for many requests, as boto3 expects of AWS; half the time of a request is connecting."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else head and body of an answer wait 40 ms for each other
