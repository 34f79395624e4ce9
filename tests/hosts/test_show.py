"""Runs as people see them: how far one is, and how long it has taken."""

from __future__ import annotations

from typing import Any

from hosts.local.show import counted, progress_of, seconds_of


def stages(*statuses: str) -> dict[str, Any]:
    return {"stages": [{"stage": f"s{number}", "status": status} for number, status in enumerate(statuses, 1)]}


def test_a_few_stages_are_shown_one_by_one() -> None:
    assert progress_of(stages("completed", "skipped", "running")).plain == "✓ s1  - s2  ▶ s3"


def test_of_many_stages_those_that_are_over_are_counted_and_the_others_shown() -> None:
    view = stages(*["completed"] * 6, "retrying", "scheduled")

    assert progress_of(view).plain == "✓ 6 stages  ↻ s7  · s8"


def test_each_stage_that_is_over_is_counted_once_the_last_one_too() -> None:
    assert progress_of(stages(*["completed"] * 13)).plain == "✓ 13 stages"


def test_where_there_is_little_room_fewer_stages_are_many() -> None:
    assert progress_of(stages("completed", "running"), few=1).plain == "✓ 1 stage  ▶ s2"
    assert progress_of(stages("running", "running"), few=1).plain == "▶ s1  ▶ s2"


def test_of_a_machine_the_state_or_transition_comes_first() -> None:
    view = stages("running")

    assert progress_of(view | {"state": "review"}).plain == "review  ▶ s1"
    assert progress_of(view | {"state": "review", "transition": "review.Reject"}).plain == "review.Reject  ▶ s1"
    assert progress_of(stages() | {"state": "paid"}).plain == "paid"


def test_a_run_that_is_over_took_until_its_last_commit() -> None:
    assert seconds_of({"status": "failed", "created": 1_000, "updated": 2_500}, now=99_000) == 1.5


def test_a_run_that_is_open_is_as_old_as_it_is_whenever_its_last_commit_was() -> None:
    view = {"status": "running", "created": 1_000, "updated": 1_200}

    assert seconds_of(view, now=10_000) == 9.0
    assert seconds_of(view, now=500) == 0.2  # the clock of another machine


def test_one_is_no_plural() -> None:
    assert [counted(number, "minute") for number in (1.0, 0.5, 2)] == ["1 minute", "0.5 minutes", "2 minutes"]
