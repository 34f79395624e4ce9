"""Versions (P9): a run stays with what it is pinned to; where that is missing it parks, and runs on no other code."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import BaseModel

from kernel.core.events import RunFailed
from kernel.errors import NotFound
from kernel.ports import Guard, RunRef
from kernel.shell import read
from kernel.shell.attend import Outcome
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from onewrite import Context, Registry, Workflow, stage
from tests.shell.script import (
    MINUTE,
    Flow,
    Note,
    Script,
    commits_of,
    events,
    head_of,
    is_under,
    line,
    on_condition,
    once,
    pending,
    state_of,
    work,
)


def deploy(play: Play, *flows: Any) -> None:
    """Replace what is deployed; the table stays."""
    play.env = replace(play.env, definitions=Registry(*flows))


def parked(script: Script, **options: Any) -> tuple[Play, RunRef, Flow]:
    """A run whose workflow was taken away before any worker came."""
    play = Play(flow := line(script.stage("a"), script.stage("b"), **options))
    ref = play.start(flow, Note())
    deploy(play)
    work(play)
    return play, ref, flow


def listed(play: Play, status: str) -> list[RunRef]:
    """Runs that are listed with that status."""
    return [entry.ref for entry in read.list_runs(play.env, "test", ["flow"], statuses=[status])]


# --- side by side -----------------------------------------------------------------------------------------------------


def test_several_versions_run_side_by_side(script: Script) -> None:
    one, two = line(script.stage("a"), version=1), line(script.stage("b"), version=2)
    play = Play(one, two)
    first, second = play.start(one, Note()), play.start(two, Note())
    play.play([first, second])
    assert [each.view.version for each in (play.ended(first), play.ended(second))] == [1, 2]
    assert script.calls == ["a", "b"]


def test_a_run_goes_on_with_its_own_version_when_a_newer_one_is_deployed_too(script: Script) -> None:
    old, new = line(script.stage("a"), script.stage("b"), chain=False), line(script.stage("c"), version=2)
    play = Play(old)
    ref = play.start(old, Note())
    play.step()
    deploy(play, old, new)
    play.play([ref])
    assert script.calls == ["a", "b"]


# --- parking ----------------------------------------------------------------------------------------------------------


def test_a_run_whose_version_is_missing_parks(script: Script) -> None:
    play, ref, _ = parked(script)
    assert script.calls == []
    assert (head_of(play, ref).status, read.show(play.env, ref).status) == ("parked", "parked")
    assert (listed(play, "parked"), listed(play, "open")) == ([ref], [])


def test_parking_leaves_no_trace_in_the_log_and_the_run_near_in_the_index(script: Script) -> None:
    play, ref, _ = parked(script)
    assert commits_of(play, ref) == []
    due = head_of(play, ref).due
    assert due is not None
    assert due <= play.clock.now() + play.env.limits.look_grace


def test_a_poke_for_a_parked_run_is_done_with(script: Script) -> None:
    play, ref, _ = parked(script)
    used = play.meter.of(ref).writes
    assert play.attend(ref).outcome is Outcome.PARKED
    assert not play.queue.waiting
    assert play.meter.of(ref).writes == used, "it is parked once"


def test_a_parked_run_is_offered_to_workers_at_each_look(script: Script) -> None:
    play, ref, _ = parked(script)
    for _ in range(3):
        play.clock.move(play.env.limits.look_grace)
        counts = play.tick()
        assert counts.parked == 1
        assert [each.run for each in play.queue.waiting] == [ref.run]
        work(play)


def test_a_parked_run_is_taken_up_by_any_deployment_that_has_it(script: Script) -> None:
    play, ref, flow = parked(script)
    deploy(play, flow)
    play.clock.move(play.env.limits.look_grace)
    play.tick()
    work(play)
    assert script.calls == ["a", "b"]
    assert play.ended(ref).status == "completed"
    assert (listed(play, "parked"), listed(play, "completed")) == ([], [ref])


def test_a_run_that_was_taken_up_is_open_again(script: Script) -> None:
    play = Play(flow := line(script.job("a", pending(9))))
    ref = play.start(flow, Note())
    deploy(play)
    work(play)
    deploy(play, flow)
    play.attend(ref)
    assert (listed(play, "parked"), listed(play, "open")) == ([], [ref])
    assert read.show(play.env, ref).status == "running"


def test_a_finished_run_is_finalised_by_any_deployment(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    once(play, lambda call: is_under(call, Guard.FINALISE_IS_LATEST), Fault.CRASH_BEFORE)
    with suppress(Crash):
        play.step()
    deploy(play)
    play.attend(ref)
    assert (head_of(play, ref).status, head_of(play, ref).due) == ("completed", None)


def test_a_run_parks_in_the_middle_and_goes_on_where_it_was(script: Script) -> None:
    flow = line(script.stage("a"), script.stage("b"), chain=False)
    play = Play(flow)
    ref = play.start(flow, Note())
    play.step()
    deploy(play)
    work(play)
    assert head_of(play, ref).status == "parked"
    deploy(play, flow)
    play.play([ref])
    assert script.calls == ["a", "b"]


def test_a_deployment_that_has_it_takes_a_run_up_while_another_parks_it(script: Script) -> None:
    play, ref, flow = parked(script)
    deploy(play, flow)
    play.attend(ref)
    deploy(play)
    play.attend(ref)
    assert head_of(play, ref).status == "completed", "a finished run is never shown as parked"


@pytest.mark.parametrize("asleep", [False, True])
def test_a_parked_run_past_its_deadline_fails_and_not_before(script: Script, asleep: bool) -> None:
    flow = line(script.job("a", pending(99), every=timedelta(hours=1)), deadline=timedelta(hours=3))
    play = Play(flow)
    ref = play.start(flow, Note())
    deadline = play.clock.now() + 180 * MINUTE
    if asleep:
        work(play)
        assert state_of(play, ref).asleep
    deploy(play)
    while play.clock.now() < deadline:
        assert not state_of(play, ref).status.finished
        play.clock.move(MINUTE)
        play.tick()
        work(play)
    play.play([ref], days=1)
    (failed,) = events(play, ref, RunFailed)
    assert failed.error.category == "deadline"
    assert (head_of(play, ref).status, head_of(play, ref).due) == ("failed", None)


def test_a_parked_run_can_be_cancelled(script: Script) -> None:
    play, ref, _ = parked(script)
    play.cancel(ref, "nobody has it any more")
    assert (head_of(play, ref).status, head_of(play, ref).due) == ("cancelled", None)


# --- what counts as the same ------------------------------------------------------------------------------------------


class Wider(BaseModel):
    """Another model."""

    text: str = ""
    more: int = 0


def changed(script: Script) -> dict[str, Any]:
    """The workflow of ``a`` and ``b``, changed in its structure or models."""

    @stage
    def b(ctx: Context, note: Note) -> Wider:
        return Wider()

    return {
        "a stage more": line(script.stage("a"), script.stage("b"), script.stage("c")),
        "another name": line(script.stage("a"), script.stage("z")),
        "another model": Workflow("flow", input=Note).then(script.stage("a")).then(b),
        "another input": Workflow("flow", input=Wider).then(stage(takes_wider).named("a")).then(script.stage("b")),
        "a condition": on_condition(line(script.stage("a")), lambda _note: True, script.stage("b")),
        "a compensation": line(script.stage("a", compensate=script.undo()), script.stage("b")),
    }


def takes_wider(ctx: Context, note: Wider) -> Note:
    return Note()


CHANGES = ("a stage more", "another name", "another model", "another input", "a condition", "a compensation")


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_is_never_run_on_a_workflow_of_another_shape(script: Script, change: str) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())
    deploy(play, changed(script)[change])
    work(play)
    assert script.calls == []
    assert head_of(play, ref).status == "parked"


SAME: dict[str, dict[str, Any]] = {
    "other policies": {"timeout": timedelta(seconds=7), "on_failure": "stop"},
    "nothing": {},
}


@pytest.mark.parametrize("options", SAME.values(), ids=SAME.keys())
def test_a_bug_fix_does_not_park(script: Script, options: dict[str, Any]) -> None:
    """Structure and models count, never bodies."""
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())
    fixed = line(script.stage("a", lambda _ctx: Note(text="fixed"), **options), script.stage("b"), chain=False)
    deploy(play, fixed)
    play.play([ref])
    assert script.seen["b"] == Note(text="fixed")


def test_a_missing_version_is_a_clear_error_where_somebody_names_it(script: Script) -> None:
    registry = Registry(line(script.stage("a"), version=1), line(script.stage("b"), version=3))
    assert registry.latest("flow").version == 3
    with pytest.raises(NotFound, match="has no version 2 here; it has 1, 3"):
        registry.get("flow", 2)
