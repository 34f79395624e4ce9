"""Histories: a scenario under one blow, or two, or none, and everything that must hold when it is over."""

from __future__ import annotations

import re
import traceback
from collections import Counter
from collections.abc import Iterator
from functools import cache, cached_property

from msgspec import Struct

from kernel.core.events import AnyEvent, LeaseExpired, RunReopened, StageCompleted, StageStarted
from kernel.ports import RunRef
from kernel.shell import read
from tests.crashes.client import Client
from tests.crashes.deployment import TENANT, Deployment
from tests.crashes.fate import DISTINCT, DURING_OUTAGE, HARMLESS, Blow, Kind, Line, Violation
from tests.crashes.flows import script
from tests.crashes.polled import Polled
from tests.crashes.scenario import Scenario
from tests.crashes.scenarios import SCENARIOS
from tests.shell.invariants import check_over, loaded

NOT_REPEATED = ("queue.send", "sink.publish", "store.due", "consumer.receive", "consumer.release")
"""What a process does not insist on: somebody else will do it, or it comes again by itself."""
LEASE = 66_000
"""Of stages' timeout, the grace, and the skew that is allowed for."""
RETRY = 6_000
"""A stage's delay, or a client's pause."""


class End(Struct, frozen=True):
    """How a run ended, whichever attempt it was that got it there."""

    status: str
    error: str = ""
    compensation: str = ""
    outputs: tuple[bytes, ...] = ()


class History(Struct):
    """What happened.

    Attributes:
        trace: every port call.
        ends: how the runs ended, by run.
        started: how often each stage was started, in all runs.
        expired: how many leases ran out.
        events: all runs' events.
        lasted: milliseconds until nothing was due any more.
    """

    trace: list[Line]
    ends: dict[str, End]
    started: Counter[str]
    expired: int
    events: list[AnyEvent]
    lasted: int


class Trial:
    """A scenario and what it is tried on: a deployment and a client that stay, for any number of histories."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        kind = Polled if scenario.streams else Deployment
        self.world = kind(*scenario.flows, limits=scenario.limits, **scenario.platform)
        self.client = Client(self.world)

    @cached_property
    def undisturbed(self) -> History:
        """What happens without any blow."""
        return self.history()

    def history(self, *blows: Blow) -> History:
        """What happens under these blows, checked.

        Raises:
            Violation: something is broken; it says what, and under which blows.
        """
        usual = self.undisturbed if blows else None
        self.world.begin(*blows)
        self.client.begin()
        try:
            self.scenario.play(self.world, self.client)
            self.world.until(self.world.nothing_is_due)
            lasted = self.world.clock.now() - self.world.began
            self.world.settle()
            found = self._found(lasted)
            if usual:
                self._compare(found, usual, blows)
            else:
                self._as_said(found)
        except (AssertionError, Violation) as error:
            struck = ", ".join(f"{blow.kind.value} at {self._name(blow)}" for blow in blows) or "no blow"
            again = " ".join(map(str, blows))
            # What a scenario asserts speaks for itself, where the assertion gives no words.
            said = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
            text = f"{said}\n  {self.scenario.name}: {struck}\n  python -m tests.crashes {self.scenario.name} {again}"
            raise Violation(text) from error
        return found

    def _name(self, blow: Blow) -> str:
        trace = self.world.fate.trace
        return f"call {blow.number}, {trace[blow.number].name}" if blow.number < len(trace) else f"call {blow.number}"

    def _found(self, lasted: int) -> History:
        """Every invariant that can be seen when all is over."""
        world = self.world
        events: list[AnyEvent] = []
        ends: dict[str, End] = {}
        for ref in sorted(world.refs, key=lambda ref: ref.run):
            log = check_over(world.plain, ref, world.submitted)
            reopened = any(isinstance(event, RunReopened) for event in log)
            assert reopened or ref.run not in self.client.reopened, f"{ref.run} was not reopened, though accepted"
            events += log
            ends[ref.run] = self._end(ref)
        listed = read.list_runs(world.plain, TENANT, [flow.id for flow in world.flows], limit=1_000)
        assert {each.ref for each in listed} == world.refs, "accepted-is-kept: there is a run that nobody asked for"
        lost = {event.id for event in world.submitted} - {event.id for event in world.sink.events}
        assert not lost, f"published-at-least-once: {lost} were submitted only"
        for run, status in self.client.promised.items():
            assert ends[run].status == status, f"{run} is {ends[run].status}, though a client was promised {status}"

        started = Counter(event.stage for event in events if isinstance(event, StageStarted))
        completed = Counter(event.stage for event in events if isinstance(event, StageCompleted))
        done = Counter(call for call in script.calls if not call.startswith("check:"))
        for stage in {*done, *completed}:
            counts = completed[stage], done[stage], started[stage]
            assert counts == tuple(sorted(counts)), f"{stage} was completed, ran, was started {counts} times"
        expired = sum(isinstance(event, LeaseExpired) for event in events)
        return History(world.fate.trace, ends, started, expired, events, lasted)

    def _end(self, ref: RunRef) -> End:
        session = loaded(self.world.plain, ref)
        shown = read.view(session.state, session.head)
        head = session.head
        definition = self.world.plain.definitions.find(head.workflow, head.version, head.fingerprint)
        assert definition is not None
        completed = shown.status == "completed"
        outputs = read.result(self.world.plain, session, definition) if completed else ()
        said = tuple(re.sub(rb"attempt \d", b"attempt", output) for output in outputs)
        return End(shown.status, shown.error.kind if shown.error else "", shown.compensation, said)

    def _as_said(self, found: History) -> None:
        """Without any blow, the runs end as the scenario says, and ticks do no more than they must."""
        statuses = {end.status for end in found.ends.values()}
        assert statuses == {self.scenario.ends}, f"ended as {statuses}"
        helped = {kind: count for kind, count in self.world.helped.items() if kind != "looked"}
        assert helped == self.scenario.needs, f"ticks had to do {helped}, not {self.scenario.needs}"

    def _compare(self, found: History, usual: History, blows: tuple[Blow, ...]) -> None:
        """The runs ended as they would have."""
        assert found.ends.keys() == usual.ends.keys(), "other runs were started"
        harmless = all(blow.kind in HARMLESS for blow in blows)
        for run, end in found.ends.items():
            other = end.status == self.scenario.also and not harmless
            assert end == usual.ends[run] or other, f"ended as {end} instead of {usual.ends[run]}"
        late = found.lasted - usual.lasted
        bound = sum(self._bound(blow, found.trace) for blow in blows)
        assert late <= bound, f"no-run-is-forgotten: {late} ms later than usual, which should be {bound} at most"
        if harmless:
            spared = found.started <= usual.started and found.expired <= usual.expired
            assert spared, f"nobody died, but attempts were lost: {found.started} instead of {usual.started}"

    def _bound(self, blow: Blow, trace: list[Line]) -> int:
        """Milliseconds by which a blow may delay the end.

        A repeated call costs next to nothing, but that the next tick may be another one. Otherwise a tick has to find
        the run, and where a process died, after the lease of what it ran; then that is tried once more.
        """
        limits, line = self.scenario.limits, trace[blow.number]
        if blow.kind in HARMLESS and line.name not in NOT_REPEATED:
            return limits.tick
        return limits.look_grace + 2 * limits.tick + LEASE + RETRY + self.scenario.longer


@cache
def trial(name: str) -> Trial:
    """A scenario by name."""
    return Trial(SCENARIOS[name])


def singles(name: str) -> Iterator[Blow]:
    """Every single blow."""
    for line in trial(name).undisturbed.trace:
        yield from _blows(line)


def followers(name: str, first: Blow) -> Iterator[Blow]:
    """Every blow that can follow the first, at a later call of the history in which that has struck."""
    for line in trial(name).history(first).trace[first.number + 1 :]:
        yield from _blows(line)


def _blows(line: Line) -> Iterator[Blow]:
    """The kinds of blow that can strike a call, but for those that make the same history as another one."""
    for kind in DURING_OUTAGE if line.out else Kind if line.effect else DISTINCT:
        yield Blow(line.call.number, kind)
