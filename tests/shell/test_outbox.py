"""The outbox (DESIGN 6): at least once, in order per run, with stable ids; what cannot be published starves nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Literal

import msgspec

from kernel.ports import Guard, Published
from kernel.shell.environment import Limits
from kernel.shell.load import load
from kernel.shell.outbox import flush
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from onewrite import Context, PermanentError
from tests.shell.script import (
    MINUTE,
    SECOND,
    Flow,
    Note,
    Script,
    fork,
    head_of,
    is_under,
    line,
    on_condition,
    once,
    once_before,
    pending,
    state_of,
    throws,
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


# --- what is published ------------------------------------------------------------------------------------------------


def test_by_default_what_happened_to_the_run_as_a_whole_is_published(script: Script) -> None:
    play = deployed(flow := line(script.stage("a"), script.stage("b", throws(PermanentError("no"), 1))))
    ref = play.run(flow, Note()).ref
    play.retry(ref)
    play.play([ref])
    assert types(play) == ["RunCreated", "RunFailed", "RunReopened", "RunCompleted"]


def test_all_events_are_published_in_the_order_of_the_log(script: Script) -> None:
    play = deployed(flow := fork(script.stage("a"), script.stage("b"), script.stage("c")), "all")
    ended = play.run(flow, Note())
    assert types(play) == [type(event).__name__ for events in ended.log for event in events]


def test_nothing_is_published_where_nothing_shall_be(script: Script) -> None:
    play = deployed(flow := line(script.stage("a")), "none")
    ref = play.run(flow, Note()).ref
    assert types(play) == []
    assert (head_of(play, ref).due, head_of(play, ref).published) == (None, state_of(play, ref).seq)


def test_two_run_level_events_of_one_commit_are_published_once_each(script: Script) -> None:
    calls: list[str] = []

    def condition(note: Note) -> bool:
        calls.append(note.text)
        if len(calls) > 1:
            raise KeyError(note.text)
        return False

    play = deployed(flow := on_condition(line(script.stage("a")), condition, script.stage("b")))
    seen = submitted(play)
    ref = play.run(flow, Note()).ref
    play.rerun(ref, "b")
    play.play([ref])
    assert types(play) == ["RunCreated", "RunCompleted", "RunReopened", "RunFailed"]
    assert len(seen) == len(set(seen)) == 4


def test_an_event_tells_which_run_it_is_of_its_place_and_when_it_happened(script: Script) -> None:
    def act(_ctx: Context) -> None:
        play.clock.move(30 * SECOND)

    play = deployed(flow := line(script.stage("a", act)))
    begun = play.clock.now()
    ref = play.run(flow, Note(text="x")).ref
    created, completed = play.sink.events
    assert (created.id, completed.id) == (f"{ref.run}#0#0", f"{ref.run}#2#1")
    body = msgspec.json.decode(created.body)
    assert {name: body[name] for name in ("id", "tenant", "run", "workflow", "version", "seq", "index")} == {
        "id": created.id,
        "tenant": "test",
        "run": ref.run,
        "workflow": "flow",
        "version": 1,
        "seq": 0,
        "index": 0,
    }
    assert (created.at, completed.at) == (begun, begun + 30 * SECOND)


# --- at least once, in order, moved cursor ----------------------------------------------------------------------------


def test_the_cursor_follows_what_is_published(script: Script) -> None:
    play = deployed(flow := line(script.job("a", pending(3))), "all")
    ref = play.start(flow, Note())
    play.step()
    assert head_of(play, ref).published == state_of(play, ref).seq
    published = len(play.sink.events)
    play.clock.move(MINUTE + SECOND)
    work(play)
    assert types(play)[published:] == ["StageChecked"], "and nothing comes twice"


def test_a_worker_that_dies_between_publishing_and_moving_the_cursor_publishes_again(script: Script) -> None:
    play = deployed(flow := line(script.stage("a")))
    seen = submitted(play)
    ref = play.start(flow, Note())
    once(play, lambda call: is_under(call, Guard.FINALISE_IS_LATEST), Fault.CRASH_BEFORE)
    with suppress(Crash):
        play.step()
    play.queue.clear()
    tick_on(play, 1)
    assert seen == [f"{ref.run}#0#0", f"{ref.run}#2#1"] * 2, "the same ids, so that consumers can drop them"
    assert play.sink.events[0] == play.sink.events[2]
    assert head_of(play, ref).due is None


def test_a_run_leaves_the_index_only_when_nothing_of_it_is_unpublished(script: Script) -> None:
    play = deployed(flow := line(script.stage("a")), attempts=99)
    play.sink.refuse = lambda event: "no" if event.type == "RunCompleted" else None
    ref = play.start(flow, Note())
    work(play)
    for _ in range(20):
        tick_on(play, 1)
        assert head_of(play, ref).due is not None
    play.sink.refuse = lambda _event: None
    tick_on(play, 1)
    assert head_of(play, ref).due is None
    assert types(play)[-1] == "RunCompleted"


def test_an_event_is_not_submitted_before_the_one_in_front_of_it_is_done_with(script: Script) -> None:
    play = deployed(flow := line(script.stage("a")), attempts=99)
    failing = [5]

    def refuse(event: Published) -> str | None:
        failing[0] -= event.type == "RunCreated"
        return "not now" if event.type == "RunCreated" and failing[0] >= 0 else None

    seen = submitted(play, refuse)
    ref = play.run(flow, Note()).ref
    assert seen == [f"{ref.run}#0#0"] * 6 + [f"{ref.run}#2#1"]


def test_two_flushers_move_the_cursor_once_and_never_back(script: Script) -> None:
    play = deployed(flow := line(script.job("a", pending(9))), "all")
    ref = play.start(flow, Note())

    def another() -> None:
        session = load(play.store, ref, play.clock.now)
        assert session is not None
        flush(play.env, session)

    once_before(play, lambda call: is_under(call, Guard.CURSOR_AS_SEEN), another)
    play.step()
    assert head_of(play, ref).published == state_of(play, ref).seq
    seqs = [int(event.id.split("#")[1]) for event in play.sink.events]
    assert set(seqs) == set(range(state_of(play, ref).seq + 1)), "at least once"


def test_a_run_that_sleeps_has_published_everything(script: Script) -> None:
    play = deployed(flow := line(script.job("a", pending(1), every=timedelta(hours=1))), "all")
    ref = play.start(flow, Note())
    work(play)
    assert head_of(play, ref).published == state_of(play, ref).seq
    assert types(play)[-1] == "Slept"
