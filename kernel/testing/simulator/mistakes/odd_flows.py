"""Oddities in how stages are written and put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from kernel.core.definition import RUN_INPUT
from kernel.define.context import Context, NoConfig
from kernel.define.model import Hint
from kernel.define.policy import Retry
from kernel.errors import DefinitionError, InvalidOutput, NotUpstream, PermanentError, StageTimedOut
from kernel.testing.context import context
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.mistakes.cases import BILLION, Oddities, by_name, good_id, one_of, span, whole_number
from kernel.testing.simulator.mistakes.writing import (
    BEGUN,
    CHARGE,
    EMPTY,
    FAILURE,
    LAST,
    LOG,
    PACK,
    RISKY,
    SHIP,
    STAMP,
    WARY,
    WEIGH,
    Flow,
    Gateway,
    Order,
    Receipt,
    Scale,
    answer_of,
    code_of,
    context_of,
    function_of,
    noted,
    stage_of,
    untyped_stage,
)


class Declined(PermanentError):
    """An error of the user's that no retry can help."""


def _built_or_refused(seed: int) -> bool:
    """Stages put together at random are a workflow, or refused as a mistake in its definition."""
    chance = Chance(seed, "built")
    flow = Flow("w", input=Order, on_failure=chance.pick((None, "proceed")))
    pool = (CHARGE, PACK, WEIGH, SHIP, RISKY, STAMP, LAST, WARY, stage_of(Any))
    for _ in range(chance.between(1, 9)):
        one, other, third = chance.pick(pool), chance.pick(pool), chance.pick(pool)
        with suppress(DefinitionError):
            flow = chance.pick(
                (
                    partial(flow.then, one),
                    partial(flow.then_if, bool, one),
                    partial(flow.together, one, other),
                    partial(flow.step, one, after=(other, third)),
                    partial(flow.step, one, after=other),
                    partial(flow.output, one, other),
                )
            )()
    with suppress(DefinitionError):
        made = flow.definition
        return list(made.stages) == list(made.code) and set(made.program.outcome()) <= set(made.stages)
    return repr(flow) == "<workflow 'w' version 1>"


_POLICY = by_name(
    attempts=whole_number(1, BILLION),
    first=span(0, BILLION),
    cap=span(BILLION, BILLION * 1_000),
    factor=lambda chance: 1 + chance.pick((0, 1, chance.roll(), 1e300)),
    jitter=lambda chance: chance.pick((0, 1, chance.roll())),
)


def _delays(given: Mapping[str, Any]) -> bool:
    """Delays keep within the policy's bounds, up to its cap."""
    policy = Retry(**given).policy()
    delays = [policy.delay(failed, roll) for failed in (1, 2, 3, 1_000) for roll in (0.0, 0.999)]
    return all(0 <= delay <= policy.cap for delay in delays) and policy.attempts == given["attempts"]


_ERRORS = (
    *((error, True) for error in (OSError(), ConnectionResetError())),
    *((error(), False) for error in (BrokenPipeError, ValueError, Declined, InvalidOutput, NotUpstream, StageTimedOut)),
)


def _retried(given: tuple[Exception, bool]) -> bool:
    """Errors are retried as the policy says."""
    error, again = given
    retry = Retry(3, on=(OSError, PermanentError), give_up_on=(BrokenPipeError,))
    return code_of(stage_of(Order, options={"retry": retry})).retryable(error) is again


def _odd_names(given: str) -> bool:
    flow = Flow(given, input=Order).then(CHARGE.named(given))
    known = [flow.id, *flow.definition.stages, flow.input, repr(flow), *flow.presets]
    return known == [given, given, Order, f"<workflow {given!r} version 1>"]


def _taking(hint: str) -> Any:  # noqa: ANN401 - a stage
    """Its function is written here: names are looked up in the module of the function, and in its frames."""
    return untyped_stage()(noted(lambda _ctx, a: a, _ctx=Context, a=hint))


def _known_later(used: Callable[[object], Any]) -> bool:
    """A type may be known only where a stage is made, or only where it is used."""
    known, wanted = _known_here(Receipt)
    unknown = _taking("there").named("unknown")
    return known.contract.parameters[0].annotation is wanted and "unknown" in used(unknown).definition.stages


def _known_here(here: Hint) -> tuple[Any, Hint]:
    return _taking("here").named("known"), here


def _use(made: object) -> object:
    there = Receipt
    flow = BEGUN.then(made)
    return flow if there is Receipt else None


def _side_by_side(count: int) -> bool:
    """Two to six at once, four of which are joined."""
    stages = [STAMP.named(f"n{number}") for number in range(count)]
    joined = (stages * 4)[:4]
    flow = BEGUN.together(*stages).step(stage_of(*[Receipt] * 4), after=tuple(joined)).output(*joined[:3], CHARGE)
    code = flow.definition.code["s"]
    given = code.run(context_of({}), [b'{"id":"8"}'] * 4)
    return (list(code.sources), given) == ([each.id for each in joined], b'{"id":"8"}')


def _below_a_join(given: tuple[object, str]) -> bool:
    """A stage takes what came, or why nothing did, and may ask for all that is above it."""
    came, told = given
    asking = stage_of(
        str, gives=str, body=lambda ctx, _given: "".join(ctx.output(each).id for each in (CHARGE, STAMP, CHARGE))
    )
    flow = BEGUN.then(STAMP).step(stage_of(Receipt, Receipt, id_="join"), after=(CHARGE, STAMP)).then(WARY).then(asking)
    code = flow.definition.code
    values = {"charge": b'{"id":"1"}', "stamp": b'{"id":"2"}'}
    answers = code["wary"].run(context_of({}), [came]), code["s"].run(context_of(values), [b'""'])
    return answers == (f'"{told}"'.encode(), b'"121"')


def _asked(values: Mapping[str, object]) -> bool:
    """A context answers; one of a unit test, too."""
    ask = partial(answer_of, values=values, settings=b'{"s":{"retries":5},"other":{}}', config=Gateway)
    ctx, bare = ask(lambda ctx: ctx), context(Order(), charge=Receipt(id="9"))
    ctx.heartbeat()
    ctx.progress(1)
    known = [ctx.stage, ctx.attempt, ctx.tenant, ctx.key, ctx.run_id, ctx.cancelled, ctx.log.name, ctx.config.retries]
    return (
        known == ["s", 1, "t", "k", "0" * 24, False, LOG.name, 5]
        and ctx.config is ctx.config
        and ask(lambda ctx: (ctx.run_input(Order), ctx.output(CHARGE))) == (Order(), Receipt())
        and (bare.output(CHARGE), bare.config) == (Receipt(id="9"), NoConfig())
        and context(Order(), config=Scale(unit="g")).config.unit == "g"
    )


def _conditional(condition: Any) -> bool:  # noqa: ANN401 - anything that can be called
    """Any callable is a condition, of what was given, skipped or failed."""
    flow = EMPTY.then_if(condition, RISKY).then_if(condition, WARY)
    decide = flow.definition.program._nodes["wary"].condition  # noqa: SLF001 - it is what is tried
    answers = [decide({"risky": given}.__getitem__) for given in (b'{"id":"7"}', b"null", FAILURE)]
    return all(isinstance(each, bool) for each in answers)


def _undone(options: Mapping[str, Any]) -> bool:
    """A compensation has the configuration of its stage, and its retries."""
    seen: list[object] = []
    undo = function_of(
        Receipt, gives=None, ctx=Context[Gateway], body=lambda ctx, given: seen.extend((ctx.config, given))
    )
    definition = EMPTY.then(stage_of(Order, options={"compensate": undo, **options})).definition
    definition.code["compensate:s"].run(context_of({}, b'{"s":{"url":"x"}}'), [b'{"id":"8"}'])
    retry = definition.stages["compensate:s"].retry
    return seen == [Gateway(endpoint="x"), Receipt(id="8")] and retry == options.get("retry", Retry(3)).policy()


ODDITIES: Oddities = {
    "stages at random are a workflow or refused": (_built_or_refused, whole_number(0, BILLION)),
    "a policy keeps its bounds": (_delays, _POLICY),
    "errors are retried as the policy says": (_retried, one_of(*_ERRORS)),
    "an id at its limits": (_odd_names, good_id),
    "types that are known in one place only": (_known_later, one_of(_use)),
    "side by side": (_side_by_side, whole_number(2, 7)),
    "below a join": (_below_a_join, one_of((b'{"id":"7"}', "Receipt"), (b"null", "NoneType"), (FAILURE, "Failed"))),
    "what a context knows": (_asked, one_of({"charge": b'{"id":"7"}', RUN_INPUT: b"{}"})),
    "a condition that is no function": (
        _conditional,
        one_of(bool, str, [].__contains__, partial(lambda more, given: more is given, 0)),
    ),
    "an odd compensation": (
        _undone,
        one_of(
            {},
            {"at_most_once": True},
            {"at_most_once": True, "retry": Retry(1)},
            {"retry": Retry(9)},
            {"on_failure": "stop"},
            {"on_failure": "proceed"},
        ),
    ),
}
