"""Every guard is needed: a scenario for each, in which somebody late would do harm, and named after what it guards.

``test_without_its_guard_...`` runs each scenario once more with its guard switched off, and wants it to fail.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from msgspec.structs import replace

from kernel.core.events import EventReceived, StageCompleted
from kernel.errors import Conflict, KeyHeld, Unavailable
from kernel.ports import HEAD, Guard, Head, Poke, RunRef, Snapshot
from kernel.shell import heads
from kernel.shell.attend import attend
from kernel.testing.faults import Call, Crash, Fault
from kernel.testing.play import Play
from tests.guards import switched_off
from tests.shell.flows import Order, Paid, awaiting, media_slow, napping, order, steps, world

HOUR = 3_600_000


def head_of(play: Play, ref: RunRef) -> Head:
    """The head as it is in the store."""
    head = play.store.get(ref, HEAD)
    assert isinstance(head, Head)
    return head


def speaks_of(call: Call, guard: Guard) -> bool:
    """Whether this is a write under that guard."""
    return any(
        each is guard
        or getattr(each, "guard", None) is guard
        or (isinstance(each, list) and any(guard in put for put in each))
        for each in call.arguments
    )


def before(play: Play, guard: Guard, act: Callable[[], None]) -> None:
    """Freeze whoever makes the next write under ``guard``, let ``act`` happen, and thaw them."""

    def choose(call: Call) -> None:
        if not speaks_of(call, guard):
            return
        play.faults.choose = lambda _call: None
        act()

    play.faults.choose = choose


def run_is_new() -> None:
    """A start that is repeated while the run is under way changes nothing of it."""
    play = Play(order)
    ref = play.start(order, Order(), key="k")
    play.step()
    created = head_of(play, ref)
    play.clock.move(1000)
    assert play.start(order, Order(), key="k") == ref
    assert head_of(play, ref).token == created.token, "the run was created twice"
    with pytest.raises(Conflict):
        play.start(order, Order(id="other"), key="k")


def commit_is_next() -> None:
    """A worker that was frozen past its lease cannot commit over what others have committed since."""
    play = Play(order)
    ref = play.start(order, Order(), key="k")

    def others() -> None:
        play.clock.move(70_000)
        play.attend(ref)
        play.clock.move(2_000)
        play.attend(ref)

    def choose(call: Call) -> None:
        commit = call.arguments[1] if call.method == "put" else None
        if commit is not None and b"StageCompleted" in getattr(commit, "events", b""):
            play.faults.choose = lambda _call: None
            others()

    play.faults.choose = choose
    play.step()
    play.play([ref])
    completed = [event for events in play.ended(ref).log for event in events if isinstance(event, StageCompleted)]
    assert [event.attempt for event in completed if event.stage == "charge"] == [2], "the zombie's result counts"
    assert world.done.count("ship") == 1


def snapshot_forward() -> None:
    """A snapshot written late does not replace a newer one."""
    play = Play(steps[40, True])
    ref = play.start(steps[40, True], Order())
    ttl = head_of(play, ref).ttl

    def choose(call: Call) -> None:
        snapshot = call.arguments[1] if call.method == "put" else None
        if isinstance(snapshot, Snapshot) and snapshot.seq > 20:
            play.faults.choose = lambda _call: None
            newer = Snapshot(snapshot.seq + 1, snapshot.fold, snapshot.body, ttl)
            play.store.put(ref, newer, Guard.SNAPSHOT_FORWARD)
            later.append(newer.seq)

    later: list[int] = []
    play.faults.choose = choose
    play.play([ref])
    kept = play.store.get(ref, "~snap")
    assert isinstance(kept, Snapshot)
    assert kept.seq >= later[0], "the snapshot went backwards"


def due_as_seen() -> None:
    """Two ticks that saw the same entry of the index do not both take the run."""
    play = Play(order)
    ref = play.start(order, Order())
    seen = head_of(play, ref).due
    assert seen is not None
    play.clock.move(200_000)
    assert heads.claim_look(play.env, ref, seen, play.clock.now())
    assert not heads.claim_look(play.env, ref, seen, play.clock.now()), "two ticks took the same run"


def _asleep() -> tuple[Play, RunRef]:
    play = Play(media_slow)
    ref = play.start(media_slow, Order(polls=9))
    return play, ref


def sleep_is_latest() -> None:
    """A worker frozen between ``Slept`` and the head does not hide a run that was woken meanwhile."""
    play, ref = _asleep()

    def others() -> None:
        play.faults.choose = lambda call: Fault.CRASH_BEFORE if speaks_of(call, Guard.FINALISE_IS_LATEST) else None
        with suppress(Crash):
            play.cancel(ref)  # wakes the run, commits, and dies before finalising
        play.faults.choose = lambda _call: None

    before(play, Guard.SLEEP_IS_LATEST, others)
    play.step()
    due = head_of(play, ref).due
    assert due is not None
    assert due <= play.clock.now() + play.env.limits.look_grace, "a run that was woken is hidden from the index"


def wake_is_newer() -> None:
    """A waker frozen until the run sleeps again, or was finished by others, changes nothing."""
    play, ref = _asleep()
    play.step()
    play.clock.move(HOUR + 5_000)

    def others() -> None:
        play.attend(ref)
        play.clock.move(HOUR + 5_000)
        play.attend(ref)
        seen.append(head_of(play, ref))

    seen: list[Head] = []
    before(play, Guard.WAKE_IS_NEWER, others)
    with suppress(Unavailable):  # by the time it thaws, its invocation is over
        play.attend(ref)
    assert seen
    assert head_of(play, ref).due == seen[0].due, "a frozen waker moved the due time of a run it knows nothing of"


def finalise_is_latest() -> None:
    """A finaliser that is frozen until the run was reopened does not take it out of the index."""
    play = Play(order)
    ref = play.start(order, Order(fail={"charge": 3}))

    def others() -> None:
        play.retry(ref)

    before(play, Guard.FINALISE_IS_LATEST, others)
    while play.queue.waiting and head_of(play, ref).due_seq == 0:
        if play.step() is None:
            play.clock.move(1000)
    assert head_of(play, ref).due is not None, "a reopened run is hidden from the index"
    play.queue.clear()
    play.play([ref], days=1)
    assert play.ended(ref).status == "completed"


def cursor_as_seen() -> None:
    """A flusher that was frozen does not move the outbox cursor back, nor over what it has not published."""
    play = Play(napping)
    ref = play.start(napping, Order())

    def others() -> None:
        play.attend(ref)
        play.clock.move(65_000)
        play.attend(ref)
        seen.append(head_of(play, ref).published)

    seen: list[int] = []
    before(play, Guard.CURSOR_AS_SEEN, others)
    play.step()
    assert seen
    assert head_of(play, ref).published >= seen[0], "the outbox cursor went backwards"


def status_as_seen() -> None:
    """A worker without the workflow, frozen until others have finished the run, does not show it as parked."""
    play = Play(order)
    ref = play.start(order, Order())
    elsewhere = Play(media_slow)
    frozen = replace(elsewhere.env, store=elsewhere.faults.wrap("store", play.store))
    before(elsewhere, Guard.STATUS_AS_SEEN, lambda: play.play([ref]))
    attend(frozen, Poke(ref.tenant, ref.run), frozen.clock.monotonic() + 300)
    assert head_of(play, ref).status == "completed", "a finished run is shown as parked"


def event_is_new() -> None:
    """Of two events of one id that are sent at once, the second does not take the first one's place."""
    play = Play(awaiting)
    ref = play.start(awaiting, Order())
    before(play, Guard.EVENT_IS_NEW, lambda: accepted.append(play.send(ref, Paid(amount=1), id="e-1")))
    accepted: list[object] = []
    with pytest.raises(Conflict):
        play.send(ref, Paid(amount=2), id="e-1")
    assert accepted
    play.play([ref])
    (received,) = [event for commit in play.ended(ref).log for event in commit if isinstance(event, EventReceived)]
    assert bytes(received.payload.json) == b'{"amount":1}', "an event that was accepted is another one now"  # type: ignore[arg-type]  # it is inline


def event_is_open() -> None:
    """A worker that was frozen does not apply an event that others have applied meanwhile."""
    play = Play(awaiting)
    ref = play.start(awaiting, Order())
    play.send(ref, Paid(amount=1), id="e-1")
    before(play, Guard.EVENT_IS_OPEN, lambda: others.append(play.attend(ref, event="e-1")))
    others: list[object] = []
    play.attend(ref, event="e-1")
    assert others
    play.play([ref])
    received = [event for commit in play.ended(ref).log for event in commit if isinstance(event, EventReceived)]
    assert len(received) == 1, "one event was applied twice"


def key_as_seen() -> None:
    """A finaliser that is frozen until the run was reopened does not free the key that the run holds again."""
    play = Play(order)
    ref = play.start(order, Order(fail={"charge": 3}), business_key="order-1")
    before(play, Guard.KEY_AS_SEEN, lambda: play.retry(ref))
    while play.queue.waiting and head_of(play, ref).due_seq == 0:
        if play.step() is None:
            play.clock.move(1000)
    assert play.look(ref).generation == 1
    assert play.holder(order, "order-1") == ref, "a run under way has lost its key"
    with pytest.raises(KeyHeld):
        play.start(order, Order(), business_key="order-1")


SCENARIOS: dict[Guard, Callable[[], None]] = {
    Guard.RUN_IS_NEW: run_is_new,
    Guard.COMMIT_IS_NEXT: commit_is_next,
    Guard.SNAPSHOT_FORWARD: snapshot_forward,
    Guard.EVENT_IS_NEW: event_is_new,
    Guard.EVENT_IS_OPEN: event_is_open,
    Guard.KEY_AS_SEEN: key_as_seen,
    Guard.DUE_AS_SEEN: due_as_seen,
    Guard.SLEEP_IS_LATEST: sleep_is_latest,
    Guard.WAKE_IS_NEWER: wake_is_newer,
    Guard.FINALISE_IS_LATEST: finalise_is_latest,
    Guard.CURSOR_AS_SEEN: cursor_as_seen,
    Guard.STATUS_AS_SEEN: status_as_seen,
}


@pytest.mark.guards
@pytest.mark.parametrize("guard", SCENARIOS, ids=lambda guard: guard.value)
def test_guard(guard: Guard) -> None:
    """The scenario named after the guard goes well."""
    SCENARIOS[guard]()


@pytest.mark.parametrize("guard", SCENARIOS, ids=lambda guard: guard.value)
def test_without_its_guard_the_scenario_fails(guard: Guard) -> None:
    """Nothing else prevents the harm."""
    with switched_off(guard), pytest.raises((Exception, pytest.fail.Exception)):
        SCENARIOS[guard]()


def test_every_guard_has_a_scenario() -> None:
    """A guard that nothing needs is to be deleted."""
    assert set(SCENARIOS) == set(Guard)
