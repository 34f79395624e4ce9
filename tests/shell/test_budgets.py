"""Budgets (DESIGN 12), by the meter: inputs of 512 bytes and outputs of 256, items under 1 KB."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from kernel.core.events import StageChecked
from kernel.ports import Guard, RunRef
from kernel.shell.environment import Limits
from kernel.shell.start import start
from kernel.testing.play import Play
from kernel.testing.units import Usage, size_of
from onewrite import Context
from tests.shell.script import (
    HOUR,
    MINUTE,
    SECOND,
    Act,
    Flow,
    Note,
    Script,
    commits_of,
    events,
    fork,
    gives,
    head_of,
    is_commit_of,
    line,
    once_before,
    pending,
    state_of,
    work,
)

INPUT, OUTPUT = Note(text="x" * 500), Note(text="y" * 244)
assert (len(INPUT.model_dump_json()), len(OUTPUT.model_dump_json())) == (511, 255)


def sequence(count: int, act: Act | None = None, *, chain: bool = True) -> Flow:
    """That many stages in a row, one of which has a name of eleven characters."""
    script = Script()
    return line(*(script.stage(f"stage-{number:05d}", act or gives(OUTPUT)) for number in range(count)), chain=chain)


def used(flow: Flow, limits: Limits | None = None) -> Usage:
    """What a run from its start to its end uses."""
    play = Play(flow, limits=limits)
    ref = play.start(flow, INPUT)
    play.play([ref])
    return play.meter.of(ref)


def per_stage(short: Usage, long: Usage, stages: int) -> Usage:
    """What each of the further stages uses."""
    more = long.minus(short)
    return Usage(*(getattr(more, name) / stages for name in more.__struct_fields__))


# --- stages -----------------------------------------------------------------------------------------------------------


def test_a_further_chained_stage_costs_one_write_unit_and_nothing_else() -> None:
    each = per_stage(used(sequence(2)), used(sequence(12)), 10)
    assert (each.write_units, each.read_units, each.messages) == (1.0, 0.0, 0.0)


def test_a_further_unchained_stage_costs_two_write_units_three_read_units_and_a_message() -> None:
    each = per_stage(used(sequence(2, chain=False)), used(sequence(7, chain=False)), 5)
    assert each.write_units <= 2.0
    assert each.read_units <= 3.0
    assert each.messages == 1.0


@pytest.mark.parametrize("stages", [1, 5, 12])
def test_everything_else_of_a_chained_run_costs_nine_write_units_and_a_message(stages: int) -> None:
    usage = used(sequence(stages))
    assert usage.write_units - stages <= 9
    assert usage.messages == 1


def test_everything_else_of_an_unchained_run_costs_nine_write_units() -> None:
    assert used(sequence(5, chain=False)).write_units - 2 * 5 <= 9


def test_with_snapshots_a_chained_stage_costs_at_most_a_fifth_more() -> None:
    each = per_stage(used(sequence(10)), used(sequence(210)), 200)
    assert 1.0 < each.write_units <= 1.2
    assert each.read_units == 0


def test_a_step_costs_the_same_however_long_the_run() -> None:
    """Flat: the stages of a run of a thousand, against those of a short one."""
    each = per_stage(used(sequence(500)), used(sequence(1_000)), 500)
    assert each.write_units <= 1.25


def test_loading_a_long_run_costs_its_snapshot_and_tail_only() -> None:
    flow = sequence(200, chain=False)
    play = Play(flow)
    ref = play.start(flow, INPUT)
    for _ in range(190):
        play.step()
    before = play.meter.of(ref).read_units
    play.step()
    assert play.meter.of(ref).read_units - before <= 3 + 20 * 600 / 4_096


def test_parallel_branches_that_do_not_meet_cost_no_refused_write(script: Script) -> None:
    play = Play(flow := fork(script.stage("a"), script.stage("b"), script.stage("c")).then(script.join("d")))
    ref = play.run(flow, INPUT).ref
    assert play.meter.of(ref).refused == 0


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_a_check_that_is_not_ready_costs_one_write_unit(script: Script) -> None:
    play = Play(flow := line(script.job("a", pending(5))))
    ref = play.start(flow, INPUT)
    play.step()
    before = play.meter.of(ref).write_units
    for _ in range(4):
        play.clock.move(MINUTE + SECOND)
        work(play)
    assert len(events(play, ref, StageChecked)) == 4
    assert play.meter.of(ref).write_units - before <= 4


@pytest.mark.parametrize("hours", [1, 24, 24 * 7])
def test_a_long_wait_costs_nine_write_units_whatever_its_length(script: Script, hours: int) -> None:
    """Sleep and wake with the tick's look in between, besides the commit of the check itself."""
    every = timedelta(hours=hours)
    play = Play(flow := line(script.job("a", pending(9), every=every, limit=20 * every)))
    ref = play.start(flow, INPUT)
    work(play)
    before = play.meter.of(ref).write_units
    begun = play.clock.now()
    while not events(play, ref, StageChecked):
        play._advance()
    assert play.clock.now() - begun >= hours * HOUR
    assert play.meter.of(ref).write_units - before <= 9 + 1


def test_a_day_asleep_costs_nothing(script: Script) -> None:
    play = Play(flow := line(script.job("a", pending(9), every=timedelta(days=2), limit=timedelta(days=6))))
    ref = play.start(flow, INPUT)
    work(play)
    before = play.meter.of(ref)
    writes, reads = before.writes, before.reads
    for _ in range(24 * 60):
        play.clock.move(MINUTE)
        play.tick()
    assert (play.meter.of(ref).writes, play.meter.of(ref).reads) == (writes, reads)


# --- ticks ------------------------------------------------------------------------------------------------------------


def test_a_tick_with_nothing_due_costs_a_read_per_shard_whatever_the_number_of_runs(script: Script) -> None:
    play = Play(flow := line(script.stage("a")), limits=Limits(shards=4))
    for _ in range(200):
        play.start(flow, INPUT)
    before = play.meter.snapshot()
    play.tick()
    cost = play.meter.snapshot().minus(before)
    assert (cost.write_units, cost.reads, cost.messages) == (0, 4, 0)
    assert cost.read_units <= 4


def looked_at(play: Play, ref: RunRef) -> Usage:
    """What one look of a tick at a run costs, its commits not counted."""
    play.clock.move(play.env.limits.look_grace)
    before, commits = play.meter.snapshot(), len(commits_of(play, ref))
    assert play.tick().looked == 1
    cost = play.meter.snapshot().minus(before)
    cost.write_units -= len(commits_of(play, ref)) - commits
    return cost


def test_one_look_of_a_tick_costs_three_write_units_and_one_load(script: Script) -> None:
    play = Play(flow := line(script.job("a", pending(99))))
    ref = play.start(flow, INPUT)
    play.step()
    cost = looked_at(play, ref)
    assert cost.write_units <= 3
    assert cost.reads == play.env.limits.shards + 1


def test_a_look_at_a_run_whose_worker_died_costs_the_reaping_on_top(script: Script) -> None:
    def die(_ctx: Context) -> None:
        raise KeyboardInterrupt

    play = Play(flow := line(script.stage("a", die)))
    ref = play.start(flow, INPUT)
    with pytest.raises(KeyboardInterrupt):
        play.step()
    work(play)
    cost = looked_at(play, ref)
    assert cost.write_units <= 3 + 1, "the cursor of the outbox, too: nobody has left this run in order so far"


# --- messages and refusals --------------------------------------------------------------------------------------------


def test_a_second_poke_for_a_finished_run_writes_nothing() -> None:
    play = Play(flow := sequence(3))
    ref = play.run(flow, INPUT).ref
    before = play.meter.of(ref).writes
    play.attend(ref)
    assert play.meter.of(ref).writes == before


def test_refused_writes_are_counted_and_cost_a_unit_each(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), chain=False))
    ref = play.start(flow, INPUT)
    once_before(play, lambda call: is_commit_of(call, "StageStarted"), lambda: play.attend(ref))
    play.step()
    assert play.meter.of(ref).refused == 1
    assert play.meter.kinds["Commit"] == len(commits_of(play, ref)) + 1


def test_a_refused_change_of_a_head_is_counted_as_well(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, INPUT)
    play.clock.move(play.env.limits.look_grace)
    due = head_of(play, ref).due
    assert due is not None
    once_before(
        play, lambda call: any(getattr(each, "guard", None) is Guard.DUE_AS_SEEN for each in call.arguments), play.tick
    )
    before = play.meter.of(ref).write_units
    play.tick()
    assert play.meter.of(ref).refused == 1
    assert play.meter.of(ref).write_units - before <= 3 + 1 + 1, "one look, the cursor, and the refusal"


def test_events_cost_no_write_of_their_own_in_a_run_of_one_invocation() -> None:
    """Publishing moves its cursor with finalising."""
    flow = sequence(3)
    assert used(flow, Limits(publish="run")).writes == used(flow, Limits(publish="none")).writes
    play = Play(flow, limits=Limits(publish="all"))
    ref = play.run(flow, INPUT).ref
    assert play.meter.of(ref).writes == used(flow).writes
    assert len(play.sink.events) == 1 + 1 + 2 * 3
    assert state_of(play, ref).seq == 4


@pytest.mark.parametrize("on_cancel", ["stop", "compensate"])
@pytest.mark.parametrize("size", range(440, 600, 8))
def test_a_head_stays_under_a_kilobyte_whatever_is_kept_in_it(script: Script, size: int, on_cancel: str) -> None:
    """The largest values are kept beside it; a tick's claim and a cursor of five digits still fit in."""
    flow = line(script.stage("a"), id="a-workflow-with-a-long-name", on_cancel=on_cancel)
    play = Play(flow)
    ref = start(play.env, flow, Note(text="x" * size), tenant="a-tenant-of-some-length", by="api:alice").ref
    head = replace(head_of(play, ref), look="0" * 24, due_seq=10_000, published=10_000, publish_failures=700)
    assert size_of(ref, head) <= 1024
