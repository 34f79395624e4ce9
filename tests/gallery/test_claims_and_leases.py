"""Claims, leases and stuck runs: whoever dies, freezes or waits, a run goes on, and never is one failed for waiting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from msgspec.structs import replace

from infra.clients import Clients
from infra.dynamodb.store import DynamoDbStore
from infra.dynamodb.table import create_table
from infra.system import SystemRandom
from kernel.core.codec import FORMAT
from kernel.core.events import LeaseExpired, StageChecked, StageCompleted, StageFailed
from kernel.core.state import StageStatus
from kernel.errors import Conflict
from kernel.ports import LIVE, Head, Poke, RunRef
from kernel.shell import read
from kernel.shell.attend import Attended, Outcome, attend
from kernel.shell.start import start
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from onewrite import Context, Retry
from tests.gallery.stage import (
    LEASE,
    SOON,
    attempts,
    each_death,
    finish,
    look,
    on_engine,
    published,
    restart,
    take_over,
)
from tests.gallery.traps import trap
from tests.handlers import shop
from tests.handlers.aws import Context as LambdaContext
from tests.handlers.aws import queue_record
from tests.shell.flows import Order, order
from tests.shell.script import (
    Act,
    Note,
    Script,
    dies,
    events,
    fork,
    head_of,
    is_commit_of,
    keys_of,
    line,
    log_of,
    once,
    once_before,
    pending,
    poke,
    stage_of,
    state_of,
    throws,
    work,
)

BRATSOS, LUNO = "bratsos/workflow-engine", "luno/workflow"


@trap(BRATSOS, "A job that merely waits in a backlog longer than a threshold gets its run failed as 'stuck'.")
def test_a_run_that_only_waits_in_a_backlog_is_not_failed_however_long_it_waits(script: Script) -> None:
    flow = fork(script.stage("a"), script.stage("b"), script.stage("c"), chain=False)
    play = Play(flow)
    ref = play.start(flow, Note())
    look(play, times=720)  # a day before its first stage
    assert log_of(play, ref) == []
    play.step()
    look(play, times=720)  # and a day between two stages
    assert log_of(play, ref) == [["StageStarted a"], ["StageCompleted a", "StageScheduled b", "StageScheduled c"]]
    finish(play, ref)
    assert script.calls == ["a", "b", "c"], "all those messages did nothing twice"
    assert published(play, ref) == ["RunCreated", "RunCompleted"]


@trap(BRATSOS, "A sweep re-enqueues a lost job and the next sweep fails the run because nothing was 'updated'.")
def test_a_message_that_is_lost_again_and_again_is_sent_again_and_fails_nothing(script: Script) -> None:
    flow = fork(script.stage("a", dies(1)), script.stage("b"), script.stage("c"), chain=False)
    play = Play(flow)
    ref = play.start(flow, Note())

    def lost(stages: set[str]) -> None:
        before = log_of(play, ref)
        for _ in range(20):
            play.queue.clear()
            counts = look(play)
            assert (counts.claimed, counts.failed, counts.deadlines) == (len(stages), 0, 0)
            assert {each.stage for each in play.queue.waiting} == stages
        assert log_of(play, ref) == before, "no look updates anything but when to look next"

    lost({""})
    work(play)  # dies in the body
    play.queue.clear()
    assert look(play).reaped == 1
    lost({"a"})
    work(play)
    play.clock.move(SOON)
    play.attend(ref)
    lost({"b", "c"})
    finish(play, ref)
    assert sorted(script.calls) == ["a", "a", "b", "c"]


@trap(BRATSOS, "A stage that is polled less often than the 'stuck' threshold gets its run failed.")
def test_a_stage_that_is_polled_seldom_is_not_taken_for_dead_between_two_polls(script: Script) -> None:
    for every in (timedelta(minutes=14), timedelta(days=2)):
        play = Play(flow := line(script.job("a", pending(2), every=every, limit=timedelta(days=7))))
        ref = play.start(flow, Note())
        finish(play, ref)
        assert len(events(play, ref, StageChecked)) == 2
        assert (attempts(play, ref), events(play, ref, LeaseExpired | StageFailed)) == ([1], [])  # type: ignore[arg-type]  # isinstance takes a union


@trap(BRATSOS, "A stage that heartbeats for long gets its run failed, alive as it is.")
def test_a_stage_that_gives_signs_of_life_for_hours_is_left_to_its_worker(script: Script) -> None:
    def long(ctx: Context) -> None:
        for _ in range(150):
            play.clock.move(50_000)
            ctx.heartbeat()
            play.tick()
            work(play)

    play = Play(flow := line(script.stage("a", long)))
    ref = play.start(flow, Note())
    play.queue.clear()
    play.attend(ref, seconds=3 * 3_600)
    ended = finish(play, ref)
    assert ended.view.updated - ended.view.created == 150 * 50_000
    assert (script.calls, attempts(play, ref)) == (["a"], [1])


@trap(BRATSOS, "A redelivery after a stale lease ignores the attempt limit: a poison stage runs for ever.")
def test_a_poison_stage_is_not_started_more_often_than_its_policy_says_whatever_is_redelivered(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(), retry=Retry(3))))
    ref = play.start(flow, Note())
    for _ in range(30):
        play.queue.clear()
        play.queue.send([(poke(ref), 0), (poke(ref, "a"), 0)])
        work(play)
        play.clock.move(LEASE)
    assert (script.calls, attempts(play, ref)) == (["a"] * 3, [1, 2, 3])
    error = finish(play, ref, "failed").view.error
    assert error is not None
    assert (error.kind, error.stage, error.attempt) == ("LeaseLost", "a", 3)


@trap(BRATSOS, "No fencing: the zombie and the new attempt both complete, and 'completed' is published twice.")
def test_a_zombie_cannot_complete_what_another_attempt_has_taken_over() -> None:
    def taken_over_by(second: Act | None) -> tuple[Play, RunRef, Script]:
        """The first worker freezes with its result in hand; another one takes over; the first one thaws."""
        script = Script()
        bodies: list[Act | None] = [lambda _ctx: Note(text="zombie"), second, None]
        play = Play(flow := line(script.stage("a", lambda ctx: (bodies[ctx.attempt - 1] or result)(ctx))))

        def result(ctx: Context) -> Note:
            return Note(text=f"attempt {ctx.attempt}")

        def others() -> None:
            with suppress(Crash):
                take_over(play, ref)

        ref = play.start(flow, Note())
        once_before(play, lambda call: is_commit_of(call, "StageCompleted", "a"), others)
        play.attend(ref)
        return play, ref, script

    for second, winner in ((None, 2), (dies(1), 3)):  # it thaws after the other one's end; and in the middle of it
        play, ref, script = taken_over_by(second)
        ended = finish(play, ref)
        assert ended.output == Note(text=f"attempt {winner}")
        assert [each.attempt for each in events(play, ref, StageCompleted)] == [winner]
        assert script.calls == ["a"] * winner
        assert published(play, ref) == ["RunCreated", "RunCompleted"]


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


@trap(BRATSOS, "Enqueue before commit: a fast worker sees a run that is not there yet and throws the job away.")
def test_no_worker_is_fast_enough_to_meet_a_message_before_what_it_is_about(script: Script) -> None:
    class Instant:
        """Delivers a message while its sender is still sending it."""

        def send(self, pokes: Any) -> None:
            for sent, delay in pokes:
                assert delay == 0
                before = list(script.calls)
                outcomes.append(attend(env, sent, env.clock.monotonic() + 300).outcome)
                useful.append(script.calls != before)

    outcomes: list[Outcome] = []
    useful: list[bool] = []
    play = Play(flow := fork(script.stage("a"), script.stage("b"), script.stage("c"), script.stage("d")))
    env = replace(play.env, queue=Instant())
    ref = start(env, flow, Note(), tenant="test", by="test").ref
    assert (outcomes, useful) == ([Outcome.ATTENDED] * 3, [True] * 3), "the run's message, and two branches'"
    finish(play, ref)
    assert sorted(script.calls) == ["a", "b", "c", "d"]


@trap("dbos-transact-py", "Worker recovery re-claims work that a draining worker still runs.", 804)
def test_a_new_worker_does_not_take_what_a_draining_one_still_runs(script: Script) -> None:
    def drains(ctx: Context) -> None:
        restart(play, flow)
        for _ in range(5):
            play.clock.move(40_000)
            ctx.heartbeat()
            play.queue.send([(poke(ref), 0), (poke(ref, "a"), 0)])
            work(play)
            play.tick()

    play = Play(flow := line(script.stage("a", drains), script.stage("b")))
    ref = play.start(flow, Note())
    play.step(seconds=900)
    finish(play, ref)
    assert script.calls == ["a", "b"]
    assert (attempts(play, ref), attempts(play, ref, "b")) == ([1], [1])


@trap("dbos-transact-py", "A lost claim runs the body anyway.", 742)
def test_a_worker_that_loses_the_race_for_a_stage_does_not_run_it(script: Script) -> None:
    def raced(stage: str) -> None:
        """Somebody else claims it while the claim of the one who is about to do so is on its way."""
        before = script.calls.count(stage)
        winner: list[Attended] = []
        once_before(
            play, lambda call: is_commit_of(call, "StageStarted", stage), lambda: winner.append(play.attend(ref))
        )
        play.attend(ref)
        assert winner
        assert script.calls.count(stage) == before + 1

    flow = line(script.stage("a"), script.stage("b", throws(ValueError("again"), 2)), script.stage("c"), chain=False)
    play = Play(flow)
    ref = play.start(flow, Note())
    raced("a")  # the claim that begins the run; whoever loses it goes on to b, which fails
    play.clock.move(SOON)
    raced("b")  # that of a retry
    play.clock.move(SOON)
    play.attend(ref)
    raced("c")  # that of a stage which is ready
    finish(play, ref)
    assert script.calls == ["a", "b", "b", "b", "c"]


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


@trap("azure durabletask", "An owner goes on renewing its lease after it stopped listening.", 2534)
def test_a_lease_is_renewed_by_the_stage_itself_and_never_for_another_attempt(script: Script) -> None:
    def act(ctx: Context) -> None:
        if ctx.attempt == 2:
            raise Crash
        if ctx.attempt > 2:
            return
        ctx.heartbeat()
        (sign,) = keys_of(play, ref, LIVE)
        kept.append(play.store.get(ref, sign))
        play.clock.move(LEASE + 2_000)  # it hangs, and nobody renews on its behalf
        play.attend(ref)
        kept.append(play.store.get(ref, sign))
        statuses.append(stage_of(play, ref, "a").status)
        play.clock.move(SOON)
        with suppress(Crash):
            play.attend(ref)
        lease = stage_of(play, ref, "a").at
        for _ in range(10):  # it comes round, and renews what is no longer its own
            play.clock.move(6_000)
            ctx.heartbeat()
        play.clock.move(lease + play.env.limits.max_skew - play.clock.now())
        play.attend(ref)
        statuses.append(stage_of(play, ref, "a").status)

    kept: list[object] = []
    statuses: list[StageStatus] = []
    play = Play(flow := line(script.stage("a", act)))
    ref = play.start(flow, Note())
    play.step(seconds=900)
    assert kept[0] == kept[1]
    assert statuses == [StageStatus.RETRYING] * 2, "either lease ended when it had to, and was found to have"
    finish(play, ref)
    assert [each.attempt for each in events(play, ref, StageCompleted)] == [3]


@pytest.mark.dynamodb_local
@trap(LUNO, "Check-then-store without a condition: 16 concurrent starts for one key, 16 accepted.")
def test_of_sixteen_starts_at_once_with_one_key_one_creates_the_run(dynamodb_local: Clients, script: Script) -> None:
    create_table(dynamodb_local.dynamodb, "onewrite-gallery")
    flow = line(script.stage("a"))
    play = Play(flow)
    store = DynamoDbStore(dynamodb_local.dynamodb, "onewrite-gallery")
    env = replace(on_engine(play, store).env, store=store, random=SystemRandom())
    key, together = env.random.token(), Barrier(16)

    def begin(number: int) -> Any:
        together.wait(timeout=30)
        text = "the same" if number < 8 else "another"
        try:
            return start(env, flow, Note(text=text), tenant="test", by=f"caller {number}", key=key)
        except Conflict as conflict:
            return conflict

    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(begin, range(16)))
    (created,) = [number for number, answer in enumerate(answers) if getattr(answer, "replay", None) is False]
    alike, unlike = (answers[:8], answers[8:]) if created < 8 else (answers[8:], answers[:8])
    assert {answer.ref for answer in alike} == {answers[created].ref}
    assert all(isinstance(answer, Conflict) for answer in unlike)
    head = store.get(answers[created].ref, "~head")
    assert isinstance(head, Head)
    assert head.by == f"caller {created}"


@trap(LUNO, "A successful pause is overwritten by a completion.")
def test_a_cancel_that_was_accepted_is_not_undone_by_a_completion_nor_the_other_way_round(script: Script) -> None:
    """What somebody asks of a run from outside is a cancel here."""
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageCompleted"), lambda: play.cancel(ref, "stop"))
    play.attend(ref)  # it had its result in hand when the cancel was accepted
    ended = finish(play, ref, "cancelled")
    assert (ended.view.reason, script.calls) == ("stop", ["a"])
    assert published(play, ref) == ["RunCreated", "RunCancelled"]

    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "RunCancelled"), lambda: play.attend(ref))
    with pytest.raises(Conflict, match="completed already"):
        play.cancel(ref)
    finish(play, ref)
    assert published(play, ref) == ["RunCreated", "RunCompleted"]


@trap(LUNO, "Error counts kept in memory and keyed on the error's text never reach their limit.")
def test_errors_are_counted_to_their_limit_though_each_reads_otherwise_and_meets_another_process(
    script: Script,
) -> None:
    def act(_ctx: Context) -> None:
        restart(play, *flows)
        raise ConnectionError(f"connection {play.clock.now()} was reset")

    flows = (line(script.stage("a", act, retry=Retry(4))), line(script.job("a", act), id="polls"))
    play = Play(*flows)
    stage, polls = (play.start(flow, Note()) for flow in flows)
    finish(play, stage, "failed", days=1 / 24)
    assert attempts(play, stage) == [1, 2, 3, 4]
    texts = [each.error.message for each in events(play, stage, StageFailed)]
    assert len(set(texts)) == 4
    error = finish(play, polls, "failed", days=1 / 24).view.error
    assert error is not None
    assert error.kind == "WaitLimitReached"
    assert script.calls.count("check:a") == 10


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
