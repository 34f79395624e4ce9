"""Outbox and streams: nothing is trimmed, starved or sent twice for good; and all of it runs on the real database."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest

from infra.clients import Clients
from infra.dynamodb.store import DynamoDbStore
from infra.dynamodb.table import create_table
from kernel.core.codec import to_json
from kernel.core.events import StageCompleted
from kernel.ports import LIVE, SNAPSHOT, Data, Due, Guard, Published, RunRef
from kernel.shell import read
from kernel.shell.environment import Limits
from kernel.shell.outbox import replay_dead_letters
from kernel.shell.tick import tick
from kernel.testing.faults import Call, Crash, Fault
from kernel.testing.play import Play
from onewrite import Context
from tests.gallery.stage import attempts, finish, look, on_engine, published, restart, take_over
from tests.gallery.traps import trap
from tests.shell import flows, invariants
from tests.shell.script import (
    MINUTE,
    SECOND,
    Note,
    Script,
    commits_of,
    events,
    head_of,
    is_commit_of,
    is_under,
    items_of,
    keys_of,
    letters_of,
    line,
    once,
    once_before,
    pending,
    state_of,
    work,
)

ALGA, BRATSOS, LUNO = "AlgaPSA", "bratsos/workflow-engine", "luno/workflow"
ALL = Limits(publish="all", publish_attempts=3)


def down(call: Call) -> Fault | None:
    """The event bus cannot be reached."""
    return Fault.UNAVAILABLE if call.port == "sink" else None


def up(_call: Call) -> None:
    """All is well."""


def ids(play: Play, ref: RunRef) -> list[str]:
    """Places of all events in a run's log, in order, as ids have them."""
    return [
        f"{ref.run}#{seq}#{index}" for seq, commit in enumerate(play.ended(ref).log) for index in range(len(commit))
    ]


@trap(BRATSOS, "Two flushers publish everything twice.")
def test_two_flushers_at_once_publish_nothing_twice_for_a_consumer_and_nothing_a_third_time(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(flow := line(script.stage("a")), limits=ALL)
    ref = play.start(flow, Note())
    play.faults.choose = down
    play.attend(ref)
    play.clock.move(play.env.limits.look_grace)
    stale = [Due(ref, head_of(play, ref).due or 0)]
    monkeypatch.setattr(play.store, "due", lambda *_: stale)  # both ticks see this entry of the index
    once_before(play, lambda call: call.method == "publish", play.tick)
    play.tick()
    assert [event.id for event in play.sink.events] == ids(play, ref), "one of them publishes"

    play = Play(flow := line(script.job("a", pending(5))), limits=ALL)
    ref = play.start(flow, Note())

    def another() -> None:
        play.attend(ref)
        for _ in range(2):
            play.clock.move(MINUTE + SECOND)
            play.attend(ref)

    once_before(play, lambda call: is_under(call, Guard.CURSOR_AS_SEEN), another)
    play.attend(ref)  # it has published, and freezes before it says so; another worker publishes, and more of it
    told = [event.id for event in play.sink.events]
    assert max(told.count(event) for event in told) == 2
    assert len({event.body for event in play.sink.events}) == len(set(told)), "the same event by the same id"
    assert head_of(play, ref).published == state_of(play, ref).seq
    play.sink.events.clear()
    finish_all(play, ref)
    assert not {event.id for event in play.sink.events} & set(told), "what was told is not told again"


def finish_all(play: Play, ref: RunRef) -> None:
    """Play a run to its end, of which every event is published."""
    play.play([ref], days=1)
    assert play.ended(ref).status == "completed"


@trap(BRATSOS, "One event that cannot be published starves the rest, or is sent out of order.")
def test_an_event_that_cannot_be_published_is_waited_for_a_while_and_then_passed_over_alone(script: Script) -> None:
    def refuse(event: Published) -> str | None:
        submitted.append(event.id)
        restart(play, flow)  # nobody remembers what was refused, nor by which words
        return f"refused at {play.clock.now()}" if event.run == bad.run and event.type == "StageCompleted" else None

    submitted: list[str] = []
    play = Play(flow := line(script.stage("a"), script.stage("b")), limits=ALL)
    bad, good = play.start(flow, Note()), play.start(flow, Note())
    play.sink.refuse = refuse
    work(play)
    assert published(play, good) == [name.split()[0] for name in play.ended(good).names()], "the other run's, at once"
    assert head_of(play, bad).due is not None
    play.play([bad], days=1)
    order = [id_ for id_ in submitted if id_.startswith(bad.run)]
    # Three looks of ticks each, and for the first of them the worker's own try, which does not count.
    refused = {f"{bad.run}#2#0": 1 + 3, f"{bad.run}#3#0": 3}
    assert order == [id_ for id_ in ids(play, bad) for _ in range(refused.get(id_, 1))]
    assert {f"{bad.run}#{letter.seq}#{letter.index}" for letter in letters_of(play, bad)} == refused.keys()


@trap(LUNO, "The outbox is a LIFO: the oldest starve.")
def test_what_has_waited_longest_is_published_first_however_much_comes_after_it(script: Script) -> None:
    play = Play(flow := line(script.stage("a")), limits=Limits(publish="all", shards=1))

    def unpublished() -> RunRef:
        """A run that is over, of which nothing could be published."""
        play.faults.choose = down
        ref = play.start(flow, Note())
        play.attend(ref)
        play.queue.clear()
        play.clock.move(SECOND)
        play.faults.choose = up
        return ref

    refs = [unpublished() for _ in range(12)]
    for _ in range(4):  # each time as many come as can be seen to
        play.clock.move(play.env.limits.look_grace)
        tick(play.env, play.clock.monotonic() + 50, runs=3)
        refs += [unpublished() for _ in range(3)]
    assert [event.id for event in play.sink.events] == [id_ for ref in refs[:12] for id_ in ids(play, ref)]


@trap(ALGA, "A stream is trimmed past unread entries.")
def test_no_snapshot_and_no_outage_takes_away_what_was_not_published(script: Script) -> None:
    """The log is the outbox; what shortens its reading does not shorten what is still to be published."""
    play = Play(flow := line(*(script.stage(f"s{number}") for number in range(40)), chain=False), limits=ALL)
    ref = play.start(flow, Note())
    play.faults.choose = down
    while not state_of(play, ref).status.finished:
        play.step()
    look(play, times=20)
    assert keys_of(play, ref, SNAPSHOT)
    assert head_of(play, ref).due is not None, "it stays in the index"
    play.faults.choose = up
    restart(play, flow)
    look(play)
    assert [event.id for event in play.sink.events] == ids(play, ref)
    assert head_of(play, ref).due is None


@trap(ALGA, "Dead letters are replayed without their payload.")
def test_a_dead_letter_that_is_replayed_is_the_event_that_it_was(script: Script) -> None:
    play = Play(flow := line(script.stage("a", lambda _ctx: Note(text="payload"))), limits=ALL)
    healthy = Play(flow, limits=ALL)
    ref, other = play.start(flow, Note(text="x" * 300)), healthy.start(flow, Note(text="x" * 300))
    play.sink.refuse = lambda _event: "no"
    play.play([ref], days=1)
    assert play.sink.events == []
    assert len(letters_of(play, ref)) == len(ids(play, ref))
    play.sink.refuse = lambda _event: None
    restart(play, flow)
    play.clock.move(MINUTE)
    done = replay_dead_letters(play.env, ref)
    assert done is not None
    assert (done.clean, letters_of(play, ref)) == (True, [])
    healthy.play([other])
    assert play.sink.events == healthy.sink.events, "as if nothing had ever been refused"
    told = [msgspec.json.decode(event.body)["event"] for event in play.sink.events]
    assert told == [msgspec.json.decode(to_json(event)) for commit in play.ended(ref).log for event in commit]


@trap(ALGA, "A lock is never extended and has no fencing token.")
def test_a_lease_is_extended_while_its_owner_lives_and_fences_it_off_afterwards(script: Script) -> None:
    def act(ctx: Context) -> Note:
        if ctx.attempt == 2:
            raise Crash
        if ctx.attempt == 1:
            for _ in range(12):
                play.clock.move(50_000)
                ctx.heartbeat()
                work(play)
                play.tick()
            alone.append(attempts(play, ref))
            with suppress(Crash):
                take_over(play, ref)
        return Note(text=str(ctx.attempt))

    alone: list[list[int]] = []
    play = Play(flow := line(script.stage("a", act)))
    ref = play.start(flow, Note())
    play.step(seconds=900)
    assert alone == [[1]], "ten minutes on a lease of one"
    assert attempts(play, ref) == [1, 2]
    assert events(play, ref, StageCompleted) == [], "what it gives in the middle of its successor's does not count"
    assert finish(play, ref).output == Note(text="3")
    tokens = {key.removeprefix(LIVE) for key in keys_of(play, ref, LIVE)}
    assert tokens == {f"{commits_of(play, ref)[0].seq:010d}"}, "its signs of life are its own, too"


def life(play: Play) -> list[Any]:
    """What a deployment goes through, and what remains of it: every kind of end, contention, outage and repetition."""
    flows.world.clear()
    order, large = flows.order, flows.Order(id="x" * 2_000, fail={"charge": 1, "ship": 1})
    contended = play.start(order, flows.Order(), key="a")
    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "pack"), lambda: play.attend(contended, "bill"))
    play.attend(contended)
    refs = [
        contended,
        finished := play.start(order, large, key="b"),
        play.start(order, flows.Order(fail={"bill": 9})),
        failed := play.start(flows.order_stopping, flows.Order(fail={"pack": 3})),
        play.start(flows.media_slow, flows.Order(polls=1)),
        play.start(flows.steps[40, False], flows.Order()),
        cancelled := play.start(flows.media_slow, flows.Order(polls=9)),
    ]
    assert play.start(order, flows.Order(), key="a") == contended
    once(play, lambda call: is_commit_of(call, "StageCompleted", "charge"), Fault.CRASH_BEFORE)
    work(play)
    play.cancel(cancelled, "enough")
    play.play(refs, days=3)
    play.retry(failed)
    play.rerun(finished, "bill")
    play.queue.clear()
    play.play(refs, days=3)
    for ref in refs:
        invariants.check(play, ref)
    return [remains(play, ref) for ref in refs]


def remains(play: Play, ref: RunRef) -> Any:
    """What the store has of a run, but for times and names that are made up."""
    statuses = ("open", "completed", "failed", "cancelled")
    workflows = [each.id for each in flows.ALL]
    listed = {each: read.list_runs(play.env, "test", workflows, statuses=[each]) for each in statuses}
    return (
        [status for status, found in listed.items() if ref in [entry.ref for entry in found]],
        play.ended(ref).names(),
        published(play, ref),
        [(item.key, item.body) for item in items_of(play, ref) if isinstance(item, Data)],
        read.show(play.env, ref).generation,
    )


@pytest.mark.dynamodb_local
@trap(BRATSOS, "The adapter for the real database never worked; only the in-memory fake was tested.")
def test_what_runs_do_in_memory_they_do_on_the_real_database(dynamodb_local: Clients) -> None:
    table = "onewrite-gallery"
    create_table(dynamodb_local.dynamodb, table)
    limits = Limits(shards=1, tick=10 * MINUTE)
    in_memory = life(Play(*flows.ALL, limits=limits))
    on_database = life(
        on_engine(Play(*flows.ALL, limits=limits, seed=7), DynamoDbStore(dynamodb_local.dynamodb, table))
    )
    assert on_database == in_memory
    ends = ("completed", "completed", "failed", "completed", "completed", "completed", "cancelled")
    assert [status for status, *_ in on_database] == [[end] for end in ends]
