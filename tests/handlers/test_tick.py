"""The scheduled tick: what it answers, and that it stays within its time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from handlers import tick
from kernel.ports import Poke, RunRef
from kernel.shell.read import show
from kernel.testing.faults import Call, Crash, Fault
from tests.handlers.aws import Client, Context, Json, Lines, http_event
from tests.handlers.shop import GOOD, TENANT, Deployment

MINUTE = 60_000

SCHEDULED = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-10-08T16:53:06Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:123456789012:rule/my-scheduled-rule"],
    "detail": {},
}


def counts(deployment: Deployment, seconds: float = 60) -> Json:
    """What a tick did, without what it did not."""
    answer = deployment.tick(SCHEDULED, Context(seconds))
    return {kind: count for kind, count in answer.items() if count}


def start(deployment: Deployment, **fields: object) -> str:
    run: str = Client(deployment.intake, http_event).start({"input": GOOD | fields}).json["run"]
    return run


def test_a_tick_with_nothing_due_answers_with_zeros(deployment: Deployment) -> None:
    answer = deployment.tick(SCHEDULED, Context(60))

    assert set(answer) >= {
        "claimed",
        "suspended",
        "reaped",
        "timers",
        "flushed",
        "deadlines",
        "finalised",
        "skipped",
    }
    assert not any(answer.values())
    assert deployment.writes == []


def test_a_run_whose_poke_was_lost_is_claimed(deployment: Deployment) -> None:
    run = start(deployment)
    deployment.play.queue.clear()
    deployment.play.clock.move(3 * MINUTE)

    assert counts(deployment) == {"looked": 1, "claimed": 1, "flushed": 1}
    assert deployment.play.queue.waiting == [Poke(TENANT, run)]
    deployment.work()
    assert show(deployment.play.env, RunRef(TENANT, run)).status == "completed"


def test_the_lease_of_a_dead_worker_is_reaped(deployment: Deployment) -> None:
    start(deployment)
    started = {"count": 0}

    def dies_in_mid_stage(call: Call) -> Fault | None:
        started["count"] += call.method == "put" and call.port == "store"
        return Fault.CRASH_BEFORE if started["count"] == 2 else None

    deployment.play.faults.choose = dies_in_mid_stage
    with pytest.raises(Crash):
        deployment.work()
    deployment.play.faults.choose = lambda _call: None
    deployment.play.clock.move(3 * MINUTE)

    assert counts(deployment)["reaped"] == 1


def test_a_run_past_its_deadline_is_failed_and_finalised(deployment: Deployment) -> None:
    run = start(deployment)
    deployment.play.queue.clear()
    deployment.play.clock.move(31 * 24 * 60 * MINUTE)

    found = counts(deployment)

    assert (found["deadlines"], found["finalised"], found["flushed"]) == (1, 1, 2)
    assert show(deployment.play.env, RunRef(TENANT, run)).status == "failed"


def test_what_was_not_published_is_flushed(deployment: Deployment) -> None:
    start(deployment)
    deployment.play.sink.refuse = lambda _event: "not now"
    deployment.work()
    deployment.play.sink.refuse = lambda _event: None
    deployment.play.clock.move(3 * MINUTE)

    found = counts(deployment)

    assert (found["flushed"], found["finalised"]) == (2, 1)
    assert [event.type for event in deployment.play.sink.events] == ["RunCreated", "RunCompleted"]


def test_one_bad_run_does_not_starve_the_others(deployment: Deployment) -> None:
    bad, *good = [start(deployment, id=f"o-{number}") for number in range(4)]
    deployment.play.queue.clear()
    deployment.play.clock.move(3 * MINUTE)
    lines = Lines()
    handler = tick.make_handler(deployment.play.env, lines.logger)

    def fate(call: Call) -> Fault | None:
        about_the_bad = bool(call.arguments) and call.arguments[0] == RunRef(TENANT, bad)
        return Fault.UNAVAILABLE if call.port == "store" and about_the_bad else None

    deployment.play.faults.choose = fate
    answer = handler(SCHEDULED, Context(60))

    assert (answer["failed"], answer["claimed"]) == (1, 3)
    assert {poke.run for poke in deployment.play.queue.waiting} == set(good)
    (line,) = lines.written
    assert (line["message"], line["claimed"], line["failed"]) == ("tick", 3, 1)


def test_a_tick_stops_when_its_time_is_up_and_says_so(deployment: Deployment) -> None:
    for number in range(3):
        start(deployment, id=f"o-{number}")
    deployment.play.clock.move(3 * MINUTE)

    assert counts(deployment, seconds=5) == {"left": True}
    assert counts(deployment) == {"looked": 3, "claimed": 3, "flushed": 3}


def test_a_tick_ends_before_the_next_one_starts_however_long_it_may_run(deployment: Deployment) -> None:
    for number in range(20):
        start(deployment, id=f"o-{number}")
    clock = deployment.play.clock
    clock.move(3 * MINUTE)
    begun = clock.now()
    queue = deployment.play.env.queue

    class Slow:
        def send(self, pokes: object) -> None:
            clock.move(10_000)
            queue.send(pokes)  # type: ignore[arg-type]  # handed on

    handler = tick.make_handler(replace(deployment.play.env, queue=Slow()))
    answer = handler(SCHEDULED, Context(900))

    assert (answer["left"], answer["claimed"]) == (True, 5)
    assert clock.now() - begun < MINUTE
