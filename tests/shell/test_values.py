"""Where values are kept (S3): in their event, beside the log, or in the blob store; checked, and never truncated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.core.events import StageCompleted, StageSuspended, Value
from kernel.core.state import StageStatus
from kernel.errors import CorruptLog, InvalidInput
from kernel.ports import DATA, Data, RunRef
from kernel.shell.environment import DAY, Limits
from kernel.shell.values import fetch
from kernel.testing.faults import Call, Fault
from kernel.testing.play import Play
from kernel.testing.units import size_of
from onewrite import Context, Retry, Workflow
from tests.shell.script import (
    Note,
    Script,
    calls,
    commits_of,
    events,
    fork,
    gives,
    head_of,
    items_of,
    keys_of,
    line,
    on_condition,
    once,
    session_of,
    state_of,
)

INLINE, KEPT, LARGEST = 560, 2_000, 5_000
LIMITS = Limits(inline=INLINE, data=KEPT, payload=LARGEST)
OVERHEAD = len('{"text":""}')


def of(size: int) -> Note:
    """A value whose JSON text has that many bytes."""
    return Note(text="x" * (size - OVERHEAD))


def passed_on(script: Script, size: int) -> tuple[Play, RunRef]:
    """A run in which one stage hands a value of that size to the next."""
    play = Play(flow := line(script.stage("a", gives(of(size))), script.stage("b")), limits=LIMITS)
    ref = play.run(flow, Note()).ref
    return play, ref


def value_of(play: Play, ref: RunRef, stage: str = "a") -> Value:
    """Where a stage's output is."""
    (value,) = (each.output for each in events(play, ref, StageCompleted) if each.stage == stage)
    assert isinstance(value, Value)
    return value


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [OVERHEAD, INLINE, INLINE + 1, KEPT, KEPT + 1, LARGEST])
def test_a_value_of_any_size_arrives_as_it_was_given(script: Script, size: int) -> None:
    play, ref = passed_on(script, size)
    assert script.seen["b"] == of(size)
    assert play.ended(ref).status == "completed"


@pytest.mark.parametrize(
    ("size", "where"), [(INLINE, "event"), (INLINE + 1, "data"), (KEPT, "data"), (KEPT + 1, "blob")]
)
def test_a_value_is_kept_where_its_size_belongs(script: Script, size: int, where: str) -> None:
    play, ref = passed_on(script, size)
    value = value_of(play, ref)
    kept = {"data": len(keys_of(play, ref, DATA)), "blob": len(play.blobs.objects)}
    assert kept == {"data": int(where == "data"), "blob": int(where == "blob")}
    assert (bool(value.data), bool(value.blob), value.size) == (
        where == "data",
        where == "blob",
        size * (where != "event"),
    )


@pytest.mark.parametrize(
    ("deadline", "shelf"),
    [(8, "40-days"), (9, "80-days"), (360, "400-days"), (7_360, "7400-days"), (7_369, "always")],
)
def test_a_blob_is_kept_for_as_long_as_its_run_may_need_it(script: Script, deadline: int, shelf: str) -> None:
    """Days: the run's deadline, a retention of thirty, a day and an hour to spare."""
    limits = replace(LIMITS, deadline=deadline * DAY, retention=30 * DAY)
    play = Play(flow := line(script.stage("a", gives(of(KEPT + 1))), script.stage("b")), limits=limits)
    ref = play.run(flow, Note()).ref
    assert value_of(play, ref).blob.startswith(f"{shelf}/{ref.tenant}/{ref.run}/")


def test_a_blob_that_is_written_late_is_kept_for_what_is_left(script: Script) -> None:
    limits = replace(LIMITS, deadline=60 * DAY, retention=30 * DAY)
    first, late = script.stage("a", gives(of(KEPT + 1))), script.stage("b", gives(of(KEPT + 2)))
    play = Play(flow := Workflow("f", input=Note).then(first).sleep(timedelta(days=55)).then(late), limits=limits)
    ref = play.run(flow, Note()).ref
    shelves = [value_of(play, ref, stage).blob.partition("/")[0] for stage in ("a", "b")]
    assert shelves == ["160-days", "40-days"]


def test_the_state_holds_where_outputs_are_and_not_the_outputs(script: Script) -> None:
    """bratsos/workflow-engine: every stage reloads all earlier outputs; AlgaPSA: snapshots grow with them."""
    play, ref = passed_on(script, INLINE)
    assert "x" * 20 not in repr(state_of(play, ref))


def test_an_output_in_its_event_leaves_the_commit_within_a_kilobyte(script: Script) -> None:
    play, ref = passed_on(script, INLINE)
    assert max(size_of(ref, commit) for commit in commits_of(play, ref)) <= 1_024


@pytest.mark.parametrize("size", [INLINE, INLINE + 1, KEPT + 1])
def test_an_input_of_any_size_is_kept_beside_a_small_head(script: Script, size: int) -> None:
    play = Play(flow := line(script.stage("a")), limits=LIMITS)
    ref = play.run(flow, of(size)).ref
    assert script.seen["a"] == of(size)
    assert size_of(ref, head_of(play, ref)) <= 1_024


@pytest.mark.parametrize("size", [INLINE, INLINE + 1, KEPT + 1])
def test_a_stage_may_look_at_any_upstream_output_and_the_input(script: Script, size: int) -> None:
    seen: list[Note] = []

    def look(ctx: Context) -> None:
        seen.extend((ctx.run_input(Note), ctx.output(first)))

    first = script.stage("a", gives(of(size)))
    play = Play(flow := line(first, script.stage("b"), script.stage("c", look)), limits=LIMITS)
    play.run(flow, of(size + 1))
    assert seen == [of(size + 1), of(size)]


def test_a_large_state_of_a_suspended_stage_is_kept_beside_the_log(script: Script) -> None:
    play = Play(flow := line(script.job("a")), limits=replace(LIMITS, inline=5))
    ended = play.run(flow, Note())
    assert ended.status == "completed"
    (suspended,) = events(play, ended.ref, StageSuspended)
    assert suspended.state.data


def test_conditions_see_large_outputs(script: Script) -> None:
    before = line(script.stage("a", gives(of(KEPT + 1))))
    flow = on_condition(before, lambda note: len(note.text) > KEPT - OVERHEAD, script.stage("b"))
    play = Play(flow, limits=LIMITS)
    play.run(flow, Note())
    assert script.calls == ["a", "b"]


def test_an_output_is_not_fetched_by_the_worker_that_has_just_given_it(script: Script) -> None:
    play = Play(flow := line(script.stage("a", gives(of(KEPT))), script.stage("b"), script.stage("c")), limits=LIMITS)
    play.start(flow, Note())
    play.step()
    assert script.calls == ["a", "b", "c"]
    assert calls(play, "get") == 0


def test_text_is_measured_in_bytes(script: Script) -> None:
    play = Play(flow := line(script.stage("a", gives(Note(text="ü" * 300)))), limits=LIMITS)
    assert value_of(play, play.run(flow, Note()).ref).size == 600 + OVERHEAD


# --- too large --------------------------------------------------------------------------------------------------------


def test_an_output_that_is_too_large_is_refused_as_one_and_not_tried_again(script: Script) -> None:
    """AlgaPSA: a large value is replaced by {truncated}. Step Functions: the run fails uncatchably."""
    play = Play(flow := line(script.stage("a", gives(of(LARGEST + 1))), script.stage("b")), limits=LIMITS)
    ended = play.run(flow, Note())
    assert script.calls == ["a"]
    assert ended.view.error is not None
    assert ended.view.error.category == "output"
    assert "too large: at most 5000" in ended.view.error.message
    assert not play.blobs.objects


def test_a_stage_whose_output_is_too_large_may_fail_and_the_run_proceed(script: Script) -> None:
    flow = line(script.stage("a", gives(of(LARGEST + 1)), on_failure="proceed")).then(script.after_failure("b"))
    ended = Play(flow, limits=LIMITS).run(flow, Note())
    assert (ended.status, script.seen["b"].category) == ("completed", "output")


def test_an_input_that_is_too_large_is_refused(script: Script) -> None:
    play = Play(flow := line(script.stage("a")), limits=LIMITS)
    with pytest.raises(InvalidInput, match="too large"):
        play.start(flow, of(LARGEST + 1))


# --- damage -----------------------------------------------------------------------------------------------------------


def damaged(play: Play, ref: RunRef, value: Value, change: Callable[[bytes], bytes | None]) -> None:
    """Let something happen to what was written."""
    if value.blob:
        body = change(play.blobs.objects.pop(value.blob))
        if body is not None:
            play.blobs.objects[value.blob] = body
        return
    (item,) = (item for item in items_of(play, ref) if isinstance(item, Data))
    body = change(item.body)
    play.store.delete(ref, item.key)
    if body is not None:
        play.store.put(ref, replace(item, body=body))


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _body: None,
    "another letter": lambda body: body.replace(b"x", b"y", 1),
    "cut": lambda body: body[:-1],
    "longer": lambda body: body + b" ",
    "empty": lambda _body: b"",
}


@pytest.mark.parametrize("size", [KEPT, KEPT + 1], ids=["data", "blob"])
@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_value_that_is_not_what_was_written_is_noticed(
    script: Script, size: int, change: Callable[[bytes], bytes | None]
) -> None:
    play, ref = passed_on(script, size)
    value = value_of(play, ref)
    assert fetch(play.env, ref, value)
    damaged(play, ref, value, change)
    with pytest.raises(CorruptLog, match=f"run {ref.run}: the value at"):
        session_of(play, ref).value(play.env, "a")


def test_a_stage_whose_input_was_read_damaged_once_is_tried_again(script: Script) -> None:
    second = script.stage("b", retry=Retry(3, on=(OSError,)))  # it says nothing of what is ours to retry
    play = Play(flow := line(script.stage("a", gives(of(KEPT))), second, chain=False), limits=LIMITS)
    ref = play.start(flow, Note())
    play.step()
    value = value_of(play, ref)
    (item,) = [item for item in items_of(play, ref) if item.key == value.data]
    damaged(play, ref, value, lambda body: body[:-1])
    play.step()
    assert state_of(play, ref).stages["b"].status is StageStatus.RETRYING
    play.store.put(ref, item)
    play.play([ref])
    assert play.ended(ref).status == "completed"


def blips(play: Play, seconds: float, when: Callable[[Call], bool]) -> None:
    """From the next such call on it cannot be made for so long."""
    ends: list[float] = []

    def choose(call: Call) -> Fault | None:
        if not when(call):
            return None
        if not ends:
            ends.append(play.clock.monotonic() + seconds)
        return Fault.UNAVAILABLE if play.clock.monotonic() < ends[0] else None

    play.faults.choose = choose


def test_a_body_that_is_done_is_not_thrown_away_as_long_as_there_is_time_to_keep_what_it_gave(script: Script) -> None:
    """An at-most-once stage would fail for good, though its body did all that it had to do."""
    play = Play(flow := line(script.stage("a", gives(of(KEPT)), at_most_once=True)), limits=LIMITS)
    blips(play, 60, lambda call: call.method == "put" and isinstance(call.arguments[1], Data))
    assert play.run(flow, Note()).status == "completed"
    assert script.calls == ["a"]


def test_a_body_waits_for_its_input_as_long_as_its_lease_allows(script: Script) -> None:
    """A short outage of reads is no attempt's fault."""
    play = Play(
        flow := line(script.stage("a", gives(of(KEPT))), script.stage("b", at_most_once=True), chain=False),
        limits=LIMITS,
    )
    ref = play.start(flow, Note())
    play.step()
    blips(play, 30, lambda call: call.method == "get")
    play.play([ref])
    assert (play.ended(ref).status, script.calls) == ("completed", ["a", "b"])


def test_a_result_waits_for_what_a_condition_behind_it_has_to_read(script: Script) -> None:
    def begin(_ctx: Context) -> None:
        blips(play, 60, lambda call: call.method == "get")

    first, second = script.stage("a", gives(of(KEPT))), script.stage("b", begin, at_most_once=True)
    both: Any = fork(script.stage("r"), first, second, chain=False)
    flow = both.then_if(lambda _one, _two: True, script.join("c"))
    play = Play(flow, limits=LIMITS)
    ref = play.start(flow, Note())
    play.step()
    play.attend(ref, "a")
    play.play([ref])
    assert play.ended(ref).status == "completed"
    assert script.calls == ["r", "a", "b", "c"]


def test_a_condition_whose_value_cannot_be_read_fails_its_own_stage_and_nobody_elses(script: Script) -> None:
    both: Any = fork(script.stage("r"), script.stage("a", gives(of(KEPT))), script.stage("b"), chain=False)
    flow = both.then_if(lambda _one, _two: True, script.join("c"))
    play = Play(flow, limits=LIMITS)
    ref = play.start(flow, Note())
    play.step()
    play.attend(ref, "a")
    assert script.calls == ["r", "a"]
    damaged(play, ref, value_of(play, ref), lambda body: body[:-1])
    play.play([ref])
    state = state_of(play, ref)
    assert (state.stages["b"].status, state.stages["b"].attempt) == (StageStatus.COMPLETED, 1)
    error = state.stages["c"].error
    assert error is not None
    assert (error.category, error.kind) == ("condition", "CorruptLog")


def test_the_same_value_written_twice_is_one_item(script: Script) -> None:
    play = Play(flow := fork(script.stage("a"), script.stage("b"), script.stage("c")), limits=LIMITS)
    ref = play.start(flow, of(KEPT))
    once(play, lambda call: call.method == "put" and isinstance(call.arguments[1], Data), Fault.LOST_REPLY)
    play.play([ref])
    assert len(keys_of(play, ref, DATA)) == 1


# --- trouble while keeping --------------------------------------------------------------------------------------------


def keeps(call: Call) -> bool:
    """Whether this keeps a value beside the log."""
    return call.method == "put" and (call.port == "blobs" or isinstance(call.arguments[1], Data))


def fetches(call: Call) -> bool:
    """Whether this fetches one."""
    return call.method == "get" and (call.port == "blobs" or str(call.arguments[1]).startswith(DATA))


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.LOST_REPLY], ids=["unavailable", "lost reply"])
@pytest.mark.parametrize("size", [KEPT, KEPT + 1], ids=["data", "blob"])
@pytest.mark.parametrize("when", [keeps, fetches], ids=["keeping", "fetching"])
def test_a_passing_failure_of_the_store_costs_no_attempt(
    script: Script, when: Callable[[Call], bool], size: int, fault: Fault
) -> None:
    """What the body did is not done again because its output could not be kept at once; the call is repeated."""
    flow = line(
        script.stage("a", gives(of(size)), retry=Retry(1)),
        script.stage("b", retry=Retry(1), at_most_once=True),
        chain=False,
    )
    play = Play(flow, limits=LIMITS)
    ref = play.start(flow, Note())
    once(play, when, fault)
    play.play([ref])
    assert script.calls == ["a", "b"]
    assert play.ended(ref).status == "completed"
