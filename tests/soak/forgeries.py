"""Forgeries of runs' accounts: each says something that must not be, and by which name the audit has to call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from bench.soak.account import Account, Entry, Kind
from bench.soak.audit import LATE
from bench.soak.effects import ANSWERED, BEGAN, RETURNED
from kernel.core.events import AnyEvent, LeaseExpired, StageCompleted, StageFailed, StageStarted
from kernel.core.state import RunStatus


def place_of(account: Account, kind: type[AnyEvent], stage: str) -> tuple[int, AnyEvent]:
    """Where in the log such an event of a stage is, and the event."""
    return next(
        (place, event)
        for place, entry in enumerate(account.log)
        for event in entry.events
        if isinstance(event, kind) and getattr(event, "stage", "") == stage
    )


def insert(account: Account, place: int, *events: AnyEvent, **results: str) -> None:
    """Put a commit into the log; those after it get the next numbers, and effects follow theirs."""
    at = account.log[place - 1].at
    account.log.insert(place, Entry(0, at, f"forged-{place}", events, results, account.log[place - 1].over))
    moved = {entry.seq: number for number, entry in enumerate(account.log, 1)}
    account.effects = [replace(effect, seq=moved[effect.seq]) for effect in account.effects]
    account.log[:] = [replace(entry, seq=number) for number, entry in enumerate(account.log, 1)]
    if account.head is not None and account.state is not None:
        account.head = replace(account.head, published=len(account.log))
        account.state.seq = len(account.log)


def change_effect(account: Account, kind: str, stage: str, **changes: Any) -> None:
    """Let a stage have done something else."""
    account.effects = [
        replace(effect, **changes) if (effect.kind, effect.stage) == (kind, stage) else effect
        for effect in account.effects
    ]


def drop_effect(account: Account, kind: str, stage: str) -> None:
    account.effects = [effect for effect in account.effects if (effect.kind, effect.stage) != (kind, stage)]


def repeat_effect(account: Account, kind: str, stage: str) -> None:
    account.effects = [*account.effects, *(e for e in account.effects if (e.kind, e.stage) == (kind, stage))]


def change_head(account: Account, **changes: Any) -> None:
    assert account.head is not None
    account.head = replace(account.head, **changes)


def complete_again(account: Account) -> None:
    """A second result of a stage, and another one."""
    place, event = place_of(account, StageCompleted, "b")
    insert(account, place + 1, event, b="another")


def complete_late(account: Account) -> None:
    """The attempt's lease is recorded as over, and its result afterwards all the same."""
    place, _ = place_of(account, StageCompleted, "b")
    account.log[place] = replace(account.log[place], at=account.log[place].at + 10_000)
    for entry in account.log[place + 1 :]:
        account.log[entry.seq - 1] = replace(entry, at=entry.at + 10_000)
    insert(account, place, LeaseExpired("b", 1))
    account.log[place] = replace(account.log[place], at=account.log[place + 1].at)


def start_again(account: Account, stage: str, *, times: int = 1) -> None:
    """More starts than there should be, each of them failed before the next."""
    place, event = place_of(account, StageStarted, stage)
    assert isinstance(event, StageStarted)
    error: Any = msgspec.UNSET
    for _ in range(times):
        insert(account, place + 1, StageFailed(stage, event.attempt, error, retry_at=0), event)
        effect = next(each for each in account.effects if (each.kind, each.stage) == (BEGAN, stage))
        assert effect.seq == place + 1
        change_effect(account, BEGAN, stage, seq=place + 1 + 1)
        change_effect(account, RETURNED, stage, seq=place + 1 + 1)
        place += 1


def start_too_soon(account: Account) -> None:
    """A stage is started before what it depends on has completed."""
    place, event = place_of(account, StageStarted, "join")
    insert(account, place, event)


def go_on_after_the_end(account: Account) -> None:
    insert(account, len(account.log), LeaseExpired("b", 1))


def reap_early(account: Account) -> None:
    """A lease is taken over although it has time left."""
    place, event = place_of(account, StageStarted, "b")
    assert isinstance(event, StageStarted)
    insert(account, place + 1, LeaseExpired("b", 1))
    insert(account, place + 2, event)
    change_effect(account, BEGAN, "b", seq=place + 3)
    change_effect(account, RETURNED, "b", seq=place + 3)


def forget_to_stop(account: Account) -> None:
    assert account.state is not None
    account.state.status = RunStatus.RUNNING


def remember_otherwise(account: Account) -> None:
    """The snapshot holds another state than the log."""
    assert account.replayed is not None
    account.replayed.reason = "another"


def lose(account: Account) -> None:
    account.head = account.state = None
    account.log.clear()


Forge = Callable[[Account], object]

FORGERIES: dict[str, tuple[str, Forge, Kind, str]] = {
    "the run is gone": ("line", lose, "lost", "accepted-is-kept"),
    "a commit is gone": ("line", lambda a: a.log.pop(2), "lost", "one-commit-per-number"),
    "a stage never did what the log says": ("line", lambda a: drop_effect(a, RETURNED, "b"), "lost", "never returned"),
    "a check never gave what the log says": ("wait", lambda a: drop_effect(a, ANSWERED, "submit"), "lost", "never"),
    "a stage returned something else": ("line", lambda a: change_effect(a, RETURNED, "d", result="x"), "lost", "never"),
    "another attempt returned it": ("line", lambda a: change_effect(a, RETURNED, "d", attempt=2), "lost", "never"),
    "an event is not published": ("line", lambda a: change_head(a, published=1), "lost", "published-at-least-once"),
    "two commits have a token": (
        "line",
        lambda a: a.log.__setitem__(1, replace(a.log[1], token=a.log[2].token)),
        "doubled",
        "one-commit-per-number",
    ),
    "a stage has two results": ("line", complete_again, "doubled", "recorded-is-immutable: b has completed twice"),
    "a body ran twice for a start": ("line", lambda a: repeat_effect(a, BEGAN, "c"), "doubled", "ran 2 times"),
    "a stage was given something else": (
        "fan",
        lambda a: change_effect(a, BEGAN, "join", given=("x", "y", "z")),
        "doubled",
        "was given",
    ),
    "a stage for once is started twice": ("once", lambda a: start_again(a, "strike"), "doubled", "at most once"),
    "a stage is started too often": ("line", lambda a: start_again(a, "b", times=5), "broken", "attempts-are-bounded"),
    "a body ran without a start": (
        "line",
        lambda a: change_effect(a, BEGAN, "c", seq=99),
        "broken",
        "did not start it",
    ),
    "a body ran after its lease": (
        "line",
        lambda a: change_effect(a, BEGAN, "c", at=a.log[-1].at + 3_000 + LATE + 60_000),
        "broken",
        "end of its lease",
    ),
    "a stale attempt completes": ("line", complete_late, "broken", "stale-cannot-commit"),
    "a stage is started too soon": ("fan", start_too_soon, "broken", "order-holds: join"),
    "something happens after the end": ("line", go_on_after_the_end, "broken", "cancel-wins-whole"),
    "a lease is taken over early": ("line", reap_early, "broken", "timers-are-not-early"),
    "times decrease": ("line", lambda a: a.log.__setitem__(2, replace(a.log[2], at=5)), "broken", "times decrease"),
    "the head says something else": ("line", lambda a: change_head(a, status="failed"), "broken", "the head says"),
    "the snapshot says something else": ("march", remember_otherwise, "broken", "replay-equals-live"),
    "the run is not over": ("line", forget_to_stop, "stuck", "quiet-at-last"),
    "the run stays in the index": ("line", lambda a: change_head(a, due=1), "stuck", "no-run-is-forgotten"),
}
"""By what is forged: of a run of which workflow, how, and what kind of finding in which words it has to lead to."""
