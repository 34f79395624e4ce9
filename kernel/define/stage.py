"""``stage``: the decorator that makes a function one step of a workflow."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVarTuple, overload

from typing_extensions import TypeVar

from kernel.core.definition import CallbackPolicy, PollPolicy, StageSpec, Strategy
from kernel.core.events import COMPENSATE
from kernel.define.contract import DEFAULT_TIMEOUT, Contract, Options, contract_of
from kernel.define.policy import DEFAULT_RETRY, OnFailure, Retry, is_a, milliseconds, require_strategy
from kernel.define.signature import Function, require_function
from kernel.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from kernel.define.context import AwaitCallback, Context, Pending, Suspend


Out = TypeVar("Out")
Out_co = TypeVar("Out_co", covariant=True)
State = TypeVar("State")
Ins = TypeVarTuple("Ins")

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def require_id(id_: object, what: str) -> None:
    """See to it that an id is one: it becomes part of keys and URLs.

    Raises:
        DefinitionError: it is not.
    """
    if not isinstance(id_, str) or not _ID.fullmatch(id_):
        raise DefinitionError(
            f"{what} {id_!r} is not an id: use a letter, then up to 63 letters, digits, hyphens, underscores"
        )


class Stage(Generic[Out_co, *Ins]):
    """One step of a workflow: takes a context and ``Ins``, gives ``Out``. Made by ``stage``.

    Called directly it is the plain function: unit tests need no engine.

    Attributes:
        id: its name in a workflow; the function's name unless ``named`` otherwise.
        function: what it runs.
        options: how it is retried, timed and undone.
    """

    def __init__(self, function: Function, options: Options, id_: str) -> None:
        """Keep the parts. Use ``stage`` instead, which checks them."""
        update_wrapper(self, function)
        self.id = id_
        self.function = function
        self.options = options

    def __call__(self, ctx: Context[Any], /, *inputs: *Ins) -> Out_co:
        """Call the function itself."""
        result: Out_co = self.function(ctx, *inputs)
        return result

    def __repr__(self) -> str:
        """Name it."""
        return f"<stage {self.id!r}>"

    def named(self, id_: str, /) -> Stage[Out_co, *Ins]:
        """The same stage under another id, to use it twice in a workflow.

        Raises:
            DefinitionError: not an id.
        """
        require_id(id_, "stage")
        renamed: Stage[Out_co, *Ins] = Stage(self.function, self.options, id_)
        if "contract" in self.__dict__:  # what its type hints mean may not be found again from elsewhere
            renamed.__dict__["contract"] = self.contract
        return renamed

    def same(self, other: AnyStage) -> bool:
        """Whether it is the same stage, and not another one that happens to have its id."""
        return self.id == other.id and self.function is other.function

    @cached_property
    def contract(self) -> Contract:
        """What it takes and gives.

        Raises:
            NameError: a type hint is not defined (yet).
            DefinitionError: its function, check and compensation do not fit together.
        """
        return contract_of(self.function, self.options, f"stage {self.id!r}")

    def require_contract(self) -> Contract:
        """What it takes and gives, at the latest time that it can be found out.

        Raises:
            DefinitionError: a type hint is not defined, or see ``contract``.
        """
        try:
            return self.contract
        except NameError as error:
            raise DefinitionError(
                f"stage {self.id!r}: a type hint cannot be resolved ({error}): define or import the type at "
                "the top of the module (not under TYPE_CHECKING only), above the workflow that uses the stage"
            ) from error

    def spec(self, strategy: Strategy) -> StageSpec:
        """What the kernel needs to know of it, where its workflow says what a failure means."""
        options = self.options
        retry = Retry(1) if options.at_most_once else options.retry
        poll = None
        if options.every is not None and options.limit is not None:
            poll = PollPolicy(milliseconds(options.every, "every"), milliseconds(options.limit, "limit"))
        callback = None
        if options.callback is not None:
            silent = options.callback_heartbeat
            callback = CallbackPolicy(
                milliseconds(options.callback, "callback"),
                None if silent is None else milliseconds(silent, "callback_heartbeat"),
            )
        return StageSpec(
            id=self.id,
            timeout=milliseconds(options.timeout, "timeout"),
            retry=retry.policy(),
            on_failure=strategy,
            at_most_once=options.at_most_once,
            poll=poll,
            compensated=options.compensate is not None,
            callback=callback,
        )

    def compensation_spec(self) -> StageSpec:
        """What the kernel needs to know of its compensation: a stage with the same timeout and retries."""
        return StageSpec(
            id=COMPENSATE + self.id,
            timeout=milliseconds(self.options.timeout, "timeout"),
            retry=self.options.retry.policy(),
        )


From = Stage[Out, *tuple[Any, ...]]
"""A stage that gives an ``Out``, whatever it takes."""

AnyStage = Stage[Any, *tuple[Any, ...]]


class Decorator(Protocol):
    """What ``@stage(retry=...)`` gives: turns any function of a context and inputs into a stage."""

    def __call__(self, function: Callable[[Context[Any], *Ins], Out], /) -> Stage[Out, *Ins]:
        """Make the stage."""


class CallbackDecorator(Protocol):
    """What ``@stage(callback=...)`` gives: the same for a function that may leave its output to a third party."""

    def __call__(self, function: Callable[[Context[Any], *Ins], Out | AwaitCallback], /) -> Stage[Out, *Ins]:
        """Make the stage."""


@overload
def stage(function: Callable[[Context[Any], *Ins], Out], /) -> Stage[Out, *Ins]: ...


@overload
def stage(
    *,
    check: Callable[[Context[Any], State], Out | Pending],
    every: timedelta,
    limit: timedelta,
    compensate: Callable[[Context[Any], Out], None] | None = None,
    retry: Retry = DEFAULT_RETRY,
    timeout: timedelta = DEFAULT_TIMEOUT,
    on_failure: OnFailure | None = None,
    at_most_once: bool = False,
    delay: timedelta | None = None,
) -> Callable[[Callable[[Context[Any], *Ins], Out | Suspend[State]]], Stage[Out, *Ins]]: ...


@overload
def stage(
    *,
    callback: timedelta,
    callback_heartbeat: timedelta | None = None,
    compensate: Callable[[Context[Any], Out], None],
    retry: Retry = DEFAULT_RETRY,
    timeout: timedelta = DEFAULT_TIMEOUT,
    on_failure: OnFailure | None = None,
    at_most_once: bool = False,
    delay: timedelta | None = None,
) -> Callable[[Callable[[Context[Any], *Ins], Out | AwaitCallback]], Stage[Out, *Ins]]: ...


@overload
def stage(
    *,
    callback: timedelta,
    callback_heartbeat: timedelta | None = None,
    retry: Retry = DEFAULT_RETRY,
    timeout: timedelta = DEFAULT_TIMEOUT,
    on_failure: OnFailure | None = None,
    at_most_once: bool = False,
    delay: timedelta | None = None,
) -> CallbackDecorator: ...


@overload
def stage(
    *,
    compensate: Callable[[Context[Any], Out], None],
    retry: Retry = DEFAULT_RETRY,
    timeout: timedelta = DEFAULT_TIMEOUT,
    on_failure: OnFailure | None = None,
    at_most_once: bool = False,
    delay: timedelta | None = None,
) -> Callable[[Callable[[Context[Any], *Ins], Out]], Stage[Out, *Ins]]: ...


@overload
def stage(
    *,
    retry: Retry = DEFAULT_RETRY,
    timeout: timedelta = DEFAULT_TIMEOUT,
    on_failure: OnFailure | None = None,
    at_most_once: bool = False,
    delay: timedelta | None = None,
) -> Decorator: ...


def stage(  # noqa: PLR0913 - all that can be said of a stage
    function: Any = None,
    /,
    *,
    check: Any = None,
    every: timedelta | None = None,
    limit: timedelta | None = None,
    callback: timedelta | None = None,
    callback_heartbeat: timedelta | None = None,
    compensate: Any = None,
    retry: Retry = DEFAULT_RETRY,
    timeout: timedelta = DEFAULT_TIMEOUT,
    on_failure: OnFailure | None = None,
    at_most_once: bool = False,
    delay: timedelta | None = None,
) -> Any:
    """Make a function a stage.

    ::

        @stage(retry=Retry(3), timeout=timedelta(seconds=5), compensate=refund)
        def charge(ctx: Context[Gateway], order: Order) -> Receipt: ...

    The function takes a ``Context`` and then, by position, the outputs of the stages that it follows.
    Everything it takes and gives is recorded as JSON, so it has types that pydantic can write and read back.

    Args:
        function: takes a context and inputs, gives an output.
        check: for a stage that returns ``Suspend(state)``: given a context and the state, it says
            ``Pending()`` or gives the output. It may run twice at once, so it must have no effects.
        every: how often to check.
        limit: how long the stage may stay suspended before it fails.
        callback: for a stage that hands ``ctx.callback_token`` to a third party and returns ``AwaitCallback()``: how
            long their answer may take before the stage fails.
        callback_heartbeat: how long they may be silent before the attempt fails; if not given, until the answer.
        compensate: given a context and the stage's output, undoes the stage. May run more than once.
        retry: how often it is tried again and after which errors; ``Retry(3)`` if not given.
        timeout: how long one attempt may run, 60 seconds if not given.
        on_failure: what its failing for good means: ``stop``, ``proceed`` or ``compensate``; if not given,
            the workflow says.
        at_most_once: it is started once and never again, whatever happens. Its compensation is retried.
        delay: how long it waits, once what it follows is there, before it is first started.

    Returns:
        A ``Stage``; or, without ``function``, a decorator that makes one.

    Raises:
        DefinitionError: the function cannot be a stage; the message says what to change.
    """
    chosen = Options(
        retry=retry,
        timeout=timeout,
        on_failure=on_failure,
        at_most_once=at_most_once,
        compensate=compensate,
        check=check,
        every=every,
        limit=limit,
        callback=callback,
        callback_heartbeat=callback_heartbeat,
        delay=delay,
    )
    return _make(function, chosen) if function is not None else lambda decorated: _make(decorated, chosen)


def _make(function: Function, options: Options) -> AnyStage:
    id_ = getattr(function, "__name__", "")
    what = f"stage {id_!r}"
    if isinstance(function, Stage):
        raise DefinitionError(f"{what} is a stage already: decorate it once")
    require_function(function, what)
    require_id(id_, "the function's name")
    _require_options(what, options)
    made: AnyStage = Stage(function, options, id_)
    # A name that a type hint uses may still be defined further down; then the workflow finds out.
    with suppress(NameError):
        _ = made.contract
    return made


def _require_options(what: str, options: Options) -> None:
    milliseconds(options.timeout, f"{what}, timeout")
    if options.delay is not None:
        milliseconds(options.delay, f"{what}, delay")
    require_strategy(options.on_failure, f"{what}, on_failure", OnFailure)
    if not is_a(options.retry, Retry):
        raise DefinitionError(f"{what}: retry is {options.retry!r}: give a Retry, such as Retry(3)")
    if options.at_most_once and options.retry.attempts > 1 and options.retry is not DEFAULT_RETRY:
        raise DefinitionError(f"{what}: at_most_once and retry contradict each other: leave out one of them")
    for role, helper in (("compensation", options.compensate), ("check", options.check)):
        if isinstance(helper, Stage):
            raise DefinitionError(f"{what}: its {role} is a stage: give the plain function, without @stage")
        if helper is not None:
            require_function(helper, f"{what}, its {role}")
    given = [each is not None for each in (options.check, options.every, options.limit)]
    if any(given) and not all(given):
        raise DefinitionError(f"{what}: check, every and limit belong together: give all three or none")
    if options.every is not None:
        milliseconds(options.every, f"{what}, every")
        milliseconds(options.limit, f"{what}, limit", least=options.every)
    _require_callback_options(what, options)


def _require_callback_options(what: str, options: Options) -> None:
    if options.callback is None:
        if options.callback_heartbeat is not None:
            raise DefinitionError(f"{what}: callback_heartbeat belongs to a callback: give callback=... as well")
        return
    if options.check is not None:
        raise DefinitionError(f"{what}: check and callback contradict each other: leave out one of them")
    milliseconds(options.callback, f"{what}, callback")
    if options.callback_heartbeat is not None:
        heartbeat = f"{what}, callback_heartbeat"
        milliseconds(options.callback_heartbeat, heartbeat)
        if options.callback_heartbeat > options.callback:
            raise DefinitionError(f"{heartbeat} is {options.callback_heartbeat}: give at most {options.callback}")
