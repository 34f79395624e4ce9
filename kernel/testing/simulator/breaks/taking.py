"""How a guard is taken away: a condition of a write by itself, anything else by an edit of the function that has it.

An edit says what is taken out of the function's own source, so everything else stays as it is shipped; and it fails
loudly once the function no longer says that.
"""

from __future__ import annotations
import __future__

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pkgutil import resolve_name
from textwrap import dedent
from types import CodeType, FunctionType

from msgspec import Struct

from kernel.ports import Guard
from kernel.testing import memory

Patch = Callable[[], AbstractContextManager[object]]
Edit = tuple[str, str, str]
"""A function, as ``module:name``; what is taken out of its source, where it stands once; what is put there instead."""


class Break(Struct, frozen=True):
    """A guard that can be taken away.

    Attributes:
        name: of the guard.
        guards: what it is there for.
        invariants: those that it is there for: one of them breaks without it.
        without: takes it away for the length of a block.
    """

    name: str
    guards: str
    invariants: frozenset[str]
    without: Patch


def condition(guard: Guard, guards: str, *invariants: str) -> Break:
    """The condition of a write."""
    return Break(guard.value, guards, frozenset(invariants), partial(condition_off, guard))


def part(name: str, guards: str, invariants: str | tuple[str, ...], *edits: Edit) -> Break:
    """A part of some functions."""
    named = (invariants,) if isinstance(invariants, str) else invariants
    return Break(name, guards, frozenset(named), partial(edited, *edits))


@contextmanager
def condition_off(guard: Guard) -> Iterator[None]:
    """Within the block, the memory store lets every write with this guard pass."""
    put, update = memory.PUTS.get(guard), memory.UPDATES.get(guard)
    try:
        if put is not None:
            memory.PUTS[guard] = lambda _existing, _new: True
        if update is not None:
            memory.UPDATES[guard] = lambda _head, _change: True
        yield
    finally:
        if put is not None:
            memory.PUTS[guard] = put
        if update is not None:
            memory.UPDATES[guard] = update


@contextmanager
def edited(*edits: Edit) -> Iterator[None]:
    """Within the block, functions have something else in the place of a part of theirs, whoever holds them."""
    with ExitStack() as stack:
        for where in dict.fromkeys(where for where, _, _ in edits):
            function: FunctionType = resolve_name(where)
            stack.callback(setattr, function, "__code__", function.__code__)
            function.__code__ = _compiled(function, [(old, new) for at, old, new in edits if at == where])
        yield


def _compiled(function: FunctionType, replacements: Sequence[tuple[str, str]]) -> CodeType:
    lines, first = inspect.getsourcelines(function)
    source = dedent("".join(lines))
    for old, new in replacements:
        if source.count(old) != 1:
            message = (
                f"{function.__qualname__} has not one {old!r}, but {source.count(old)}: its guard is elsewhere now"
            )
            raise LookupError(message)
        source = source.replace(old, new)
    # As many lines before it as in its file, so that tracebacks tell the truth.
    text = "\n" * (first - 1) + source
    flags = __future__.annotations.compiler_flag
    module = compile(text, function.__code__.co_filename, "exec", flags, dont_inherit=True)
    return next(each for each in module.co_consts if isinstance(each, CodeType) and each.co_name == function.__name__)
