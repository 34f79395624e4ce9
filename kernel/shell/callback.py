"""Callbacks: whoever was given an attempt's token completes the stage, fails it, or says that they are still at work.

Who they are does not matter: the token is their authority. It is checked against what the log keeps of its secret, and
counts as long as its attempt does: from its start, so that an answer which comes before the stage has suspended itself
is not lost, until its end. After that the log says what became of it, so that an answer which is sent twice gets the
same answer twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

from msgspec import Struct

from kernel.core import commands as c
from kernel.core.definition import Definition
from kernel.core.draft import Stale
from kernel.core.events import (
    AnyEvent,
    CompensationStarted,
    ErrorRecord,
    LeaseExpired,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunReopened,
    StageChecked,
    StageCompleted,
    StageFailed,
    StageScheduled,
    StageStarted,
    StateEntered,
    TransitionStarted,
)
from kernel.core.failures import MAX_MESSAGE
from kernel.core.state import StageState, StageStatus
from kernel.core.tokens import Token, is_secret_of, read_token
from kernel.define.code import StageCode
from kernel.define.context import fraction
from kernel.define.model import plain_json
from kernel.errors import Conflict, Gone, InvalidInput, NotDeployed, NotFound, OnewriteError
from kernel.limits import check_tenant
from kernel.ports import RunRef
from kernel.shell.commit import commit
from kernel.shell.environment import MINUTE, SECOND, Environment
from kernel.shell.insist import insist
from kernel.shell.leave import leave, send, times_of
from kernel.shell.load import Session, commits_after, events_of, unless_gone
from kernel.shell.logs import log
from kernel.shell.read import find
from kernel.shell.receive import poke_waiting
from kernel.shell.values import keep

PATIENCE = 15.0
"""Seconds that an answer keeps trying to be committed, as a cancel does."""
BEAT_EVERY = SECOND
"""Milliseconds between two heartbeats that are recorded; more frequent ones are acknowledged and dropped."""
TELL_EVERY = MINUTE
"""Milliseconds between two heartbeats that are recorded only for the progress that they tell."""
BY = "callback"
"""Who answers, as the log says it: nobody but the token vouches for them."""
MAX_KIND = 100
"""Characters of what an error calls its kind."""


class Answered(Struct, frozen=True, omit_defaults=True):
    """What became of an answer.

    Attributes:
        run, stage: what was answered.
        status: ``completed``, ``failed``, or ``waiting`` after a heartbeat.
        until: by when the next heartbeat, or else the answer, must come, in milliseconds.
    """

    run: str
    stage: str
    status: str
    until: int | None = None


def complete(env: Environment, token: str, output: object) -> Answered:
    """Complete the stage whose token it is; with the same output once more, say so once more.

    Args:
        env: the ports.
        token: the attempt's.
        output: the stage's output: JSON text, or what such text can be made of.

    Raises:
        InvalidInput: the output does not fit the stage's type.
        NotFound: there is no such token.
        Gone: it counts no more.
        Conflict: it was answered before, with something else.
        NotDeployed: this deployment does not know the stage's type.
    """
    text = plain_json(output, "output")
    answer = _digest("output", text)

    def command(session: Session, definition: Definition, token: Token) -> c.Command:
        code: StageCode = definition.code[token.stage]
        accepted = code.accept(text)
        value = keep(env, session.ref, token.seq, accepted, session.ttl, since=session.state.at)
        session.offer(token.stage, accepted)
        return c.Answer(token.stage, token.seq, value, answer)

    return _answer(env, token, answer, command)


def fail(env: Environment, token: str, *, kind: str, message: str, retryable: bool = True) -> Answered:
    """Fail the attempt whose token it is: the stage is tried again, with another token, as its retry policy says.

    Args:
        env: the ports.
        token: the attempt's.
        kind: what sort of error it is.
        message: what happened.
        retryable: whether another attempt may help.

    Raises:
        InvalidInput: kind or message cannot be kept.
        OnewriteError: as ``complete``.
    """
    if not 0 < len(kind) <= MAX_KIND or not kind.isprintable():
        text = f"the kind of error must have 1 to {MAX_KIND} printable characters"
        raise InvalidInput(text, (("error.kind", text),))
    said = plain_json([kind, message, retryable], "error")
    answer = _digest("error", said)

    def command(_session: Session, _definition: Definition, token: Token) -> c.Command:
        error = ErrorRecord("callback", kind, message[:MAX_MESSAGE], token.stage)
        return c.Decline(token.stage, token.seq, error, retryable, env.random.roll(), answer)

    return _answer(env, token, answer, command)


def heartbeat(env: Environment, token: str, progress: float | None = None) -> Answered:
    """Say that whoever has the token is still at work.

    Args:
        env: the ports.
        token: the attempt's.
        progress: how far they are, from 0 to 1.

    Raises:
        InvalidInput: the progress is not between 0 and 1.
        OnewriteError: as ``complete``.
    """
    try:
        far = None if progress is None else fraction(progress)
    except ValueError as error:
        raise InvalidInput(str(error), (("progress", "give a fraction, from 0 to 1"),)) from error

    def command(session: Session, definition: Definition, token: Token) -> c.Command | None:
        stage, policy = session.state.stages[token.stage], definition.stages[token.stage].callback
        if stage.status is StageStatus.RUNNING:
            return None  # its body has yet to end: until then its lease counts
        now, lasts = env.clock.now(), policy.heartbeat if policy else None
        late = now >= stage.give_up_at and session.state.paused is None  # while it is paused, its limit stands still
        least = 1 if lasts is None else max(1, min(BEAT_EVERY, lasts // 2), lasts // 20)
        moves = lasts is not None and min(now + lasts, stage.give_up_at) - stage.at >= least
        tells = far not in (None, stage.progress) and now - session.state.at >= TELL_EVERY
        return c.Beat(token.stage, token.seq, far) if late or moves or tells else None

    return _answer(env, token, "", command)


Make = Callable[[Session, Definition, Token], c.Command | None]
"""Makes the command that an answer comes to; None if there is nothing to be recorded."""


def _answer(env: Environment, text: str, answer: str, make: Make) -> Answered:
    token, session = _authenticated(env, text)
    current = _current(session, token)
    if current is None:
        return _settled(env, session, token, answer)
    head = session.head
    definition = env.definitions.find(head.workflow, head.version, head.fingerprint)
    if definition is None:
        message = (
            f"the stage that this callback is about belongs to {head.workflow} version {head.version}, which this "
            "deployment does not have: nothing was recorded, so repeat the request later"
        )
        raise NotDeployed(message)
    command = make(session, definition, token)
    if command is None:
        return Answered(token.run, token.stage, "waiting", _until(current))
    end = env.clock.monotonic() + PATIENCE
    before = session.state
    try:
        decision = commit(env, session, definition, command, by=BY, until=end)
    except Stale:
        return _settled(env, session, token, answer)
    _follow(env, session, decision.events, end)
    if definition.selective:
        poke_waiting(env, session, before, end)
    return _told(token, decision.events)


def _authenticated(env: Environment, text: str) -> tuple[Token, Session]:
    """The token, once it is proven to be one that an attempt was given, and its run.

    Raises:
        NotFound: it is not; nothing tells in what it differs from one that is.
    """
    token = read_token(text)
    try:
        if token is not None:
            session = find(env, RunRef(check_tenant(token.tenant), token.run))
            if token.seq <= session.state.seq and _was_given(env, session, token):
                return token, session
    except (NotFound, InvalidInput):
        pass
    message = "there is no such callback, or the retention of its run is over"
    raise NotFound(message)


def _was_given(env: Environment, session: Session, token: Token) -> bool:
    events = session.events(env, token.seq)
    started = (each for each in events if isinstance(each, StageStarted) and each.stage == token.stage)
    return any(each.callback and is_secret_of(token, each.callback) for each in started)


def _current(session: Session, token: Token) -> StageState | None:
    """The stage, if the token's attempt is what it is about."""
    stage = session.state.stages.get(token.stage)
    if stage is None or stage.seq != token.seq or token.stage not in session.state.active:
        return None
    return stage if stage.status in (StageStatus.RUNNING, StageStatus.SUSPENDED) else None


def _follow(env: Environment, session: Session, events: Sequence[AnyEvent], until: float) -> None:
    """See to what the commit asks for. The answer is in the log, so whatever fails here is left to the tick."""
    ready = [event.stage for event in events if isinstance(event, StageScheduled)]
    if ready:
        send(env, [(session.poke(stage), 0) for stage in ready])
    try:
        leave(env, session, by=BY, timers=times_of(events), met=None, until=until)
    except OnewriteError as error:
        log.warning("answered, left to the tick", extra={"run": session.ref.run, "error": str(error)})


def _told(token: Token, events: Sequence[AnyEvent]) -> Answered:
    for event in events:
        match event:
            case StageChecked(stage=token.stage, check_at=at):
                return Answered(token.run, token.stage, "waiting", at)
            case StageFailed(stage=token.stage):
                return Answered(token.run, token.stage, "failed")
            case _:
                pass
    return Answered(token.run, token.stage, "completed")


def _until(stage: StageState) -> int | None:
    return stage.at if stage.status is StageStatus.SUSPENDED else None


def _settled(env: Environment, session: Session, token: Token, answer: str) -> Answered:
    """What is said to an answer that comes after the end of its attempt: what was said before, if it is the same.

    Raises:
        Conflict: the attempt was answered with something else.
        Gone: it ended otherwise.
    """
    with unless_gone(env, session):
        ended = insist(env, lambda: _end_of(env, session, token))
    match ended:
        case StageCompleted() | StageFailed() if ended.answer:
            if ended.answer == answer:
                return _told(token, (ended,))
            message = f"this callback of {token.stage} was answered before, with something else"
            raise Conflict(message)
        case StageFailed(error=ErrorRecord(kind="WaitLimitReached")):
            message = f"the time to answer {token.stage} is over"
        case RunCancelled() | RunFailed() | RunCompleted() | CompensationStarted():
            message = f"the run that {token.stage} belongs to has ended without this answer"
        case _:
            message = f"this callback of {token.stage} is no longer current: its attempt ended without an answer"
    raise Gone(message)


def _end_of(env: Environment, session: Session, token: Token) -> AnyEvent | None:
    """What ended the token's attempt, as far as the log tells."""
    for commit_ in commits_after(env.store, session.ref, token.seq):
        for event in events_of(session.ref, commit_):
            match event:
                case (
                    StageCompleted(stage=token.stage) | StageFailed(stage=token.stage) | LeaseExpired(stage=token.stage)
                ):
                    return event
                case RunCancelled() | RunFailed() | RunCompleted() | CompensationStarted() | RunReopened():
                    return event
                case StateEntered() | TransitionStarted():
                    return event  # the state was left: what comes of the stage later is another attempt's
                case _:
                    pass
    return None


def _digest(kind: str, text: bytes) -> str:
    """SHA-256 of what was said, however its JSON was written."""
    said = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{kind} {said}".encode()).hexdigest()
