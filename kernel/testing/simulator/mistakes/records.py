"""Mistakes in what is recorded, and in what is asked of it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from functools import partial
from typing import Any

from msgspec import json
from pydantic import SecretStr

from kernel.core.definition import RUN_INPUT
from kernel.define.context import Pending, Suspend
from kernel.define.model import Hint
from kernel.errors import InvalidOutput, InvalidStageInput, NotUpstream, StageTimedOut
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.mistakes.cases import INFINITE, NAN, Draw, Refusals, one_of
from kernel.testing.simulator.mistakes.writing import (
    BOTH,
    CHARGE,
    FAILURE,
    LAST,
    PACK,
    POLLED,
    WEIGH,
    Anything,
    Gateway,
    Line,
    Order,
    Parcel,
    Receipt,
    Scale,
    Special,
    answer_of,
    code_of,
    context_of,
    function_of,
    recorded_of,
    run_of,
    stage_of,
    untyped_stage,
)

_Pending: Any = Pending


def _circular(_chance: Chance) -> tuple[object, Hint]:
    made = Anything()
    made.value = made
    return made, Anything


def _deep(_chance: Chance) -> tuple[object, Hint]:
    value: list[object] = []
    for _ in range(500):
        value = [value]
    return Anything(value=value), Anything


def _giving(hint: Hint, *values: object) -> Draw:
    return lambda chance: (chance.pick(values), hint)


def _holding(*values: object) -> Draw:
    return lambda chance: (Anything(value=chance.pick(values)), Anything)


_OUTPUTS = {
    "s returned a NoneType that cannot be recorded as its output: value: Input should be": _giving(Receipt, None),
    "s returned a dict that cannot be recorded as its output": _giving(Receipt, {"id": "7"}, {}),
    "value is a str, but would be read back as a int": _giving(int, "7", "-1"),
    "value is a Special, but would be read back as a Receipt": _giving(Receipt, Special()),
    "value is a Parcel, but would be read back as a Receipt": _giving(Receipt, Parcel()),
    "id: Input should be a valid string": _giving(Receipt, Receipt.model_construct(id=7)),
    "sku: Field required": _giving(Line, Line.model_construct()),
    "value: Input should be a valid number": _giving(float, NAN, INFINITE),
    "value.total is a float, but would be read back as a None": _giving(
        Order, Order(total=NAN), Order(total=-INFINITE)
    ),
    "malformed": _giving(Anything, Anything(number=INFINITE), Anything(number=-INFINITE)),
    "value.number would not be the same": _giving(Anything, Anything(number=NAN)),
    "surrogates not allowed": _giving(str, "\ud800", "a\udfff"),
    "value.value is a tuple, but would be read back as a list": _holding((1,), ()),
    "value.value.1.a is a tuple, but would be read back as a list": _holding([1, {"a": (1,)}]),
    "value.value is a datetime, but would be read back as a str": _holding(datetime(2026, 1, 1, tzinfo=UTC)),
    "value.value would not be the same": _holding({1: 2}, {"a": 1, None: 3}),
    "value.more is a set, but would be read back as a list": _giving(
        Scale, Scale.model_validate({"unit": "g", "more": {1}})
    ),
    "Unable to serialize unknown type": _holding(object(), threading.Event(), [print]),
    "value.secret would not be the same": _giving(Anything, Anything(secret=SecretStr("s3cret"))),
    "value.dropped would not be the same": _giving(Anything, Anything(dropped="x")),
    "KeyError: 'crash'": _giving(Order, Order.model_construct(id="crash")),
    "Circular reference": _circular,
    "depth exceeded": _deep,
    "s returned a Suspend that cannot be recorded": _giving(Receipt, Suspend(Parcel())),
    "s returned a Pending that cannot be recorded": _giving(Receipt, Pending(), Pending(0.5)),
    "and 1 more": _giving(list[int], ["x"] * 6),
}

_PROVIDE = untyped_stage(**POLLED)(
    function_of(Order, gives=Receipt | Suspend[Parcel], body=lambda _ctx, order: Suspend(order.extra))
)

_STALE = {
    "s: what it takes from the run's input does not fit its parameters: total: Input should be a valid number": one_of(
        lambda: run_of(stage_of(Order), b'{"id":"7","total":"s3cret"}')
    ),
    "pack: what it takes from charge does not fit its parameters: id: Input should be a valid string": one_of(
        lambda: BOTH.definition.code["pack"].run(context_of({}), [b'{"id":7}'])
    ),
    "fit its parameters: KeyError: 'crash'": one_of(lambda: run_of(stage_of(Order), b'{"id":"crash"}')),
    "charge failed, and the parameter is not annotated ... | Failed": one_of(lambda: run_of(stage_of(Order), FAILURE)),
    "s: its state while suspended does not fit its type: value: Input": lambda chance: partial(
        code_of(_PROVIDE).check, context_of({}), chance.pick((b"[]", b"7", b"null"))
    ),
    "s is suspended, but this version of it has no check: deploy one": one_of(
        lambda: code_of(stage_of(Order)).check(context_of({}), b"{}")
    ),
    "charge: its output does not fit its type: id: Input": one_of(lambda: code_of(CHARGE).read_output(b'{"id":7}')),
    "the configuration of s does not fit its model: retries: Input": one_of(
        lambda: answer_of(lambda ctx: ctx.config, {}, b'{"s":{"retries":"x"}}', Gateway)
    ),
    "the configuration of s does not fit its model: unit: Field required": lambda chance: partial(
        answer_of, lambda ctx: ctx.config, {}, chance.pick((None, b'{"other":{}}', b'{"s":{}}')), Scale
    ),
    "the run's configuration cannot be read": lambda chance: partial(
        answer_of, lambda ctx: ctx.config, {}, chance.pick((b"[]", b"{", b'{"s":', b"\xff"))
    ),
    "the run's input is not there: no stock": one_of(
        lambda: answer_of(lambda ctx: ctx.run_input(Order), {RUN_INPUT: FAILURE})
    ),
    "the run's input does not fit its model: sku": one_of(
        lambda: answer_of(lambda ctx: ctx.run_input(Line), {RUN_INPUT: b"{}"})
    ),
    "the output of charge does not fit its model: id": one_of(
        lambda: answer_of(lambda ctx: ctx.output(CHARGE), {"charge": b'{"id":7}'})
    ),
}

_LATE = {
    "too slow": one_of(
        lambda: run_of(stage_of(Order), b'{"id":"late"}'),
        lambda: recorded_of(Order.model_construct(id="late"), Order),
        lambda: code_of(stage_of(Order, gives=Order)).read_output(b'{"id":"late"}'),
    )
}

_ABSENT = {
    "charge was skipped in this run and has no output": one_of({}, {"charge": b"null"}),
    "charge failed and has no output (ValueError: no stock): to see the failure": one_of({"charge": FAILURE}),
}
_PROGRESS = {"progress is {0}: give a fraction, from 0 to 1": one_of(NAN, INFINITE, -INFINITE, 1.5, -0.5)}


REFUSALS: Refusals = (
    ("output", InvalidOutput, lambda given: recorded_of(*given), _OUTPUTS),
    (
        "state",
        InvalidOutput,
        lambda given: run_of(_PROVIDE, json.encode({"extra": given})),
        {"that cannot be recorded as its state for its check: value": one_of({"id": "x"}, {"a": 1}, 7)},
    ),
    ("stale", InvalidStageInput, lambda attempt: attempt(), _STALE),
    ("late", StageTimedOut, lambda attempt: attempt(), _LATE),
    (
        "upstream",
        NotUpstream,
        lambda made: answer_of(lambda ctx: ctx.output(made), {}),
        {
            "{0.id} does not precede s; stages that do: charge": one_of(
                LAST, PACK, stage_of(Receipt), WEIGH.named("charge")
            )
        },
    ),
    (
        "upstream",
        NotUpstream,
        lambda made: run_of(stage_of(Order, body=lambda ctx, _given: ctx.output(made))),
        {"{0.id} does not precede s; stages that do: none": one_of(CHARGE, stage_of(Receipt))},
    ),
    ("upstream", NotUpstream, partial(answer_of, lambda ctx: ctx.output(CHARGE)), _ABSENT),
    ("pending", ValueError, _Pending, _PROGRESS),
    ("progress", ValueError, lambda given: context_of({}).progress(given), _PROGRESS),
)
