"""Mistakes in what a stage is made of: its policy, its function, its options and its check."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel

from kernel.define.context import AwaitCallback, Context, Failed, Pending, Suspend
from kernel.define.model import Hint
from kernel.define.policy import Retry
from kernel.errors import DefinitionError
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.mistakes.cases import (
    BILLION,
    HOUR,
    INFINITE,
    NAN,
    NO_SPAN,
    NO_STRATEGY,
    NOT_WHOLE,
    TOO_SHORT,
    Attempt,
    Refusals,
    by_name,
    no_id,
    one_of,
    span,
)
from kernel.testing.simulator.mistakes.writing import (
    CHARGE,
    LAST,
    POLLED,
    DictOf,
    Gateway,
    Hooked,
    ListOf,
    Locked,
    Order,
    Parcel,
    Receipt,
    Scale,
    SuspendOf,
    TupleOf,
    function_of,
    later,
    noted,
    stage_of,
    untyped_stage,
)

_NO_FUNCTION = one_of(3, "pack", len, int, partial(int), threading.Event(), b"", [])
_Retry: Any = Retry


async def _later_and_later(ctx: Context, order: Order) -> AsyncIterator[Receipt]:  # noqa: ARG001 - the mistake
    yield Receipt()


_POLICIES = {
    "attempts is {0[attempts]!r}: give a whole number from 1": by_name(attempts=NOT_WHOLE),
    "first is {0[first]!r}: give a datetime.timedelta": by_name(first=NO_SPAN),
    "first is {0[first]}: give at least 0:00:00": by_name(first=span(-BILLION, 0)),
    "cap is {0[cap]!r}: give a datetime.timedelta": by_name(cap=NO_SPAN),
    "cap is {0[cap]}: give at least {0[first]}": by_name(first=span(2_000, BILLION), cap=span(-BILLION, 2_000)),
    "factor is {0[factor]}: give 1 (constant delay)": by_name(factor=one_of(0, -1, 0.999, NAN, INFINITE, -INFINITE)),
    "jitter is {0[jitter]}: give a fraction": by_name(jitter=one_of(-0.001, 1.001, 2, NAN, INFINITE)),
    "on is {0[on]!r}: give a tuple of exception classes": by_name(
        on=one_of(
            ValueError, (3,), [ValueError], (BaseException,), "ValueError", (ValueError("x"),), None, (OSError, int)
        )
    ),
    "give_up_on is {0[give_up_on]!r}: give a tuple": by_name(
        give_up_on=one_of(KeyError, (KeyboardInterrupt,), {KeyError})
    ),
}

_nameless = function_of(Order)
_nameless.__name__ = "<lambda>"

_FUNCTIONS = {
    "is async, which is not supported: write def": one_of(later, _later_and_later),
    "'s' yields: return the output as one value": one_of(noted(lambda _ctx, a: (yield a), _ctx=Context, a=Order)),
    "'s' takes *a: name each parameter": one_of(
        noted(lambda _ctx, *a: a, _ctx=Context, a=Order), noted(lambda _ctx, **a: a, _ctx=Context, a=Order)
    ),
    "parameter 'a' is keyword-only: inputs come by position": one_of(
        noted(lambda _ctx, *, a: a, _ctx=Context, a=Order)
    ),
    "parameter 'a' has no type: annotate it": one_of(
        noted(lambda _ctx, a: a, _ctx=Context), noted(lambda _ctx, a=3, _b=4: a, _ctx=Context, _b=Order)
    ),
    "'s' does not say what it returns: annotate it": one_of(function_of(Order, gives=...)),
    "'s' takes nothing: its first parameter must be ctx: Context": one_of(noted(lambda: 0)),
    "first parameter, 'a', must be annotated Context": one_of(
        noted(lambda a: a, a=Order), noted(lambda a, _ctx: a, a=Order, _ctx=Context), noted(lambda a: a, a=Any)
    ),
    "is made of {0!r}: give a function written with def": _NO_FUNCTION,
    "the function's name '<lambda>' is not an id": one_of(_nameless),
    "is a stage already: decorate it once": one_of(CHARGE, LAST),
    "'s': parameter 'a' is only Failed: annotate it with the output's type | Failed": one_of(function_of(Failed)),
    "Context[...] takes a pydantic model, not <class 'int'>": one_of(function_of(Order, ctx=Context[int])),  # type: ignore[type-var]  # the mistake
    "'s', its configuration: Locked.parts is of a kind that JSON": one_of(function_of(Order, ctx=Context[Locked])),
    "'s' may return Pending, which is for a check": one_of(
        function_of(Order, gives=Receipt | Pending), function_of(Order, gives=Pending)
    ),
    "'s' may return Suspend: say how to go on": one_of(
        function_of(Order, gives=Receipt | Suspend[Parcel]), function_of(Order, gives=Suspend)
    ),
    "'s' may return AwaitCallback: say how long": one_of(
        function_of(Order, gives=Receipt | AwaitCallback), function_of(Order, gives=AwaitCallback)
    ),
    "BaseModel itself has no fields": one_of(function_of(BaseModel), function_of(Order, gives=list[BaseModel])),
}


def _unreadable(chance: Chance) -> Hint:
    """A type that JSON cannot carry, within others that it can."""
    hint: Hint = chance.pick((threading.Event, Locked, Hooked, Callable[[], None], type[int], Iterator[int]))
    for _ in range(chance.below(3)):
        hint = chance.pick(
            (ListOf[hint], DictOf[str, hint], TupleOf[int, hint], TupleOf[hint, ...], hint | None, hint | int)
        )
    return hint


_UNREADABLE: Mapping[str, Attempt] = {
    "'s', parameter 'a': ": stage_of,
    "'s', its output: ": lambda hint: stage_of(Order, gives=hint),
    "'s', its state while suspended: ": lambda hint: stage_of(Order, gives=Receipt | SuspendOf[hint], options=POLLED),
}

_OPTIONS = {
    "'s', timeout is {0[timeout]!r}: give a datetime.timedelta": by_name(timeout=NO_SPAN),
    "'s', timeout is {0[timeout]}: give at least 0:00:00.001": by_name(timeout=TOO_SHORT),
    "'s', on_failure is {0[on_failure]!r}: give one of 'stop', 'proceed', 'compensate'": by_name(
        on_failure=NO_STRATEGY
    ),
    "'s': retry is {0[retry]!r}: give a Retry": by_name(retry=one_of(3, None, "3", Retry, ())),
    "at_most_once and retry contradict each other": by_name(
        at_most_once=one_of(1), retry=lambda chance: Retry(2 + chance.below(9))
    ),
    "check, every and limit belong together": one_of({"every": HOUR}, {"limit": HOUR}, {"every": HOUR, "limit": HOUR}),
    "its compensation is a stage: give the plain function": by_name(compensate=one_of(CHARGE, LAST)),
    "its compensation is made of {0[compensate]!r}: give a function": by_name(compensate=_NO_FUNCTION),
    "its compensation is async": by_name(compensate=one_of(later)),
    "its compensation must take (ctx, output: Receipt)": by_name(
        compensate=one_of(
            *(function_of(*takes, gives=None) for takes in ((), (Parcel,), (Receipt, Order), (list[Receipt],)))
        )
    ),
    "its compensation must return None": by_name(
        compensate=one_of(
            *(
                function_of(Receipt, gives=gives)
                for gives in (Receipt, int | None, None | Pending, None | Suspend[Parcel])
            )
        )
    ),
    "different configurations: use one": by_name(
        compensate=one_of(function_of(Receipt, gives=None, ctx=Context[Scale]))
    ),
    "has a check but never suspends": lambda _chance: POLLED,
    "has a callback: let it return its output's type | AwaitCallback": one_of({"callback": HOUR}),
    "callback_heartbeat belongs to a callback": by_name(callback_heartbeat=one_of(HOUR)),
}

_CALLBACKS = {
    "callback is {0[callback]!r}: give a datetime.timedelta": by_name(callback=one_of(3, "3", 0.5)),
    "callback is {0[callback]}: give at least 0:00:00.001": by_name(callback=TOO_SHORT),
    "callback_heartbeat is {0[callback_heartbeat]!r}: give a": by_name(callback_heartbeat=one_of(3, "3", 0.5)),
    "callback_heartbeat is {0[callback_heartbeat]}: give at least": by_name(callback_heartbeat=TOO_SHORT),
    "callback_heartbeat is {0[callback_heartbeat]}: give at most 1:00:00": by_name(
        callback_heartbeat=span(4 * BILLION, 9 * BILLION)
    ),
    "check and callback contradict each other": lambda _chance: POLLED,
}

_CHECKS = {
    "check, every and limit belong together": one_of({"every": None}, {"limit": None}, {"check": None}),
    "every is {0[every]!r}: give a datetime.timedelta": by_name(every=NO_SPAN),
    "every is {0[every]}: give at least 0:00:00.001": by_name(every=TOO_SHORT),
    "limit is {0[limit]!r}: give a datetime.timedelta": by_name(limit=NO_SPAN),
    "limit is {0[limit]}: give at least 1:00:00": by_name(limit=span(-BILLION, 3 * BILLION)),
    "its check is a stage: give the plain function": by_name(check=one_of(CHARGE)),
    "its check is made of {0[check]!r}: give a function": by_name(check=_NO_FUNCTION),
    "its check must return its output's type | Pending": by_name(
        check=one_of(
            *(function_of(Parcel, gives=gives) for gives in (Receipt, Pending, Receipt | Pending | Suspend[Parcel]))
        )
    ),
    "its check must take (ctx, state)": by_name(
        check=one_of(function_of(gives=Receipt | Pending), function_of(Parcel, Order, gives=Receipt | Pending))
    ),
    "suspends with Parcel, but its check takes Order": by_name(
        check=one_of(function_of(Order, gives=Receipt | Pending))
    ),
    "gives Receipt, but its check gives Parcel": by_name(check=one_of(function_of(Parcel, gives=Parcel | Pending))),
}

REFUSALS: Refusals = (
    ("policy", DefinitionError, lambda given: _Retry(**{"attempts": 3, **given}), _POLICIES),
    ("function", DefinitionError, untyped_stage, _FUNCTIONS),
    *(("type", DefinitionError, attempt, {says: _unreadable}) for says, attempt in _UNREADABLE.items()),
    ("options", DefinitionError, lambda given: stage_of(Order, ctx=Context[Gateway], options=given), _OPTIONS),
    (
        "check",
        DefinitionError,
        lambda given: stage_of(Order, gives=Receipt | Suspend[Parcel], options={**POLLED, **given}),
        _CHECKS,
    ),
    (
        "callback",
        DefinitionError,
        lambda given: stage_of(Order, gives=Receipt | AwaitCallback, options={"callback": HOUR, **given}),
        _CALLBACKS,
    ),
    ("id", DefinitionError, CHARGE.named, {"stage {0!r} is not an id": no_id}),
)
