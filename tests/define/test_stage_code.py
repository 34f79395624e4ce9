"""Running a stage on recorded values: what its function gets, what is recorded of it, what it may ask."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, computed_field, field_validator

from kernel.annotations import Scalar
from kernel.core.definition import Given
from kernel.core.events import ErrorRecord
from kernel.define import NotYet, StageCode, Suspended
from onewrite import (
    Context,
    Failed,
    InvalidOutput,
    InvalidStageInput,
    NotUpstream,
    Pending,
    PermanentError,
    Retry,
    Stage,
    StageTimedOut,
    Suspend,
    Workflow,
    stage,
)

FAILURE = ErrorRecord("user", "ValueError", "no stock", "pack", 3, "Traceback ...")


class Order(BaseModel):
    id: str
    total: float = 0


class Receipt(BaseModel):
    id: str


class Gateway(BaseModel):
    url: str = "https://example.org"


@dataclass
class Attempt:
    """What stands for the shell."""

    stage: str = "charge"
    attempt: int = 2
    tenant: str = "acme"
    run: str = "run-1"
    key: str = "run-1/charge"
    callback_token: str = "token-1"
    values: Mapping[str, Given] = field(default_factory=lambda: defaultdict(lambda: b"null"))
    settings: bytes | None = None
    beats: list[float | None] = field(default_factory=list)
    log: logging.LoggerAdapter[logging.Logger] = field(
        default_factory=lambda: logging.LoggerAdapter(logging.getLogger("test"), {})
    )

    def value(self, stage: str) -> Given:
        return self.values[stage]

    def config(self) -> bytes | None:
        return self.settings

    def heartbeat(self, progress: float | None) -> None:
        self.beats.append(progress)

    def annotate(self, key: str, value: Scalar) -> None:
        raise NotImplementedError

    def cancelled(self) -> bool:
        return True


def code_of(made: Any, model: type[BaseModel] = Order) -> StageCode:
    """The code of a stage that comes first in a workflow."""
    code: StageCode = Workflow("test", input=model).then(made).definition.code[made.id]
    return code


def run(made: Any, given: bytes = b'{"id":"7"}', *, attempt: Attempt | None = None) -> bytes | Suspended:
    return code_of(made).run(Context(attempt or Attempt()), [given])


def giving(value: Any, annotation: Any) -> Stage[Any, Order]:
    """A stage that gives a value under a return annotation."""

    def give(ctx: Context, order: Order) -> Any:
        return value

    give.__annotations__["return"] = annotation
    return stage(give)


# --- values in and out ---------------------------------------------------------------------------------


def test_a_stage_gets_its_inputs_as_models_and_its_output_is_recorded_as_json() -> None:
    @stage
    def charge(ctx: Context, order: Order) -> Receipt:
        assert isinstance(order, Order)
        return Receipt(id=order.id)

    assert run(charge) == b'{"id":"7"}'


class Colour(Enum):
    RED = "red"


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")

    customer_name: str = Field(alias="customerName")

    @computed_field
    def greeting(self) -> str:
        return f"Dear {self.customer_name}"


class Point(BaseModel):
    at: datetime
    price: Decimal
    colours: set[Colour]
    pair: tuple[int, float]
    note: str | None = None
    child: Point | None = None


@pytest.mark.parametrize(
    ("value", "annotation", "recorded"),
    [
        (0, int, b"0"),
        (0.0, float, b"0.0"),
        (False, bool, b"false"),
        ("", str, b'""'),
        ([], list[int], b"[]"),
        ({}, dict[str, int], b"{}"),
        (None, None, b"null"),
        (None, Receipt | None, b"null"),
        (Receipt(id=""), Receipt | None, b'{"id":""}'),
        ([Receipt(id="1")], list[Receipt], b'[{"id":"1"}]'),
        (3, float, b"3.0"),
        (Colour.RED, Colour, b'"red"'),
        (timedelta(minutes=1), timedelta, b'"PT1M"'),
        (Aliased(customerName="Ada"), Aliased, b'{"customer_name":"Ada"}'),
    ],
)
def test_every_value_of_the_output_type_is_a_value_like_any_other(value: Any, annotation: Any, recorded: bytes) -> None:
    assert run(giving(value, annotation)) in (recorded, recorded.removesuffix(b".0"))


def test_what_one_stage_gives_is_what_the_next_one_gets() -> None:
    point = Point(
        at=datetime(2026, 1, 1, tzinfo=UTC),
        price=Decimal("9.90"),
        colours={Colour.RED},
        pair=(1, 0.1),
        child=Point(at=datetime(2027, 1, 1, tzinfo=UTC), price=Decimal(1), colours=set(), pair=(0, 0)),
    )
    received: list[Point] = []

    @stage
    def receive(ctx: Context, given: Point) -> None:
        received.append(given)

    recorded = run(giving(point, Point))
    assert isinstance(recorded, bytes)
    code_of(receive, Point).run(Context(Attempt()), [recorded])

    assert received == [point]


class Special(Receipt):
    extra: str = "lost"


class Maybe(BaseModel):
    number: float | None = None
    constants: float = 0


class Constants(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")

    number: float


class Anything(BaseModel):
    value: Any


class Secret(BaseModel):
    token: SecretStr


class Remembering(BaseModel):
    id: str
    _made: object = PrivateAttr(default_factory=object)

    @cached_property
    def length(self) -> int:
        return len(self.id)


class Excluding(BaseModel):
    kept: str
    dropped: str = Field(default="", exclude=True)


class Picky(BaseModel):
    id: str

    @field_validator("id")
    @classmethod
    def known(cls, value: str) -> str:
        return {"known": value}[value]


def circular() -> Anything:
    made = Anything(value=None)
    made.value = made
    return made


def deep() -> Anything:
    made: list[Any] = []
    for _ in range(500):
        made = [made]
    return Anything(value=made)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (None, Receipt, "value: Input should be an object"),
        ({"id": "7"}, Receipt, "value is a dict, but would be read back as a Receipt"),
        ("7", int, "value is a str, but would be read back as a int"),
        (Receipt.model_construct(id=7), Receipt, "id: Input should be a valid string"),
        (Receipt.model_construct(), Receipt, "id: Field required"),
        (Special(id="7"), Receipt, "value is a Special, but would be read back as a Receipt"),
        (float("nan"), float, "value: Input should be a valid number"),
        (Maybe(number=float("nan")), Maybe, "value.number is a float, but would be read back as a NoneType"),
        (Maybe(number=float("inf")), Maybe, "value.number is a float, but"),
        (Constants(number=float("inf")), Constants, "malformed"),
        (Constants(number=float("nan")), Constants, "value.number would not be the same"),
        ("\ud800", str, "surrogates not allowed"),
        (Receipt.model_construct(id="\udfff"), Receipt, "surrogates not allowed"),
        (Anything(value=(1, 2)), Anything, "value.value is a tuple, but would be read back as a list"),
        (Anything(value=[1, {"a": (1,)}]), Anything, "value.value.1.a is a tuple, but would be"),
        (Anything(value=datetime(2026, 1, 1, tzinfo=UTC)), Anything, "value.value is a datetime, but"),
        (Anything(value={1: 2}), Anything, "value.value would not be the same"),
        (Anything(value=object()), Anything, "Unable to serialize unknown type"),
        (Secret(token=SecretStr("s3cret")), Secret, "value.token would not be the same"),
        (Excluding(kept="1", dropped="2"), Excluding, "value.dropped would not be the same"),
        (Picky.model_construct(id="other"), Picky, "KeyError"),
        (circular(), Anything, "Circular reference"),
        (deep(), Anything, "depth exceeded"),
        (Suspend(Receipt(id="7")), Receipt, "Suspend"),
    ],
)
def test_an_output_that_would_not_read_back_as_it_was_is_refused(value: Any, annotation: Any, message: str) -> None:
    with pytest.raises(InvalidOutput) as refusal:
        run(giving(value, annotation))

    kind = type(value).__name__
    assert str(refusal.value).startswith(f"give returned a {kind} that cannot be recorded as its output: ")
    assert message.lower() in str(refusal.value).lower()
    assert "s3cret" not in str(refusal.value)


def test_a_text_that_merely_speaks_of_infinity_is_recorded() -> None:
    assert run(giving("NaN or Infinity", str)) == b'"NaN or Infinity"'


def test_what_pydantic_never_records_does_not_count() -> None:
    remembering = Remembering(id="7")
    assert remembering.length == 1

    assert run(giving(remembering, Remembering)) == b'{"id":"7"}'
    with pytest.raises(InvalidOutput, match=r"value\.value is a tuple"):
        run(giving(Anything(value=(remembering,)), Anything))


def test_an_output_changed_after_it_was_made_is_checked_again() -> None:
    @stage
    def careless(ctx: Context, order: Order) -> Order:
        broken: Any = order
        broken.total = "a lot"
        return order

    with pytest.raises(InvalidOutput, match="total: Input should be a valid number"):
        run(careless)


def test_an_input_that_no_longer_fits_is_refused_with_its_path_and_without_its_value() -> None:
    with pytest.raises(InvalidStageInput) as refusal:
        run(giving(1, int), b'{"id":"7","total":"s3cret"}')

    assert "the run's input" in str(refusal.value)
    assert "total: Input should be a valid number" in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


def test_an_input_whose_validator_throws_anything_is_refused() -> None:
    @stage
    def pick(ctx: Context, picky: Picky) -> None: ...

    with pytest.raises(InvalidStageInput, match="KeyError: 'other'"):
        code_of(pick, Picky).run(Context(Attempt()), [b'{"id":"other"}'])


def test_what_the_function_raises_passes() -> None:
    @stage
    def fail(ctx: Context, order: Order) -> Receipt:
        raise ConnectionError("no route")

    with pytest.raises(ConnectionError, match="no route"):
        run(fail)


@pytest.mark.parametrize("given", [b'{"id":"slow"}', b'{"id":"7"}'], ids=["in a validator", "in a serializer"])
def test_a_time_out_passes_wherever_it_strikes(given: bytes) -> None:
    class Slow(BaseModel):
        id: str

        @field_validator("id")
        @classmethod
        def take_time(cls, value: str) -> str:
            if value == "slow":
                raise StageTimedOut("too slow")
            return value

    def dawdle(ctx: Context, slow: Slow) -> Slow:
        return Slow.model_construct(id="slow")

    with pytest.raises(StageTimedOut):
        code_of(stage(dawdle), Slow).run(Context(Attempt()), [given])


# --- failures and skips of what precedes ---------------------------------------------------------------


@stage(on_failure="proceed")
def pack(ctx: Context, order: Order) -> Receipt:
    return Receipt(id=order.id)


@stage
def report(ctx: Context, receipt: Receipt | Failed | None) -> str:
    if receipt is None:
        return "skipped"
    return f"{receipt.stage}: {receipt.kind}: {receipt.message}" if isinstance(receipt, Failed) else receipt.id


@pytest.mark.parametrize(
    ("given", "reported"),
    [(b'{"id":"7"}', b'"7"'), (b"null", b'"skipped"'), (FAILURE, b'"pack: ValueError: no stock"')],
    ids=["output", "skipped", "failed"],
)
def test_a_stage_sees_the_output_or_that_there_is_none_or_why(given: Given, reported: bytes) -> None:
    workflow = Workflow("test", input=Order).then_if(lambda order: True, pack).then(report)

    assert workflow.definition.code["report"].run(Context(Attempt()), [given]) == reported


def test_a_value_that_looks_like_a_failure_is_still_a_value() -> None:
    class Complaint(BaseModel):
        stage: str
        kind: str
        message: str
        category: str

    @stage
    def tell(ctx: Context, complaint: Complaint | Failed) -> str:
        return type(complaint).__name__

    given = b'{"stage":"a","kind":"b","message":"c","category":"d"}'

    assert code_of(tell, Complaint).run(Context(Attempt()), [given]) == b'"Complaint"'


def test_a_failure_is_refused_by_a_parameter_that_does_not_know_of_it() -> None:
    with pytest.raises(InvalidStageInput, match="pack failed, and the parameter is not annotated"):
        code_of(giving(1, int)).run(Context(Attempt()), [FAILURE])


# --- suspending and checking ---------------------------------------------------------------------------


def ready_at_two(ctx: Context[Gateway], receipt: Receipt) -> Order | Pending:
    if ctx.config.url == "ready":
        return Order(id=receipt.id)
    return Pending(progress=0.5)


@stage(check=ready_at_two, every=timedelta(seconds=1), limit=timedelta(seconds=9))
def provide(ctx: Context[Gateway], order: Order) -> Order | Suspend[Receipt]:
    return order if order.id == "now" else Suspend(Receipt(id=order.id))


def test_a_stage_may_give_its_output_at_once_or_suspend_itself() -> None:
    assert run(provide, b'{"id":"now","total":0}') == b'{"id":"now","total":0.0}'
    assert run(provide) == Suspended(b'{"id":"7"}')


def test_a_check_says_not_yet_or_gives_the_output() -> None:
    code = code_of(provide)

    assert code.check(Context(Attempt("provide")), b'{"id":"7"}') == NotYet(0.5)
    ready = Attempt("provide", settings=b'{"provide":{"url":"ready"}}')
    assert code.check(Context(ready), b'{"id":"7"}') == b'{"id":"7","total":0.0}'


def test_a_state_that_no_longer_fits_the_check_is_refused() -> None:
    with pytest.raises(InvalidStageInput, match="provide: its state while suspended does not fit its type: id: "):
        code_of(provide).check(Context(Attempt()), b"{}")


def test_a_suspended_stage_whose_check_was_removed_says_so() -> None:
    with pytest.raises(InvalidStageInput, match="has no check: deploy one that has"):
        code_of(pack).check(Context(Attempt()), b"{}")


@pytest.mark.parametrize("progress", [float("nan"), float("inf"), -0.01, 1.01, 50])
def test_progress_that_is_no_fraction_is_refused_where_it_is_made(progress: float) -> None:
    with pytest.raises(ValueError, match=f"progress is {progress}: give a fraction, from 0 to 1"):
        Pending(progress=progress)


# --- compensating --------------------------------------------------------------------------------------


def test_a_compensation_gets_the_output_and_gives_nothing() -> None:
    undone: list[Receipt] = []

    def undo(ctx: Context, receipt: Receipt) -> None:
        undone.append(receipt)

    @stage(compensate=undo)
    def book(ctx: Context, order: Order) -> Receipt:
        return Receipt(id=order.id)

    code = Workflow("test", input=Order).then(book).definition.code["compensate:book"]

    assert code.sources == ("book",)
    assert code.run(Context(Attempt("compensate:book")), [b'{"id":"7"}']) == b"null"
    assert undone == [Receipt(id="7")]


# --- what a context tells ------------------------------------------------------------------------------


def asked(question: Any, attempt: Attempt, *, config: Any = None) -> Any:
    """What a context answers in the second stage of ``pack``, ``charge``, ``ship``."""
    answers: list[Any] = []

    def charge(ctx: Context, receipt: Receipt | Failed) -> None:
        answers.append(question(ctx))

    charge.__annotations__["ctx"] = Context if config is None else Context[config]

    @stage
    def ship(ctx: Context, nothing: None) -> None: ...

    workflow = Workflow("test", input=Order).then(pack).then(stage(charge)).then(ship)
    workflow.definition.code["charge"].run(Context(attempt), [b'{"id":"7"}'])
    return answers[0]


def test_a_context_knows_its_attempt() -> None:
    answer = asked(lambda ctx: (ctx.stage, ctx.attempt, ctx.run_id, ctx.tenant, ctx.cancelled), Attempt())

    assert answer == ("charge", 2, "run-1", "acme", True)


def test_the_log_is_that_of_the_attempt() -> None:
    attempt = Attempt()

    assert asked(lambda ctx: ctx.log, attempt) is attempt.log


def test_progress_and_heartbeats_reach_the_engine() -> None:
    attempt = Attempt()
    asked(lambda ctx: (ctx.progress(0.25), ctx.heartbeat()), attempt)

    assert attempt.beats == [0.25, None]


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (None, "https://example.org"),
        (b'{"other":{"url":"x"}}', "https://example.org"),
        (b'{"charge":{"url":"x"}}', "x"),
    ],
    ids=["none", "of another stage", "its own"],
)
def test_the_configuration_is_what_the_run_was_given_or_the_models_defaults(settings: bytes | None, url: str) -> None:
    assert asked(lambda ctx: ctx.config, Attempt(settings=settings), config=Gateway) == Gateway(url=url)


def test_the_configuration_of_a_compensation_is_that_of_its_stage() -> None:
    seen: list[Gateway] = []

    def undo(ctx: Context[Gateway], receipt: Receipt) -> None:
        seen.append(ctx.config)

    @stage(compensate=undo)
    def book(ctx: Context, order: Order) -> Receipt:
        return Receipt(id=order.id)

    code = Workflow("test", input=Order).then(book).definition.code["compensate:book"]
    code.run(Context(Attempt("compensate:book", settings=b'{"book":{"url":"x"}}')), [b'{"id":"7"}'])

    assert seen == [Gateway(url="x")]


def test_a_configuration_that_no_longer_fits_is_refused() -> None:
    with pytest.raises(InvalidStageInput, match="the configuration of charge does not fit its model: url: "):
        asked(lambda ctx: ctx.config, Attempt(settings=b'{"charge":{"url":7}}'), config=Gateway)


def test_the_runs_input_can_be_read_as_any_model_that_it_fits() -> None:
    attempt = Attempt(values={"": b'{"id":"7","total":1}'})

    assert asked(lambda ctx: (ctx.run_input(Order), ctx.run_input(Receipt)), attempt) == (
        Order(id="7", total=1),
        Receipt(id="7"),
    )
    with pytest.raises(InvalidStageInput, match="the run's input does not fit its model: token: Field required"):
        asked(lambda ctx: ctx.run_input(Secret), attempt)


def test_the_output_of_a_stage_upstream_can_be_read() -> None:
    assert asked(lambda ctx: ctx.output(pack), Attempt(values={"pack": b'{"id":"8"}'})) == Receipt(id="8")


@stage
def charge(ctx: Context, order: Order) -> None: ...


@pytest.mark.parametrize(
    "other",
    [charge, charge.named("ship"), charge.named("nowhere"), charge.named("pack")],
    ids=["itself", "downstream", "not in the workflow", "another stage of that name"],
)
def test_the_output_of_a_stage_that_is_not_upstream_is_refused_naming_those_that_are(other: Any) -> None:
    with pytest.raises(NotUpstream) as refusal:
        asked(lambda ctx: ctx.output(other), Attempt())

    assert str(refusal.value) == f"{other.id} does not precede charge; stages that do: pack"


def test_the_output_of_a_stage_that_was_skipped_or_failed_is_not_there() -> None:
    with pytest.raises(NotUpstream, match="pack was skipped in this run and has no output"):
        asked(lambda ctx: ctx.output(pack), Attempt())
    with pytest.raises(NotUpstream, match=r"pack failed and has no output \(ValueError: no stock\)"):
        asked(lambda ctx: ctx.output(pack), Attempt(values={"pack": FAILURE}))


def test_a_unit_test_makes_a_context_with_its_configuration() -> None:
    assert Context(Attempt(), config=Gateway(url="x")).config.url == "x"


# --- retrying ------------------------------------------------------------------------------------------


class Declined(PermanentError): ...


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionError(), True),
        (ConnectionResetError(), True),
        (BrokenPipeError(), False),
        (ValueError(), False),
        (PermanentError(), False),
        (Declined(), False),
        (InvalidOutput(), False),
        (InvalidStageInput(), False),
        (NotUpstream(), False),
        (StageTimedOut(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_errors_that_the_policy_names_are_retried(error: Exception, again: bool) -> None:
    policy = Retry(3, on=(ConnectionError, PermanentError), give_up_on=(BrokenPipeError,))

    @stage(retry=policy)
    def send(ctx: Context, order: Order) -> None: ...

    assert code_of(send).retryable(error) is again


def test_a_policy_that_names_none_retries_all_but_those_that_no_retry_can_help() -> None:
    code = code_of(pack)

    assert all(code.retryable(error) for error in (ValueError(), StageTimedOut(), OSError()))
    assert not any(code.retryable(error) for error in (PermanentError(), InvalidOutput(), InvalidStageInput()))
