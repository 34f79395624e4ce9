"""Starting runs (R1, R2): validated at the edge, idempotent by key, and nothing is stored of what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field

from kernel.core.events import RunCreated
from kernel.errors import InvalidInput
from kernel.shell.environment import Limits
from kernel.shell.start import Started, start
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from kernel.testing.units import size_of
from onewrite import Context, Workflow, stage
from tests.shell.script import Note, head_of, once, poke, work


class Line(BaseModel):
    """A line of an order."""

    sku: str = Field(min_length=1)
    count: int = 1


class Order(BaseModel):
    """An order with lines."""

    id: str
    lines: list[Line] = []


class Gateway(BaseModel):
    """What charging can be told."""

    url: str = "https://pay.example"
    retries: int = Field(default=2, ge=0)


seen: list[Gateway] = []


@stage
def charge(ctx: Context[Gateway], order: Order) -> Note:
    seen.append(ctx.config)
    return Note(text=order.id)


@stage
def ship(ctx: Context, note: Note) -> Note:
    return note


flow = (
    Workflow(
        "order",
        input=Order,
        presets={"test": {"charge": Gateway(url="https://test.example")}, "eager": {"charge": {"retries": 9}}},
    )
    .then(charge)
    .then(ship)
)


def begin(play: Play, input: object, **options: Any) -> Started:  # noqa: A002 - as the command has it
    """Start a run, as a handler does."""
    return start(play.env, flow, input, **{"tenant": "acme", "by": "api:alice", **options})


def stored(play: Play) -> int:
    """How many partitions hold anything."""
    return sum(bool(partition.items) for partition in play.store._partitions.values())


# --- what is accepted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [Order(id="o-1"), {"id": "o-1"}, '{"id":"o-1"}', b' { "id" : "o-1" } '],
    ids=["model", "dict", "str", "bytes"],
)
def test_an_input_may_come_as_a_model_a_mapping_or_json(given: object) -> None:
    play = Play(flow)
    ref = begin(play, given).ref
    (created,) = play.ended(ref).log[0]
    assert isinstance(created, RunCreated)
    assert bytes(created.input.json) == b'{"id":"o-1","lines":[]}', "validated, with defaults filled in"  # type: ignore[arg-type]  # kept in its event, so it is there


def test_a_new_run_is_one_item_and_one_message() -> None:
    play = Play(flow)
    ref = begin(play, Order(id="o-1")).ref
    assert play.queue.waiting == [poke(ref)]
    assert play.meter.total.writes == 1
    head = head_of(play, ref)
    assert (head.workflow, head.version, head.fingerprint) == ("order", 1, flow.definition.fingerprint)
    assert (head.status, head.by, head.created) == ("open", "api:alice", play.clock.now())
    assert head.due == play.clock.now() + play.env.limits.look_grace


def test_the_run_is_there_before_its_message_is_sent() -> None:
    """bratsos/workflow-engine: a fast worker sees a run that is not there yet and throws the job away."""
    play = Play(flow)
    begin(play, Order(id="o-1"))
    order = [(call.port, call.method) for call in play.faults.calls]
    assert order == [("store", "put"), ("queue", "send")]


def test_a_run_whose_starter_died_before_poking_is_not_lost() -> None:
    play = Play(flow)
    once(play, lambda call: call.method == "send", Fault.CRASH_BEFORE)
    with pytest.raises(Crash):
        begin(play, Order(id="o-1"), key="k")
    play.clock.move(play.env.limits.look_grace)
    assert play.tick().claimed == 1


def test_a_run_that_is_stored_is_accepted_even_when_its_message_cannot_be_sent() -> None:
    play = Play(flow)
    play.faults.choose = lambda call: Fault.UNAVAILABLE if call.method == "send" else None
    ref = begin(play, Order(id="o-1")).ref
    play.faults.choose = lambda _call: None
    play.play([ref], days=1)
    assert play.ended(ref).status == "completed"


# --- what is refused --------------------------------------------------------------------------------------------------

BAD_INPUT: dict[str, tuple[object, str]] = {
    "missing field": ({}, "input.id"),
    "wrong type": ({"id": 7}, "input.id"),
    "nested": ({"id": "o", "lines": [{"sku": "a"}, {"sku": ""}]}, "input.lines.1.sku"),
    "no object": ("[]", "input"),
    "no json": ("{", "input"),
    "not a number": ('{"id":"o","lines":[{"sku":"a","count":NaN}]}', "input"),
    "surrogate": ('{"id":"\\ud800"}', "input"),
    "lone surrogate": ({"id": "\ud800"}, "input"),
    "nul": ({"id": "a\0b"}, "input"),
    "deep": ('{"id":' + "[" * 500 + "]" * 500 + "}", "input"),
    "nothing": (None, "input"),
}


@pytest.mark.parametrize(("given", "where"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_is_refused_by_the_name_of_its_field_and_nothing_is_stored(given: object, where: str) -> None:
    play = Play(flow)
    with pytest.raises(InvalidInput) as refused:
        begin(play, given)
    assert any(place.startswith(where) for place, _ in refused.value.problems)
    assert (stored(play), play.queue.waiting) == (0, [])


BAD_CONFIG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown stage": ({"config": {"refund": {}}}, "stage 'refund' is not in the workflow"),
    "stage without configuration": ({"config": {"ship": {}}}, "stage 'ship' has no configuration"),
    "wrong value": ({"config": {"charge": {"retries": -1}}}, "config.charge.retries"),
    "no object": ({"config": {"charge": 7}}, "config.charge"),
    "unknown preset": ({"preset": "production"}, "no preset 'production'; there are: eager, test"),
    "hostile tenant": ({"tenant": "a#b"}, "tenant 'a#b'"),
    "no tenant": ({"tenant": ""}, "tenant ''"),
    "long tenant": ({"tenant": "a" * 129}, "tenant"),
    "empty key": ({"key": ""}, "idempotency key"),
    "long key": ({"key": "k" * 257}, "idempotency key"),
    "nul in the key": ({"key": "a\0b"}, "idempotency key"),
    "surrogate in the key": ({"key": "\ud800"}, "idempotency key"),
}


@pytest.mark.parametrize(("options", "text"), BAD_CONFIG.values(), ids=BAD_CONFIG.keys())
def test_a_bad_request_is_refused_and_nothing_is_stored(options: dict[str, Any], text: str) -> None:
    play = Play(flow)
    with pytest.raises(InvalidInput) as refused:
        begin(play, Order(id="o-1"), **options)
    assert text in str(refused.value)
    assert (stored(play), play.queue.waiting) == (0, [])


@pytest.mark.parametrize("what", ["input", "config"])
def test_a_request_that_is_too_large_is_refused_and_nothing_is_stored(what: str) -> None:
    play = Play(flow, limits=Limits(inline=10, payload=200))
    large = "x" * 300
    config = {"charge": {"url": large}} if what == "config" else None
    with pytest.raises(InvalidInput, match="too large: at most 200"):
        begin(play, Order(id=large if what == "input" else "o-1"), config=config)
    assert (stored(play), play.blobs.objects) == (0, {})


# --- configuration ----------------------------------------------------------------------------------------------------

CONFIGS: dict[str, tuple[dict[str, Any], Gateway]] = {
    "none": ({}, Gateway()),
    "given": ({"config": {"charge": {"retries": 0}}}, Gateway(retries=0)),
    "a model": ({"config": {"charge": Gateway(retries=5)}}, Gateway(retries=5)),
    "preset": ({"preset": "test"}, Gateway(url="https://test.example")),
    "preset and given": (
        {"preset": "test", "config": {"charge": {"retries": 1}}},
        Gateway(url="https://test.example", retries=1),
    ),
}


@pytest.mark.parametrize(("options", "wanted"), CONFIGS.values(), ids=CONFIGS.keys())
def test_a_stage_sees_the_configuration_of_its_run(options: dict[str, Any], wanted: Gateway) -> None:
    seen.clear()
    play = Play(flow)
    begin(play, Order(id="o-1"), **options)
    work(play)
    assert seen == [wanted]


# --- size -------------------------------------------------------------------------------------------------------------


def test_a_head_stays_under_a_kilobyte_with_the_largest_of_everything() -> None:
    """So that each change of it costs one write unit and not two."""
    play = Play(flow)
    for size in range(0, 600, 20):
        config = {"charge": {"url": "u" * size}}
        for given in ({"input": Order(id="x" * size)}, {"input": Order(id="x" * (600 - size)), "config": config}):
            for tenant in ("acme", "t" * 36, "t" * 128):
                ref = begin(play, **given, tenant=tenant).ref
                assert size_of(ref, head_of(play, ref)) <= 1_024
