"""Error records (F7): what is kept of an error, bounded and always valid text, whatever users throw."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kernel.core.events import ErrorRecord, StageFailed
from kernel.errors import Unavailable
from kernel.testing.play import Play
from onewrite import Context, PermanentError, Retry, StageTimedOut
from tests.shell.script import Note, Script, commits_of, dies, events, gives, line, throws

ONCE = Retry(1)


def failure(script: Script, act: Any, **options: Any) -> ErrorRecord:
    """What is recorded of a stage that fails."""
    play = Play(flow := line(script.stage("a", act, retry=ONCE, **options)))
    (failed,) = events(play, play.run(flow, Note()).ref, StageFailed)
    error: ErrorRecord = failed.error
    return error


def test_an_error_is_kept_with_its_class_text_place_and_traceback(script: Script) -> None:
    def charge_card() -> None:
        raise LookupError("no such card")

    error = failure(script, lambda _ctx: charge_card())
    assert (error.category, error.kind, error.message) == ("user", "LookupError", "no such card")
    assert (error.stage, error.attempt) == ("a", 1)
    assert "in charge_card" in error.traceback
    assert error.traceback.rstrip().endswith("LookupError: no such card")


def test_the_cause_of_an_error_is_in_its_traceback(script: Script) -> None:
    def act(_ctx: Context) -> None:
        raise RuntimeError("cannot charge") from OSError("network is down")

    assert "network is down" in failure(script, act).traceback


CATEGORIES = {
    "user": throws(ValueError("no")),
    "timeout": throws(StageTimedOut("too long")),
    "output": gives(object()),
    "infrastructure": throws(Unavailable("no")),
    "lease": dies(),
}


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_error_has_a_category(script: Script, category: str) -> None:
    assert failure(script, CATEGORIES[category]).category == category


def test_the_run_tells_which_stage_failed_it_and_how(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b", throws(ValueError("no")), retry=ONCE)))
    error = play.run(flow, Note()).view.error
    assert error is not None
    assert (error.kind, error.message, error.stage, error.attempt) == ("ValueError", "no", "b", 1)


def test_an_error_without_a_text_is_told_by_its_name(script: Script) -> None:
    assert failure(script, throws(ValueError())).message == "ValueError()"


def test_a_long_error_is_cut_so_that_its_commit_stays_small(script: Script) -> None:
    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        raise ValueError("x" * 100_000)

    play = Play(flow := line(script.stage("a", lambda _ctx: deep(50), retry=ONCE)))
    ref = play.run(flow, Note()).ref
    (failed,) = events(play, ref, StageFailed)
    assert len(failed.error.message) == 1_000
    assert len(failed.error.traceback) <= 3_000
    assert max(len(commit.events) for commit in commits_of(play, ref)) < 12_000


def test_an_error_that_holds_lone_surrogates_is_kept(script: Script) -> None:
    error = failure(script, throws(ValueError("caf\udce9")))
    assert error.message == "caf\\udce9"
    error.traceback.encode()


class Unspeakable(Exception):
    """An error that cannot even be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def test_an_error_whose_text_throws_is_kept_all_the_same(script: Script) -> None:
    error = failure(script, throws(Unspeakable()))
    assert (error.category, error.kind) == ("user", "Unspeakable")


def test_an_exit_in_a_body_fails_its_attempt_and_not_the_worker(script: Script) -> None:
    error = failure(script, throws(SystemExit(3)))
    assert (error.kind, error.message) == ("SystemExit", "3")


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit()], ids=lambda error: type(error).__name__)
def test_what_is_no_exception_by_name_fails_the_attempt_as_well(script: Script, error: BaseException) -> None:
    assert failure(script, throws(error)).kind == type(error).__name__


def test_running_out_of_stack_fails_the_attempt(script: Script) -> None:
    def forever(ctx: Context) -> None:
        forever(ctx)

    assert failure(script, forever).kind == "RecursionError"


def test_an_interrupt_is_meant_for_the_process(script: Script) -> None:
    play = Play(flow := line(script.stage("a", throws(KeyboardInterrupt()))))
    play.start(flow, Note())
    with pytest.raises(KeyboardInterrupt):
        play.step()


ODD: dict[str, BaseException] = {
    "surrogates": ValueError("caf\udce9"),
    "no text": Unspeakable(),
    "exit": SystemExit(3),
    "long": ValueError("x" * 100_000),
}


@pytest.mark.parametrize("error", ODD.values(), ids=ODD.keys())
def test_whatever_a_condition_throws_fails_its_stage(script: Script, error: BaseException) -> None:
    def condition(_note: Note) -> bool:
        raise error

    flow: Any = line(script.stage("a")).then_if(condition, script.stage("b"))
    play = Play(flow)
    ended = play.run(flow, Note())
    assert script.calls == ["a"], "and what precedes it is not run again"
    assert ended.view.error is not None
    assert (ended.view.error.category, ended.view.error.stage) == ("condition", "b")
    assert ended.view.error.kind == type(error).__name__
    assert len(ended.view.error.message) <= 1_000


def test_whatever_a_check_throws_counts_against_its_budget(script: Script) -> None:
    play = Play(flow := line(script.job("a", throws(Unspeakable(), 2))))
    assert play.run(flow, Note()).status == "completed"


def test_a_permanent_error_fails_the_stage_whatever_its_policy(script: Script) -> None:
    class CardRefused(PermanentError):
        """A user's own kind."""

    play = Play(flow := line(script.stage("a", throws(CardRefused("stolen")), retry=Retry(9))))
    ended = play.run(flow, Note())
    assert script.calls == ["a"]
    assert ended.view.error is not None
    assert ended.view.error.kind == "CardRefused"
