"""Outputs and inputs: what is recorded is what was given, whole and checked, and each stage gets its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from kernel.core.events import StageCompleted
from kernel.errors import InvalidInput
from kernel.ports import DATA, RunRef
from kernel.shell.environment import Limits
from kernel.testing.play import Play
from onewrite import Context, Failed, NotUpstream, Workflow, stage
from tests.gallery.stage import attempts, finish
from tests.gallery.traps import trap
from tests.handlers import shop
from tests.handlers.aws import Client, http_event, queue_record
from tests.handlers.aws import Context as LambdaContext
from tests.shell.script import Note, Script, commits_of, events, gives, keys_of, line, on_condition, state_of

ALGA, BRATSOS = "AlgaPSA", "bratsos/workflow-engine"


class Longer(Note):
    """Has more to it than a stage says it gives."""

    more: str = "more"


@trap(BRATSOS, "Outputs are not validated, or the raw value is kept with a warning.")
def test_an_output_that_is_not_what_the_stage_says_it_gives_is_neither_kept_nor_passed_on() -> None:
    wrong = (7, "a text", {"text": "raw"}, [Note()], Longer(text="x"), Note.model_construct(text=7), object())
    for value in wrong:
        for flow in (
            line((script := Script()).stage("a", gives(value)), script.stage("b")),
            line(script.job("a", gives(value)), script.stage("b"), id="polls"),
        ):
            play = Play(flow)
            ref = play.start(flow, Note())
            error = finish(play, ref, "failed").view.error
            assert error is not None
            assert (error.stage, attempts(play, ref)) == ("a", [1])
            assert "b" not in script.calls
            assert events(play, ref, StageCompleted) == []
            assert not any(b"raw" in commit.events for commit in commits_of(play, ref))


@trap(BRATSOS, "A missing upstream output is silently replaced by the workflow's input.")
def test_an_output_that_is_missing_is_never_replaced_by_the_input(script: Script) -> None:
    given = Note(text="the workflow's input")
    seen: list[Note | None] = []

    @stage
    def last(ctx: Context, note: Note | None) -> Note:
        seen.append(note)
        return ctx.output(skipped)

    skipped = script.stage("b")
    flow: Any = on_condition(line(script.stage("a")), lambda _note: False, skipped).then(last)
    play = Play(flow)
    ref = play.start(flow, given)
    error = finish_badly(play, ref)
    assert (seen, error.stage, error.kind) == ([None], "last", NotUpstream.__name__)

    play = Play(flow := line(script.stage("a", gives(Note(text="x" * 1_000))), script.stage("z"), chain=False))
    ref = play.start(flow, given)
    play.step()
    play.store.delete(ref, keys_of(play, ref, DATA)[0])
    error = finish_badly(play, ref)
    assert (error.stage, error.kind) == ("z", "CorruptLog")
    assert "z" not in script.calls


def finish_badly(play: Play, ref: RunRef) -> Any:
    """Play a run to its end, a failure; the error that it ends with."""
    play.play([ref], days=1)
    return play.ended(ref).view.error


def handed_on(annotation: Any, value: Any, seen: list[Any]) -> Any:
    """A workflow in which one stage hands that to a condition and to the next."""

    def a(ctx: Context, note: Note) -> Any:
        return value

    def b(ctx: Context, given: Any) -> Any:
        seen.append(given)
        return given

    def decide(given: Any) -> bool:
        seen.append(given)
        return True

    a.__annotations__["return"] = annotation
    b.__annotations__.update({"given": annotation, "return": annotation})
    return Workflow("flow", input=Note, chain=False).then(stage(a)).then_if(decide, stage(b))


@trap(BRATSOS, "Falsy outputs are treated as missing.")
def test_an_output_that_is_false_or_empty_is_passed_on_and_decided_on_as_it_is() -> None:
    falsy: tuple[tuple[Any, Any], ...] = (
        (bool, False),
        (int, 0),
        (float, 0.0),
        (str, ""),
        (list[int], []),
        (dict[str, int], {}),
        (int | None, None),
    )
    for annotation, value in falsy:
        seen: list[Any] = []
        play = Play(flow := handed_on(annotation, value, seen))
        ended = finish(play, play.start(flow, Note(text="input")))
        assert (seen, ended.output) == ([value, value], value)
        assert {type(each) for each in (*seen, ended.output)} == {type(value)}


@trap(BRATSOS, "Every stage reloads all earlier outputs: quadratic.")
def test_a_stage_reads_what_it_takes_and_no_more_however_many_came_before(script: Script) -> None:
    def reads(count: int, *, chain: bool) -> list[int]:
        """Reads of the store by each look at a run of so many stages with large outputs."""
        stages = (script.stage(f"s{number}", gives(Note(text="x" * 2_000))) for number in range(count))
        play = Play(flow := line(*stages, chain=chain))
        play.start(flow, Note())
        looks = []
        while play.queue.waiting:
            before = len(play.faults.calls)
            play.step()
            looks.append(sum(call.method in ("range", "get") for call in play.faults.calls[before:]))
        return looks

    assert reads(60, chain=True) == [1], "a chain loads the run once, and reads nothing after that"
    looks = reads(60, chain=False)
    assert len(looks) == 60
    assert max(looks[1:]) <= 3, "the run, the commit of the output and the output: none of the 59 others"


class Sly(BaseModel):
    """An output whose fields have the names of everything that a run's state, head and log consist of."""

    type: str = "RunCancelled"
    status: str = "cancelled"
    stages: dict[str, str] = {"b": "completed"}
    active: dict[str, None] = {}
    undo: tuple[str, ...] = ("a",)
    seq: int = 999
    due: None = None
    deadline: int = 0
    tenant: str = "umbrella"
    error: dict[str, str] = {"category": "user"}
    output: str = "another's"


@trap(ALGA, "Any event payload is merged into the state and can overwrite anything.")
def test_a_payload_cannot_touch_anything_but_its_own_place(script: Script) -> None:
    @stage
    def a(ctx: Context, sly: Sly) -> Sly:
        return sly

    @stage
    def b(ctx: Context, sly: Sly) -> Sly:
        return sly.model_copy(update={"output": "b's"})

    flow: Any = Workflow("flow", input=Sly, chain=False).then(a).then(b)
    plain: Any = line(script.stage("a"), script.stage("b"), id="plain", chain=False)
    play = Play(flow, plain)
    ref, beside = play.start(flow, Sly()), play.start(plain, Note())
    play.step()
    play.step()
    state, other = state_of(play, ref), state_of(play, beside)
    assert {**{name: getattr(state, name) for name in state.__struct_fields__}, "identity": 0, "input": 0} == {
        **{name: getattr(other, name) for name in other.__struct_fields__},
        "identity": 0,
        "input": 0,
    }
    assert finish(play, ref).output == Sly(output="b's")

    deployment = shop.Deployment()
    client = Client(deployment.intake, http_event)
    extras: tuple[dict[str, Any], ...] = (
        {"status": "completed"},
        {"stages": {"charge": {}}},
        {"tenant": "umbrella"},
        {"seq": 7},
    )
    for more in extras:
        assert client.start({"input": shop.GOOD, **more}).status == 422
        body = json.dumps({"tenant": shop.TENANT, "run": "a" * 24, **more, "events": [{"type": "RunCancelled"}]})
        refused = deployment.job({"Records": [queue_record(body, "m")]}, LambdaContext(60))
        assert refused["batchItemFailures"] == [{"itemIdentifier": "m"}]
    assert deployment.writes == []


@trap("Step Functions", "Payload limits met at the boundary fail the run uncatchably.")
def test_an_output_past_the_limit_is_an_error_of_its_stage_that_the_workflow_can_handle() -> None:
    limit = 5_000
    for size, fits in ((limit, True), (limit + 1, False)):
        script = Script()
        value = Note(text="x" * (size - len('{"text":""}')))
        proceeds: Any = line(script.stage("a", gives(value), on_failure="proceed")).then(script.after_failure("b"))
        undoes = line(
            script.stage("c", compensate=script.undo()),
            script.stage("d", gives(value)),
            id="undoes",
        )
        play = Play(proceeds, undoes, limits=Limits(payload=limit))
        ref = play.start(proceeds, Note())
        play.play([ref], days=1)
        assert play.ended(ref).status == "completed"
        undone = play.start(undoes, Note())
        view = finish(play, undone, "completed" if fits else "failed").view
        if fits:
            assert script.seen["b"] == value
            assert "compensate:c" not in script.calls
            continue
        seen = script.seen["b"]
        assert isinstance(seen, Failed)
        assert (seen.stage, seen.category) == ("a", "output")
        assert (script.calls[-1], view.compensation) == ("compensate:c", "complete")
        assert (attempts(play, ref), attempts(play, undone, "d")) == ([1], [1]), "no retry makes it smaller"
        with pytest.raises(InvalidInput):
            play.start(proceeds, value)
