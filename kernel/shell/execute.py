"""Running user code: one stage body, or one check, turned into the command that records what came of it.

Nothing that user code does can break the engine: whatever it throws becomes an error record. Only ``KeyboardInterrupt``
passes, because it is meant for the process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from kernel.annotations import BESIDE, Scalar, add, encode
from kernel.core import commands as c
from kernel.core.definition import Definition, Given
from kernel.core.events import (
    CompensationStarted,
    LeaseExpired,
    RunCancelled,
    RunFailed,
    StageStarted,
    StateEntered,
    TransitionStarted,
    Value,
)
from kernel.core.failures import describe
from kernel.core.tokens import Token, write_token
from kernel.define.code import NotYet, StageCode, Suspended
from kernel.define.context import Context
from kernel.errors import (
    InfrastructureError,
    InvalidInput,
    InvalidOutput,
    InvalidStageInput,
    LogError,
    NotUpstream,
    PermanentError,
    ProcessEnds,
    StageTimedOut,
)
from kernel.ports import Limit, Live
from kernel.shell.environment import Environment
from kernel.shell.insist import insist
from kernel.shell.load import Session, commits_after, events_of
from kernel.shell.logs import log
from kernel.shell.values import fetch, keep

Chain = Callable[[], c.Chain]
"""How much time is left for a next stage, asked when this one is done."""

_ENDS = RunCancelled | RunFailed | CompensationStarted | StateEntered | TransitionStarted
"""What makes all that is under way pointless."""

HEARTBEAT_EVERY = 1.0
"""Seconds between two signs of life that are written; more frequent ones are dropped."""


class Done(Struct, frozen=True):
    """What user code has come to.

    Attributes:
        command: records it.
        annotations: what the code said beside, as the commit keeps it.
    """

    command: c.Command
    annotations: bytes = b""


def run_body(
    env: Environment,
    session: Session,
    definition: Definition,
    started: StageStarted,
    chain: Chain,
    *,
    secret: str,
    expires: float,
    until: float,
) -> Done | None:
    """Run a claimed stage's body under its timeout.

    Args:
        env: the ports.
        session: the run; its state holds the claim.
        definition: its workflow.
        started: the claim.
        chain: tells, once the body is done, whether the commit of its result may start the next stage.
        secret: of the attempt's callback token; empty if it has none.
        expires: monotonic time in seconds at which the lease ends: no body starts after it.
        until: monotonic time in seconds at which the invocation ends.

    Returns:
        The command that records the result: complete, suspend or fail; with what was annotated. None if the claim was
        dropped, because it took too long to get here.
    """
    stage = started.stage
    seq = session.state.stages[stage].seq
    code: StageCode = definition.code[stage]
    timeout = definition.stages[stage].timeout / 1000
    handle = _Handle(env, session, definition, started, seq, until, secret)
    try:
        given: list[Given] = [session.value(env, source, min(expires, until)) for source in code.sources]
        now = env.clock.monotonic()
        if now >= expires or now + timeout > until:
            log.warning("claim dropped: too late for its body to start", extra={"run": handle.run, "stage": stage})
            return None
        # What came between the claim and now eats of the body's time, not of the others' patience.
        with env.alarm.limit(min(timeout, expires - now)) as handle.limit:
            result = code.run(Context(handle), given)
        if isinstance(result, Suspended):
            state = result.state
            kept = None if state is None else handle.keep(seq, state, until)
            return handle.done(c.Suspend(stage, seq, kept))
        output = handle.keep(seq, result, until)
        session.offer(stage, result)
        return handle.done(c.Complete(stage, seq, output, chain()))
    except (KeyboardInterrupt, ProcessEnds):
        raise
    except BaseException as error:  # noqa: BLE001 - user code may throw anything, asyncio's CancelledError too
        record = describe(error, _category(error), stage, started.attempt)
        return handle.done(c.Fail(stage, seq, record, _retryable(code, error), env.random.roll(), chain()))


def run_check(
    env: Environment, session: Session, definition: Definition, stage: str, chain: Chain, until: float
) -> Done:
    """Run a suspended stage's check. It has no claim, may run twice at once, and must have no effects.

    What it throws counts against a budget of its own, unless it is a ``PermanentError``: then the stage has failed.
    """
    suspended = session.state.stages[stage]
    code: StageCode = definition.code[stage]
    spec = definition.stages[stage]
    handle = _Handle(env, session, definition, StageStarted(stage, suspended.attempt, 0), suspended.seq, until)
    try:
        state = session.check_state(env, stage)
        with env.alarm.limit(spec.timeout / 1000):
            result = code.check(Context(handle), state)
        if isinstance(result, NotYet):
            return handle.done(c.NotReady(stage, suspended.seq, suspended.at, result.progress, None, chain()))
        output = handle.keep(suspended.seq, result, until)
        session.offer(stage, result)
        return handle.done(c.Ready(stage, suspended.seq, suspended.at, output, chain()))
    except (KeyboardInterrupt, ProcessEnds):
        raise
    except BaseException as error:  # noqa: BLE001 - user code may throw anything, asyncio's CancelledError too
        record = describe(error, _category(error), stage, suspended.attempt)
        hopeless = isinstance(error, PermanentError)
        return handle.done(c.NotReady(stage, suspended.seq, suspended.at, None, record, chain(), hopeless))


def _retryable(code: StageCode, error: BaseException) -> bool:
    if isinstance(error, InfrastructureError | LogError):
        return True
    if isinstance(error, InvalidInput):
        return False
    return not isinstance(error, Exception) or code.retryable(error)


_CATEGORIES: tuple[tuple[type[BaseException], str], ...] = (
    (StageTimedOut, "timeout"),
    (InvalidStageInput, "input"),
    (NotUpstream, "input"),
    (InvalidOutput, "output"),
    (InvalidInput, "output"),
    (InfrastructureError, "infrastructure"),
    (LogError, "infrastructure"),
)


def _category(error: BaseException) -> str:
    return next((name for kind, name in _CATEGORIES if isinstance(error, kind)), "user")


class _Handle:
    """What a ``Context`` reaches the engine through, for the length of one body or check."""

    __slots__ = (
        "_beat",
        "_definition",
        "_env",
        "_lease",
        "_progress",
        "_said",
        "_secret",
        "_seq",
        "_session",
        "_until",
        "attempt",
        "limit",
        "stage",
    )

    def __init__(
        self,
        env: Environment,
        session: Session,
        definition: Definition,
        started: StageStarted,
        seq: int,
        until: float,
        secret: str = "",
    ) -> None:
        self._env = env
        self._session = session
        self._definition = definition
        self._seq = seq
        self._secret = secret
        self._until = until
        self._beat = 0.0
        self._said: list[tuple[str, Scalar]] = []
        self._lease = started.lease
        self.limit: Limit | None = None
        self._progress: float | None = None
        self.stage = started.stage
        self.attempt = started.attempt

    @property
    def tenant(self) -> str:
        return self._session.ref.tenant

    @property
    def run(self) -> str:
        return self._session.ref.run

    @property
    def key(self) -> str:
        again = self._session.state.redone.get(self.stage)
        return f"{self.run}/{self.stage}/{again}" if again else f"{self.run}/{self.stage}"

    @property
    def callback_token(self) -> str:
        if not self._secret:
            message = f"{self.stage} has no callback token here: give it callback=..., and ask for it in its body"
            raise PermanentError(message)
        return write_token(Token(self.tenant, self.run, self.stage, self._seq, self._secret))

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        extra: dict[str, Any] = {
            "tenant": self.tenant,
            "run": self.run,
            "workflow": self._definition.id,
            "stage": self.stage,
            "attempt": self.attempt,
        }
        return logging.LoggerAdapter(logging.getLogger("onewrite.stage"), extra)

    def annotate(self, key: str, value: Scalar) -> None:
        add(self._said, key, value)

    def done(self, command: c.Command) -> Done:
        """What the code has come to, with all that it has annotated by now."""
        return Done(command, encode(self._said, self.stage))

    def keep(self, seq: int, text: bytes, until: float) -> Value:
        """Put a value where it belongs that stands beside the annotations in its commit."""
        said = encode(self._said, self.stage)
        beside = BESIDE + len(said) if said else 0
        ref, ttl, since = self._session.ref, self._session.ttl, self._session.state.at
        return keep(self._env, ref, seq, text, ttl, since=since, beside=beside, until=until)

    def value(self, stage: str) -> Given:
        return self._session.value(self._env, stage)

    def config(self) -> bytes | None:
        value = self._session.state.config
        return None if value is None else fetch(self._env, self._session.ref, value)

    def heartbeat(self, progress: float | None) -> None:
        """Extend the lease and the body's time: by the stage's timeout, but never past the invocation.

        What was said last of the progress stays said.
        """
        self._progress = self._progress if progress is None else progress
        env = self._env
        now = env.clock.monotonic()
        if self._lease == 0 or (self._beat and now - self._beat < HEARTBEAT_EVERY):
            return
        timeout = min(self._definition.stages[self.stage].timeout / 1000, max(0.0, self._until - now))
        self._beat = now
        lease = env.clock.now() + int(timeout * 1000) + env.limits.lease_grace
        self._lease = max(self._lease, lease)
        live = Live(self._seq, self._lease, self._progress, self._session.ttl)
        try:
            env.store.put(self._session.ref, live)
        except InfrastructureError as error:  # a sign of life is not worth the stage; the next one may get through
            log.warning("sign of life not written", extra={"run": self.run, "stage": self.stage, "error": str(error)})
            return
        if self.limit is not None:
            self.limit.extend(timeout - (env.clock.monotonic() - now))

    def cancelled(self) -> bool:
        """Whether somebody ended the run, took this attempt over, or cut it off, since it was claimed."""
        session = self._session
        for record in insist(self._env, lambda: list(commits_after(self._env.store, session.ref, session.state.seq))):
            for event in events_of(session.ref, record):
                if isinstance(event, _ENDS):
                    return True
                if isinstance(event, LeaseExpired) and event.stage == self.stage:
                    return True
        return False
