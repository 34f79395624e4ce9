"""The audit: holds a run's log against itself, against what was accepted, and against what its stages did outside.

Each check is a function of an ``Account`` and knows nothing of how the soak came by it. They say what is promised, not
how it is done: nothing here asks the engine's own ``decide``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from bench.soak.account import Account, Entry, Finding
from bench.soak.effects import ANSWERED, BEGAN, RETURNED
from kernel.core import codec
from kernel.core.definition import Definition, Strategy
from kernel.core.events import (
    COMPENSATE,
    AnyEvent,
    Closed,
    CompensationStarted,
    LeaseExpired,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunReopened,
    StageChecked,
    StageCompleted,
    StageFailed,
    StageSkipped,
    StageStarted,
    StageSuspended,
)

LATE = 1_500
"""Milliseconds after the end of its lease within which a body may still be seen to begin.

It checks its lease before it begins; a machine with more processes than processors may hold it up right after that.
"""


def audit(account: Account) -> Iterator[Finding]:
    """Everything that is wrong with a run."""
    if account.unreadable:
        yield account.found("lost", f"cannot be read: {account.unreadable}")
        return
    if account.head is None or account.state is None:
        yield account.found("lost", "accepted-is-kept: it was accepted, and there is no such run")
        return
    for check in CHECKS:
        yield from check(account)


def numbers(account: Account) -> Iterator[Finding]:
    """One commit per number, without gaps, each of its own; times never decrease."""
    log = account.log
    found = [entry.seq for entry in log]
    if found != list(range(1, len(found) + 1)):
        yield account.found("lost", f"one-commit-per-number: the log has {found}")
    if len({entry.token for entry in log}) != len(log):
        yield account.found("doubled", "one-commit-per-number: two commits have the same token")
    times = [entry.at for entry in log]
    if times != sorted(times):
        yield account.found("broken", "times decrease along the log")


def end(account: Account) -> Iterator[Finding]:
    """The run is finished, published and out of the index; its head says so."""
    head, state = account.head, account.state
    assert head is not None  # noqa: S101 - only runs that are there come here
    assert state is not None  # noqa: S101 - as above
    if not state.status.finished:
        active = ", ".join(f"{id_} {state.stages[id_].status}" for id_ in state.active)
        yield account.found("stuck", f"quiet-at-last: it is {state.status} with {active or 'nothing begun'}")
        return
    if head.due is not None:
        yield account.found("stuck", "no-run-is-forgotten: it is finished, and still in the due index")
    elif head.status != state.status.value:
        yield account.found("broken", f"the head says {head.status}, the log {state.status}")
    elif head.published != state.seq:
        yield account.found("lost", f"published-at-least-once: up to {head.published} of {state.seq}")


def replay(account: Account) -> Iterator[Finding]:
    """A snapshot holds what the log says."""
    if account.state is None or account.replayed is None:
        return
    # Recorded values are compared by their text: Raw compares by identity.
    if codec.encode_snapshot(account.state) != codec.encode_snapshot(account.replayed):
        yield account.found("broken", "replay-equals-live: the snapshot is not the fold of the log")


def asked(account: Account) -> Iterator[Finding]:
    """What was accepted is in the log, and a start created one run."""
    if account.asked.created > 1:
        yield account.found("doubled", f"{account.asked.created} answers said that they had created it")
    reopened = sum(isinstance(event, RunReopened) for _, event in account.events)
    if reopened < account.asked.reopens:
        yield account.found("lost", f"{account.asked.reopens} retries or reruns were accepted, {reopened} are recorded")
    if account.asked.cancels and not any(map(_is_cancel, account.events)):
        yield account.found("lost", "a cancel was accepted, and is not in the log")


def _is_cancel(place: tuple[Entry, AnyEvent]) -> bool:
    _, event = place
    return isinstance(event, RunCancelled) or (isinstance(event, CompensationStarted) and event.cancelled is not None)


def history(account: Account) -> Iterator[Finding]:
    """The events follow from one another: order, bounds, one result each, nothing after the end."""
    if account.definition is None:
        yield account.found("broken", "its workflow is not among those of the soak")
        return
    walk = _Walk(account.definition)
    for _, event in account.events:
        for kind, text in walk.step(event):
            yield Finding("doubled" if kind else "broken", account.ref.run, text)


class _Walk:
    """What is so far true of a run, event by event."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.starts: Counter[str] = Counter()
        self.current: dict[str, int] = {}
        self.done: set[str] = set()
        self.completed: set[str] = set()
        self.over = False

    def step(self, event: AnyEvent) -> Iterator[tuple[bool, str]]:
        """What is wrong with an event; whether something came twice, and in words."""
        if isinstance(event, RunReopened):
            self.over = False
            for stage in event.reset:
                self._forget(stage)
            return
        if self.over and not isinstance(event, Closed):
            yield False, f"cancel-wins-whole: {type(event).__name__} after the end"
        self.over = self.over or isinstance(event, RunCompleted | RunFailed | RunCancelled)
        match event:
            case StageStarted(stage=stage, attempt=attempt):
                yield from self._started(stage)
                self.current[stage] = attempt
            case StageCompleted(stage=stage, attempt=attempt):
                yield from self._completed(stage, attempt)
            case StageFailed(stage=stage, retry_at=retry_at):
                self._ended(stage, proceeds=retry_at is None and self._may_proceed(stage))
            case LeaseExpired(stage=stage):
                self._ended(stage, proceeds=False)
            case StageSkipped(stage=stage):
                self.done.add(stage)
            case _:
                pass

    def _completed(self, stage: str, attempt: int) -> Iterator[tuple[bool, str]]:
        if stage in self.completed:
            yield True, f"recorded-is-immutable: {stage} has completed twice"
        elif self.current.pop(stage, None) != attempt:
            yield False, f"stale-cannot-commit: attempt {attempt} of {stage} completed, and was not current"
        self.completed.add(stage)
        self.done.add(stage)

    def _ended(self, stage: str, *, proceeds: bool) -> None:
        self.current.pop(stage, None)
        if proceeds:
            self.done.add(stage)

    def _may_proceed(self, stage: str) -> bool:
        return self.definition.stages[stage].on_failure is Strategy.PROCEED

    def _started(self, stage: str) -> Iterator[tuple[bool, str]]:
        spec = self.definition.stages[stage]
        self.starts[stage] += 1
        if stage in self.completed:
            yield True, f"recorded-is-immutable: {stage} is started, and has completed already"
        if spec.at_most_once and self.starts[stage] > 1:
            yield True, f"attempts-are-bounded: {stage} is started {self.starts[stage]} times, at most once is allowed"
        elif self.starts[stage] > spec.retry.attempts:
            yield False, f"attempts-are-bounded: {stage} is started {self.starts[stage]} times"
        if stage in self.current:
            yield False, f"{stage} is started while an attempt of it is current"
        needs = _sources(self.definition, stage)
        if not self.done.issuperset(needs):
            yield False, f"order-holds: {stage} is started before {', '.join(needs)}"

    def _forget(self, stage: str) -> None:
        self.starts.pop(stage, None)
        self.current.pop(stage, None)
        self.done.discard(stage)
        self.completed.discard(stage)


def results(account: Account) -> Iterator[Finding]:
    """Every result in the log is one that this very attempt returned, or that a check of it gave."""
    returned = {(each.stage, each.attempt, each.seq, each.result) for each in account.effects if each.kind == RETURNED}
    answered = {(each.stage, each.attempt, each.seq, each.result) for each in account.effects if each.kind == ANSWERED}
    token: dict[str, int] = {}
    suspended: set[str] = set()
    for entry, event in account.events:
        match event:
            case StageStarted(stage=stage):
                token[stage] = entry.seq
                suspended.discard(stage)
            case StageSuspended(stage=stage):
                token[stage] = entry.seq
                suspended.add(stage)
            case StageCompleted(stage=stage, attempt=attempt):
                known = answered if stage in suspended else returned
                if (stage, attempt, token.get(stage), entry.results[stage]) not in known:
                    yield account.found("lost", f"{stage} completed in commit {entry.seq}, and never returned that")
            case _:
                pass


def bodies(account: Account) -> Iterator[Finding]:
    """A body runs at most once for each commit that starts it, and for no other reason; not after its lease."""
    started = {
        (event.stage, event.attempt, entry.seq): event.lease
        for entry, event in account.events
        if isinstance(event, StageStarted)
    }
    begun = Counter((each.stage, each.attempt, each.seq) for each in account.effects if each.kind == BEGAN)
    for (stage, attempt, seq), times in begun.items():
        if times > 1:
            yield account.found("doubled", f"the body of {stage} ran {times} times for commit {seq}")
        if (stage, attempt, seq) not in started:
            text = f"a body of {stage} ran for attempt {attempt} and commit {seq}, which did not start it"
            yield account.found("broken", text)
    for each in account.effects:
        lease = started.get((each.stage, each.attempt, each.seq))
        if each.kind == BEGAN and lease is not None and each.at > lease + LATE:
            text = f"a body of {each.stage} began {each.at - lease} ms after the end of its lease"
            yield account.found("broken", text)


def inputs(account: Account) -> Iterator[Finding]:
    """Whatever a body was given is what the log has of the stages before it: one result, seen by everybody alike."""
    if account.definition is None:
        return
    known: dict[str, str] = {}
    as_of: dict[int, dict[str, str]] = {}
    for entry in account.log:
        known = known | entry.results
        as_of[entry.seq] = known
    for each in account.effects:
        if each.kind != BEGAN or each.seq not in as_of:
            continue  # without its start in the log, other checks have found it
        wanted = tuple(as_of[each.seq].get(stage, "") for stage in _sources(account.definition, each.stage))
        if each.given != wanted:
            text = f"{each.stage} of commit {each.seq} was given {each.given}, and the log has {wanted}"
            yield account.found("doubled", text)


def _sources(definition: Definition, stage: str) -> list[str]:
    """The stages whose outputs a stage is given: for a compensation, what it undoes."""
    undone = stage.removeprefix(COMPENSATE)
    return [undone] if undone != stage else list(definition.program.needs(stage))


def timers(account: Account) -> Iterator[Finding]:
    """No lease is taken over, no retry begun and no check made before its time: all clocks are this machine's.

    A worker that was told to stop may end its own lease.
    """
    waits: dict[str, tuple[int, tuple[type[AnyEvent], ...], str]] = {}
    for entry, event in account.events:
        if isinstance(event, RunReopened):
            waits = {stage: wait for stage, wait in waits.items() if stage not in event.reset}
            continue
        stage = getattr(event, "stage", "")
        until, ends, by = waits.pop(stage, (0, (), ""))
        handed_back = isinstance(event, LeaseExpired) and entry.by == by and by in account.stopped
        if isinstance(event, ends) and entry.at < until and not handed_back:
            text = f"timers-are-not-early: {type(event).__name__} {stage} {until - entry.at} ms before its time"
            yield account.found("broken", text)
        if found := _wait(event):
            waits[stage] = (*found, entry.by)


def _wait(event: AnyEvent) -> tuple[int, tuple[type[AnyEvent], ...]] | None:
    """Until when a stage waits after an event, and which events must not come before that."""
    match event:
        case StageStarted(lease=lease):
            return lease, (LeaseExpired,)
        case StageFailed(retry_at=int(at)):
            return at, (StageStarted,)
        case StageSuspended(check_at=at) | StageChecked(check_at=at):
            return at, (StageChecked, StageCompleted, StageFailed)
        case _:
            return None


Check = Callable[[Account], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (numbers, end, replay, asked, history, timers, results, bodies, inputs)
