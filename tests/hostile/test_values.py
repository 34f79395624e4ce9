"""Values of users' models: inputs and configurations as they are sent, inputs of stages as they are recorded."""

from __future__ import annotations

import json
import logging
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import strategies as st
from msgspec import Raw
from pydantic import BaseModel, Field

from kernel.annotations import Scalar
from kernel.core.events import ErrorRecord, Value
from kernel.define.model import MAX_DEPTH, codec_of, plain_json
from kernel.errors import CorruptLog, InvalidInput, InvalidOutput, InvalidStageInput
from kernel.ports import Data, RunRef
from kernel.shell.values import fetch, keep
from kernel.testing.play import Play
from onewrite import Context, Pending, Suspend, Workflow, stage
from tests.handlers import shop
from tests.hostile.attack import attack, either
from tests.hostile.shapes import any_of, damaged, damaged_text, deep, json_values, junk, texts


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: str = ""
    weights: list[float] = []


class Everything(BaseModel):
    """A field of every kind that people use."""

    text: str
    number: int
    fraction: float
    flag: bool
    money: Decimal
    day: date
    at: datetime
    hour: time
    lasts: timedelta
    id: UUID
    colour: Colour
    choice: Literal["a", "b"]
    raw: bytes
    some: int | str | None
    parts: list[Part]
    pair: tuple[int, str]
    named: dict[str, int]
    unique: frozenset[int]


class Knobs(BaseModel):
    limit: int = Field(default=1, ge=0)
    parts: list[Part] = []


class Job(BaseModel):
    id: str


def ready(ctx: Context[Knobs], job: Job) -> Everything | Pending:
    return Pending()


RETURNED: list[Any] = []
"""What the stage returns next."""


@stage(check=ready, every=timedelta(seconds=1), limit=timedelta(hours=1))
def work(ctx: Context[Knobs], given: Everything) -> Everything | Suspend[Job]:
    result: Everything = RETURNED.pop()
    return result


everything = Workflow("everything", input=Everything, presets={"calm": {"work": {"limit": 5}}}).then(work)
code = everything.definition.code["work"]


class Attempt:
    """What stands for the shell: an attempt at the stage, in a run with this configuration."""

    stage, attempt, tenant, run, key, callback_token = "work", 1, "acme", "r1", "r1/work", "token-1"
    log = logging.LoggerAdapter(logging.getLogger("test"), {})

    def __init__(self, config: bytes | None = None) -> None:
        self._config = config

    def value(self, stage: str) -> bytes:
        return b"null"

    def config(self) -> bytes | None:
        return self._config

    def heartbeat(self, progress: float | None) -> None: ...

    def annotate(self, key: str, value: Scalar) -> None:
        raise NotImplementedError

    def cancelled(self) -> bool:
        return False


def run(given: bytes | ErrorRecord) -> Any:
    """Run the stage's code on something recorded."""
    return code.run(Context(Attempt()), [given])


VALID = {
    "text": "",
    "number": 1,
    "fraction": 0.5,
    "flag": True,
    "money": "1.10",
    "day": "2026-01-31",
    "at": "2026-01-31T12:00:00Z",
    "hour": "12:00:00",
    "lasts": "PT1S",
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "colour": "red",
    "choice": "a",
    "raw": "bytes",
    "some": None,
    "parts": [{"name": "screw", "weights": [1, 2.5]}],
    "pair": [1, "a"],
    "named": {"a": 1},
    "unique": [1, 2],
}
parts = st.builds(Part, name=texts, weights=st.lists(st.floats(), max_size=2))
instances = st.builds(
    Everything,
    text=texts,
    number=st.integers(),
    fraction=st.floats(),
    flag=st.booleans(),
    money=st.decimals(allow_nan=False, allow_infinity=False),
    day=st.dates(),
    at=st.datetimes(timezones=st.one_of(st.none(), st.timezones())),
    hour=st.times(),
    lasts=st.timedeltas(),
    id=st.uuids(),
    colour=st.sampled_from(Colour),
    choice=st.sampled_from(["a", "b"]),
    raw=st.binary(),
    some=st.one_of(st.integers(), texts, st.none()),
    parts=st.lists(parts, max_size=2),
    pair=st.tuples(st.integers(), texts),
    named=st.dictionaries(texts, st.integers(), max_size=2),
    unique=st.frozensets(st.integers(), max_size=3),
)

# --- inputs as they are sent ------------------------------------------------------------------------------------------


@attack(given=st.one_of(damaged(VALID), damaged(VALID).map(json.dumps).flatmap(damaged_text), junk, texts, st.binary()))
def test_an_input_is_recorded_as_what_it_was_read_as_or_refused_by_place(given: Any) -> None:
    text = either(InvalidInput, everything.accept, given)
    if isinstance(text, InvalidInput):
        assert text.problems
        assert all(where.partition(".")[0] == "input" for where, _ in text.problems)
        return
    codec = codec_of(Everything)
    assert codec.record(codec.load(text)) == text
    assert everything.accept(text) == text, "what was accepted would be accepted again"


class Other(BaseModel):
    kind: Literal["other"] = "other"
    text: str = ""


@stage
def hear(ctx: Context, event: Everything | Other) -> str:
    return event.text


EVENTS = Workflow("w", input=Part).wait_for(Everything, Other).then(hear).definition.events


@attack(
    name=st.sampled_from(["Everything", "Other"]),
    given=st.one_of(damaged(VALID), damaged(VALID).map(json.dumps).flatmap(damaged_text), junk, texts, st.binary()),
)
def test_any_payload_of_an_event_is_refused_or_recorded(name: str, given: Any) -> None:
    recorded = either(InvalidInput, EVENTS[name].accept, given)
    if isinstance(recorded, InvalidInput):
        assert all(where.startswith("payload") for where, _ in recorded.problems)
        return
    read: Any = codec_of(Everything | Other).load(recorded)
    assert type(read).__name__ == name
    kind: Any = type(read)
    assert codec_of(kind).record(read) == recorded


@attack(value=json_values)
def test_plain_json_stays_what_it_is(value: Any) -> None:
    assert json.loads(plain_json([value], "input")) == [value]  # a text would be taken for JSON text
    assert plain_json(json.dumps(value).encode(), "input") == json.dumps(value).encode()


@attack(given=st.one_of(junk, junk.map(json.dumps), texts, st.binary(), st.integers(1, 100_000).map(deep)))
def test_whatever_is_no_plain_json_is_refused(given: Any) -> None:
    text = either(InvalidInput, plain_json, given, "input")
    if isinstance(text, InvalidInput):
        assert text.problems[0][0].startswith("input")
        return
    value = json.loads(text)
    assert "\\u0000" not in json.dumps(value), "NUL"
    assert text.count(b"[") <= MAX_DEPTH or not text.startswith(b"[" * (MAX_DEPTH + 1))
    assert not isinstance(given, dict | list) or value == given


# --- configuration ----------------------------------------------------------------------------------------------------

WISHES = {"work": {"limit": 3, "parts": [{"name": "screw"}]}}


@attack(config=st.one_of(damaged(WISHES), junk), preset=st.one_of(st.sampled_from([None, "calm"]), texts))
def test_a_configuration_is_recorded_as_it_will_be_read_or_refused(config: Any, preset: str | None) -> None:
    text = either(InvalidInput, everything.configure, config, preset)
    if isinstance(text, InvalidInput):
        assert str(text)
        return
    if text is None:
        assert not config
        return
    found = Context[Knobs](Attempt(text))
    found._code = code
    assert isinstance(found.config, Knobs)
    wished = ({"limit": 5} if preset else {}) | ((config or {}).get("work") or {})
    assert wished.keys() <= Knobs.model_fields.keys(), "a typo would leave a default in force"
    assert found.config == Knobs.model_validate_json(json.dumps(wished))


@attack(
    recorded=st.one_of(
        damaged(WISHES).map(json.dumps).map(str.encode), junk.map(json.dumps).map(str.encode), st.binary()
    )
)
def test_a_recorded_configuration_is_read_or_refused(recorded: bytes) -> None:
    context = Context[Knobs](Attempt(recorded))
    context._code = code
    config = either(InvalidStageInput, lambda: context.config)
    if isinstance(config, InvalidStageInput):
        assert "configuration" in str(config)
        return
    assert isinstance(config, Knobs)


# --- stages' values as they are recorded ------------------------------------------------------------------------------


@attack(value=instances)
def test_what_a_stage_returns_reads_back_as_the_same_or_is_refused(value: Everything) -> None:
    RETURNED.append(value)
    text = either(InvalidOutput, run, everything.accept(VALID))
    if isinstance(text, InvalidOutput):
        assert "cannot be recorded as its output" in str(text)
        return
    assert code.read_output(text) == value
    RETURNED.append(value)
    assert code.read_output(run(text)) == value, "and is taken by whoever takes it next"


recorded_values = st.one_of(
    damaged(VALID).map(json.dumps).flatmap(damaged_text).map(lambda text: text.encode(errors="surrogatepass")),
    damaged(VALID).map(json.dumps).map(str.encode),
    junk.map(json.dumps).map(str.encode),
    st.binary(),
    st.integers(1, 100_000).map(deep).map(str.encode),
    any_of(ErrorRecord),
)


@attack(given=recorded_values)
def test_a_stage_gets_what_its_annotation_says_or_does_not_run(given: bytes | ErrorRecord) -> None:
    RETURNED[:] = [Suspend(Job(id="j"))]
    outcome = either(InvalidStageInput, run, given)
    if isinstance(outcome, InvalidStageInput):
        assert str(outcome).startswith("work: what it takes from the run's input does not fit its parameters")
        assert RETURNED, "its body did not run"


@attack(given=st.one_of(recorded_values.filter(lambda each: isinstance(each, bytes)), st.just(b'{"id":"j"}')))
def test_a_check_gets_what_its_annotation_says_or_does_not_run(given: bytes) -> None:
    for read in (lambda: code.check(Context(Attempt()), given), lambda: code.read_output(given)):
        outcome = either(InvalidStageInput, read)
        assert not isinstance(outcome, InvalidStageInput) or str(outcome).startswith("work: its ")


# --- values that are kept elsewhere -----------------------------------------------------------------------------------


@attack(value=json_values, size=st.sampled_from([0, 600, 400_000]))
def test_a_value_is_fetched_as_it_was_kept_wherever_that_is(value: Any, size: int) -> None:
    play, ref = Play(shop.order), RunRef("acme", "r1")
    text = json.dumps([value, "x" * size]).encode()

    kept = keep(play.env, ref, 1, text, 9, since=0)

    assert fetch(play.env, ref, kept) == text


requests = st.tuples(
    st.one_of(st.just(b'{"id": "o-1"}'), st.binary(), json_values.map(json.dumps).map(str.encode)),
    st.one_of(st.none(), st.just(b'{"charge": {}}'), st.binary(), json_values.map(json.dumps).map(str.encode)),
)


@attack(one=requests, other=requests)
def test_whether_two_requests_are_the_same_can_always_be_said(
    one: tuple[bytes, bytes | None], other: tuple[bytes, bytes | None]
) -> None:
    assert shop.order.same(one, other) == shop.order.same(other, one)


@attack(value=st.one_of(any_of(Value), st.builds(Value, data=texts, blob=texts)), body=st.binary())
def test_a_reference_to_what_is_not_there_or_something_else_is_told(value: Value, body: bytes) -> None:
    play, ref = Play(shop.order), RunRef("acme", "r1")
    play.store.put(ref, Data(value.data, body, 9))
    play.blobs.put(value.blob, body)
    if isinstance(value.json, Raw):
        assert fetch(play.env, ref, value) == bytes(value.json)
        return
    with pytest.raises(CorruptLog, match="run r1: the value at"):
        fetch(play.env, ref, value)
