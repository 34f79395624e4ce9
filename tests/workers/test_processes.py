"""Worker processes on DynamoDB Local and a real Redis: they attend, stop in good order, and survive what is lost."""

from __future__ import annotations

import signal
import socket
import time
from itertools import pairwise

import pytest

from kernel.core.events import LeaseExpired, StageCompleted, StageFailed, StageStarted
from kernel.shell.environment import SECOND
from tests.workers.flows import TIMEOUT
from tests.workers.site import Silence, Site, until

pytestmark = [pytest.mark.dynamodb_local, pytest.mark.redis]

DRAIN = 4.0


def test_runs_are_attended_and_every_commit_names_its_worker(site: Site) -> None:
    site.worker("--concurrency", "4").wait_until_ready()
    refs = [site.begin("napping") for _ in range(10)] + [site.begin("apart") for _ in range(5)]

    until(lambda: all(site.status(ref) == "completed" for ref in refs))

    for ref in refs:
        assert all(by.startswith("worker:") and by.count("-") >= 2 for _, by, _ in site.events(ref))


def test_fifty_stages_in_flight_all_end_or_are_handed_back_and_none_waits_for_its_lease(site: Site) -> None:
    leaving = site.worker("--concurrency", "50", "--drain", str(DRAIN)).wait_until_ready()
    short = [site.begin("napping", seconds=2.0) for _ in range(25)]
    long = [site.begin("napping", seconds=100.0) for _ in range(25)]
    refs = [*short, *long]
    until(lambda: all(any(isinstance(event, StageStarted) for *_, event in site.events(ref)) for ref in refs))

    leaving.signal()
    began = time.monotonic()
    staying = site.worker("--concurrency", "16")
    assert leaving.end() == 0
    took = time.monotonic() - began
    staying.wait_until_ready()
    until(lambda: all(site.status(ref) == "completed" for ref in refs))

    assert took < DRAIN + 6, "it ends within the limit: the drain, and what handing back may take"
    stopped = leaving.said("worker has stopped")
    assert stopped is not None
    assert stopped["handed_back"] >= 20
    for ref in refs:
        events = site.events(ref)
        starts = [(at, event) for at, _, event in events if isinstance(event, StageStarted) and event.stage == "nap"]
        given_up = [event for *_, event in events if isinstance(event, LeaseExpired)]
        assert len(starts) == 1 + len(given_up)
        for (_, first), (again, _) in pairwise(starts):
            assert again < first.lease - TIMEOUT.total_seconds() * SECOND / 2, "long before the lease would have ended"
    assert not any(isinstance(event, LeaseExpired) for ref in short for *_, event in site.events(ref))


def test_a_second_signal_hands_back_at_once(site: Site) -> None:
    leaving = site.worker("--concurrency", "2", "--drain", "60").wait_until_ready()
    ref = site.begin("napping", seconds=100.0)
    until(lambda: any(isinstance(event, StageStarted) for *_, event in site.events(ref)))

    leaving.signal()
    until(lambda: leaving.said("worker stops"))
    began = time.monotonic()
    leaving.signal(signal.SIGINT)

    assert leaving.end() == 0
    assert time.monotonic() - began < 8
    assert any(isinstance(event, LeaseExpired) for *_, event in site.events(ref))
    site.worker().wait_until_ready()
    until(lambda: site.status(ref) == "completed")


def test_a_stage_that_runs_too_long_is_told_at_its_next_call(site: Site) -> None:
    site.worker("--concurrency", "2").wait_until_ready()
    ref = site.begin("hanging")

    until(lambda: site.status(ref) == "completed")

    [failed] = [event for *_, event in site.events(ref) if isinstance(event, StageFailed)]
    assert (failed.error.category, failed.error.kind) == ("timeout", "StageTimedOut")


def test_a_stage_that_asks_nobody_goes_on_elsewhere_and_its_slot_is_told_of(site: Site) -> None:
    worker = site.worker("--concurrency", "2", LEASE_GRACE_SECONDS="1").wait_until_ready()
    ref = site.begin("deaf", seconds=40.0)

    until(lambda: site.status(ref) == "completed")

    [failed] = [event for *_, event in site.events(ref) if isinstance(event, StageFailed)]
    assert (failed.error.category, failed.error.kind) == ("lease", "LeaseLost")
    until(lambda: "1 of 2 slots are in a stage that does not end" in worker.get("health")[1])
    until(lambda: '"stuck":0' in worker.get("health")[1])


def test_another_worker_takes_over_from_one_that_is_killed_ticks_included(site: Site) -> None:
    killed = site.worker("--visibility", "2", LEASE_GRACE_SECONDS="1").wait_until_ready()
    until(lambda: "onewrite_leader 1.0" in killed.get("metrics")[1])
    waiting = site.worker("--visibility", "2").wait_until_ready()
    assert "onewrite_leader 0.0" in waiting.get("metrics")[1]
    killed.signal(signal.SIGKILL)
    killed.end()
    ref = site.begin("napping")

    until(lambda: site.status(ref) == "completed")
    until(lambda: "onewrite_leader 1.0" in waiting.get("metrics")[1])


def test_a_worker_that_stops_gives_the_tick_to_another_at_once(site: Site) -> None:
    leaving = site.worker(TICK_SECONDS="60").wait_until_ready()
    until(lambda: "onewrite_leader 1.0" in leaving.get("metrics")[1])
    staying = site.worker(TICK_SECONDS="60").wait_until_ready()
    leaving.signal()
    assert leaving.end() == 0
    began = time.monotonic()

    until(lambda: "onewrite_leader 1.0" in staying.get("metrics")[1])
    assert time.monotonic() - began < 12, "before the role of one that died would have ended"


def test_several_processes_are_one_worker_to_whoever_looks(site: Site) -> None:
    together = site.worker("--processes", "2", "--concurrency", "2").wait_until_ready()
    refs = [site.begin("napping") for _ in range(6)]
    until(lambda: all(site.status(ref) == "completed" for ref in refs))

    until(lambda: 'onewrite_runs_ended_total{status="completed",workflow="napping"} 6.0' in together.get("metrics")[1])
    until(lambda: '"slots":4' in together.get("health")[1])
    together.signal()
    assert together.end() == 0


def test_a_process_that_dies_is_started_again_by_its_supervisor(site: Site) -> None:
    together = site.worker("--processes", "2", "--visibility", "2", LOOK_GRACE_SECONDS="1").wait_until_ready()
    deadly = site.begin("napping", dies=True)

    until(lambda: together.said("a worker process has died"))
    other = site.begin("napping")
    until(lambda: site.status(other) == "completed")
    until(lambda: '"slots":16' in together.get("health")[1])
    started = [event for *_, event in site.events(deadly) if isinstance(event, StageStarted)]
    assert len(started) == 1
    assert not any(isinstance(event, StageCompleted) for *_, event in site.events(deadly))


@pytest.mark.parametrize(
    "flags", [["--concurrency", "0"], ["--port", "70000"], ["--drain", "nan"], ["--transport", "x"]]
)
def test_what_is_wrong_on_the_command_line_is_said_and_nothing_runs(site: Site, flags: list[str]) -> None:
    process = site.worker(*flags)

    assert process.end() == 2
    assert flags[0] in process.log.read_text()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_what_is_wrong_with_the_settings_is_said_and_nothing_runs(site: Site, processes: str) -> None:
    process = site.worker("--processes", processes, REDIS_URL="", INDEX_SHARDS="0")

    assert process.end() == 1
    said = process.log.read_text()
    assert said.count("REDIS_URL is missing") == 1
    assert "INDEX_SHARDS" in said


def test_workflows_that_cannot_be_loaded_end_all_processes(site: Site) -> None:
    process = site.worker("--processes", "2", WORKFLOWS="no.such:registry")

    assert process.end() == 1
    assert "WORKFLOWS=no.such:registry leads nowhere" in process.log.read_text()


def test_a_port_that_is_taken_is_said_with_what_to_do(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = site.worker("--port", str(taken.getsockname()[1]))
        assert process.end() == 1
    assert "choose another port, 0 for any that is free, or none" in process.log.read_text()


def test_a_worker_stops_in_time_though_neither_table_nor_redis_answers(site: Site) -> None:
    """They accept connections, and say nothing: the worst that a network does."""
    with Silence() as silence:
        url = f"http://127.0.0.1:{silence.port}"
        worker = site.worker(
            "--drain",
            "1",
            AWS_ENDPOINT_URL=url,
            REDIS_URL=f"redis://127.0.0.1:{silence.port}",
        )
        until(lambda: worker.said("worker runs"))
        began = time.monotonic()
        worker.signal()
        worker.end()
    assert time.monotonic() - began < 1 + 5 + 3
