"""The books on where a machine is, apart from the kernel's own: by what it may move on, and what its data must be then.

What a machine declares is read from what was written. Whether an event or a time is for the state that it is in, and
what its functions give, is asked here once more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import Struct
from pydantic import BaseModel

from kernel.define.machine import Machine
from kernel.testing.simulator.bodies import Note

if TYPE_CHECKING:
    from kernel.core.events import (
        ErrorRecord,
        EventReceived,
        StateEntered,
        TimerSet,
        TransitionStarted,
        TransitionTaken,
        Value,
    )
    from kernel.define.machine_plan import MachinePlan
    from kernel.ports import Commit, Inbox
    from kernel.testing.simulator.books import Books

LARGEST = 100_000
"""Bytes that a machine's data may have, as JSON text."""


class Rule(Struct, frozen=True):
    """A transition, as it was written.

    Attributes:
        id, source, to, event, after, roles, when, update, result: of it.
        model: the event's class.
        gives: the stage whose output it is asked about, or that its own work ends with.
        work: whether stages run before the next state is entered.
    """

    id: str
    source: str
    to: str | None
    event: str
    model: type[BaseModel] | None
    after: int | None
    roles: tuple[str, ...]
    when: Callable[..., bool] | None
    update: Callable[..., Any] | None
    result: Callable[..., Any] | None
    gives: str
    work: bool

    def allows(self, roles: Collection[str]) -> bool:
        """Whether somebody with these roles may ask for it."""
        return not self.roles or any(role in self.roles for role in roles)


class Rules(Struct, frozen=True):
    """A machine, as it was written.

    Attributes:
        start, final, quota, begin: of it.
        input, data: its models.
        works: ids of all that runs, by the state or transition that it belongs to.
        ways: its transitions, in their order.
        told: its functions are the simulator's own, and may be asked once more.
    """

    start: str
    final: frozenset[str]
    quota: int
    begin: Callable[..., Any] | None
    input: type[BaseModel]
    data: type[BaseModel]
    works: Mapping[str, frozenset[str]]
    ways: tuple[Rule, ...]
    told: bool


def rules_of(flow: object, *, told: bool) -> Rules | None:
    """What a machine declares; None for anything else."""
    if not isinstance(flow, Machine):
        return None
    plan: MachinePlan = flow._plan  # noqa: SLF001 - as it was written, which nothing else tells
    works = {owner: frozenset(work.steps) for owner, work in plan.works()}
    ways = tuple(
        Rule(
            id=id_,
            source=way.source,
            to=way.to,
            event="" if way.event is None else way.event.__name__,
            model=way.event,
            after=way.after,
            roles=way.roles,
            when=way.when,
            update=way.update,
            result=way.result,
            gives="" if (work := way.work or plan.states[way.source]) is None else work.current[0],
            work=way.work is not None,
        )
        for id_, way in plan.named().items()
    )
    return Rules(plan.start, frozenset(plan.final), plan.quota, plan.begin, plan.input, plan.data, works, ways, told)


class Visit(Struct, frozen=True):
    """Where a machine stood from a time on: in a state with data, or on the way there."""

    since: int
    state: str
    data: Any = None
    between: bool = False


class Moves:
    """Where a machine is, and how it got there.

    Attributes:
        rules: what it declares.
        state, transition: as the log has it.
        taken: how many transitions it took.
        text: its data.
        outcomes: what stages gave since they were last forgotten.
        since: true time since when it is where it is.
    """

    def __init__(self, rules: Rules, books: Books, fetch: Callable[[Value], bytes], now: Callable[[], int]) -> None:
        """It has not begun. ``fetch`` gives the text of a recorded value, ``now`` true time."""
        self.rules = rules
        self.state = self.transition = ""
        self.taken = 0
        self.text = b""
        self.outcomes: dict[str, bytes] = {}
        self.since = now()
        self.input = b"{}"
        self._books = books
        self._fetch = fetch
        self._now = now
        self._open: EventReceived | None = None
        self._entered = 0
        self._owed: set[str] = set()
        self._fresh: set[str] = set()
        self._reopened = False
        self._left: list[int] = []
        self._visits = [Visit(self.since, rules.start, between=True)]
        self._ended = -1

    # --- what is asked ---------------------------------------------------------------------------------------------

    def visit(self, seq: int) -> int:
        """How often a state or transition had been left by a commit."""
        return bisect_right(self._left, seq)

    def owns(self, id_: str) -> bool:
        """Whether this is part of what is under way where the machine is."""
        if id_ in self.rules.works.get(self.transition or self.state, ()):
            return True
        return not self.transition and any(each.id == id_ for each in self._ways(self.state) if each.after is not None)

    @property
    def ahead(self) -> str:
        """The state that it is in, or enters next."""
        if self.transition:
            return self._rule(self.transition).to or self.state
        return self.state or self.rules.start

    @property
    def waits(self) -> bool:
        """Whether events have to wait."""
        return bool(self.transition) or not self.state

    @property
    def wanted(self) -> Sequence[Rule]:
        """What it may be told where it is."""
        return [each for each in self._ways(self.ahead) if each.event]

    @property
    def leads_on(self) -> bool:
        """Whether it moves on by itself, sooner or later, from where it is."""
        if self.waits or self.state in self.rules.final:
            return True
        return any(not each.event and each.when is None and each.to for each in self._ways(self.state))

    def just_fired(self, id_: str) -> bool:
        """Whether this is a timer that has fired in this very commit, which says what comes of it."""
        return id_ in self._fresh

    def refusable(self, item: Inbox, began: int) -> bool:
        """Whether somebody who came at ``began`` may have found that the machine does not take an event."""
        if self._books.over or self._ended >= began or self.taken >= self.rules.quota:
            return True
        first = max(0, bisect_right(self._visits, began, key=lambda visit: visit.since) - 1)
        return any(not self._fits(visit, item) for visit in self._visits[first:])

    def unfit(self, event: str, roles: Collection[str], began: int) -> bool:
        """Whether somebody who came at ``began`` may have found that nobody with these roles can send that event."""
        if self._books.over or self._ended >= began:
            return True
        return not all(self._declared(state, event, roles) for state in self._states(began))

    def fit(self, event: str, roles: Collection[str], began: int) -> bool:
        """Whether somebody who came at ``began`` may have found that somebody with these roles can send that event."""
        return any(self._declared(state, event, roles) for state in self._states(began))

    def _states(self, began: int) -> set[str]:
        first = max(0, bisect_right(self._visits, began, key=lambda visit: visit.since) - 1)
        return {visit.state for visit in self._visits[first:]}

    def _declared(self, state: str, event: str, roles: Collection[str]) -> bool:
        return any(each.event == event and each.allows(roles) for each in self._ways(state))

    def _fits(self, visit: Visit, item: Inbox) -> bool:
        ways = [each for each in self._ways(visit.state) if each.event == item.name and each.allows(item.roles)]
        if visit.between or not ways:
            return bool(ways)
        for each in ways:
            if not self.rules.told or each.model is None:
                return False  # nobody can tell
            given = (visit.data, each.model.model_validate_json(item.body or b"{}"))
            says = _says(each, given)
            if says is not False:
                return says is True and _given(each.update, given, self.rules.data) is not None
        return False

    # --- what is seen ----------------------------------------------------------------------------------------------

    def receives(self, event: EventReceived) -> None:
        """An external event came: in this very commit it is taken."""
        if self.waits:
            self._fail("applied-once", f"{event.event} is received where nobody can tell whether it is taken")
        self._open = event

    def sets(self, event: TimerSet) -> None:
        """A timer is set, which may be that of a transition: for so long after its state was entered."""
        rule = next((each for each in self.rules.ways if each.id == event.timer), None)
        if rule is not None and event.at != self._entered + (rule.after or 0):
            self._fail("timers-are-never-early", f"{rule.id} is set for {event.at - self._entered}, not {rule.after}")

    def fires(self, id_: str) -> None:
        """A timer fired, which may be that of a transition."""
        if any(each.id == id_ for each in self.rules.ways):
            self._fresh.add(id_)
            self._owed.add(id_)

    def entered(self, event: StateEntered, commit: Commit) -> None:
        """The machine is in a state."""
        self._entered = commit.at
        if not event.transition:
            if self.state or event.state != self.rules.start or event.event:
                self._fail("transitions-fit", f"it begins with {event.state}, where it is in {self.state or 'none'}")
            begin, given = self.rules.begin or _same, (self.rules.input.model_validate_json(self.input),)
            self._changes("begin", begin, given if self.rules.told else (), event.data)
        elif self.transition:
            rule = self._rule(event.transition)
            if (rule.id, rule.to, event.event) != (self.transition, event.state, ""):
                self._fail("transitions-fit", f"{event} while {self.transition} is under way")
            self._worked(rule.id)
            self._changes(rule.id, rule.result, self._with_outcome(rule), event.data)
        else:
            rule = self._moved(event)
            if rule.work or rule.to != event.state:
                self._fail("transitions-fit", f"{event}, but {rule.id} leads to {rule.to}")
        self._leave(commit.seq)
        self.state, self.transition = event.state, ""
        self._visited(between=False)

    def started(self, event: TransitionStarted, seq: int) -> None:
        """The machine has left its state, and does the work of a transition."""
        rule = self._moved(event)
        if not rule.work:
            self._fail("transitions-fit", f"{rule.id} has no work")
        self._leave(seq)
        self.transition = rule.id
        self._visited(between=True)

    def stayed(self, event: TransitionTaken) -> None:
        """The machine took a transition within its state."""
        rule = self._moved(event)
        if rule.to is not None:
            self._fail("transitions-fit", f"{rule.id} leads to {rule.to}")
        self._visited(between=False)

    def reopened(self) -> None:
        """The run goes on: timers that fired and told nothing are asked no more, the one that failed is set again."""
        self._owed.clear()
        self._reopened = True
        self._ended = self._now()

    def settled(self) -> None:
        """A commit was seen as a whole: what follows from it by itself is part of it."""
        opened, fresh = self._open, self._fresh
        reopened, self._reopened = self._reopened, False
        self._open, self._fresh = None, set()
        if opened is not None:
            self._fail("applied-once", f"{opened.event} is received, and leads to nothing")
        if self._books.over or not self.state:
            return
        if self.state in self.rules.final and not self.transition:
            self._fail("transitions-fit", f"it is in {self.state}, which is final, and goes on")
        owner = self.transition or self.state
        for id_ in self.rules.works.get(owner, ()):
            ready = all(map(self._books.surely_passed, self._books.definition.program.needs(id_)))
            if ready and not self._books.of(id_).status:
                self._fail("transitions-fit", f"{id_}, which {owner} runs, has not begun")
        if self.transition:
            if self._surely_worked(owner):
                self._fail("transitions-fit", f"the work of {owner} is done, and it does not go on")
            return
        self._stays(fresh if not reopened else set())

    def _stays(self, fresh: set[str]) -> None:
        """Nothing leads out of the state so far."""
        for each in self._ways(self.state):
            if each.after is not None and self._books.of(each.id).status not in {"set", "completed"}:
                self._fail("timers-fire-once", f"the timer {each.id} is not set")
            if not self.rules.told or each.event:
                continue
            asked = each.id in fresh & self._owed if each.after is not None else self._surely_worked(self.state)
            if asked and _says(each, self._asked_of(each)) is not False:
                self._fail("transitions-fit", f"{each.id} fits, and is not taken")

    # --- judgements ------------------------------------------------------------------------------------------------

    def _moved(self, event: StateEntered | TransitionStarted | TransitionTaken) -> Rule:
        """By which transition the machine moves: it is declared, what it is taken on is there, and it is the first."""
        rule = self._rule(event.transition)
        if self.transition or rule.source != self.state:
            self._fail("transitions-fit", f"{event} in {self.transition or self.state or 'no state'}")
        if self.state in self.rules.final:
            self._fail("transitions-fit", f"{event} leads out of a final state")
        self._triggered(rule, event.event)
        if self.taken >= self.rules.quota:
            self._fail("transitions-fit", f"{rule.id} is taken after {self.taken} transitions")
        self.taken += 1
        given = self._asked_of(rule)
        if self.rules.told:
            for each in self._rivals(rule):
                if (says := _says(each, self._asked_of(each))) is not (each is rule):
                    self._fail("transitions-fit", f"{rule.id} is taken, but {each.id} says {says}")
        self._changes(rule.id, rule.update, given, event.data)
        self._open = None
        return rule

    def _triggered(self, rule: Rule, event: str) -> None:
        if rule.event:
            came = self._open
            if came is None or (came.event, came.name) != (event, rule.event):
                self._fail("applied-once", f"{rule.id} is taken on {event or 'nothing'}, which did not come")
            if not rule.allows(came.roles):
                self._fail("transitions-fit", f"{rule.id} is taken for {came.roles}, not {rule.roles}")
        elif event:
            self._fail("applied-once", f"{rule.id} takes {event}")
        elif rule.after is not None:
            if rule.id not in self._owed:
                self._fail("timers-fire-once", f"{rule.id} is taken, though its timer has not fired for it")
            self._owed.remove(rule.id)
        else:
            self._worked(self.state)

    def _rivals(self, rule: Rule) -> Sequence[Rule]:
        """The transitions that are tried first on the same, and the one that is taken."""
        if rule.after is not None:
            return (rule,)
        came = self._open
        same = [
            each
            for each in self._ways(self.state)
            if each.after is None and each.event == rule.event and (came is None or each.allows(came.roles))
        ]
        return same[: same.index(rule) + 1]

    def _asked_of(self, rule: Rule) -> tuple[Any, ...]:
        """What the functions of a transition are given."""
        if not self.rules.told:
            return ()
        if rule.after is not None:
            return (self._data(),)
        if rule.event:
            came = self._open
            assert came is not None  # noqa: S101 - it was looked at before
            assert rule.model is not None  # noqa: S101 - of each event
            return self._data(), rule.model.model_validate_json(self._fetch(came.payload))
        return self._with_outcome(rule)

    def _with_outcome(self, rule: Rule) -> tuple[Any, ...]:
        if not self.rules.told:
            return ()
        done = self._books.of(rule.gives).status == "completed"
        return self._data(), Note.model_validate_json(self.outcomes[rule.gives]) if done else None

    def _worked(self, owner: str) -> None:
        left = [id_ for id_ in self.rules.works.get(owner, ()) if not self._books.passed(id_)]
        if left:
            self._fail("transitions-fit", f"{owner} is left as if its work were done, without {', '.join(left)}")

    def _surely_worked(self, owner: str) -> bool:
        work = self.rules.works.get(owner, ())
        return bool(work) and all(map(self._books.surely_passed, work))

    def _changes(
        self, what: str, function: Callable[..., Any] | None, given: tuple[Any, ...], data: Value | None
    ) -> None:
        """The data is what the functions give, and stays what it was where there is none."""
        if (function is None) is not (data is None):
            self._fail("data-is-as-computed", f"{what} records {data}")
        if data is None:
            return
        text = self._fetch(data)
        if self.rules.told:
            expected = _given(function, given, self.rules.data)
            if expected is None or self.rules.data.model_validate_json(text) != expected:
                self._fail("data-is-as-computed", f"{what} gives {expected}, and {text[:200]!r} is recorded")
        self.text = text

    def may_fail(self, error: ErrorRecord) -> bool:
        """Whether the run may fail with this, though no stage of it has failed."""
        if error.kind == "TransitionQuota":
            return self.taken >= self.rules.quota
        if error.category != "condition" or not self.rules.told:
            return error.category == "condition"
        if not error.stage:
            given = (self.rules.input.model_validate_json(self.input),)
            return not self.state and _given(self.rules.begin or _same, given, self.rules.data) is None
        rule = self._rule(error.stage)
        if self.transition:
            self._worked(rule.id)
            given = self._with_outcome(rule)
            return rule.id == self.transition and _given(rule.result, given, self.rules.data) is None
        if rule.event or rule.source != self.state or (rule.after is not None and rule.id not in self._owed):
            return False
        says = _says(rule, self._asked_of(rule))
        return says is None or (says and _given(rule.update, self._asked_of(rule), self.rules.data) is None)

    def completes(self) -> None:
        """The run is complete with a final state."""
        if self.transition or self.state not in self.rules.final:
            self._fail("transitions-fit", f"the run completes in {self.transition or self.state or 'no state'}")

    # --- small things ----------------------------------------------------------------------------------------------

    def _leave(self, seq: int) -> None:
        """All that was under way is forgotten."""
        self._books.stages.clear()
        self._books.done.clear()
        self.outcomes.clear()
        self._owed.clear()
        self._fresh.clear()
        self._left.append(seq)

    def _visited(self, *, between: bool) -> None:
        self.since = self._now()
        data = self._data() if self.rules.told else None
        self._visits.append(Visit(self.since, self.ahead, data, between))

    def _data(self) -> Any:  # noqa: ANN401 - of whatever model
        return self.rules.data.model_validate_json(self.text)

    def _rule(self, id_: str) -> Rule:
        found = next((each for each in self.rules.ways if each.id == id_), None)
        if found is None:
            self._fail("transitions-fit", f"there is no transition {id_}")
        return found

    def _ways(self, source: str) -> Sequence[Rule]:
        return [each for each in self.rules.ways if each.source == source]

    def _fail(self, invariant: str, what: str) -> NoReturn:
        self._books.fail(invariant, what)


def _says(rule: Rule, given: tuple[Any, ...]) -> bool | None:
    """What its condition says; None if it throws."""
    try:
        return rule.when is None or bool(rule.when(*given))
    except Exception:  # noqa: BLE001 - it may throw anything
        return None


def _given(
    function: Callable[..., Any] | None, given: tuple[Any, ...], model: type[BaseModel]
) -> BaseModel | bool | None:
    """The data that a function gives; True if there is none, None if it gives what cannot be recorded."""
    if function is None:
        return True
    try:
        found = function(*given)
    except Exception:  # noqa: BLE001 - it may throw anything
        return None
    fine = isinstance(found, model) and len(found.model_dump_json()) <= LARGEST
    return found if fine else None


def _same(given: Any) -> Any:  # noqa: ANN401 - the input, where that is the data
    return given
