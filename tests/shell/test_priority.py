"""Priority (R4): kept in the head, carried by every poke of the run; attended before others, which never starve."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal

import pytest
from msgspec.structs import replace
from pydantic import BaseModel

from infra.dynamodb.items import from_attributes, to_attributes
from infra.pokes import encode
from kernel.core.codec import to_json
from kernel.errors import InvalidInput
from kernel.ports import HIGH, Poke, RunRef
from kernel.shell.attend import Outcome, attend
from kernel.shell.environment import Limits
from kernel.testing.faults import Crash
from kernel.testing.memory import FAIR, FakeClock, MemoryQueue
from kernel.testing.play import Play
from kernel.testing.units import size_of
from onewrite import Retry
from tests.shell.script import (
    DAY,
    HOUR,
    MINUTE,
    Flow,
    Note,
    Script,
    dies,
    fork,
    head_of,
    line,
    pending,
    throws,
    unreadable,
    work,
)

Priority = Literal["normal", "high"]
BOTH: tuple[Priority, Priority] = ("normal", "high")


class Paid(BaseModel):
    """An external event."""

    amount: int = 1


def sent(play: Play) -> list[Poke]:
    """Every poke that was ever sent."""
    calls = [call.arguments[0] for call in play.faults.calls if (call.port, call.method) == ("queue", "send")]
    return [poke for pokes in calls for poke, _ in pokes]


def begun(flow: Flow, priority: Any = HIGH, **options: Any) -> tuple[Play, RunRef]:
    """A run of that priority, of which one message waits."""
    play = Play(flow, **options)
    return play, play.start(flow, Note(), priority=priority)


# --- every poke carries it --------------------------------------------------------------------------------------------

Scene = Callable[[Script, Any], Play]
SCENES: dict[str, tuple[Scene, int]] = {}
"""By name: what happens to a run of a priority; and how many pokes that takes at least, the first included."""


def scene(pokes: int) -> Callable[[Scene], Scene]:
    def add(happens: Scene) -> Scene:
        SCENES[happens.__name__] = (happens, pokes)
        return happens

    return add


@scene(4)
def each_stage_is_poked_for(script: Script, priority: Any) -> Play:
    play, ref = begun(fork(script.stage("a"), *(script.stage(id_) for id_ in "bcd"), chain=False), priority)
    play.play(ref)
    return play


@scene(3)
def a_stage_is_retried_after_a_delay(script: Script, priority: Any) -> Play:
    flow = line(script.stage("a", throws(RuntimeError("no"), 2), retry=Retry(3)))
    play, ref = begun(flow, priority)
    play.play(ref)
    return play


@scene(3)
def a_job_is_polled(script: Script, priority: Any) -> Play:
    play, ref = begun(line(script.job("a", pending(2))), priority)
    play.play(ref)
    return play


@scene(2)
def a_poke_comes_early(script: Script, priority: Any) -> Play:
    play, ref = begun(line(script.stage("a")), priority)
    poke = head_of(play, ref).poke(ref, at=play.clock.now() + MINUTE)
    assert attend(play.env, poke, play.clock.monotonic() + 300).outcome is Outcome.EARLY
    return play


@scene(2)
def a_poke_meets_a_live_lease(script: Script, priority: Any) -> Play:
    def doubled(_ctx: object) -> None:
        play.attend(ref)

    play, ref = begun(line(script.stage("a", doubled)), priority)
    play.play(ref)
    return play


@scene(2)
def no_time_is_left_for_the_next_stage(script: Script, priority: Any) -> Play:
    play, ref = begun(line(script.stage("a", timeout=timedelta(seconds=60))), priority)
    play.attend(ref, seconds=30)
    return play


@scene(2)
def the_first_message_is_lost(script: Script, priority: Any) -> Play:
    play, ref = begun(line(script.stage("a")), priority)
    play.queue.clear()
    play.play(ref)
    return play


@scene(2)
def a_worker_dies(script: Script, priority: Any) -> Play:
    play, ref = begun(line(script.stage("a", dies(1), retry=Retry(2))), priority)
    with suppress(Crash):
        play.step()
    play.queue.clear()
    play.play(ref)
    return play


@scene(2)
def a_run_sleeps_for_days(script: Script, priority: Any) -> Play:
    flow: Any = line(script.stage("a")).sleep(timedelta(days=3)).then(script.stage("b"))
    play, ref = begun(flow, priority)
    play.play(ref)
    return play


@scene(2)
def an_event_comes(script: Script, priority: Any) -> Play:
    flow: Any = line(script.stage("a")).wait_for(Paid)
    play, ref = begun(flow, priority)
    work(play)
    play.send(ref, Paid())
    play.play(ref)
    return play


@scene(1)
def the_message_about_an_event_is_lost(script: Script, priority: Any) -> Play:
    flow: Any = line(script.stage("a")).wait_for(Paid)
    play, ref = begun(flow, priority)
    work(play)
    play.send(ref, Paid())
    play.queue.clear()
    play.faults.calls.clear()
    play.clock.move(5 * MINUTE)
    assert play.tick().events == 1
    play.play(ref)
    return play


@scene(2)
def a_third_party_answers(script: Script, priority: Any) -> Play:
    play, ref = begun(line(script.asks("a"), script.stage("b"), chain=False), priority)
    work(play)
    play.answer(script.tokens[0], Note())
    play.play(ref)
    return play


@scene(4)
def a_run_is_paused_and_resumed(script: Script, priority: Any) -> Play:
    flow = fork(script.stage("a"), script.stage("b"), script.job("c", pending(1)), chain=False)
    play, ref = begun(flow, priority)
    play.step()
    play.pause(ref)
    play.resume(ref)
    work(play)
    play.pause(ref)
    play.resume(ref)
    play.play(ref)
    return play


@scene(2)
def a_run_is_resumed_that_nobody_had_begun(script: Script, priority: Any) -> Play:
    play, ref = begun(line(script.stage("a")), priority)
    play.pause(ref)
    play.resume(ref)
    return play


@scene(2)
def a_pause_ends_soon(script: Script, priority: Any) -> Play:
    play, ref = begun(line(script.stage("a"), script.stage("b"), chain=False), priority)
    play.pause(ref, lasts=timedelta(minutes=5))
    play.play(ref)
    return play


@scene(2)
def a_run_is_cancelled_and_undone(script: Script, priority: Any) -> Play:
    first = script.stage("a", compensate=script.undo())
    play, ref = begun(line(first, script.job("b", pending(9)), on_cancel="compensate"), priority)
    work(play)
    play.cancel(ref)
    play.play(ref)
    return play


@scene(2)
def a_run_fails_and_is_retried(script: Script, priority: Any) -> Play:
    play, ref = begun(line(script.stage("a", throws(ValueError("no"), 1), retry=Retry(1))), priority)
    play.play(ref)
    play.retry(ref)
    play.play(ref)
    return play


@scene(2)
def a_run_is_rerun_from_a_timer(script: Script, priority: Any) -> Play:
    flow: Any = line(script.stage("a")).sleep(timedelta(minutes=5)).then(script.stage("b"))
    play, ref = begun(flow, priority)
    play.play(ref)
    play.rerun(ref, "sleep-1")
    play.play(ref)
    return play


@scene(2)
def a_start_is_sent_twice(script: Script, priority: Any) -> Play:
    play = Play(flow := line(script.stage("a")))
    for _ in range(2):
        play.start(flow, Note(), key="k", priority=priority)
    return play


@pytest.mark.parametrize("name", SCENES)
def test_every_poke_of_a_run_of_high_priority_says_so(name: str) -> None:
    happens, least = SCENES[name]
    pokes = sent(happens(Script(), HIGH))
    assert len(pokes) >= least
    assert {poke.priority for poke in pokes} == {HIGH}


@pytest.mark.parametrize("name", SCENES)
def test_no_poke_of_a_normal_run_says_anything(name: str) -> None:
    pokes = sent(SCENES[name][0](Script(), "normal"))
    assert {poke.priority for poke in pokes} == {""}
    assert all("priority" not in encode(poke) for poke in pokes)


def test_an_event_for_a_run_whose_head_is_damaged_is_poked_for_all_the_same(script: Script) -> None:
    flow: Any = line(script.stage("a")).wait_for(Paid)
    play, ref = begun(flow)
    work(play)
    play.send(ref, Paid())
    play.queue.clear()
    unreadable(play, ref, "~head")
    play.clock.move(5 * MINUTE)
    assert play.tick().events == 1
    assert [poke.event != "" for poke in play.queue.waiting] == [True]


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_nothing_is_stored_of_a_normal_priority(script: Script) -> None:
    plain, ref = begun(line(script.stage("a")), "normal")
    head = head_of(plain, ref)
    assert head.priority == ""
    assert "priority" not in to_attributes(ref, head)
    high = replace(head, priority=HIGH)
    assert size_of(ref, high) - size_of(ref, head) == len("priority" + HIGH)
    assert from_attributes(to_attributes(ref, high)) == high


@pytest.mark.parametrize("name", ["a_run_sleeps_for_days", "a_run_fails_and_is_retried", "a_pause_ends_soon"])
def test_it_never_changes(name: str) -> None:
    play = SCENES[name][0](Script(), HIGH)
    (ref,) = {poke.ref for poke in sent(play)}
    assert head_of(play, ref).priority == HIGH


def test_a_run_shows_it_when_it_is_not_normal_and_also_as_it_was(script: Script) -> None:
    flow = line(script.stage("a"))
    for priority, shown in zip(BOTH, ("", HIGH), strict=True):
        play, ref = begun(flow, priority)
        play.play(ref)
        view = play.look(ref)
        assert view.priority == shown
        assert (b"priority" in to_json(view)) == bool(shown)
        assert play.ended(ref).view.priority == shown


def test_it_is_not_part_of_what_was_asked_for_so_the_first_start_counts(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    first = play.start(flow, Note(), key="k", priority=HIGH)
    assert play.start(flow, Note(), key="k") == first
    assert {poke.priority for poke in sent(play)} == {HIGH}


@pytest.mark.parametrize("bad", ["", "HIGH", "high ", "urgent", "low", "0", None, 1, True, [], b"high", "x" * 10_000])
def test_what_is_no_priority_is_refused_and_nothing_is_stored(script: Script, bad: Any) -> None:
    play = Play(flow := line(script.stage("a")))
    with pytest.raises(InvalidInput, match="give normal or high") as caught:
        play.start(flow, Note(), priority=bad)
    assert caught.value.problems == (("priority", "give normal or high"),)
    assert len(str(caught.value)) < 200
    assert play.faults.calls == []


def test_a_run_of_high_priority_costs_what_another_costs(script: Script) -> None:
    flow = line(*(script.stage(f"s{number}") for number in range(5)))
    used = []
    for priority in BOTH:
        play, ref = begun(flow, priority)
        play.play(ref)
        used.append(play.meter.of(ref))
    assert used[0] == used[1]


# --- who comes first --------------------------------------------------------------------------------------------------


def test_a_run_of_high_priority_is_attended_before_those_that_wait_already(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    normal = [play.start(flow, Note()) for _ in range(5)]
    high = play.start(flow, Note(), priority=HIGH)
    play.step()
    assert play.look(high).status == "completed"
    assert {play.look(ref).status for ref in normal} == {"running"}


def test_of_any_four_messages_in_a_row_one_is_of_a_normal_run(script: Script) -> None:
    """However many runs of high priority there are, and keep coming."""
    play = Play(flow := line(script.stage("a")))
    normal = [play.start(flow, Note()) for _ in range(10)]
    for _ in range(FAIR * len(normal)):
        for _ in range(3):
            play.start(flow, Note(), priority=HIGH)
        play.step()
    assert {play.look(ref).status for ref in normal} == {"completed"}


def queue_of(*priorities: str) -> MemoryQueue:
    queue = MemoryQueue(FakeClock().now)
    queue.send([(Poke("t", "r", str(place), priority=each), 0) for place, each in enumerate(priorities)])
    return queue


def test_messages_of_one_class_keep_their_order_and_each_fourth_is_a_normal_one() -> None:
    queue = queue_of("", "", HIGH, HIGH, HIGH, HIGH, HIGH, "")
    assert [poke.stage for poke in iter(queue.receive, None)] == ["2", "3", "4", "0", "5", "6", "1", "7"]


def test_without_a_second_class_the_oldest_comes_first() -> None:
    for priority in ("", HIGH):
        order = [poke.stage for poke in iter(queue_of(*[priority] * 9).receive, None)]
        assert order == [str(place) for place in range(9)]


def test_a_message_of_high_priority_is_not_early_for_it() -> None:
    clock = FakeClock()
    queue = MemoryQueue(clock.now)
    queue.send([(Poke("t", "later", priority=HIGH), 60), (Poke("t", "now"), 0)])
    assert [poke.run for poke in iter(queue.receive, None)] == ["now"]
    clock.move(MINUTE)
    assert [poke.run for poke in iter(queue.receive, None)] == ["later"]


def test_runs_of_both_classes_survive_every_message_being_lost(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b"), chain=False), limits=Limits(shards=2))
    refs = [play.start(flow, Note(), priority=priority) for priority in BOTH * 2]
    real = play.queue.send
    play.queue.send = lambda pokes: real(pokes) if play.clock.now() % HOUR > 20 * MINUTE else None  # type: ignore[method-assign]
    play.play(refs, days=1)
    assert {play.look(ref).status for ref in refs} == {"completed"}
    assert play.clock.now() - head_of(play, refs[0]).created < DAY
