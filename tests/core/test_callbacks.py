"""Callbacks, decided: who may answer until when, what a heartbeat is good for, and what a token says."""

from __future__ import annotations

import pytest

from kernel.core import commands as c
from kernel.core.codec import decode_snapshot, encode_snapshot, inline
from kernel.core.definition import CallbackPolicy
from kernel.core.draft import Stale
from kernel.core.events import ErrorRecord, RunCreated, StageCompleted, StageFailed, StageStarted
from kernel.core.plan import Check, Idle, plan
from kernel.core.state import StageStatus
from kernel.core.tokens import LONGEST, Token, digest_of, is_secret_of, read_token, write_token
from kernel.errors import Gone
from tests.core.pure import CHAIN, MINUTE, NO_CHAIN, NOW, Run, node

CALLBACK = CallbackPolicy(limit=10 * MINUTE, heartbeat=3 * MINUTE)
DIGEST = digest_of("secret")


def asking(policy: CallbackPolicy = CALLBACK) -> Run:
    """A stage ``a`` that waits for its answer."""
    run = Run(node("a", callback=policy))
    run.begin(c.Chain(CHAIN.room, CHAIN.grace, DIGEST))
    run.do(c.Suspend("a", run.seq("a"), None))
    return run


def answer(run: Run) -> list[str]:
    return run.do(c.Answer("a", run.seq("a"), inline(b"{}"), "said"))


def error() -> ErrorRecord:
    return ErrorRecord("callback", "Broken", "no", "a")


def test_only_a_stage_that_can_be_answered_keeps_a_digest() -> None:
    run = Run(node("a", callback=CALLBACK), node("b", "a"))
    run.begin(c.Chain(CHAIN.room, CHAIN.grace, DIGEST))
    run.complete("a", chain=c.Chain(CHAIN.room, CHAIN.grace, "another"))
    started = [event for commit in run.log for event in commit if isinstance(event, StageStarted)]
    assert [event.callback for event in started] == [DIGEST, ""]


def test_a_waiting_stage_keeps_the_fencing_token_of_its_attempt() -> None:
    run = Run(node("a", callback=CALLBACK))
    run.begin(CHAIN)
    seq = run.seq("a")
    run.do(c.Suspend("a", seq, None))
    stage = run.state.stages["a"]
    assert (stage.status, stage.seq) == (StageStatus.SUSPENDED, seq)
    assert (stage.at, stage.give_up_at) == (NOW + 3 * MINUTE, NOW + 10 * MINUTE)


def test_an_answer_completes_the_stage_and_what_comes_after_is_ready() -> None:
    run = Run(node("a", callback=CALLBACK), node("b", "a"))
    run.begin(CHAIN)
    run.do(c.Suspend("a", run.seq("a"), None))
    run._offered = ("a", b"{}")
    assert answer(run) == ["StageCompleted a", "StageScheduled b"]
    completed = run.log[-1][0]
    assert isinstance(completed, StageCompleted)
    assert completed.answer == "said"


def test_an_answer_counts_before_the_body_has_returned_and_the_body_comes_too_late() -> None:
    run = Run(node("a", callback=CALLBACK))
    run.begin(CHAIN)
    seq = run.seq("a")
    assert answer(run) == ["StageCompleted a", "RunCompleted"]
    with pytest.raises(Stale):
        run.do(c.Suspend("a", seq, None))


def test_an_answer_of_another_attempt_is_stale() -> None:
    run = asking()
    with pytest.raises(Stale):
        run.do(c.Answer("a", run.seq("a") + 1, inline(b"{}"), ""))


@pytest.mark.parametrize("late", [0, 1, MINUTE])
def test_after_the_limit_nothing_counts(late: int) -> None:
    run = asking()
    run.now = NOW + 10 * MINUTE + late
    for command in (
        c.Answer("a", run.seq("a"), inline(b"{}"), ""),
        c.Decline("a", run.seq("a"), error(), True, 0.0, ""),
        c.Beat("a", run.seq("a"), None),
    ):
        with pytest.raises(Gone):
            run.do(command)
    run.now = NOW + 10 * MINUTE - 1
    assert answer(run) == ["StageCompleted a", "RunCompleted"]


@pytest.mark.parametrize(("retryable", "status"), [(True, StageStatus.RETRYING), (False, StageStatus.FAILED)])
def test_an_error_is_tried_again_if_it_may_be(*, retryable: bool, status: StageStatus) -> None:
    run = asking()
    run.do(c.Decline("a", run.seq("a"), error(), retryable, 0.0, "said"))
    stage = run.state.stages["a"]
    assert stage.status is status
    failed = run.log[-1][0]
    assert isinstance(failed, StageFailed)
    assert (failed.answer, failed.error.attempt) == ("said", 1)


def test_a_heartbeat_moves_the_time_but_never_past_the_limit() -> None:
    run = asking()
    run.now = NOW + 2 * MINUTE
    assert run.do(c.Beat("a", run.seq("a"), 0.5)) == ["StageChecked a"]
    assert (run.state.stages["a"].at, run.state.stages["a"].progress) == (NOW + 5 * MINUTE, 0.5)
    run.now = NOW + 9 * MINUTE
    run.do(c.Beat("a", run.seq("a"), None))
    assert (run.state.stages["a"].at, run.state.stages["a"].progress) == (NOW + 10 * MINUTE, 0.5)


def test_a_heartbeat_of_a_running_stage_is_stale() -> None:
    run = Run(node("a", callback=CALLBACK))
    run.begin(CHAIN)
    with pytest.raises(Stale):
        run.do(c.Beat("a", run.seq("a"), None))


def test_silence_is_tried_again_and_the_limit_is_not() -> None:
    run = asking()
    run.now = NOW + 3 * MINUTE
    run.do(c.Unanswered("a", run.seq("a"), run.now, 0.0, NO_CHAIN))
    stage = run.state.stages["a"]
    assert stage.error is not None
    assert (stage.status, stage.error.kind) == (StageStatus.RETRYING, "HeartbeatMissed")

    run = asking(CallbackPolicy(limit=10 * MINUTE))
    run.now = NOW + 10 * MINUTE
    assert run.do(c.Unanswered("a", run.seq("a"), run.now, 0.0, NO_CHAIN)) == ["StageFailed a", "RunFailed"]
    assert run.state.error is not None
    assert run.state.error.kind == "WaitLimitReached"


def test_who_gives_up_on_a_stage_that_was_heard_of_meanwhile_is_stale() -> None:
    run = asking()
    at = run.state.stages["a"].at
    run.now = NOW + MINUTE
    run.do(c.Beat("a", run.seq("a"), None))
    run.now = at
    with pytest.raises(Stale):
        run.do(c.Unanswered("a", run.seq("a"), at, 0.0, NO_CHAIN))


def test_nobody_needs_to_look_before_a_heartbeat_is_missed() -> None:
    run = asking()
    assert plan(run.state, NOW + 3 * MINUTE - 1, 0) == Idle(NOW + 3 * MINUTE, quiet=True)
    assert plan(run.state, NOW + 3 * MINUTE, 0) == Check("a")


def test_a_cancelled_run_takes_no_answer() -> None:
    run = asking()
    run.do(c.Cancel(""))
    with pytest.raises(Stale):
        answer(run)


def test_a_snapshot_keeps_what_a_waiting_stage_waits_for() -> None:
    run = asking()
    again = decode_snapshot(encode_snapshot(run.state), RunCreated(inline(b"{}")))
    assert again.stages == run.state.stages


# --- tokens -----------------------------------------------------------------------------------------------------------

TOKEN = Token("acme", "a" * 24, "ask", 7, "5" * 48)


def test_a_token_is_fit_for_a_path_and_reads_back() -> None:
    longest = Token("t" * 128, "a" * 24, "s" * 64, 9_999_999_999, "f" * 48)
    for token in (TOKEN, longest):
        text = write_token(token)
        assert read_token(text) == token
        assert len(text) <= LONGEST
        assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_there_is_one_text_of_a_token() -> None:
    text = write_token(TOKEN)
    for other in (text + "=", f" {text}", text[:-1], text + "A", text.lower(), "", "x" * 600):
        assert read_token(other) is None


def test_only_the_secret_fits_its_digest() -> None:
    assert is_secret_of(TOKEN, digest_of("5" * 48))
    assert not is_secret_of(TOKEN, digest_of("6" * 48))
    assert not is_secret_of(TOKEN, "")
