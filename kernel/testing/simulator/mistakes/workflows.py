"""Mistakes in what a workflow and a registry are made of."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import partial
from typing import Annotated

from kernel.define.model import Hint
from kernel.define.registry import Registry
from kernel.define.workflow import Workflow
from kernel.errors import DefinitionError, NotFound
from kernel.testing.simulator.mistakes.cases import (
    BILLION,
    HOUR,
    NO_SPAN,
    NO_STRATEGY,
    NOT_WHOLE,
    TOO_SHORT,
    Refusals,
    by_name,
    no_id,
    one_of,
    span,
)
from kernel.testing.simulator.mistakes.writing import (
    BEGUN,
    BOTH,
    CHARGE,
    EMPTY,
    LAST,
    PACK,
    RISKY,
    SHIP,
    STAMP,
    WEIGH,
    Colour,
    Flow,
    Hooked,
    ListOf,
    Locked,
    Order,
    Parcel,
    Receipt,
    Special,
    Unfinished,
    crowd,
    later,
    stage_of,
)


async def _later_if(receipt: Receipt) -> bool:
    return bool(receipt.id)


_WORKFLOWS = {
    "version is {0[version]!r}: give a whole number from 1": by_name(version=NOT_WHOLE),
    "input is {0[input]!r}: give a pydantic": by_name(
        input=one_of(dict, Order | None, list[Order], None, "Order", Order(), int)
    ),
    "its input: Locked.parts is of a kind that JSON cannot carry": by_name(input=one_of(Locked)),
    "its input: Hooked.call is of a kind that JSON cannot carry": by_name(input=one_of(Hooked)),
    "'Nowhere' is not defined": by_name(input=one_of(Unfinished)),
    "deadline is {0[deadline]!r}: give a datetime.timedelta": by_name(deadline=NO_SPAN),
    "deadline is {0[deadline]}: give at least 0:00:00.001": by_name(deadline=TOO_SHORT),
    "on_failure is {0[on_failure]!r}: give one of 'stop'": by_name(on_failure=NO_STRATEGY),
    "on_cancel is {0[on_cancel]!r}: give one of 'stop'": by_name(on_cancel=one_of("proceed", "undo", 1)),
}

_MISFITS = (
    (Receipt, Parcel),
    (Receipt, Special),
    (Receipt, list[Receipt]),
    (list[Receipt], list[Parcel]),
    (dict[str, int], dict[str, str]),
    (tuple[int, str], tuple[str, int]),
    (Receipt | Parcel, Receipt),
    (Receipt | Parcel, Receipt | int),
    (float, int),
    (str, Colour),
    (Annotated[int, "kept"], str),
)
"""What is given, and what it does not fit."""

_BUILDING = {
    "'w' has a stage 'charge' already: give this one another id, such as s.named('charge-2')": one_of(
        lambda flow: flow.then(PACK).step(CHARGE, after=PACK), lambda flow: flow.together(WEIGH, CHARGE)
    ),
    "'w' has a stage 'pack' already": one_of(lambda flow: flow.together(PACK, PACK)),
    "is not a stage: decorate it with @stage": one_of(
        lambda flow: flow.then(PACK.function), lambda flow: flow.then("pack"), lambda flow: flow.together(PACK, None)
    ),
    "stage 's' takes 2 inputs, but gets 1, from charge": one_of(lambda flow: flow.then(stage_of(Receipt, Receipt))),
    "takes 1 inputs, but gets 2, from pack, weigh": one_of(lambda _flow: BOTH.then(LAST)),
    "'s' takes 0 inputs, but gets 1, from the run's input": one_of(lambda _flow: EMPTY.then(stage_of())),
    "parameter 'a' takes Receipt, but the run's input gives Order": one_of(lambda _flow: EMPTY.then(PACK)),
    "parameter 'a' is None when pack is skipped or gives None: annotate it Parcel | None": one_of(
        lambda flow: flow.then_if(bool, PACK).then(stage_of(Parcel))
    ),
    "parameter 'a' is None when s is skipped or gives None: annotate it Receipt | None": one_of(
        lambda flow: flow.then(stage_of(Receipt, gives=Receipt | None)).then(STAMP)
    ),
    "parameter 'a' is a Failed when risky fails and the run proceeds: annotate it Receipt | Failed": one_of(
        lambda _flow: EMPTY.then(RISKY).then(STAMP)
    ),
    "parameter 'a' is a Failed when charge fails and the run proceeds": one_of(
        lambda _flow: Flow("w", input=Order, on_failure="proceed").then(CHARGE).then(STAMP)
    ),
    "together takes two to six stages; for more use step": one_of(
        lambda flow: flow.together(),
        lambda flow: flow.together(PACK),
        lambda flow: flow.together(*(PACK.named(f"p{number}") for number in range(7))),
    ),
    "name at least one stage": one_of(lambda flow: flow.step(PACK, after=()), lambda flow: flow.output()),
    "does not hold <stage 'weigh'>: add it first; there are: charge": one_of(
        lambda flow: flow.step(PACK, after=WEIGH), lambda flow: flow.output(CHARGE, WEIGH)
    ),
    "does not hold <stage 'charge'>: add it": one_of(lambda flow: flow.output(WEIGH.named("charge"))),
    "does not hold 'charge': add it first": one_of(lambda flow: flow.step(PACK, after="charge")),
    "does not hold <stage 'charge'>: add it first; there are: none": one_of(lambda _flow: EMPTY.output(CHARGE)),
    "the condition of <stage 'pack'> must be a plain function of 1 values": lambda chance: partial(
        lambda wrong, flow: flow.then_if(wrong, PACK),
        chance.pick((None, True, "x", later, _later_if, lambda: 1, dict.get)),
    ),
    "the condition of <stage 'ship'> must be a plain function of 2 values": one_of(
        lambda _flow: BOTH.then_if(lambda parcel: parcel, SHIP)
    ),
    "has more than 2000 stages: split it into several": one_of(lambda _flow: crowd().step(PACK, after=CHARGE)),
    "'w' has no stages: add one with .then(stage)": one_of(
        lambda _flow: EMPTY.definition, lambda _flow: Registry(EMPTY)
    ),
    "preset 'big': there is no stage 'pcak'; there are: charge": one_of(
        lambda _flow: Flow("w", input=Order, presets={"big": {"pcak": {}}}).then(CHARGE).definition
    ),
    "sleep is {0.args[0]!r}: give a datetime.timedelta": lambda chance: partial(
        lambda wrong, flow: flow.sleep(wrong), chance.pick((5, "1h", None, date(2026, 1, 1)))
    ),
    "give at least 0:00:00.001": lambda chance: partial(lambda wrong, flow: flow.sleep(wrong), TOO_SHORT(chance)),
    "is not over before the workflow's deadline: give a longer one": one_of(
        lambda _flow: Flow("w", input=Order, deadline=HOUR).then(CHARGE).sleep(HOUR)
    ),
    "has no time zone: give one, such as tzinfo=timezone.utc": one_of(
        lambda flow: flow.sleep_until(datetime(2030, 1, 1))  # noqa: DTZ001 - the mistake
    ),
    "give a datetime, or a plain function of 1 values that gives one": lambda chance: partial(
        lambda wrong, flow: flow.sleep_until(wrong), chance.pick((None, HOUR, "tomorrow", lambda: None, _later_if))
    ),
    "presets are not configurations by name and stage": lambda chance: partial(
        lambda wrong, _flow: Flow("w", input=Order, presets=wrong),
        chance.pick((["test"], "test", {"test": []}, {"test": None}, {7: {}}, ("test",))),
    ),
    "preset 'big': stage 'charge' has no configuration: annotate its ctx Context[Config]": one_of(
        lambda _flow: Flow("w", input=Order, presets={"big": {"charge": {}}}).then(CHARGE).definition
    ),
    "stage 's': a type hint cannot be resolved": one_of(
        lambda flow: flow.then(stage_of("Nowhere")),
        lambda flow: flow.then(stage_of(Receipt, gives=ListOf["Nowhere"])),
        lambda flow: flow.then(stage_of(Unfinished)),
        lambda flow: flow.then(stage_of(Receipt, gives=Unfinished | None)),
    ),
}
_REGISTRY = Registry(BEGUN, Flow("w", input=Order, version=10).then(CHARGE), Flow("v", input=Order).then(RISKY))

_REGISTRIES = {
    "Registry: {0[0]!r} is not a workflow": one_of((CHARGE,), (None,), ("w",), (Workflow,), (BEGUN.definition,)),
    "two workflows have the id 'w' and version 1: give one": one_of((BEGUN, BEGUN), (BEGUN, BOTH), (*_REGISTRY, BOTH)),
}

_SOUGHT = {
    "there is no workflow {0[0]!r} here; there are: v, w": one_of(("x", None), ("x", 1), ("", None), ("W", 1), (7, 1)),
    "workflow w has no version {0[1]} here; it has 1, 10": lambda chance: ("w", chance.pick((0, -1, 2, 11))),
}

_INVOCATIONS = {
    "version 1, stage 'risky': its timeout of 60 s does not fit an invocation of": by_name(
        fresh_invocation=span(1_000, 65_000_001)
    ),
    "(less 1200 s to load and commit): shorten it, or give the worker more time": by_name(
        fresh_invocation=span(1_000, 1_260_000_001), margin=one_of(timedelta(minutes=20))
    ),
    "fresh_invocation is {0[fresh_invocation]!r}: give a datetime.timedelta": by_name(fresh_invocation=NO_SPAN),
    "margin is {0[margin]}: give at least 0:00:00": by_name(fresh_invocation=one_of(HOUR), margin=span(-BILLION, 0)),
}


def _sought(given: tuple[str, int | None]) -> object:
    id_, version = given
    return _REGISTRY.latest(id_) if version is None else _REGISTRY.get(id_, version)


def fits_next(given: tuple[Hint, Hint]) -> bool:
    """What one stage gives is taken by the next."""
    gives, wanted = given
    return bool(BEGUN.then(stage_of(Receipt, id_="one", gives=gives)).then(stage_of(wanted, id_="two")).definition)


REFUSALS: Refusals = (
    ("id", DefinitionError, lambda given: Flow(given, input=Order), {"workflow {0!r} is not an id": no_id}),
    ("workflow", DefinitionError, lambda given: Flow("w", **{"input": Order, **given}), _WORKFLOWS),
    ("misfit", DefinitionError, fits_next, {"'w', stage 'two': parameter 'a' takes ": one_of(*_MISFITS)}),
    ("building", DefinitionError, lambda build: build(BEGUN), _BUILDING),
    ("registry", DefinitionError, lambda given: Registry(*given), _REGISTRIES),
    ("invocation", DefinitionError, lambda given: _REGISTRY.check(**given), _INVOCATIONS),
    ("registry", NotFound, _sought, _SOUGHT),
    ("registry", NotFound, Registry().latest, {"there is no workflow {0!r} here; there are: none": one_of("w", "")}),
)
