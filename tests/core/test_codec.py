"""The log's format: readable JSON that newer and broken records cannot be mistaken for; snapshots that lose nothing."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest

from kernel.core import codec
from kernel.core.events import (
    AnyEvent,
    Closed,
    CompensationStarted,
    ErrorRecord,
    EventReceived,
    LeaseExpired,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunFailed,
    RunPaused,
    RunReopened,
    RunResumed,
    Slept,
    StageChecked,
    StageCompleted,
    StageFailed,
    StageScheduled,
    StageSkipped,
    StageStarted,
    StageSuspended,
    StateEntered,
    TimerFired,
    TimerSet,
    TransitionStarted,
    TransitionTaken,
    Value,
    WaitMatched,
    WaitStarted,
)
from kernel.core.evolve import fold
from kernel.core.state import StageStatus, State
from kernel.errors import CorruptLog, NewerFormat
from tests.core.pure import IDENTITY, NOW

ERROR = ErrorRecord("user", "ValueError", "no «such» thing", "charge", 2, "line 1\nline 2")
ELSEWHERE = Value(data="data#0000000003#00ff", size=4_000, sha256="ab" * 32)

EVENTS: tuple[AnyEvent, ...] = (
    RunCreated(codec.inline(b'{"id":"o-1"}'), codec.inline(b'{"charge":{"retries":0}}')),
    RunCompleted(),
    RunFailed(ERROR, "incomplete"),
    RunCancelled("changed my mind", "complete"),
    CompensationStarted(("pack", "charge"), ERROR, "changed my mind"),
    RunReopened(("pack", "ship"), NOW + 5, "once more"),
    RunPaused("the bank is down", NOW + 60_000),
    RunResumed("it is up again"),
    StageScheduled("charge"),
    StageSkipped("gift"),
    StageStarted("charge", 1, NOW + 65_000),
    StageCompleted("charge", 1, ELSEWHERE),
    StageFailed("charge", 1, ERROR, NOW + 1_000),
    StageSuspended("render", 1, codec.inline(b'{"id":"j-1"}'), NOW + 60_000, NOW + 600_000),
    StageChecked("render", NOW + 120_000, 0.25, ERROR),
    TimerSet("sleep-1", NOW + 3_600_000),
    TimerFired("sleep-1"),
    WaitStarted("wait-1", ("Delivered", "Lost"), NOW + 3_600_000),
    EventReceived("e-1", "Delivered", codec.inline(b'{"parcel":"p"}')),
    WaitMatched("wait-1", "e-1"),
    StateEntered("review", "review.Approve", "e-1", codec.inline(b'{"signed_by":[]}')),
    TransitionStarted("review.Approve", "e-1", codec.inline(b'{"signed_by":[]}')),
    TransitionTaken("review.Note", "e-1"),
    LeaseExpired("charge", 1),
    Slept(NOW + 3_600_000),
    Closed(),
)


def test_a_commit_is_json_that_a_person_can_read() -> None:
    events = (StageCompleted("charge", 1, codec.inline(b'{"id":7}')), StageStarted("pack", 1, 99))
    assert json.loads(codec.encode_events(events)) == [
        {"type": "StageCompleted", "stage": "charge", "attempt": 1, "output": {"json": {"id": 7}}},
        {"type": "StageStarted", "stage": "pack", "attempt": 1, "lease": 99},
    ]


def test_what_is_not_there_is_not_written() -> None:
    assert codec.encode_events((RunCompleted(), RunCancelled())) == b'[{"type":"RunCompleted"},{"type":"RunCancelled"}]'


def test_there_is_an_example_of_every_event() -> None:
    assert {type(each) for each in EVENTS} == set(get_args(AnyEvent))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_reads_back_as_it_was_written(event: AnyEvent) -> None:
    text = codec.encode_events((event,))
    (again,) = codec.decode_events(codec.FORMAT, text, "here")
    assert type(again) is type(event)
    assert codec.encode_events((again,)) == text
    assert _plain(again) == _plain(event)


def _plain(event: Any) -> Any:
    """An event as plain values: recorded ones are compared by their text."""
    return msgspec.to_builtins(event, enc_hook=bytes, builtin_types=())


@pytest.mark.parametrize("text", [b"0", b'""', b"null", b"false", b"[]", b"{}"], ids=str)
def test_a_falsy_output_is_kept_as_an_output(text: bytes) -> None:
    written = codec.encode_events((StageCompleted("count", 1, codec.inline(text)),))
    (event,) = codec.decode_events(codec.FORMAT, written, "here")
    assert isinstance(event, StageCompleted)
    assert bytes(event.output.json) == text  # type: ignore[arg-type]  # kept in its event, so it is there


def test_a_record_of_a_newer_format_is_refused_by_name() -> None:
    with pytest.raises(NewerFormat, match=rf"run r-1, commit 7, is written in event format {codec.FORMAT + 1}"):
        codec.decode_events(codec.FORMAT + 1, b'[{"type":"RunCompleted"}]', "run r-1, commit 7,")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"{}",
        b"[{}]",
        b"[1]",
        b'[{"type":"Nonsense"}]',
        b'[{"type":"StageStarted","stage":"a","attempt":1}]',
        b'[{"type":"StageStarted","stage":1,"attempt":1,"lease":2}]',
        b'[{"type":"StageStarted","stage":"a","attempt":"1","lease":2}]',
        b'[{"type":"StageScheduled","stage":"\xff"}]',
        b'[{"type":"RunCreated","input":{"json":' + b"[" * 100_000 + b"]" * 100_000 + b"}}]",
    ],
    ids=["empty", "cut", "object", "untagged", "number", "unknown", "lacking", "type", "text", "utf-8", "nested"],
)
def test_a_record_that_does_not_fit_is_a_corrupt_log(text: bytes) -> None:
    with pytest.raises(CorruptLog, match="run r-1, commit 7, does not fit"):
        codec.decode_events(codec.FORMAT, text, "run r-1, commit 7,")


CREATED = RunCreated(codec.inline(b'{"id":"o-1"}'), codec.inline(b'{"charge":{}}'))


def state_after(*commits: tuple[AnyEvent, ...]) -> State:
    """The fold of a log that begins with ``CREATED``."""
    state = fold(State.initial(IDENTITY), 0, NOW, (CREATED,))
    for seq, events in enumerate(commits, 1):
        fold(state, seq, NOW + seq, events)
    return state


def many(count: int) -> tuple[tuple[AnyEvent, ...], ...]:
    """A log in which that many stages run one after the other."""
    return tuple(
        (StageCompleted(f"stage-{number:04d}", 1, codec.inline(b"{}")), StageStarted(f"stage-{number + 1:04d}", 1, NOW))
        for number in range(count)
    )


STATES = {
    "only created": state_after(),
    "running": state_after((StageStarted("a", 2, NOW + 9),)),
    "completed stages only": state_after(*((events[0],) for events in many(30))),
    "completed and running": state_after(*many(30)),
    "every kind of stage, mixed": state_after(
        (StageStarted("a", 1, NOW),),
        (StageCompleted("a", 3, codec.inline(b"1")), StageStarted("big", 1, NOW)),
        (StageCompleted("big", 1, ELSEWHERE), StageSkipped("gift"), StageScheduled("waits")),
        (StageFailed("b", 3, ERROR), StageFailed("c", 1, ERROR, NOW + 7)),
        (StageSuspended("render", 2, ELSEWHERE, NOW + 8, NOW + 9), StageStarted("dies", 1, NOW)),
        (StageChecked("render", NOW + 10, 0.5, ERROR), LeaseExpired("dies", 1)),
        (StageCompleted("late", 2, codec.inline(b"2")),),
    ),
    "compensating": state_after(
        (StageCompleted("a", 1, codec.inline(b"1")), CompensationStarted(("a",), ERROR)), (StageScheduled("x"),)
    ),
    "cancelling": state_after((CompensationStarted(("a",), None, "why"), StageScheduled("compensate:a"))),
    "asleep": state_after((StageFailed("c", 1, ERROR, NOW + 7),), (Slept(NOW + 7),)),
    "reopened": state_after((RunFailed(ERROR, "incomplete"),), (RunReopened((), NOW + 99, "why"),)),
    "cancelled": state_after((RunCancelled("why", "complete"),)),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
def test_a_snapshot_holds_all_of_the_state(state: State) -> None:
    again = codec.decode_snapshot(codec.encode_snapshot(state), CREATED)
    assert again == state
    assert list(again.stages) == list(state.stages), "the order of stages is part of the state"
    assert list(again.active) == list(state.active)


def test_a_run_goes_on_from_a_snapshot_as_from_its_log() -> None:
    state = STATES["every kind of stage, mixed"].fork()
    again = codec.decode_snapshot(codec.encode_snapshot(state), CREATED)
    following = (StageStarted("waits", 1, NOW + 99), StageChecked("render", NOW + 30))
    assert fold(again, 8, NOW + 20, following) == fold(state, 8, NOW + 20, following)
    assert again.stages["render"].check_errors == 0
    assert again.stages["late"].status is StageStatus.COMPLETED


def test_taking_a_snapshot_leaves_the_state_alone() -> None:
    state = state_after(*many(5))
    before = state.fork()
    codec.encode_snapshot(state)
    assert state == before


def test_completed_stages_are_packed_tightly() -> None:
    """A thousand of them take a few bytes each, so that a long run's snapshots stay a small share of its cost."""
    assert len(codec.encode_snapshot(state_after(*many(1_000)))) < 5_000
