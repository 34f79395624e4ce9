"""Measurements for Prometheus: the names of ``kernel.metrics``, with ``onewrite_`` before them.

Several processes may measure together, each into files of a folder that the variable PROMETHEUS_MULTIPROC_DIR names;
whoever renders then adds them up. The client library looks for the variable when it is first imported, so it has to be
set before this module is. The folder must be empty at the start.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from threading import Lock
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from kernel.metrics import LABELS, OF_PROCESS, Count, Duration, Gauge

log = logging.getLogger(f"onewrite.{__name__}")

disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's; else each series would have one more beside it

PREFIX = "onewrite_"
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder which several processes share."""
CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of what ``render`` gives."""

MINUTE, HOUR, DAY = 60, 3_600, 86_400
_WORK = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR)
BUCKETS: Final[Mapping[Duration, tuple[float, ...]]] = {
    Duration.STAGE: _WORK,
    Duration.RUN: (0.1, 0.5, 1, 5, 15, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY),
    Duration.ATTEND: _WORK,
    Duration.TICK: (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, MINUTE),
    Duration.OUTBOX_AGE: (0.05, 0.25, 1, 5, 15, MINUTE, 3 * MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY),
}
"""Upper bounds of the histograms' buckets, in seconds."""

HELP: Final[Mapping[Count | Duration | Gauge, str]] = {
    Count.RUNS_STARTED: "Runs that were created",
    Count.RUNS_ENDED: "Runs that are over",
    Count.STAGES_STARTED: "Attempts that were claimed",
    Count.STAGES_COMPLETED: "Stages that have a result",
    Count.STAGES_RETRIED: "Attempts that failed and are tried again",
    Count.STAGES_FAILED: "Stages that failed for good",
    Count.LEASES_EXPIRED: "Attempts whose lease ran out, or that were handed back",
    Count.CONFLICTS: "Commits that were decided again, since somebody else was faster",
    Count.POKES_ATTENDED: "Messages whose run was looked at",
    Count.POKES_FAILED: "Messages that were given back",
    Count.EVENTS_PUBLISHED: "Events that the sink took",
    Count.EVENTS_DEAD: "Events that became dead letters",
    Count.TICK: "What ticks did",
    Duration.STAGE: "Seconds from an attempt's claim to its result",
    Duration.RUN: "Seconds from a run's creation to its end",
    Duration.ATTEND: "Seconds of a look at a run",
    Duration.TICK: "Seconds of a tick",
    Duration.OUTBOX_AGE: "Age of an event in seconds when the sink takes it",
    Gauge.OLDEST_DUE: "Seconds for which the run has been due that has waited longest for a tick",
    Gauge.OLDEST_MESSAGE: "Seconds for which the message has waited that has waited longest",
    Gauge.MESSAGES_WAITING: "Messages that can be received now",
    Gauge.MESSAGES_IN_HAND: "Messages delivered and not acknowledged",
    Gauge.MESSAGES_DELAYED: "Messages that are not to be received yet",
    Gauge.MESSAGES_DEAD: "Dead letters of the transport",
    Gauge.IN_FLIGHT: "Runs that are being attended",
    Gauge.SLOTS: "Runs that may be attended at a time",
    Gauge.LEADER: "1 if the tick runs here",
    Gauge.WATCH_FAILED: "How many of the table and the transport could not be asked for what they hold",
}


class PrometheusMetrics:
    """Implements ``kernel.metrics.Metrics``, and takes gauges, too. Shared by threads; never fails.

    Args:
        registry: where the metrics are registered; one has room for one of these.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._lock = Lock()
        self._failed = False
        self._gauges: dict[Gauge, PrometheusGauge] = {}
        self._counters = {
            name: Counter(PREFIX + name.value, HELP[name], LABELS[name], registry=registry) for name in Count
        }
        self._histograms = {
            name: Histogram(PREFIX + name.value, HELP[name], LABELS[name], buckets=BUCKETS[name], registry=registry)
            for name in Duration
        }

    def count(self, name: Count, value: int = 1, **labels: str) -> None:
        """It happened so many times more."""
        try:
            counter = self._counters[name]
            (counter.labels(**labels) if labels else counter).inc(value)
        except Exception as error:  # noqa: BLE001 - as when the disk is full: what is measured goes on all the same
            self._complain(name, error)

    def observe(self, name: Duration, seconds: float, **labels: str) -> None:
        """It took so long."""
        try:
            histogram = self._histograms[name]
            (histogram.labels(**labels) if labels else histogram).observe(seconds)
        except Exception as error:  # noqa: BLE001 - as above
            self._complain(name, error)

    def flush(self) -> None:
        """Nothing: Prometheus comes and asks."""

    def set(self, name: Gauge, value: float) -> None:
        """So much of it there is now; NaN for not known. What was never set is not shown."""
        try:
            self._gauge(name).set(value)
        except Exception as error:  # noqa: BLE001 - as above
            self._complain(name, error)

    def _gauge(self, name: Gauge) -> PrometheusGauge:
        with self._lock:
            if name not in self._gauges:
                self._gauges[name] = PrometheusGauge(
                    PREFIX + name.value,
                    HELP[name],
                    multiprocess_mode="livesum" if name in OF_PROCESS else "livemostrecent",
                    registry=self._registry,
                )
            return self._gauges[name]

    def _complain(self, name: str, error: Exception) -> None:
        if not self._failed:  # once is enough: it may be so for every measurement from now on
            self._failed = True
            log.error("%s was not measured; further failures of the kind are not logged: %s", name, error)


def render(registry: CollectorRegistry) -> bytes:
    """What was measured, in Prometheus's text format: by all processes that share a folder, else in this registry."""
    folder = os.environ.get(DIRECTORY)
    if not folder:
        return generate_latest(registry)
    together = CollectorRegistry()
    MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]  # the library's
    return generate_latest(together)


def forget(pid: int) -> None:
    """Let the gauges of a process that has ended count no more, where several measure together."""
    if os.environ.get(DIRECTORY):
        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library's
