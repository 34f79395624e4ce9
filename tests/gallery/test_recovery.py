"""Recovery: what a death, an outage or a bad record leaves behind is found, and holds up nobody else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from msgspec.structs import replace

from kernel.core.codec import FORMAT
from kernel.core.state import StageStatus
from kernel.ports import Poke, RunRef
from kernel.shell import read
from kernel.shell.attend import attend
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from tests.gallery.stage import LEASE, SOON, attempts, each_death, finish, look
from tests.gallery.traps import trap
from tests.handlers import shop
from tests.handlers.aws import Context as LambdaContext
from tests.handlers.aws import queue_record
from tests.shell.flows import Order, order
from tests.shell.script import (
    Note,
    Script,
    dies,
    fork,
    head_of,
    is_commit_of,
    line,
    log_of,
    once,
    stage_of,
    state_of,
    work,
)

BRATSOS, LUNO = "bratsos/workflow-engine", "luno/workflow"


@trap(BRATSOS, "A crash between 'job complete' and 'advance the run' leaves the run to be failed by a sweep.")
def test_no_crash_can_come_between_completing_a_stage_and_going_on() -> None:
    for chain in (True, False):

        def scene(chain: bool = chain) -> tuple[Play, RunRef]:
            script = Script()
            play = Play(flow := line(script.stage("a"), script.stage("b"), chain=chain))
            return play, play.start(flow, Note())

        for play, ref in each_death(scene, lambda play, ref: play.attend(ref)):
            finish(play, ref)
            (going_on,) = [commit for commit in log_of(play, ref) if "StageCompleted a" in commit]
            assert going_on == ["StageCompleted a", "StageStarted b" if chain else "StageScheduled b"]


@trap(BRATSOS, "A crash after advancing but before enqueueing: advancing again is a no-op, nobody enqueues.")
def test_a_branch_whose_message_was_never_sent_is_found_by_a_redelivery_or_the_tick(script: Script) -> None:
    play = Play(flow := fork(script.stage("a"), script.stage("b"), script.stage("c")).then(script.join("d")))
    redelivered, left = play.start(flow, Note()), play.start(flow, Note())
    for ref in (redelivered, left):
        once(play, lambda call: call.method == "send", Fault.CRASH_BEFORE)
        with suppress(Crash):
            play.attend(ref)
        assert stage_of(play, ref, "c").status is StageStatus.SCHEDULED
    play.queue.clear()
    script.calls.clear()
    play.attend(redelivered)
    assert script.calls == ["c"], "a is not done again, b is held by whoever died, c has nobody"
    assert look(play).claimed == 1
    assert Poke(left.tenant, left.run, "c") in play.queue.waiting
    for ref in (redelivered, left):
        finish(play, ref)
    assert script.calls.count("d") == 2


@trap("dbos-transact-py", "A database restart in the middle of recovery strands runs as pending for ever.", 716)
def test_a_store_that_goes_away_in_the_middle_of_recovery_strands_no_run() -> None:
    def outage(calls: int) -> bool:
        """The store goes away after so many calls of the recovery; false if it did not take so many."""
        play = Play(flow := line(Script().stage("a", dies(3))))
        refs = [play.start(flow, Note()) for _ in range(3)]
        work(play)
        play.clock.move(play.env.limits.look_grace)
        since = len(play.faults.calls) + calls
        play.faults.choose = lambda call: Fault.UNAVAILABLE if call.number >= since else None
        play.tick()
        gone = len(play.faults.calls) > since
        play.faults.choose = lambda _call: None
        play.queue.clear()
        for ref in refs:
            finish(play, ref)
            assert attempts(play, ref) == [1, 2]
        return gone

    survived = 0
    while outage(survived):
        survived += 1
    assert survived > 15


@trap("dbos-transact-py", "A queue limited to one at a time is wedged by one dead holder.", 805)
def test_a_worker_that_dies_holding_the_only_message_holds_up_nobody_else(script: Script) -> None:
    """Messages are taken one at a time, by one worker, which dies with the first."""
    play = Play(flow := line(script.stage("a", dies(1))))
    first, *others = [play.start(flow, Note()) for _ in range(5)]
    with pytest.raises(Crash):
        play.step()
    for _ in others:
        play.step()
    assert {play.ended(ref).status for ref in others} == {"completed"}, "at once: nothing waits for the dead one"
    view = finish(play, first).view
    limits = play.env.limits
    assert view.updated - view.created <= LEASE + limits.look_grace + 2 * limits.tick + SOON


@trap(
    "dbos-transact-ts", "On Lambda, a time-out between steps leaves the job pending and replays step 1 for ever.", 872
)
def test_an_invocation_that_ends_between_two_stages_loses_and_repeats_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = shop.Deployment()
    play = deployment.play
    bodies: list[int] = []

    def body() -> None:
        bodies.append(play.clock.now())
        play.clock.move(3_000)

    monkeypatch.setattr(shop, "before_each_stage", body)
    ref = play.start(shop.order, shop.GOOD, tenant=shop.TENANT)

    def invoke() -> None:
        message = play.queue.receive()
        assert message is not None
        body = f'{{"tenant":"{ref.tenant}","run":"{ref.run}","stage":"{message.stage}"}}'
        assert deployment.job({"Records": [queue_record(body, "m")]}, LambdaContext(9)) == {"batchItemFailures": []}

    invoke()  # has time for one stage, and sees that
    assert log_of(play, ref)[1:] == [["StageCompleted charge", "StageScheduled ship"]]
    invoke()
    finish(play, ref)
    assert len(bodies) == 2

    # The platform cuts off every invocation right between two stages.
    script = Script()
    play = Play(flow := line(*(script.stage(f"s{number}") for number in range(5))))
    ref = play.start(flow, Note())
    for _ in range(20):
        once(play, lambda call: is_commit_of(call, "StageCompleted"), Fault.CRASH_AFTER)
        with suppress(Crash):
            play.attend(ref)
        play.queue.clear()
        play.clock.move(LEASE)
    finish(play, ref)
    assert script.calls == [f"s{number}" for number in range(5)]


@trap("hatchet", "The queue row is deleted before the assignment is confirmed: tasks vanish silently.", 4494)
def test_a_message_that_is_gone_before_its_work_was_done_takes_nothing_with_it() -> None:
    def scene() -> tuple[Play, RunRef]:
        play = Play(order)
        return play, play.start(order, Order())

    def take(play: Play, ref: RunRef) -> None:
        message = play.queue.receive()  # deleted by being taken: it comes no more
        assert message is not None
        attend(play.env, message, play.clock.monotonic() + 300)

    for play, ref in each_death(scene, take):
        head = head_of(play, ref)
        assert (head.due is not None) or state_of(play, ref).status.finished, "no run is forgotten"
        ended = finish(play, ref)
        assert sum(name.startswith("StageCompleted") for name in ended.names()) == 4


@trap("azure durabletask", "History and status are two writes: a failure between them means 'pending' for ever.", 1252)
def test_no_failure_comes_between_what_a_run_has_done_and_what_it_is_said_to_be(script: Script) -> None:
    def scene() -> tuple[Play, RunRef]:
        play = Play(flow := line(script.stage("a")))
        return play, play.start(flow, Note())

    seen: list[str] = []
    for play, ref in each_death(scene, lambda play, ref: play.attend(ref)):
        if state_of(play, ref).status.finished:
            seen.append(head_of(play, ref).status)
            before = play.clock.now()
            assert read.show(play.env, ref).status == "completed"
            shown = read.wait_for(play.env, ref, timeout=60)
            assert shown is not None
            assert (shown.status, play.clock.now()) == ("completed", before)
            look(play)
            (listed,) = read.list_runs(play.env, "test", ["flow"], statuses=["completed"])
            assert (listed.ref, head_of(play, ref).due) == (ref, None)
        finish(play, ref)
    assert {"open", "completed"} <= set(seen), "it died on both sides of writing the coarse status"


@trap(LUNO, "One failing record blocks everything behind it.")
def test_a_record_that_cannot_be_read_blocks_nothing_behind_it() -> None:
    deployment = shop.Deployment()
    play = deployment.play
    bad, *good = [play.start(shop.order, shop.GOOD, tenant=shop.TENANT) for _ in range(6)]
    whole = head_of(play, bad)
    play.store.put(bad, replace(whole, v=FORMAT + 1))

    def bodies(*refs: RunRef) -> list[str]:
        return [f'{{"tenant":"{ref.tenant}","run":"{ref.run}"}}' for ref in refs]

    batch = ["no message of ours", *bodies(bad, *good[:3])]
    records = [queue_record(body, str(number)) for number, body in enumerate(batch)]
    answer = deployment.job({"Records": records}, LambdaContext(300))
    assert [each["itemIdentifier"] for each in answer["batchItemFailures"]] == ["0", "1"]
    play.queue.clear()
    play.clock.move(play.env.limits.look_grace)
    counts = deployment.tick({}, LambdaContext(60))
    assert (counts["failed"], counts["claimed"]) == (1, 2)
    deployment.work()
    assert {play.ended(ref).status for ref in good} == {"completed"}
    play.store.put(bad, replace(head_of(play, bad), v=FORMAT))  # a version that can read it is deployed
    finish(play, bad)
