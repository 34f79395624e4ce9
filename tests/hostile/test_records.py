"""What is read back from the table: events, snapshots, items and index entries, whole and damaged."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from msgspec.structs import replace

from infra.dynamodb import items
from infra.dynamodb.store import DynamoDbStore
from kernel.core import codec
from kernel.core.events import AnyEvent, RunCreated, StageChecked
from kernel.core.evolve import FOLD_VERSION, evolve, fold
from kernel.core.state import Identity, StageStatus, State
from kernel.errors import CorruptLog, LogError, NewerFormat
from kernel.ports import Commit, Data, Dead, Head, Inbox, Item, Key, Live, RunRef, Snapshot, Unreadable
from kernel.shell.load import Session, load
from kernel.shell.outbox import Envelope, dead_letters
from kernel.testing import memory
from kernel.testing.conformance.examples import commit, fresh_ref, head
from kernel.testing.play import Play
from tests.handlers import shop
from tests.hostile.attack import attack, either
from tests.hostile.shapes import any_of, damaged, damaged_text, deep, junk, records
from tests.infra.aws import fake

WHERE = "run r1, commit 7,"
REF = RunRef("acme", "r1")

LETTER = msgspec.json.encode(
    Envelope(
        id="r1#0#0",
        type="RunCompleted",
        tenant="acme",
        run="r1",
        workflow="order",
        version=1,
        seq=0,
        index=0,
        at=5,
        event={},
    )
).decode()

# --- events -----------------------------------------------------------------------------------------------------------

events_of_a_commit: SearchStrategy[tuple[AnyEvent, ...]] = st.lists(any_of(AnyEvent), max_size=4).map(tuple)
recorded = events_of_a_commit.map(codec.encode_events)


def plain(events: Any) -> Any:
    """Events as plain values: recorded ones are compared by their text."""
    return msgspec.to_builtins(events, enc_hook=bytes, builtin_types=())


@attack(events=events_of_a_commit)
def test_events_read_back_as_they_were_written(events: tuple[AnyEvent, ...]) -> None:
    again = codec.decode_events(codec.FORMAT, codec.encode_events(events), WHERE)

    assert list(map(type, again)) == list(map(type, events))
    assert plain(again) == plain(events)


damaged_records = st.one_of(
    recorded.map(json.loads).flatmap(damaged).map(lambda value: json.dumps(value).encode()),
    recorded.map(bytes.decode).flatmap(damaged_text).map(lambda text: text.encode(errors="surrogatepass")),
    junk.map(lambda value: json.dumps(value).encode()),
    st.integers(1, 100_000).map(lambda levels: f'[{{"type":"RunCreated","input":{{"json":{deep(levels)}}}}}]'.encode()),
    st.binary(),
)


@attack(text=damaged_records, version=st.one_of(st.just(codec.FORMAT), st.integers()))
def test_a_damaged_record_is_refused_or_means_what_it_says(text: bytes, version: int) -> None:
    events = either(LogError, codec.decode_events, version, text, WHERE)
    if isinstance(events, LogError):
        assert WHERE in str(events)
        assert isinstance(events, NewerFormat if version > codec.FORMAT else CorruptLog)
        return
    assert version == codec.FORMAT
    assert plain(codec.decode_events(version, codec.encode_events(events), WHERE)) == plain(events)


@pytest.mark.parametrize("version", [0, -1, -(10**30)])
def test_a_record_of_a_format_that_never_was_is_refused(version: int) -> None:
    with pytest.raises(CorruptLog, match=f"{WHERE} says that it is written in event format {version}"):
        codec.decode_events(version, b"[]", WHERE)


# --- snapshots --------------------------------------------------------------------------------------------------------

CREATED = RunCreated(codec.inline(b'{"id":"o-1"}'), codec.inline(b'{"charge":{}}'))
STAGE = st.sampled_from(["charge", "pack", "compensate:charge", ""])
ABOUT: dict[str, SearchStrategy[Any]] = {
    "stage": STAGE,
    "stages": st.lists(STAGE, unique=True).map(tuple),
    "reset": st.lists(STAGE, unique=True).map(tuple),
}
later_events: SearchStrategy[AnyEvent] = st.one_of(
    [
        records(kind, **{name: ABOUT[name] for name in ABOUT if name in kind.__struct_fields__})
        for kind in AnyEvent.__args__
        if kind is not RunCreated
    ]
)
"""Any event that may follow the first, about one of few stages."""


@st.composite
def states(draw: DrawFn) -> State:
    """The fold of a log that may hold any events."""
    state = fold(State.initial(IDENTITY), 0, 1, (CREATED,))
    for seq in range(1, draw(st.integers(0, 8)) + 1):
        for event in draw(st.lists(later_events, max_size=3)):
            after = state.fork()
            after.seq = seq
            # Each event finds what it speaks of, as in any log that was written by decisions.
            with contextlib.suppress(LookupError):
                if not isinstance(event, StageChecked) or state.stages[event.stage].status is StageStatus.SUSPENDED:
                    state = evolve(after, event)
    return state


IDENTITY = Identity("acme", "r" * 24, "order", 3, "f1f2f3f4", 1, 2, 3)


@attack(state=states())
def test_a_snapshot_holds_all_of_a_state(state: State) -> None:
    again = codec.decode_snapshot(codec.encode_snapshot(state), CREATED)

    assert again == state
    assert list(again.stages) == list(state.stages), "the order of stages is part of the state"
    assert list(again.active) == list(state.active)


@attack(body=st.one_of(st.binary(), damaged_text(LETTER).map(lambda text: text.encode(errors="surrogatepass"))))
def test_any_dead_letter_is_an_event_or_unreadable(body: bytes) -> None:
    env = Play(shop.order).env
    env.store.put(REF, Dead(0, 0, 5, "no", body, 9))

    (letter,) = dead_letters(env, REF)

    assert isinstance(letter, Unreadable) or msgspec.json.decode(letter.body)["id"]


@attack(events=st.lists(later_events, min_size=1, max_size=4))
def test_a_log_of_any_events_is_folded_or_said_to_contradict_itself(events: list[AnyEvent]) -> None:
    store, ref = memory.MemoryStore(), fresh_ref()
    store.put(ref, head(ref))
    store.put(ref, replace(commit(1), events=codec.encode_events(events)))

    found = either(CorruptLog, load, store, ref, lambda: 0)

    assert isinstance(found, Session) or "commit 1 contradicts what comes before it" in str(found)


PACKED = zlib.decompress(codec.encode_snapshot(fold(State.initial(IDENTITY), 0, 1, (CREATED,))))
damaged_snapshots = st.one_of(
    st.binary(),
    st.binary().map(zlib.compress),
    st.integers(0, len(PACKED) - 1).map(lambda cut: zlib.compress(PACKED[:cut])),
    st.integers(0, len(zlib.compress(PACKED)) - 1).map(lambda cut: zlib.compress(PACKED)[:cut]),
    st.text(max_size=50).map(lambda text: zlib.compress(PACKED + text.encode(errors="surrogatepass") + b".")),
)


@attack(body=damaged_snapshots, seq=st.integers(0, 9_999_999_999))
def test_a_damaged_snapshot_is_ignored_since_the_log_tells_all(body: bytes, seq: int) -> None:
    store, ref = memory.MemoryStore(), fresh_ref()
    store.put(ref, head(ref))
    store.put(ref, commit(1))
    expected = load(store, ref, lambda: 0)
    store.put(ref, Snapshot(seq, FOLD_VERSION, body, 0))

    found = load(store, ref, lambda: 0)

    assert expected is not None
    assert found is not None
    assert (found.state.seq, found.state.stages) == (1, expected.state.stages)


def test_a_snapshot_that_unpacks_without_end_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codec, "LARGEST", 100_000)
    bomb = zlib.compress(b"\0" * 10_000_000)

    tracemalloc.start()
    with pytest.raises(ValueError, match="unpacks to more than 100000 bytes"):
        codec.decode_snapshot(bomb, CREATED)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert most < 1_000_000


def test_json_that_is_nested_too_deeply_is_none_of_our_records() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        codec.from_json(deep(100_000).encode())


# --- items ------------------------------------------------------------------------------------------------------------

seqs = st.integers(0, 9_999_999_999)
event_texts = recorded
said = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(str.encode)
ITEMS: dict[type[Any], SearchStrategy[Any]] = {
    Head: records(Head, events=event_texts, annotations=said),
    Commit: records(Commit, seq=seqs, events=event_texts, annotations=said),
    Snapshot: records(Snapshot),
    Data: records(Data, key=st.binary(max_size=8).map(lambda digest: f"data#0000000007#{digest.hex()}")),
    Live: records(Live, seq=seqs),
    Inbox: records(
        Inbox,
        seq=seqs,
        id=st.from_regex(r"\A[A-Za-z0-9_.:-]{1,64}\Z"),
        roles=st.lists(st.from_regex(r"\A[A-Za-z0-9_.:/@-]{1,64}\Z"), max_size=4).map(tuple),
    ),
    Key: records(
        Key,
        workflow=st.from_regex(r"\A[A-Za-z][A-Za-z0-9_-]{0,63}\Z"),
        name=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}\Z"),
        holder=st.one_of(st.just(""), st.from_regex(r"\A[0-9a-f]{24}#[0-9]{1,6}\Z")),
    ),
    Dead: records(Dead, seq=seqs, index=st.integers(0, 99_999)),
}
any_item = st.one_of(list(ITEMS.values()))


def test_there_is_an_example_of_every_item() -> None:
    assert set(ITEMS) == set(Item.__args__)


@attack(item=any_item)
def test_an_item_reads_back_as_it_was_written(item: Item) -> None:
    assert items.from_attributes(items.to_attributes(REF, item)) == item


@attack(raw=any_item.map(lambda item: items.to_attributes(REF, item)).flatmap(damaged))
def test_a_damaged_item_is_refused_or_means_what_it_says(raw: Any) -> None:
    if not isinstance(raw, dict):
        return  # DynamoDB gives maps
    item = either(LogError, items.from_attributes, raw)
    if isinstance(item, LogError):
        assert "item" in str(item)
        return
    expected: Any = items.to_attributes(REF, item)
    for name in expected.keys() - {"PK"}:
        ((kind, written),) = expected[name].items()
        if name == "look" and name not in raw:
            assert written == "", "no tick has looked, as far as this head says"
            continue
        read = raw[name][kind]
        assert float(read) == float(written) if kind == "N" else read == written, name


KEYS = [
    "log#",
    "log#7",
    "log#+000000007",
    "log#" + "\N{ARABIC-INDIC DIGIT SEVEN}" * 10,
    "log#0000000007 ",
    "live#x",
    "dead#1",
    "dead#1#2#3",
    "~heads",
]


@pytest.mark.parametrize("key", KEYS)
def test_an_item_under_another_items_key_is_refused(key: str) -> None:
    raw = items.to_attributes(REF, head(REF)) | items.to_attributes(REF, commit(7)) | {"SK": {"S": key}}

    with pytest.raises(CorruptLog, match=r"of run acme#r1 cannot be read"):
        items.from_attributes(raw | {"until": {"N": "1"}, "error": {"S": ""}, "body": {"B": b""}})


WRONG = {
    "a text for a number": ("at", {"S": "5"}),
    "a number with a space": ("at", {"N": " 5"}),
    "a number in another script": ("at", {"N": "\N{ARABIC-INDIC DIGIT FIVE}"}),
    "an underscore": ("at", {"N": "1_0"}),
    "a fraction": ("at", {"N": "1.5"}),
    "thousands of digits": ("at", {"N": "9" * 5_000}),
    "no attribute": ("token", "t"),
    "null": ("by", {"NULL": True}),
    "bytes for text": ("events", {"S": b"[]"}),
}


@pytest.mark.parametrize(("name", "value"), WRONG.values(), ids=WRONG)
def test_an_attribute_of_another_kind_is_named(name: str, value: object) -> None:
    with pytest.raises(CorruptLog, match=f"item log#0000000007 of run acme#r1 cannot be read: {name}"):
        items.from_attributes(items.to_attributes(REF, commit(7)) | {name: value})


@pytest.mark.parametrize("progress", ["NaN", "Infinity", "-inf", "half", "", "1_0", " 1", "1e999", "9" * 5_000])
def test_progress_that_is_no_number_is_refused(progress: str) -> None:
    raw = items.to_attributes(REF, Live(1, 2, 0.5, 3)) | {"progress": {"N": progress}}

    with pytest.raises(CorruptLog):
        items.from_attributes(raw)


entries = records(Head, events=event_texts, annotations=said).map(lambda each: items.to_attributes(REF, each))


@attack(raw=entries.flatmap(damaged))
def test_a_damaged_index_entry_is_refused_or_means_what_it_says(raw: Any) -> None:
    if not isinstance(raw, dict):
        return  # DynamoDB gives maps
    for read in (items.due_of, items.listed_of):
        entry: Any = either(CorruptLog, read, raw)
        if isinstance(entry, CorruptLog):
            assert "index entry" in str(entry) or "without a key" in str(entry)
        else:
            assert entry.ref.partition == raw["PK"]["S"]


def test_an_entry_that_cannot_be_read_does_not_hide_the_others_that_are_due() -> None:
    def entry(partition: str, due: str) -> Any:
        return {"PK": {"S": partition}, "SK": {"S": "~head"}, "due_shard": {"S": "due#0"}, "due": {"N": due}}

    found = [entry("acme#a", "1"), entry("acme#b", "1.5"), entry("nobody's", "2"), entry("acme#c", "3")]
    store = DynamoDbStore(fake({"Items": found}), "t")

    assert [due.ref.run for due in store.due("due#0", 9, 10)] == ["a", "c"]
