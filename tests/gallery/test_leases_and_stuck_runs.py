"""Leases and stuck runs: who lives is left alone, who dies is overtaken and fenced off, none fails for waiting."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from kernel.core.events import LeaseExpired, StageChecked, StageCompleted, StageFailed
from kernel.core.state import StageStatus
from kernel.ports import LIVE, RunRef
from kernel.testing.faults import Crash
from kernel.testing.play import Play
from onewrite import Context, Retry
from tests.gallery.stage import LEASE, SOON, attempts, finish, look, published, restart, take_over
from tests.gallery.traps import trap
from tests.shell.script import (
    Act,
    Note,
    Script,
    dies,
    events,
    fork,
    is_commit_of,
    keys_of,
    line,
    log_of,
    once_before,
    pending,
    poke,
    stage_of,
    work,
)

BRATSOS, LUNO = "bratsos/workflow-engine", "luno/workflow"


@trap(BRATSOS, "A job that merely waits in a backlog longer than a threshold gets its run failed as 'stuck'.")
def test_a_run_that_only_waits_in_a_backlog_is_not_failed_however_long_it_waits(script: Script) -> None:
    flow = fork(script.stage("a"), script.stage("b"), script.stage("c"), chain=False)
    play = Play(flow)
    ref = play.start(flow, Note())
    look(play, times=720)  # a day before its first stage
    assert log_of(play, ref) == []
    play.step()
    look(play, times=720)  # and a day between two stages
    assert log_of(play, ref) == [["StageStarted a"], ["StageCompleted a", "StageScheduled b", "StageScheduled c"]]
    finish(play, ref)
    assert script.calls == ["a", "b", "c"], "all those messages did nothing twice"
    assert published(play, ref) == ["RunCreated", "RunCompleted"]


@trap(BRATSOS, "A sweep re-enqueues a lost job and the next sweep fails the run because nothing was 'updated'.")
def test_a_message_that_is_lost_again_and_again_is_sent_again_and_fails_nothing(script: Script) -> None:
    flow = fork(script.stage("a", dies(1)), script.stage("b"), script.stage("c"), chain=False)
    play = Play(flow)
    ref = play.start(flow, Note())

    def lost(stages: set[str]) -> None:
        before = log_of(play, ref)
        for _ in range(20):
            play.queue.clear()
            counts = look(play)
            assert (counts.claimed, counts.failed, counts.deadlines) == (len(stages), 0, 0)
            assert {each.stage for each in play.queue.waiting} == stages
        assert log_of(play, ref) == before, "no look updates anything but when to look next"

    lost({""})
    work(play)  # dies in the body
    play.queue.clear()
    assert look(play).reaped == 1
    lost({"a"})
    work(play)
    play.clock.move(SOON)
    play.attend(ref)
    lost({"b", "c"})
    finish(play, ref)
    assert sorted(script.calls) == ["a", "a", "b", "c"]


@trap(BRATSOS, "A stage that is polled less often than the 'stuck' threshold gets its run failed.")
def test_a_stage_that_is_polled_seldom_is_not_taken_for_dead_between_two_polls(script: Script) -> None:
    for every in (timedelta(minutes=14), timedelta(days=2)):
        play = Play(flow := line(script.job("a", pending(2), every=every, limit=timedelta(days=7))))
        ref = play.start(flow, Note())
        finish(play, ref)
        assert len(events(play, ref, StageChecked)) == 2
        assert (attempts(play, ref), events(play, ref, LeaseExpired | StageFailed)) == ([1], [])  # type: ignore[arg-type]  # isinstance takes a union


@trap(BRATSOS, "A stage that heartbeats for long gets its run failed, alive as it is.")
def test_a_stage_that_gives_signs_of_life_for_hours_is_left_to_its_worker(script: Script) -> None:
    def long(ctx: Context) -> None:
        for _ in range(150):
            play.clock.move(50_000)
            ctx.heartbeat()
            play.tick()
            work(play)

    play = Play(flow := line(script.stage("a", long)))
    ref = play.start(flow, Note())
    play.queue.clear()
    play.attend(ref, seconds=3 * 3_600)
    ended = finish(play, ref)
    assert ended.view.updated - ended.view.created == 150 * 50_000
    assert (script.calls, attempts(play, ref)) == (["a"], [1])


@trap(BRATSOS, "A redelivery after a stale lease ignores the attempt limit: a poison stage runs for ever.")
def test_a_poison_stage_is_not_started_more_often_than_its_policy_says_whatever_is_redelivered(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(), retry=Retry(3))))
    ref = play.start(flow, Note())
    for _ in range(30):
        play.queue.clear()
        play.queue.send([(poke(ref), 0), (poke(ref, "a"), 0)])
        work(play)
        play.clock.move(LEASE)
    assert (script.calls, attempts(play, ref)) == (["a"] * 3, [1, 2, 3])
    error = finish(play, ref, "failed").view.error
    assert error is not None
    assert (error.kind, error.stage, error.attempt) == ("LeaseLost", "a", 3)


@trap(BRATSOS, "No fencing: the zombie and the new attempt both complete, and 'completed' is published twice.")
def test_a_zombie_cannot_complete_what_another_attempt_has_taken_over() -> None:
    def taken_over_by(second: Act | None) -> tuple[Play, RunRef, Script]:
        """The first worker freezes with its result in hand; another one takes over; the first one thaws."""
        script = Script()
        bodies: list[Act | None] = [lambda _ctx: Note(text="zombie"), second, None]
        play = Play(flow := line(script.stage("a", lambda ctx: (bodies[ctx.attempt - 1] or result)(ctx))))

        def result(ctx: Context) -> Note:
            return Note(text=f"attempt {ctx.attempt}")

        def others() -> None:
            with suppress(Crash):
                take_over(play, ref)

        ref = play.start(flow, Note())
        once_before(play, lambda call: is_commit_of(call, "StageCompleted", "a"), others)
        play.attend(ref)
        return play, ref, script

    for second, winner in ((None, 2), (dies(1), 3)):  # it thaws after the other one's end; and in the middle of it
        play, ref, script = taken_over_by(second)
        ended = finish(play, ref)
        assert ended.output == Note(text=f"attempt {winner}")
        assert [each.attempt for each in events(play, ref, StageCompleted)] == [winner]
        assert script.calls == ["a"] * winner
        assert published(play, ref) == ["RunCreated", "RunCompleted"]


@trap("dbos-transact-py", "Worker recovery re-claims work that a draining worker still runs.", 804)
def test_a_new_worker_does_not_take_what_a_draining_one_still_runs(script: Script) -> None:
    def drains(ctx: Context) -> None:
        restart(play, flow)
        for _ in range(5):
            play.clock.move(40_000)
            ctx.heartbeat()
            play.queue.send([(poke(ref), 0), (poke(ref, "a"), 0)])
            work(play)
            play.tick()

    play = Play(flow := line(script.stage("a", drains), script.stage("b")))
    ref = play.start(flow, Note())
    play.step(seconds=900)
    finish(play, ref)
    assert script.calls == ["a", "b"]
    assert (attempts(play, ref), attempts(play, ref, "b")) == ([1], [1])


@trap("azure durabletask", "An owner goes on renewing its lease after it stopped listening.", 2534)
def test_a_lease_is_renewed_by_the_stage_itself_and_never_for_another_attempt(script: Script) -> None:
    def act(ctx: Context) -> None:
        if ctx.attempt == 2:
            raise Crash
        if ctx.attempt > 2:
            return
        ctx.heartbeat()
        (sign,) = keys_of(play, ref, LIVE)
        kept.append(play.store.get(ref, sign))
        play.clock.move(LEASE + 2_000)  # it hangs, and nobody renews on its behalf
        play.attend(ref)
        kept.append(play.store.get(ref, sign))
        statuses.append(stage_of(play, ref, "a").status)
        play.clock.move(SOON)
        with suppress(Crash):
            play.attend(ref)
        lease = stage_of(play, ref, "a").at
        for _ in range(10):  # it comes round, and renews what is no longer its own
            play.clock.move(6_000)
            ctx.heartbeat()
        play.clock.move(lease + play.env.limits.max_skew - play.clock.now())
        play.attend(ref)
        statuses.append(stage_of(play, ref, "a").status)

    kept: list[object] = []
    statuses: list[StageStatus] = []
    play = Play(flow := line(script.stage("a", act)))
    ref = play.start(flow, Note())
    play.step(seconds=900)
    assert kept[0] == kept[1]
    assert statuses == [StageStatus.RETRYING] * 2, "either lease ended when it had to, and was found to have"
    finish(play, ref)
    assert [each.attempt for each in events(play, ref, StageCompleted)] == [3]


@trap(LUNO, "Error counts kept in memory and keyed on the error's text never reach their limit.")
def test_errors_are_counted_to_their_limit_though_each_reads_otherwise_and_meets_another_process(
    script: Script,
) -> None:
    def act(_ctx: Context) -> None:
        restart(play, *flows)
        raise ConnectionError(f"connection {play.clock.now()} was reset")

    flows = (line(script.stage("a", act, retry=Retry(4))), line(script.job("a", act), id="polls"))
    play = Play(*flows)
    stage, polls = (play.start(flow, Note()) for flow in flows)
    finish(play, stage, "failed", days=1 / 24)
    assert attempts(play, stage) == [1, 2, 3, 4]
    texts = [each.error.message for each in events(play, stage, StageFailed)]
    assert len(set(texts)) == 4
    error = finish(play, polls, "failed", days=1 / 24).view.error
    assert error is not None
    assert error.kind == "WaitLimitReached"
    assert script.calls.count("check:a") == 10
