"""Types, presets, policies and conditions that are seldom seen: they work, or the definition says what to change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, BeforeValidator, RootModel, create_model
from typing_extensions import TypeAliasType, TypedDict

from kernel.core.definition import RUN_INPUT, Given
from kernel.core.events import ErrorRecord
from kernel.define import StageCode
from onewrite import (
    Context,
    DefinitionError,
    InvalidInput,
    InvalidStageInput,
    NotUpstream,
    Registry,
    Retry,
    Stage,
    StageTimedOut,
    Workflow,
    stage,
)


class Order(BaseModel):
    id: str = ""


class Gateway(BaseModel):
    url: str
    retries: int = 3


@dataclass
class Point:
    x: int
    y: float = 0


@dataclass
class Door:
    opens: type


class Size(TypedDict):
    width: int


class Box(TypedDict, total=False):
    width: int
    depth: int


class Weight(TypedDict):
    grams: int


Lettered = Literal["a", None]  # noqa: PYI061 - as one may write it
Maybe = TypeAliasType("Maybe", Order | None)


def made(takes: Any, gives: Any, value: Any = None, *, named: str = "s", ctx: Any = Context) -> Stage[Any, Any]:
    """A stage of these types, which gives ``value``, or what that returns if it is a function."""

    def body(ctx: Any, given: Any) -> Any:
        return value(ctx) if callable(value) else value

    body.__name__ = named
    body.__annotations__ = {"ctx": ctx, "given": takes, "return": gives}
    result: Stage[Any, Any] = stage(body)
    return result


def flow(**options: Any) -> Any:
    return Workflow("w", input=Order, **options)


def code_of(one: Any) -> StageCode:
    code: StageCode = flow().then(one).definition.code[one.id]
    return code


def context(**values: Given) -> Context[Any]:
    handle: Any = SimpleNamespace(stage="ask", value=lambda of: values[of or "input"])
    return Context(handle)


def output(gives: Any, recorded: bytes = b"null") -> Any:
    """What ``ctx.output`` says of a stage that gives this, when this was recorded."""
    seen: list[Any] = []
    first = made(Order, gives)
    asks = made(Any, None, lambda ctx: seen.append(ctx.output(first)), named="ask")
    flow().then(first).then(asks).definition.code["ask"].run(context(s=recorded), [b"{}"])
    return seen[0]


# --- types -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fit", "unfit"),
    [(Point, Door), (list[Point], list[Door]), (create_model("A", to=(Point, ...)), create_model("B", to=(Door, ...)))],
    ids=["itself", "in a list", "in a model"],
)
def test_a_dataclass_is_a_type_like_any_other_and_is_looked_into(fit: Any, unfit: Any) -> None:
    assert made(fit, fit).id == "s"
    with pytest.raises(DefinitionError, match=r"\.opens is of a kind that JSON cannot carry \(is-instance\)"):
        made(unfit, int)


def test_a_dataclass_is_recorded_and_read_back() -> None:
    moved = made(Order, Point, Point(1, -2.5))

    assert code_of(moved).run(context(), [b"{}"]) == b'{"x":1,"y":-2.5}'
    assert output(Point, b'{"x":1,"y":-2.5}') == Point(1, -2.5)


@pytest.mark.parametrize(
    ("gives", "takes"), [(Size | None, Size | None), (Box, Size), (Size, Box), (dict[str, int], Size), (Size, dict)]
)
def test_a_typed_dict_fits_where_its_keys_do(gives: Any, takes: Any) -> None:
    assert flow().then(made(Order, gives)).then(made(takes, int, named="t")).definition


@pytest.mark.parametrize(("gives", "name"), [(Weight, "Weight"), (Order, "Order"), (None, "None"), (int, "int")])
def test_what_is_no_such_typed_dict_does_not_fit_one(gives: Any, name: str) -> None:
    with pytest.raises(DefinitionError, match=f"takes Size, but s gives {name}|annotate it Size"):
        flow().then(made(Order, gives)).then(made(Size, int, named="t"))


@pytest.mark.parametrize("gives", [Maybe, Annotated[Maybe, "x"], Annotated[Order | None, "x"], Maybe | Order], ids=str)
def test_none_is_seen_behind_an_alias(gives: Any) -> None:
    with pytest.raises(DefinitionError, match=r"is None when s is skipped or gives None: annotate it Order \| None"):
        flow().then(made(Order, gives)).then(made(Order, int, named="t"))


def test_an_annotation_that_cannot_be_hashed_is_refused_by_name() -> None:
    for takes, gives, place in (
        (Order, Annotated[int, {"a": 1}], "what it returns"),
        (list[Annotated[int, ["a"]]], int, "parameter 'given'"),
    ):
        with pytest.raises(DefinitionError, match=f"stage 's', {place}: .* cannot be told from other types"):
            made(takes, gives)


# --- what was skipped --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gives", [Any, object, None, Order | None, Maybe, Annotated[Order | None, "x"], Lettered], ids=str
)
def test_a_recorded_null_is_the_output_of_a_stage_that_may_give_none(gives: Any) -> None:
    assert output(gives) is None


def test_a_recorded_null_is_read_as_the_model_that_it_is_the_record_of() -> None:
    assert output(RootModel[Order | None]) == RootModel[Order | None](None)


def _fails(value: Any) -> Any:
    return value["x"]


@pytest.mark.parametrize(
    "gives",
    [Order, int, Literal["a"], Annotated[int, BeforeValidator(_fails)], Annotated[int, BeforeValidator(lambda _: 7)]],
    ids=["model", "int", "literal", "a validator that throws", "a validator that makes something of it"],
)
def test_a_recorded_null_of_any_other_stage_says_that_it_was_skipped(gives: Any) -> None:
    with pytest.raises(NotUpstream, match="s was skipped in this run and has no output"):
        output(gives)


def test_a_timeout_while_null_is_tried_ends_the_stage() -> None:
    def slow(value: Any) -> Any:
        raise StageTimedOut(value)

    with pytest.raises(StageTimedOut):
        output(Annotated[int, BeforeValidator(slow)])


def test_a_run_input_that_is_not_there_is_said_to_be_so() -> None:
    lost = ErrorRecord("user", "ValueError", "gone", RUN_INPUT, 1, "")

    with pytest.raises(InvalidStageInput, match="the run's input is not there: gone"):
        context(input=lost).run_input(Order)


# --- presets, configuration, policies, conditions ----------------------------------------------------------


@pytest.mark.parametrize("presets", [7, ["a"], {"a": 7}, {"a": ["s"]}, {7: {}}], ids=repr)
def test_presets_of_another_shape_are_refused_at_once(presets: Any) -> None:
    with pytest.raises(DefinitionError, match="workflow 'w': presets are not configurations by name and stage"):
        flow(presets=presets)


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ({"s": 7}, "s: give an object: fields of the configuration"),
        ({"s": {"nope": 1}}, "s.nope: is not a field of the configuration; there are: retries, url"),
        ({"s": Order()}, "s.url: Field required"),
        ({"s": b"{"}, "s: not JSON"),
        ({"plain": {}}, "stage 'plain' has no configuration"),
        ({7: {}, "x": {}}, "there is no stage 7; there are: s, plain"),
    ],
    ids=repr,
)
def test_a_preset_that_no_run_could_use_is_the_authors_mistake(preset: Any, message: str) -> None:
    unfit = flow(presets={"a": preset}).then(made(Order, int, ctx=Context[Gateway])).then(made(int, int, named="plain"))

    with pytest.raises(DefinitionError) as refusal:
        Registry(unfit)

    assert str(refusal.value).startswith("workflow 'w', preset 'a': ")
    assert message in str(refusal.value)


def test_a_preset_may_leave_fields_to_the_run() -> None:
    partly = flow(presets={"a": {"s": {"retries": 1}}}).then(made(Order, int, ctx=Context[Gateway]))

    assert len(Registry(partly)) == 1
    assert partly.configure({"s": b'{"url":"x"}'}, "a") == b'{"s":{"url":"x","retries":1}}'


@pytest.mark.parametrize(
    ("config", "preset", "message"),
    [
        ({"s": b"{"}, None, "config.s: not JSON"),
        ({"s": b"\xff"}, None, "config.s: not JSON"),
        (None, ["x"], r"workflow w has no preset \['x'\]; there are: none"),
    ],
)
def test_a_configuration_that_is_not_even_json_is_refused(config: Any, preset: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        flow().then(made(Order, int, ctx=Context[Gateway])).configure(config, preset)


@pytest.mark.parametrize("name", ["factor", "jitter"])
@pytest.mark.parametrize(
    "value", ["2", None, 10**400, float("inf"), float("nan"), -1], ids=lambda value: repr(value)[:9]
)
def test_a_factor_and_a_jitter_that_are_no_fit_number_are_refused(name: str, value: Any) -> None:
    with pytest.raises(DefinitionError, match=f"Retry: {name} is "):
        Retry(3, **{name: value})


class Asks:
    async def __call__(self, order: Order) -> bool:
        return False


@pytest.mark.parametrize(
    "condition", [lambda _: (yield), Asks(), Asks().__call__], ids=["yields", "async call", "async"]
)
def test_a_condition_whose_result_always_holds_is_refused(condition: Any) -> None:
    with pytest.raises(DefinitionError, match="must be a plain function of 1 values"):
        flow().then_if(condition, made(Order, int))


@pytest.mark.parametrize("condition", [bool, partial(max, 7), Order().__eq__], ids=["class", "partial", "method"])
def test_any_other_callable_is_a_condition(condition: Any) -> None:
    assert flow().then_if(condition, made(Order, int)).definition
