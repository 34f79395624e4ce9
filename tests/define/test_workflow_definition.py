"""What a workflow becomes for the kernel, when it counts as changed, and every mistake it finds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from types import GenericAlias
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from kernel.core.definition import Given, MissingValue, Strategy
from kernel.core.directives import Schedule, Skip
from kernel.core.events import ErrorRecord, StageCompleted, Value
from kernel.core.graph import Graph, Node
from kernel.core.state import Identity, StageState, StageStatus, State
from kernel.define.workflow import MAX_IDS
from onewrite import Context, DefinitionError, Failed, Pending, Retry, Stage, Suspend, Workflow, stage


class Order(BaseModel):
    id: str


class Receipt(BaseModel):
    id: str


class Parcel(BaseModel):
    id: str


class Gateway(BaseModel):
    url: str = ""


def refund(ctx: Context, receipt: Receipt) -> None: ...


@stage
def charge(ctx: Context, order: Order) -> Receipt:
    return Receipt(id=order.id)


@stage
def pack(ctx: Context, receipt: Receipt) -> Parcel:
    return Parcel(id=receipt.id)


@stage
def weigh(ctx: Context, receipt: Receipt) -> int:
    return len(receipt.id)


@stage
def ship(ctx: Context, parcel: Parcel, weight: int) -> str:
    return parcel.id * weight


def start(workflow_id: str = "order") -> Workflow[Order, Order]:
    return Workflow(workflow_id, input=Order)


def nodes_of(workflow: Any) -> dict[str, Node]:
    program = workflow.definition.program
    assert isinstance(program, Graph)
    return dict(program._nodes)


# --- what it becomes -----------------------------------------------------------------------------------


def test_stages_follow_one_another_join_and_give_the_result() -> None:
    definition = start().then(charge).together(pack, weigh).then(ship).definition

    assert {id_: definition.program.needs(id_) for id_ in definition.stages} == {
        "charge": (),
        "pack": ("charge",),
        "weigh": ("charge",),
        "ship": ("pack", "weigh"),
    }
    assert {id_: code.sources for id_, code in definition.code.items()} == {
        "charge": ("",),
        "pack": ("charge",),
        "weigh": ("charge",),
        "ship": ("pack", "weigh"),
    }
    assert definition.program.outcome() == ("ship",)


def test_stages_that_begin_together_each_take_the_input() -> None:
    definition = start().together(charge, charge.named("deposit")).definition

    assert [definition.code[id_].sources for id_ in ("charge", "deposit")] == [("",), ("",)]
    assert definition.program.outcome() == ("charge", "deposit")


def test_any_stages_are_joined_in_the_order_of_the_parameters() -> None:
    @stage
    def compare(ctx: Context, one: Receipt, other: Receipt, parcel: Parcel) -> bool:
        return one == other and parcel is not None

    definition = start().then(charge).then(pack).step(compare, after=(charge, charge, pack)).definition

    assert definition.code["compare"].sources == ("charge", "charge", "pack")
    assert definition.program.needs("compare") == ("charge", "pack")


def test_the_result_may_be_of_any_stages() -> None:
    definition = start().then(charge).together(pack, weigh).output(weigh, charge).definition

    assert definition.program.outcome() == ("weigh", "charge")


def test_a_common_beginning_goes_on_in_several_ways_and_never_changes() -> None:
    begun = start().then(charge)
    one, other = begun.then(pack), begun.then(weigh)

    assert [list(each.definition.stages) for each in (begun, one, other)] == [
        ["charge"],
        ["charge", "pack"],
        ["charge", "weigh"],
    ]


def test_what_a_workflow_is_told_reaches_the_kernel() -> None:
    workflow = Workflow(
        "order", input=Order, version=3, deadline=timedelta(hours=1), chain=False, on_cancel="compensate"
    )
    definition = workflow.then(charge).definition

    assert (definition.id, definition.version, definition.deadline) == ("order", 3, 3_600_000)
    assert (definition.chain, definition.undo_on_cancel) == (False, True)
    assert repr(workflow) == "<workflow 'order' version 3>"


def test_what_a_workflow_is_not_told_is_left_to_the_deployment() -> None:
    definition = start().then(charge).definition

    assert (definition.version, definition.deadline, definition.chain) == (1, None, True)
    assert not definition.undo_on_cancel


def test_the_definition_is_made_once() -> None:
    workflow = start().then(charge)

    assert workflow.definition is workflow.definition


def test_compensations_are_stages_with_the_retries_and_the_timeout_of_what_they_undo() -> None:
    costly = stage(compensate=refund, retry=Retry(7), timeout=timedelta(seconds=2))(charge.function)
    definition = start().then(costly).then(pack).definition

    assert list(definition.stages) == ["charge", "compensate:charge", "pack"]
    undo = definition.stages["compensate:charge"]
    assert (undo.id, undo.timeout, undo.retry.attempts) == ("compensate:charge", 2_000, 7)
    assert definition.stages["charge"].compensated
    assert definition.code["compensate:charge"].sources == ("charge",)


@pytest.mark.parametrize(
    ("of_stage", "of_workflow", "compensated", "strategy"),
    [
        (None, None, False, Strategy.STOP),
        (None, None, True, Strategy.COMPENSATE),
        (None, "stop", True, Strategy.STOP),
        (None, "compensate", False, Strategy.COMPENSATE),
        (None, "proceed", False, Strategy.PROCEED),
        ("proceed", "compensate", True, Strategy.PROCEED),
        ("stop", None, True, Strategy.STOP),
    ],
)
def test_a_stage_says_what_its_failure_means_or_the_workflow_does_or_that_there_are_compensations(
    of_stage: Any, of_workflow: Any, compensated: bool, strategy: Strategy
) -> None:
    workflow = Workflow("order", input=Order, on_failure=of_workflow).then(stage(on_failure=of_stage)(charge.function))
    loose: Any = workflow
    if compensated:
        undoable: Any = stage(compensate=refund)
        loose = loose.step(undoable(after_charge).named("other"), after=charge.named("charge"))

    assert loose.definition.stages["charge"].on_failure is strategy


def after_charge(ctx: Context, receipt: Receipt | Failed) -> Receipt:
    return Receipt(id="")


# --- conditions ----------------------------------------------------------------------------------------


def asked_for(node: Node, values: dict[str, Given]) -> tuple[bool, list[str]]:
    """What a condition decides, and what it asks for."""
    asked: list[str] = []

    def look_up(id_: str) -> Given:
        asked.append(id_)
        if id_ not in values:
            raise MissingValue(id_, 4)
        return values[id_]

    assert node.condition
    return node.condition(look_up), asked


def test_a_condition_sees_the_current_values_and_asks_for_no_others() -> None:
    workflow = (
        start().then(charge).together(pack, weigh).then_if(lambda parcel, weight: parcel.id == "7" and weight > 1, ship)
    )
    node = nodes_of(workflow)["ship"]

    assert asked_for(node, {"pack": b'{"id":"7"}', "weigh": b"2"}) == (True, ["pack", "weigh"])
    assert asked_for(node, {"pack": b'{"id":"7"}', "weigh": b"1"}) == (False, ["pack", "weigh"])


def test_a_condition_at_the_beginning_sees_the_input() -> None:
    node = nodes_of(start().then_if(lambda order: order.id != "", charge))["charge"]

    assert asked_for(node, {"": b'{"id":""}'}) == (False, [""])
    assert node.after == ()


def test_a_condition_whose_value_is_not_at_hand_says_which() -> None:
    node = nodes_of(start().then(charge).then_if(lambda receipt: True, pack))["pack"]

    with pytest.raises(MissingValue) as missing:
        asked_for(node, {})

    assert missing.value.stage == "charge"


def test_a_condition_sees_none_for_what_was_skipped_and_why_for_what_failed() -> None:
    seen: list[object] = []

    @stage(on_failure="proceed")
    def risky(ctx: Context, order: Order) -> Receipt:
        return Receipt(id=order.id)

    @stage
    def tell(ctx: Context, receipt: Receipt | Failed | None) -> str:
        return ""

    def look(receipt: object) -> bool:
        seen.append(receipt)
        return True

    node = nodes_of(start().then_if(lambda order: True, risky).then_if(look, tell))["tell"]
    asked_for(node, {"risky": b"null"})
    asked_for(node, {"risky": ErrorRecord("user", "ValueError", "no", "risky")})

    assert seen == [None, Failed(stage="risky", kind="ValueError", message="no", category="user")]


@pytest.mark.parametrize(("given", "directive"), [(b'{"id":"yes"}', Schedule), (b'{"id":"no"}', Skip)])
def test_the_graph_runs_or_skips_a_stage_by_its_condition(given: bytes, directive: type[Schedule | Skip]) -> None:
    graph = start().then(charge).then_if(lambda receipt: receipt.id == "yes", pack).definition.program
    state = State.initial(Identity("t", "r", "order", 1, "", 0, 0, 0))
    state.stages["charge"] = StageState(StageStatus.COMPLETED)

    decided = graph.react(state, StageCompleted("charge", 1, Value()), lambda _: given)

    assert list(decided) == [directive("pack")]


# --- fingerprint ---------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    sku: str
    colour: Colour = Colour.RED


class Basket(BaseModel):
    lines: list[Line]
    kind: Literal["gift", "own"] = "own"
    parent: Basket | None = None


def printed(model: Any = Basket, returns: Any = Receipt, **options: Any) -> str:
    """Fingerprint of a workflow of one stage, for its input model and output type."""

    def first(ctx: Context, given: Any) -> Any:
        return given

    first.__annotations__ |= {"given": model, "return": returns}
    made: Any = stage(**options)
    return str(Workflow("w", input=model).then(made(first)).definition.fingerprint)


def variant(name: str = "Basket", **fields: Any) -> Any:
    """`Basket` with other fields."""
    kept = {key: (each.annotation, each) for key, each in Basket.model_fields.items()}
    return create_model(name, **{**kept, **fields})


def list_of(**fields: Any) -> Any:
    """The type of a list of lines with these fields."""
    return GenericAlias(list, (create_model("Line", **fields),))


class Older:
    class Colour(Enum):
        RED = "red"


def test_a_fingerprint_is_twelve_hexadecimal_characters() -> None:
    assert len(printed()) == 12
    assert int(printed(), 16) >= 0


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    program = (
        "from tests.define.test_workflow_definition import *; "
        "print(start().then(charge).together(pack, weigh).then(ship).definition.fingerprint)"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert prints == {start().then(charge).together(pack, weigh).then(ship).definition.fingerprint}


def test_neither_body_nor_policy_nor_timeout_nor_name_of_a_parameter_parks_a_run() -> None:
    plain = start().then(charge).definition.fingerprint

    @stage(retry=Retry(9), timeout=timedelta(seconds=1), on_failure="proceed", at_most_once=False)
    def other_charge(ctx: Context, renamed: Order) -> Receipt:
        raise NotImplementedError

    relaxed = Workflow("order", input=Order, deadline=timedelta(days=1), chain=False, on_failure="stop")

    assert relaxed.then(other_charge.named("charge")).definition.fingerprint == plain


def test_neither_order_nor_defaults_nor_constraints_nor_module_of_a_model_park_a_run() -> None:
    one, other = variant(z=(int, 1), a=(int, 2)), variant(a=(int, 3), z=(int, Field(4, gt=0)))
    moved: Any = create_model("Receipt", id=(str, Field(max_length=5)), __module__="elsewhere")

    assert printed(one) == printed(other)
    assert printed(returns=moved) == printed()


@pytest.mark.parametrize(
    "change",
    [
        lambda: printed(variant(more=(str, ""))),
        lambda: printed(variant(lines=(list[Line], []))),
        lambda: printed(variant(lines=(list[str], ...))),
        lambda: printed(variant(lines=(list_of(sku=(str, ...)), ...))),
        lambda: printed(variant(kind=(Literal["gift"], "gift"))),
        lambda: printed(variant(parent=(str | None, None))),
        lambda: printed(variant("Cart")),
        lambda: printed(variant(lines=(list_of(sku=(str, ...), colour=(Older.Colour, Older.Colour.RED)), ...))),
        lambda: printed(returns=Parcel),
        lambda: printed(returns=Receipt | None),
        lambda: printed(returns=list[Receipt]),
        lambda: printed(compensate=refund),
    ],
    ids=[
        "a field more",
        "a field that need not be given",
        "another type",
        "a nested field less",
        "another literal",
        "another alternative",
        "another name",
        "another value of an enum",
        "another output",
        "an optional output",
        "a list",
        "a compensation",
    ],
)
def test_a_change_of_models_or_of_what_is_recorded_counts(change: Callable[[], str]) -> None:
    assert change() != printed()


def test_a_change_of_structure_counts() -> None:
    begun = start().then(charge)
    prints = [
        begun.then(pack),
        begun.then(pack.named("wrap")),
        begun.then_if(lambda receipt: True, pack),
        begun.together(pack, weigh),
        begun.together(weigh, pack),
        begun.together(pack, weigh).output(pack),
        begun.then(pack).step(weigh, after=charge),
    ]

    assert len({each.definition.fingerprint for each in prints}) == len(prints)


def test_the_configuration_and_the_state_of_a_suspended_stage_count() -> None:
    class Job(BaseModel):
        id: str

    class Ticket(BaseModel):
        id: str

    def check(ctx: Context, job: Any) -> Receipt | Pending:
        return Pending()

    def submit(ctx: Context, order: Order) -> Any: ...

    prints = set()
    for model in (Job, Ticket):
        check.__annotations__["job"] = model
        submit.__annotations__["return"] = Suspend[model]  # type: ignore[valid-type]  # a variable, on purpose
        made: Any = stage(check=check, every=timedelta(1), limit=timedelta(2))
        prints.add(start().then(made(submit)).definition.fingerprint)

    for annotation in (Context, Context[Gateway]):
        charge_with: Any = lambda ctx, order: None  # noqa: E731 - annotated below
        charge_with.__annotations__ = {"ctx": annotation, "order": Order, "return": Receipt}
        charge_with.__name__ = "charge"
        prints.add(start().then(stage(charge_with)).definition.fingerprint)

    assert len(prints) == 4


# --- mistakes ------------------------------------------------------------------------------------------

loose: Any = Workflow  # as one writes who runs no type checker


class Unreadable(BaseModel):
    call: Callable[[], None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("an order", {}), "workflow 'an order' is not an id: use a letter, then up to 63 letters, digits"),
        (("order", {"version": 0}), "version is 0: give a whole number from 1"),
        (("order", {"version": "2"}), "version is '2': give a whole number from 1"),
        (("order", {"input": dict}), "input is <class 'dict'>: give a pydantic model"),
        (("order", {"input": Unreadable}), "its input: Unreadable.call is of a kind that JSON cannot carry"),
        (("order", {"deadline": 60}), "deadline is 60: give a datetime.timedelta"),
        (
            ("order", {"on_failure": "retry"}),
            "on_failure is 'retry': give one of 'stop', 'proceed', 'compensate'",
        ),
        (("order", {"on_cancel": "proceed"}), "on_cancel is 'proceed': give one of 'stop', 'compensate'"),
    ],
)
def test_a_workflow_that_makes_no_sense_is_refused(arguments: tuple[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(DefinitionError) as refusal:
        loose(arguments[0], **{"input": Order, **arguments[1]})

    assert message in str(refusal.value)


@stage
def wide(ctx: Context, parcel: Parcel | Failed | None) -> str:
    return ""


@stage(on_failure="proceed")
def risky(ctx: Context, receipt: Receipt) -> Parcel:
    return Parcel(id=receipt.id)


@stage
def open_parcel(ctx: Context, parcel: Parcel) -> str:
    return parcel.id


@stage
def many(ctx: Context, parcels: list[Parcel]) -> list[Receipt]:
    return []


async def later(receipt: Receipt) -> bool:
    return True


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda w: w.then(charge).then(pack).then(charge),
            "has a stage 'charge' already: give this one another id, such as charge.named('charge-2')",
        ),
        (lambda w: w.together(charge, charge), "has a stage 'charge' already"),
        (lambda w: w.then(charge.function), "is not a stage: decorate it with @stage"),
        (lambda w: w.then("charge"), "'charge' is not a stage: decorate it with @stage"),
        (
            lambda w: w.then(pack),
            "stage 'pack': parameter 'receipt' takes Receipt, but the run's input gives Order",
        ),
        (
            lambda w: w.then(charge).then(ship),
            "takes 2 inputs, but gets 1, from charge: give it a parameter for each",
        ),
        (
            lambda w: w.then(charge).together(weigh, pack).then(ship),
            "'parcel' takes Parcel, but weigh gives int",
        ),
        (lambda w: w.then(charge).then(many), "takes list[Parcel], but charge gives Receipt"),
        (lambda w: w.then(charge).together(pack), "together takes two to six stages; for more use step"),
        (lambda w: w.then(charge).step(pack, after=()), "name at least one stage"),
        (
            lambda w: w.then(charge).step(pack, after=weigh),
            "does not hold <stage 'weigh'>: add it first; there are: charge",
        ),
        (lambda w: w.then(charge).step(pack, after="charge"), "does not hold 'charge': add it first"),
        (
            lambda w: w.then(charge).step(open_parcel, after=weigh.named("charge")),
            "does not hold <stage 'charge'>",
        ),
        (
            lambda w: w.then(charge).output(pack),
            "does not hold <stage 'pack'>: add it first; there are: charge",
        ),
        (
            lambda w: w.then(charge).then_if(lambda receipt: True, pack).then(open_parcel),
            "parameter 'parcel' is None when pack is skipped or gives None: annotate it Parcel | None",
        ),
        (
            lambda w: w.then(charge).then(risky).then(open_parcel),
            "'parcel' is a Failed when risky fails and the run proceeds: annotate it Parcel | Failed",
        ),
        (lambda w: w.definition, "workflow 'order' has no stages: add one with .then(stage)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_stage_that_does_not_fit_where_it_is_put_is_refused(build: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(DefinitionError) as refusal:
        build(start())

    assert message in str(refusal.value)
    assert "workflow 'order'" in str(refusal.value)


@pytest.mark.parametrize("condition", [lambda: True, later, True], ids=["of no values", "async", "no function"])
def test_a_condition_that_cannot_be_asked_is_refused(condition: Any) -> None:
    begun: Any = start().then(charge)

    with pytest.raises(DefinitionError) as refusal:
        begun.then_if(condition, pack)

    assert str(refusal.value).endswith("the condition of <stage 'pack'> must be a plain function of 1 values")


def test_where_the_workflow_proceeds_every_join_must_know_of_failures() -> None:
    proceeding: Any = Workflow("order", input=Order, on_failure="proceed").then(charge)

    with pytest.raises(DefinitionError, match="parameter 'receipt' is a Failed when charge fails"):
        proceeding.then(pack)
    assert proceeding.then(stage(after_charge)).definition.stages["charge"].on_failure is Strategy.PROCEED


def test_a_stage_may_take_more_than_what_comes() -> None:
    class Base(BaseModel):
        id: str

    class Derived(Base):
        more: str

    @stage
    def give(ctx: Context, order: Order) -> Derived:
        return Derived(id="", more="")

    @stage
    def take(ctx: Context, base: Base) -> int:
        return 1

    @stage
    def take_number(ctx: Context, number: float | str) -> None: ...

    assert start().then(give).then(take).then(take_number).definition


def test_there_are_at_most_two_thousand_stages() -> None:
    @stage
    def again(ctx: Context, receipt: Receipt) -> Receipt:
        return receipt

    workflow: Any = start().then(charge)
    for number in range(1_999):
        workflow = workflow.then(again.named(f"again-{number}"))

    assert len(workflow.definition.stages) == 2_000
    with pytest.raises(DefinitionError, match="has more than 2000 stages: split it into several"):
        workflow.then(again)


def test_the_ids_of_all_stages_fit_a_commit() -> None:
    workflow: Any = start().then(charge)
    for number in range((MAX_IDS - len("charge")) // 64):
        workflow = workflow.step(pack.named(f"{'p' * 60}{number:04d}"), after=charge)
    with pytest.raises(DefinitionError, match="the ids of its stages have more than 40000 characters: shorten them"):
        workflow.step(pack.named("p" * 64), after=charge)


def test_stages_are_values_that_many_workflows_may_hold() -> None:
    one: Stage[Receipt, Order] = charge

    assert start("a").then(one).definition.fingerprint == start("b").then(one).definition.fingerprint


def test_waits_are_part_of_the_fingerprint_but_not_how_long_they_are() -> None:
    flow = Workflow("w", input=Order).then(charge)
    plain = flow.then(pack)
    day, week = (flow.sleep(timedelta(days=days)).then(pack) for days in (1, 7))
    other = flow.then(pack).sleep(timedelta(days=1))
    assert day.definition.fingerprint == week.definition.fingerprint
    assert len({each.definition.fingerprint for each in (plain, day, other)}) == 3


def test_a_wait_has_an_id_that_no_stage_has() -> None:
    flow = Workflow("w", input=Order).then(charge.named("sleep-1")).sleep(timedelta(days=1)).sleep(timedelta(days=1))
    assert list(flow.definition.stages) == ["sleep-1", "sleep-2", "sleep-3"]
    with pytest.raises(DefinitionError, match="has a stage 'sleep-2' already"):
        flow.then(pack.named("sleep-2"))


def test_a_workflow_only_of_waits_has_nothing_to_run() -> None:
    with pytest.raises(DefinitionError, match="has no stages"):
        _ = Workflow("w", input=Order).sleep(timedelta(days=1)).definition


class Shipped(BaseModel):
    place: str


class Arrived(BaseModel):
    place: str


@stage
def pack_shipped(ctx: Context, event: Shipped) -> Receipt:
    return Receipt(id=event.place)


WRONG_WAITS: dict[str, tuple[Callable[[Any], object], str]] = {
    "nothing": (lambda flow: flow.wait_for(), "one to three classes"),
    "four": (lambda flow: flow.wait_for(Order, Receipt, Parcel, Gateway), "one to three classes"),
    "no model": (lambda flow: flow.wait_for(int), "is no event: give its class, a pydantic model"),
    "a value": (lambda flow: flow.wait_for(Order(id="1")), "is no event: give its class, a pydantic model"),
    "alike": (lambda flow: flow.wait_for(Shipped, Arrived), "Shipped and Arrived look alike"),
    "twice": (lambda flow: flow.wait_for(Shipped, Shipped), "Shipped and Shipped look alike"),
    "a name that is taken": (
        lambda flow: flow.wait_for(Shipped).then(pack_shipped).wait_for(create_model("Shipped", more=(int, 1))),
        "two classes of the name 'Shipped'",
    ),
    "no duration": (lambda flow: flow.wait_for(Shipped, timeout=5), "timeout is 5: give a datetime.timedelta"),
    "proceeds without end": (lambda flow: flow.wait_for(Shipped, on_timeout="proceed"), "there is no timeout"),
    "another end": (lambda flow: flow.wait_for(Shipped, timeout=timedelta(1), on_timeout="skip"), "give one of 'fail'"),
    "a filter of one": (lambda flow: flow.wait_for(Shipped, match=lambda _event: True), "plain function of 2 values"),
    "an id": (lambda flow: flow.wait_for(Shipped, id="a b"), "is not an id"),
    "an id that is taken": (lambda flow: flow.wait_for(Shipped, id="charge"), "has a stage 'charge' already"),
}


def test_a_time_out_that_is_not_over_before_the_deadline_is_refused() -> None:
    flow = Workflow("w", input=Order, deadline=timedelta(days=1)).then(charge)
    flow.wait_for(Shipped, timeout=timedelta(hours=23))
    with pytest.raises(DefinitionError, match="is not over before the workflow's deadline: give a longer one"):
        flow.wait_for(Shipped, timeout=timedelta(days=1))


@pytest.mark.parametrize("case", WRONG_WAITS)
def test_a_wait_that_makes_no_sense_is_refused_by_name(case: str) -> None:
    wrong, says = WRONG_WAITS[case]
    with pytest.raises(DefinitionError, match=re.escape(says)):
        wrong(Workflow("w", input=Order).then(charge))


def test_events_are_part_of_the_fingerprint_but_not_how_long_a_wait_is() -> None:
    def made(**options: Any) -> str:
        flow: Any = Workflow("w", input=Order).then(charge)
        fingerprint: str = flow.wait_for(Shipped, **options).then(pack_shipped).definition.fingerprint
        return fingerprint

    day, week = (made(timeout=timedelta(days=days)) for days in (1, 7))
    assert day == week == made() == made(match=lambda _receipt, _event: True)
    assert made(id="other") != day
