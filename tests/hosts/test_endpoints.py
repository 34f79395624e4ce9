"""The endpoints over real sockets: what is answered, and that no client can do harm."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from hosts.worker.endpoints import AT_ONCE, LARGEST, Endpoints
from hosts.worker.health import Health, Part, Report
from infra.prometheus import PrometheusMetrics, render
from kernel.metrics import Count
from kernel.testing.memory import FakeClock

Serve = Callable[..., Endpoints]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> Health:
    return Health(clock, "w-1", 2)


@pytest.fixture
def serve(health: Health) -> Iterator[Serve]:
    with ExitStack() as undo:

        def serve(
            report: Callable[[], Report] = health.report,
            metrics: Callable[[], bytes] = lambda: b"onewrite_x 1\n",
            **options: Any,
        ) -> Endpoints:
            return undo.enter_context(Endpoints(report, metrics, **options))

        yield serve


def ask(endpoints: Endpoints, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", endpoints.port, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def says(endpoints: Endpoints, *pieces: bytes) -> bytes:
    """What is answered to these bytes, sent one piece after the other, until it hangs up."""
    with socket.create_connection(("127.0.0.1", endpoints.port), timeout=10) as connection:
        with suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.02)  # so that it is read before the next one comes
        answer = b""
        with suppress(ConnectionError):
            while more := connection.recv(65_536):
                answer += more
        return answer


# --- what is answered -------------------------------------------------------------------------------------------------


def test_health_follows_the_report(serve: Serve, health: Health, clock: FakeClock) -> None:
    endpoints = serve()
    status, text = ask(endpoints, "/health")
    assert status == 200
    assert json.loads(text) == {
        "status": "healthy",
        "reasons": [],
        "worker": "w-1",
        "ready": False,
        "unready": ["not composed yet", "has not reached the transport yet", "has not reached the table yet"],
        "slots": 2,
        "busy": 0,
        "stuck": 0,
        "leader": False,
    }
    health.failed(Part.TABLE, "throttled")
    status, text = ask(endpoints, "/health")
    assert (status, json.loads(text)["status"]) == (200, "degraded")
    clock.move(1_000_000)
    status, text = ask(endpoints, "/health")
    assert (status, json.loads(text)["status"]) == (503, "unhealthy")
    assert json.loads(text)["reasons"] == ["the receive loop has not come round for 1000 s"]


def test_ready_follows_the_report(serve: Serve, health: Health) -> None:
    endpoints = serve()
    health.reached(Part.TABLE)
    health.reached(Part.TRANSPORT)
    status, text = ask(endpoints, "/ready")
    assert (status, json.loads(text)) == (503, {"ready": False, "reasons": ["not composed yet"], "worker": "w-1"})
    health.composed()
    status, text = ask(endpoints, "/ready?verbose")
    assert (status, json.loads(text)) == (200, {"ready": True, "reasons": [], "worker": "w-1"})


def test_metrics_are_what_was_measured(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    endpoints = serve(metrics=lambda: render(registry))
    metrics.count(Count.RUNS_STARTED, workflow="order")
    status, text = ask(endpoints, "/metrics")
    assert status == 200
    assert 'onewrite_runs_started_total{workflow="order"} 1.0' in text


@pytest.mark.parametrize("path", ["/", "/healthz", "/health/", "/metrics/..", "/%68ealth"])
def test_anything_else_is_not_found(serve: Serve, path: str) -> None:
    assert ask(serve(), path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"])
def test_nothing_but_get_is_allowed(serve: Serve, method: str) -> None:
    endpoints = serve(metrics=lambda: pytest.fail("asked for"))
    answer = says(endpoints, f"{method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.0 405 ")
    assert b"\r\nAllow: GET\r\n" in answer


def test_a_failure_of_ours_is_answered_and_the_next_one_too(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bytes:
        raise ValueError("secret")

    endpoints = serve(metrics=broken)
    assert ask(endpoints, "/metrics") == (500, "see the log\n")
    assert ask(endpoints, "/health")[0] == 200
    assert [record.levelname for record in caplog.records] == ["ERROR"]


# --- clients that mean no good ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 100_000,
        b"GET /health HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
        b"x" * LARGEST * 2,
    ],
    ids=["path", "header", "headers", "noise"],
)
def test_a_request_that_is_too_large_is_not_read_to_its_end(serve: Serve, data: bytes) -> None:
    answer = says(serve(), data)
    assert answer == b"" or answer.startswith(b"HTTP/1.0 431 ")  # the answer is lost where more was on its way


@pytest.mark.parametrize("first", [1, 200, LARGEST])
def test_a_request_is_too_large_in_whatever_pieces_it_comes(serve: Serve, first: int) -> None:
    data = b"GET /health HTTP/1.1\r\nX: " + b"a" * LARGEST + b"\r\n\r\n"
    answer = says(serve(), data[:first], data[first:])
    assert answer == b"" or answer.startswith(b"HTTP/1.0 431 ")


def test_a_request_that_just_fits_is_answered(serve: Serve) -> None:
    line, end = b"GET /health HTTP/1.1\r\nX: ", b"\r\n\r\n"
    fits = line + b"a" * (LARGEST - len(line) - len(end)) + end
    assert says(serve(), fits).startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize(
    "data", [b"\r\n", b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET x y z\r\n\r\n"]
)
def test_what_is_no_request_is_told_so_or_hung_up_on(serve: Serve, data: bytes) -> None:
    endpoints = serve()
    assert b" 200 " not in says(endpoints, data)
    assert ask(endpoints, "/health")[0] == 200


def test_a_client_that_says_nothing_is_hung_up_on(serve: Serve) -> None:
    endpoints = serve(patience=0.1)
    with socket.create_connection(("127.0.0.1", endpoints.port), timeout=5) as connection:
        assert connection.recv(1) == b""


def test_a_client_that_sends_byte_by_byte_has_no_longer_than_any_other(serve: Serve) -> None:
    endpoints = serve(patience=0.2)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", endpoints.port), timeout=5) as connection, suppress(ConnectionError):
        while time.monotonic() - began < 3:
            connection.sendall(b"G")
            connection.settimeout(0.05)
            with suppress(TimeoutError):
                if connection.recv(1) == b"":
                    break
    assert time.monotonic() - began < 2


def test_a_client_that_does_not_take_its_answer_is_hung_up_on(serve: Serve) -> None:
    done = threading.Event()

    def much() -> bytes:
        done.set()
        return b"x" * 50_000_000

    endpoints = serve(metrics=much, patience=0.2)
    with socket.create_connection(("127.0.0.1", endpoints.port), timeout=5) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert done.wait(5)
        _until(lambda: not _serving())
    assert ask(endpoints, "/health")[0] == 200


def _serving() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_many_slow_clients_take_few_threads_and_go_away_by_themselves(serve: Serve) -> None:
    endpoints = serve(patience=2.0)
    with ExitStack() as undo:
        clients = [
            undo.enter_context(socket.create_connection(("127.0.0.1", endpoints.port), timeout=5))
            for _ in range(2 * AT_ONCE)
        ]
        for client in clients[AT_ONCE:]:  # those on top are hung up on before the others have had their time
            with suppress(ConnectionError):
                assert client.recv(1) == b""
        assert len(_serving()) == AT_ONCE
        _until(lambda: not _serving())
        assert ask(endpoints, "/health")[0] == 200


# --- start and stop ---------------------------------------------------------------------------------------------------


def test_it_stops_while_a_client_keeps_it_waiting_and_frees_its_port(health: Health) -> None:
    endpoints = Endpoints(health.report, lambda: b"", patience=3)
    endpoints.start()
    port = endpoints.port
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        _until(lambda: len(_serving()) == 1)
        began = time.monotonic()
        endpoints.stop()
        endpoints.stop()
        assert time.monotonic() - began < 2
    with pytest.raises(ConnectionError):
        ask(endpoints, "/health")
    _until(lambda: not _serving())
    with Endpoints(health.report, lambda: b"", port=port) as again:
        assert ask(again, "/health")[0] == 200


def test_what_was_never_started_can_be_stopped(health: Health) -> None:
    Endpoints(health.report, lambda: b"").stop()


def test_a_port_that_is_taken_is_an_error_at_once(serve: Serve, health: Health) -> None:
    with pytest.raises(OSError, match="in use"):
        Endpoints(health.report, lambda: b"", port=serve().port)


def test_it_listens_on_the_loopback_address_unless_told_otherwise(serve: Serve) -> None:
    assert serve()._server.server_address[0] == "127.0.0.1"
    assert serve(host="0.0.0.0")._server.server_address[0] == "0.0.0.0"  # noqa: S104 - it is what containers are given
