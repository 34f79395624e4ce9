"""Runs that EventBridge starts, and operations by direct invocation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handlers import intake
from kernel.errors import NotFound, OnewriteError, Unavailable
from kernel.testing.faults import Fault
from tests.handlers.aws import Context, Json, Lines, bus_event
from tests.handlers.shop import GOOD, Deployment, registry, shop_is_repaired


def invoke(deployment: Deployment, event: object) -> Json:
    """What Lambda gives back: it has gone through JSON, as the event has."""
    given = json.loads(json.dumps(event))
    answer: Json = json.loads(json.dumps(deployment.intake(given, Context())))
    return answer


# --- EventBridge ------------------------------------------------------------------------------------------


def test_an_event_starts_a_run(deployment: Deployment) -> None:
    detail = {"workflow": "order", "input": GOOD, "preset": "cautious", "config": {"charge": {"limit": 9}}}

    answer = invoke(deployment, bus_event(detail))
    deployment.work()

    shown = invoke(deployment, {"show": answer["run"]})
    assert answer == {
        "run": answer["run"],
        "workflow": "order",
        "version": 1,
        "status": "running",
        "replay": False,
    }
    assert (shown["tenant"], shown["output"]["text"]) == ("acme", "shipped: charged o-1 up to 9")
    assert invoke(deployment, {"log": answer["run"]})["entries"][0]["by"] == "event:com.example.shop"


def test_an_event_that_is_delivered_twice_starts_one_run(deployment: Deployment) -> None:
    event = bus_event({"workflow": "order", "input": GOOD})

    first, second = invoke(deployment, event), invoke(deployment, event)

    assert second == first | {"replay": True}
    assert len(invoke(deployment, {"list": {}})["runs"]) == 1


def test_a_key_in_the_detail_comes_before_the_events_id(deployment: Deployment) -> None:
    detail = {"workflow": "order", "input": GOOD, "key": "order-1"}

    first = invoke(deployment, bus_event(detail))
    second = invoke(deployment, bus_event(detail, id="another"))

    assert second["run"] == first["run"]


REFUSED: dict[str, tuple[Json, str]] = {
    "another type": (bus_event({}, **{"detail-type": "order.placed"}), "order.placed"),
    "no type": (bus_event({}, **{"detail-type": None}), "None"),
    "no detail": (bus_event(None), "body"),
    "an empty detail": (bus_event({}), "workflow: Field required"),
    "an unknown field": (bus_event({"workflow": "order", "input": GOOD, "tenant": "other"}), "tenant"),
    "a wrong input": (bus_event({"workflow": "order", "input": {"id": 7}}), "input.id"),
    "JSON text as input": (bus_event({"workflow": "order", "input": json.dumps(GOOD)}), "input"),
    "no number as input": (bus_event({"workflow": "order", "input": {"id": float("nan")}}), "input"),
    "half a surrogate pair": (bus_event({"workflow": "order", "input": {"id": "\ud800"}}), "input"),
    "an unknown stage": (bus_event({"workflow": "order", "input": GOOD, "config": {"fly": {}}}), "fly"),
    "no id and no key": (bus_event({"workflow": "order", "input": GOOD}, id=None), "no id"),
}


@pytest.mark.parametrize(("event", "said"), REFUSED.values(), ids=REFUSED)
def test_an_event_that_no_repetition_makes_right_is_refused_and_logged(
    deployment: Deployment, event: Json, said: str
) -> None:
    lines = Lines()
    deployment.intake = intake.make_handler(deployment.play.env, registry, deployment.settings, lines.logger)

    answer = invoke(deployment, event)

    assert said in answer["refused"]
    assert deployment.writes == []
    (line,) = lines.written
    assert (line["level"], line["event_id"], line["reason"]) == ("ERROR", str(event["id"]), answer["refused"])


def test_a_key_that_was_used_for_other_input_is_refused(deployment: Deployment) -> None:
    invoke(deployment, bus_event({"workflow": "order", "input": GOOD, "key": "k"}))

    answer = invoke(deployment, bus_event({"workflow": "order", "input": {"id": "o-2"}, "key": "k"}))

    assert "'k'" in answer["refused"]


def test_an_event_that_could_not_be_stored_comes_again(deployment: Deployment) -> None:
    deployment.play.faults.choose = lambda _call: Fault.UNAVAILABLE
    event = bus_event({"workflow": "order", "input": GOOD})

    with pytest.raises(Unavailable):
        invoke(deployment, event)

    deployment.play.faults.choose = lambda _call: None
    assert invoke(deployment, event)["replay"] is False


def test_a_workflow_that_is_not_deployed_so_far_is_asked_for_again(deployment: Deployment) -> None:
    with pytest.raises(NotFound, match="'nope'"):
        invoke(deployment, bus_event({"workflow": "nope", "input": GOOD}))
    assert deployment.writes == []


def test_without_a_default_tenant_an_event_is_kept_for_the_dead_letter_queue() -> None:
    deployment = Deployment(default_tenant=None)

    with pytest.raises(OnewriteError, match="no tenant"):
        invoke(deployment, bus_event({"workflow": "order", "input": GOOD}))
    assert deployment.writes == []


# --- direct invocation ------------------------------------------------------------------------------------


def test_every_operation_can_be_invoked_directly(deployment: Deployment) -> None:
    start = {"workflow": "order", "input": GOOD, "key": "k"}
    run = invoke(deployment, {"start": start})["run"]
    assert invoke(deployment, {"start": start})["replay"] is True
    deployment.work()

    assert invoke(deployment, {"show": run})["output"]["text"] == "shipped: charged o-1 up to 100"
    assert invoke(deployment, {"show": {"run": run, "seq": 0}})["status"] == "running"
    assert invoke(deployment, {"show": {"run": run, "at": "2026-01-01T00:00:00Z", "wait": 1}})["run"] == run
    assert [each["run"] for each in invoke(deployment, {"list": {"status": ["completed"]}})["runs"]] == [run]
    assert invoke(deployment, {"list": {"workflow": "order,split", "limit": 1}})["cursor"] is None
    page = invoke(deployment, {"log": {"run": run, "limit": 1}})
    assert (page["after"], page["entries"][0]["by"]) == (0, "direct")
    assert invoke(deployment, {"steps": {"run": run, "after": 0, "limit": 1}})["steps"][0]["seq"] == 1
    assert invoke(deployment, {"annotations": {"run": run, "prefix": "w"}}) == {"annotations": [], "after": None}
    assert invoke(deployment, {"rerun": {"run": run, "stage": "ship"}})["status"] == "running"
    assert invoke(deployment, {"pause": {"run": run, "reason": "wait"}})["paused"]["reason"] == "wait"
    assert [each["run"] for each in invoke(deployment, {"list": {"status": "paused"}})["runs"]] == [run]
    assert invoke(deployment, {"resume": run})["status"] == "running"
    assert invoke(deployment, {"cancel": {"run": run, "reason": "enough"}})["reason"] == "enough"
    assert invoke(deployment, {"dead_letters": run}) == {"dead_letters": [], "unreadable": []}
    assert invoke(deployment, {"replay_dead_letters": run}) == {"published": 0, "clean": True}
    assert "charge" in invoke(deployment, {"diagram": {"workflow": "order"}})["mermaid"]
    assert invoke(deployment, {"diagram": {"workflow": "split", "version": 1}})["version"] == 1
    assert f"run {run}: cancelled" in invoke(deployment, {"run_diagram": run})["mermaid"]
    assert f"run {run}: running" in invoke(deployment, {"run_diagram": {"run": run, "seq": 0}})["mermaid"]
    assert len(invoke(deployment, {"workflows": {}})["workflows"]) == 4
    assert invoke(deployment, {"health": {}}) == {"status": "ok"}


def test_a_failed_run_is_retried_directly(deployment: Deployment) -> None:
    run = invoke(deployment, {"start": {"workflow": "order", "input": GOOD | {"broken": True}}})["run"]
    deployment.work()
    shop_is_repaired[0] = True

    assert invoke(deployment, {"retry": run})["status"] == "running"
    deployment.work()
    assert invoke(deployment, {"show": run})["status"] == "completed"


WRONG: dict[str, tuple[Any, int, str]] = {
    "no object": ([], 400, ""),
    "a text": ("start", 400, ""),
    "nothing": ({}, 400, ""),
    "null": (None, 400, ""),
    "two operations": ({"show": "a", "cancel": "a"}, 400, ""),
    "an unknown operation": ({"destroy": {}}, 404, ""),
    "no fields": ({"start": None}, 422, "body"),
    "a missing field": ({"start": {"workflow": "order"}}, 422, "input"),
    "an unknown field": ({"show": {"run": "a", "tenant": "other"}}, 422, "tenant"),
    "a wrong type": ({"show": {"run": "a", "seq": "1"}}, 422, "seq"),
    "a wrong time": ({"list": {"since": "yesterday"}}, 422, "since"),
    "a wrong cursor": ({"list": {"cursor": "?"}}, 422, "cursor"),
    "a wrong status": ({"list": {"status": "happy"}}, 422, "status.0"),
    "too long a list": ({"list": {"limit": 100_000}}, 422, "limit"),
    "an unknown run": ({"show": "a" * 24}, 404, ""),
    "an unknown workflow": ({"start": {"workflow": "nope", "input": {}}}, 404, ""),
    "a wrong input": ({"start": {"workflow": "order", "input": {}}}, 422, "input.id"),
    "something like a request": ({"httpMethod": "GET", "path": "/runs"}, 400, ""),
}


@pytest.mark.parametrize(("event", "status", "place"), WRONG.values(), ids=WRONG)
def test_a_wrong_invocation_is_told_what_is_wrong(
    deployment: Deployment, event: object, status: int, place: str
) -> None:
    error = invoke(deployment, event)["error"]

    assert error["status"] == status
    assert [each["where"] for each in error.get("problems", [])][:1] == ([place] if place else [])
    assert deployment.writes == []


def test_a_failure_of_the_store_fails_the_invocation_so_that_lambda_repeats_an_asynchronous_one(
    deployment: Deployment,
) -> None:
    deployment.play.faults.choose = lambda _call: Fault.UNAVAILABLE

    with pytest.raises(Unavailable):
        invoke(deployment, {"start": {"workflow": "order", "input": GOOD}})


def test_without_a_default_tenant_nothing_is_done_directly() -> None:
    deployment = Deployment(default_tenant=None)

    assert invoke(deployment, {"start": {"workflow": "order", "input": GOOD}})["error"]["status"] == 401
    assert invoke(deployment, {"list": {}})["error"]["status"] == 401
    assert deployment.play.faults.calls == []
