"""Suspended stages (P3, E2): a check decides ready, not yet or failed; it may throw, and it may run twice at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kernel.core.events import StageChecked, StageCompleted, StageFailed, StageStarted
from kernel.core.state import StageStatus
from kernel.ports import DATA, LIVE
from kernel.testing.play import Play
from onewrite import Context, Pending, PermanentError, Retry, Suspend, Workflow, stage
from tests.shell.script import (
    MINUTE,
    SECOND,
    Job,
    Note,
    Script,
    delays,
    dies,
    events,
    fork,
    gives,
    is_commit_of,
    keys_of,
    line,
    once_before,
    pending,
    stage_of,
    throws,
    work,
)

SKEW = SECOND


def test_a_check_is_made_at_every_interval_until_it_is_ready(script: Script) -> None:
    times: list[int] = []

    def check(_ctx: Context) -> Pending | None:
        times.append(play.clock.now() - begun)
        return Pending() if len(times) < 3 else None

    play = Play(flow := line(script.job("a", check), script.stage("b")))
    begun = play.clock.now()
    ended = play.run(flow, Note())
    assert ended.status == "completed"
    assert script.calls == ["a", *["check:a"] * 3, "b"]
    assert all(after - before >= MINUTE for before, after in zip([0, *times], times, strict=False))
    assert times[-1] <= 3 * (MINUTE + 2 * SKEW)


def test_a_check_is_given_what_the_stage_left_for_it(script: Script) -> None:
    seen: list[object] = []

    def look(ctx: Context, job: Job) -> Note | Pending:
        seen.append((job, ctx.run_input(Note), ctx.attempt, ctx.stage))
        return Note(text="done")

    @stage(check=look, every=timedelta(minutes=1), limit=timedelta(hours=1))
    def submit(ctx: Context, note: Note) -> Note | Suspend[Job]:
        return Suspend(Job(id="x" * 3_000))

    play = Play(flow := Workflow("flow", input=Note).then(submit))
    ended = play.run(flow, Note(text="input"))
    assert seen == [(Job(id="x" * 3_000), Note(text="input"), 1, "submit")]
    assert ended.output == Note(text="done")
    assert len(keys_of(play, ended.ref, DATA)) == 1, "a large state is kept beside the log"


def test_a_stage_that_suspends_may_as_well_return_at_once(script: Script) -> None:
    @stage(check=lambda_check, every=timedelta(minutes=1), limit=timedelta(hours=1))
    def lucky(ctx: Context, note: Note) -> Note | Suspend[Job]:
        return Note(text="cached")

    ended = Play(flow := Workflow("flow", input=Note).then(lucky)).run(flow, Note())
    assert ended.output == Note(text="cached")


def lambda_check(ctx: Context, job: Job) -> Note | Pending:
    raise AssertionError(job)


def test_progress_that_a_check_reports_is_shown(script: Script) -> None:
    play = Play(flow := line(script.job("a", gives(Pending(progress=0.25)))))
    ref = play.start(flow, Note())
    play.step()
    play.clock.move(MINUTE + SKEW)
    work(play)
    (shown,) = play.ended(ref).view.stages
    assert (shown.status, shown.progress) == ("suspended", 0.25)


def test_a_suspended_stage_fails_when_its_limit_is_reached(script: Script) -> None:
    """bratsos/workflow-engine: maxWait is accepted and ignored."""
    play = Play(
        flow := line(script.job("a", gives(Pending()), every=timedelta(minutes=4), limit=timedelta(minutes=10)))
    )
    begun = play.clock.now()
    ended = play.run(flow, Note())
    (failed,) = events(play, ended.ref, StageFailed)
    assert (failed.error.category, failed.error.kind, failed.retry_at) == ("limit", "WaitLimitReached", None)
    assert script.calls.count("check:a") == 3, "after 4 and 8 minutes, and at the limit"
    assert 10 * MINUTE + SKEW <= ended.view.updated - begun <= 10 * MINUTE + 5 * SKEW


def test_one_failing_check_does_not_fail_the_run(script: Script) -> None:
    """bratsos/workflow-engine: one network error in a poll's check fails the whole run."""
    play = Play(flow := line(script.job("a", throws(ConnectionError("no"), 9))))
    ended = play.run(flow, Note())
    assert ended.status == "completed"
    errors = [each.error.kind for each in events(play, ended.ref, StageChecked)]
    assert errors == ["ConnectionError"] * 9


def test_a_check_that_keeps_throwing_fails_its_stage_by_a_budget_of_its_own(script: Script) -> None:
    play = Play(flow := line(script.job("a", throws(ConnectionError("no")), retry=Retry(2))))
    ended = play.run(flow, Note())
    assert script.calls == ["a", *["check:a"] * 10]
    assert ended.view.error is not None
    assert ended.view.error.kind == "WaitLimitReached"
    assert "ConnectionError: no" in ended.view.error.message


def test_a_quiet_check_renews_the_budget(script: Script) -> None:
    def check(_ctx: Context) -> Pending | None:
        looks = script.calls.count("check:a")
        if looks == 30:
            return None
        if looks % 9 == 0:
            return Pending()
        raise ConnectionError("no")

    play = Play(flow := line(script.job("a", check)))
    assert play.run(flow, Note()).status == "completed"


def test_a_check_decides_that_the_stage_has_failed(script: Script) -> None:
    """P3: ready, not yet, or failed."""
    play = Play(flow := line(script.job("a", throws(PermanentError("the provider refused the job")))))
    ended = play.run(flow, Note())
    assert script.calls == ["a", "check:a"]
    assert ended.view.error is not None
    assert (ended.view.error.category, ended.view.error.kind) == ("user", "PermanentError")


def test_a_check_that_returns_something_else_does_not_complete_its_stage(script: Script) -> None:
    play = Play(flow := line(script.job("a", gives(object()))))
    ended = play.run(flow, Note())
    assert ended.status == "failed"
    assert not events(play, ended.ref, StageCompleted)


def test_a_worker_that_dies_in_a_check_leaves_the_check_to_be_made_again(script: Script) -> None:
    play = Play(flow := line(script.job("a", dies(3))))
    ended = play.run(flow, Note())
    assert ended.status == "completed"
    assert len(events(play, ended.ref, StageStarted)) == 1


@pytest.mark.parametrize("first", ["ready", "not ready"])
def test_of_two_checks_at_once_one_counts(script: Script, first: str) -> None:
    play = Play(flow := line(script.job("a", None if first == "ready" else pending(1)), script.stage("b")))
    ref = play.start(flow, Note())
    play.step()
    play.clock.move(MINUTE + SKEW)
    event = "StageCompleted" if first == "ready" else "StageChecked"
    once_before(play, lambda call: is_commit_of(call, event), lambda: play.attend(ref))
    play.attend(ref)
    play.play([ref])
    assert script.calls.count("b") == 1
    assert len([each for each in events(play, ref, StageCompleted) if each.stage == "a"]) == 1


def test_what_follows_a_check_is_chained_to_it(script: Script) -> None:
    play = Play(flow := line(script.job("a"), script.stage("b")))
    ended = play.run(flow, Note())
    assert ["StageCompleted a", "StageStarted b"] in [
        [f"{type(event).__name__} {getattr(event, 'stage', '')}" for event in commit] for commit in ended.log
    ]


def test_a_suspended_stage_holds_no_worker_and_no_lease(script: Script) -> None:
    play = Play(flow := line(script.job("a", pending(99))))
    ref = play.start(flow, Note())
    play.step()
    play.clock.move(play.env.limits.look_grace)
    assert play.tick().reaped == 0
    assert stage_of(play, ref, "a").status is StageStatus.SUSPENDED


def test_a_sibling_goes_on_while_a_stage_is_suspended(script: Script) -> None:
    play = Play(flow := fork(script.stage("z"), script.job("a", pending(5)), script.stage("b")))
    play.start(flow, Note())
    work(play)
    assert script.calls == ["z", "a", "b"]


def test_polling_is_by_message_delay_rounded_up(script: Script) -> None:
    play = Play(flow := line(script.job("a", pending(2), every=timedelta(milliseconds=1_500))))
    play.run(flow, Note())
    assert delays(play)[1] == 3, "1.5 seconds and the skew, rounded up"
    assert max(delays(play)) <= 900


def test_a_check_that_kills_its_process_ends_with_the_limit(script: Script) -> None:
    """F6: what never gets to say that it is too late is not made for ever."""
    play = Play(flow := line(script.job("a", dies(), limit=timedelta(minutes=10))))
    begun = play.clock.now()
    ref = play.start(flow, Note())
    play.play([ref], days=1)
    ended = play.ended(ref)
    assert ended.view.error is not None
    assert ended.view.error.kind == "WaitLimitReached"
    limits = play.env.limits
    assert ended.view.updated - begun <= 12 * MINUTE + limits.lease_grace + limits.look_grace + limits.tick


def test_a_check_has_no_lease_to_extend(script: Script) -> None:
    play = Play(flow := line(script.job("a", lambda ctx: ctx.heartbeat())))
    ref = play.run(flow, Note()).ref
    assert keys_of(play, ref, LIVE) == []


def test_a_check_is_not_started_without_time_for_it(script: Script) -> None:
    play = Play(flow := line(script.job("a", timeout=timedelta(seconds=60))))
    ref = play.start(flow, Note())
    play.step()
    play.clock.move(MINUTE + SKEW)
    play.step(seconds=30)
    assert script.calls == ["a"]
    play.play([ref])
    assert script.calls == ["a", "check:a"]
