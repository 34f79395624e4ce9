"""What a stage takes and gives, worked out from its function, its check and its compensation."""

from __future__ import annotations

from datetime import timedelta
from types import NoneType
from typing import TYPE_CHECKING

from msgspec import Struct

from kernel.define.context import NoConfig
from kernel.define.model import Hint, union
from kernel.define.policy import DEFAULT_RETRY, OnFailure, Retry
from kernel.define.shape import fits, name_of
from kernel.define.signature import Function, Parameter, Signature, read_signature
from kernel.errors import DefinitionError

if TYPE_CHECKING:
    from pydantic import BaseModel

DEFAULT_TIMEOUT = timedelta(seconds=60)
"""Of a stage that gives none."""


class Options(Struct, frozen=True, kw_only=True):
    """What a stage was decorated with. The meaning of each is said at ``stage``."""

    retry: Retry = DEFAULT_RETRY
    timeout: timedelta = DEFAULT_TIMEOUT
    on_failure: OnFailure | None = None
    at_most_once: bool = False
    compensate: Function | None = None
    check: Function | None = None
    every: timedelta | None = None
    limit: timedelta | None = None
    callback: timedelta | None = None
    callback_heartbeat: timedelta | None = None
    delay: timedelta | None = None


class Contract(Struct, frozen=True):
    """What a stage takes and gives, its check and its compensation included.

    Attributes:
        parameters: what it takes after the context.
        returns: the type of its output.
        config: the model of its configuration; ``NoConfig`` for none.
        state: the type of what it leaves for its check; absent without one.
        awaits: it can be answered by a callback.
    """

    parameters: tuple[Parameter, ...]
    returns: Hint
    config: type[BaseModel]
    state: Hint = None
    awaits: bool = False


def contract_of(function: Function, options: Options, what: str) -> Contract:
    """What a stage of this function and these options takes and gives.

    Raises:
        NameError: a type hint is not defined (yet).
        DefinitionError: function, check and compensation do not fit together.
    """
    signature = read_signature(function, what)
    if signature.pends:
        raise DefinitionError(f"{what} may return Pending, which is for a check: return Suspend(state) instead")
    outputs, state, configs = signature.outputs, None, {signature.config}
    if options.check:
        check = read_signature(options.check, f"{what}, its check")
        state = _require_check(what, signature, check)
        outputs = check.outputs
        configs.add(check.config)
    elif signature.suspends:
        raise DefinitionError(
            f"{what} may return Suspend: say how to go on, with @stage(check=..., every=..., limit=...)"
        )
    _require_callback(what, signature, options)
    returns = union(outputs)
    if options.compensate:
        undo = read_signature(options.compensate, f"{what}, its compensation")
        _require_compensation(what, returns, undo)
        configs.add(undo.config)
    config, *others = configs - {NoConfig} or {NoConfig}
    if others:
        raise DefinitionError(f"{what}, its check and its compensation have different configurations: use one model")
    return Contract(signature.parameters, returns, config, state, signature.awaits)


_OUTPUT = "its output's type"


def _require_check(what: str, signature: Signature, check: Signature) -> Hint:
    """See to it that a check fits its stage; gives the type of the state between them."""
    if not signature.suspends:
        raise DefinitionError(f"{what} has a check but never suspends: let it return {_OUTPUT} | Suspend[State]")
    if check.suspends or check.awaits or not check.pends or not check.outputs:
        raise DefinitionError(f"{what}: its check must return {_OUTPUT} | Pending")
    if len(check.parameters) != 1:
        raise DefinitionError(f"{what}: its check must take (ctx, state), where the stage returns Suspend(state)")
    wanted = check.parameters[0].annotation
    state = wanted if signature.state is None else signature.state
    if not fits(state, wanted):
        raise DefinitionError(f"{what} suspends with {name_of(state)}, but its check takes {name_of(wanted)}")
    returns = union(check.outputs)
    if signature.outputs and not fits(union(signature.outputs), returns):
        raise DefinitionError(
            f"{what} gives {name_of(union(signature.outputs))}, but its check gives {name_of(returns)}: "
            "they must give the same"
        )
    return state


def _require_callback(what: str, signature: Signature, options: Options) -> None:
    """See to it that a stage says both that it waits for a callback and for how long, and what it is answered with."""
    if options.callback is None:
        if signature.awaits:
            raise DefinitionError(
                f"{what} may return AwaitCallback: say how long the answer may take, with @stage(callback=...)"
            )
    elif not signature.awaits or not signature.outputs:
        raise DefinitionError(f"{what} has a callback: let it return {_OUTPUT} | AwaitCallback")


def _require_compensation(what: str, returns: Hint, undo: Signature) -> None:
    if len(undo.parameters) != 1 or not fits(returns, undo.parameters[0].annotation):
        raise DefinitionError(f"{what}: its compensation must take (ctx, output: {name_of(returns)})")
    if undo.outputs != (NoneType,) or undo.suspends or undo.pends or undo.awaits:
        raise DefinitionError(f"{what}: its compensation must return None")
