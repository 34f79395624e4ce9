"""Diagrams (P10): a workflow as it is defined, and a run with how far it has come, as Mermaid flowcharts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from kernel.define.diagram import flowchart
from kernel.shell import read
from kernel.testing.play import Play
from onewrite import Context, Pending, PermanentError, Retry, Suspend, Workflow, stage


class Order(BaseModel):
    id: str = ""


class Job(BaseModel):
    id: str = ""


def refund(ctx: Context, receipt: str) -> None: ...


@stage(compensate=refund, retry=Retry(2, first=timedelta(0)))
def charge(ctx: Context, order: Order) -> str:
    if order.id == "once" and ctx.attempt == 1:
        raise ValueError("not yet")
    return "R"


@stage
def pack(ctx: Context, receipt: str) -> int:
    return 1


def printed(ctx: Context, job: Job) -> str | Pending:
    return Pending(progress=0.4) if job.id == "slow" else "label"


@stage(check=printed, every=timedelta(minutes=1), limit=timedelta(hours=36))
def label(ctx: Context, receipt: str) -> str | Suspend[Job]:
    return Suspend(Job(id="slow" if ctx.run_input(Order).id == "slow" else ""))


@stage(at_most_once=True)
def ship(ctx: Context, boxes: int, label: str) -> list[str]:
    if ctx.run_input(Order).id == "lost":
        raise PermanentError("lost")
    return [label]


def is_urgent(parcels: list[str]) -> bool:
    return False


@stage
def call(ctx: Context, parcels: list[str]) -> str:
    return "called"


order = Workflow("order", input=Order).then(charge).together(pack, label).then(ship).then_if(is_urgent, call)

DRAWN = """\
---
title: "order, version 1"
---
flowchart TD
    input(["Order"])
    s1["charge"]
    input --> s1
    s1u["refund"]
    s1 -. undone by .-> s1u
    s2["pack"]
    s1 --> s2
    s3["label<br/>checked every 1 min<br/>for 36 h at most"]
    s1 --> s3
    s4["ship<br/>at most once"]
    s2 --> s4
    s3 --> s4
    s5["call"]
    s4 -->|"if is_urgent"| s5
    result(["str | None"])
    s5 --> result
"""


def drawn(id_: str) -> str:
    """The diagram of a run as it ends."""
    play = Play(order)
    ref = play.start(order, Order(id=id_))
    play.play([ref])
    return order.diagram(read.show(play.env, ref))


def node(text: str, name: str) -> str:
    """The line of a node."""
    (line,) = (line.strip() for line in text.splitlines() if line.strip().startswith(f"{name}["))
    return line


def test_a_workflow_is_drawn_with_what_is_special_about_its_stages() -> None:
    assert order.diagram() == DRAWN


def test_a_run_is_drawn_with_how_each_stage_stands() -> None:
    text = drawn("once")
    assert ": completed" in text.splitlines()[1]
    assert node(text, "s1") == 's1["charge<br/>completed, attempt 2"]:::completed'
    assert node(text, "s5") == 's5["call<br/>skipped"]:::skipped'
    assert node(text, "s1u") == 's1u["refund"]', "nothing had to be undone"
    assert "classDef completed" in text
    assert "classDef failed" not in text, "only the styles that are used"


def test_a_run_that_was_undone_is_drawn_with_what_undid_it() -> None:
    text = drawn("lost")
    assert node(text, "s4") == 's4["ship<br/>at most once<br/>failed"]:::failed'
    assert node(text, "s1u") == 's1u["refund<br/>completed"]:::completed'
    assert node(text, "s5") == 's5["call"]', "it never began"


def test_a_run_that_waits_is_drawn_with_the_progress_that_was_reported() -> None:
    play = Play(order)
    ref = play.start(order, Order(id="slow"))
    for _ in range(2):
        while play.step():
            pass
        play.clock.move(90_000)
    line = node(order.diagram(read.show(play.env, ref)), "s3")
    assert line == 's3["label<br/>checked every 1 min<br/>for 36 h at most<br/>suspended, 40%"]:::suspended'


def test_conditions_and_types_are_drawn_by_names_that_mean_nothing_to_mermaid() -> None:
    either = Workflow("either", input=Order).then(charge).then_if(lambda receipt: receipt > "", pack)
    assert 's1 -->|"on a condition"| s2' in either.diagram()
    several = Workflow("several", input=Order).then(charge).together(pack, label)
    assert 'result(["int, str"])' in several.diagram()


def test_what_mermaid_would_read_as_its_own_is_told_in_its_entities() -> None:
    title = flowchart(order._plan, 'a "<b>" #c').splitlines()[1]
    assert title == 'title: "a #quot;#lt;b#gt;#quot; #35;c"'


def test_the_same_stage_twice_is_two_nodes() -> None:
    twice = Workflow("twice", input=Order).then(charge).then(pack)
    again = twice.step(pack.named("pack-2"), after=charge)
    assert [line for line in again.diagram().splitlines() if "[" in line][3:5] == ['    s2["pack"]', '    s3["pack-2"]']


def due(receipt: str) -> datetime:
    return datetime(2030, 1, 1, tzinfo=UTC)


def test_timers_stand_between_what_they_hold_apart() -> None:
    flow = Workflow("slow", input=Order).then(charge).sleep(timedelta(days=3)).then(pack)
    later = flow.output(charge).sleep_until(datetime(2030, 1, 1, tzinfo=UTC)).sleep_until(due)
    assert later.diagram().splitlines()[4:] == [
        '    input(["Order"])',
        '    s1["charge"]',
        "    input --> s1",
        '    s1u["refund"]',
        "    s1 -. undone by .-> s1u",
        '    s2{{"sleep 3 d"}}',
        "    s1 --> s2",
        '    s3["pack"]',
        "    s2 --> s3",
        '    s4{{"sleep until 2030-01-01 00:00:00+00:00"}}',
        "    s1 --> s4",
        '    s5{{"sleep until due"}}',
        "    s4 --> s5",
        '    result(["str"])',
        "    s5 --> result",
    ]


def test_a_run_that_waits_shows_where() -> None:
    flow = Workflow("slow", input=Order).then(charge).sleep(timedelta(days=3)).then(pack)
    play = Play(flow)
    run = play.start(flow, Order())
    while play.step():
        pass
    assert '    s2{{"sleep 3 d<br/>sleeping"}}:::sleeping' in flow.diagram(play.look(run)).splitlines()
