"""Retries and reruns that are refused (R8): a clear error each, and nothing is changed."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from kernel.errors import Conflict, InvalidInput, NotFound
from kernel.ports import RunRef
from kernel.shell.attend import Outcome
from kernel.shell.environment import HOUR, MINUTE
from kernel.shell.rerun import retry
from kernel.testing.play import Play
from onewrite import Registry, Workflow
from tests.shell.script import (
    Note,
    Script,
    commits_of,
    head_of,
    line,
    throws,
)
from tests.shell.test_rerun import NO, completed, failed


def unchanged(play: Play, ref: RunRef, act: Any, error: type[Exception], text: str) -> None:
    """What is refused changes nothing."""
    before = (head_of(play, ref), commits_of(play, ref), play.queue.waiting)
    with pytest.raises(error, match=text):
        act()
    assert (head_of(play, ref), commits_of(play, ref), play.queue.waiting) == before


def test_an_unknown_stage_is_refused_by_naming_those_there_are(script: Script) -> None:
    play, ref = completed(script)
    unchanged(play, ref, lambda: play.rerun(ref, "nope"), NotFound, "has no stage 'nope'; it has a, b, c, d")


def test_a_missing_upstream_output_is_refused_by_naming_it(script: Script) -> None:
    play, ref = failed(script)
    unchanged(play, ref, lambda: play.rerun(ref, "d"), Conflict, "'c', which it depends on, has no output")


def test_what_was_undone_upstream_counts_as_missing(script: Script) -> None:
    flow = line(script.stage("a", compensate=script.undo()), script.stage("b", throws(NO)))
    play = Play(flow)
    ref = play.run(flow, Note()).ref
    unchanged(play, ref, lambda: play.rerun(ref, "b"), Conflict, "'a', which it depends on, has no output")


def test_a_run_under_way_is_refused(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    unchanged(play, ref, lambda: play.retry(ref), Conflict, "only a finished run")


def test_retry_of_a_run_that_has_not_failed_is_refused(script: Script) -> None:
    play, ref = completed(script)
    unchanged(play, ref, lambda: play.retry(ref), Conflict, "only a failed run can be retried")


def test_a_reopened_run_has_until_an_hour_before_its_retention_is_over_and_at_least_an_hour(script: Script) -> None:
    play, ref = failed(script)
    expires = head_of(play, ref).expires
    play.clock.move(expires - 2 * HOUR - play.clock.now())
    play.retry(ref)
    assert play.ended(ref).view.deadline == expires - HOUR
    play.play([ref])
    play.clock.move(1)
    unchanged(play, ref, lambda: play.rerun(ref, "a"), Conflict, "expires before a new deadline")


def test_a_run_that_is_reopened_late_is_failed_by_its_deadline_before_its_retention_is_over(script: Script) -> None:
    play, ref = failed(script)
    play.clock.move(head_of(play, ref).expires - 2 * HOUR - play.clock.now())
    play.retry(ref)
    play.queue.clear()
    play.clock.move(HOUR + MINUTE)
    play.tick()
    error = play.ended(ref).view.error
    assert error is not None
    assert error.kind == "DeadlineExceeded"
    assert head_of(play, ref).due is None


def test_a_run_whose_retention_is_over_is_gone_whatever_the_store_still_has_of_it(script: Script) -> None:
    """TTL deletes in any order: a head without its log must not come back as a run that has just begun."""
    play, ref = failed(script)
    play.clock.move(head_of(play, ref).expires - play.clock.now())
    for act in (play.retry, play.cancel, play.ended):
        with pytest.raises(NotFound, match="retention is over"):
            act(ref)
    assert play.attend(ref).outcome is Outcome.GONE


def test_a_run_of_another_version_is_refused(script: Script) -> None:
    play, ref = failed(script)
    other = Workflow("flow", input=Note, version=2).then(script.stage("z"))
    play.env = replace(play.env, definitions=Registry(other))
    unchanged(play, ref, lambda: play.retry(ref), Conflict, "needs flow version 1, which this deployment does not have")


def test_a_reason_that_is_too_long_is_refused(script: Script) -> None:
    play, ref = failed(script)
    unchanged(play, ref, lambda: retry(play.env, ref, by="me", reason="x" * 501), InvalidInput, "501 characters")


def test_a_run_that_is_not_there_is_not_found(script: Script) -> None:
    play, _ = failed(script)
    with pytest.raises(NotFound):
        play.retry(RunRef("test", "0" * 24))
