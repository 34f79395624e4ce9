"""The soak's callers: what they were told was accepted is kept, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from bench.soak.driver import Accepted, Callers, Pace
from hosts.local.client import ApiError, Unreachable
from kernel.errors import OnewriteError
from kernel.ports import HEAD, Head, RunRef
from kernel.shell.heads import due_shard
from kernel.testing.conformance.examples import head
from kernel.testing.memory import MemoryStore

RUN = "a" * 24
REF = RunRef("soak", RUN)


class FakeApi:
    """Answers as it is told to, one after the other."""

    def __init__(self, *answers: dict[str, Any] | OnewriteError) -> None:
        self.answers: Iterator[dict[str, Any] | OnewriteError] = iter(answers)
        self.keys: list[str | None] = []

    def start(self, workflow: str, value: object, *, key: str | None = None) -> dict[str, Any]:
        self.keys.append(key)
        return self._next()

    def act(self, run: str, verb: str, body: object) -> dict[str, Any]:
        return self._next()

    def _next(self) -> dict[str, Any]:
        answer = next(self.answers)
        if isinstance(answer, OnewriteError):
            raise answer
        return answer


def answered(*, replay: bool) -> dict[str, Any]:
    return {"run": RUN, "replay": replay}


def callers(api: FakeApi, store: MemoryStore | None = None) -> Callers:
    given: Any = api
    return Callers(given, store or MemoryStore(), "soak", Random(1), Pace())


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.soak.driver.AGAIN", 0.0)


def test_a_start_without_an_answer_is_asked_again_with_its_key() -> None:
    api = FakeApi(ApiError(500, {}), Unreachable("nobody there"), answered(replay=True))
    made = callers(api)

    accepted = made._accept("line", {"seed": 1}, "k")

    assert api.keys == ["k", "k", "k"]
    assert accepted == made.accepted[RUN] == Accepted(REF, "line", created=0)


def test_each_answer_that_says_it_created_the_run_is_counted() -> None:
    made = callers(FakeApi(answered(replay=False), answered(replay=True), answered(replay=False)))

    for _ in range(3):
        made._accept("line", {"seed": 1}, "k")

    assert made.accepted == {RUN: Accepted(REF, "line", created=2)}


def test_a_start_that_is_refused_is_wrong() -> None:
    made = callers(FakeApi(ApiError(409, {"detail": "the key was used"})))

    assert made._accept("line", {"seed": 1}, "k") is None
    assert made.wrong == ["start of k is refused: the key was used"]
    assert not made.accepted
    assert made.unanswered == 0


def test_a_start_without_an_answer_for_long_is_given_up_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.soak.driver.PATIENCE", 0.01)
    made = callers(FakeApi(*[Unreachable("nobody there")] * 100_000))

    assert made._accept("line", {"seed": 1}, "k") is None
    assert made.unanswered == 1
    assert not made.wrong
    assert not made.accepted


@pytest.mark.parametrize(
    ("answer", "counted", "wrong"),
    [({}, 1, 0), (ApiError(409, {}), 0, 0), (ApiError(404, {}), 0, 1)],
    ids=["accepted", "conflict", "not-found"],
)
def test_a_command_counts_when_it_was_accepted(answer: dict[str, Any] | ApiError, counted: int, wrong: int) -> None:
    made = callers(FakeApi(Unreachable("nobody there"), answer))

    assert made._commanded(Accepted(REF, "line"), "cancel", {}) == counted
    assert len(made.wrong) == wrong


def stored(**changes: Any) -> MemoryStore:
    store = MemoryStore()
    store.put(REF, replace(head(REF, due_shard=due_shard(0)), **changes))
    return store


def test_a_run_is_over_when_its_head_is_out_of_the_index() -> None:
    open_, over = callers(FakeApi(), stored()), callers(FakeApi(), stored(due=None))
    for made in (open_, over):
        made.accepted[RUN] = Accepted(REF, "line")

    assert open_.look() == []
    assert [run.ref for run in over.look()] == [REF]
    assert (len(open_.open), over.open) == (1, [])


def test_a_run_that_is_gone_is_never_over() -> None:
    made = callers(FakeApi())
    made.accepted[RUN] = Accepted(REF, "line")

    assert made.look() == []
    assert made.open


def test_a_failed_run_that_is_retried_is_no_longer_over() -> None:
    store = stored(due=None, status="failed")
    made = callers(FakeApi({}), store)
    made._pace = Pace(retried=1.0)
    made.accepted[RUN] = run = Accepted(REF, "line", over=True)

    assert made._go_on(run)

    assert (run.over, run.reopens) == (False, 1)
    assert isinstance(store.get(REF, HEAD), Head)
