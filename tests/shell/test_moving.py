"""What is left behind when a machine moves on, and what is not, when it fails and is retried."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.core.events import StateEntered, TimerSet, TransitionTaken
from kernel.define.registry import Registry
from kernel.errors import Gone, LogError
from kernel.ports import DATA, RunRef
from kernel.shell.environment import Limits
from kernel.testing.play import Play
from onewrite import Context, Machine, PermanentError, State, Workflow
from tests.shell.script import (
    HOUR,
    MINUTE,
    Note,
    Script,
    dies,
    events,
    is_commit_of,
    keys_of,
    once_before,
    pending,
    throws,
    unreadable,
    work,
)

HOURS, MINUTES = timedelta(hours=1), timedelta(minutes=1)
END = State("end", Note, final=True)


def machine(*ways: Any, start: State[Note], **options: Any) -> Machine[Note, Note]:
    made: Any = Machine
    found: Machine[Note, Note] = made("m", input=Note, start=start, transitions=ways, **options)
    return found


def grown(data: Note, *_more: object) -> Note:
    return Note(text=data.text + "x")


def begun(play: Play, flow: Machine[Note, Note]) -> RunRef:
    run = play.start(flow, Note())
    work(play)
    return run


def test_a_retried_machine_waits_for_its_time_again_though_its_work_is_done_anew() -> None:
    busy = State("busy", Note, enter=Script().stage("a", throws(PermanentError("no"), 1)))
    play = Play(flow := machine(busy.after(HOURS, to=END), start=busy))
    run = begun(play, flow)
    assert play.look(run).status == "failed"

    play.retry(run)
    play.play(run)

    assert play.look(run).status == "completed"
    assert len(events(play, run, TimerSet)) == 2


def test_what_a_timer_has_come_to_is_not_repeated_by_a_retry() -> None:
    slow = Script().stage("a", throws(ValueError("no"), 3))
    busy = State("busy", Note, enter=slow)
    ways = busy.after(MINUTES, update=grown), busy.after(HOURS, to=END, update=_once_it_can(calls := []))
    play = Play(flow := machine(*ways, start=busy))
    run = begun(play, flow)
    play.play(run)
    assert play.look(run).status == "failed"

    calls.append("can")
    while play.look(run).status == "failed":
        play.retry(run)
        play.play(run)

    ended = play.ended(run)
    assert ended.output == Note(text="xx")
    assert len(events(play, run, TransitionTaken)) == 1


def _once_it_can(calls: list[str]) -> Callable[[Note], Note]:
    def update(data: Note) -> Note:
        if not calls:
            raise ValueError("not yet")
        return grown(data)

    return update


def test_a_token_of_a_state_that_was_left_is_not_answered_with_what_came_of_a_later_visit() -> None:
    asks = State("asks", Note, enter=Script().asks("a"))
    play = Play(flow := machine(asks.on(Note, to=asks), asks.after(HOURS, to=END), start=asks))
    run = begun(play, flow)
    first = play.token(run, "a")
    play.send(run, Note())
    work(play)
    second = play.token(run, "a")
    assert first != second
    assert play.decline(second, "no").status == "failed"

    with pytest.raises(Gone):
        play.decline(first, "no")


def test_a_body_is_told_that_its_state_was_left() -> None:
    told: list[bool] = []

    def body(ctx: Context) -> None:
        told.append(ctx.cancelled)
        play.send(run, Note())
        play.step()
        told.append(ctx.cancelled)

    busy = State("busy", Note, enter=Script().stage("a", body))
    play = Play(flow := machine(busy.on(Note, to=END), start=busy))
    run = play.start(flow, Note())
    work(play)

    assert told == [False, True]
    assert play.look(run).status == "completed"


def test_a_tick_that_finds_a_state_left_while_it_reaps_looks_on() -> None:
    script = Script()
    two: Any = Workflow("two", input=Note)
    two = two.then(script.stage("z")).together(script.stage("a", dies(9)), script.stage("b", dies(9)))
    two = two.then(script.join("c"))
    busy = State("busy", Note, enter=two)
    play = Play(flow := machine(busy.on(Note, to=END), start=busy))
    run = begun(play, flow)
    play.clock.move(2 * MINUTE)

    def left() -> None:
        play.send(run, Note(), id="e")
        play.attend(run, event="e")

    once_before(play, lambda call: is_commit_of(call, "LeaseExpired"), left)

    assert play.tick().failed == 0
    assert play.look(run).status == "completed"


def test_a_machine_whose_data_cannot_be_read_is_left_as_it_is() -> None:
    opened = State("open", Note)
    ways = opened.on(Note, update=lambda _data, _event: Note(text="y" * 900)), opened.after(HOURS, to=END, update=grown)
    play = Play(flow := machine(*ways, start=opened))
    run = begun(play, flow)
    play.send(run, Note())
    work(play)
    unreadable(play, run, keys_of(play, run, DATA)[0])
    play.clock.move(HOUR + MINUTE)

    with pytest.raises(LogError):
        play.attend(run)

    assert play.look(run).status == "running"


def test_of_several_data_in_one_commit_each_that_is_big_is_kept_aside() -> None:
    skipped = [Workflow("w", input=Note).then_if(lambda _note: False, Script().stage(id_)) for id_ in "ab"]
    one, two = State("one", Note, enter=skipped[0]), State("two", Note, enter=skipped[1])
    ways = (
        one.done(skipped[0], to=two, update=lambda _data, _out: Note(text="y" * 5_000)),
        two.done(skipped[1], to=END, update=lambda data, _out: Note(text=str(len(data.text)))),
    )
    play = Play(flow := machine(*ways, start=one), limits=Limits(inline=100))

    ended = play.run(flow, Note())

    entered = [event.data for event in events(play, ended.ref, StateEntered)]
    assert [bool(data and data.data) for data in entered] == [False, True, False]
    assert ended.output == Note(text="5000")


def test_an_event_that_waits_for_long_is_looked_at_ever_more_rarely() -> None:
    job = Script().job("w", pending(1_000_000), every=timedelta(hours=12), limit=timedelta(days=3))
    opened, then = State("open", Note), State("then", Note)
    play = Play(
        flow := machine(
            opened.on(Note, to=then, work=job), then.on(Note, to=END), start=opened, deadline=timedelta(days=2)
        )
    )
    run = begun(play, flow)
    play.send(run, Note(), id="e-1")
    work(play)
    play.send(run, Note(), id="e-2")
    play.play(run)
    play.clock.move(2 * HOUR)
    play.tick()
    work(play)

    sent = [call.arguments[0] for call in play.faults.calls if (call.port, call.method) == ("queue", "send")]
    assert play.event(run, "e-2").status == "refused"  # by the run's deadline
    assert sum(poke.event == "e-2" for pokes in sent for poke, _ in pokes) < 150


def test_an_event_that_nothing_takes_is_refused_though_the_run_would_end_for_another_reason() -> None:
    def made(on_failure: str) -> Machine[Note, Note]:
        failed = Script().stage("a", throws(PermanentError("no")), on_failure=on_failure)
        opened = State("open", Note, enter=failed)
        return machine(
            opened.on(Note, to=END, when=lambda _data, _event: False), opened.after(HOURS, to=END), start=opened
        )

    play = Play(flow := made("proceed"))
    run = begun(play, flow)
    play.env = replace(play.env, definitions=Registry(made("stop")))
    play.send(run, Note(), id="e")
    work(play)

    assert play.event(run, "e").status == "refused"
    assert play.look(run).status == "running"


def test_a_machine_that_has_nothing_to_wait_for_ends_before_its_commit_is_too_big() -> None:
    never = Workflow("never", input=Note).then_if(lambda _note: False, Script().stage("a"))
    spinning = State("spinning", Note, enter=never)
    play = Play(flow := machine(spinning.done(never, to=spinning), spinning.on(Note, to=END), start=spinning))

    ended = play.run(flow, Note())

    assert ended.view.error is not None
    assert ended.view.error.kind == "EndlessTransitions"
    assert len(events(play, ended.ref, StateEntered)) == 100


def test_a_role_with_a_colon_ends_no_label_of_a_diagram() -> None:
    opened = State("open", Note)

    drawn = machine(opened.on(Note, to=END, roles=("team:sales",)), start=opened).diagram()

    assert "Note by team#58;sales\n" in drawn
