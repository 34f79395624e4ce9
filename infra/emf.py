"""Measurements of an invocation as lines of CloudWatch's Embedded Metric Format, which CloudWatch makes metrics of.

Powertools, which the handlers load anyway, knows the format; it is not asked to collect: it prints for itself, takes
its service for a dimension, and formats all values so far at each that comes.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.constants import MAX_METRICS
from msgspec import json

from infra.system import SystemClock
from kernel.metrics import Count, Duration
from kernel.ports import Clock

Labels = tuple[tuple[str, str], ...]


class EmfMetrics:
    """Implements ``kernel.metrics.Metrics``. May be shared by threads.

    Holds what it is told until ``flush``, and writes one line for each set of labels, which are its dimensions. A line
    is written early once it has as many values of one duration as the format allows, which is 100.

    Args:
        write: takes a line of text, without its end.
        namespace: CloudWatch's namespace.
        clock: tells when that was.
    """

    def __init__(self, write: Callable[[str], object], namespace: str, clock: Clock) -> None:
        self._write = write
        self._namespace = namespace
        self._clock = clock
        self._lock = Lock()
        self._counts: dict[Labels, dict[str, int]] = {}
        self._seconds: dict[Labels, dict[str, list[float]]] = {}

    def count(self, name: Count, value: int = 1, **labels: str) -> None:
        """It happened so many times more."""
        with self._lock:
            counts = self._counts.setdefault(tuple(labels.items()), {})
            counts[name.value] = counts.get(name.value, 0) + value

    def observe(self, name: Duration, seconds: float, **labels: str) -> None:
        """It took so long."""
        of = tuple(labels.items())
        with self._lock:
            values = self._seconds.setdefault(of, {}).setdefault(name.value, [])
            values.append(round(seconds, 3))
            if len(values) == MAX_METRICS:
                self._write_line(of)

    def flush(self) -> None:
        """Write what was measured since the last time; nothing, if nothing was. At the end of every invocation."""
        with self._lock:
            for of in {**self._counts, **self._seconds}:
                self._write_line(of)

    def _write_line(self, of: Labels) -> None:
        metrics: dict[str, object] = {}
        for name, count in self._counts.pop(of, {}).items():
            metrics[name] = {"Unit": "Count", "Value": [count]}
        for name, values in self._seconds.pop(of, {}).items():
            metrics[name] = {"Unit": "Seconds", "Value": values}
        # An empty service keeps it from looking for one in the environment.
        line = AmazonCloudWatchEMFProvider(metrics, dict(of), self._namespace, service="")
        line.timestamp = self._clock.now()
        self._write(json.encode(line.serialize_metric_set()).decode())


def on_standard_output(namespace: str) -> EmfMetrics:
    """Measurements as Lambda hands them to CloudWatch."""
    return EmfMetrics(lambda line: print(line, flush=True), namespace, SystemClock())  # noqa: T201 - it is what Lambda reads
