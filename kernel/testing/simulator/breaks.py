"""What happens without each guard: conditions, fences, cursor guards and lease checks, taken away one at a time.

A guard that can be taken away without any invariant breaking is one that nothing needs. So each has a name here, the
invariants that must be seen to break without it, and a way to take it away for the length of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

from msgspec import Struct
from msgspec.structs import replace

from kernel.core import commands as c
from kernel.core import decide
from kernel.core import plan as planning
from kernel.core.decide import _Draft
from kernel.core.events import Closed, ErrorRecord, RunCancelled, Slept, StageFailed
from kernel.core.state import StageStatus, State
from kernel.ports import Commit, Guard, Head, RunRef
from kernel.shell import attend, commit, execute, heads, leave, outbox, start, tick
from kernel.shell.environment import Environment
from kernel.shell.load import Session
from kernel.testing import memory

Patch = Callable[[], AbstractContextManager[object]]


class Break(Struct, frozen=True):
    """A guard that can be taken away.

    Attributes:
        name: of the guard.
        guards: what it is there for.
        invariants: those of which at least one breaks without it.
        without: takes it away for the length of a block.
    """

    name: str
    guards: str
    invariants: frozenset[str]
    without: Patch


@contextmanager
def condition_off(guard: Guard) -> Iterator[None]:
    """Within the block, the memory store lets every write with this guard pass."""
    put, update = memory.PUTS.get(guard), memory.UPDATES.get(guard)
    try:
        if put is not None:
            memory.PUTS[guard] = lambda _existing, _new: True
        if update is not None:
            memory.UPDATES[guard] = lambda _head, _change: True
        yield
    finally:
        if put is not None:
            memory.PUTS[guard] = put
        if update is not None:
            memory.UPDATES[guard] = update


def _swap(owner: Any, name: str, new: object) -> Patch:  # noqa: ANN401 - a module or a class
    return lambda: patch.object(owner, name, new)


@contextmanager
def _several(*patches: Patch) -> Iterator[None]:
    if not patches:
        yield
        return
    with patches[0](), _several(*patches[1:]):
        yield


def _without_decision(command: type, new: Callable[[_Draft, Any], None]) -> Patch:
    return lambda: patch.dict(decide._DECISIONS, {command: new})  # noqa: SLF001 - it is what is taken apart


# --- fences of the core ----------------------------------------------------------------------------------------------


def _any_attempt(draft: _Draft, stage: str, _seq: int, *_status: object) -> object:
    found = draft.state.stages.get(stage)
    if found is None or stage not in draft.state.active:
        raise decide.Stale(stage)
    return found


def _any_check(draft: _Draft, command: c.Ready | c.NotReady) -> object:
    return draft.current(command.stage, command.seq, StageStatus.SUSPENDED)


def _any_deadline(draft: _Draft, command: c.Expire) -> None:
    return _expire(draft, replace(command, deadline=draft.state.deadline))


_expire = decide._expire  # noqa: SLF001 - it is what is taken apart


def _any_sleep(draft: _Draft, command: c.Sleep) -> None:
    draft.emit(Slept(command.until))


def _any_close(draft: _Draft, _command: object) -> None:
    draft.emit(Closed())


def _any_cancel(draft: _Draft, command: c.Cancel) -> None:
    draft.emit(RunCancelled(command.reason))


def _never_cut_off(_draft: _Draft, _stage: str) -> bool:
    return False


def _always_again(draft: _Draft, stage: str, attempt: int, error: ErrorRecord, roll: float, *, retryable: bool) -> None:
    again = retryable and not draft.cut_off(stage)
    retry_at = draft.now + draft.spec(stage).retry.delay(attempt, roll) if again else None
    draft.emit(StageFailed(stage, attempt, error, retry_at))


# --- tokens, order and leases of the shell ---------------------------------------------------------------------------


def _anybodys(existing: object, _token: str) -> bool:
    return isinstance(existing, Commit)


def _never_known(_env: Environment, ref: RunRef, _head: Head, _asked: object) -> start.Started:
    return start.Started(ref, replay=True)


def _no_wake(_env: Environment, _session: Session, _now: int) -> None:
    return


def _no_poke(_env: Environment, _pokes: object) -> None:
    return


def _any_flush(env: Environment, session: Session) -> outbox.Flush:
    done = outbox.flush(env, session)
    return replace(done, clean=True)


def _lease_only(_env: Environment, session: Session, stage: str) -> int:
    return session.state.stages[stage].at


def _plan_without_skew(state: State, now: int, _skew: int, hint: str = "", **rest: Any) -> planning.Step:  # noqa: ANN401 - as it was called
    return planning.plan(state, now, 0, hint, **rest)


class _EndlessBody:
    """``run_body`` that does not look at the lease, or not at the invocation's end."""

    def __init__(self, **later: float) -> None:
        self._later = later
        self._run_body = execute.run_body

    def __call__(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - stands in for run_body
        return self._run_body(*arguments, **{**named, **self._later})


_CONDITIONS: dict[Guard, tuple[str, tuple[str, ...]]] = {
    Guard.RUN_IS_NEW: ("A start creates a run once, whatever is repeated.", ("accepted-is-kept",)),
    Guard.COMMIT_IS_NEXT: ("A commit takes a number that is free.", ("one-commit-per-number",)),
    Guard.SNAPSHOT_FORWARD: ("A slow writer never takes the snapshot backwards.", ("snapshots-go-forward",)),
    Guard.DUE_AS_SEEN: ("Two ticks do not do the same work.", ("one-look-at-a-time",)),
    Guard.SLEEP_IS_LATEST: ("A late sleeper hides no run.", ("no-run-is-forgotten",)),
    Guard.WAKE_IS_NEWER: ("A frozen waker changes nothing.", ("no-run-is-forgotten",)),
    Guard.FINALISE_IS_LATEST: ("A late finaliser hides no run that was reopened.", ("no-run-is-forgotten",)),
    Guard.CURSOR_AS_SEEN: ("The outbox cursor never goes backwards.", ("cursor-never-goes-back",)),
    Guard.STATUS_AS_SEEN: ("A finished run is never shown as parked.", ("status-is-true",)),
}


def _conditions() -> Iterator[Break]:
    for guard, (what, invariants) in _CONDITIONS.items():
        yield Break(guard.value, what, frozenset(invariants), partial(condition_off, guard))


_FENCES = (
    Break(
        "attempt-fence",
        "What an attempt says counts only while it is the current one.",
        frozenset({"stale-cannot-commit", "recorded-is-immutable", "timers-are-never-early", "attempts-are-bounded"}),
        _swap(_Draft, "current", _any_attempt),
    ),
    Break(
        "check-fence",
        "Of two checks at once the first to commit counts.",
        frozenset({"timers-are-never-early"}),
        _swap(decide, "_checked", _any_check),
    ),
    Break(
        "deadline-fence",
        "A run is failed by the deadline that was seen to pass, not by one that it got since.",
        frozenset({"timers-are-never-early"}),
        _without_decision(c.Expire, _any_deadline),
    ),
    Break(
        "sleep-fence",
        "A run is put to sleep only if nobody needs to look at it before.",
        frozenset({"no-run-is-forgotten", "cancel-wins-whole"}),
        _without_decision(c.Sleep, _any_sleep),
    ),
    Break(
        "close-fence",
        "Only a finished run is closed.",
        frozenset({"cancel-wins-whole"}),
        _without_decision(c.Close, _any_close),
    ),
    Break(
        "cancel-fence",
        "A finished run is not cancelled, and one that is undone is undone to the end.",
        frozenset({"cancel-wins-whole", "order-holds"}),
        _without_decision(c.Cancel, _any_cancel),
    ),
    Break(
        "cut-off",
        "What was running when its run was cancelled may end, but not count.",
        frozenset({"cancel-wins-whole", "order-holds", "stale-cannot-commit"}),
        _swap(_Draft, "cut_off", _never_cut_off),
    ),
    Break(
        "attempt-limit",
        "A stage is started no more often than its policy says.",
        frozenset({"attempts-are-bounded"}),
        _swap(_Draft, "fail", _always_again),
    ),
)

_TOKENS = (
    Break(
        "commit-token",
        "A refused commit was ours only if the record that is there carries our token.",
        frozenset({"one-commit-per-number", "stale-cannot-run", "replay-equals-live", "stale-cannot-commit"}),
        _swap(commit, "_is_ours", _anybodys),
    ),
    Break(
        "start-digest",
        "A key stands for one request: another one with the same key is refused.",
        frozenset({"accepted-is-kept"}),
        _swap(start, "_known", _never_known),
    ),
)

_ORDER = (
    Break(
        "wake-first",
        "Before the first commit on a sleeping or finished run, it is brought near in the due index.",
        frozenset({"no-run-is-forgotten"}),
        _swap(heads, "wake", _no_wake),
    ),
    Break(
        "recovery-poke",
        "A tick pokes whoever is needed, since the message that said so may be lost.",
        frozenset({"quiet-at-last"}),
        _swap(tick, "send", _no_poke),
    ),
    Break(
        "publish-first",
        "A run leaves the due index only once everything of it is published.",
        frozenset({"published-at-least-once"}),
        _swap(leave, "flush", _any_flush),
    ),
)

_LEASES = (
    Break(
        "sign-of-life",
        "Before an attempt is reaped, its last sign of life is read.",
        frozenset({"timers-are-never-early"}),
        lambda: _several(_swap(attend, "lease_of", _lease_only), _swap(tick, "lease_of", _lease_only)),
    ),
    Break(
        "timer-skew",
        "Timers wait for the slowest clock that is allowed.",
        frozenset({"timers-are-never-early"}),
        _swap(attend, "plan", _plan_without_skew),
    ),
    Break(
        "lease-before-body",
        "No body starts after its lease.",
        frozenset({"stale-cannot-run"}),
        lambda: patch.object(attend, "run_body", _EndlessBody(expires=float("inf"))),
    ),
    Break(
        "fits-the-invocation",
        "No body starts that cannot end before its invocation does.",
        frozenset({"stages-fit-their-invocation"}),
        lambda: patch.object(attend, "run_body", _EndlessBody(until=float("inf"))),
    ),
)


BREAKS = MappingProxyType({each.name: each for each in (*_conditions(), *_FENCES, *_TOKENS, *_ORDER, *_LEASES)})
"""Every guard that can be taken away, by name."""

ALIASES = MappingProxyType({"commit-condition": Guard.COMMIT_IS_NEXT.value})
"""Other names of guards."""


def find(name: str) -> Break | None:
    """The break of a guard, by any of its names."""
    return BREAKS.get(ALIASES.get(name, name))
