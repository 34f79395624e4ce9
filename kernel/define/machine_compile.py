"""Turns a machine's plan into the ``Definition`` that the kernel runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernel.core.definition import DATA, EVENT, RUN_INPUT, Definition, RetryPolicy, StageSpec, Values
from kernel.core.events import ErrorRecord
from kernel.core.machine import Machine, StateSpec, Transition
from kernel.define.compile import digest_of, parts_of, structure_of
from kernel.define.context import Failed
from kernel.define.external import ValueCode, codes_of
from kernel.define.model import codec_of, problems_of
from kernel.define.shape import describe
from kernel.errors import InvalidOutput, StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kernel.core.definition import Given
    from kernel.core.graph import Graph
    from kernel.define.code import StageCode
    from kernel.define.machine_plan import MachinePlan, Way
    from kernel.define.model import Codec, Hint, Value

LARGEST = 100_000
"""Bytes that a machine's data may have, as JSON text."""


def definition_of(plan: MachinePlan) -> Definition:
    """The machine as the kernel sees it.

    Raises:
        DefinitionError: it is not complete.
    """
    plan.require_complete()
    graphs: dict[str, Graph] = {}
    specs: dict[str, StageSpec] = {}
    code: dict[str, StageCode] = {}
    for owner, work in plan.works():
        graphs[owner], stages, codes = parts_of(work)
        specs |= stages
        code |= codes
    ways = plan.named()
    for id_, way in ways.items():
        if way.after is not None:
            specs[id_] = StageSpec(id_, timeout=0, retry=RetryPolicy(attempts=1))
    return Definition(
        id=plan.id,
        version=plan.version,
        fingerprint=_fingerprint(plan),
        program=Machine(
            [StateSpec(id_, graphs.get(id_), id_ in plan.final) for id_ in plan.states],
            [_transition(plan, id_, way, graphs) for id_, way in ways.items()],
            start=plan.start,
            begin=_begin(plan),
            quota=plan.quota,
        ),
        stages=specs,
        code=code,
        events=codes_of([(way.event,) for way in plan.ways if way.event is not None]),
        waits={DATA: ValueCode(codec_of(plan.data))},
        deadline=plan.deadline,
        chain=plan.chain,
        selective=True,
    )


def _begin(plan: MachinePlan) -> Callable[[Values], bytes]:
    given, data, begin = codec_of(plan.input), codec_of(plan.data), plan.begin

    def first(values: Values) -> bytes:
        value = given.load(_text(values(RUN_INPUT)))
        return _recorded(data, *((value, "the input") if begin is None else (begin(value), "begin")))

    return first


def _transition(plan: MachinePlan, id_: str, way: Way, graphs: dict[str, Graph]) -> Transition:
    ask = _given(plan, way)
    when, update, result = way.when, way.update, way.result
    data, work = codec_of(plan.data), graphs.get(id_)

    def updated(values: Values, event: str) -> bytes:
        assert update is not None  # noqa: S101 - else this is not called
        return _recorded(data, update(*ask(values, event)), "update")

    def finished(values: Values) -> bytes:
        assert result is not None  # noqa: S101 - else this is not called
        assert way.work is not None  # noqa: S101 - a result is of work
        source = way.work.current[0]
        outcome = _outcome(codec_of(way.work.gives(source)), values(source))
        return _recorded(data, result(data.load(_text(values(DATA))), outcome), "result")

    return Transition(
        id=id_,
        source=way.source,
        to=way.to,
        event=way.trigger if way.event is not None else "",
        after=way.after,
        roles=way.roles,
        when=None if when is None else lambda values, event: bool(when(*ask(values, event))),
        update=None if update is None else updated,
        work=work,
        finish=None if result is None else finished,
    )


def _given(plan: MachinePlan, way: Way) -> Callable[[Values, str], Sequence[Value]]:
    """Reads what a transition's functions are given."""
    data = codec_of(plan.data)
    if way.event is not None:
        payload = codec_of(way.event)

        def of_event(values: Values, event: str) -> Sequence[Value]:
            texts = _text(values(DATA)), _text(values(EVENT + event))
            return data.load(texts[0]), payload.load(texts[1])

        return of_event
    if way.after is not None:
        return lambda values, _event: (data.load(_text(values(DATA))),)
    work = plan.states[way.source]
    assert work is not None  # noqa: S101 - State.done has seen to it
    source, given = work.current[0], codec_of(plan.gives(way.source))

    def of_work(values: Values, _event: str) -> Sequence[Value]:
        text, outcome = _text(values(DATA)), values(source)
        return data.load(text), _outcome(given, outcome)

    return of_work


def _text(given: Given) -> bytes:
    assert isinstance(given, bytes)  # noqa: S101 - neither data nor events fail
    return given


def _outcome(codec: Codec, given: Given) -> Value:
    if isinstance(given, ErrorRecord):
        return Failed.of(given)
    return None if given == b"null" else codec.load(given)


def _recorded(codec: Codec, value: Value, what: str) -> bytes:
    """The data as it is to be recorded.

    Raises:
        InvalidOutput: it is none, or too large.
    """
    try:
        text = codec.record(value)
    except StageError:  # the time-out's interrupt
        raise
    except Exception as error:
        raise InvalidOutput(
            f"{what} gave a {type(value).__name__} that cannot be recorded as the data: {problems_of(error)}"
        ) from error
    if len(text) > LARGEST:
        raise InvalidOutput(
            f"{what} gives data of {len(text)} bytes: at most {LARGEST}; keep it elsewhere, pass its key"
        )
    return text


def _fingerprint(plan: MachinePlan) -> str:
    """Digest of states, transitions and models: of all that a run under way relies on, never of bodies or policies."""
    seen: set[type] = set()
    lines = [f"{describe(plan.input, seen)} begins {plan.start} with {describe(plan.data, seen)}"]
    lines += (f"{id_} is {'final' if id_ in plan.final else 'a state'}" for id_ in plan.states)
    for id_, way in plan.named().items():
        event: Hint | Any = way.event
        of = "" if event is None else f" of {describe(event, seen)}"
        lines.append(f"{id_}{of} leads to {way.to} conditional {way.when is not None} changes {way.update is not None}")
    for owner, work in plan.works():
        lines.append(f"{owner} runs {work.current}")
        lines += structure_of(work, seen)
    return digest_of(lines)
