"""Snapshots and replay: whoever resumes a run finds all that was recorded, as it was, and nothing in its place."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from pydantic import BaseModel, SecretStr

from kernel.ports import SNAPSHOT, RunRef, Snapshot
from kernel.shell.attend import Outcome
from kernel.shell.environment import Limits
from kernel.testing.faults import Call, Fault
from kernel.testing.play import Play
from onewrite import Context, Workflow, stage
from tests.gallery.stage import finish, look, restart
from tests.gallery.traps import trap
from tests.shell.script import (
    Flow,
    Note,
    Script,
    commits_of,
    gives,
    items_of,
    line,
    once_before,
    session_of,
    state_of,
    work,
)

ALGA = "AlgaPSA"


@trap(ALGA, "A large snapshot is replaced by `{truncated}` and cannot be read back.")
def test_a_large_state_is_read_back_from_its_snapshot_as_it_was(script: Script) -> None:
    large = Note(text="x" * 2_000_000)
    names = [f"s{sha256(bytes(number)).hexdigest()[:60]}" for number in range(400)]  # they compress badly
    stages = [script.stage(name, gives(large) if number < 2 else None) for number, name in enumerate(names)]
    play = Play(flow := line(*stages), limits=Limits(chain_cap=390))
    ref = play.start(flow, large)
    play.step()
    session = session_of(play, ref)
    assert session.snapshot_seq > 100
    assert session.snapshot_size > 4_096
    shown = play.ended(ref).view
    play.store.delete(ref, SNAPSHOT)
    assert play.ended(ref).view == shown
    restart(play, flow)
    finish(play, ref)
    assert (len(script.calls), script.seen[stages[0].id], script.seen[stages[2].id]) == (400, large, large)


class Login(BaseModel):
    """What a redacting logger would not leave as it is."""

    password: str
    token: str


class Guarded(BaseModel):
    """Shows stars to whoever writes it down."""

    password: SecretStr


@trap(ALGA, "State is resumed from a redacted copy.")
def test_what_another_process_resumes_from_is_what_was_given_or_the_stage_fails_at_once() -> None:
    login = Login(password="hunter2", token="eyJhbGciOi" + "x" * 2_000)
    seen: list[Login] = []

    @stage
    def sign_in(ctx: Context, given: Login) -> Login:
        return given

    @stage
    def use(ctx: Context, given: Login) -> Login:
        seen.extend((given, ctx.run_input(Login)))
        return given

    @stage
    def guard(ctx: Context, given: Login) -> Guarded:
        return Guarded(password=SecretStr(given.password))

    flow: Any = Workflow("flow", input=Login, chain=False).then(sign_in).then(use)
    starred: Any = Workflow("starred", input=Login).then(guard)
    play = Play(flow, starred)
    ref = play.start(flow, login)
    play.step()
    restart(play, flow, starred)
    assert finish(play, ref).output == login
    assert seen == [login, login]
    error = finish(play, play.start(starred, login), "failed").view.error
    assert error is not None
    assert (error.stage, error.kind) == ("guard", "InvalidOutput"), "stars are no password"


def snapshotted(script: Script) -> tuple[Play, RunRef, Flow]:
    """A run under way that has a snapshot, all of it within one millisecond."""
    play = Play(flow := line(*(script.stage(f"s{number}") for number in range(30)), chain=False))
    ref = play.start(flow, Note())
    while not isinstance(play.store.get(ref, SNAPSHOT), Snapshot):
        play.step()
    return play, ref, flow


@trap(ALGA, "Replay crashes when nothing is newer than the snapshot.")
def test_a_run_of_which_nothing_is_newer_than_its_snapshot_is_read_and_goes_on(script: Script) -> None:
    play, ref, flow = snapshotted(script)
    state = state_of(play, ref)
    session = session_of(play, ref)
    newer = [item for item in commits_of(play, ref) if item.seq > session.snapshot_seq]
    for commit in newer:
        play.store.delete(ref, commit.key)
    assert state_of(play, ref).seq == session.snapshot_seq
    for commit in newer:
        play.store.put(ref, commit)
    assert state_of(play, ref).seq == state.seq
    restart(play, flow)
    finish(play, ref)
    assert script.calls == [f"s{number}" for number in range(30)]


@trap(ALGA, "Replay loses what came between the replay and the snapshot's time stamp.")
def test_a_snapshot_written_late_hides_nothing_of_what_came_meanwhile(script: Script) -> None:
    play = Play(flow := line(*(script.stage(f"s{number}") for number in range(30)), chain=False))
    ref = play.start(flow, Note())

    def writes_a_snapshot(call: Call) -> bool:
        return call.method == "put" and isinstance(call.arguments[1], Snapshot)

    def others() -> None:
        play.faults.choose = lambda call: Fault.UNAVAILABLE if writes_a_snapshot(call) else None
        for _ in range(3):
            play.attend(ref)
        play.faults.choose = lambda _call: None

    once_before(play, writes_a_snapshot, others)
    while play.store.get(ref, SNAPSHOT) is None:
        play.step()
    session = session_of(play, ref)
    assert session.state.seq - session.snapshot_seq == 6, "three stages came after what the snapshot holds"
    assert len({commit.at for commit in commits_of(play, ref)}) == 1, "and all within the same millisecond"
    finish(play, ref)
    assert script.calls == [f"s{number}" for number in range(30)]


@trap(
    "aws-durable-execution-sdk-python",
    "A replay mismatch silently consumed another operation's result: a step was skipped and the run succeeded.",
    692,
)
def test_no_stage_is_given_the_result_of_another_by_code_that_does_not_match_the_log() -> None:
    def of(*ids: str) -> tuple[Script, Flow]:
        script = Script()
        return script, line(*(script.stage(id_) for id_ in ids), chain=False)

    for ids in (
        ("reserve", "check", "charge", "ship"),  # a step more, before what has run
        ("charge", "reserve", "ship"),  # the same steps the other way round
        ("reserve", "ship"),  # one less
        ("reserve", "bill", "ship"),  # one by another name
    ):
        script, flow = of("reserve", "charge", "ship")
        play = Play(flow)
        ref = play.start(flow, Note())
        play.step()
        play.step()
        before = items_of(play, ref)
        other, changed = of(*ids)
        restart(play, changed)
        for _ in range(5):
            assert play.attend(ref).outcome is Outcome.PARKED
            look(play)
        work(play)
        assert other.calls == []
        assert [item.key for item in items_of(play, ref)] == [item.key for item in before], "nothing was committed"
        restart(play, flow)
        finish(play, ref)
        assert script.calls == ["reserve", "charge", "ship"]
        assert [script.seen[id_] for id_ in ("charge", "ship")] == [Note(text="reserve"), Note(text="charge")]
