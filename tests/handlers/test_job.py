"""Attending a batch of SQS: what is acknowledged, and what returns to the queue."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from handlers import job
from kernel.ports import Commit, Poke, RunRef, log_key
from kernel.shell.read import show
from kernel.testing.faults import Call, Fault
from tests.handlers import shop
from tests.handlers.aws import Client, Context, Handler, Json, Lines, http_event, queue_record
from tests.handlers.shop import GOOD, TENANT, Deployment


def body(run: str, **fields: object) -> str:
    return json.dumps({"tenant": TENANT, "run": run, **fields})


def batch(*bodies: str) -> Json:
    """A batch, its messages numbered from 0."""
    return {"Records": [queue_record(each, str(number)) for number, each in enumerate(bodies)]}


def returned(handler: Handler, event: Json, seconds: float = 300) -> list[str]:
    """The messages that the handler gives back to the queue."""
    answer = handler(event, Context(seconds))
    assert answer.keys() == {"batchItemFailures"}
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def start(deployment: Deployment, count: int) -> list[str]:
    """Some runs whose pokes the test delivers itself."""
    client = Client(deployment.intake, http_event)
    runs = [client.start({"input": GOOD | {"id": f"o-{number}"}}).json["run"] for number in range(count)]
    deployment.play.queue.clear()
    return runs


def status(deployment: Deployment, run: str) -> str:
    return show(deployment.play.env, RunRef(TENANT, run)).status


def test_a_batch_is_attended_and_acknowledged(deployment: Deployment) -> None:
    runs = start(deployment, 10)

    assert returned(deployment.job, batch(*map(body, runs))) == []
    assert {status(deployment, run) for run in runs} == {"completed"}


def test_an_empty_batch_is_fine(deployment: Deployment) -> None:
    assert returned(deployment.job, {"Records": []}) == []
    assert returned(deployment.job, {}) == []


def test_a_stage_that_fails_is_the_logs_business(deployment: Deployment) -> None:
    run = Client(deployment.intake, http_event).start({"input": GOOD | {"broken": True}}).json["run"]

    assert returned(deployment.job, batch(body(run))) == []
    assert status(deployment, run) == "failed"


def test_a_poke_for_a_run_that_is_gone_is_acknowledged(deployment: Deployment) -> None:
    assert returned(deployment.job, batch(body("a" * 24))) == []


def test_a_doubled_poke_does_the_work_once(deployment: Deployment) -> None:
    (run,) = start(deployment, 1)

    assert returned(deployment.job, batch(body(run), body(run))) == []
    assert [stage.attempt for stage in show(deployment.play.env, RunRef(TENANT, run)).stages] == [1, 1]


FOREIGN = {
    "no JSON": "hello",
    "nothing": "",
    "another's JSON": '{"Records": []}',
    "no object": "[]",
    "null": "null",
    "a field too many": '{"tenant": "acme", "run": "a", "colour": "red"}',
    "a missing field": '{"tenant": "acme"}',
    "a wrong type": '{"tenant": "acme", "run": 7}',
    "an empty name": '{"tenant": "", "run": "a"}',
    "a separator in a name": '{"tenant": "acme#a", "run": "b"}',
    "a name too long": json.dumps({"tenant": "acme", "run": "a" * 300}),
    "nested without end": "[" * 4_000,
    "half a surrogate pair": '{"tenant": "acme", "run": "\\ud800"}',
    "very long": "x" * 200_000,
    "a newer version": '{"tenant": "acme", "run": "a", "v": 2}',
    "a newer version with other fields": '{"who": "acme", "what": ["a"], "v": 2}',
    "a version that never was": '{"tenant": "acme", "run": "a", "v": 0}',
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_a_message_that_is_not_ours_returns_alone_so_that_it_ends_in_the_dead_letter_queue(
    deployment: Deployment, foreign: str
) -> None:
    first, second = start(deployment, 2)

    assert returned(deployment.job, batch(body(first), foreign, body(second))) == ["1"]
    assert {status(deployment, run) for run in (first, second)} == {"completed"}


def test_a_record_without_a_body_returns_alone(deployment: Deployment) -> None:
    (run,) = start(deployment, 1)
    event = batch("", body(run))
    del event["Records"][0]["body"]

    assert returned(deployment.job, event) == ["0"]
    assert status(deployment, run) == "completed"


def test_a_message_of_a_newer_version_says_what_to_do(deployment: Deployment) -> None:
    lines = Lines()
    handler = job.make_handler(deployment.play.env, lines.logger)

    assert returned(handler, batch('{"tenant": "acme", "run": "a", "v": 2}')) == ["0"]
    (line,) = lines.written
    assert (line["level"], line["message_id"]) == ("WARNING", "0")
    assert "newer version of Onewrite" in line["error"]


def test_a_run_that_the_store_does_not_give_returns_and_the_others_are_attended(deployment: Deployment) -> None:
    runs = start(deployment, 3)

    def fate(call: Call) -> Fault | None:
        reads_the_second = bool(call.arguments) and call.arguments[0] == RunRef(TENANT, runs[1])
        return Fault.UNAVAILABLE if call.port == "store" and reads_the_second else None

    deployment.play.faults.choose = fate

    assert returned(deployment.job, batch(*map(body, runs))) == ["1"]
    deployment.play.faults.choose = lambda _call: None
    assert [status(deployment, run) for run in runs] == ["completed", "running", "completed"]
    assert returned(deployment.job, batch(body(runs[1]))) == []
    assert status(deployment, runs[1]) == "completed"


def test_a_log_that_cannot_be_read_returns_alone(deployment: Deployment) -> None:
    broken, fine = start(deployment, 2)
    ref = RunRef(TENANT, broken)
    deployment.play.store.put(ref, Commit(1, 0, "token", "worker", b"[]", 0, v=99))
    assert deployment.play.store.get(ref, log_key(1)) is not None

    assert returned(deployment.job, batch(body(broken), body(fine))) == ["0"]
    assert status(deployment, fine) == "completed"


def test_a_mistake_of_ours_returns_alone_with_its_traceback_in_the_log(deployment: Deployment) -> None:
    runs = start(deployment, 2)
    lines = Lines()

    class Broken:
        def find(self, *given: object) -> None:
            if len(lines.written) == 0:
                message = "a mistake"
                raise ZeroDivisionError(message)

    env = replace(deployment.play.env, definitions=Broken())

    assert returned(job.make_handler(env, lines.logger), batch(*map(body, runs))) == ["0"]
    assert lines.written[0]["exception_name"] == "ZeroDivisionError"


def test_a_poke_before_its_time_is_sent_again_for_the_rest(deployment: Deployment) -> None:
    (run,) = start(deployment, 1)
    at = deployment.play.clock.now() + 61_500

    assert returned(deployment.job, batch(body(run, at=at))) == []

    assert status(deployment, run) == "running"
    assert deployment.play.queue.waiting == [Poke(TENANT, run, at=at)]
    assert deployment.play.queue.next_at == deployment.play.clock.now() + 62_000


def test_no_stage_starts_that_could_not_end_in_time(deployment: Deployment) -> None:
    (run,) = start(deployment, 1)

    # Stages take up to 5 s: what the invocation has left, less what is kept back, is not enough.
    assert returned(deployment.job, batch(body(run)), seconds=7) == []

    assert "StageStarted" not in str(deployment.play.ended(RunRef(TENANT, run)).names())
    assert [poke.run for poke in deployment.play.queue.waiting] == [run]


def test_a_next_stage_is_not_begun_in_time_that_the_stage_before_has_used_up(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = start(deployment, 1)
    monkeypatch.setattr(shop, "before_each_stage", lambda: deployment.play.clock.move(4_500))

    # Of 12 s, 2 s are the margin; the first stage takes 4.5 s, so the next one, of up to 5 s, does not fit any more.
    assert returned(deployment.job, batch(body(run)), seconds=12) == []

    assert "StageStarted ship" not in deployment.play.ended(RunRef(TENANT, run)).names()
    deployment.work()
    assert status(deployment, run) == "completed"


def test_each_message_has_a_fair_share_of_the_time_and_what_is_left_over_is_poked_again(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = start(deployment, 3)
    clock = deployment.play.clock
    monkeypatch.setattr(shop, "before_each_stage", lambda: clock.move(4_000))

    # Of 34 s, 2 s are the margin: a third of the rest has room for a stage of 4 s and for another of up to 5 s.
    assert returned(deployment.job, batch(*map(body, runs)), seconds=34) == []
    assert [status(deployment, run) for run in runs] == ["completed"] * 3

    # A third of 16 s, or what is left of it for the last one, has room for one only.
    more = start(deployment, 3)
    assert returned(deployment.job, batch(*map(body, more)), seconds=18) == []
    assert [status(deployment, run) for run in more] == ["running"] * 3
    assert sorted(poke.run for poke in deployment.play.queue.waiting) == sorted(more)
    deployment.work()
    assert [status(deployment, run) for run in more] == ["completed"] * 3


def test_a_store_that_is_down_does_not_make_a_batch_outlive_its_invocation(deployment: Deployment) -> None:
    runs = start(deployment, 10)
    begun = deployment.play.clock.now()
    deployment.play.faults.choose = lambda _call: Fault.UNAVAILABLE

    # Else Lambda cuts it off, and what was attended before returns with the rest.
    assert len(returned(deployment.job, batch(*map(body, runs)), seconds=20)) == 10
    assert deployment.play.clock.now() - begun <= 20_000
