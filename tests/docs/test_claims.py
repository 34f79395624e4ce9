"""What the pages say that Onewrite does, it does: costs, sizes, times, fingerprints."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, create_model

from kernel.core.events import StageFailed
from kernel.define.startable import Startable
from kernel.define.workflow import Workflow as AnyWorkflow
from kernel.errors import Conflict, DefinitionError, NotUpstream
from kernel.shell import outbox
from onewrite import (
    AwaitCallback,
    Context,
    Failed,
    Machine,
    Pending,
    PermanentError,
    Registry,
    Retry,
    StageTimedOut,
    State,
    Suspend,
    Transition,
    Workflow,
    stage,
)
from onewrite.testing import Ended, Play, Usage, simulate
from tests.docs.pages import DOCS, README, fences, files
from tests.shell.script import letters_of
from workflows.examples import registry

MINUTE = 60_000
TITLE = re.compile(r'---\ntitle: "([\w-]+), version \d+"\n')
"""How the diagram of a workflow begins."""


class Order(BaseModel):
    """Small enough for its event."""

    id: int = 1
    size: int = 0


class Note(BaseModel):
    """Of any size."""

    text: str = ""


def used(workflow: AnyWorkflow[Any, *tuple[Any, ...]], order: Order | None = None) -> Usage:
    """What a run takes, played to its end."""
    play = Play(workflow)
    run = play.start(workflow, order or Order())
    play.play([run])
    return play.meter.of(run)


def ended(workflow: AnyWorkflow[Any, *tuple[Any, ...]], order: Order | None = None) -> Ended:
    return Play(workflow).run(workflow, order or Order())


@stage
def first(ctx: Context, order: Order) -> Note:
    return Note()


@stage
def further(ctx: Context, note: Note) -> Note:
    return note


@stage
def join(ctx: Context, one: Note, other: Note) -> Note:
    return one


def chain(length: int, *, chained: bool = True) -> Workflow[Order, Note]:
    workflow = Workflow(f"chain-{length}", input=Order, chain=chained).then(first)
    for number in range(1, length):
        workflow = workflow.then(further.named(f"further-{number}"))
    return workflow


# --- cost (operations.md, README.md) ----------------------------------------------------------------------


def test_a_run_takes_eight_units_one_read_and_a_message_and_each_chained_stage_one_more() -> None:
    for length in (1, 2, 10):
        usage = used(chain(length))
        assert (usage.write_units, usage.read_units, usage.messages) == (8 + length, 1, 1)


def test_what_ten_steps_cost_is_what_the_pages_say() -> None:
    usage = used(chain(10))

    dollars = usage.write_units * 0.625 + usage.read_units * 0.125 + usage.messages * 3 * 0.40 + 2 * 0.20

    assert f"${dollars - 0.001:.2f}" == "$12.97"
    assert "$12.97" in README.read_text()


def test_a_stage_that_is_not_chained_takes_two_units_and_a_message() -> None:
    few, many = used(chain(2, chained=False)), used(chain(6, chained=False))

    assert (many.write_units - few.write_units) / 4 == 2
    assert (many.messages - few.messages) / 4 == 1


def test_a_stage_beside_another_takes_two_units_one_read_and_a_message() -> None:
    row = chain(3)
    beside = Workflow("beside", input=Order).then(first).together(further, further.named("other")).then(join)
    in_a_row, side_by_side = used(row), used(beside)

    # One more stage; and a worker leaves the run before it is finished, which moves the outbox cursor.
    assert side_by_side.write_units - in_a_row.write_units == 2 + 1
    assert side_by_side.messages - in_a_row.messages == 1
    assert side_by_side.read_units - in_a_row.read_units == 1


def test_a_stage_that_is_tried_again_takes_two_units_or_a_few_more_one_read_and_a_message() -> None:
    tries: list[int] = []

    @stage(retry=Retry(4))
    def flaky(ctx: Context, order: Order) -> Note:
        tries.append(ctx.attempt)
        if ctx.attempt <= order.size:
            raise ConnectionError("no")
        return Note()

    workflow = Workflow("flaky", input=Order).then(flaky)
    once, twice = used(workflow, Order(size=1)), used(workflow, Order(size=2))

    assert 2 <= twice.write_units - once.write_units <= 2 + 3
    assert (twice.read_units - once.read_units, twice.messages - once.messages) == (1, 1)


def suspended(every: timedelta, polls: int) -> Workflow[Order, Note]:
    asked: list[str] = []

    def ready(ctx: Context, job: str) -> Note | Pending:
        asked.append(job)
        return Note() if len(asked) > polls else Pending()

    @stage(check=ready, every=every, limit=timedelta(days=100))
    def wait(ctx: Context, order: Order) -> Note | Suspend[str]:
        return Suspend("job")

    return Workflow("wait", input=Order).then(wait)


@pytest.mark.parametrize(
    ("minutes", "writes", "reads"),
    # Between two checks at an interval of n minutes, a tick looks every second minute.
    [(1, 1 + 3 / 2, 1 + 1 / 2), (14, 1 + 3 * 7, 1 + 7), (16, 9, 2), (60 * 24, 9, 2)],
)
def test_what_a_check_takes_depends_on_whether_the_run_sleeps_before_it(
    minutes: int, writes: float, reads: float
) -> None:
    every = timedelta(minutes=minutes)
    few, many = used(suspended(every, 1)), used(suspended(every, 5))  # under 16 commits: no snapshot

    assert (many.write_units - few.write_units) / 4 == writes
    assert (many.read_units - few.read_units) / 4 == pytest.approx(reads, abs=0.01)
    assert (many.messages - few.messages) / 4 == 1


# --- waits (waiting.md) -----------------------------------------------------------------------------------


class News(BaseModel):
    """An event."""

    text: str = ""


@stage
def read(ctx: Context, news: News | None) -> Note:
    return Note()


@stage(callback=timedelta(days=3))
def ask(ctx: Context, note: Note) -> Note | AwaitCallback:
    return AwaitCallback()


BEGUN = Workflow("wait", input=Order).then(first)
LISTENS = BEGUN.wait_for(News, timeout=timedelta(days=5), on_timeout="proceed").then(read)


WAITS: dict[str, tuple[str, AnyWorkflow[Any, *tuple[Any, ...]], float, Callable[[Play, Any], object]]] = {
    "an hour": ("a time", BEGUN.sleep(timedelta(hours=1)).then(further), 0, lambda play, run: None),
    "20 days": ("a time", BEGUN.sleep(timedelta(days=20)).then(further), 0, lambda play, run: None),
    "early": ("an event, whether it comes early or late", LISTENS, 0, lambda play, run: play.send(run, News())),
    "a day": ("an event, whether it comes early or late", LISTENS, 1, lambda play, run: play.send(run, News())),
    "4 days": ("an event, whether it comes early or late", LISTENS, 4, lambda play, run: play.send(run, News())),
    "never": ("an event that does not come in time", LISTENS, 0, lambda play, run: None),
    "answer": ("an answer", BEGUN.then(ask), 2, lambda play, run: play.answer(play.token(run, "ask"), Note())),
}
"""What the page says of a wait, the wait, after how many days something happens, and what."""


@pytest.mark.parametrize("wait", WAITS)
def test_what_a_wait_costs_is_what_the_page_says(wait: str) -> None:
    what, workflow, days, happens = WAITS[wait]
    play = Play(workflow)
    run = play.start(workflow, Order())
    if days:
        while play.step() is not None:
            pass
        play.clock.move(timedelta(days=days))
    happens(play, run)
    play.play(run)

    units = play.meter.of(run).write_units - used(chain(2)).write_units

    assert play.look(run).status == "completed"
    assert f"\n| {what} | {units:g} |\n" in (DOCS / "waiting.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("lasts", [timedelta(hours=1), timedelta(days=20)], ids=str)
def test_a_pause_and_its_end_take_sixteen_units_three_reads_and_two_messages(lasts: timedelta) -> None:
    flow = chain(2)
    plain, play = used(flow), Play(flow)
    run = play.start(flow, Order())
    play.queue.clear()
    play.pause(run, lasts=lasts)
    play.play([run])
    paused = play.meter.of(run)

    assert paused.write_units - plain.write_units == 16
    assert (paused.read_units - plain.read_units, paused.messages - plain.messages) == (3, 2)


def test_a_tick_with_nothing_due_takes_half_a_read_per_shard() -> None:
    play = Play(chain(1))

    play.tick()

    assert play.meter.total.read_units == 0.5 * play.env.limits.shards
    assert play.meter.total.write_units == 0


# --- machines (machines.md) -------------------------------------------------------------------------------


@stage
def again(ctx: Context, note: Note) -> Note:
    return note


WORKING, LISTENING = State("working", Note, enter=again), State("listening", Note)
END = State("end", Note, final=True)


def machine(*transitions: Transition[Note]) -> Machine[Note, Note]:
    """One that works first."""
    return Machine("m", input=Note, start=WORKING, transitions=transitions)


def longer(note: Note, *_: object) -> Note:
    return Note(text=note.text + "x")


def is_short(note: Note, *_: object) -> bool:
    return len(note.text) < 6


def says_yes(_note: Note, news: News) -> bool:
    return news.text == "yes"


def spent(made: Machine[Note, Note], *sent: str) -> float:
    """The write units of a run to which these are sent, a day after one another."""
    play = Play(made)
    run = play.start(made, Note())
    for text in sent:
        play.wait(timedelta(days=1))
        with suppress(Conflict):
            play.send(run, News(text=text))
    play.play(run)
    assert play.look(run).status == "completed"
    return play.meter.of(run).write_units


AT_ONCE = WORKING.done(again, to=END)
LISTENS_THEN = WORKING.done(again, to=LISTENING)
MACHINES: dict[str, Callable[[], float]] = {
    "a transition once work is done, the stage that it was done by included": lambda: (
        (
            spent(machine(WORKING.done(again, to=WORKING, when=is_short, update=longer), AT_ONCE))
            - spent(machine(AT_ONCE))
        )
        / 6
    ),
    "an event that is taken": lambda: (
        spent(machine(LISTENS_THEN, LISTENING.on(News, to=END)), "") - spent(machine(AT_ONCE))
    ),
    "an event that is refused when it is applied": lambda: (
        spent(machine(LISTENS_THEN, LISTENING.on(News, to=END, when=says_yes)), "no", "yes")
        - spent(machine(LISTENS_THEN, LISTENING.on(News, to=END)), "yes")
    ),
    "an event that is refused when it is sent": lambda: (
        spent(machine(LISTENS_THEN, LISTENING.after(timedelta(days=3), to=END), WORKING.on(News, to=END)), "")
        - spent(machine(LISTENS_THEN, LISTENING.after(timedelta(days=3), to=END), WORKING.on(News, to=END)))
    ),
    "a time": lambda: (
        spent(machine(LISTENS_THEN, LISTENING.after(timedelta(days=3), to=END))) - spent(machine(AT_ONCE))
    ),
}
"""What the page says of something that happens to a machine, and what it takes."""


@pytest.mark.parametrize("what", MACHINES)
def test_what_a_machine_costs_is_what_the_page_says(what: str) -> None:
    units = MACHINES[what]()

    assert f"\n| {what} | {units:g} |\n" in (DOCS / "machines.md").read_text(encoding="utf-8")


def test_an_internal_transition_costs_what_any_event_does() -> None:
    noted, ends = LISTENING.on(News, update=longer, when=lambda note, _: not note.text), LISTENING.on(News, to=END)

    assert spent(machine(LISTENS_THEN, noted, ends), "", "") - spent(machine(LISTENS_THEN, ends), "") == 14


def test_what_changes_the_fingerprint_of_a_machine_and_what_does_not() -> None:
    def of(*transitions: Transition[Note], **options: Any) -> str:
        made = Machine("m", input=Note, start=WORKING, transitions=(AT_ONCE, *transitions), **options)
        return made.definition.fingerprint

    def after(hours: int) -> Transition[Note]:
        return WORKING.after(timedelta(hours=hours), to=END)

    assert of(after(1)) == of(after(2)) == of(after(1), quota=3, deadline=timedelta(days=1))
    assert of(WORKING.on(News, to=END)) == of(WORKING.on(News, to=END, roles=("clerk",)))
    assert len({of(), of(after(1)), of(WORKING.on(News, to=END)), of(WORKING.on(News, update=longer))}) == 4


# --- values (workflows.md) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "where"),
    [(560, ""), (561, "data"), (300_000, "data"), (300_001, "blob"), (5_000_000, "blob"), (5_000_001, "refused")],
)
def test_where_a_value_is_kept_depends_on_its_size(size: int, where: str) -> None:
    @stage(retry=Retry(1))
    def big(ctx: Context, order: Order) -> str:
        return "x" * (order.size - 2)  # and two quotes

    workflow = Workflow("big", input=Order).then(big)
    play = Play(workflow)

    done = play.run(workflow, Order(size=size))

    if where == "refused":
        assert done.status == "failed"
        return
    assert len(done.output) == size - 2
    value = done.log[-1][0].output  # type: ignore[union-attr]  # the event is known
    assert (bool(value.data), bool(value.blob)) == (where == "data", where == "blob")


def test_a_nan_is_an_invalid_output() -> None:
    @stage(retry=Retry(3))
    def nan(ctx: Context, order: Order) -> float:
        return float("nan")

    view = ended(Workflow("nan", input=Order).then(nan)).view

    assert view.error is not None
    assert (view.error.kind, view.error.category, view.error.attempt) == ("InvalidOutput", "output", 1)


# --- failure and time (workflows.md) ----------------------------------------------------------------------


def test_a_stage_that_says_nothing_is_tried_three_times_after_one_and_two_seconds_less_a_fifth() -> None:
    @stage
    def never(ctx: Context, order: Order) -> Note:
        raise ConnectionError("no")

    done = ended(Workflow("never", input=Order).then(never))
    failures = [event for events in done.log for event in events if isinstance(event, StageFailed)]

    assert [each.attempt for each in failures] == [1, 2, 3]
    assert Retry(3).policy().delay(1, 0.0) == 1_000
    assert Retry(3).policy().delay(2, 0.0) == 2_000
    assert Retry(3).policy().delay(2, 1.0) == 1_600


def test_the_delays_of_the_careful_charge() -> None:
    policy = Retry(5, first=timedelta(seconds=2), factor=3, cap=timedelta(minutes=10), jitter=0.5).policy()

    assert [policy.delay(failed, 0.0) for failed in (1, 2, 3, 4)] == [2_000, 6_000, 18_000, 54_000]
    assert policy.delay(1, 1.0) == 1_000


@stage(retry=Retry(1))
def broken(ctx: Context, note: Note) -> Note:
    raise PermanentError("broken")


UNDONE: list[str] = []


def undo(ctx: Context, note: Note) -> None:
    UNDONE.append(ctx.stage)


@stage(compensate=undo)
def undoable(ctx: Context, order: Order) -> Note:
    return Note()


@pytest.mark.parametrize(
    ("workflow", "compensation"),
    [
        (Workflow("w", input=Order).then(undoable).then(broken), "complete"),
        (Workflow("w", input=Order, on_failure="stop").then(undoable).then(broken), ""),
        (Workflow("w", input=Order).then(first).then(broken), ""),
    ],
)
def test_the_default_is_to_compensate_where_something_has_a_compensation(
    workflow: Workflow[Order, Note], compensation: str
) -> None:
    UNDONE.clear()

    done = ended(workflow)

    assert (done.status, done.view.compensation) == ("failed", compensation)
    assert len(UNDONE) == bool(compensation)


def test_stages_that_do_not_depend_on_a_failed_one_run_on_to_their_end() -> None:
    workflow = (
        Workflow("w", input=Order).then(first).together(broken, further).step(further.named("last"), after=further)
    )

    statuses = {each.stage: each.status for each in ended(workflow).view.stages}

    assert statuses == {"first": "completed", "broken": "failed", "further": "completed", "last": "completed"}


def test_a_parameter_must_allow_a_failure_that_the_run_survives() -> None:
    nice = Workflow("w", input=Order, on_failure="proceed").then(first)

    with pytest.raises(DefinitionError, match=r"\| Failed"):
        nice.then(further)

    @stage
    def either(ctx: Context, note: Note | Failed) -> Note:
        return Note()

    assert nice.then(either)


def test_a_check_that_throws_ten_times_in_a_row_fails_its_stage_which_is_not_tried_again() -> None:
    asked: list[str] = []

    def throws(ctx: Context, job: str) -> Note | Pending:
        asked.append(job)
        raise ConnectionError("no")

    @stage(check=throws, every=timedelta(seconds=1), limit=timedelta(days=1), retry=Retry(3))
    def wait(ctx: Context, order: Order) -> Note | Suspend[str]:
        return Suspend("job")

    done = ended(Workflow("w", input=Order).then(wait))

    assert len(asked) == 10
    assert done.view.error is not None
    assert (done.view.error.kind, done.view.error.attempt) == ("WaitLimitReached", 1)


def test_a_check_that_says_never_fails_its_stage_at_once() -> None:
    def says_never(ctx: Context, job: str) -> Note | Pending:
        raise PermanentError("never")

    @stage(check=says_never, every=timedelta(seconds=1), limit=timedelta(days=1))
    def wait(ctx: Context, order: Order) -> Note | Suspend[str]:
        return Suspend("job")

    done = ended(Workflow("w", input=Order).then(wait))

    assert "StageChecked wait" not in done.names()
    assert done.view.error is not None
    assert done.view.error.kind == PermanentError.__name__


@pytest.mark.parametrize(("retry", "attempts"), [(Retry(2), 2), (Retry(2, on=(ValueError,)), 1)], ids=["any", "named"])
def test_a_time_out_is_retried_unless_the_policy_names_others(retry: Retry, attempts: int) -> None:
    @stage(retry=retry)
    def slow(ctx: Context, order: Order) -> Note:
        raise StageTimedOut("as the alarm does")

    done = ended(Workflow("w", input=Order).then(slow))

    assert done.view.error is not None
    assert (done.view.error.category, done.view.error.attempt) == ("timeout", attempts)


def test_a_timeout_must_be_fifteen_seconds_shorter_than_the_function_s() -> None:
    from infra.compose import MARGIN  # noqa: PLC0415 - what the composition root leaves

    def deployed(seconds: float) -> None:
        @stage(timeout=timedelta(seconds=seconds))
        def long(ctx: Context, order: Order) -> Note:
            return Note()

        Registry(Workflow("w", input=Order).then(long)).check(timedelta(seconds=300), margin=MARGIN)

    deployed(284.9)
    with pytest.raises(DefinitionError, match="285 s"):
        deployed(285)


def test_what_a_skipped_stage_gave_is_not_there_to_be_asked_for() -> None:
    @stage(retry=Retry(1))
    def asks(ctx: Context, note: Note | None) -> Note:
        return ctx.output(first)

    done = ended(Workflow("w", input=Order).then_if(lambda order: order.size > 0, first).then(asks))

    assert done.view.error is not None
    assert done.view.error.kind == NotUpstream.__name__


# --- retry, rerun, retention (operations.md) --------------------------------------------------------------


def failing() -> Workflow[Order, Note]:
    return Workflow("w", input=Order, deadline=timedelta(days=2)).then(first).then(broken)


def test_a_run_can_be_retried_until_two_hours_before_its_retention_is_over() -> None:
    play = Play(failing())
    run = play.run(failing(), Order()).ref
    expires = play.ended(run).view.deadline + play.env.limits.retention

    play.clock.move(expires - 2 * 3_600_000 - play.clock.now())
    play.retry(run)
    play.play([run])
    play.clock.move(1_000)

    with pytest.raises(Conflict, match="expires"):
        play.retry(run)
    assert play.ended(run).view.generation == 1


def test_an_effect_s_key_changes_only_when_what_was_completed_is_run_anew() -> None:
    keys: list[str] = []

    def forget(ctx: Context, note: Note) -> None:
        keys.append(ctx.key)

    @stage(compensate=forget)
    def effect(ctx: Context, order: Order) -> Note:
        keys.append(ctx.key)
        return Note()

    @stage(retry=Retry(2))
    def late(ctx: Context, note: Note) -> Note:
        keys.append(ctx.key)
        raise ConnectionError("no")

    workflow = Workflow("w", input=Order).then(effect).then(late)
    play = Play(workflow)
    run = play.run(workflow, Order()).ref
    play.retry(run)
    play.play([run])

    first = ["effect", "late", "late", "compensate:effect"]
    again = ["effect/1", "late", "late", "compensate:effect/1"]
    assert keys == [f"{run.run}/{name}" for name in first + again]


def test_a_run_past_its_deadline_is_failed_and_not_compensated() -> None:
    UNDONE.clear()

    @stage(retry=Retry(100, first=timedelta(minutes=10), factor=1, cap=timedelta(minutes=10)))
    def never(ctx: Context, note: Note) -> Note:
        raise ConnectionError("no")

    done = ended(Workflow("w", input=Order, deadline=timedelta(minutes=30)).then(undoable).then(never))

    assert done.view.error is not None
    assert (done.status, done.view.error.category, UNDONE) == ("failed", "deadline", [])


def test_a_stage_that_runs_while_its_run_is_cancelled_is_not_compensated() -> None:
    UNDONE.clear()
    played: list[Play] = []

    @stage(compensate=undo)
    def working(ctx: Context, note: Note) -> Note:
        played[0].cancel(run)
        return note

    workflow = Workflow("w", input=Order, on_cancel="compensate").then(undoable).then(working)
    played.append(Play(workflow))
    run = played[0].start(workflow, Order())
    played[0].play([run])

    assert (played[0].ended(run).status, UNDONE) == ("cancelled", ["compensate:undoable"])


# --- fingerprints (workflows.md) --------------------------------------------------------------------------


class Colour(StrEnum):
    """Has values."""

    RED = "red"


def fingerprint(stage_options: dict[str, Any] | None = None, /, **options: Any) -> str:
    """Of a workflow whose stage takes and gives a model; ``fields`` are the model's, by name."""
    fields = {"x": (int, ...)} | options.pop("fields", {})
    model = create_model("Model", **{name: each for name, each in fields.items() if each is not None})

    def body(ctx: Context, given: Any) -> Any:
        return given

    body.__annotations__ = {"ctx": Context, "given": model, "return": model}
    made = stage(**stage_options or {})(body)
    return Workflow("w", input=model, **options).then(made).definition.fingerprint


def test_a_change_of_a_model_changes_the_fingerprint() -> None:
    changes: list[dict[str, Any]] = [
        {"x": (str, ...)},
        {"x": None, "y": (int, ...)},
        {"y": (int, ...)},
        {"y": (int, 0)},
        {"x": (int, 0)},
        {"x": (Colour, ...)},
    ]
    made = {fingerprint(fields=change) for change in changes}

    assert len(made | {fingerprint()}) == len(changes) + 1


def test_a_change_of_validation_or_policy_does_not() -> None:
    made = {
        fingerprint(),
        fingerprint(fields={"x": (int, Field(gt=0, description="positive"))}),
        fingerprint(fields={"x": (int, Field(alias="ex"))}),
        fingerprint(deadline=timedelta(days=1), chain=False, on_failure="stop", on_cancel="compensate"),
        fingerprint({"retry": Retry(7), "timeout": timedelta(seconds=7), "on_failure": "compensate"}),
        fingerprint(presets={"p": {}}, version=2),
    }

    assert len(made) == 1
    assert fingerprint(fields={"x": (int, 1)}) == fingerprint(fields={"x": (int, 2)})


def test_a_change_of_the_graph_changes_the_fingerprint() -> None:
    begun = Workflow("w", input=Order).then(first)
    other = further.named("other")
    shapes = (
        begun,
        begun.then(further),
        begun.then(other),
        begun.then(further).then(other),
        begun.then(other).then(further),
        begun.together(further, other),
        begun.together(other, further),
        begun.together(further, other).output(further),
        Workflow("w", input=Order).then(undoable),
    )

    assert len({each.definition.fingerprint for each in shapes}) == len(shapes)


def test_every_page_is_there() -> None:
    assert {page.stem for page in DOCS.glob("*.md")} >= {"architecture", "workflows", "operations", "dependencies"}


def test_the_simulator_gives_a_run_four_days_and_its_deadlines_time_to_be_over() -> None:
    from kernel.testing.simulator.history import PATIENCE  # noqa: PLC0415 - what the page says of it

    week = Workflow("week", input=Order, deadline=timedelta(days=9)).then(first).sleep(timedelta(days=7)).then(further)

    assert 4 * 24 * 60 * MINUTE == PATIENCE
    simulate((week, Order()), histories=20)


def test_nothing_of_a_sink_that_refuses_is_lost() -> None:
    play = Play(chain(1))
    play.sink.refuse = lambda _event: "not now"
    run = play.start(chain(1), Order())
    began = play.clock.now()
    play.play([run])

    letters = letters_of(play, run)

    assert [letter.seq for letter in letters] == [0, 2]
    assert 15 * MINUTE < play.clock.now() - began < 60 * MINUTE
    play.sink.refuse = lambda _event: None
    flushed = outbox.replay_dead_letters(play.env, run)
    assert flushed is not None
    assert flushed.clean
    assert [event.type for event in play.sink.events] == ["RunCreated", "RunCompleted"]


@pytest.mark.parametrize(
    ("page", "titles"),
    [
        ("workflows.md", {"order"}),
        ("waiting.md", {"trial", "shipment"}),
        ("machines.md", {"ticket", "approval", "subscription"}),
    ],
)
def test_the_pages_diagrams_are_drawn_from_their_definitions(page: str, titles: set[str], tmp_path: Path) -> None:
    drawn = {workflow.id: workflow.diagram() for workflow in registry}
    for name, code in files(DOCS / page).items():
        if not name.startswith("test_"):
            (tmp_path / name).write_text(code)
            found = runpy.run_path(str(tmp_path / name)).items()
            drawn |= {variable: value.diagram() for variable, value in found if isinstance(value, Startable)}

    shown = {title[1]: text for text in fences(DOCS / page, "mermaid") if (title := TITLE.match(text))}

    assert shown == {title: drawn[title] for title in titles}
