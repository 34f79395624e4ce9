"""Oddities in what is told of a workflow, what is known of it later, and how it is played to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field, create_model
from typing_extensions import TypedDict

from kernel.define.context import Suspend
from kernel.define.model import Hint
from kernel.define.policy import Retry
from kernel.define.registry import Registry
from kernel.limits import check_key, check_reason, check_tenant, is_run_id
from kernel.testing.context import context
from kernel.testing.play import Play
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.mistakes.cases import BILLION, Oddities, all_of, by_name, one_of, whole_number
from kernel.testing.simulator.mistakes.inputs import GATE, SCALE, WEIGHED
from kernel.testing.simulator.mistakes.odd_values import Cat, Dog, Names, Pair, Size, Tree
from kernel.testing.simulator.mistakes.workflows import fits_next
from kernel.testing.simulator.mistakes.writing import (
    BEGUN,
    CHARGE,
    PACK,
    POLLED,
    STAMP,
    Colour,
    Flow,
    Line,
    Order,
    Parcel,
    Receipt,
    Special,
    crowd,
    function_of,
    stage_of,
)

_TypedDict: Any = TypedDict


class Wide(TypedDict):
    """More than a size."""

    width: int
    more: str


class _Bag(BaseModel):
    """Holds values of every shape, among them those that Python takes for equal though they are not."""

    tags: set[str] = set()
    parts: dict[str, Line] = {}
    more: list[Any] = []


_FIELDS: dict[str, Any] = {name: (each.annotation, each.default) for name, each in Order.model_fields.items()}
_STRATEGY = one_of(None, None, "stop", "proceed", "compensate")

_SPECIFIED = by_name(
    of_stage=_STRATEGY,
    of_workflow=_STRATEGY,
    undo=whole_number(0, 2),
    once=whole_number(0, 2),
    polled=whole_number(0, 2),
    most=whole_number(1, 5),
)
_WAYS = {"version": 1 << 40, "deadline": timedelta.max, "chain": False, "on_cancel": "compensate"}


def _specified(given: Mapping[str, Any]) -> bool:
    """What a workflow and its stages are told is what the kernel knows of them."""
    options: dict[str, Any] = {"on_failure": given["of_stage"], "timeout": timedelta(seconds=given["most"])}
    options |= {"at_most_once": True} if given["once"] else {"retry": Retry(given["most"])}
    options |= POLLED if given["polled"] else {}
    options |= {"compensate": function_of(Receipt, gives=None)} if given["undo"] else {}
    made = stage_of(Order, gives=Receipt | Suspend[Parcel] if given["polled"] else Receipt, options=options)
    flow = Flow("w", input=Order, on_failure=given["of_workflow"], **_WAYS).then(made)
    definition = flow.definition
    spec = definition.stages["s"]
    strategy = given["of_stage"] or given["of_workflow"] or ("compensate" if given["undo"] else "stop")
    return (
        [spec.on_failure, spec.timeout, spec.retry.attempts]
        == [strategy, given["most"] * 1_000, 1 if given["once"] else given["most"]]
        and [spec.at_most_once, spec.compensated, spec.poll is not None]
        == [given[each] == 1 for each in ("once", "undo", "polled")]
        == [each in flow.diagram() for each in ("at most once", "undone by", "checked every")]
        and [definition.version, definition.chain, definition.undo_on_cancel] == [1 << 40, False, True]
    )


_FITTING = (
    (int, float),
    (bool, int),
    (Special, Receipt),
    (Receipt, Receipt | Parcel),
    (Receipt, Any),
    (Any, Receipt),
    (Receipt, object),
    (list[Special], list[Receipt]),
    (list[int], list),
    (list, list[int]),
    (Literal["a"], str),
    (str, Literal["a"]),
    (Names, list[Receipt]),
    (Annotated[Receipt | None, "kept"], Receipt | None),
    (tuple[int, ...], tuple[int, int, int]),
    (None, None),
    (Wide, Size),
    (dict, Size),
)
"""What is given, and what it fits; where a definition cannot tell, it lets it pass."""

_OTHERS: Sequence[tuple[Hint, Hint, bool]] = (
    (int, str, False),
    (int, int | None, False),
    (Receipt, Parcel, False),
    (Receipt, list[Receipt], False),
    (list[Receipt], list[Parcel], False),
    (Cat, Dog, False),
    (Literal["a"], Literal["b"], False),
    (Order, create_model("Order", **{**_FIELDS, "more": (str, "")}), False),
    (Order, create_model("Order", **{**_FIELDS, "id": (str, ...)}), False),
    (Order, create_model("Order", **{**_FIELDS, "lines": (list[Parcel], [])}), False),
    (Order, create_model("Order", **dict(reversed(_FIELDS.items()))), True),
    (Colour, Enum("Colour", {"BLUE": "red", "RED": "blue"}), True),
    (Colour, Enum("Colour", {"RED": "red", "BLUE": "azure"}), False),
    (Size, _TypedDict("Size", {"width": str}), False),
    (Size, _TypedDict("Size", {"width": int}), True),
    (Pair, NamedTuple("Pair", [("left", int), ("right", int)]), False),
    (Names, list[Receipt], True),
    (Annotated[int, Field(ge=0)], int, True),
    (Tree, Tree, True),
    (None, type(None), True),
)
"""Two types, and whether a run goes on when the one has become the other."""


def _prints(given: tuple[Hint, Hint, bool]) -> bool:
    """A change of what is recorded is seen in the fingerprint, and nothing else is."""
    one, other, alike = given
    flow = Flow("w", input=Line)
    first, second = (flow.then(stage_of(Line, gives=each)).definition.fingerprint for each in (one, other))
    return (first == second) is alike and len(first) == 12  # noqa: PLR2004 - as many digits as there are


def _found(given: tuple[int, int]) -> bool:
    """A registry finds what a run is pinned to, and nothing else."""
    version, other = given
    registry = Registry(*(Flow("w", input=Order, version=each).then(CHARGE) for each in {version, other}))
    pinned = registry.get("w", version).definition
    registry.check(timedelta(seconds=66))
    return (
        len(registry) == len(list(registry)) == len({version, other})
        and registry.latest("w").version == max(given)
        and registry.find("w", version, pinned.fingerprint) is pinned
        and registry.find("w", version, "0" * 12) is registry.find("x", 1, pinned.fingerprint) is None
    )


_NEVER = stage_of(Parcel, id_="never", gives=Parcel)

_ODD = (
    WEIGHED.step(stage_of(Receipt, Receipt, id_="both"), after=(GATE, CHARGE))
    .then(PACK)
    .then_if(lambda _parcel: False, _NEVER)
    .output(SCALE, GATE, PACK, _NEVER)
)


def _plays(given: tuple[str | None, object, str]) -> bool:
    """A workflow of oddities runs to its end, and its conditions and configurations count."""
    preset, order, url = given
    ended = Play(_ODD).run(_ODD, order, config={"scale": {"unit": "kg", "more": 1}}, preset=preset)
    drawn = f'"gate<br/>{ended.view.stages[1].status}"' in _ODD.diagram(ended.view)
    return drawn and ended.outputs == ("kg", Receipt(id=url), Parcel(), None)


_BAGS = Flow("bags", input=_Bag, presets={"test": {"gate": {}}}).then(stage_of(_Bag, gives=Receipt)).then(GATE)

_REQUESTS: Sequence[tuple[tuple[bytes, bytes | None], tuple[bytes, bytes | None], bool]] = (
    ((b'{"tags":["a","b"]}', None), (b'{"tags": ["b", "a"]}', None), True),
    ((b'{"tags":["a","b"]}', None), (b'{"tags":["a","c"]}', None), False),
    ((b'{"parts":{"x":{"sku":"1"}}}', None), (b'{"parts":{"x":{"sku":"1"}},"more":[]}', None), True),
    ((b'{"more":[1]}', None), (b'{"more":[true]}', None), False),
    ((b'{"more":[[1]]}', None), (b'{"more":[[1.0]]}', None), False),
    ((b"{}", b'{"gate":{"retries":3}}'), (b"{}", b'{"gate": {"retries": 3}}'), True),
    ((b"{}", b'{"gate":{"retries":3}}'), (b"{}", b'{"gate":{"retries":4}}'), False),
    ((b"{}", b'{"gate":{}}'), (b"{}", None), False),
    ((b"{}", b'{"gate":{}}'), (b"{}", b'{"gaet":{}}'), False),
    ((b"{}", b'{"gate":{}}'), (b"{}", b"{"), False),
)
"""Two requests as they were recorded, and whether they are the same."""


_PATIENT = (
    BEGUN.sleep(timedelta(seconds=90))
    .then(PACK)
    .sleep(timedelta(microseconds=1_500))
    .sleep_until(datetime(2030, 1, 1, tzinfo=UTC))
    .sleep_until(lambda _parcel: datetime(2030, 1, 1, tzinfo=UTC))
)


def _drawn(given: Flow) -> bool:
    """Every stage is drawn, of a workflow and of a run."""
    text = given.diagram()
    ids = given.definition.code
    return all(f'"{id_}' in text for id_ in ids if not id_.startswith("compensate:"))


def _run_ids(chance: Chance) -> tuple[str, bool]:
    good = chance.token()
    wrong = ("", good[1:], good + "\n", good + "0", good[1:] + "g", good[1:] + "A", "\u0661" * 24)
    return chance.pick(((good, True), ("0" * 24, True), (chance.pick(wrong), False)))


ODDITIES: Oddities = {
    "what the kernel is told": (_specified, _SPECIFIED),
    "another type is another fingerprint": (all_of(_prints), one_of(_OTHERS)),
    "what fits": (all_of(fits_next), one_of(_FITTING)),
    "versions": (_found, lambda chance: (chance.between(1, 99), chance.between(1, BILLION))),
    "a stage called directly": (lambda made: made(context(Order()), 8) == 8, one_of(STAMP, stage_of(Receipt))),  # noqa: PLR2004 - of no meaning
    "as many stages as there may be": (lambda _given: repr(crowd()), one_of(None)),
    "played to its end": (
        _plays,
        one_of(
            (None, "{}", "https://example.org"),
            ("test", Order(), "https://test.example.org"),
            ("empty", {}, "https://example.org"),
        ),
    ),
    "a tenant": (check_tenant, lambda chance: chance.pick("azAZ09") + "_.:@|-a9" * chance.below(16)),
    "a key": (partial(check_key, "key"), lambda chance: chance.pick("\u00e9 7~\u4e00") * chance.between(1, 257)),
    "a reason": (
        lambda given: check_reason(given) == given,
        lambda chance: chance.pick("\u00e9\0\n~") * chance.below(501),
    ),
    "two requests": (lambda given: _BAGS.same(*given[:2]) is given[2], one_of(*_REQUESTS)),
    "a drawing": (_drawn, one_of(_ODD, _BAGS, BEGUN, crowd(), _PATIENT)),
    "what may be a run's id": (lambda given: is_run_id(given[0]) is given[1], _run_ids),
}
