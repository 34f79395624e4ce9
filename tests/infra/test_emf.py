"""Measurements as CloudWatch reads them in a function's log.

Source: "Specification: Embedded metric format", Amazon CloudWatch User Guide.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from handlers import tick
from hosts.engines import aws_environment
from infra import compose
from infra.emf import EmfMetrics
from kernel.metrics import NO_METRICS, Count, Duration, Metrics
from kernel.testing.faults import Crash, Fault
from kernel.testing.memory import FakeClock
from kernel.testing.play import Play
from tests.handlers.aws import Context
from tests.handlers.shop import GOOD, order, registry


class Log:
    """What was written, line by line, and parsed."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.clock = FakeClock()
        self.metrics = EmfMetrics(self.write, "shop", self.clock)

    def write(self, line: str) -> None:
        assert "\n" not in line
        self.lines.append(json.loads(line))


@pytest.fixture
def log() -> Log:
    return Log()


def test_nothing_measured_is_nothing_written(log: Log) -> None:
    log.metrics.flush()
    assert log.lines == []


def test_each_set_of_labels_is_a_line_with_its_dimensions(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "not a dimension of ours")
    metrics: Metrics = log.metrics
    metrics.count(Count.STAGES_STARTED, workflow="order")
    metrics.count(Count.STAGES_STARTED, 2, workflow="order")
    metrics.observe(Duration.STAGE, 0.25, workflow="order")
    metrics.observe(Duration.STAGE, 1.5, workflow="order")
    metrics.count(Count.CONFLICTS)
    log.metrics.flush()
    order, plain = log.lines
    assert order == {
        "_aws": {
            "Timestamp": log.clock.now(),
            "CloudWatchMetrics": [
                {
                    "Namespace": "shop",
                    "Dimensions": [["workflow"]],
                    "Metrics": [
                        {"Name": "stages_started", "Unit": "Count"},
                        {"Name": "stage_seconds", "Unit": "Seconds"},
                    ],
                }
            ],
        },
        "workflow": "order",
        "stages_started": [3],
        "stage_seconds": [0.25, 1.5],
    }
    assert plain["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [[]]
    assert plain["conflicts"] == [1]


def test_what_was_written_is_not_written_again(log: Log) -> None:
    log.metrics.count(Count.CONFLICTS)
    log.metrics.flush()
    log.metrics.flush()
    assert len(log.lines) == 1


def test_a_line_has_no_more_values_than_the_format_allows_and_none_is_lost(log: Log) -> None:
    for number in range(250):
        log.metrics.count(Count.STAGES_COMPLETED, workflow="order")
        log.metrics.observe(Duration.STAGE, number, workflow="order")
    log.metrics.flush()
    assert [len(line["stage_seconds"]) for line in log.lines] == [100, 100, 50]
    assert [value for line in log.lines for value in line["stage_seconds"]] == list(range(250))
    assert sum(line["stages_completed"][0] for line in log.lines) == 250


VARIABLES = {
    **aws_environment("http://127.0.0.1:1"),
    "WORKFLOWS": "w:r",
    "TABLE_NAME": "table",
    "QUEUE_URL": "http://q",
}


@pytest.mark.parametrize("variables", [{}, {"METRICS_NAMESPACE": ""}])
def test_without_a_namespace_nothing_is_measured(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert compose.maintenance(VARIABLES | variables).metrics is NO_METRICS


def test_with_a_namespace_lines_go_to_standard_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    metrics = compose.maintenance(VARIABLES | {"METRICS_NAMESPACE": "shop"}).metrics
    metrics.count(Count.CONFLICTS)
    metrics.flush()
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["conflicts"] == [1]


# --- in the tick's function -------------------------------------------------------------------------------------------


def test_a_tick_writes_what_it_measured_once_it_is_over(log: Log) -> None:
    play = Play(registry=registry)
    play.start(order, GOOD)
    play.clock.move(play.env.limits.look_grace)
    handler = tick.make_handler(replace(play.env, metrics=log.metrics))

    handler({}, Context(60))
    handler({}, Context(60))

    kinds = {line["kind"]: line["tick"] for line in log.lines if "kind" in line}
    assert kinds == {"looked": [1], "claimed": [1], "flushed": [1]}
    plain = [line for line in log.lines if "tick_seconds" in line]
    assert [line["tick_seconds"] for line in plain] == [[0.0], [0.0]], "one line for each tick"
    assert plain[0]["events_published"] == [1]


def test_a_tick_that_dies_writes_what_it_measured_until_then(log: Log) -> None:
    play = Play(registry=registry)
    play.start(order, GOOD)
    play.clock.move(play.env.limits.look_grace)
    play.faults.choose = lambda call: Fault.CRASH_AFTER if call.method == "publish" else None
    handler = tick.make_handler(replace(play.env, metrics=log.metrics))
    log.metrics.count(Count.CONFLICTS)

    with pytest.raises(Crash):
        handler({}, Context(60))

    assert [line["conflicts"] for line in log.lines] == [[1]]
