"""Business keys (R3): of a workflow's runs with the same key at most one is under way, whatever happens to whom."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from msgspec.structs import replace

from kernel.errors import Conflict, InvalidInput, KeyHeld, NotFound, Unavailable
from kernel.ports import HEAD, Guard, Head, Key, RunRef, business_key, keys_of
from kernel.shell.environment import HOUR, Limits
from kernel.shell.heads import is_final
from kernel.shell.load import load
from kernel.shell.start import TAKES
from kernel.testing.faults import Call, Crash, Fault
from kernel.testing.memory import MemoryStore
from kernel.testing.play import TENANT, Play
from onewrite import PermanentError
from tests.shell.script import (
    DAY,
    Flow,
    Note,
    Script,
    commits_of,
    head_of,
    is_under,
    line,
    once,
    once_before,
    throws,
    work,
)

KEY = "order-123"
NO = PermanentError("no")


def deployed(script: Script, *, fails: int = 0, limits: Limits | None = None) -> tuple[Play, Flow]:
    """Two stages, of which the second one fails so many times."""
    flow = line(script.stage("a"), script.stage("b", throws(NO, fails)))
    return Play(flow, limits=limits), flow


def key_of(play: Play, flow: Flow) -> Key | None:
    """The business key as it is in the store."""
    item = play.store.get(keys_of(TENANT), business_key(flow.id, KEY))
    assert item is None or isinstance(item, Key)
    return item


def runs(play: Play, flow: Flow) -> list[str]:
    """The statuses of all runs, in order."""
    found = [play.store.runs(f"{TENANT}#{flow.id}#{shard}", "", "~", 1_000) for shard in range(play.env.limits.shards)]
    return sorted(play.look(entry.ref).status for entries in found for entry in entries)


def over_but_not_final(play: Play, flow: Flow) -> RunRef:
    """A run whose log has ended, while the worker that ended it has died before it could free the key."""
    ref = play.start(flow, Note(), business_key=KEY)
    once(play, lambda call: is_under(call, Guard.KEY_AS_SEEN), Fault.CRASH_BEFORE)
    with suppress(Crash):
        play.step()
    play.queue.clear()
    session = load(play.store, ref, play.clock.now)
    assert session is not None
    assert session.state.status.finished
    assert not is_final(session)
    return ref


def holds(play: Play, flow: Flow, ref: RunRef, generation: int = 0) -> bool:
    key = key_of(play, flow)
    return key is not None and key.holder == f"{ref.run}#{generation}"


# --- held and freed ---------------------------------------------------------------------------------------------------


def test_a_key_is_held_while_its_run_is_under_way(script: Script) -> None:
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=KEY)

    with pytest.raises(KeyHeld, match=ref.run) as refused:
        play.start(flow, Note(), business_key=KEY)

    assert refused.value.run == ref.run
    assert play.holder(flow, KEY) == ref
    assert play.look(ref).business_key == KEY
    assert runs(play, flow) == ["running"]


def test_a_start_that_is_refused_leaves_nothing_behind(script: Script) -> None:
    play, flow = deployed(script)
    play.start(flow, Note(), business_key=KEY)
    assert isinstance(play.store, MemoryStore)
    before = dict(play.store._partitions)

    for text in ("", "x" * 2_000, "x" * 400_000):
        with pytest.raises(KeyHeld):
            play.start(flow, Note(text=text), business_key=KEY)

    assert play.store._partitions == before
    assert play.blobs.objects == {}


def test_a_key_is_free_once_its_run_is_over(script: Script) -> None:
    play, flow = deployed(script)
    first = play.start(flow, Note(), business_key=KEY)
    play.play(first)

    with pytest.raises(NotFound, match=KEY):
        play.holder(flow, KEY)
    second = play.start(flow, Note(), business_key=KEY)
    assert second != first
    assert play.holder(flow, KEY) == second


def test_a_run_leaves_the_due_index_only_once_its_key_is_free(script: Script) -> None:
    play, flow = deployed(script)
    ref = over_but_not_final(play, flow)
    assert head_of(play, ref).due is not None
    assert holds(play, flow, ref)

    play.play(ref)

    key = key_of(play, flow)
    assert key is not None
    assert key.holder == ""
    assert head_of(play, ref).due is None


def test_a_key_is_held_until_everything_of_its_run_is_published(script: Script) -> None:
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=KEY)
    play.sink.refuse = lambda event: "no" if event.type == "RunCompleted" else None
    work(play)
    assert play.look(ref).status == "completed"
    assert holds(play, flow, ref)

    play.sink.refuse = lambda _event: None
    play.play(ref)

    assert not holds(play, flow, ref)


def test_keys_are_apart_by_tenant_and_workflow_and_name(script: Script) -> None:
    one, two = line(script.stage("a"), id="one"), line(script.stage("b"), id="two")
    play = Play(one, two)
    refs = {
        play.start(one, Note(), business_key=KEY),
        play.start(two, Note(), business_key=KEY),
        play.start(one, Note(), business_key=KEY, tenant="globex"),
        play.start(one, Note(), business_key="order-124"),
        play.start(one, Note()),
        play.start(one, Note()),
    }
    assert len(refs) == 6
    assert play.holder(one, KEY, tenant="globex").tenant == "globex"


@pytest.mark.parametrize(
    "name",
    ["", "x" * 129, "a#b", "a~b", "a/b", "a b", "-a", ".", "..", "größe", "a\n", "a\0", "\ud800", 7, ["a"], b"a", True],
    ids=repr,
)
def test_what_is_no_business_key_is_refused_by_name(script: Script, name: object) -> None:
    play, flow = deployed(script)

    with pytest.raises(InvalidInput) as refused:
        play.start(flow, Note(), business_key=name)  # type: ignore[arg-type]  # that is the point

    assert refused.value.problems[0][0] == "business_key"
    assert runs(play, flow) == []


@pytest.mark.parametrize("name", ["0", "x" * 128, "order-123", "a@b.example", "urn:order:7_b"])
def test_what_is_one_is_taken(script: Script, name: str) -> None:
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=name)
    assert play.holder(flow, name) == ref
    play.play(ref)
    assert play.ended(ref).status == "completed"


# --- with an idempotency key ------------------------------------------------------------------------------------------


def test_a_start_that_is_repeated_is_the_same_run_whoever_holds_the_key_by_then(script: Script) -> None:
    play, flow = deployed(script)
    first = play.start(flow, Note(), key="k", business_key=KEY)
    assert play.start(flow, Note(), key="k", business_key=KEY) == first
    play.play(first)
    second = play.start(flow, Note(), business_key=KEY)

    assert play.start(flow, Note(), key="k", business_key=KEY) == first
    assert play.holder(flow, KEY) == second


@pytest.mark.parametrize("text", ["", "x" * 2_000], ids=["small", "kept-aside"])
@pytest.mark.parametrize("other", [None, "order-124"])
def test_an_idempotency_key_stands_for_one_business_key(script: Script, other: str | None, text: str) -> None:
    play, flow = deployed(script)
    play.start(flow, Note(text=text), key="k", business_key=KEY)

    with pytest.raises(Conflict, match="business key") as refused:
        play.start(flow, Note(text=text), key="k", business_key=other)

    assert not isinstance(refused.value, KeyHeld)
    with pytest.raises(NotFound):
        play.holder(flow, "order-124")


# --- taken over -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "x" * 2_000], ids=["small", "kept-aside"])
def test_a_key_is_taken_over_when_its_holders_log_has_ended(script: Script, text: str) -> None:
    play, flow = deployed(script)
    first = over_but_not_final(play, flow)

    second = play.start(flow, Note(text=text), business_key=KEY)

    assert play.holder(flow, KEY) == second
    play.clock.move(10 * 60_000)
    play.tick()  # finalises the first one
    assert head_of(play, first).due is None
    assert holds(play, flow, second), "a run that is over freed what another one holds by now"


def test_a_key_is_taken_over_when_its_holder_is_gone(script: Script) -> None:
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=KEY)
    play.clock.move(head_of(play, ref).expires + play.env.limits.max_skew - play.clock.now())

    assert play.start(flow, Note(), business_key=KEY) == play.holder(flow, KEY) != ref


def test_a_key_is_not_taken_over_as_long_as_some_clock_says_that_its_holder_is_there(script: Script) -> None:
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=KEY)
    play.clock.move(head_of(play, ref).expires - play.clock.now() + play.env.limits.max_skew - 1)

    with pytest.raises(KeyHeld):
        play.start(flow, Note(), business_key=KEY)


def test_a_key_is_taken_over_when_its_holder_was_deleted_before_it(script: Script) -> None:
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=KEY)
    play.clock.move(head_of(play, ref).expires + 2 * HOUR - play.clock.now())
    play.store.delete(ref, HEAD)

    assert play.start(flow, Note(), business_key=KEY) == play.holder(flow, KEY)


def test_a_key_whose_holder_is_not_found_before_its_time_stays_with_it(script: Script) -> None:
    """A run cannot be gone by then, so whoever does not find it has not looked well."""
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=KEY)
    play.store.delete(ref, HEAD)

    with pytest.raises(KeyHeld, match=ref.run):
        play.start(flow, Note(), business_key=KEY)


def test_a_key_whose_holder_was_not_read_to_its_end_stays_with_it(script: Script) -> None:
    play, flow, ref = failed(script)
    play.retry(ref)
    play.store.delete(ref, commits_of(play, ref)[-1].key)

    with pytest.raises(KeyHeld, match=ref.run):
        play.start(flow, Note(), business_key=KEY)


def test_a_key_lives_as_long_as_its_holder_and_hardly_longer(script: Script) -> None:
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=KEY)
    key, expires = key_of(play, flow), head_of(play, ref).expires
    assert key is not None
    assert expires <= key.ttl * 1000 <= expires + 2 * HOUR
    play.play(ref)
    freed = key_of(play, flow)
    assert freed is not None
    assert play.clock.now() < freed.ttl * 1000 <= play.clock.now() + 2 * HOUR


def test_a_key_whose_holder_cannot_be_read_stays_with_it(script: Script) -> None:
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=KEY)
    head = play.store.get(ref, HEAD)
    assert isinstance(head, Head)
    play.store.put(ref, replace(head, v=99))

    with pytest.raises(KeyHeld, match=ref.run):
        play.start(flow, Note(), business_key=KEY)


def test_of_two_that_take_a_key_over_one_gets_it(script: Script) -> None:
    play, flow = deployed(script)
    over_but_not_final(play, flow)
    faster: list[RunRef] = []
    seen: list[int] = []

    def second_try(call: Call) -> bool:
        seen.extend([1] if call.method == "put_all" else [])
        return call.method == "put_all" and len(seen) == 2

    once_before(play, second_try, lambda: faster.append(play.start(flow, Note(), business_key=KEY)))
    with pytest.raises(KeyHeld) as refused:
        play.start(flow, Note(), business_key=KEY)

    assert [refused.value.run] == [ref.run for ref in faster]
    assert runs(play, flow) == ["completed", "running"]


def test_a_key_that_changes_hands_again_and_again_is_not_waited_for_without_end(script: Script) -> None:
    play, flow = deployed(script)
    taken: list[RunRef] = []

    def choose(call: Call) -> None:
        if call.method != "put_all":
            return
        play.faults.choose = lambda _call: None
        taken.append(play.start(flow, Note(text=str(len(taken))), business_key=KEY))
        play.cancel(taken[-1])
        play.store.put(
            keys_of(TENANT),
            Key(workflow=flow.id, name=KEY, holder=f"{taken[-1].run}#0", was="", ttl=1 << 40),
        )
        play.faults.choose = choose

    play.faults.choose = choose
    with pytest.raises(Unavailable, match="hands"):
        play.start(flow, Note(), business_key=KEY)
    assert len(taken) == TAKES


# --- reruns -----------------------------------------------------------------------------------------------------------


def failed(script: Script) -> tuple[Play, Flow, RunRef]:
    """A run with a business key that has failed, and holds it no more."""
    play, flow = deployed(script, fails=1)
    ref = play.start(flow, Note(), business_key=KEY)
    play.play(ref)
    assert play.ended(ref).status == "failed"
    return play, flow, ref


@pytest.mark.parametrize(
    "again", [lambda play, ref: play.retry(ref), lambda play, ref: play.rerun(ref, "a")], ids=["retry", "rerun"]
)
def test_a_run_that_goes_on_takes_its_key_again(script: Script, again: Callable[[Play, RunRef], None]) -> None:
    play, flow, ref = failed(script)

    again(play, ref)

    assert holds(play, flow, ref, 1)
    with pytest.raises(KeyHeld, match=ref.run):
        play.start(flow, Note(), business_key=KEY)
    play.play(ref)
    assert not holds(play, flow, ref, 1)
    play.rerun(ref, "a")
    assert holds(play, flow, ref, 2)


def test_a_run_whose_key_another_one_holds_does_not_go_on(script: Script) -> None:
    play, flow, ref = failed(script)
    other = play.start(flow, Note(), business_key=KEY)
    before = head_of(play, ref)

    with pytest.raises(KeyHeld, match=other.run):
        play.retry(ref)

    assert play.look(ref).status == "failed"
    assert head_of(play, ref) == before, "who cannot reopen a run announces nothing"


def test_a_run_goes_on_that_has_not_been_finalised_since(script: Script) -> None:
    play, flow = deployed(script)
    ref = over_but_not_final(play, flow)
    play.rerun(ref, "b")
    assert holds(play, flow, ref, 1)


def test_a_run_that_goes_on_takes_its_key_over_from_one_that_is_over(script: Script) -> None:
    play, flow, ref = failed(script)
    other = over_but_not_final(play, flow)

    play.retry(ref)
    assert holds(play, flow, ref, 1)

    with pytest.raises(KeyHeld, match=ref.run):
        play.rerun(other, "a")


def test_a_key_that_is_taken_while_a_run_is_reopened_keeps_it_from_going_on(script: Script) -> None:
    play, flow, ref = failed(script)
    others: list[RunRef] = []
    once_before(
        play,
        lambda call: call.method == "put_all",
        lambda: others.append(play.start(flow, Note(), business_key=KEY)),
    )

    with pytest.raises(KeyHeld, match="is under way"):
        play.retry(ref)

    assert holds(play, flow, others[0])
    play.play([ref, *others])  # it was announced that the run goes on: a tick sees that it does not
    assert play.ended(ref).status == "failed"
    assert play.ended(others[0]).status == "completed"


def test_two_who_let_a_run_go_on_let_it_go_on_once(script: Script) -> None:
    play, flow, ref = failed(script)
    once_before(play, lambda call: call.method == "put_all", lambda: play.retry(ref))

    with pytest.raises(Conflict) as refused:
        play.retry(ref)

    assert not isinstance(refused.value, KeyHeld)
    assert holds(play, flow, ref, 1)
    play.play(ref)
    assert play.ended(ref).view.generation == 1


def test_a_run_without_a_key_goes_on_as_ever(script: Script) -> None:
    play, flow = deployed(script, fails=1)
    ref = play.run(flow, Note()).ref
    play.retry(ref)
    play.play(ref)
    assert play.ended(ref).status == "completed"
    assert not any(is_under(call, Guard.KEY_AS_SEEN) or call.method == "put_all" for call in play.faults.calls)


# --- whoever is late, dies, or gets no answer -------------------------------------------------------------------------


def test_a_finaliser_that_was_frozen_for_days_frees_nothing_of_a_later_generation(script: Script) -> None:
    play, flow = deployed(script, fails=1)
    ref = play.start(flow, Note(), business_key=KEY)

    def meanwhile() -> None:
        play.retry(ref)
        play.clock.move(3 * DAY)

    once_before(play, lambda call: is_under(call, Guard.KEY_AS_SEEN), meanwhile)
    play.step()

    assert holds(play, flow, ref, 1)
    assert head_of(play, ref).due is not None


def test_a_finaliser_that_was_frozen_for_days_frees_nothing_of_another_run(script: Script) -> None:
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=KEY)
    others: list[RunRef] = []

    def meanwhile() -> None:
        play.clock.move(3 * DAY)
        play.tick()
        others.append(play.start(flow, Note(), business_key=KEY))

    once_before(play, lambda call: is_under(call, Guard.KEY_AS_SEEN), meanwhile)
    play.step()

    assert head_of(play, ref).due is None
    assert holds(play, flow, others[0])


def test_a_start_that_was_frozen_for_days_takes_nothing_from_who_holds_the_key_by_then(script: Script) -> None:
    play, flow = deployed(script)
    others: list[RunRef] = []

    def meanwhile() -> None:
        play.play(play.start(flow, Note(), business_key=KEY))
        play.clock.move(3 * DAY)
        others.append(play.start(flow, Note(), business_key=KEY))

    once_before(play, lambda call: call.method == "put_all", meanwhile)
    with pytest.raises(KeyHeld, match="is under way"):
        play.start(flow, Note(), business_key=KEY)

    assert holds(play, flow, others[0])
    assert runs(play, flow) == ["completed", "running"]


@pytest.mark.parametrize("fault", [Fault.LOST_REPLY, Fault.UNAVAILABLE], ids=str)
@pytest.mark.parametrize("idempotent", [None, "k"])
def test_a_start_whose_reply_was_lost_makes_one_run(script: Script, fault: Fault, idempotent: str | None) -> None:
    play, flow = deployed(script)
    once(play, lambda call: call.method == "put_all", fault)

    ref = play.start(flow, Note(), key=idempotent, business_key=KEY)

    assert holds(play, flow, ref)
    assert runs(play, flow) == ["running"]


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER], ids=str)
def test_a_start_whose_process_died_can_be_repeated_under_its_idempotency_key(script: Script, fault: Fault) -> None:
    play, flow = deployed(script)
    once(play, lambda call: call.method == "put_all", fault)
    with pytest.raises(Crash):
        play.start(flow, Note(), key="k", business_key=KEY)

    ref = play.start(flow, Note(), key="k", business_key=KEY)

    assert holds(play, flow, ref)
    assert runs(play, flow) == ["running"]
    play.play(ref)


def test_a_run_that_nobody_was_told_of_holds_its_key_and_gives_it_back(script: Script) -> None:
    play, flow = deployed(script)
    once(play, lambda call: call.method == "put_all", Fault.CRASH_AFTER)
    with pytest.raises(Crash):
        play.start(flow, Note(), business_key=KEY)

    with pytest.raises(KeyHeld) as refused:
        play.start(flow, Note(), business_key=KEY)

    play.play(RunRef(TENANT, refused.value.run))
    play.start(flow, Note(), business_key=KEY)


@pytest.mark.parametrize("fault", list(Fault), ids=str)
def test_a_run_that_is_reopened_has_its_key_whatever_becomes_of_the_call(script: Script, fault: Fault) -> None:
    play, flow, ref = failed(script)
    once(play, lambda call: call.method == "put_all", fault)
    with suppress(Crash):
        play.retry(ref)
    assert holds(play, flow, ref, 1) is (play.look(ref).generation == 1)

    play.play(ref)

    assert not holds(play, flow, ref, play.look(ref).generation)
    assert head_of(play, ref).due is None


@pytest.mark.parametrize("fault", list(Fault), ids=str)
def test_a_key_is_freed_whatever_becomes_of_the_call(script: Script, fault: Fault) -> None:
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=KEY)
    once(play, lambda call: is_under(call, Guard.KEY_AS_SEEN), fault)

    play.play(ref)

    key = key_of(play, flow)
    assert key is not None
    assert (key.holder, key.was) == ("", f"{ref.run}#0")


def test_a_key_whose_run_was_given_up_is_taken_over(script: Script) -> None:
    """Its retention was over before anybody could end it."""
    play, flow = deployed(script)
    ref = play.start(flow, Note(), business_key=KEY)
    play.queue.clear()
    play.clock.move(head_of(play, ref).expires - play.clock.now() + HOUR)
    play.tick()
    assert head_of(play, ref).due is None

    assert play.start(flow, Note(), business_key=KEY) == play.holder(flow, KEY)


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_what_a_business_key_costs(script: Script) -> None:
    """A transaction is charged double; freeing is one put."""
    units: dict[str | None, tuple[float, float]] = {}
    for name in (None, KEY):
        play, flow = deployed(script)
        before = play.meter.snapshot()
        ref = play.start(flow, Note(), business_key=name)
        begun = play.meter.snapshot()
        play.play(ref)
        ended = play.meter.snapshot()
        units[name] = begun.minus(before).write_units, ended.minus(begun).write_units

    assert [begin - usual for begin, usual in zip(units[KEY], units[None], strict=True)] == [3, 1]
    assert units[KEY][0] == 6
