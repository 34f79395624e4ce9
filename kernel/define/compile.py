"""Turns a plan into the ``Definition`` that the kernel runs."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from kernel.core.definition import EVENT, RUN_INPUT, Definition, RetryPolicy, StageSpec, Strategy, Values
from kernel.core.events import COMPENSATE, ErrorRecord
from kernel.core.graph import Graph, Listening, Node
from kernel.define.code import Place, StageCode
from kernel.define.context import Failed
from kernel.define.external import ValueCode, codes_of
from kernel.define.model import codec_of
from kernel.define.plan import Placed, Timer, Wait
from kernel.define.shape import describe, name_of
from kernel.define.signature import Parameter
from kernel.errors import InvalidOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kernel.define.plan import Plan, Step


def definition_of(plan: Plan) -> Definition:
    """The workflow as the kernel sees it.

    Raises:
        DefinitionError: it is not complete.
    """
    plan.require_complete()
    graph, specs, code = parts_of(plan)
    return Definition(
        id=plan.id,
        version=plan.version,
        fingerprint=_fingerprint(plan),
        program=graph,
        stages=specs,
        code=code,
        events=codes_of([step.events for step in plan.steps.values() if isinstance(step, Wait)]),
        waits={id_: ValueCode(codec_of(step.gives)) for id_, step in plan.steps.items() if isinstance(step, Wait)},
        deadline=plan.deadline,
        chain=plan.chain,
        undo_on_cancel=plan.on_cancel == "compensate",
    )


def parts_of(plan: Plan) -> tuple[Graph, dict[str, StageSpec], dict[str, StageCode]]:
    """A plan's graph; its stages, compensations among them: what the kernel knows of each, and what runs it."""
    # One who writes compensations means them to be used: "stop" would silently leave them unused.
    undoable = any(each.stage.options.compensate for each in plan.placed.values())
    default = Strategy(plan.on_failure or ("compensate" if undoable else "stop"))
    place = Place(
        stages={id_: each.stage for id_, each in plan.placed.items()},
        after={id_: step.after for id_, step in plan.steps.items()},
    )
    nodes: list[Node] = []
    specs: dict[str, StageSpec] = {}
    code: dict[str, StageCode] = {}
    for id_, step in plan.steps.items():
        if not isinstance(step, Placed):
            # What a timer holds back, and what a wait has to give, nothing can go on without.
            strategy = Strategy.STOP if default is Strategy.PROCEED else default
            specs[id_] = StageSpec(id_, timeout=0, retry=RetryPolicy(attempts=1), on_failure=strategy)
            nodes.append(_node(plan, step, specs[id_]))
            continue
        specs[id_] = step.stage.spec(Strategy(step.stage.options.on_failure or default))
        code[id_] = _code(step, place)
        nodes.append(Node(specs[id_], step.after, _condition(plan, step)))
        if step.stage.options.compensate:
            specs[COMPENSATE + id_] = step.stage.compensation_spec()
            code[COMPENSATE + id_] = _compensation(step, place)
    return Graph(nodes, tuple(id_ for id_ in plan.current if id_ != RUN_INPUT)), specs, code


def _code(placed: Placed, place: Place) -> StageCode:
    stage, contract = placed.stage, placed.stage.contract
    return StageCode(
        stage.id,
        stage.function,
        contract.parameters,
        contract.returns,
        sources=placed.sources,
        config=contract.config,
        retry=stage.options.retry,
        place=place,
        check=stage.options.check,
        state=contract.state,
        awaits=contract.awaits,
    )


def _compensation(placed: Placed, place: Place) -> StageCode:
    stage, contract = placed.stage, placed.stage.contract
    assert stage.options.compensate is not None  # noqa: S101 - the caller asked
    return StageCode(
        COMPENSATE + stage.id,
        stage.options.compensate,
        (Parameter("output", contract.returns, failable=False),),
        None,
        sources=(stage.id,),
        config=contract.config,
        retry=stage.options.retry,
        place=place,
    )


def _condition(plan: Plan, step: Placed | Timer) -> Callable[[Values], bool] | None:
    wanted = step.condition
    if wanted is None:
        return None
    given = _given(plan, step)
    return lambda values: bool(wanted(*given(values)))


def _node(plan: Plan, step: Timer | Wait, spec: StageSpec) -> Node:
    if isinstance(step, Timer):
        return Node(spec, step.after, _condition(plan, step), until=_until(plan, step))
    timeout = None if step.timeout is None else step.timeout // _MILLISECOND
    names = tuple(event.__name__ for event in step.events)
    return Node(spec, step.after, listening=Listening(names, _match(plan, step), timeout, step.proceeds))


def _match(plan: Plan, wait: Wait) -> Callable[[Values, str, str], bool]:
    wanted = wait.match
    if wanted is None:
        return lambda _values, _name, _event: True
    given, codecs = _given(plan, wait), {event.__name__: codec_of(event) for event in wait.events}

    def match(values: Values, name: str, event: str) -> bool:
        payload = values(EVENT + event)
        assert isinstance(payload, bytes)  # noqa: S101 - an event was received
        return bool(wanted(*given(values), codecs[name].load(payload)))

    return match


def _until(plan: Plan, timer: Timer) -> Callable[[Values, int], int]:
    match timer.until:
        case timedelta() as duration:
            length = duration // _MILLISECOND
            return lambda _values, now: now + length
        case datetime() as instant:
            fixed = _instant(instant)
            return lambda _values, _now: fixed
        case when:
            given = _given(plan, timer)
            return lambda values, _now: _instant(when(*given(values)))


_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _instant(when: object) -> int:
    """Milliseconds since the epoch, rounded up: no timer is early."""
    if not isinstance(when, datetime) or when.utcoffset() is None:
        raise InvalidOutput(f"a time to sleep until is {when!r}: give a datetime with a time zone")
    return -((_EPOCH - when) // _MILLISECOND)


def _given(plan: Plan, step: Step) -> Callable[[Values], Sequence[Any]]:
    """Reads the values of a step's sources."""
    codecs = tuple((source, codec_of(plan.gives(source))) for source in step.sources)

    def read(values: Values) -> Sequence[Any]:
        # Everything is asked for before anything is decoded: a value that is not at hand ends this at once.
        given = [(codec, values(source)) for source, codec in codecs]
        return [Failed.of(each) if isinstance(each, ErrorRecord) else codec.load(each) for codec, each in given]

    return read


def _fingerprint(plan: Plan) -> str:
    """Digest of structure and models: of all that a run under way relies on, never of bodies or policies."""
    seen: set[type] = set()
    lines = [f"{describe(plan.input, seen)} -> {plan.current}", *structure_of(plan, seen)]
    return digest_of(lines)


def digest_of(lines: Sequence[str]) -> str:
    """A fingerprint of these lines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def structure_of(plan: Plan, seen: set[type]) -> Sequence[str]:
    """A line for each step, as a fingerprint has it; models that were ``seen`` are spelt out no more."""
    lines: list[str] = []
    for id_, placed in plan.steps.items():
        gated = f" gated by {placed.gates}" if placed.gates else ""
        if isinstance(placed, Timer):
            lines.append(f"{id_} after {placed.sources}{gated} is a timer")
            continue
        if isinstance(placed, Wait):
            events = " ".join(f"{event.__name__} {describe(event, seen)}" for event in placed.events)
            lines.append(f"{id_} after {placed.sources}{gated} gives {name_of(placed.gives)} of {events}")
            continue
        contract = placed.stage.contract
        types = (
            *(each.annotation for each in contract.parameters),
            contract.returns,
            contract.config,
            contract.state,
        )
        lines.append(
            f"{id_} after {placed.sources}{gated} conditional {placed.condition is not None} "
            f"compensated {placed.stage.options.compensate is not None} "
            f"{'answered by a callback ' if contract.awaits else ''}"
            f"takes and gives {' '.join(describe(each, seen) for each in types)}"
        )
    return lines
