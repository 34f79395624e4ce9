"""What the ``stage`` decorator makes of a function, and every mistake it finds, with what it says."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr

from kernel.core.definition import CallbackPolicy, PollPolicy, RetryPolicy, StageSpec, Strategy
from onewrite import AwaitCallback, Context, DefinitionError, Failed, Pending, Retry, Stage, Suspend, Workflow, stage

loose: Any = stage  # as one writes who runs no type checker

HOUR = timedelta(hours=1)


class Order(BaseModel):
    id: str


class Receipt(BaseModel):
    id: str


class Job(BaseModel):
    id: str


class Gateway(BaseModel):
    url: str = ""


class Other(BaseModel):
    url: str = ""


class Locked(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    parts: list[threading.Event]
    _cache: dict[str, str] = PrivateAttr(default_factory=dict)


class Hooked(BaseModel):
    call: Callable[[], None]


def charge(ctx: Context, order: Order) -> Receipt:
    """Charge it."""
    return Receipt(id=order.id)


def refund(ctx: Context, receipt: Receipt) -> None: ...


def checked(ctx: Context, job: Job) -> Receipt | Pending:
    return Pending()


def suspending(ctx: Context, order: Order) -> Receipt | Suspend[Job]:
    return Suspend(Job(id=order.id))


def asking(ctx: Context, order: Order) -> Receipt | AwaitCallback:
    return AwaitCallback()


def only_asking(ctx: Context, order: Order) -> AwaitCallback:
    return AwaitCallback()


def awaiting_check(ctx: Context, job: Job) -> Receipt | Pending | AwaitCallback:
    return AwaitCallback()


def awaiting_refund(ctx: Context, receipt: Receipt) -> AwaitCallback | None: ...


# --- what it makes -------------------------------------------------------------------------------------


def test_a_stage_called_directly_is_the_plain_function() -> None:
    nothing: Any = None

    assert stage(charge)(nothing, Order(id="7")) == Receipt(id="7")


def test_a_stage_is_named_after_its_function_and_keeps_its_documentation() -> None:
    made = stage(charge)

    assert (made.id, made.__doc__, repr(made)) == ("charge", "Charge it.", "<stage 'charge'>")


def test_a_stage_that_says_nothing_runs_a_minute_and_three_times() -> None:
    assert stage(charge).spec(Strategy.STOP) == StageSpec(id="charge", timeout=60_000, retry=RetryPolicy(attempts=3))


def test_a_stage_that_says_everything_becomes_the_kernels_specification() -> None:
    made = stage(
        check=checked,
        every=timedelta(minutes=1),
        limit=HOUR,
        compensate=refund,
        retry=Retry(5, jitter=0),
        timeout=timedelta(seconds=5),
        on_failure="stop",
    )(suspending)

    assert made.spec(Strategy.STOP) == StageSpec(
        id="suspending",
        timeout=5_000,
        retry=RetryPolicy(attempts=5, jitter=0),
        poll=PollPolicy(every=60_000, limit=3_600_000),
        compensated=True,
    )
    assert made.compensation_spec() == StageSpec(
        id="compensate:suspending", timeout=5_000, retry=RetryPolicy(attempts=5, jitter=0)
    )


def test_a_stage_that_is_answered_by_a_callback_becomes_the_kernels_specification() -> None:
    made = stage(callback=HOUR, callback_heartbeat=timedelta(minutes=1), compensate=refund)(asking)
    patient = stage(callback=HOUR)(asking)

    assert made.spec(Strategy.STOP).callback == CallbackPolicy(limit=3_600_000, heartbeat=60_000)
    assert made.compensation_spec().callback is None
    assert patient.spec(Strategy.STOP).callback == CallbackPolicy(limit=3_600_000)
    assert patient.contract.returns is Receipt


def test_that_a_stage_is_answered_by_a_callback_is_part_of_what_a_run_is_pinned_to() -> None:
    asks = Workflow("order", input=Order).then(stage(callback=HOUR)(asking))
    longer = Workflow("order", input=Order).then(stage(callback=2 * HOUR)(asking))
    gives = Workflow("order", input=Order).then(stage(charge).named("asking"))

    assert asks.definition.fingerprint == longer.definition.fingerprint != gives.definition.fingerprint


def test_a_stage_that_runs_at_most_once_has_one_attempt_and_its_compensation_has_three() -> None:
    made = stage(at_most_once=True, compensate=refund)(charge)

    assert made.spec(Strategy.STOP).at_most_once
    assert made.spec(Strategy.STOP).retry.attempts == 1
    assert made.compensation_spec().retry.attempts == 3


def test_a_stage_under_another_name_is_the_same_function_and_leaves_the_first_as_it_was() -> None:
    made = stage(retry=Retry(5))(charge)
    renamed = made.named("deposit")

    assert (made.id, renamed.id) == ("charge", "deposit")
    assert renamed.function is made.function
    assert renamed.spec(Strategy.STOP).retry.attempts == 5


def test_a_stage_under_another_name_knows_the_types_of_where_it_was_made() -> None:
    def make() -> Stage[Any, Any]:
        class Local(BaseModel):
            id: str

        @stage
        def keep(ctx: Context, local: Local) -> Local:
            return local

        return keep

    assert make().named("other").require_contract().returns.__name__ == "Local"


def test_a_stage_with_a_check_gives_what_the_check_gives() -> None:
    def never_at_once(ctx: Context, order: Order) -> Suspend[Job]:
        return Suspend(Job(id=order.id))

    made = stage(check=checked, every=HOUR, limit=HOUR)(never_at_once)

    assert (made.contract.returns, made.contract.state) == (Receipt, Job)


def test_types_of_an_enclosing_function_are_found_though_annotations_are_postponed() -> None:
    class Local(BaseModel):
        id: str

    @stage
    def keep(ctx: Context, local: Local) -> Local:
        return local

    assert keep.contract.returns is Local


def test_a_type_that_is_defined_below_the_stage_is_found_by_the_workflow() -> None:
    @stage
    def early(ctx: Context, order: Order) -> Late:
        return Late(id=order.id)

    class Late(BaseModel):
        id: str

    workflow = Workflow("late", input=Order).then(early)

    assert workflow.definition.code["early"].sources == ("",)
    assert early.contract.returns is Late


def test_the_configuration_of_a_stage_is_that_of_its_compensation_too() -> None:
    def refund_at(ctx: Context[Gateway], receipt: Receipt) -> None: ...

    assert stage(compensate=refund_at)(charge).contract.config is Gateway


# --- what it refuses -----------------------------------------------------------------------------------


async def asynchronous(ctx: Context, order: Order) -> Receipt:
    return Receipt(id=order.id)


async def asynchronously_yielding(ctx: Context, order: Order) -> AsyncIterator[Receipt]:
    yield Receipt(id=order.id)


def yielding(ctx: Context, order: Order) -> Iterator[Receipt]:
    yield Receipt(id=order.id)


def starred(ctx: Context, *orders: Order) -> Receipt:
    return Receipt(id=orders[0].id)


def double_starred(ctx: Context, **orders: Order) -> Receipt:
    return Receipt(id=str(orders))


def keyword_only(ctx: Context, *, order: Order) -> Receipt:
    return Receipt(id=order.id)


def unannotated(ctx: Context, order) -> Receipt:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the mistake
    return Receipt(id=order.id)


def silent_about_its_output(ctx: Context, order: Order):  # type: ignore[no-untyped-def]  # noqa: ANN201 - the mistake
    return Receipt(id=order.id)


def without_parameters() -> Receipt:
    return Receipt(id="")


def without_context(order: Order) -> Receipt:
    return Receipt(id=order.id)


def only_a_failure(ctx: Context, receipt: Failed) -> Receipt:
    return Receipt(id=receipt.stage)


def locked(ctx: Context, order: Order) -> Locked:
    return Locked(parts=[])


def hooked(ctx: Context, hooked: Hooked) -> Receipt:
    return Receipt(id="")


def an_event(ctx: Context, order: Order) -> threading.Event:
    return threading.Event()


def events(ctx: Context, order: Order) -> dict[str, list[threading.Event]]:
    return {}


def bare(ctx: Context, anything: BaseModel) -> Receipt:
    return Receipt(id="")


def configured_by_a_number(ctx: Context[int], order: Order) -> Receipt:  # type: ignore[type-var]  # the mistake
    return Receipt(id=order.id)


def pending(ctx: Context, order: Order) -> Receipt | Pending:
    return Pending()


class WithMethod:
    def __call__(self, ctx: Context, order: Order) -> Receipt:
        return Receipt(id=order.id)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (asynchronous, "is async, which is not supported: write def instead of async def"),
        (asynchronously_yielding, "is async, which is not supported: write def instead of async def"),
        (yielding, "yields: return the output as one value, such as a list"),
        (starred, "takes *orders: name each parameter, one for each output it joins"),
        (double_starred, "takes *orders: name each parameter"),
        (keyword_only, "parameter 'order' is keyword-only: inputs come by position"),
        (unannotated, "parameter 'order' has no type: annotate it"),
        (silent_about_its_output, "does not say what it returns: annotate it, with -> None if it is nothing"),
        (without_parameters, "takes nothing: its first parameter must be ctx: Context"),
        (without_context, "the first parameter, 'order', must be annotated Context or Context[Config]"),
        (only_a_failure, "parameter 'receipt' is only Failed: annotate it with the output's type | Failed"),
        (locked, "its output: Locked.parts is of a kind that JSON cannot carry (is-instance)"),
        (hooked, "parameter 'hooked': Hooked.call is of a kind that JSON cannot carry (callable)"),
        (an_event, "its output: Event cannot be written as JSON"),
        (events, "its output: Event cannot be written as JSON"),
        (bare, "parameter 'anything': BaseModel itself has no fields, so everything would be lost"),
        (configured_by_a_number, "Context[...] takes a pydantic model, not <class 'int'>"),
        (pending, "may return Pending, which is for a check: return Suspend(state) instead"),
        (
            suspending,
            "may return Suspend: say how to go on, with @stage(check=..., every=..., limit=...)",
        ),
        (asking, "may return AwaitCallback: say how long the answer may take, with @stage(callback=...)"),
        (WithMethod(), "is made of <"),
        (lambda ctx, order: order, "parameter 'ctx' has no type: annotate it"),
        (stage(charge), "is a stage already: decorate it once"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or "",
)
def test_a_function_that_cannot_be_a_stage_is_refused_with_what_to_change(function: Any, message: str) -> None:
    with pytest.raises(DefinitionError) as refusal:
        loose(function)

    assert message in str(refusal.value)
    assert str(refusal.value).startswith("stage '")


def takes_two(ctx: Context, job: Job, order: Order) -> Receipt | Pending:
    return Pending()


def never_pending(ctx: Context, job: Job) -> Receipt:
    return Receipt(id=job.id)


def never_ready(ctx: Context, job: Job) -> Pending:
    return Pending()


def checks_an_order(ctx: Context, order: Order) -> Receipt | Pending:
    return Pending()


def gives_a_job(ctx: Context, job: Job) -> Job | Pending:
    return Pending()


def refund_a_job(ctx: Context, job: Job) -> None: ...


def refund_two(ctx: Context, receipt: Receipt, order: Order) -> None: ...


def refund_returning(ctx: Context, receipt: Receipt) -> Receipt:
    return receipt


async def refund_later(ctx: Context, receipt: Receipt) -> None: ...


def refund_here(ctx: Context[Gateway], receipt: Receipt) -> None: ...


def charge_there(ctx: Context[Other], order: Order) -> Receipt:
    return Receipt(id=order.id)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (
            suspending,
            {"check": takes_two},
            "its check must take (ctx, state), where the stage returns Suspend(state)",
        ),
        (suspending, {"check": never_pending}, "its check must return its output's type | Pending"),
        (suspending, {"check": never_ready}, "its check must return its output's type | Pending"),
        (suspending, {"check": checks_an_order}, "suspends with Job, but its check takes Order"),
        (
            suspending,
            {"check": gives_a_job},
            "gives Receipt, but its check gives Job: they must give the same",
        ),
        (
            charge,
            {"check": checked},
            "has a check but never suspends: let it return its output's type | Suspend[State]",
        ),
        (
            suspending,
            {"check": stage(charge)},
            "its check is a stage: give the plain function, without @stage",
        ),
        (suspending, {"check": checked, "every": None}, "check, every and limit belong together"),
        (charge, {"every": HOUR}, "check, every and limit belong together: give all three or none"),
        (
            suspending,
            {"check": checked, "every": timedelta(0)},
            "every is 0:00:00: give at least 0:00:00.001",
        ),
        (
            suspending,
            {"check": checked, "limit": timedelta(1) / 48},
            "limit is 0:30:00: give at least 1:00:00",
        ),
        (suspending, {"check": awaiting_check}, "its check must return its output's type | Pending"),
        (charge, {"compensate": awaiting_refund}, "its compensation must return None"),
        (charge, {"callback": HOUR}, "has a callback: let it return its output's type | AwaitCallback"),
        (only_asking, {"callback": HOUR}, "has a callback: let it return its output's type | AwaitCallback"),
        (asking, {"callback": HOUR, "check": checked}, "check and callback contradict each other"),
        (asking, {"callback": 3}, "callback is 3: give a datetime.timedelta"),
        (asking, {"callback": timedelta(0)}, "callback is 0:00:00: give at least 0:00:00.001"),
        (asking, {"callback_heartbeat": HOUR}, "callback_heartbeat belongs to a callback: give callback=... as well"),
        (asking, {"callback": HOUR, "callback_heartbeat": 3}, "callback_heartbeat is 3: give a datetime.timedelta"),
        (
            asking,
            {"callback": HOUR, "callback_heartbeat": 2 * HOUR},
            "callback_heartbeat is 2:00:00: give at most 1:00:00",
        ),
        (charge, {"compensate": refund_a_job}, "its compensation must take (ctx, output: Receipt)"),
        (charge, {"compensate": refund_two}, "its compensation must take (ctx, output: Receipt)"),
        (charge, {"compensate": refund_returning}, "its compensation must return None"),
        (charge, {"compensate": refund_later}, "its compensation is async, which is not supported"),
        (charge, {"compensate": 3}, "its compensation is made of 3: give a function written with def"),
        (charge, {"compensate": stage(refund)}, "its compensation is a stage: give the plain function"),
        (charge_there, {"compensate": refund_here}, "have different configurations: use one model"),
        (charge, {"timeout": 5}, "timeout is 5: give a datetime.timedelta, such as timedelta(seconds=5)"),
        (charge, {"timeout": timedelta(0)}, "timeout is 0:00:00: give at least 0:00:00.001"),
        (
            charge,
            {"on_failure": "retry"},
            "on_failure is 'retry': give one of 'stop', 'proceed', 'compensate'",
        ),
        (charge, {"delay": 3}, "delay is 3: give a datetime.timedelta"),
        (charge, {"delay": timedelta(0)}, "delay is 0:00:00: give at least"),
        (charge, {"at_most_once": True, "retry": Retry(2)}, "at_most_once and retry contradict each other"),
        (charge, {"retry": 3}, "retry is 3: give a Retry, such as Retry(3)"),
    ],
)
def test_options_that_do_not_fit_the_function_are_refused(function: Any, options: dict[str, Any], message: str) -> None:
    if "check" in options:
        options = {"every": HOUR, "limit": HOUR, **options}

    with pytest.raises(DefinitionError) as refusal:
        loose(**options)(function)

    assert message in str(refusal.value)


@pytest.mark.parametrize("id_", ["", "7th", "a b", "a#b", "compensate:charge", "ä", "x" * 65, 7])
def test_a_name_that_is_not_an_id_is_refused(id_: Any) -> None:
    with pytest.raises(DefinitionError, match="is not an id: use a letter, then up to 63 letters, digits"):
        stage(charge).named(id_)


def test_a_name_that_is_never_defined_is_refused_where_the_stage_is_used() -> None:
    def misspelt(ctx: Context, order: Ordre) -> Receipt:  # type: ignore[name-defined]  # noqa: F821 - the mistake
        return Receipt(id="")

    made: Stage[Receipt, Any] = stage(misspelt)

    with pytest.raises(DefinitionError) as refusal:
        Workflow("order", input=Order).then(made)

    assert "stage 'misspelt': a type hint cannot be resolved (name 'Ordre' is not defined)" in str(refusal.value)
    assert "above the workflow that uses the stage" in str(refusal.value)


class Unfinished(BaseModel):
    nowhere: Nowhere  # type: ignore[name-defined]  # noqa: F821 - the mistake


def test_a_model_that_refers_to_something_undefined_is_refused_where_the_stage_is_used() -> None:
    @stage
    def unfinished(ctx: Context, order: Order) -> Unfinished:
        raise NotImplementedError

    with pytest.raises(DefinitionError, match="Nowhere"):
        Workflow("order", input=Order).then(unfinished)
