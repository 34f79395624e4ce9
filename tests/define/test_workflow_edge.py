"""What a run is started with: input and configuration, validated before anything is stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_validator

from onewrite import Context, DefinitionError, InvalidInput, Registry, Workflow, stage


class Line(BaseModel):
    sku: str
    quantity: int = 1


class Order(BaseModel):
    id: str = Field(alias="orderId")
    lines: list[Line] = []
    total: float | None = None
    at: datetime | None = None
    extra: Any = None

    @field_validator("id")
    @classmethod
    def known(cls, value: str) -> str:
        if value == "crash":
            raise KeyError(value)
        return value


class Gateway(BaseModel):
    url: str = Field(default="https://example.org", alias="endpoint")
    retries: int = 3


class Scale(BaseModel):
    unit: str


@stage
def charge(ctx: Context[Gateway], order: Order) -> str:
    return order.id


@stage
def weigh(ctx: Context[Scale], receipt: str) -> int:
    return len(receipt)


@stage
def ship(ctx: Context, receipt: str) -> int:
    return len(receipt)


workflow = Workflow("order", input=Order).then(charge).then(ship)


def problems(given: object) -> tuple[tuple[str, str], ...]:
    with pytest.raises(InvalidInput) as refusal:
        workflow.accept(given)
    return refusal.value.problems


# --- input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        b'{"orderId":"7","lines":[{"sku":"a"}]}',
        '{"orderId":"7","lines":[{"sku":"a"}]}',
        {"orderId": "7", "lines": [Line(sku="a")]},
        Order(orderId="7", lines=[Line(sku="a")]),
    ],
    ids=["bytes", "text", "mapping", "model"],
)
def test_input_is_recorded_with_its_defaults_and_by_the_names_of_its_fields(given: object) -> None:
    assert json.loads(workflow.accept(given)) == {
        "id": "7",
        "lines": [{"sku": "a", "quantity": 1}],
        "total": None,
        "at": None,
        "extra": None,
    }


def test_a_mapping_is_read_as_its_json_would_be() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)

    assert json.loads(workflow.accept({"orderId": "7", "at": at}))["at"] == "2026-01-01T00:00:00Z"


def test_each_problem_has_its_path() -> None:
    assert problems('{"lines":[{"sku":7},{"sku":"a","quantity":"many"}],"total":"?"}') == (
        ("input.orderId", "Field required"),
        ("input.lines.0.sku", "Input should be a valid string"),
        ("input.lines.1.quantity", "Input should be a valid integer, unable to parse string as an integer"),
        ("input.total", "Input should be a valid number, unable to parse string as a number"),
    )


def test_the_message_names_the_first_problems_and_no_values() -> None:
    with pytest.raises(InvalidInput) as refusal:
        workflow.accept('{"orderId":"7","total":"s3cret"}')

    assert str(refusal.value).startswith("the input is refused (input.total: Input should be a valid")
    assert "s3cret" not in str(refusal.value)


def nested(depth: int) -> str:
    return '{"orderId":"7","extra":' + "[" * depth + "]" * depth + "}"


@pytest.mark.parametrize(
    ("given", "where", "what"),
    [
        ("", "input", "not JSON"),
        ("{", "input", "not JSON"),
        ('{"orderId":"7"} x', "input", "not JSON"),
        (b"\xff", "input", "not JSON"),
        ("{'orderId':'7'}", "input", "not JSON"),
        ('{"orderId":"7\n"}', "input", "not JSON"),
        ('{"orderId":"7","total":NaN}', "input", "not JSON"),
        ('{"orderId":"7","total":-Infinity}', "input", "not JSON"),
        ('{"orderId":"7","total":1e999}', "input", "not JSON"),
        ('{"orderId":"7","extra":' + "9" * 5_000 + "}", "input", "not JSON"),
        ('{"orderId":"\\ud800"}', "input", "not JSON"),
        (b'"\xed\xa0\x80"', "input", "not JSON"),
        ('{"orderId":"\ud800"}', "input", "not JSON"),
        ('{"orderId":"a\\u0000"}', "input.orderId", "holds the character NUL"),
        ('{"orderId":"7","extra":{"a":[{"b\\u0000":1}]}}', "input.extra.a.0", "holds the character NUL"),
        (nested(64), "input", "nested deeper than 64"),
        (nested(100_000), "input", "nested deeper than 64"),
        ({"orderId": "7", "total": float("nan")}, "input", "not JSON"),
        ({"orderId": "7", "total": float("inf")}, "input", "not JSON"),
        ({"orderId": "\udfff"}, "input", "not JSON"),
        ({"orderId": int}, "input", "not JSON"),
        ("[]", "input", "Input should be an object"),
        ("7", "input", "Input should be an object"),
        ("null", "input", "Input should be an object"),
        (None, "input", "Input should be an object"),
        ([], "input", "Input should be an object"),
        ({"orderId": "crash"}, "input", "KeyError: 'crash'"),
        ({"orderId": 7}, "input.orderId", "Input should be a valid string"),
        (Order.model_construct(id=7), "input", "id: Input should be a valid string"),
        (
            Order(orderId="7", total=float("nan")),
            "input",
            "value.total is a float, but would be read back as a NoneType",
        ),
        (
            Order(orderId="7", extra=(1, 2)),
            "input",
            "value.extra is a tuple, but would be read back as a list",
        ),
    ],
    ids=lambda value: f"{repr(value)[:40]} ({len(repr(value))})",
)
def test_what_cannot_be_recorded_as_it_was_meant_is_refused(given: object, where: str, what: str) -> None:
    ((path, problem),) = problems(given)

    assert path == where
    assert what in problem
    assert len(problem) < 300


def test_nesting_up_to_the_limit_and_any_number_that_a_reader_can_hold_are_accepted() -> None:
    assert workflow.accept(nested(63))
    assert json.loads(workflow.accept('{"orderId":"7","extra":[1e308,-5e-324,123456789012345678901234567890]}'))


def test_many_small_brackets_are_not_mistaken_for_nesting() -> None:
    lines = [{"sku": "a"}] * 200

    assert len(json.loads(workflow.accept({"orderId": "7", "lines": lines}))["lines"]) == 200


def test_the_schema_of_the_input_is_that_of_the_outside() -> None:
    schema = workflow.input_schema()

    assert schema["required"] == ["orderId"]
    assert set(schema["$defs"]) == {"Line"}


# --- configuration -------------------------------------------------------------------------------------

configurable = Workflow(
    "order",
    input=Order,
    presets={
        "test": {"charge": Gateway(endpoint="https://test.example.org", retries=1)},
        "patient": {"charge": {"retries": 9}, "weigh": {"unit": "kg"}},
    },
)
careful = configurable.then(charge).then(ship)
weighed = configurable.then(charge).then(weigh)


def configured(config: Any = None, preset: Any = None, *, of: Any = careful) -> Any:
    made = of.configure(config, preset)
    return None if made is None else json.loads(made)


def test_a_run_without_configuration_has_none() -> None:
    assert configured() is None
    assert configured({}) is None


def test_what_is_given_is_completed_with_the_models_defaults() -> None:
    assert configured({"charge": {"retries": 5}}) == {"charge": {"url": "https://example.org", "retries": 5}}
    assert configured({"charge": Gateway(retries=5)}) == {"charge": {"url": "https://example.org", "retries": 5}}
    assert configured({"charge": {}}) == {"charge": {"url": "https://example.org", "retries": 3}}


def test_a_preset_is_taken_by_name() -> None:
    assert configured(preset="test") == {"charge": {"url": "https://test.example.org", "retries": 1}}


@pytest.mark.parametrize("name", ["url", "endpoint"])
def test_fields_given_replace_those_of_the_preset_by_name_or_alias(name: str) -> None:
    assert configured({"charge": {name: "x"}}, "test") == {"charge": {"url": "x", "retries": 1}}


def test_a_configuration_that_has_no_defaults_must_be_given() -> None:
    with pytest.raises(InvalidInput) as refusal:
        weighed.configure()

    assert refusal.value.problems == (("config.weigh.unit", "Field required"),)
    assert configured({"weigh": {"unit": "g"}}, of=weighed) == {"weigh": {"unit": "g"}}
    assert configured(preset="patient", of=weighed) == {
        "charge": {"url": "https://example.org", "retries": 9},
        "weigh": {"unit": "kg"},
    }


@pytest.mark.parametrize(
    ("config", "preset", "message"),
    [
        (
            {"chargee": {}},
            None,
            "stage 'chargee' is not in the workflow; stages that can be configured: charge",
        ),
        ({"ship": {}}, None, "stage 'ship' has no configuration; stages that can be configured: charge"),
        (None, "tset", "workflow order has no preset 'tset'; there are: patient, test"),
        ([], None, "config: give an object: configurations by stage id"),
        ("{}", None, "config: give an object: configurations by stage id"),
        ({"charge": []}, None, "config.charge: give an object: fields of the configuration"),
        ({"charge": 7}, None, "config.charge: give an object: fields of the configuration"),
        ({"charge": {"retries": "many"}}, None, "config.charge.retries: Input should be a valid integer"),
        ({"charge": {"url": float("nan")}}, None, "config.charge: not JSON"),
        ({"charge": {"endpoint": "\ud800"}}, None, "config.charge: not JSON"),
        ({"charge": {"endpoint": "\0"}}, None, "config.charge.endpoint: holds the character NUL"),
    ],
    ids=repr,
)
def test_a_configuration_that_does_not_fit_is_refused(config: Any, preset: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        careful.configure(config, preset)

    assert message in str(refusal.value)


def test_a_preset_for_a_stage_that_is_not_there_is_refused_when_the_workflow_is_complete() -> None:
    with pytest.raises(DefinitionError) as refusal:
        Registry(careful)

    assert (
        str(refusal.value) == "workflow 'order', preset 'patient': there is no stage 'weigh'; there are: charge, ship"
    )
