"""What a stage gets and may return besides its inputs and output."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, Protocol

import msgspec
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeVar

from kernel.annotations import Scalar
from kernel.core.definition import RUN_INPUT, Given
from kernel.core.events import COMPENSATE, ErrorRecord
from kernel.define.model import Hint, Value, codec_of, problems_of
from kernel.errors import InvalidStageInput, NotUpstream

if TYPE_CHECKING:
    from kernel.define.code import StageCode
    from kernel.define.stage import From


class NoConfig(BaseModel):
    """The configuration of a stage that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Failed(BaseModel):
    """What a stage gets in place of the output of a stage that failed with ``on_failure="proceed"``.

    The parameter says that it may come: ``receipt: Receipt | Failed``.

    Attributes:
        stage: id of the stage that failed.
        kind: class name of its last error.
        message: its text.
        category: what kind of trouble it was, such as ``user``, ``timeout`` or ``output``.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    kind: str
    message: str
    category: str

    @classmethod
    def of(cls, error: ErrorRecord) -> Failed:
        """The error as it is recorded, as a user's code sees it."""
        return cls(stage=error.stage, kind=error.kind, message=error.message, category=error.category)


Cfg = TypeVar("Cfg", bound=BaseModel, default=NoConfig)
Model = TypeVar("Model", bound=BaseModel)
Out = TypeVar("Out")
S_co = TypeVar("S_co", covariant=True)


class Suspend(Generic[S_co]):
    """Returned by a stage: "the work goes on elsewhere; ask my ``check`` until it is ready".

    Args:
        state: what the check will be given, such as the id of a provider's job. Recorded as JSON.
    """

    __slots__ = ("state",)

    def __init__(self, state: S_co) -> None:
        """Keep the state."""
        self.state = state


class Pending:
    """Returned by a check: "not ready yet".

    Args:
        progress: how far it is, from 0 to 1, if that is known.

    Raises:
        ValueError: the progress is not between 0 and 1.
    """

    __slots__ = ("progress",)

    def __init__(self, progress: float | None = None) -> None:
        """Keep the progress."""
        self.progress = None if progress is None else fraction(progress)


class AwaitCallback:
    """Returned by a stage: "somebody else has ``ctx.callback_token``, and will answer with my output"."""

    __slots__ = ()


def fraction(progress: float) -> float:
    """A progress that can be recorded.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0 <= progress <= 1:  # nor is what is not a number
        raise ValueError(f"progress is {progress}: give a fraction, from 0 to 1")
    return float(progress)


Log = logging.LoggerAdapter[logging.Logger]
"""A logger whose lines carry the run, the stage and the attempt."""


class Handle(Protocol):
    """What a context needs of the attempt that it stands for; implemented by the shell."""

    @property
    def stage(self) -> str:
        """Id of the stage."""

    @property
    def attempt(self) -> int:
        """Number of the attempt, from 1."""

    @property
    def tenant(self) -> str:
        """Whose run it is."""

    @property
    def run(self) -> str:
        """Id of the run."""

    @property
    def key(self) -> str:
        """The stage's idempotency key."""

    @property
    def callback_token(self) -> str:
        """The attempt's callback token.

        Raises:
            PermanentError: it has none.
        """

    @property
    def log(self) -> Log:
        """Logger of the attempt."""

    def value(self, stage: str) -> Given:
        """The recorded outcome of a stage, or of ``RUN_INPUT``.

        Raises:
            NotUpstream: there is none.
        """

    def config(self) -> bytes | None:
        """The run's whole configuration as JSON, by stage id; None if it has none."""

    def heartbeat(self, progress: float | None) -> None:
        """Extend the attempt's lease, and record how far it is."""

    def cancelled(self) -> bool:
        """Whether the result of the attempt will not count any more."""

    def annotate(self, key: str, value: Scalar) -> None:
        """Say something for the run's record.

        Raises:
            TypeError, ValueError: it cannot be kept.
        """


class Context(Generic[Cfg]):
    """A stage's view of its run: the first parameter of each stage's function, ``ctx: Context``.

    With a configuration model it is ``ctx: Context[Gateway]``, and ``ctx.config`` is a ``Gateway``.

    Args:
        handle: the attempt that it stands for.
        config: the configuration itself, for unit tests; else it is what the run recorded.
    """

    __slots__ = ("_code", "_config", "_handle")

    def __init__(self, handle: Handle, *, config: Cfg | None = None) -> None:
        """Keep the handle; everything else is looked up when asked for."""
        self._handle = handle
        self._code: StageCode | None = None  # set by StageCode; a unit test does without
        self._config = config

    @property
    def config(self) -> Cfg:
        """The stage's configuration: what the run was started with, else the model's defaults.

        Raises:
            InvalidStageInput: what was recorded does not fit the model.
        """
        if self._config is None:
            stage = self.stage.removeprefix(COMPENSATE)
            try:
                given = msgspec.json.decode(self._handle.config() or b"{}", type=dict[str, msgspec.Raw])
            except (ValueError, RecursionError) as error:
                raise InvalidStageInput(f"the run's configuration cannot be read: {error}") from error
            model: Hint = NoConfig if self._code is None else self._code.config
            config: Cfg = _decode(model, bytes(given.get(stage, b"{}")), f"the configuration of {stage}")
            self._config = config
        return self._config

    @property
    def attempt(self) -> int:
        """Number of this attempt at the stage, from 1."""
        return self._handle.attempt

    @property
    def stage(self) -> str:
        """Id of the stage."""
        return self._handle.stage

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self._handle.run

    @property
    def tenant(self) -> str:
        """Whose run it is."""
        return self._handle.tenant

    @property
    def key(self) -> str:
        """An idempotency key for what this stage does outside.

        The same for all attempts, also after a retry of the run. Another one for every run and stage, and once the
        stage had completed and is run anew, because it was undone or somebody reran the run from it or from above.
        """
        return self._handle.key

    @property
    def callback_token(self) -> str:
        """What a third party needs to answer this stage, once, by ``POST /callbacks/<token>``.

        Another one for every attempt; the one before counts no more. It is a secret: hand it to who shall answer, and
        to nobody else.

        Raises:
            PermanentError: the stage has no ``callback=``.
        """
        return self._handle.callback_token

    @property
    def log(self) -> Log:
        """A logger whose lines carry the run, the stage and the attempt."""
        return self._handle.log

    @property
    def cancelled(self) -> bool:
        """Whether the result of this attempt will not count any more: stop early.

        So it is once the run was cancelled or has failed, the state of a machine was left, or somebody else has taken
        the stage over since this attempt's lease had ended.
        """
        return self._handle.cancelled()

    def run_input(self, model: type[Model]) -> Model:
        """The run's input, read as ``model``.

        Raises:
            InvalidStageInput: it does not fit the model.
        """
        given = self._handle.value(RUN_INPUT)
        if isinstance(given, ErrorRecord):
            raise InvalidStageInput(f"the run's input is not there: {given.message}")
        value: Model = _decode(model, given, "the run's input")
        return value

    def output(self, of: From[Out], /) -> Out:
        """The recorded output of any stage that precedes this one.

        Raises:
            NotUpstream: the stage does not precede this one, was skipped, or failed.
            InvalidStageInput: the record no longer fits the stage's output type.
        """
        if not hasattr(of, "id"):
            raise TypeError(f"ctx.output takes a stage, itself and not its id: not {of!r}")
        if self._code is not None:
            self._code.require_upstream(of)
        given = self._handle.value(of.id)
        if isinstance(given, ErrorRecord):
            raise NotUpstream(
                f"{of.id} failed and has no output ({given.kind}: {given.message}): "
                f"to see the failure, let {self.stage} take it as a parameter annotated ... | Failed"
            )
        codec = codec_of(of.contract.returns)
        if given == b"null" and not codec.nullable:
            raise NotUpstream(f"{of.id} was skipped in this run and has no output")
        value: Out = _decode(of.contract.returns, given, f"the output of {of.id}")
        return value

    def progress(self, done: float, /) -> None:
        """Report how far the stage is, from 0 to 1, and extend its lease.

        Raises:
            ValueError: it is not between 0 and 1.
        """
        self._handle.heartbeat(fraction(done))

    def heartbeat(self) -> None:
        """Extend the lease of this attempt: the stage is alive, and needs longer than its timeout."""
        self._handle.heartbeat(None)

    def annotate(self, key: str, value: Scalar) -> None:
        """Say something for the run's record, such as who or why: kept beside what comes of this attempt.

        It is written with the commit that records how the attempt ends, whichever way; nothing is, if the attempt is no
        longer current. What was said before under the same key stays.

        Args:
            key: a letter, and up to 63 letters, digits, dots, hyphens and underscores more.
            value: a text of up to 256 characters, a bool, or a finite number.

        Raises:
            TypeError: the value is something else.
            ValueError: key or value are not like that, or it is the seventeenth annotation of the attempt.
        """
        self._handle.annotate(key, value)


def _decode(annotation: Hint, data: bytes, what: str) -> Value:
    try:
        return codec_of(annotation).load(data)
    except ValueError as error:
        raise InvalidStageInput(f"{what} does not fit its model: {problems_of(error)}") from error
