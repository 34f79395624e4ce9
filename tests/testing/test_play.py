"""``Play``: what it takes, what it shows of a run, and what it says when it is used wrongly."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kernel.ports import RunRef
from onewrite import Context, NotFound, Pending, Registry, Retry, Suspend, Workflow, stage
from onewrite.testing import Call, Ended, FakeClock, Fault, Limits, Play
from tests.shell.flows import Note, Order, order
from tests.shell.script import HOUR


@stage(retry=Retry(1))
def hopeless(ctx: Context, order: Order) -> Note:
    raise ValueError("it will not do")


failing = Workflow("failing", input=Order).then(hopeless)


def not_yet(ctx: Context, job: str) -> Note | Pending:
    return Pending()


@stage(check=not_yet, every=timedelta(hours=6), limit=timedelta(days=20))
def wait(ctx: Context, order: Order) -> Note | Suspend[str]:
    return Suspend("j-1")


waiting = Workflow("waiting", input=Order).then(wait)

REFUSED: list[tuple[str, str, Any]] = [
    ("a registry", r"a registry is given as Play\(registry=\.\.\.\)", lambda: Play(_any(Registry(order)))),
    ("an id to deploy", "give the workflow itself, not 'order'", lambda: Play(_any("order"))),
    ("an id to run", "give the workflow itself, not 'order'", lambda: Play(order).run(_any("order"), Order())),
    ("an id to start", "give the workflow itself, not 'order'", lambda: Play(order).start(_any("order"), Order())),
    ("a run's id to look at", "give the run as start or run gave it, not 'abc'", lambda: Play(order).look(_any("abc"))),
    ("a run's id to end", "give the run as start or run gave it, not 'abc'", lambda: Play(order).ended(_any("abc"))),
    ("runs' ids to play", "give the run as start or run gave it, not 'abc'", lambda: Play(order).play(_any(["abc"]))),
]


def _any(wrong: object) -> Any:
    """What no type checker lets through, and who has none writes all the same."""
    return wrong


@pytest.mark.parametrize(("says", "do"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_given_wrongly_is_refused_with_what_to_give(says: str, do: Any) -> None:
    with pytest.raises(TypeError, match=says):
        do()


# --- which run ----------------------------------------------------------------------------------------------------


def test_one_run_is_played_as_well_as_several() -> None:
    play = Play(order)
    one, two, three = (play.start(order, Order()) for _ in range(3))

    play.play(one)
    play.play([two, three])

    assert {play.look(run).status for run in (one, two, three)} == {"completed"}


def test_a_run_that_was_played_stands_for_itself() -> None:
    play = Play(order)
    first = play.run(order, Order())

    play.rerun(first, "pack")
    play.play(first)

    assert play.ended(first).ref == first.ref
    assert (play.look(first).status, play.look(first).generation) == ("completed", 1)


def test_a_played_run_is_retried_cancelled_and_attended() -> None:
    play = Play(failing)
    first = play.run(failing, Order())
    play.retry(first)
    play.attend(first)
    assert play.look(first).stages[0].status == "failed"

    play.retry(first)
    play.cancel(first, "enough")
    assert (play.look(first).status, play.look(first).reason) == ("cancelled", "enough")


# --- what is shown ------------------------------------------------------------------------------------------------


def test_a_run_under_way_is_looked_at_without_a_trace() -> None:
    play = Play(order)
    run = play.start(order, Order(fail={"charge": 1}))
    play.step()
    calls, used = len(play.faults.calls), play.meter.snapshot()
    play.faults.choose = lambda _call: Fault.CRASH_BEFORE

    shown = play.look(run)

    assert (shown.status, [each.status for each in shown.stages]) == ("running", ["retrying"])
    assert (len(play.faults.calls), play.meter.total) == (calls, used)


def test_a_look_shows_the_progress_of_a_stage_that_runs() -> None:
    seen: list[float | None] = []

    @stage
    def work(ctx: Context, order: Order) -> Note:
        ctx.progress(0.5)
        seen.append(play.look(run).stages[0].progress)
        return Note(by="work", order="")

    flow = Workflow("at-work", input=Order).then(work)
    play = Play(flow)
    run = play.start(flow, Order())
    play.play(run)

    assert seen == [0.5]


def test_there_is_nothing_to_look_at_where_no_run_is() -> None:
    with pytest.raises(NotFound):
        Play(order).look(RunRef("test", "0" * 24))


def test_a_played_run_prints_as_one_short_line() -> None:
    ended = Play(failing).run(failing, Order())

    assert repr(ended) == (
        f"Ended(run='{ended.ref.run}', status='failed', error='hopeless ValueError: it will not do', "
        "names=[RunCreated, StageStarted hopeless, StageFailed hopeless, RunFailed])"
    )


def test_a_completed_run_prints_without_an_error() -> None:
    printed = repr(Play(order).run(order, Order()))

    assert "status='completed', names=[RunCreated, StageStarted charge, " in printed
    assert len(printed) < 400


def test_a_long_log_prints_its_beginning_and_its_end() -> None:
    ended = Play(waiting).run(waiting, Order())

    assert len(ended.names()) > 150
    assert len(repr(ended)) < 900
    assert "StageSuspended wait, Slept, StageChecked wait" in repr(ended)
    assert f"... {len(ended.names()) - 20} more ..." in repr(ended)
    assert repr(ended).endswith("StageFailed wait, RunFailed])")


def test_a_limit_of_days_is_told_in_days() -> None:
    ended = Play(waiting).run(waiting, Order())

    assert ended.view.error is not None
    assert ended.view.error.message == "not ready within 20 days, 0:00:00"


# --- what does not end --------------------------------------------------------------------------------------------


def test_a_run_that_does_not_end_is_told_with_what_it_waits_for() -> None:
    play = Play(order)
    done, stuck = play.run(order, Order()), play.start(order, Order(fail={"charge": 1}))
    play.step()
    play.faults.choose = lambda call: Fault.UNAVAILABLE if call.method == "put" else None

    with pytest.raises(AssertionError) as caught:
        play.play([done, stuck], days=0.1)

    first, *rest = str(caught.value).splitlines()
    assert first == "not over after 0.1 days; a fault that comes again and again may be why:"
    assert rest == [
        f"run {stuck.run} is running",
        "  charge is retrying, attempt 1, charge RuntimeError: charge fails",
    ]


def test_a_run_that_was_given_up_with_its_retention_is_not_over() -> None:
    play = Play(order, limits=Limits(deadline=HOUR, retention=HOUR))
    run = play.start(order, Order())
    play.faults.choose = lambda call: Fault.UNAVAILABLE if call.method == "put" else None

    with pytest.raises(AssertionError, match=f"^not over by the end of their retention.*\nrun {run.run} is running"):
        play.play(run)


def test_a_run_of_another_play_is_not_waited_for() -> None:
    with pytest.raises(NotFound, match=r"there is no run 0* in this Play"):
        Play(order).play(RunRef("test", "0" * 24))


def test_a_run_that_is_over_and_cannot_be_left_is_told() -> None:
    play = Play(order)
    run = play.start(order, Order())

    def always(call: Call) -> Fault | None:
        return Fault.UNAVAILABLE if call.port == "sink" else None

    play.faults.choose = always
    with pytest.raises(AssertionError, match=r"is completed\n  it is over, but nobody could leave it"):
        play.play(run, days=0.01)


# --- time ---------------------------------------------------------------------------------------------------------


def test_it_waits_for_so_long_and_no_longer() -> None:
    play = Play(waiting)
    run = play.start(waiting, Order())
    began = play.clock.now()

    play.wait(timedelta(days=2))

    assert play.clock.now() - began == 48 * HOUR
    assert play.ended(run).names().count("StageChecked wait") == 7, "the eighth is a second late, for clocks may differ"
    play.wait(timedelta(days=30))
    assert play.look(run).status == "failed"


def test_the_clock_moves_by_milliseconds_or_by_a_timedelta() -> None:
    clock = FakeClock(0)

    clock.move(500)
    clock.move(timedelta(hours=1))

    assert clock.now() == 3_600_500


def test_the_same_seed_gives_the_same_runs_and_another_one_others() -> None:
    def first(play: Play) -> Ended:
        return play.run(order, Order())

    assert first(Play(order)).ref == first(Play(order)).ref
    assert first(Play(order)).ref != first(Play(order, seed=1)).ref
