"""Mistakes and oddities in what comes from outside: inputs, configurations, tenants, keys and reasons."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import MappingProxyType

from msgspec import json

from kernel.define.context import Context
from kernel.define.model import codec_of
from kernel.errors import InvalidInput
from kernel.limits import check_key, check_reason, check_tenant
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.mistakes.cases import INFINITE, NAN, Oddities, Refusals, by_name, one_of
from kernel.testing.simulator.mistakes.writing import (
    BEGUN,
    BOTH,
    CHARGE,
    Flow,
    Gateway,
    Line,
    Order,
    Receipt,
    Scale,
    stage_of,
)


def _text(value: str, field: str = "extra") -> str:
    return f'{{"orderId":"7","{field}":{value}}}'


def _nested(chance: Chance) -> str:
    deep = 10 ** chance.below(5) + 64
    opening, closing = chance.pick((("[", "]"), ('{"a":', "}")))
    return _text(opening * deep + "1" + closing * deep)


def _no_json(chance: Chance) -> object:
    whole = _text('[{"sku":"a"}],"total":1.5,"extra":"\u00e9"', "lines")
    number = chance.pick(("NaN", "-Infinity", "Infinity", "1e999", "9" * 5_000, "01", "+1", ".5", "True"))
    text = chance.pick(('"\n"', r'"\ud800"', '"\ud800"', r'"\x"'))
    wrong = chance.pick((int, object(), "\udfff", print, NAN, INFINITE))
    spoilt = (
        whole[: chance.below(len(whole))],
        whole + chance.pick("x}]{0"),
        b"\xff" + whole.encode(),
        whole.replace('"', "'"),
    )
    return chance.pick((*spoilt, _text(number), _text(text), b'{"extra":"\xed\xa0\x80"}', {"extra": wrong}))


_INPUTS = {
    "(input: not JSON": _no_json,
    "(input: nested deeper than 64": _nested,
    "(input.orderId: holds the character NUL": one_of(r'{"orderId":"a\u0000"}', {"orderId": "\0"}),
    "(input.extra.a.0: holds the character NUL": one_of(_text(r'{"a":[{"b\u0000":1}]}'), _text(r'{"a":["\u0000"]}')),
    "(input: Input should be an object": one_of("[]", "7", "null", b"true", None, [], 7, '"text"', [_text("1")]),
    "(input: KeyError: 'crash'": one_of('{"orderId":"crash"}', {"orderId": "crash"}),
    "(input.orderId: Input should be a valid string": one_of({"orderId": 7}, '{"orderId":null}'),
    "(input.lines.1.quantity: Input should be a valid integer": one_of(
        _text('[{"sku":"a"},{"sku":"b","quantity":"many"}]', "lines"),
        {"lines": [Line(sku="a"), {"sku": "", "quantity": 0.5}]},
    ),
    "(input.lines.0.sku: Field required; input.total: Input": one_of({"lines": [{}], "total": "?"}),
    "(input: id: Input should be a valid string": one_of(Order.model_construct(id=7)),
    "(input: value.total is a float, but would be read back as a NoneType": one_of(Order(total=NAN)),
    "(input: value.extra is a tuple, but would be read back as a list": one_of(Order(extra=(1, 2))),
}

_PRESETS = {
    "test": {"gate": Gateway(endpoint="https://test.example.org", retries=1)},
    "patient": {"gate": {"retries": 9}},
    "empty": {},
}
GATE = stage_of(Receipt, id_="gate", ctx=Context[Gateway], body=lambda ctx, _given: Receipt(id=ctx.config.url))
SCALE = stage_of(Receipt, id_="scale", gives=str, ctx=Context[Scale], body=lambda ctx, _given: ctx.config.unit)
_CAREFUL = Flow("w", input=Order, presets=_PRESETS).then(CHARGE).then(GATE)
WEIGHED = _CAREFUL.then(SCALE)

_CONFIGS = {
    "stage 'gaet' is not in the workflow; stages that can be configured: gate": one_of({"gaet": {}}),
    "stage 7 is not in the workflow": one_of({7: {}}),
    "stage 'charge' has no configuration; stages that can be configured: gate": one_of({"charge": {}}),
    "(config: give an object: configurations by stage id": one_of([], "{}", b"{}", 7, (), ["gate"]),
    "(config.gate: give an object: fields of the configuration": by_name(gate=one_of([], 7, "7", "[]", 0.5, ["url"])),
    "(config.gate.retries: Input should be a valid integer": by_name(
        gate=by_name(retries=one_of("many", None, 0.5, [], {}))
    ),
    "(config.gate: not JSON": by_name(gate=by_name(url=one_of(NAN, "\ud800", int))),
    "(config.gate.endpoint: holds the character NUL": one_of({"gate": {"endpoint": "\0"}}),
    "(config.gate.retires: is not a field of the configuration; there are: retries, url": one_of(
        {"gate": {"retires": 3}}
    ),
    "(config.gate: retries: Input should be a valid integer": one_of({"gate": Gateway.model_construct(retries="x")}),
}


def _no_tenant(chance: Chance) -> str:
    good = "".join(chance.pick("azAZ09_.:@|-") for _ in range(chance.between(1, 128)))
    at = chance.below(len(good) + 1)
    spoilt = good[:at] + chance.pick(" #/\n\0\u00e4\u0661\udfff") + good[at:]
    return chance.pick(("", spoilt, chance.pick("_.:@|-") + good, "a" + "b" * 128 + good))


def _no_key(chance: Chance) -> str:
    good = "k" * chance.between(1, 256)
    return chance.pick(("", "k" * 256 + good, chance.pick("\n\0\t\x7f\udfff\u2028\u200b") + good))


def _garbled(chance: Chance) -> bytes:
    text = bytearray(_text(r'{"a":[1.5e3,null,true,"\u00e9"]}').encode())
    for _ in range(chance.between(1, 5)):
        at = chance.below(len(text))
        text[at : at + chance.below(3)] = chance.pick(
            (b"", b'"', b"\\", b"\0", b"\xff", b"[", b"}", b"0", b"e", b"-", b" ")
        )
    return bytes(text)


def _recorded_or_refused(given: bytes) -> bool:
    """Whatever comes in is refused, with a path, or recorded as what it is."""
    try:
        recorded = BEGUN.accept(given)
    except InvalidInput as refusal:
        return bool(refusal.problems) and all(where.startswith("input") for where, _ in refusal.problems)
    return bool(codec_of(Order).record(codec_of(Order).load(recorded)) == recorded)


_CONFIGURATIONS: Sequence[tuple[object, str | None, str, int]] = (
    (None, None, "", 0),
    ({}, "empty", "", 0),
    ({"gate": {}}, "empty", "https://example.org", 3),
    (None, "test", "https://test.example.org", 1),
    ({"gate": {"url": "x"}}, "test", "x", 1),
    ({"gate": {"endpoint": "x"}}, "patient", "x", 9),
    ({"gate": Gateway(retries=5)}, "test", "https://example.org", 5),
    ({"gate": '{"retries":"5"}'}, None, "https://example.org", 5),
    (MappingProxyType({"gate": {"retries": 4}}), None, "https://example.org", 4),
)


def _configured(given: tuple[object, str | None, str, int]) -> bool:
    """A configuration is the preset's, with what is given in its place, by names or aliases."""
    config, preset, url, retries = given
    text = _CAREFUL.configure(config, preset)
    return (json.decode(text) if text else None) == ({"gate": {"url": url, "retries": retries}} if url else None)


REFUSALS: Refusals = (
    ("input", InvalidInput, BEGUN.accept, _INPUTS),
    ("config", InvalidInput, _CAREFUL.configure, _CONFIGS),
    ("config", InvalidInput, WEIGHED.configure, {"(config.scale.unit: Field required": one_of(None, {}, {"gate": {}})}),
    (
        "preset",
        InvalidInput,
        partial(_CAREFUL.configure, None),
        {"workflow w has no preset {0!r}; there are: empty, patient, test": one_of("tset", "", 7)},
    ),
    (
        "preset",
        InvalidInput,
        partial(BEGUN.configure, None),
        {"w has no preset {0!r}; there are: none": one_of("test", "")},
    ),
    ("tenant", InvalidInput, check_tenant, {"is not a tenant id: 1 to 128": _no_tenant}),
    ("key", InvalidInput, partial(check_key, "key"), {"the key must have 1 to 256 printable": _no_key}),
    ("reason", InvalidInput, check_reason, {"at most 500": lambda chance: "x" * chance.between(501, 9_000)}),
    ("reason", InvalidInput, check_reason, {"not valid Unicode": one_of("\ud800", "a\udfff")}),
)

ODDITIES: Oddities = {
    "garbled input is refused or recorded": (_recorded_or_refused, _garbled),
    "an input in each manner": (
        lambda given: json.decode(BEGUN.accept(given))["id"] == "8",
        one_of(
            b'{"orderId":"8"}', ' {"orderId":"8"}\n', {"orderId": "8"}, Order(orderId="8"), {"orderId": "8", "id": "9"}
        ),
    ),
    "an input by a name that has an alias": (
        lambda given: json.decode(BEGUN.accept(given))["id"] == "7",
        one_of({"id": "8"}),
    ),
    "brackets that are no nesting": (BEGUN.accept, one_of(_text("[" * 63 + "]" * 63), {"lines": [Line(sku="a")] * 99})),
    "the schema of the input": (lambda flow: set(flow.input_schema()["$defs"]) == {"Line"}, one_of(BEGUN, BOTH)),
    "a configuration in each manner": (_configured, one_of(*_CONFIGURATIONS)),
}
