"""Stages whose bodies a test writes, looks at what a run left in the store, and moments at which something happens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, cast

from pydantic import BaseModel

from kernel.core.events import AnyEvent
from kernel.core.state import StageState, State
from kernel.errors import CorruptLog
from kernel.ports import HEAD, LOG, Commit, Dead, Guard, Head, Item, Poke, RunRef, Unreadable
from kernel.shell.load import Session, events_of, load
from kernel.shell.outbox import dead_letters
from kernel.testing.faults import Call, Crash, Fault
from kernel.testing.play import Play
from onewrite import AwaitCallback, Context, Failed, Pending, Stage, Suspend, Workflow, stage

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


class Note(BaseModel):
    """What every stage takes and gives, and every run is started with."""

    text: str = ""


class Job(BaseModel):
    """What a suspended stage leaves for its check."""

    id: str = "j-1"


Act = Callable[[Context], Any]
"""What a body does. What it returns is the output; a ``Note`` with the stage's id stands for None."""

Flow = Workflow[Note, *tuple[Any, ...]]

_stage: Any = stage


class Script:
    """Makes stages, and keeps what was called, in order: ``charge``, ``compensate:charge``, ``check:render``."""

    def __init__(self) -> None:
        """Nothing was called so far."""
        self.calls: list[str] = []
        self.seen: dict[str, Any] = {}
        self.tokens: list[str] = []

    def _do(self, ctx: Context, act: Act | None, *given: Any) -> Any:
        self.calls.append(ctx.stage)
        self.seen[ctx.stage] = given[0] if len(given) == 1 else given
        result = act(ctx) if act else None
        return Note(text=ctx.stage) if result is None else result

    def stage(self, id_: str, act: Act | None = None, **options: Any) -> Stage[Note, Note]:
        """A stage that follows one."""

        def body(ctx: Context, note: Note) -> Note:
            result: Note = self._do(ctx, act, note)
            return result

        return self._made(id_, body, options)

    def join(self, id_: str, act: Act | None = None, **options: Any) -> Stage[Note, Note, Note]:
        """A stage that follows two."""

        def body(ctx: Context, one: Note, two: Note) -> Note:
            result: Note = self._do(ctx, act, one, two)
            return result

        made: Any = self._made(id_, body, options)
        joined: Stage[Note, Note, Note] = made
        return joined

    def after_failure(self, id_: str, act: Act | None = None, **options: Any) -> Stage[Note, Note | Failed]:
        """A stage that follows one that may fail."""

        def body(ctx: Context, note: Note | Failed) -> Note:
            result: Note = self._do(ctx, act, note)
            return result

        made: Any = self._made(id_, body, options)
        follower: Stage[Note, Note | Failed] = made
        return follower

    def undo(self, act: Act | None = None) -> Callable[[Context, Note], None]:
        """A compensation."""

        def undo(ctx: Context, note: Note) -> None:
            self._do(ctx, act, note)

        return undo

    def job(
        self,
        id_: str,
        check: Act | None = None,
        *,
        every: timedelta = timedelta(minutes=1),
        limit: timedelta = timedelta(hours=6),
        **options: Any,
    ) -> Stage[Note, Note]:
        """A stage that suspends itself; without ``check`` it is ready at the first look."""

        def body(ctx: Context, note: Note) -> Note | Suspend[Job]:
            self._do(ctx, None, note)
            return Suspend(Job())

        def look(ctx: Context, job: Job) -> Note | Pending:
            self.calls.append(f"check:{ctx.stage}")
            result = check(ctx) if check else None
            found: Note | Pending = Note(text=ctx.stage) if result is None else result
            return found

        return self._made(id_, body, {"check": look, "every": every, "limit": limit, **options})

    def asks(
        self, id_: str, act: Act | None = None, *, callback: timedelta = timedelta(hours=6), **options: Any
    ) -> Stage[Note, Note]:
        """A stage that a third party answers; their tokens are kept in order. What ``act`` returns is its output."""

        def body(ctx: Context, note: Note) -> Note | AwaitCallback:
            self.calls.append(ctx.stage)
            self.tokens.append(ctx.callback_token)
            given: Note | None = act(ctx) if act else None
            return AwaitCallback() if given is None else given

        return self._made(id_, body, {"callback": callback, **options})

    @staticmethod
    def _made(id_: str, body: Any, options: dict[str, Any]) -> Stage[Note, Note]:
        body.__name__ = id_.replace("-", "_")
        made: Stage[Note, Note] = _stage(**options)(body)
        return made.named(id_)


def line(*stages: Stage[Note, Note], **options: Any) -> Flow:
    """A workflow of these stages, one after the other."""
    flow: Any = Workflow(options.pop("id", "flow"), input=Note, **options)
    for each in stages:
        flow = flow.then(each)
    line_: Flow = flow
    return line_


def fork(before: Stage[Note, Note], *branches: Stage[Note, Note], **options: Any) -> Flow:
    """A stage, then others side by side."""
    forked: Flow = line(before, **options).together(*branches)
    return forked


def on_condition(before: Flow, condition: Callable[[Note], bool], then: Stage[Note, Note]) -> Flow:
    """A workflow that goes on with a stage if the condition holds."""
    flow: Any = before
    longer: Flow = flow.then_if(condition, then)
    return longer


# --- what bodies do ---------------------------------------------------------------------------------------------------


def throws(error: BaseException, times: int = 1_000_000) -> Act:
    """Throw this so many times, then succeed."""
    left = [times]

    def act(ctx: Context) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise error

    return act


def dies(times: int = 1_000_000) -> Act:
    """Take the process down so many times, then succeed."""
    return throws(Crash("in the middle of a body"), times)


def gives(value: Any) -> Act:
    """Return this."""
    return lambda _ctx: value


def pending(times: int) -> Act:
    """Be not ready so many times, then ready."""
    left = [times]

    def act(_ctx: Context) -> Pending | None:
        left[0] -= 1
        return Pending() if left[0] >= 0 else None

    return act


# --- looking at what is stored ----------------------------------------------------------------------------------------


def session_of(play: Play, ref: RunRef) -> Session:
    """The run, loaded past the meter and the faults."""
    session = load(play.store, ref, play.clock.now)
    assert session is not None
    return session


def state_of(play: Play, ref: RunRef) -> State:
    """Its state."""
    return session_of(play, ref).state


def stage_of(play: Play, ref: RunRef, stage: str) -> StageState:
    """The state of one of its stages."""
    return state_of(play, ref).stages[stage]


def head_of(play: Play, ref: RunRef) -> Head:
    """Its head."""
    head = play.store.get(ref, HEAD)
    assert isinstance(head, Head)
    return head


def letters_of(play: Play, ref: RunRef) -> list[Dead]:
    """Its dead letters, all of them readable."""
    letters = list(dead_letters(play.env, ref))
    assert not any(isinstance(letter, Unreadable) for letter in letters)
    return [letter for letter in letters if isinstance(letter, Dead)]


def unreadable(play: Play, ref: RunRef, key: str) -> None:
    """From now on this item of it cannot be read, as if somebody had edited it by hand."""
    partition = play.store._partitions[ref]
    assert key in partition.items
    partition.items[key] = cast("Any", Unreadable(key, CorruptLog(f"item {key} cannot be read")))


def items_of(play: Play, ref: RunRef) -> list[Item]:
    """Everything that is stored of it."""
    return list(play.store.range(ref, "", "~~", limit=1_000_000))


def commits_of(play: Play, ref: RunRef) -> list[Commit]:
    """Its commits, without that of its creation."""
    return [item for item in play.store.range(ref, LOG, LOG + "~", limit=1_000_000) if isinstance(item, Commit)]


def keys_of(play: Play, ref: RunRef, prefix: str) -> list[str]:
    """Sort keys that begin so: ``DATA``, ``LIVE``, ..."""
    return [item.key for item in items_of(play, ref) if item.key.startswith(prefix)]


def log_of(play: Play, ref: RunRef) -> list[list[str]]:
    """Its commits in short: ``["StageCompleted a", "StageStarted b"]``."""
    return [[_short(event) for event in events_of(ref, commit)] for commit in commits_of(play, ref)]


def events(play: Play, ref: RunRef, kind: type[Any]) -> list[Any]:
    """Its events of that kind."""
    found: list[AnyEvent] = [event for commit in commits_of(play, ref) for event in events_of(ref, commit)]
    return [event for event in found if isinstance(event, kind)]


_SUBJECTS = ("stage", "timer", "wait", "name", "state", "transition")


def _short(event: AnyEvent) -> str:
    return f"{type(event).__name__} {_what(event)}".rstrip()


def _what(event: AnyEvent) -> str:
    return next((getattr(event, name) for name in _SUBJECTS if hasattr(event, name)), "")


def delays(play: Play) -> list[int]:
    """Seconds for which each message ever sent was delayed."""
    sent = [call.arguments[0] for call in play.faults.calls if (call.port, call.method) == ("queue", "send")]
    return [delay for pokes in sent for _, delay in pokes]


# --- letting things happen --------------------------------------------------------------------------------------------


def work(play: Play) -> None:
    """Let workers take all messages that are due; those that die leave theirs for later."""
    while play.queue.next_at is not None and play.queue.next_at <= play.clock.now():
        with suppress(Crash):
            play.step()


def calls(play: Play, method: str) -> int:
    """How often the store was asked that."""
    return sum(1 for call in play.faults.calls if (call.port, call.method) == ("store", method))


def is_commit_of(call: Call, event: str, stage: str = "") -> bool:
    """Whether this is a put of a commit with such an event: ``StageCompleted``, of any stage or of this one."""
    item = call.arguments[1] if call.method == "put" else None
    text = f'"type":"{event}"' + (f',"stage":"{stage}"' if stage else "")
    return isinstance(item, Commit) and text.encode() in item.events


def is_under(call: Call, guard: Guard) -> bool:
    """Whether this is a write under that guard, by itself or in a transaction."""
    return any(
        each is guard
        or getattr(each, "guard", None) is guard
        or (isinstance(each, list) and any(guard in put for put in each))
        for each in call.arguments
    )


def once_before(play: Play, when: Callable[[Call], bool], act: Callable[[], object]) -> None:
    """Freeze whoever makes the next such call, let something else happen, and thaw them."""

    def choose(call: Call) -> None:
        if when(call):
            play.faults.choose = lambda _call: None
            act()

    play.faults.choose = choose


def once(play: Play, when: Callable[[Call], bool], fault: Fault) -> None:
    """Inject one fault, at the next such call."""

    def choose(call: Call) -> Fault | None:
        if not when(call):
            return None
        play.faults.choose = lambda _call: None
        return fault

    play.faults.choose = choose


def poke(ref: RunRef, stage: str = "") -> Poke:
    """A message for a run."""
    return Poke(ref.tenant, ref.run, stage)
