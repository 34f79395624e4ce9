"""One worker process, from its settings to its end: attends, ticks, answers probes, and stops in good order."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import IO

import msgspec
from msgspec.structs import asdict, replace
from prometheus_client import CollectorRegistry

from hosts.worker.endpoints import serving
from hosts.worker.health import Bounds, Health, Report
from hosts.worker.maintenance import LONGEST, Maintenance
from hosts.worker.options import FAILED, Options, settings_of
from hosts.worker.signals import Signals
from hosts.worker.watch import Watch, show
from hosts.worker.worker import Worker
from infra.call_alarm import CallAlarm
from infra.compose import registry
from infra.polling import compose
from infra.prometheus import CONTENT_TYPE, PrometheusMetrics, render
from infra.system import SystemClock
from kernel.errors import OnewriteError

log = logging.getLogger(__name__)

LATE = 3
"""Exit status of a worker that had to end before it had given back all that it had."""
LAST = 5.0
"""Seconds after the drain, or a second signal, at which the process ends."""

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
        Unavailable, Missing: no node of a Redis cluster answers, or none lets us in.
    """
    settings = settings_of(options, environ)
    definitions = registry(settings)
    known = CollectorRegistry()
    metrics = PrometheusMetrics(known)
    clock = SystemClock()
    bounds = Bounds(tick=5 * settings.tick_seconds + 6 * LONGEST)
    health = Health(clock, name, options.concurrency, bounds)
    alarm = CallAlarm()
    with ExitStack() as undo:
        host = compose(
            settings,
            definitions,
            name=name.partition(":")[2],
            visibility=options.visibility,
            deliveries=options.deliveries,
            threads=options.concurrency,
            alarm=alarm,
            metrics=metrics,
        )
        undo.callback(host.close)
        watch = Watch(host.env, host.consumer, metrics, health)

        def scraped() -> bytes:
            watch.refresh()
            show(metrics, health)
            return render(known)

        if options.port is not None:
            endpoints = serving(health.report, scraped, options, content_type=CONTENT_TYPE)
            undo.callback(endpoints.stop)
        worker = Worker(
            host.env, host.consumer, options, name=name, seconds=settings.job_timeout_seconds, health=health
        )
        maintenance = Maintenance(host.env, host.locks, name=name, every=settings.tick_seconds, health=health)
        health.composed()
        if not signals.stop.is_set():  # else it was told to stop before it had begun
            worker.start()
            if options.tick:
                maintenance.start()
            # Beside the loop, which must hear of signals while a table or a Redis does not answer.
            threading.Thread(target=_watch, args=(watch, signals), name="watch", daemon=True).start()
            log.info("worker runs", extra={**asdict(options), "transport": settings.transport})
        while not signals.stop.wait(LOOK):
            health.overdue(alarm.overdue(bounds.grace))
            show(metrics, health)
            tell(health.report())
        log.info("worker stops", extra={"drain": options.drain})
        health.draining()
        tell(health.report())
        ticking = threading.Thread(target=maintenance.stop, args=(2.0,), name="tick-stop", daemon=True)
        ticking.start()  # beside the drain, so that somebody else can have the role at once
        stopped = worker.stop(signals.hurry)
        ticking.join(LAST - 1.0)  # a tick that is cut off is gone on with by the next one
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
    threading.Thread(target=_end, args=(signals, options.drain), name="end", daemon=True).start()
    try:
        status = serve(options, environ, signals, name=name, tell=partial(_say, report))
    except OnewriteError as error:
        log.critical("worker cannot run: %s", error)
        status = FAILED
    os._exit(status)


def _watch(watch: Watch, signals: Signals) -> None:
    """Ask table and transport now and then, also when nobody scrapes."""
    while not signals.stop.is_set():
        watch.refresh()
        signals.stop.wait(WATCH)


def _end(signals: Signals, drain: float) -> None:
    """End the process when its time to stop is over, whatever waits for an answer that does not come."""
    signals.stop.wait()
    signals.hurry.wait(drain)
    time.sleep(LAST)
    log.error("worker has not stopped in time, and ends: what it had is found once leases and visibility are over")
    os._exit(LATE)


def _say(where: IO[bytes] | None, report: Report) -> None:
    if where is not None:
        with suppress(BrokenPipeError):  # its end is told by our standard input
            where.write(msgspec.json.encode(report) + b"\n")
