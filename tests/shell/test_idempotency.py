"""Starting by key (R2): the same request gives the same run, another one is a conflict, and nothing costs extra."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from kernel.errors import Conflict, CorruptLog, Unavailable
from kernel.ports import HEAD, Guard, Refusal
from kernel.shell.environment import Limits
from kernel.shell.start import Started, start
from kernel.testing.faults import Fault
from kernel.testing.play import Play
from onewrite import Context, Workflow, stage
from tests.shell.script import Note, Script, head_of, is_under, line, once, poke, unreadable
from tests.shell.test_start import Order, begin, flow, stored


def test_the_same_key_and_input_give_the_same_run_flagged_as_a_replay() -> None:
    play = Play(flow)
    first = begin(play, Order(id="o-1"), key="k")
    assert begin(play, {"id": "o-1", "lines": []}, key="k") == Started(first.ref, replay=True)
    assert not first.replay
    assert stored(play) == 1


def test_a_replay_is_recognised_whatever_has_become_of_the_run() -> None:
    play = Play(flow)
    ref = begin(play, Order(id="o-1"), key="k").ref
    play.play([ref])
    before = head_of(play, ref)
    assert begin(play, Order(id="o-1"), key="k").replay
    assert (head_of(play, ref), play.queue.waiting) == (before, [])


class Tags(BaseModel):
    tags: frozenset[int]
    text: str = ""


@pytest.mark.parametrize("size", [0, 1_000, 10_000], ids=["in the head", "in an item", "in an object"])
def test_a_set_is_the_same_in_any_order(script: Script, size: int) -> None:
    """Which order a process writes a set in depends on its hashes."""
    play = Play(flow := Workflow("tagged", input=Tags).then(take), limits=Limits(data=5_000))
    given = [{"tags": order, "text": "x" * size} for order in ORDERS]
    assert len({flow.accept(each) for each in given}) > 1, "they are recorded in different orders even here"
    first, *others = (start(play.env, flow, each, tenant="acme", by="test", key="k") for each in given)
    assert not first.replay
    assert others == [Started(first.ref, replay=True)] * 2
    with pytest.raises(Conflict, match="other input"):
        start(play.env, flow, {"tags": TAGS[1:], "text": "x" * size}, tenant="acme", by="test", key="k")


TAGS = [0, 8, 16, 3]  # the first three meet in the same place of a small set, so that their order stays as it was
ORDERS = (TAGS, TAGS[::-1], TAGS[2:] + TAGS[:2])


class Tag(BaseModel, frozen=True):
    number: int


class Tagged(BaseModel):
    tags: frozenset[Tag]


@stage
def take_tagged(ctx: Context, given: Tagged) -> None: ...


def test_a_set_of_models_is_the_same_in_any_order() -> None:
    tagged = Workflow("models", input=Tagged).then(take_tagged)
    one, other, fewer = b'[{"number":1},{"number":2}]', b'[{"number":2},{"number":1}]', b'[{"number":1}]'
    recorded = [(b'{"tags":' + tags + b"}", None) for tags in (one, other, fewer)]
    assert tagged.same(recorded[0], recorded[1])
    assert not tagged.same(recorded[0], recorded[2])


class Anything(BaseModel):
    value: Any


@stage
def take_anything(ctx: Context, given: Anything) -> None: ...


UNLIKE: list[tuple[Any, Any]] = [(True, 1), (1, 1.0), ({"force": True}, {"force": 1}), ([0], [False]), ([1, 2], [2, 1])]


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_values_that_only_python_takes_for_equal_are_not_the_same(one: Any, other: Any) -> None:
    play = Play(flow := Workflow("anything", input=Anything).then(take_anything))
    start(play.env, flow, {"value": one}, tenant="acme", by="test", key="k")
    with pytest.raises(Conflict, match="other input"):
        start(play.env, flow, {"value": other}, tenant="acme", by="test", key="k")


def test_a_configurations_set_is_the_same_in_any_order() -> None:
    play = Play(picked)
    given: list[dict[str, object]] = [{"pick": {"tags": order}} for order in ORDERS]
    assert picked.configure(given[0]) != picked.configure(given[1])
    runs = [start(play.env, picked, Note(), tenant="acme", by="test", key="k", config=each) for each in given]
    assert [run.replay for run in runs] == [False, True, True]
    with pytest.raises(Conflict, match="other input"):
        start(play.env, picked, Note(), tenant="acme", by="test", key="k", config={"pick": {"tags": TAGS[1:]}})


@stage
def pick(ctx: Context[Tags], given: Note) -> Note:
    return Note(text=" ".join(map(str, sorted(ctx.config.tags))))


@stage
def take(ctx: Context, tags: Tags) -> None: ...


picked = Workflow("picked", input=Note).then(pick)


OTHER: dict[str, dict[str, Any]] = {
    "input": {"input": {"id": "o-2"}},
    "large input": {"input": {"id": "x" * 1_000}},
    "config": {"config": {"charge": {"retries": 0}}},
    "preset": {"preset": "test"},
}


@pytest.mark.parametrize("other", OTHER.values(), ids=OTHER.keys())
def test_the_same_key_with_another_request_is_a_conflict_and_stores_nothing(other: dict[str, Any]) -> None:
    play = Play(flow)
    ref = begin(play, Order(id="o-1"), key="k").ref
    before = play.store._partitions[ref].items.copy()
    with pytest.raises(Conflict, match="'k' was used for order with other input"):
        begin(play, other.pop("input", Order(id="o-1")), key="k", **other)
    assert play.store._partitions[ref].items == before


def test_the_same_key_is_another_run_for_another_tenant_or_workflow(script: Script) -> None:
    play = Play(flow, other := line(script.stage("a")))
    runs = {
        begin(play, Order(id="o-1"), key="k").ref,
        begin(play, Order(id="o-1"), key="k", tenant="umbrella").ref,
        start(play.env, other, Note(), tenant="acme", by="test", key="k").ref,
    }
    assert len(runs) == len({ref.run for ref in runs}) == 3


def test_names_and_keys_that_read_alike_together_are_different_runs(script: Script) -> None:
    one, two = line(script.stage("a"), id="ab"), line(script.stage("a"), id="a")
    play = Play(one, two)
    assert play.start(one, Note(), key="c").run != play.start(two, Note(), key="bc").run


def test_starting_with_a_key_takes_no_extra_write() -> None:
    play = Play(flow)
    begin(play, Order(id="o-1"), key="k")
    assert (play.meter.total.writes, play.meter.total.reads) == (1, 0)


def test_a_creation_whose_reply_was_lost_is_known_again_and_is_no_replay() -> None:
    """bratsos/workflow-engine: the key is released after a commit whose reply was lost, the run is created twice."""
    play = Play(flow)
    once(play, lambda call: is_under(call, Guard.RUN_IS_NEW), Fault.LOST_REPLY)
    started = begin(play, Order(id="o-1"), key="k")
    assert not started.replay
    assert stored(play) == 1
    assert play.queue.waiting == [poke(started.ref)]


def test_a_start_whose_key_meets_a_head_that_cannot_be_read_says_so_and_starts_nothing() -> None:
    play = Play(flow)
    ref = begin(play, Order(id="o-1"), key="k").ref
    play.queue.clear()
    unreadable(play, ref, HEAD)
    with pytest.raises(CorruptLog, match="item ~head cannot be read"):
        begin(play, Order(id="o-1"), key="k")
    assert play.queue.waiting == []


def test_a_start_whose_key_met_a_head_that_vanished_meanwhile_is_to_be_repeated() -> None:
    play = Play(flow)
    refused, play.store.put = play.store.put, lambda *_arguments: Refusal(None)  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="was there, and is gone"):
        begin(play, Order(id="o-1"), key="k")
    play.store.put = refused  # type: ignore[method-assign]
    assert not begin(play, Order(id="o-1"), key="k").replay


def test_a_repeated_start_pokes_for_a_young_run_whose_starter_may_have_died() -> None:
    play = Play(flow)
    ref = begin(play, Order(id="o-1"), key="k").ref
    play.queue.clear()
    begin(play, Order(id="o-1"), key="k")
    assert play.queue.waiting == [poke(ref)]


def test_a_key_whose_run_is_past_its_retention_is_not_answered_with_that_run() -> None:
    play = Play(flow)
    ref = begin(play, Order(id="o-1"), key="k").ref
    play.play([ref])
    play.clock.move(head_of(play, ref).expires - play.clock.now())
    with pytest.raises(Conflict, match="retention is over: take a new key"):
        begin(play, Order(id="o-1"), key="k")
