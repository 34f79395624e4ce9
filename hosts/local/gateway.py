"""An API Gateway on localhost: makes events of requests, calls the function, makes responses of its answers.

It also plays the authoriser, so that tenants can be tried: a request with ``Authorization: Bearer
tenant:acme`` comes with the claim ``tenant`` = ``acme``. It believes everybody, which is why it listens on
the loopback address only.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from msgspec.structs import replace

from hosts.local.apigateway import REST_STAGE, Request, Response, http_api_event, response_of, rest_api_event
from hosts.local.functions import Invocable, InvocationFailed, TimedOut
from kernel.errors import OnewriteError

MAX_BODY = 10 * 1024 * 1024
"""Bytes of a request, at most (Amazon API Gateway quotas)."""
BEARER = "Bearer "


class PortTaken(OnewriteError):
    """The port that was asked for cannot be used."""


class Gateway:
    """An HTTP server on 127.0.0.1 in front of a function. A context manager: serves inside the block.

    Args:
        function: gets the events.
        port: where to listen; 0 for any free port.
        rest: be a REST API (events of format 1.0, everything below ``/live``) instead of an HTTP API (format 2.0).
        tenant_claim: the claim that the authoriser puts the tenant into.
        roles_claim: the one that it puts their roles into.

    Raises:
        PortTaken: the port cannot be used.
    """

    def __init__(
        self,
        function: Invocable,
        *,
        port: int = 0,
        rest: bool = False,
        tenant_claim: str = "tenant",
        roles_claim: str = "cognito:groups",
    ) -> None:
        class Handler(_Handler):
            """One request."""

            gateway = self

        self._function = function
        self._rest = rest
        self._tenant_claim = tenant_claim
        self._roles_claim = roles_claim
        try:
            self._server = _Server(("127.0.0.1", port), Handler)
        except OSError as error:
            raise PortTaken(f"port {port} cannot be used ({error.strerror}): give another, or 0") from error
        self.url = f"http://127.0.0.1:{self._server.server_port}{f'/{REST_STAGE}' if rest else ''}"
        self._thread = Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="gateway", daemon=True
        )

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def answer(self, request: Request) -> Response:
        """What a client gets for a request."""
        if len(request.body) > MAX_BODY:
            return _message(413, "Request Entity Too Large")
        if self._rest:
            stage, path = f"/{REST_STAGE}", request.path
            if path != stage and not path.startswith(f"{stage}/"):
                return _message(403, "Missing Authentication Token")  # so it says, whatever the reason
            event = rest_api_event(replace(request, path=path.removeprefix(stage) or "/"))
        else:
            event = http_api_event(request)
        try:
            response = response_of(self._function.invoke(event), rest=self._rest)
        except TimedOut:
            return _message(504, "Endpoint request timed out") if self._rest else _message(503, "Service Unavailable")
        except InvocationFailed:
            response = None
        if response is None:
            return _message(502 if self._rest else 500, "Internal Server Error")
        return response

    def claims(self, authorization: str) -> dict[str, str] | None:
        """What the authoriser says of a caller, who tells it: ``Bearer tenant:acme roles:clerk,owner sub:alice``."""
        names = {"tenant": self._tenant_claim, "roles": self._roles_claim, "sub": "sub"}
        words = (word.partition(":") for word in authorization.removeprefix(BEARER).split(" "))
        said = {names[name]: value for name, _, value in words if name in names}
        return {"sub": "local", **said} if said and authorization.startswith(BEARER) else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that keeps its connection open must not keep us from stopping


class _Handler(BaseHTTPRequestHandler):
    """Turns bytes into a `Request` and a `Response` into bytes."""

    gateway: Gateway
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 65  # seconds that a connection may be idle

    def _any(self) -> None:
        path, _, query = self.path.partition("?")
        length = self.headers.get("Content-Length", "0")
        # More digits than any body has bytes are as good as none: Python refuses to read thousands of them.
        if re.fullmatch(r"[0-9]{1,18}", length) is None or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # where the body ends is not known
            self._send(_message(411, "Length Required"))
            return
        # A body that is too large is not read at all, so the connection is of no more use.
        too_large = int(length) > MAX_BODY
        body = b"\0" * (MAX_BODY + 1) if too_large else self.rfile.read(int(length))
        self.close_connection = self.close_connection or too_large
        request = Request(
            method=self.command,
            path=path,
            query=query,
            headers=tuple(self.headers.items()),
            body=body,
            id=str(uuid.uuid4()),
            at=time.time_ns() // 1_000_000,
            source_ip=str(self.client_address[0]),
            claims=self.gateway.claims(self.headers.get("Authorization", "")),
        )
        self._send(self.gateway.answer(request))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = _any  # noqa: N815 - the base class's
    do_TRACE = do_QUERY = _any  # noqa: N815 - the base class's

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - the base class's
        """What is no HTTP, or too long for any, is answered in the gateway's own form."""
        self.close_connection = True  # where the next request begins is not known
        self._send(_message(code, message or HTTPStatus(code).phrase))

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Nothing: what happened is in the function's log."""


def _message(status: int, text: str) -> Response:
    """An answer of the gateway's own."""
    return Response(status, [("Content-Type", "application/json")], json.dumps({"message": text}).encode())
