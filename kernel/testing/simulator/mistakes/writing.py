"""What people write with: models, functions of any kind, stages, and contexts whose run is made up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cache, cached_property
from logging import getLogger
from types import MappingProxyType, SimpleNamespace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator

from kernel.core.events import ErrorRecord
from kernel.define.context import Context, Failed, NoConfig, Pending, Suspend
from kernel.define.model import Hint, Value
from kernel.define.stage import stage
from kernel.define.workflow import Workflow
from kernel.errors import StageTimedOut
from kernel.testing.simulator.mistakes.cases import HOUR

LOG = getLogger(__name__)
"""Where stages with a made-up run log to."""

# As they write who run no type checker.
untyped_stage: Any = stage
Flow: Any = Workflow
SuspendOf: Any = Suspend
ListOf: Any = list
DictOf: Any = dict
TupleOf: Any = tuple


class Line(BaseModel):
    """Part of an order."""

    sku: str
    quantity: int = 1


class Order(BaseModel):
    """What a run is started with. It has an alias, and a validator that throws what it should not."""

    id: str = Field(default="7", alias="orderId")
    lines: list[Line] = []
    total: float | None = None
    extra: Any = None

    @field_validator("id")
    @classmethod
    def known(cls, value: str) -> str:
        """Throw, for some."""
        if value == "late":
            raise StageTimedOut("too slow")
        if value == "crash":
            raise KeyError(value)
        return value


class Receipt(BaseModel):
    """What most stages give."""

    id: str = "7"


class Special(Receipt):
    """More than what is asked for."""

    extra: str = "lost"


class Parcel(BaseModel):
    """Looks like a receipt, and is another thing."""

    id: str = "7"


class Gateway(BaseModel):
    """A configuration with defaults and an alias."""

    url: str = Field(default="https://example.org", alias="endpoint")
    retries: int = 3


class Scale(BaseModel):
    """A configuration that must be given, and may hold more."""

    model_config = ConfigDict(extra="allow")

    unit: str


class Colour(Enum):
    """One of a few."""

    RED = "red"
    BLUE = "blue"


class Locked(BaseModel):
    """Holds what exists in Python only."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    parts: list[threading.Event] = []


class Hooked(BaseModel):
    """Holds a function."""

    call: Callable[[], None] | type[int]


class Unfinished(BaseModel):
    """Holds what nobody ever defined."""

    nowhere: Nowhere  # type: ignore[name-defined]  # noqa: F821 - the mistake


class Anything(BaseModel):
    """Holds what nobody checks, and more than what is recorded."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    value: Any = None
    secret: SecretStr | None = None
    number: float = 0
    dropped: str = Field(default="", exclude=True)
    _made: object = PrivateAttr(default_factory=object)

    @cached_property
    def length(self) -> int:
        """Kept beside the fields, once it was asked for."""
        return len(str(self.value))


def noted(function: Any, /, gives: Hint = Receipt, **hints: Hint) -> Any:  # noqa: ANN401 - a function of any kind
    """The function, with these hints for its parameters, and for its output unless it is ``...``."""
    function.__annotations__ = hints if gives is ... else {**hints, "return": gives}
    function.__name__ = "s"
    return function


def function_of(*takes: Hint, gives: Hint = Receipt, ctx: Hint = Context, body: Any = None) -> Any:  # noqa: ANN401 - the same
    """A function of a context and of inputs of these types."""
    give = body or (lambda _ctx, *inputs: next(iter(inputs), None))
    functions: Sequence[Any] = (
        lambda ctx: give(ctx),  # noqa: PLW0108 - its parameters are read
        lambda ctx, a: give(ctx, a),  # noqa: PLW0108 - its parameters are read
        lambda ctx, a, b: give(ctx, a, b),  # noqa: PLW0108 - its parameters are read
        lambda ctx, a, b, c: give(ctx, a, b, c),  # noqa: PLW0108 - its parameters are read
        lambda ctx, a, b, c, d: give(ctx, a, b, c, d),  # noqa: PLW0108 - its parameters are read
    )
    return noted(functions[len(takes)], gives, ctx=ctx, **dict(zip("abcd", takes, strict=False)))


def stage_of(*takes: Hint, id_: str = "s", options: Mapping[str, Any] = MappingProxyType({}), **function: Any) -> Any:  # noqa: ANN401 - the same
    """A stage of such a function."""
    made = untyped_stage(**options)(function_of(*takes, **function))
    return made if id_ == "s" else made.named(id_)


def context_of(values: Mapping[str, object], settings: bytes | None = None) -> Context[Any]:
    """A context whose run is made up."""
    hand: Any = SimpleNamespace(
        stage="s", attempt=1, tenant="t", run="0" * 24, key="k", log=LOG,
        value=lambda id_: values.get(id_, b"null"),
        config=lambda: settings,
        heartbeat=lambda _progress: None,
        cancelled=lambda: False,
    )  # fmt: skip
    return Context(hand)


def code_of(made: Any) -> Any:  # noqa: ANN401 - a StageCode, of which wrong things are asked
    """The code of a stage, in a workflow of its own."""
    return EMPTY.then(made).definition.code[made.id]


def run_of(made: Any, *given: object) -> Any:  # noqa: ANN401 - the same
    """What a stage answers, in a workflow of its own, to these recorded inputs."""
    return code_of(made).run(context_of({}), given or [b"{}"])


def recorded_of(value: Value, hint: Hint) -> Any:  # noqa: ANN401 - the same
    """What is recorded of a value that a stage gives under this type."""
    return run_of(stage_of(Order, gives=hint, body=lambda *_given: value))


def answer_of(
    question: Callable[[Any], object],
    values: Mapping[str, object],
    settings: bytes | None = None,
    config: Hint = NoConfig,
) -> Any:  # noqa: ANN401 - the same
    """What a context answers in the stage between ``charge`` and ``last``."""
    answers: list[object] = []
    asking = stage_of(Receipt, ctx=Context[config], gives=None, body=lambda ctx, _given: answers.append(question(ctx)))
    code = BEGUN.then(asking).then(LAST).definition.code["s"]
    code.run(context_of(values, settings), [b"{}"])
    return answers[0]


EMPTY = Flow("w", input=Order)
CHARGE = stage_of(Order, id_="charge", body=lambda *_given: Receipt())
PACK = stage_of(Receipt, id_="pack", gives=Parcel, body=lambda *_given: Parcel())
WEIGH = stage_of(Receipt, id_="weigh", gives=int, body=lambda *_given: 1)
SHIP = stage_of(Parcel, int, id_="ship", gives=str, body=lambda *_given: "")
LAST = stage_of(None, id_="last", gives=None)
RISKY = stage_of(Order, id_="risky", options={"on_failure": "proceed"})
STAMP = stage_of(Receipt, id_="stamp")
WARY = stage_of(Receipt | Failed | None, id_="wary", gives=str, body=lambda _ctx, given: type(given).__name__)
BEGUN = EMPTY.then(CHARGE)
BOTH = BEGUN.together(PACK, WEIGH)
FAILURE = ErrorRecord("user", "ValueError", "no stock", "charge", 3, "Traceback ...")


async def later(ctx: Context, order: Order) -> Receipt:  # noqa: ARG001 - the mistake
    """Written as a coroutine, which no stage may be."""
    return Receipt()


@cache
def crowd() -> Any:  # noqa: ANN401 - a workflow
    """As many stages as there may be."""
    flow = BEGUN
    for number in range(333):
        flow = flow.output(CHARGE).together(*(STAMP.named(f"n{number}-{each}") for each in range(6)))
    return flow.output(CHARGE).then(STAMP)


_CHECK = function_of(Parcel, gives=Receipt | Pending)
POLLED: Mapping[str, Any] = MappingProxyType({"check": _CHECK, "every": HOUR, "limit": HOUR})
