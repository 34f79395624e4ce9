"""The invariants of DESIGN, checked on what a run left in the store: what every harness asks after what it did."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET
from msgspec.structs import replace

from kernel.core.codec import encode_snapshot
from kernel.core.definition import Definition, Strategy
from kernel.core.events import (
    COMPENSATE,
    RUN_LEVEL,
    AnyEvent,
    Closed,
    CompensationStarted,
    EventReceived,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunReopened,
    StageCompleted,
    StageFailed,
    StageSkipped,
    StageStarted,
    StateEntered,
    TimerFired,
    TimerSet,
    TransitionStarted,
    TransitionTaken,
    WaitMatched,
    WaitStarted,
)
from kernel.core.plan import Idle, Over, plan
from kernel.ports import LOG, Commit, Published, RunRef
from kernel.shell import read
from kernel.shell.environment import Environment
from kernel.shell.heads import is_final
from kernel.shell.load import Session, events_of, load
from kernel.testing.play import Play


def check(play: Play, ref: RunRef) -> None:
    """Everything about a run that is over."""
    check_over(plain(play), ref, play.sink.events)


def plain(play: Play) -> Environment:
    """Its environment, past the faults and the meter: looking is not part of what is tested."""
    return replace(play.env, store=play.store)


def check_kept(env: Environment, ref: RunRef) -> None:
    """Invariant 2, at any time: a run that somebody has to look at is in the index, near enough."""
    session = loaded(env, ref)
    head, now = session.head, env.clock.now()
    step = plan(session.state, now, env.limits.max_skew)
    if isinstance(step, Over) and is_final(session):
        return
    assert head.due is not None, "no-run-is-forgotten: it is not in the due index"
    need = max(now, step.until) if isinstance(step, Idle) else now
    late = head.due - need - env.limits.look_grace
    assert late <= 0, f"no-run-is-forgotten: {step}, looked at {late} ms too late"


def check_over(env: Environment, ref: RunRef, submitted: Sequence[Published]) -> list[AnyEvent]:
    """Everything about a run that is over.

    Args:
        env: the environment, past any faults.
        ref: which run.
        submitted: what the sink was given, in order.

    Returns:
        The events of its log.
    """
    session = loaded(env, ref)
    head, state = session.head, session.state
    commits = commits_of(env, ref)
    assert [commit.seq for commit in commits] == list(range(1, len(commits) + 1)), "one-commit-per-number: gaps"
    assert len({commit.token for commit in commits}) == len(commits), "one-commit-per-number: a token came twice"
    times = [head.created, *(commit.at for commit in commits)]
    assert times == sorted(times), f"times decrease along the log: {times}"
    assert state.status.finished, "quiet-at-last: the run is not over"
    # Recorded values are compared by their text: Raw compares by identity.
    assert encode_snapshot(state) == encode_snapshot(read.replay(env, session)), "replay-equals-live"
    assert head.due is None, "no-run-is-forgotten: a finished run is still in the due index"
    assert head.status == state.status.value, f"the head says {head.status}"
    assert head.published == state.seq, "published-at-least-once: the cursor is behind"

    definition = env.definitions.find(head.workflow, head.version, head.fingerprint)
    assert definition is not None
    witness = Witness(definition)
    log = [(0, 0, session.recent[0][0])]
    log += [(commit.seq, index, event) for commit in commits for index, event in enumerate(events_of(ref, commit))]
    for _, _, event in log[1:]:
        witness.see(event)
    assert witness.over, "quiet-at-last: no end in the log"

    every = env.limits.publish == "all"
    wanted = [(seq, index) for seq, index, event in log if every or isinstance(event, RUN_LEVEL)]
    seen = dict.fromkeys(tuple(map(int, event.id.split("#")[1:])) for event in submitted if event.run == ref.run)
    assert list(seen) == wanted, f"published-at-least-once, in order of first submission: {list(seen)} not {wanted}"
    return [event for _, _, event in log]


def loaded(env: Environment, ref: RunRef) -> Session:
    """The run as it is stored."""
    session = load(env.store, ref, lambda: 0)
    assert session is not None, "accepted-is-kept: the run is gone"
    return session


def commits_of(env: Environment, ref: RunRef) -> list[Commit]:
    """Its commits, without that of its creation."""
    return [item for item in env.store.range(ref, LOG, LOG + "~", limit=1_000_000) if isinstance(item, Commit)]


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
        self.waits: set[str] = set()
        self.received: set[str] = set()
        self.taken: set[str] = set()

    def see(self, event: AnyEvent) -> None:  # noqa: C901, PLR0912 - one case for each event
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
            case TimerSet(timer=stage):
                self._started(stage)
            case TimerFired(timer=stage) if stage not in self.waits:
                self._ended(stage, "completed")
            case WaitStarted(wait=wait):
                self._started(wait)
                self.waits.add(wait)
            case EventReceived(event=event_id):
                assert event_id not in self.received, f"applied-once: {event_id} is received twice"
                self.received.add(event_id)
            case WaitMatched(wait=wait, event=event_id):
                assert event_id in self.received - self.taken, f"applied-once: {event_id} is taken twice, or never came"
                self.taken.add(event_id)
                self._ended(wait, "completed")
            case StateEntered() | TransitionStarted() | TransitionTaken():
                self._moved(event)
            case StageCompleted(stage=stage, output=output):
                self._ended(stage, "completed")
                said = "" if output.json is UNSET else bytes(output.json).decode()
                # Bodies may say which attempt theirs is.
                assert "attempt" not in said or said.endswith(f'attempt {self.attempt[stage]}"}}'), (
                    f"stale-cannot-commit: {stage} completed by another attempt: {said}"
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

    def _moved(self, event: StateEntered | TransitionStarted | TransitionTaken) -> None:
        """A machine moves on: what was under way where it was is forgotten."""
        if event.event:
            assert event.event in self.received - self.taken, (
                f"applied-once: {event.event} is taken twice, or never came"
            )
            self.taken.add(event.event)
        if not isinstance(event, TransitionTaken):
            self.starts.clear()
            self.attempt.clear()
            self.outcome.clear()
            self.done.clear()

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
