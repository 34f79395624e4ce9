"""What users say about failure and time: the retry policy, the failure strategies, and durations."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from sys import float_info
from typing import Any, Literal, get_args

from kernel.core.definition import RetryPolicy
from kernel.errors import DefinitionError

OnFailure = Literal["stop", "proceed", "compensate"]
"""What happens when a stage has failed for good; see ``kernel.core.definition.Strategy``."""

OnCancel = Literal["stop", "compensate"]
"""Whether a cancelled run is undone."""

OnTimeout = Literal["fail", "proceed"]
"""What a wait does whose time is up."""

Errors = tuple[type[Exception], ...]
"""Classes of errors; subclasses count."""

_MILLISECOND = timedelta(milliseconds=1)


def is_a(given: object, wanted: type) -> bool:
    """Whether it is what its annotation says; a type checker would call the bare question pointless."""
    return isinstance(given, wanted)


def is_whole(number: object, least: int) -> bool:
    """Whether it is a whole number and not below ``least``."""
    return isinstance(number, int) and not isinstance(number, bool) and number >= least


def is_number(given: object, least: float, most: float) -> bool:
    """Whether it is a number (which NaN is not) from ``least`` to ``most``."""
    return isinstance(given, int | float) and least <= given <= most


def require_strategy(given: object, what: str, strategies: Any) -> None:  # noqa: ANN401 - a Literal has no type
    """See to it that something is one of the strategies, or absent.

    Raises:
        DefinitionError: it is not.
    """
    if given is not None and given not in get_args(strategies):
        raise DefinitionError(f"{what} is {given!r}: give one of {', '.join(map(repr, get_args(strategies)))}")


def milliseconds(duration: timedelta | None, what: str, *, least: timedelta = _MILLISECOND) -> int:
    """A duration as the kernel counts it.

    Args:
        duration: what the user gave.
        what: names it in the error.
        least: the shortest that makes sense.

    Raises:
        DefinitionError: it is not a ``timedelta``, or too short.
    """
    if not isinstance(duration, timedelta):
        raise DefinitionError(f"{what} is {duration!r}: give a datetime.timedelta, such as timedelta(seconds=5)")
    if duration < least:
        raise DefinitionError(f"{what} is {duration}: give at least {least}")
    return duration // _MILLISECOND


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, when, and after which errors a stage is tried again.

    A stage that says nothing is tried three times: ``Retry(3)``. Errors that no retry can help are never
    retried: ``PermanentError``, ``InvalidOutput``, ``InvalidStageInput``, ``NotUpstream``.

    Attributes:
        attempts: how often the stage may be started in all, 1 or more. A worker that dies counts too.
        first: the delay after the first failure.
        factor: by what each further delay is multiplied; 1 is a constant delay.
        cap: the longest delay.
        jitter: the fraction of each delay, 0 to 1, that is taken away at random.
        on: only these errors are retried. A time-out of the stage is a ``StageTimedOut``.
        give_up_on: of those, these are not.

    Raises:
        DefinitionError: a value makes no sense; the message says what to change.
    """

    attempts: int
    _: KW_ONLY
    first: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    cap: timedelta = timedelta(minutes=5)
    jitter: float = 0.2
    on: Errors = (Exception,)
    give_up_on: Errors = ()

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not is_whole(self.attempts, 1):
            raise DefinitionError(f"Retry: attempts is {self.attempts!r}: give a whole number from 1; 1 is no retry")
        milliseconds(self.first, "Retry: first", least=timedelta(0))
        milliseconds(self.cap, "Retry: cap", least=self.first)
        if not is_number(self.factor, 1, float_info.max):
            raise DefinitionError(f"Retry: factor is {self.factor!r}: give 1 (constant delay) or more")
        if not is_number(self.jitter, 0, 1):
            raise DefinitionError(f"Retry: jitter is {self.jitter!r}: give a fraction of the delay, 0 to 1")
        for name, errors in (("on", self.on), ("give_up_on", self.give_up_on)):
            if not _are_errors(errors):
                raise DefinitionError(f"Retry: {name} is {errors!r}: give a tuple of exception classes")

    def policy(self) -> RetryPolicy:
        """The part of it that the kernel needs; which errors to retry stays with the stage's code."""
        return RetryPolicy(
            attempts=self.attempts,
            first=self.first // _MILLISECOND,
            factor=self.factor,
            cap=self.cap // _MILLISECOND,
            jitter=self.jitter,
        )


def _are_errors(given: object) -> bool:
    return isinstance(given, tuple) and all(isinstance(each, type) and issubclass(each, Exception) for each in given)


DEFAULT_RETRY = Retry(3)
"""Of a stage that gives none."""
