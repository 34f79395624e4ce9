"""Workflows whose stages do what a scenario says, and that have attempts enough to outlive two deaths."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from onewrite import Context, Machine, PermanentError, Retry, State
from tests.shell.script import Act, Flow, Note, Script, fork, line, on_condition, throws

SECONDS, MINUTES, HOURS = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours"))

script = Script()
"""What stages did, in order: ``charge``, ``compensate:charge``, ``check:render``."""

acts: dict[str, Act] = {}
"""What stages do besides giving a note, by the same names; set anew by each history."""


def forget() -> None:
    """Nothing was done, and stages do nothing but give a note."""
    script.calls.clear()
    script.seen.clear()
    script.tokens.clear()
    acts.clear()


def refuses() -> Act:
    """Fail for good."""
    return throws(PermanentError("no"))


def _act(ctx: Context) -> Any:
    return _done(ctx, ctx.stage)


def _check(ctx: Context) -> Any:
    return _done(ctx, f"check:{ctx.stage}")


def _done(ctx: Context, name: str) -> Any:
    """What was to be done; a note says whose it is, so that nobody's result is recorded as another attempt's."""
    act = acts.get(name)
    result = act(ctx) if act else None
    return Note(text=f"{ctx.stage} by attempt {ctx.attempt}") if result is None else result


FIVE = Retry(5, first=SECONDS, factor=1, jitter=0)
"""Two deaths, two errors of its own, and one attempt that goes well."""


def step(id_: str, **options: Any) -> Any:
    """A stage that follows one."""
    return script.stage(id_, _act, **{"retry": FIVE, **options})


def step_of(state: State[Note]) -> Any:
    """What a state is entered with."""
    return state.enter


def undoable(id_: str, **options: Any) -> Any:
    """One with a compensation."""
    return step(id_, compensate=script.undo(_act), **options)


def join(id_: str) -> Any:
    """A stage that follows two."""
    return script.join(id_, _act, retry=FIVE)


def job(id_: str, every: timedelta, limit: timedelta) -> Any:
    """A stage that suspends itself."""
    return script.job(id_, _check, every=every, limit=limit, retry=FIVE)


def asks(id_: str, callback: timedelta, **options: Any) -> Any:
    """A stage that a client answers, unless it does something else."""

    def act(ctx: Context) -> Any:
        meanwhile = acts.get(id_)
        return meanwhile(ctx) if meanwhile else None

    return script.asks(id_, act, callback=callback, **{"retry": FIVE, **options})


a, b, c = step("a"), step("b"), step("c")

CHAIN = line(a, b, c, id="chain")
LOOSE = line(a, b, c, id="loose", chain=False)
LONG = line(*(step(f"s{number:02}") for number in range(20)), id="long")
BRANCHES = fork(a, b, c, id="branches").then(join("d"))
_skips: Any = line(step("a", on_failure="proceed"), id="conditions")
CONDITIONS: Flow = _skips.then(script.after_failure("b", _act, retry=FIVE))
CONDITIONS = on_condition(CONDITIONS, lambda _note: False, c)
DELAYS = line(a, step("b", retry=Retry(5, first=20 * MINUTES, cap=20 * MINUTES, factor=1, jitter=0)), id="delays")
_waits: Any = line(a, id="timers")
TIMERS: Flow = _waits.sleep(MINUTES).then(b)
_sleeps: Any = line(a, id="sleeps")
SLEEPS: Flow = _sleeps.sleep(20 * MINUTES).then(b)
_awaits: Any = line(a, id="waits")
WAITS: Flow = _awaits.wait_for(Note, timeout=MINUTES * 5).then(b).wait_for(Note).then(c)
_gives_up: Any = line(a, id="waits-in-vain")
WAITS_IN_VAIN: Flow = _gives_up.wait_for(Note, timeout=20 * MINUTES).then(b)
POLLS = line(job("a", MINUTES, HOURS), b, id="polls")
NAPS = line(job("a", 20 * MINUTES, 6 * HOURS), b, id="naps")
DREAMS = line(job("a", 40 * MINUTES, 6 * HOURS), id="dreams")
GIVES_UP = line(job("a", 20 * MINUTES, 30 * MINUTES), b, id="gives-up")
ENDS = line(job("a", HOURS, 6 * HOURS), id="ends", deadline=30 * MINUTES)
ASKS = line(asks("a", 6 * HOURS), b, id="asks")
ASKS_SOON = line(asks("a", 10 * MINUTES, callback_heartbeat=5 * MINUTES), b, id="asks-soon")
ASKS_IN_VAIN = line(asks("a", 30 * MINUTES), b, id="asks-in-vain")
UNDONE = line(undoable("a"), undoable("b"), c, id="undone")
UNDONE_ON_CANCEL = line(undoable("a"), b, c, id="undone-on-cancel", on_cancel="compensate")
TWICE = line(a, step("b", retry=Retry(2, first=SECONDS)), id="twice")
ONCE = line(a, script.stage("b", _act, at_most_once=True), id="once")


def _told(_data: Note, event: Note) -> bool:
    return event.text != ""


def _noted(data: Note, event: Note) -> Note:
    return Note(text=f"{data.text}+{event.text.partition(' ')[0]}")


_machine: Any = Machine
_END = State("end", Note, final=True)
_ONE, _TWO = State("one", Note, enter=step("a")), State("two", Note, enter=step("b"))
STEPS: Flow = _machine(
    "steps",
    input=Note,
    start=_ONE,
    transitions=(
        _ONE.done(step_of(_ONE), to=_TWO, update=_noted),
        _TWO.done(step_of(_TWO), to=_ONE, when=lambda data, _note: len(data.text) < 5, update=_noted),
        _TWO.done(step_of(_TWO), to=_END, update=_noted),
    ),
)
_OPEN = State("open", Note, enter=step("a"))
REVIEW: Flow = _machine(
    "review",
    input=Note,
    start=_OPEN,
    transitions=(_OPEN.on(Note, to=_END, when=_told, update=_noted), _OPEN.on(Note, update=_noted)),
)
_FIRST, _LAST = State("first", Note, enter=step("a")), State("last", Note, enter=step("b"))
EXPIRES: Flow = _machine(
    "expires",
    input=Note,
    start=_FIRST,
    transitions=(_FIRST.after(MINUTES, to=_LAST), _LAST.after(MINUTES, to=_END)),
)
PATIENT: Flow = _machine("patient", input=Note, start=_OPEN, transitions=(_OPEN.after(10 * MINUTES, to=_END),))
EXPIRES_LATE: Flow = _machine(
    "expires-late", input=Note, start=_OPEN, transitions=(_OPEN.after(20 * MINUTES, to=_END, update=lambda data: data),)
)
_PASSED = State("passed", Note)
PASSES: Flow = _machine(
    "passes",
    input=Note,
    start=_OPEN,
    transitions=(
        _OPEN.on(Note, to=_PASSED, update=_noted, work=step("w"), result=_noted),
        _PASSED.on(Note, to=_END, update=_noted),
    ),
)
