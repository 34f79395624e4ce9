"""Events that cannot be published (DESIGN 6): counted durably, given up one by one, replayed; they starve nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import msgspec
import pytest
from msgspec.structs import replace

from kernel.errors import Missing, Unavailable
from kernel.ports import Dead, Published, RunRef, Unreadable
from kernel.shell.environment import Limits
from kernel.shell.outbox import GIVEN_UP, Flush, dead_letters, replay_dead_letters
from kernel.testing.faults import Call, Fault
from kernel.testing.play import Play
from tests.shell.script import (
    DAY,
    MINUTE,
    Flow,
    Note,
    Script,
    commits_of,
    head_of,
    letters_of,
    line,
    pending,
    unreadable,
    work,
)

Publish = Literal["run", "all", "none"]


def deployed(flow: Flow, publish: Publish = "run", attempts: int = 3) -> Play:
    """A deployment that publishes so, and gives up so soon."""
    return Play(flow, limits=Limits(publish=publish, publish_attempts=attempts))


def submitted(play: Play, refuse: Callable[[Published], str | None] = lambda _event: None) -> list[str]:
    """Ids of events in the order in which they are submitted from now on, whatever the sink says of them."""
    seen: list[str] = []

    def listen(event: Published) -> str | None:
        seen.append(event.id)
        return refuse(event)

    play.sink.refuse = listen
    return seen


def types(play: Play) -> list[str]:
    """What the sink has accepted."""
    return [event.type for event in play.sink.events]


def tick_on(play: Play, times: int) -> None:
    """Let so many looks at due runs happen."""
    for _ in range(times):
        play.clock.move(play.env.limits.look_grace)
        play.tick()


def test_an_event_that_keeps_failing_becomes_a_dead_letter_after_so_many_tries(script: Script) -> None:
    play = deployed(flow := line(script.stage("a")), attempts=3)
    seen = submitted(play, lambda event: "too big" if event.type == "RunCreated" else None)
    ref = play.run(flow, Note(text="x")).ref
    assert seen.count(f"{ref.run}#0#0") == 1 + 3, "once by the worker, whose failure does not count"
    (letter,) = letters_of(play, ref)
    assert (letter.seq, letter.index, letter.error) == (0, 0, "too big")
    assert msgspec.json.decode(letter.body)["event"]["input"] == {"json": {"text": "x"}}, "it holds the event itself"
    assert types(play) == ["RunCompleted"], "what comes after it goes on"
    assert head_of(play, ref).due is None


def test_failures_are_counted_durably_and_only_at_looks_of_ticks(script: Script) -> None:
    """Workers may come by many times a second, ticks only every few minutes."""
    play = deployed(flow := line(*map(script.stage, "abcdefgh"), chain=False), attempts=4)
    play.sink.refuse = lambda _event: "no"
    ref = play.start(flow, Note())
    work(play)
    assert head_of(play, ref).publish_failures == 0
    tick_on(play, 2)
    assert head_of(play, ref).publish_failures == 2 * GIVEN_UP / 4
    tick_on(play, 1)
    assert not letters_of(play, ref)
    tick_on(play, 1)
    assert len(letters_of(play, ref)) >= 1


@pytest.mark.parametrize("outage", [Unavailable("no route"), Missing("no such bus")], ids=repr)
def test_an_outage_of_hours_gives_nothing_up_and_neither_does_a_refusal_after_it(
    script: Script, outage: Exception
) -> None:
    play = deployed(flow := line(script.stage("a")), attempts=10)
    down, refusals = [True], ["still busy"] * 3

    def publish(events: Sequence[Published]) -> Sequence[str | None]:
        if down[0]:
            raise outage
        return [refusals.pop() if refusals else None for _ in events]

    play.env = replace(play.env, sink=SimpleNamespace(publish=publish))
    ref = play.start(flow, Note())
    work(play)
    tick_on(play, 60)
    assert head_of(play, ref).publish_failures == 60
    down[0] = False
    tick_on(play, 4)
    assert (letters_of(play, ref), head_of(play, ref).due) == ([], None)


def test_an_outage_of_days_gives_an_event_up(script: Script) -> None:
    play = deployed(flow := line(script.stage("a")), attempts=10)

    def publish(_events: object) -> Any:
        raise Unavailable("no route")

    play.env = replace(play.env, sink=SimpleNamespace(publish=publish))
    ref = play.start(flow, Note())
    work(play)
    tick_on(play, GIVEN_UP)
    assert len(letters_of(play, ref)) == 1


def test_a_tick_asks_a_sink_that_cannot_be_reached_but_once(script: Script) -> None:
    """Each try may take seconds, and every run has something to publish: there are leases to be reaped as well."""
    play = deployed(flow := line(script.stage("a")), attempts=10)
    refs = [play.start(flow, Note()) for _ in range(40)]
    asked: list[int] = []

    def publish(_events: object) -> Any:
        asked.append(play.clock.now())
        play.clock.move(7_000)
        raise Unavailable("no route")

    play.env = replace(play.env, sink=SimpleNamespace(publish=publish))
    play.queue.clear()
    play.clock.move(play.env.limits.look_grace)
    counts = play.tick()
    assert len(asked) == 1
    assert (counts.looked, counts.left) == (40, False)
    assert sum(head_of(play, ref).publish_failures for ref in refs) == 1, "and holds it against that event only"


def test_failures_of_one_event_are_not_held_against_the_next(script: Script) -> None:
    play = deployed(flow := line(script.stage("a")), attempts=3)
    answers = {"RunCreated": ["no", "no"], "RunCompleted": ["no"]}
    play.sink.refuse = lambda event: answers[event.type].pop(0) if answers.get(event.type) else None
    ref = play.run(flow, Note()).ref
    assert letters_of(play, ref) == [], "neither has failed three times"
    assert types(play) == ["RunCreated", "RunCompleted"]


def test_several_dead_letters_of_one_commit_are_each_given_up(script: Script) -> None:
    """One event that cannot be published must not starve the rest (bratsos/workflow-engine)."""
    play = deployed(flow := line(script.stage("a"), script.stage("b")), "all", attempts=2)
    play.sink.refuse = lambda event: "no" if event.type.startswith("Stage") else None
    ref = play.start(flow, Note())
    work(play)
    tick_on(play, 30)
    assert head_of(play, ref).due is None
    assert [(letter.seq, letter.index) for letter in letters_of(play, ref)] == [(1, 0), (2, 0), (2, 1), (3, 0)]
    assert types(play)[-1] == "RunCompleted"


def test_a_dead_letter_that_cannot_be_read_keeps_nobody_from_the_others(script: Script) -> None:
    play = deployed(flow := line(script.stage("a"), script.stage("b")), "all", attempts=1)
    play.sink.refuse = lambda _event: "no"
    ref = play.start(flow, Note())
    work(play)
    tick_on(play, 1)
    first, second, *others = letters_of(play, ref)
    unreadable(play, ref, first.key)
    play.store.put(ref, replace(second, body=second.body[:-1]))
    assert [type(letter) for letter in dead_letters(play.env, ref)] == [Unreadable, Unreadable, *[Dead] * len(others)]
    play.sink.refuse = lambda _event: None
    done = replay_dead_letters(play.env, ref)
    assert done == Flush(len(others), 0, clean=False)
    left = [letter for letter in dead_letters(play.env, ref) if isinstance(letter, Unreadable)]
    assert [letter.key for letter in left] == [first.key, second.key]
    assert "cannot be read" in str(left[1].error)


def test_one_run_whose_events_fail_does_not_starve_another(script: Script) -> None:
    play = deployed(flow := line(script.stage("a")), attempts=99)
    bad, good = play.start(flow, Note()), play.start(flow, Note())
    play.sink.refuse = lambda event: "no" if event.run == bad.run else None
    work(play)
    assert head_of(play, bad).due is not None
    assert head_of(play, good).due is None


def test_a_sink_that_is_down_fails_no_run_and_loses_no_event(script: Script) -> None:
    """That it cannot be reached for some minutes says nothing against an event."""
    play = deployed(flow := line(script.stage("a"), script.job("b", pending(3))), attempts=2)

    def down(call: Call) -> Fault | None:
        return Fault.UNAVAILABLE if call.port == "sink" else None

    play.faults.choose = down
    ref = play.start(flow, Note())
    for _ in range(10):
        work(play)
        play.clock.move(MINUTE)
    assert play.ended(ref).status == "completed"
    assert types(play) == []
    play.faults.choose = lambda _call: None
    tick_on(play, 2)
    assert types(play) == ["RunCreated", "RunCompleted"]


# --- dead letters are replayed ----------------------------------------------------------------------------------------


def buried(script: Script, stages: int = 1) -> tuple[Play, RunRef]:
    """A run of which nothing could be published."""
    flow = line(*(script.stage(f"s{number}") for number in range(stages)))
    play = deployed(flow, "all", attempts=1)
    play.sink.refuse = lambda _event: "no"
    return play, play.run(flow, Note()).ref


def test_dead_letters_that_are_accepted_now_are_gone(script: Script) -> None:
    play, ref = buried(script)
    waiting = [f"{ref.run}#{letter.seq}#{letter.index}" for letter in letters_of(play, ref)]
    play.sink.refuse = lambda _event: None
    done = replay_dead_letters(play.env, ref)
    assert done is not None
    assert (done.published, done.clean) == (len(waiting), True)
    assert [event.id for event in play.sink.events] == waiting
    assert types(play) == ["RunCreated", "StageStarted", "StageCompleted", "RunCompleted"]
    assert letters_of(play, ref) == []


def test_a_replayed_event_tells_when_it_happened_and_not_when_it_was_given_up(script: Script) -> None:
    play = deployed(flow := line(script.stage("a")), attempts=3)
    play.sink.refuse = lambda _event: "no"
    happened = play.clock.now()
    ref = play.run(flow, Note()).ref
    play.clock.move(DAY)
    play.sink.refuse = lambda _event: None
    replay_dead_letters(play.env, ref)
    assert [(event.type, event.at) for event in play.sink.events] == [
        ("RunCreated", happened),
        ("RunCompleted", happened),
    ]


def test_dead_letters_of_one_commit_are_replayed_in_order(script: Script) -> None:
    flow: Any = line(first := script.stage("a"))
    for number in range(12):
        flow = flow.step(script.stage(f"b{number:02d}"), after=first)
    play = deployed(flow, "all", attempts=1)
    play.sink.refuse = lambda _event: "no"
    ref = play.start(flow, Note())
    play.step()
    tick_on(play, 1)
    play.sink.refuse = lambda _event: None
    replay_dead_letters(play.env, ref)
    places = [tuple(map(int, event.id.split("#")[1:])) for event in play.sink.events]
    assert max(index for _, index in places) >= 12
    assert places == sorted(places)


def test_dead_letters_that_are_refused_again_stay(script: Script) -> None:
    play, ref = buried(script)
    before = letters_of(play, ref)
    play.sink.refuse = lambda event: "no" if event.type == "StageStarted" else None
    done = replay_dead_letters(play.env, ref)
    assert done is not None
    assert not done.clean
    assert letters_of(play, ref) == [letter for letter in before if letter.seq == 1]


def test_replaying_says_whether_anything_is_left_however_many_there_are(script: Script) -> None:
    play, ref = buried(script, stages=60)
    assert len(commits_of(play, ref)) == 61
    play.sink.refuse = lambda _event: None
    for _ in range(10):
        done = replay_dead_letters(play.env, ref)
        assert done is not None
        if done.clean:
            break
    assert letters_of(play, ref) == []


def test_there_is_nothing_to_replay_of_a_run_that_is_not_there(script: Script) -> None:
    assert replay_dead_letters(Play(line(script.stage("a"))).env, RunRef("test", "0" * 24)) is None
