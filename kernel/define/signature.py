"""Reads the signature of a function that users write, and says what is wrong with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from msgspec import Struct

from kernel.define.context import AwaitCallback, Context, Failed, NoConfig, Pending, Suspend
from kernel.define.model import Hint, is_model, members, origin_of, union
from kernel.define.shape import require_json
from kernel.errors import DefinitionError

if TYPE_CHECKING:
    from pydantic import BaseModel

Function = Callable[..., Any]
"""A function that a user wrote, its types read at run time."""


class Parameter(Struct, frozen=True):
    """A positional parameter after the context.

    Attributes:
        name: as the function calls it.
        annotation: its type, without ``Failed``.
        failable: ``Failed`` is one of the alternatives of its type.
    """

    name: str
    annotation: Hint
    failable: bool


class Signature(Struct, frozen=True):
    """What a function takes and gives.

    Attributes:
        config: the model of its context's configuration.
        parameters: what it takes after the context.
        outputs: the alternatives of what it returns, without ``Suspend[...]``, ``Pending`` and ``AwaitCallback``.
        state: the ``S`` of its ``Suspend[S]``; None if it does not suspend or does not say.
        suspends: it may return a ``Suspend``.
        pends: it may return a ``Pending``.
        awaits: it may return an ``AwaitCallback``.
    """

    config: type[BaseModel]
    parameters: tuple[Parameter, ...]
    outputs: tuple[Hint, ...]
    state: Hint
    suspends: bool
    pends: bool
    awaits: bool


def require_function(function: object, what: str) -> None:
    """See to it that something is a plain function, with a type hint for each parameter and its result.

    Args:
        function: what the user gave.
        what: names it in errors, such as ``stage 'pack'``.

    Raises:
        DefinitionError: it is not; the message says what to change.
    """
    if not isinstance(function, FunctionType):
        raise DefinitionError(f"{what} is made of {function!r}: give a function written with def")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{what} is async, which is not supported: write def instead of async def")
    if inspect.isgeneratorfunction(function):
        raise DefinitionError(f"{what} yields: return the output as one value, such as a list")
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DefinitionError(f"{what} takes *{parameter.name}: name each parameter, one for each output it joins")
        if parameter.kind is parameter.KEYWORD_ONLY:
            raise DefinitionError(f"{what}: parameter {parameter.name!r} is keyword-only: inputs come by position")
        if parameter.annotation is parameter.empty:
            raise DefinitionError(f"{what}: parameter {parameter.name!r} has no type: annotate it")
    if not signature.parameters:
        raise DefinitionError(f"{what} takes nothing: its first parameter must be ctx: Context")
    if signature.return_annotation is signature.empty:
        raise DefinitionError(f"{what} does not say what it returns: annotate it, with -> None if it is nothing")


def read_signature(function: Function, what: str) -> Signature:
    """The resolved signature of a function that ``require_function`` let through.

    Raises:
        NameError: a type hint names something that is not defined (yet).
        DefinitionError: the types make no sense here; the message says what to change.
    """
    hints = _hints(function)
    _require_hashable(hints, what)
    context, *names = (name for name in hints if name != "return")
    if origin_of(hints[context]) is not Context:
        raise DefinitionError(f"{what}: the first parameter, {context!r}, must be annotated Context or Context[Config]")
    config = next(iter(get_args(hints[context])), NoConfig)
    if not is_model(config):
        raise DefinitionError(f"{what}: Context[...] takes a pydantic model, not {config!r}")
    require_json(config, f"{what}, its configuration")
    parameters = tuple(_parameter(name, hints[name], what) for name in names)
    suspends, pends, awaits, state, rest = False, False, False, None, []
    for each in members(hints["return"]):
        if origin_of(each) is Suspend:
            suspends, state = True, next(iter(get_args(each)), None)
        elif each is Pending:
            pends = True
        elif each is AwaitCallback:
            awaits = True
        else:
            rest.append(each)
    if rest:
        require_json(union(tuple(rest)), f"{what}, its output")
    if state is not None:
        require_json(state, f"{what}, its state while suspended")
    return Signature(config, parameters, tuple(rest), state, suspends, pends, awaits)


def _parameter(name: str, annotation: Hint, what: str) -> Parameter:
    alternatives = members(annotation)
    rest = tuple(each for each in alternatives if each is not Failed)
    if not rest:
        raise DefinitionError(f"{what}: parameter {name!r} is only Failed: annotate it with the output's type | Failed")
    require_json(union(rest), f"{what}, parameter {name!r}")
    return Parameter(name, union(rest), failable=len(rest) < len(alternatives))


def _hints(function: Function) -> dict[str, Hint]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:
        return get_type_hints(function, localns=_surroundings(function), include_extras=True)


def _require_hashable(hints: Mapping[str, Hint], what: str) -> None:
    """Types are looked up by their hash, here and by Python's own unions."""
    for name, hint in hints.items():
        try:
            hash(hint)
        except TypeError as error:
            place = "what it returns" if name == "return" else f"parameter {name!r}"
            raise DefinitionError(
                f"{what}, {place}: {hint} cannot be told from other types ({error}): "
                "let its Annotated hold what can be hashed, such as a tuple for a list or a dict"
            ) from error


def _surroundings(function: Function) -> dict[str, Hint]:
    """Names that the postponed annotations of a function inside another function may mean.

    No dictionary that the function knows holds them: they are in the frames on the stack while it is defined.
    """
    found: dict[str, Hint] = {}
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals is function.__globals__ and frame.f_code.co_name != "<module>":
            found = frame.f_locals | found
        frame = frame.f_back
    return found


def takes(function: Function, count: int) -> bool:
    """Whether a function can be called with so many positional arguments; yes if it doesn't say."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a built-in without a signature
        return True
    return True


def is_plain(function: Function) -> bool:
    """Whether calling it gives its result: neither it nor its ``__call__`` is async or yields."""
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    return not any(is_one(each) for is_one in kinds for each in (function, type(function).__call__))
