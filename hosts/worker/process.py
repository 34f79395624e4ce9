"""One worker process, from its settings to its end: attends, ticks, answers probes, and stops in good order."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import IO

import msgspec
from msgspec.structs import asdict, replace
from prometheus_client import CollectorRegistry

from hosts.worker.endpoints import Endpoints
from hosts.worker.health import Bounds, Health, Report
from hosts.worker.maintenance import LONGEST, Maintenance
from hosts.worker.options import Options, settings_of
from hosts.worker.signals import Signals
from hosts.worker.watch import Watch, show
from hosts.worker.worker import Worker
from infra.compose import registry
from infra.polling import compose
from infra.prometheus import CONTENT_TYPE, PrometheusMetrics, render
from infra.system import SystemClock
from infra.thread_alarm import ThreadAlarm
from kernel.errors import OnewriteError

log = logging.getLogger(__name__)

FAILED = 1
"""Exit status of a worker that cannot run."""

LOOK = 1.0
"""Seconds between two looks at how the worker is."""
WATCH = 15.0
"""Seconds between two looks at table and transport, when nobody scrapes."""


def name_of_worker() -> str:
    """A name that no other worker has: of the machine, the process, and chance."""
    host = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in socket.gethostname())[:40]
    return f"worker:{host}-{os.getpid()}-{secrets.token_hex(3)}"


def serve(
    options: Options,
    environ: Mapping[str, str],
    signals: Signals,
    *,
    name: str,
    tell: Callable[[Report], None] = lambda _report: None,
) -> int:
    """Be a worker until a signal says otherwise; the exit status.

    Args:
        options: how.
        environ: the environment variables.
        signals: what ends it.
        name: who it is.
        tell: is told about once a second how the worker is.

    Raises:
        SettingsError, DefinitionError: settings or workflows are not right.
        OSError: the port is taken.
    """
    settings = settings_of(options, environ)
    definitions = registry(settings)
    known = CollectorRegistry()
    metrics = PrometheusMetrics(known)
    clock = SystemClock()
    bounds = Bounds(tick=5 * settings.tick_seconds + LONGEST)
    health = Health(clock, name, options.concurrency, bounds)
    with ExitStack() as undo:
        host = compose(
            settings,
            definitions,
            name=name.partition(":")[2],
            visibility=options.visibility,
            deliveries=options.deliveries,
            threads=options.concurrency,
            alarm=ThreadAlarm(),
            metrics=metrics,
        )
        undo.callback(host.close)
        watch = Watch(host.env, host.consumer, metrics, health)

        def scraped() -> bytes:
            watch.refresh()
            show(metrics, health)
            return render(known)

        if options.port is not None:
            endpoints = Endpoints(
                health.report, scraped, content_type=CONTENT_TYPE, host=options.host, port=options.port
            )
            endpoints.start()
            undo.callback(endpoints.stop)
            log.info("health and metrics", extra={"host": options.host, "port": endpoints.port})
        worker = Worker(
            host.env, host.consumer, options, name=name, seconds=settings.job_timeout_seconds, health=health
        )
        maintenance = Maintenance(host.env, host.locks, name=name, every=settings.tick_seconds, health=health)
        health.composed()
        worker.start()
        if options.tick:
            maintenance.start()
        log.info("worker runs", extra={**asdict(options), "transport": settings.transport})
        watched = clock.monotonic() - WATCH
        while not signals.stop.wait(LOOK):
            if clock.monotonic() - watched >= WATCH:
                watched = clock.monotonic()
                watch.refresh()
            show(metrics, health)
            tell(health.report())
        log.info("worker stops", extra={"drain": options.drain})
        health.draining()
        tell(health.report())
        ticking = threading.Thread(target=maintenance.stop, args=(5.0,), name="tick-stop", daemon=True)
        ticking.start()  # beside the drain, so that somebody else can have the role at once
        stopped = worker.stop(signals.hurry)
        ticking.join(7.0)
        log.info("worker has stopped", extra=asdict(stopped))
    return 0


def run(
    options: Options, environ: Mapping[str, str], signals: Signals, *, name: str, report: IO[bytes] | None = None
) -> int:
    """Be a worker, and end the process at once after that, whatever its threads still do: all was handed back.

    Args:
        options: as for ``serve``.
        environ: as for ``serve``.
        signals: as for ``serve``.
        name: as for ``serve``.
        report: where a supervisor listens to how the worker is; then the worker serves no port of its own.
    """
    if report is not None:
        options = replace(options, port=None)
    try:
        status = serve(options, environ, signals, name=name, tell=partial(_say, report))
    except (OnewriteError, OSError) as error:
        log.critical("worker cannot run: %s", error)
        status = FAILED
    logging.shutdown()
    os._exit(status)


def _say(where: IO[bytes] | None, report: Report) -> None:
    if where is not None:
        with suppress(BrokenPipeError):  # its end is told by our standard input
            where.write(msgspec.json.encode(report) + b"\n")
