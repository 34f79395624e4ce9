"""``StageCode``: runs a stage's function on recorded values.

This is the one place where types are erased. Before it, ``Stage[Out, *Ins]`` and ``Workflow[In, *Now]``
have made sure that functions fit together; after it, the kernel knows only JSON text. So there are no
generics below here, and nowhere above it is a value passed on untyped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from kernel.core.events import ErrorRecord
from kernel.define.context import AwaitCallback, Context, Failed, Pending, Suspend
from kernel.define.model import Codec, Hint, Value, codec_of, problems_of
from kernel.errors import InvalidOutput, InvalidStageInput, NotUpstream, PermanentError, StageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

    from kernel.core.definition import Given
    from kernel.define.policy import Errors, Retry
    from kernel.define.signature import Function, Parameter
    from kernel.define.stage import AnyStage

_NEVER: Errors = (PermanentError, InvalidOutput, InvalidStageInput, NotUpstream)
"""No retry can help these."""


class Suspended(Struct, frozen=True):
    """The stage goes on elsewhere; its check will be given this state, a JSON text. Without one, a callback answers."""

    state: bytes | None


class NotYet(Struct, frozen=True):
    """A check found the stage not ready; progress as it reported it."""

    progress: float | None


class Place(Struct, frozen=True):
    """Where a stage stands in its workflow, as its code needs to know.

    Attributes:
        stages: every stage of the workflow by id.
        after: which stages each one waits for.
    """

    stages: Mapping[str, AnyStage]
    after: Mapping[str, tuple[str, ...]]


class StageCode:
    """What runs a stage, a check, or a compensation.

    Attributes:
        id: the stage's id; ``compensate:<id>`` for a compensation.
        sources: where each positional parameter comes from: ids of stages, or ``RUN_INPUT``.
        config: the model of its configuration.
    """

    def __init__(  # noqa: PLR0913 - as many as a stage has parts
        self,
        id_: str,
        function: Function,
        parameters: Sequence[Parameter],
        returns: Hint,
        *,
        sources: tuple[str, ...],
        config: type[BaseModel],
        retry: Retry,
        place: Place,
        check: Function | None = None,
        state: Hint = None,
        awaits: bool = False,
    ) -> None:
        """Look up once what each run of it needs."""
        self.id = id_
        self.sources = sources
        self.config = config
        self._function = function
        self._inputs = tuple((codec_of(each.annotation), each.failable) for each in parameters)
        self._returns = codec_of(returns)
        self._retry = retry
        self._place = place
        self._check = check
        self._state: Codec | None = codec_of(state) if check else None
        self._awaits = awaits
        self._upstream: frozenset[str] | None = None

    def run(self, ctx: Context[Any], given: Sequence[Given]) -> bytes | Suspended:
        """Run the stage's function.

        Args:
            ctx: the attempt's.
            given: the recorded outcomes of ``sources``, in their order.

        Returns:
            The output as JSON text, which is certain to read back as the same value; or that the stage has
            suspended itself.

        Raises:
            InvalidStageInput: what was recorded does not fit the function's parameters.
            InvalidOutput: what it returned does not fit its annotation, or JSON.
            Exception: whatever the function raises.
        """
        ctx._code = self  # noqa: SLF001 - completes the context; users never see one without
        result = self._function(ctx, *self._read(given))
        if self._state is not None and isinstance(result, Suspend):
            return Suspended(self._write(self._state, result.state, "state for its check"))
        if self._awaits and isinstance(result, AwaitCallback):
            return Suspended(None)
        return self._write(self._returns, result, "output")

    def check(self, ctx: Context[Any], state: bytes) -> bytes | NotYet:
        """Ask whether a suspended stage is ready.

        Args:
            ctx: the stage's.
            state: what ``run`` left for it.

        Returns:
            The stage's output as JSON text, or that it is not ready.

        Raises:
            InvalidStageInput: the state no longer fits the check's parameter.
            InvalidOutput: what the check returned does not fit its annotation, or JSON.
            Exception: whatever the check raises.
        """
        if self._check is None or self._state is None:
            raise InvalidStageInput(f"{self.id} is suspended, but this version of it has no check: deploy one that has")
        ctx._code = self  # noqa: SLF001 - as in run
        result = self._check(ctx, self._load(self._state, state, "its state while suspended"))
        if isinstance(result, Pending):
            return NotYet(result.progress)
        return self._write(self._returns, result, "output")

    def accept(self, given: object) -> bytes:
        """An output that a third party sent, as it is to be recorded.

        Args:
            given: JSON text, or what JSON text can be made of.

        Raises:
            InvalidInput: it does not fit what the function's annotation says, with a path for each problem.
        """
        return self._returns.accept(given, "output")

    def read_output(self, data: bytes) -> Value:
        """A recorded output as the function returned it; None for a stage that was skipped.

        Raises:
            InvalidStageInput: it no longer fits the function's annotation.
        """
        return None if data == b"null" else self._load(self._returns, data, "its output")

    def retryable(self, error: Exception) -> bool:
        """Whether the stage's retry policy wants another attempt after this error, if one is left."""
        return (
            not isinstance(error, _NEVER)
            and not isinstance(error, self._retry.give_up_on)
            and isinstance(error, self._retry.on)
        )

    def require_upstream(self, stage: AnyStage) -> None:
        """See to it that a stage precedes this one.

        Raises:
            NotUpstream: it does not; the message says what does.
        """
        if self._upstream is None:
            self._upstream = self._reach()
        if stage.id not in self._upstream or not self._place.stages[stage.id].same(stage):
            names = ", ".join(sorted(self._upstream)[:50]) or "none"
            raise NotUpstream(f"{stage.id} does not precede {self.id}; stages that do: {names}")

    def _reach(self) -> frozenset[str]:
        found: set[str] = set()
        frontier = list(self.sources)
        while frontier:
            id_ = frontier.pop()
            if id_ not in found and id_ in self._place.after:
                found.add(id_)
                frontier.extend(self._place.after[id_])
        return frozenset(found)

    def _read(self, given: Sequence[Given]) -> list[Any]:
        try:
            return [
                _failure(each, failable=failable) if isinstance(each, ErrorRecord) else codec.load(each)
                for (codec, failable), each in zip(self._inputs, given, strict=True)
            ]
        except StageError:  # the time-out's interrupt
            raise
        except Exception as error:
            sources = ", ".join(source or "the run's input" for source in self.sources)
            raise InvalidStageInput(
                f"{self.id}: what it takes from {sources} does not fit its parameters: {problems_of(error)}"
            ) from error

    def _load(self, codec: Codec, data: bytes, what: str) -> Value:
        try:
            return codec.load(data)
        except StageError:  # the time-out's interrupt
            raise
        except Exception as error:
            raise InvalidStageInput(f"{self.id}: {what} does not fit its type: {problems_of(error)}") from error

    def _write(self, codec: Codec, value: Value, what: str) -> bytes:
        try:
            return codec.record(value)
        except StageError:  # the time-out's interrupt
            raise
        except Exception as error:
            kind = type(value).__name__
            raise InvalidOutput(
                f"{self.id} returned a {kind} that cannot be recorded as its {what}: {problems_of(error)}"
            ) from error


def _failure(error: ErrorRecord, *, failable: bool) -> Failed:
    # The definition saw to this, but policies may change under a run: they are not in its fingerprint.
    if not failable:
        raise ValueError(f"{error.stage} failed, and the parameter is not annotated ... | Failed")
    return Failed.of(error)
