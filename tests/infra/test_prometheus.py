"""What Prometheus is shown: by one process, and by several that measure together; and that the page says so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from infra.prometheus import BUCKETS, DIRECTORY, HELP, PREFIX, PrometheusMetrics, forget, render
from kernel.core.state import RunStatus
from kernel.metrics import LABELS, Count, Duration, Gauge, Metrics
from kernel.shell.attend import Outcome

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    monkeypatch.delenv(DIRECTORY, raising=False)
    return CollectorRegistry()


def samples(text: bytes) -> dict[str, float]:
    """What is shown, by name and labels."""
    return dict(_samples(text.decode()))


def _samples(text: str) -> Iterator[tuple[str, float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            yield (
                f"{sample.name.removeprefix(PREFIX)}{{{labels}}}" if labels else sample.name[len(PREFIX) :],
                sample.value,
            )


def test_counts_and_durations_are_added_up_by_their_labels(registry: CollectorRegistry) -> None:
    metrics: Metrics = PrometheusMetrics(registry)
    metrics.count(Count.RUNS_ENDED, workflow="order", status="completed")
    metrics.count(Count.RUNS_ENDED, 2, workflow="order", status="completed")
    metrics.count(Count.RUNS_ENDED, workflow="order", status="failed")
    metrics.count(Count.CONFLICTS)
    metrics.observe(Duration.STAGE, 0.2, workflow="order")
    metrics.observe(Duration.STAGE, 40, workflow="order")
    shown = samples(render(registry))
    assert shown["runs_ended_total{status=completed,workflow=order}"] == 3
    assert shown["runs_ended_total{status=failed,workflow=order}"] == 1
    assert shown["conflicts_total"] == 1
    assert shown["stage_seconds_count{workflow=order}"] == 2
    assert shown["stage_seconds_sum{workflow=order}"] == 40.2
    assert shown["stage_seconds_bucket{le=0.25,workflow=order}"] == 1
    assert shown["stage_seconds_bucket{le=60.0,workflow=order}"] == 2


def test_what_has_no_labels_is_there_from_the_start(registry: CollectorRegistry) -> None:
    """So that its first increase is one."""
    PrometheusMetrics(registry)
    shown = samples(render(registry))
    assert (shown["events_dead_total"], shown["tick_seconds_count"]) == (0, 0)


def test_every_name_can_be_measured(registry: CollectorRegistry, caplog: pytest.LogCaptureFixture) -> None:
    metrics = PrometheusMetrics(registry)
    for count in Count:
        metrics.count(count, 1, **dict.fromkeys(LABELS[count], "x"))
    for duration in Duration:
        metrics.observe(duration, 1.0, **dict.fromkeys(LABELS[duration], "x"))
    for gauge in Gauge:
        metrics.set(gauge, 7)
    shown = samples(render(registry))
    assert sum(name.partition("{")[0].endswith("_total") for name in shown) == len(Count)
    assert sum(name.partition("{")[0].endswith("seconds_count") for name in shown) == len(Duration)
    assert [shown[gauge.value] for gauge in Gauge] == [7] * len(Gauge)
    assert not caplog.records


def test_a_gauge_is_shown_once_it_is_known_and_what_is_not_known_any_more_is_no_number(
    registry: CollectorRegistry,
) -> None:
    metrics = PrometheusMetrics(registry)
    assert "oldest_due_seconds" not in samples(render(registry))
    metrics.set(Gauge.OLDEST_DUE, 12.5)
    assert samples(render(registry))["oldest_due_seconds"] == 12.5
    metrics.set(Gauge.OLDEST_DUE, nan)
    assert isnan(samples(render(registry))["oldest_due_seconds"])


def test_what_cannot_be_measured_disturbs_nobody_and_is_said_once(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = PrometheusMetrics(registry)
    for _ in range(3):
        metrics.count(Count.CONFLICTS, -1)
        metrics.count(Count.TICK, wrong="label")
        metrics.observe(Duration.STAGE, 1.0)
    assert len(caplog.records) == 1


def test_buckets_are_in_order_and_every_name_has_its_help() -> None:
    assert set(BUCKETS) == set(Duration)
    assert all(list(bounds) == sorted(set(bounds)) for bounds in BUCKETS.values())
    assert set(HELP) == {*Count, *Duration, *Gauge}


# --- several processes ------------------------------------------------------------------------------------------------

CHILD = """
from prometheus_client import CollectorRegistry
from infra.prometheus import PrometheusMetrics
from kernel.metrics import Count, Duration, Gauge
import os
metrics = PrometheusMetrics(CollectorRegistry())
metrics.count(Count.STAGES_STARTED, {count}, workflow="order")
metrics.observe(Duration.ATTEND, {count})
metrics.set(Gauge.SLOTS, {count})
metrics.set(Gauge.OLDEST_DUE, {due})
print(os.getpid())
"""


def child(folder: Path, **values: Any) -> int:
    """A process that measures, and has ended; its id."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(**values)],
        env={**os.environ, DIRECTORY: str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_what_several_processes_measure_is_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = child(tmp_path, count=3, due=50)
    child(tmp_path, count=4, due=20)
    monkeypatch.setenv(DIRECTORY, str(tmp_path))

    shown = samples(render(CollectorRegistry()))

    assert shown["stages_started_total{workflow=order}"] == 7
    assert (shown["attend_seconds_count"], shown["attend_seconds_sum"]) == (2, 7)
    assert shown["slots"] == 7
    assert shown["oldest_due_seconds"] == 20, "the deployment has but one: the latest counts"

    forget(first)
    shown = samples(render(CollectorRegistry()))

    assert shown["slots"] == 4
    assert shown["stages_started_total{workflow=order}"] == 7, "what was done stays done"


def test_where_one_process_measures_for_itself_there_is_nothing_to_forget(registry: CollectorRegistry) -> None:
    PrometheusMetrics(registry).set(Gauge.SLOTS, 4)
    forget(os.getpid())
    assert samples(render(registry))["slots"] == 4


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_lists_every_metric_with_its_labels_and_no_other() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    rows = {
        name: set(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(r"^\| `(onewrite_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    }
    counts = {f"{PREFIX}{name.value}_total": set(LABELS[name]) for name in Count}
    durations = {f"{PREFIX}{name.value}": set(LABELS[name]) for name in Duration}
    gauges: dict[str, set[str]] = {f"{PREFIX}{name.value}": set() for name in Gauge}
    assert rows == counts | durations | gauges


def test_every_metric_that_the_page_speaks_of_exists(registry: CollectorRegistry) -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    known = {PREFIX + name.value + suffix for name in Duration for suffix in ("", "_bucket", "_count", "_sum")}
    known |= {f"{PREFIX}{name.value}_total" for name in Count} | {PREFIX + name.value for name in Gauge}
    assert set(re.findall(r"\bonewrite_\w+", page)) <= known


def test_the_page_lists_every_value_of_the_labels_outcome_and_status() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(onewrite_\w+)` \|(.*)$", page, re.MULTILINE))
    for outcome in Outcome:
        assert f"`{outcome}`" in rows["onewrite_pokes_attended_total"]
    for status in RunStatus:
        assert (f"`{status}`" in rows["onewrite_runs_ended_total"]) == status.finished
