"""What would be broken is noticed: each of these changes to the engine makes a blow do harm, and the harm is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from handlers import operations
from hosts.worker import worker
from kernel.errors import InfrastructureError, ProcessEnds
from kernel.ports import Guard, HeadUpdate, Poke, RunRef
from kernel.shell import batch, commit, heads, leave, start, tick
from kernel.shell.attend import Attended, Outcome, attend
from kernel.shell.environment import Environment
from kernel.shell.insist import insist
from kernel.shell.outbox import Flush
from tests.crashes.deployment import TENANT
from tests.crashes.fate import Blow, Violation
from tests.crashes.histories import Trial, singles
from tests.crashes.scenarios import SCENARIOS

Patch = Callable[[pytest.MonkeyPatch], None]


def forgets_its_token(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commit, "_is_ours", lambda _existing, _token: False)


def takes_every_commit_for_its_own(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commit, "_is_ours", lambda _existing, _token: True)


def does_not_wake(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(heads, "wake", lambda _env, _session, _now: None)


def never_reaps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tick, "lease_of", lambda _env, _session, _stage: 1 << 60)


def forgets_what_it_claimed(patch: pytest.MonkeyPatch) -> None:
    def claim(env: Environment, ref: RunRef, seen: int, now: int) -> bool:
        due = now + env.limits.look_grace
        change = HeadUpdate(guard=Guard.DUE_AS_SEEN, look=env.random.token(), due=due, seen_due=seen)
        return insist(env, lambda: env.store.update(ref, change)) is None

    patch.setattr(heads, "claim_look", claim)


def finalises_unpublished(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leave, "flush", lambda _env, _session, **_named: Flush(0, 0, clean=True))


def pokes_before_it_commits(patch: pytest.MonkeyPatch) -> None:
    def poked(env: Environment, call: Callable[[], Any]) -> Any:
        env.queue.send([(Poke(TENANT, "0" * 24), 0)])
        return insist(env, call)

    patch.setattr(start, "insist", poked)


def acknowledges_what_it_could_not_attend(patch: pytest.MonkeyPatch) -> None:
    _replace_attend(patch, InfrastructureError)


def survives_its_death(patch: pytest.MonkeyPatch) -> None:
    _replace_attend(patch, ProcessEnds)


def _replace_attend(patch: pytest.MonkeyPatch, swallowed: type[BaseException]) -> None:
    def attended(*given: Any, **named: Any) -> Attended:
        try:
            return attend(*given, **named)
        except swallowed:
            return Attended(Outcome.ATTENDED)

    patch.setattr(batch, "attend", attended)


def hands_back_in_silence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("kernel.shell.hand_back.send", lambda _env, _pokes: None)


def forgets_to_say_who_it_is(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(worker, "attend_all", lambda *given, **named: batch.attend_all(*given, **{**named, "by": "worker"}))


def only_says_that_it_cancels(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(operations, "cancel", lambda _env, _ref, *, by, reason: None)


def only_says_that_it_reopens(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(operations, "retry", lambda _env, _ref, *, by, reason: None)


BROKEN: list[tuple[Patch, str, str]] = [
    (forgets_its_token, "a-chain", "later than usual"),
    (takes_every_commit_for_its_own, "cancelled-while-running", "cancel-wins-whole"),
    (does_not_wake, "cancelled-asleep", "no-run-is-forgotten"),
    (does_not_wake, "rerun", "not in the due index"),
    (never_reaps, "a-worker-dies", "quiet-at-last"),
    (forgets_what_it_claimed, "a-worker-dies", "the only tick there is passed over a run"),
    (finalises_unpublished, "a-chain", "published-at-least-once"),
    (pokes_before_it_commits, "a-chain", "commit-before-poke"),
    (acknowledges_what_it_could_not_attend, "a-chain", "nobody could look at the run"),
    (survives_its_death, "a-chain", "went on after it had died"),
    (survives_its_death, "polled-chain", "went on after it had died"),
    (hands_back_in_silence, "drained-with-more-in-hand", "nobody waits for the lease"),
    (forgets_to_say_who_it_is, "drained", "stopped"),
    (only_says_that_it_cancels, "cancelled-asleep", "promised cancelled"),
    (only_says_that_it_reopens, "retried-by-hand", "not reopened"),
]
"""A change, a scenario in which it does harm, and how the harm is told."""


@pytest.mark.parametrize(
    ("change", "scenario", "harm"), BROKEN, ids=[f"{change.__name__}-{scenario}" for change, scenario, _ in BROKEN]
)
def test_an_engine_that_is_broken_so_is_found_out(
    change: Patch, scenario: str, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blows = list(singles(scenario))
    change(monkeypatch)

    with pytest.raises(Violation, match=harm):
        _all(Trial(SCENARIOS[scenario]), blows)


def _all(trial: Trial, blows: list[Blow]) -> None:
    for blow in blows:
        trial.history(blow)
