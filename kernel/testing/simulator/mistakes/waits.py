"""Mistakes and oddities in waits, in what is sent to them, and in who asks for what a stage does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel

from kernel.core.decide import KEPT
from kernel.define.context import AwaitCallback
from kernel.errors import DefinitionError, Gone, InvalidInput
from kernel.testing.play import Play
from kernel.testing.simulator.mistakes.cases import HOUR, NO_SPAN, NO_STRATEGY, TOO_SHORT, Oddities, Refusals, one_of
from kernel.testing.simulator.mistakes.writing import (
    BEGUN,
    CHARGE,
    PACK,
    STAMP,
    Flow,
    Locked,
    Order,
    Parcel,
    Receipt,
    later,
    stage_of,
)


class Paid(BaseModel):
    """An event."""

    kind: Literal["paid"] = "paid"
    amount: int = 0


class Refunded(BaseModel):
    """Another one."""

    kind: Literal["refunded"] = "refunded"
    amount: int = 0


class Loose(BaseModel):
    """One that may be taken for anything."""

    kind: str = "loose"
    amount: int = 0


def _namesake() -> type[BaseModel]:
    """Another class of the name."""
    return type("Paid", (BaseModel,), {"__annotations__": {"other": int}})


_TIMEOUT = HOUR


def _waits(*events: object, **options: object) -> Any:  # noqa: ANN401 - a workflow, unless it is refused
    return BEGUN.wait_for(*events, **options)


_WAITS: Mapping[str, Any] = {
    "wait_for: give one to three classes of events": one_of(_waits, lambda: _waits(Paid, Refunded, Loose, Order)),
    "is no event: give its class, a pydantic model": lambda chance: partial(
        _waits, chance.pick(("Paid", dict, Paid(), None, int))
    ),
    "event Locked: Locked.parts is of a kind that JSON cannot carry": one_of(lambda: _waits(Locked)),
    "there are two classes of the name 'Paid': rename one": one_of(
        lambda: _waits(Paid, _namesake()), lambda: _waits(Paid).wait_for(_namesake())
    ),
    "Receipt and Parcel look alike: give each a field that tells them apart, such as kind: Literal['Parcel']": one_of(
        lambda: _waits(Receipt, Parcel)
    ),
    "wait_for: on_timeout is ": lambda chance: partial(
        lambda wrong: _waits(Paid, timeout=_TIMEOUT, on_timeout=wrong), NO_STRATEGY(chance)
    ),
    "on_timeout is 'proceed', but there is no timeout: give one": one_of(lambda: _waits(Paid, on_timeout="proceed")),
    "wait_for: timeout is ": lambda chance: partial(
        lambda wrong: _waits(Paid, timeout=wrong), chance.pick((NO_SPAN, TOO_SHORT))(chance)
    ),
    "is not over before the workflow's deadline: give a longer one": one_of(
        lambda: Flow("w", input=Order, deadline=HOUR).then(CHARGE).wait_for(Paid, timeout=HOUR)
    ),
    "match must be a plain function of 2 values, the last one the event": lambda chance: partial(
        lambda wrong: _waits(Paid, match=wrong), chance.pick((True, "x", later, lambda: 1, lambda _a: 1))
    ),
    "wait 'a b' is not an id": one_of(lambda: _waits(Paid, id="a b")),
    "'w' has a stage 'charge' already: give the wait another id": one_of(lambda: _waits(Paid, id="charge")),
}

_SENT: Mapping[str, Any] = {
    "would be read as a Paid: give the classes a field that tells them apart": one_of((Loose, {"kind": "paid"}))
}


def _sent(given: tuple[type[BaseModel], object]) -> object:
    event, payload = given
    return _waits(Paid, Loose).definition.events[event.__name__].accept(payload)


REFUSALS: Refusals = (
    ("wait", DefinitionError, lambda make: make(), _WAITS),
    ("event", InvalidInput, _sent, _SENT),
)


# --- oddities ---------------------------------------------------------------------------------------------------------


def _drawn(given: tuple[timedelta, str]) -> bool:
    """Timers and waits of every kind are drawn, and a run gets past them."""
    length, told = given
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    flow = (
        BEGUN.sleep(length)
        .wait_for(Paid, Refunded, match=_never, timeout=length, on_timeout="proceed")
        .then(stage_of(Paid | Refunded | None, id_="after"))
        .sleep_until(begins)
        .then(STAMP)
        .sleep_until(lambda _receipt: begins)
        .wait_for(Paid)
        .then(stage_of(Paid, id_="end"))
    )
    drawn = flow.diagram()
    wanted = (
        f"sleep {told}",
        f"for {told} at most",
        "if _never",
        "sleep until 2026-01-01",
        "wait for Paid or Refunded",
    )
    return all(each in drawn for each in wanted)


def _never(_receipt: object, _event: object) -> bool:
    return False


def _too_many(count: int) -> bool:
    """A run keeps so many events that nobody waits for, and refuses the next one."""
    flow = BEGUN.sleep(HOUR).wait_for(Paid).then(stage_of(Paid, id_="end", body=lambda *_given: Receipt()))
    play = Play(flow)
    run = play.start(flow, Order())
    for number in range(KEPT + count):
        play.send(run, Paid(amount=number), id=f"e-{number}")
        play.attend(run, event=f"e-{number}")
    said = [play.event(run, f"e-{number}").status for number in range(KEPT + count)]
    play.play(run)
    return said.count("refused") == count and play.look(run).status == "completed"


def _asks_for(given: tuple[Callable[[Any], object], str]) -> bool:
    """A stage that asks for what it does not have fails, and says so."""
    asked, told = given
    flow = BEGUN.then(stage_of(Receipt, body=lambda ctx, _given: asked(ctx), options={"at_most_once": True}))
    error = Play(flow).run(flow, Order()).view.error
    return error is not None and told in error.message


def _naive(when: object) -> bool:
    """A time that is none fails the wait."""
    flow = BEGUN.sleep_until(lambda _receipt: when).then(PACK)
    error = Play(flow).run(flow, Order()).view.error
    return error is not None and error.kind == "InvalidOutput"


def _answered(kind: str) -> bool:
    """A callback's error has a kind that can be kept; and it counts as long as its attempt."""
    flow = BEGUN.then(
        stage_of(
            Receipt, gives=Receipt | AwaitCallback, body=lambda *_given: AwaitCallback(), options={"callback": HOUR}
        )
    )
    play = Play(flow)
    run = play.start(flow, Order())
    while play.step():
        pass
    token = play.token(run, "s")
    try:
        play.decline(token, kind=kind)
    except InvalidInput as error:
        refused = "the kind of error must have 1 to 100 printable characters" in str(error)
    else:
        return False
    play.cancel(run)
    try:
        play.answer(token, Receipt())
    except Gone as error:
        return refused and "has ended without this answer" in str(error)
    return False


ODDITIES: Oddities = {
    "timers and waits are drawn": (
        _drawn,
        one_of((timedelta(hours=2), "2 h"), (timedelta(days=3), "3 d"), (timedelta(milliseconds=10), "0.01 s")),
    ),
    "more events than a run keeps": (_too_many, one_of(1, 3)),
    "a stage that asks for what it does not have": (
        _asks_for,
        one_of(
            (lambda ctx: ctx.callback_token, "has no callback token here"),
            (lambda ctx: ctx.output("charge"), "takes a stage, itself and not its id"),
        ),
    ),
    "a time that is none": (_naive, one_of(None, 7, "now", datetime(2030, 1, 1))),  # noqa: DTZ001 - the mistake
    "a kind of error that cannot be kept": (_answered, one_of("", "x" * 101, "a\nb", "\0")),
}
