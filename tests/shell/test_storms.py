"""Random workflows under random faults, commands and time: the invariants of DESIGN 13, as far as they can be seen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest
from msgspec import UNSET

from kernel.core.codec import encode_snapshot
from kernel.core.definition import Definition, Strategy
from kernel.core.events import (
    COMPENSATE,
    AnyEvent,
    Closed,
    CompensationStarted,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunReopened,
    StageCompleted,
    StageFailed,
    StageSkipped,
    StageStarted,
)
from kernel.core.plan import Idle, Over, plan
from kernel.errors import Refused, Unavailable
from kernel.ports import RunRef
from kernel.shell import read
from kernel.shell.environment import Limits
from kernel.shell.load import events_of
from kernel.testing.faults import Call, Crash, Fault
from kernel.testing.play import Play
from tests.shell.script import Note, commits_of, head_of, session_of
from tests.shell.storms import random_flow
from tests.shell.test_chaos import storm

HISTORIES = 60
"""Per test; each takes some milliseconds."""


class Witness:
    """Reads a log, and says which invariant it breaks."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.starts: dict[str, int] = {}
        self.attempt: dict[str, int] = {}
        self.outcome: dict[str, str] = {}
        self.done: list[str] = []
        self.undo: tuple[str, ...] | None = None
        self.undone: list[str] = []
        self.over = False

    def see(self, event: AnyEvent) -> None:
        """One event after the other."""
        assert not self.over or isinstance(event, RunReopened | Closed), f"cancel-wins-whole: {event} after the end"
        match event:
            case RunReopened(reset=reset):
                self.over, self.undo, self.undone = False, None, []
                for stage in reset:
                    self.starts.pop(stage, None)
                    self.outcome.pop(stage, None)
                self.done = [stage for stage in self.done if stage not in reset]
            case StageStarted(stage=stage, attempt=attempt):
                self._started(stage)
                self.attempt[stage] = attempt
            case StageCompleted(stage=stage, output=output):
                self._ended(stage, "completed")
                said = "" if output.json is UNSET else bytes(output.json).decode()
                assert "attempt" not in said or said.endswith(f'attempt {self.attempt[stage]}"}}'), (
                    "stale-cannot-commit"
                )
            case StageSkipped(stage=stage):
                self._ended(stage, "skipped")
            case StageFailed(stage=stage, retry_at=None):
                self._ended(stage, "failed")
            case CompensationStarted(stages=stages):
                expected = [each for each in reversed(self.done) if self.definition.stages[each].compensated]
                assert list(stages) == expected, f"compensation in reverse order: {stages}, not {expected}"
                self.undo = stages
            case RunCompleted() | RunFailed() | RunCancelled():
                self.over = True
            case _:
                pass

    def _started(self, stage: str) -> None:
        spec = self.definition.stages[stage]
        self.starts[stage] = self.starts.get(stage, 0) + 1
        allowed = 1 if spec.at_most_once else spec.retry.attempts
        assert self.starts[stage] <= allowed, f"attempts-are-bounded: {stage}"
        assert stage not in self.outcome, f"recorded-is-immutable: {stage} starts again"
        if stage.startswith(COMPENSATE):
            assert self.undo is not None, f"{stage} without a compensation"
            assert stage == COMPENSATE + self.undo[len(self.undone)], f"compensation in order: {stage}"
            return
        assert self.undo is None, f"cancel-wins-whole: {stage} starts while the run is undone"
        for needed in self.definition.program.needs(stage):
            proceeds = self.definition.stages[needed].on_failure is Strategy.PROCEED
            passed = {"completed", "skipped", *(["failed"] if proceeds else [])}
            assert self.outcome.get(needed) in passed, f"order-holds: {stage} before {needed}"

    def _ended(self, stage: str, how: str) -> None:
        assert stage not in self.outcome, f"recorded-is-immutable: {stage} ends twice"
        self.outcome[stage] = how
        if stage.startswith(COMPENSATE):
            self.undone.append(stage)
        elif how == "completed":
            self.done.append(stage)


def check_kept(play: Play, ref: RunRef) -> None:
    """Invariant 2, at any time: whoever needs somebody is in the index, near enough."""
    session, head = session_of(play, ref), head_of(play, ref)
    now, limits = play.clock.now(), play.env.limits
    step = plan(session.state, now, limits.max_skew)
    if isinstance(step, Over):
        return
    assert head.due is not None, "no-run-is-forgotten"
    need = max(now, step.until) if isinstance(step, Idle) else now
    assert head.due <= need + limits.look_grace, f"no-run-is-forgotten: {step}, looked at {head.due - need} ms too late"


def check_over(play: Play, ref: RunRef) -> None:
    """Everything about a run that is over."""
    session, head = session_of(play, ref), head_of(play, ref)
    commits = commits_of(play, ref)
    assert [commit.seq for commit in commits] == list(range(1, len(commits) + 1)), "one-commit-per-number"
    times = [head.created, *(commit.at for commit in commits)]
    assert times == sorted(times), "times decrease along the log"
    assert encode_snapshot(session.state) == encode_snapshot(read.replay(play.env, session)), "replay-equals-live"
    assert (head.status, head.due) == (session.state.status.value, None), "quiet-at-last"
    definition = play.env.definitions.find(head.workflow, head.version, head.fingerprint)
    assert definition is not None
    witness = Witness(definition)
    for commit in commits:
        for event in events_of(ref, commit):
            witness.see(event)
    assert witness.over
    wanted = [(0, 0)] + [(commit.seq, index) for commit in commits for index, _ in enumerate(events_of(ref, commit))]
    seen = dict.fromkeys(tuple(map(int, event.id.split("#")[1:])) for event in play.sink.events)
    assert list(seen) == wanted, "published-at-least-once, in order of first submission"


def disturb(play: Play, ref: RunRef, random: Random) -> None:
    """Something that can happen to a deployment at any time."""
    stage = f"s{random.randrange(10)}"
    match random.randrange(14):
        case 0:
            play.queue.clear()
        case 1 if play.queue.waiting:
            play.queue.send([(random.choice(play.queue.waiting), random.randrange(3))])
        case 2:
            play.clock.move(random.choice((1_000, 60_000, 200_000, 3_600_000)))
        case 3 | 4:
            play.tick()
        case 5 if random.random() < 0.3:
            play.cancel(ref)
        case 6 if random.random() < 0.5:
            play.retry(ref)
        case 7 if random.random() < 0.5:
            play.rerun(ref, stage)
        case 8:
            play.attend(ref, random.choice(("", stage)), seconds=random.choice((300, 62, 30)))
        case _:
            play.step(seconds=random.choice((300, 300, 62, 10)))


def crowd(play: Play, ref: RunRef, random: Random) -> Callable[[], None]:
    """Others, who do something while somebody is frozen: in front of a call, or in the middle of a body."""
    trouble, rate = storm(random), random.choice((0.0, 0.1, 0.3))
    left = [random.randrange(1, 100)]
    depth = [0]

    def others() -> None:
        for _ in range(random.randrange(6)):
            if left[0] <= 0 or depth[0] >= 2:
                return
            left[0] -= 1
            depth[0] += 1
            with suppress(Crash, Unavailable, Refused):
                disturb(play, ref, random)
            depth[0] -= 1

    def choose(call: Call) -> Fault | None:
        if random.random() < rate:
            others()
        return trouble(call)

    play.faults.choose = choose
    return others


def history(seed: int) -> None:
    """One random workflow and what becomes of it."""
    random = Random(seed)

    def move(milliseconds: int) -> None:
        play.clock.move(milliseconds)
        others()

    flow = random_flow(random, move)
    limits = Limits(publish="all", chain_cap=random.choice((1, 2, 1_000)), publish_attempts=1_000)
    play = Play(flow, limits=limits, seed=seed)
    play.faults.choose = storm(random)
    ref: RunRef | None = None
    while ref is None:
        with suppress(Crash, Unavailable):
            ref = play.start(flow, Note(), key="k")
    others = crowd(play, ref, random)
    for _ in range(random.randrange(80)):
        with suppress(Crash, Unavailable, Refused):
            disturb(play, ref, random)
        check_kept(play, ref)
    play.play([ref], days=20)
    play.faults.choose = lambda _call: None
    check_over(play, ref)


@pytest.mark.parametrize("block", range(5))
def test_no_history_of_any_workflow_breaks_an_invariant(block: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    for seed in range(block * HISTORIES, (block + 1) * HISTORIES):
        try:
            history(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
