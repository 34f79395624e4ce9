"""Callbacks (E3): a third party completes, fails or heartbeats a stage by a token that counts once and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.core.events import Slept, StageChecked, StageCompleted, StageFailed, StageStarted
from kernel.core.state import StageStatus
from kernel.core.tokens import read_token, write_token
from kernel.errors import Conflict, Gone, InvalidInput, NotDeployed, NotFound, Unavailable
from kernel.ports import DATA, RunRef
from kernel.shell import callback, read
from kernel.shell.environment import Limits, NoDefinitions
from kernel.testing.faults import Call, Fault
from kernel.testing.play import Play
from onewrite import Retry
from onewrite.testing import context
from tests.shell.flows import Order
from tests.shell.invariants import check
from tests.shell.script import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Note,
    Script,
    dies,
    events,
    fork,
    gives,
    is_commit_of,
    items_of,
    keys_of,
    line,
    log_of,
    once,
    once_before,
    stage_of,
    throws,
    work,
)

SKEW = 1_000
SOON = Retry(3, first=timedelta(seconds=1), jitter=0)
LABEL = Note(text="label")


def asked(script: Script, *more: Any, **options: Any) -> tuple[Play, RunRef]:
    """A run whose first stage waits for its answer."""
    play = Play(flow := line(script.asks("ask", **options), *more))
    ref = play.start(flow, Note())
    work(play)
    return play, ref


# --- answering --------------------------------------------------------------------------------------------------------


def test_an_answer_is_the_stages_output_and_the_run_goes_on(script: Script) -> None:
    play, ref = asked(script, script.stage("send"))

    answered = play.answer(script.tokens[0], LABEL)

    assert (answered.run, answered.stage, answered.status) == (ref.run, "ask", "completed")
    work(play)
    assert script.seen["send"] == LABEL
    play.play([ref])
    assert play.ended(ref).status == "completed"
    check(play, ref)


def test_nobody_looks_at_a_stage_that_waits_for_its_answer(script: Script) -> None:
    play, ref = asked(script, callback=timedelta(days=3))
    before = items_of(play, ref)

    for _ in range(20):
        play.clock.move(HOUR)
        assert play.tick().looked == 0
        work(play)

    assert items_of(play, ref) == before


def test_an_answer_wakes_a_run_that_sleeps(script: Script) -> None:
    play, ref = asked(script, script.stage("send"), callback=timedelta(days=3))
    assert events(play, ref, Slept)
    play.clock.move(2 * DAY)

    play.answer(script.tokens[0], LABEL)
    work(play)

    assert script.calls == ["ask", "send"]
    play.play([ref])
    check(play, ref)


def test_the_last_stages_answer_ends_the_run_at_once(script: Script) -> None:
    play, ref = asked(script)

    play.answer(script.tokens[0], LABEL)

    ended = play.ended(ref)
    assert (ended.status, ended.output) == ("completed", LABEL)
    check(play, ref)


def test_a_sibling_goes_on_meanwhile(script: Script) -> None:
    play = Play(flow := fork(script.stage("a"), script.asks("ask"), script.stage("b")))
    play.start(flow, Note())

    work(play)

    assert script.calls == ["a", "ask", "b"]


def test_a_stage_need_not_wait(script: Script) -> None:
    play = Play(flow := line(script.asks("ask", gives(Note(text="at once")))))

    assert play.run(flow, Note()).output == Note(text="at once")


def test_the_answer_wins_over_a_body_that_is_still_running(script: Script) -> None:
    """A third party may be faster than the stage that asked: their answer is neither lost nor sent twice."""
    play = Play(flow := line(script.asks("ask", lambda _ctx: play.answer(script.tokens[0], LABEL) and None)))

    ended = play.run(flow, Note())

    assert ended.output == LABEL
    assert log_of(play, ended.ref)[-1] == ["StageCompleted ask", "RunCompleted"]
    check(play, ended.ref)


def test_what_a_large_answer_gives_is_kept_aside(script: Script) -> None:
    play, ref = asked(script)

    play.answer(script.tokens[0], Note(text="x" * 5_000))

    assert len(keys_of(play, ref, DATA)) == 1
    assert play.ended(ref).output == Note(text="x" * 5_000)


def test_an_answer_that_does_not_fit_the_stages_type_is_refused_by_field_and_changes_nothing(script: Script) -> None:
    play, ref = asked(script)
    before = items_of(play, ref)

    with pytest.raises(InvalidInput, match=r"output\.text") as refused:
        play.answer(script.tokens[0], {"text": 3})
    with pytest.raises(InvalidInput, match="too large"):
        callback.complete(replace(play.env, limits=Limits(payload=10)), script.tokens[0], Note(text="x" * 1_000))

    assert refused.value.problems[0][0] == "output.text"
    assert items_of(play, ref) == before
    play.answer(script.tokens[0], LABEL)


# --- once, with the right token, in time ------------------------------------------------------------------------------


def test_the_same_answer_twice_is_answered_twice_and_counts_once(script: Script) -> None:
    play, ref = asked(script, script.stage("send"))
    first = play.answer(script.tokens[0], {"text": "label"})

    again = play.answer(script.tokens[0], '{ "text" : "label" }')

    assert again == first
    play.play([ref])
    assert play.answer(script.tokens[0], {"text": "label"}) == first, "also once the run is over"
    assert len([each for each in events(play, ref, StageCompleted) if each.stage == "ask"]) == 1


@pytest.mark.parametrize(
    "second",
    [
        lambda play, token: play.answer(token, Note(text="another")),
        lambda play, token: play.decline(token, "no"),
        lambda play, token: play.heartbeat(token),
    ],
    ids=["output", "error", "heartbeat"],
)
def test_another_answer_after_the_first_is_a_conflict(script: Script, second: Callable[[Play, str], object]) -> None:
    play, ref = asked(script, script.stage("send"))
    play.answer(script.tokens[0], LABEL)

    with pytest.raises(Conflict, match="answered before, with something else"):
        second(play, script.tokens[0])

    play.play([ref])
    assert script.seen["send"] == LABEL


def test_of_two_answers_at_once_one_counts(script: Script) -> None:
    play, ref = asked(script)
    once_before(
        play, lambda call: is_commit_of(call, "StageCompleted"), lambda: play.answer(script.tokens[0], Note(text="b"))
    )

    with pytest.raises(Conflict):
        play.answer(script.tokens[0], Note(text="a"))

    assert play.ended(ref).output == Note(text="b")


def test_an_answer_whose_reply_was_lost_can_be_sent_again(script: Script) -> None:
    play, ref = asked(script)
    once(play, lambda call: is_commit_of(call, "StageCompleted"), Fault.LOST_REPLY)

    assert play.answer(script.tokens[0], LABEL).status == "completed"
    assert play.answer(script.tokens[0], LABEL).status == "completed"
    check(play, ref)


def test_the_token_of_an_attempt_that_died_is_no_longer_current(script: Script) -> None:
    play = Play(flow := line(script.asks("ask", dies(1), retry=SOON), script.stage("send")))
    ref = play.start(flow, Note())
    while len(script.tokens) < 2:
        play._advance()

    with pytest.raises(Gone, match="no longer current"):
        play.answer(script.tokens[0], Note(text="late"))

    play.answer(script.tokens[1], LABEL)
    play.play([ref])
    assert script.seen["send"] == LABEL
    check(play, ref)


def test_the_token_of_an_attempt_that_threw_is_no_longer_current(script: Script) -> None:
    play = Play(flow := line(script.asks("ask", throws(ValueError("no"), 1), retry=SOON)))
    play.start(flow, Note())
    work(play)

    with pytest.raises(Gone, match="no longer current"):
        play.answer(script.tokens[0], LABEL)


def test_an_answer_before_the_attempts_death_is_noticed_counts(script: Script) -> None:
    """The order was placed, its worker died before the suspension was committed, and the answer comes meanwhile."""
    play = Play(flow := line(script.asks("ask", dies(1))))
    ref = play.start(flow, Note())
    work(play)

    play.answer(script.tokens[0], LABEL)

    play.play([ref])
    assert script.calls == ["ask"], "no second order was placed"
    check(play, ref)


def test_a_stage_that_is_not_answered_in_time_fails_and_the_answer_comes_too_late(script: Script) -> None:
    play, ref = asked(script, callback=timedelta(hours=2), retry=SOON)
    begun = play.clock.now()

    play.play([ref])

    (failed,) = events(play, ref, StageFailed)
    assert (failed.error.category, failed.error.kind, failed.retry_at) == ("limit", "WaitLimitReached", None)
    assert failed.error.message == "not answered within 2:00:00"
    assert 2 * HOUR + SKEW <= play.look(ref).updated - begun <= 2 * HOUR + 5 * SKEW
    with pytest.raises(Gone, match="the time to answer ask is over"):
        play.answer(script.tokens[0], LABEL)


def test_an_answer_after_the_limit_is_too_late_even_if_nobody_has_noticed_so_far(script: Script) -> None:
    play, ref = asked(script, callback=timedelta(hours=2))
    play.clock.move(2 * HOUR)

    token = script.tokens[0]
    for late in (
        lambda: play.answer(token, LABEL),
        lambda: play.decline(token),
        lambda: play.heartbeat(token),
        lambda: play.heartbeat(token, 0.5),
    ):
        with pytest.raises(Gone, match="the time to answer ask is over"):
            late()

    assert stage_of(play, ref, "ask").status is StageStatus.SUSPENDED


def test_a_cancelled_run_takes_no_answer(script: Script) -> None:
    play, ref = asked(script)
    play.cancel(ref)

    with pytest.raises(Gone, match="has ended without this answer"):
        play.answer(script.tokens[0], LABEL)

    assert play.look(ref).status == "cancelled"


def test_a_run_that_is_undone_takes_no_answer_to_what_runs_still(script: Script) -> None:
    def cancels(ctx: Any) -> None:
        play.cancel(RunRef(ctx.tenant, ctx.run_id))
        with pytest.raises(Gone, match="has ended without this answer"):
            play.answer(script.tokens[0], LABEL)

    before = script.stage("before", compensate=script.undo())
    play = Play(flow := line(before, script.asks("ask", cancels), on_cancel="compensate"))

    ended = play.run(flow, Note())

    assert ended.status == "cancelled"
    check(play, ended.ref)


def test_a_rerun_hands_out_another_token(script: Script) -> None:
    play, ref = asked(script)
    play.answer(script.tokens[0], LABEL)
    play.rerun(ref, "ask")
    work(play)

    assert play.answer(script.tokens[0], LABEL).status == "completed", "as was said before"
    assert stage_of(play, ref, "ask").status is StageStatus.SUSPENDED
    play.answer(script.tokens[1], Note(text="new"))

    assert play.ended(ref).output == Note(text="new")


# --- who may answer ---------------------------------------------------------------------------------------------------


def test_the_token_is_not_kept_only_a_digest_of_its_secret(script: Script) -> None:
    play, ref = asked(script)
    token = script.tokens[0]
    known = read_token(token)
    assert known is not None

    play.answer(token, LABEL)

    stored = repr(items_of(play, ref))
    assert known.secret not in stored
    assert token not in stored
    (started,) = events(play, ref, StageStarted)
    assert started.callback == known.digest
    assert len(known.secret) * 4 >= 128
    assert known.digest not in repr(read.show(play.env, ref))


@pytest.mark.parametrize(
    "change",
    [
        {"secret": "0" * 48},
        {"tenant": "other"},
        {"tenant": "#"},
        {"run": "0" * 24},
        {"run": "x"},
        {"stage": "send"},
        {"seq": 2},
        {"seq": 9_999_999_999},
    ],
    ids=str,
)
def test_a_token_that_was_not_given_is_not_found_whatever_is_wrong_with_it(
    script: Script, change: dict[str, Any]
) -> None:
    play, ref = asked(script, script.stage("send"))
    known = read_token(script.tokens[0])
    assert known is not None
    before = items_of(play, ref)

    with pytest.raises(NotFound, match="there is no such callback, or the retention of its run is over"):
        play.answer(write_token(replace(known, **change)), LABEL)

    assert items_of(play, ref) == before


def test_every_attempt_and_stage_has_a_secret_of_its_own(script: Script) -> None:
    play = Play(flow := line(script.asks("a"), script.asks("b"), id="flow"))
    refs = [play.start(flow, Note()) for _ in range(3)]
    for _ in refs:
        work(play)
    for token in list(script.tokens):
        play.answer(token, LABEL)
    work(play)

    known = [read_token(token) for token in script.tokens]
    assert len({each.secret for each in known if each}) == len(script.tokens) == 6


def test_a_deployment_without_the_runs_code_cannot_answer_and_says_so(script: Script) -> None:
    play, ref = asked(script)
    elsewhere = replace(play.env, definitions=NoDefinitions())

    with pytest.raises(NotDeployed, match="repeat the request later"):
        callback.complete(elsewhere, script.tokens[0], LABEL)

    play.answer(script.tokens[0], LABEL)
    assert callback.complete(elsewhere, script.tokens[0], LABEL).status == "completed", "the log knows what was said"
    assert play.look(ref).status == "completed"


# --- errors -----------------------------------------------------------------------------------------------------------


def test_an_error_fails_the_attempt_and_the_next_one_has_another_token(script: Script) -> None:
    play, ref = asked(script, retry=SOON)

    answered = play.decline(script.tokens[0], "the lorry broke down", kind="Breakdown")

    assert answered.status == "failed"
    (failed,) = events(play, ref, StageFailed)
    assert (failed.error.category, failed.error.kind, failed.error.attempt) == ("callback", "Breakdown", 1)
    assert failed.retry_at is not None
    play.clock.move(5 * SECOND)
    work(play)
    assert play.decline(script.tokens[0], "the lorry broke down", kind="Breakdown") == answered, "as was said before"
    play.answer(script.tokens[1], LABEL)
    check(play, ref)


def test_an_error_for_good_is_not_retried(script: Script) -> None:
    play, ref = asked(script, retry=SOON)

    play.decline(script.tokens[0], "no such address", retryable=False)

    ended = play.ended(ref)
    assert ended.status == "failed"
    assert ended.view.error is not None
    assert ended.view.error.message == "no such address"
    check(play, ref)


@pytest.mark.parametrize(("kind", "message"), [("", "x"), ("k" * 101, "x"), ("a\nb", "x"), ("Kind", "\ud800")])
def test_an_error_that_cannot_be_kept_is_refused(script: Script, kind: str, message: str) -> None:
    play, _ = asked(script)

    with pytest.raises(InvalidInput):
        play.decline(script.tokens[0], message, kind=kind)


# --- heartbeats -------------------------------------------------------------------------------------------------------


def test_who_does_not_heartbeat_in_time_fails_the_attempt_and_another_is_made(script: Script) -> None:
    play, ref = asked(script, callback_heartbeat=timedelta(minutes=5), retry=SOON)
    play.clock.move(5 * MINUTE + 2 * SKEW)
    work(play)
    play.clock.move(5 * SECOND)
    work(play)

    (failed,) = events(play, ref, StageFailed)
    assert (failed.error.kind, failed.retry_at is None) == ("HeartbeatMissed", False)
    with pytest.raises(Gone, match="no longer current"):
        play.heartbeat(script.tokens[0])
    play.answer(script.tokens[1], LABEL)
    check(play, ref)


def test_who_heartbeats_keeps_the_stage_waiting_up_to_its_limit(script: Script) -> None:
    play, ref = asked(script, callback=timedelta(hours=1), callback_heartbeat=timedelta(minutes=5), retry=SOON)
    begun = play.clock.now()
    for number in range(14):
        play.clock.move(4 * MINUTE)
        work(play)
        answered = play.heartbeat(script.tokens[0], number / 14)
        assert answered.status == "waiting"
        assert answered.until == min(play.clock.now() + 5 * MINUTE, begun + HOUR)
    assert play.look(ref).stages[0].progress == 13 / 14

    play.play([ref])

    (failed,) = events(play, ref, StageFailed)
    assert failed.error.kind == "WaitLimitReached"
    assert len(script.tokens) == 1


def test_heartbeats_that_follow_at_once_are_acknowledged_and_not_recorded(script: Script) -> None:
    play, ref = asked(script, callback_heartbeat=timedelta(minutes=5))
    play.clock.move(MINUTE)

    for _ in range(5):
        assert play.heartbeat(script.tokens[0]).status == "waiting"

    assert len(events(play, ref, StageChecked)) == 1


def test_heartbeats_far_more_frequent_than_need_be_cost_nothing(script: Script) -> None:
    play, ref = asked(script, callback=timedelta(days=9), callback_heartbeat=timedelta(days=1))
    for _ in range(60):
        play.clock.move(SECOND)
        play.heartbeat(script.tokens[0])
    assert not events(play, ref, StageChecked)
    play.clock.move(2 * HOUR)
    play.heartbeat(script.tokens[0])
    assert len(events(play, ref, StageChecked)) == 1


def test_without_a_heartbeat_time_out_only_progress_is_recorded(script: Script) -> None:
    play, ref = asked(script)
    play.clock.move(2 * MINUTE)

    play.heartbeat(script.tokens[0])
    for _ in range(5):
        play.heartbeat(script.tokens[0], 0.5)
        play.heartbeat(script.tokens[0], 0.6)

    assert len(events(play, ref, StageChecked)) == 1
    assert play.look(ref).stages[0].progress == 0.5


def test_heartbeats_that_are_shorter_than_a_second_count(script: Script) -> None:
    play, ref = asked(script, callback_heartbeat=timedelta(milliseconds=500))
    play.clock.move(400)

    assert play.heartbeat(script.tokens[0]).until == play.clock.now() + 500
    assert len(events(play, ref, StageChecked)) == 1


def test_a_heartbeat_that_moves_nothing_is_not_recorded(script: Script) -> None:
    play, ref = asked(script, callback=timedelta(hours=1), callback_heartbeat=timedelta(hours=1))
    play.clock.move(30 * MINUTE)

    assert play.heartbeat(script.tokens[0]).status == "waiting"
    assert not events(play, ref, StageChecked), "the limit is next, whatever is said"


def test_a_heartbeat_before_the_body_has_returned_is_acknowledged(script: Script) -> None:
    def beats(_ctx: Any) -> None:
        assert play.heartbeat(script.tokens[0]).status == "waiting"

    play = Play(flow := line(script.asks("ask", beats)))
    ref = play.start(flow, Note())
    work(play)

    assert stage_of(play, ref, "ask").status is StageStatus.SUSPENDED


def test_a_heartbeat_in_the_nick_of_time_wins_over_the_worker_that_was_about_to_give_up(script: Script) -> None:
    play, ref = asked(script, callback_heartbeat=timedelta(minutes=5))
    play.clock.move(5 * MINUTE + SKEW)
    once_before(play, lambda call: is_commit_of(call, "StageFailed"), lambda: play.heartbeat(script.tokens[0]))

    work(play)

    assert not events(play, ref, StageFailed)
    assert stage_of(play, ref, "ask").status is StageStatus.SUSPENDED


def test_progress_that_is_no_number_is_refused(script: Script) -> None:
    play, _ = asked(script)

    with pytest.raises(InvalidInput, match="from 0 to 1"):
        play.heartbeat(script.tokens[0], float("nan"))


# --- what goes wrong on the way ---------------------------------------------------------------------------------------


def test_an_answer_stands_though_the_run_cannot_be_left_in_order(script: Script) -> None:
    play, ref = asked(script, script.stage("send"))

    def queue_is_out(call: Call) -> Fault | None:
        return Fault.UNAVAILABLE if call.port == "queue" else None

    play.faults.choose = queue_is_out
    assert play.answer(script.tokens[0], LABEL).status == "completed"
    play.faults.choose = lambda _call: None

    play.play([ref])
    assert play.ended(ref).status == "completed"


def test_an_answer_that_may_or_may_not_be_stored_is_unavailable_and_may_be_repeated(script: Script) -> None:
    play, ref = asked(script)
    play.faults.choose = lambda call: Fault.LOST_REPLY if is_commit_of(call, "StageCompleted") else None

    with pytest.raises(Unavailable):
        play.answer(script.tokens[0], LABEL)

    play.faults.choose = lambda _call: None
    assert play.answer(script.tokens[0], LABEL).status == "completed"
    assert play.ended(ref).output == LABEL


def test_an_answer_costs_one_write_unit_in_a_run_that_is_awake(script: Script) -> None:
    play, ref = asked(script, script.stage("send"), callback=timedelta(minutes=10))
    before = play.meter.of(ref).write_units

    play.answer(script.tokens[0], LABEL)

    assert play.meter.of(ref).write_units - before == 1


def test_a_stage_without_a_callback_has_no_token(script: Script) -> None:
    play = Play(flow := line(script.stage("a", lambda ctx: ctx.callback_token)))

    ended = play.run(flow, Note())

    assert ended.view.error is not None
    assert "a has no callback token here" in ended.view.error.message
    with pytest.raises(NotFound, match="no attempt at a has a callback token"):
        play.token(ended, "a")


def test_play_tells_the_token_that_the_latest_attempt_was_given(script: Script) -> None:
    play, ref = asked(script)

    assert play.token(ref, "ask") == script.tokens[0]


def test_a_unit_test_has_a_token_that_answers_nothing() -> None:
    assert context(Order()).callback_token == "callback-token"
