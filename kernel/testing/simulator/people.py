"""What clients ask of the kernel while everything else goes on: starts, cancels, retries, reruns, looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel

from kernel.core.events import AnyEvent, CompensationStarted, RunCancelled, RunPaused, RunResumed
from kernel.define.registry import Registry
from kernel.errors import Conflict, Forbidden, KeyHeld, NotFound, OnewriteError, Refused
from kernel.ports import Poke, RunRef
from kernel.shell import callback, read
from kernel.shell.attend import attend
from kernel.shell.cancel import cancel
from kernel.shell.environment import HOUR, MINUTE, SECOND, Environment, NoDefinitions
from kernel.shell.load import events_of
from kernel.shell.outbox import replay_dead_letters
from kernel.shell.pause import pause, resume
from kernel.shell.read import available
from kernel.shell.receive import accept, look_up
from kernel.shell.rerun import rerun, retry
from kernel.shell.start import start
from kernel.testing.simulator.bodies import Note, Ticket
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.machines import EVENTS, ROLES, Push
from kernel.testing.simulator.traffic import Transport
from kernel.testing.simulator.watch import Watch
from kernel.testing.simulator.world import Actor, World

Equip = Callable[[Actor], tuple[Environment, Registry]]
"""Gives an actor its ports, and the workflows that its deployment has."""


PAUSE = (0.1, 0.5, 2, 10, 100, 1_000)
"""Seconds until whoever wants a business key asks again that another run holds."""
WAITS = 15
"""How often they do."""


class Order(Struct, frozen=True):
    """A start that somebody asks for.

    Attributes:
        tenant, workflow, key: what for.
        input: the run's input.
        preset: the configuration.
        business_key: what the run is about.
    """

    tenant: str
    workflow: str
    key: str | None
    input: object
    preset: str | None
    business_key: str | None = None


class People:
    """Clients, each an actor.

    Attributes:
        accepted: runs whose start was acknowledged.
        sent: events that were acknowledged, by run and id.
    """

    def __init__(self, world: World, watch: Watch, traffic: Transport, equip: Equip) -> None:
        """Nobody has asked for anything."""
        self.accepted: dict[RunRef, Order] = {}
        self.sent: dict[tuple[RunRef, str], BaseModel] = {}
        self._world = world
        self._watch = watch
        self._traffic = traffic
        self._equip = equip

    def place(self, order: Order) -> None:
        """Start a run; insist until it is accepted, as clients do, unless the process that insists dies."""

        def work(actor: Actor) -> None:
            env, registry = self._equip(actor)
            patience = WAITS
            while True:
                since = self._world.now
                try:
                    self._start(env, registry, order)
                except KeyHeld as held:
                    self._watch.keys.held(RunRef(order.tenant, held.run), since)
                    self._world.say(actor, f"start: {held}")
                    patience -= 1
                    if not patience:
                        return
                    env.clock.sleep(actor.chance.pick(PAUSE))
                except Refused:
                    return
                except OnewriteError as error:
                    self._world.judge(error)
                    if order.key is None:
                        return
                    env.clock.sleep(5)
                else:
                    return

        self._world.spawn("client", work)

    def _start(self, env: Environment, registry: Registry, order: Order) -> None:
        workflow = registry.latest(order.workflow)
        if order.preset is not None and order.preset not in workflow.presets:
            order = replace(order, preset=None)
        started = start(
            env,
            workflow,
            order.input,
            tenant=order.tenant,
            by="api",
            key=order.key,
            preset=order.preset,
            business_key=order.business_key,
        )
        other = self.accepted.setdefault(started.ref, order)
        if other != order and (other.input, other.tenant) != (order.input, order.tenant):
            self._world.fail("accepted-is-kept", f"{order} was answered with the run of {other}")
        if started.ref not in self._watch.runs:
            self._world.fail("accepted-is-kept", "a start was acknowledged that created nothing")

    def ask(self, what: str, chance: Chance, about: RunRef | None = None) -> None:
        """Ask for something about a run, or about any."""
        refs = list(self._watch.runs)
        if not refs:
            return
        ref = about or chance.pick(refs)
        stage = f"s{chance.below(8)}"

        def work(actor: Actor) -> None:
            actor.touches = ref
            env, registry = self._equip(actor)
            gone = self._watch.gone(ref)
            try:
                self._asks[what](self, env, ref, stage, registry)
            except OnewriteError as error:
                self._world.judge(error)
                self._world.say(actor, f"{what}: {type(error).__name__}: {error}")
            else:
                self._world.say(actor, f"{what}: done")
                if gone and what != "forge":  # which may find no order to forge
                    self._world.fail("gone-is-gone", f"{what} was done with a run whose retention is over")

        self._world.spawn("client", work)

    def _cancel(self, env: Environment, ref: RunRef, stage: str, _registry: Registry) -> None:
        if stage in {"s0", "s1"}:  # from a deployment that has none of the workflows
            env = replace(env, definitions=NoDefinitions())
        before = len(self._watch.runs[ref].commits)
        cancel(env, ref, by="api", reason="no more wanted")
        if not any(isinstance(event, RunCancelled | CompensationStarted) for event in self._said(ref, before)):
            self._world.fail("cancel-wins-whole", "a cancel was acknowledged that is not in the log")

    def _said(self, ref: RunRef, before: int) -> list[AnyEvent]:
        """What was committed since there were so many commits."""
        return [event for commit in self._watch.runs[ref].commits[before:] for event in events_of(ref, commit)]

    def _pause(self, env: Environment, ref: RunRef, stage: str, _registry: Registry) -> None:
        lasts = PAUSES[stage]
        before = len(self._watch.runs[ref].commits)
        deadline = self._watch.runs[ref].state.deadline
        until = None if lasts is None else min(env.clock.now() + lasts, deadline - SECOND)
        pause(env, ref, by="api", reason="hold on", until=until)
        if not any(isinstance(event, RunPaused) for event in self._said(ref, before)):
            self._world.fail("paused-is-paused", "a pause was acknowledged that is not in the log")

    def _resume(self, env: Environment, ref: RunRef, _stage: str, _registry: Registry) -> None:
        before = len(self._watch.runs[ref].commits)
        resume(env, ref, by="api", reason="go on")
        if not any(isinstance(event, RunResumed) for event in self._said(ref, before)):
            self._world.fail("paused-is-paused", "a resumption was acknowledged that is not in the log")

    def _ambush(self, env: Environment, ref: RunRef, stage: str, registry: Registry) -> None:
        """Pause a run at the very moment at which a worker looks at it that a message had waited for."""
        seen = self._watch.runs[ref]
        # Timers are rarer than stages: whoever can wait for one does so more often than not.
        definition, machine = seen.witness.books.definition, seen.witness.books.moves is not None
        timers = [id_ for id_ in definition.stages if id_.startswith(TIMER) or (machine and id_ not in definition.code)]
        anything = not timers or stage in {"s0", "s1"}
        for _ in range(80):
            now = self._world.now - AMBUSHED[stage]
            messages = [each for each in self._traffic.about(ref.run) if anything or each.poke.stage in timers]
            ahead = [message.at for message in messages if message.at > now]
            if ahead:
                env.clock.sleep((min(ahead) - now) / SECOND)
                break
            if seen.state.status.finished:
                break
            env.clock.sleep(7)
        self._pause(env, ref, stage, registry)

    def _interrupt(self, env: Environment, ref: RunRef, stage: str, registry: Registry) -> None:
        """Pause a run, and a little later let it go on; or cancel it, and run it again."""
        self._pause(env, ref, stage, registry)
        env.clock.sleep(INTERRUPTED[stage])
        if stage not in {"s6", "s7"}:
            self._resume(env, ref, stage, registry)
            return
        self._cancel(env, ref, stage, registry)
        env.clock.sleep(5)
        self._rerun(env, ref, "s0", registry)

    def _retry(self, env: Environment, ref: RunRef, _stage: str, _registry: Registry) -> None:
        retry(env, ref, by="api", reason="once more")

    def _rerun(self, env: Environment, ref: RunRef, stage: str, _registry: Registry) -> None:
        rerun(env, ref, stage, by="api")

    def _revive(self, env: Environment, ref: RunRef, stage: str, registry: Registry) -> None:
        """Wait for the end, and then do not accept it."""
        if read.wait_for(env, ref, timeout=5_000, pause=5) is not None:
            env.clock.sleep(2)
            self._retry(env, ref, stage, registry)

    def _pester(self, env: Environment, ref: RunRef, stage: str, registry: Registry) -> None:
        """Ask for what cannot be: each question is refused, and changes nothing."""
        session = read.find(env, ref)
        nowhere = RunRef(ref.tenant, "0" * 24)
        huge = Ticket(text="x" * (env.limits.payload + 1))
        two, tenant = registry.latest("two"), ref.tenant
        questions: tuple[Callable[[], object], ...] = (
            lambda: read.find(env, nowhere),
            lambda: read.find(env, RunRef(tenant, "../" * 8)),
            lambda: read.show(env, ref, at=session.identity.created - 1),
            lambda: read.show(env, ref, seq=session.state.seq + 10_000),
            lambda: read.show(env, ref, seq=-1),
            lambda: cancel(env, ref, by="api", reason="x" * 10_000),
            lambda: pause(env, ref, by="api", reason="x" * 10_000),
            lambda: pause(env, ref, by="api", until=0),
            lambda: pause(env, ref, by="api", until=session.identity.expires),
            lambda: resume(env, ref, by="api", reason="x" * 10_000),
            lambda: rerun(env, ref, "nowhere", by="api"),
            lambda: rerun(env, ref, f"compensate:{stage}", by="api"),
            lambda: start(env, two, huge, tenant=tenant, by="api"),
            lambda: start(env, two, Ticket(), tenant="#", by="api"),
            lambda: start(env, two, Ticket(), tenant=tenant, by="api", key=""),
            lambda: start(env, two, "{", tenant=tenant, by="api"),
            lambda: accept(env, ref, "Note", Note(), by="api", id_="a b"),
            lambda: accept(env, ref, "Note", Note(), by="api", roles=("a b",)),
            lambda: callback.complete(env, "x" * 5_000, {}),
            lambda: callback.fail(env, "x", kind="", message=""),
        )
        for number, ask in enumerate(questions):
            with suppress(Refused):
                ask()
                self._world.fail("inputs-are-checked", f"question {number}, which cannot be answered, was")
        if replay_dead_letters(env, nowhere) is not None:
            self._world.fail("inputs-are-checked", "the dead letters of a run that is not there were replayed")
        attend(env, Poke(ref.tenant, nowhere.run), env.clock.monotonic() + 30)

    def _letters(self, env: Environment, ref: RunRef, _stage: str, _registry: Registry) -> None:
        if replay_dead_letters(env, ref) is None:
            message = "there is no such run"
            raise NotFound(message)

    def send(self, chance: Chance) -> None:
        """Send an event to some run; the same again, now and then, or another one under the same id."""
        refs = list(self._watch.runs)
        if not refs:
            return
        ref, id_ = chance.pick(refs), f"e-{chance.below(5)}"
        note = Note(text="x" * chance.pick((0, 1, 2, 700)))

        def work(actor: Actor) -> None:
            actor.touches = ref
            env, _ = self._equip(actor)
            try:
                accept(env, ref, "Note", note, by="api", id_=id_)
            except OnewriteError as error:
                self._world.judge(error)
                self._world.say(actor, f"send: {type(error).__name__}: {error}")
                return
            if self.sent.setdefault((ref, id_), note) != note:
                self._world.fail("accepted-is-kept", f"two events were accepted as {id_}")
            if id_ not in self._watch.runs[ref].inbox:
                self._world.fail("accepted-is-kept", f"{id_} was acknowledged, and is nowhere")

        self._world.spawn("client", work)

    def tell(self, number: int) -> None:
        """Send an event to some machine: mostly one that fits, from who may; the same again, now and then."""
        chance = Chance(self._world.seed, "tell", number)
        refs = [ref for ref, seen in self._watch.runs.items() if seen.witness.books.is_told]
        if not refs:
            return
        going = [ref for ref in refs if not self._watch.runs[ref].state.status.finished]
        ref, id_ = chance.pick(going if going and chance.happens(0.9) else refs), f"m-{chance.below(100)}"

        def work(actor: Actor) -> None:
            actor.touches = ref
            env, _ = self._equip(actor)
            name, roles = self._said_to(ref, chance)
            event = EVENTS[name](text="x" * chance.pick((0, 1, 2, 700)))
            for _ in range(chance.pick((1, 1, 1, 2))):
                self._tell(actor, env, ref, id_, event, roles)
            if chance.happens(0.1):
                self._inquire(actor, env, ref, id_)

        self._world.spawn("client", work)

    def _said_to(self, ref: RunRef, chance: Chance) -> tuple[str, tuple[str, ...]]:
        """An event, and as who it is sent."""
        moves = self._watch.runs[ref].witness.books.moves
        if moves is not None and moves.wanted and chance.happens(0.75):
            rule = chance.pick(moves.wanted)
            if rule.event in EVENTS:
                return rule.event, rule.roles
        return chance.pick(tuple(EVENTS)), chance.pick(((), ROLES[:1], ROLES[1:], ROLES))

    def _tell(
        self, actor: Actor, env: Environment, ref: RunRef, id_: str, event: BaseModel, roles: tuple[str, ...]
    ) -> None:
        moves = self._watch.runs[ref].witness.books.moves
        name = type(event).__name__
        garbled = actor.garbled
        try:
            accept(env, ref, name, event, by="api", id_=id_, roles=roles)
        except OnewriteError as error:
            self._world.judge(error)
            self._world.say(actor, f"tell: {type(error).__name__}: {error}")
            known = id_ in self._watch.runs[ref].inbox
            # To whom the newest commit was not shown, the run is as it was before.
            shown = actor.garbled == garbled
            refused = moves if isinstance(error, Conflict | Forbidden) and not known and shown else None
            if refused is not None and not refused.unfit(name, roles, actor.began):
                self._world.fail("transitions-fit", f"{name} of {roles} is refused in {refused.ahead}: {error}")
            return
        if self.sent.setdefault((ref, id_), event) != event:
            self._world.fail("accepted-is-kept", f"two events were accepted as {id_}")
        if id_ not in self._watch.runs[ref].inbox:
            self._world.fail("accepted-is-kept", f"{id_} was acknowledged, and is nowhere")

    def _inquire(self, actor: Actor, env: Environment, ref: RunRef, id_: str) -> None:
        """What became of an event, and what may be sent now; and send what is too large."""
        moves = self._watch.runs[ref].witness.books.moves
        try:
            if look_up(env, ref, id_).run != ref.run:
                self._world.fail("tenants-are-apart", f"{id_} is told of another run")
        except OnewriteError as error:
            self._world.judge(error)
        garbled = actor.garbled
        try:
            for each in available(env, ref):
                if actor.garbled > garbled:
                    break  # it was not shown the newest commit, say, and is told of the run before it
                if moves is not None and not moves.fit(each.event, each.roles[:1], actor.began):
                    self._world.fail("transitions-fit", f"{each} is offered in {moves.ahead}")
            accept(env, ref, "Push", Push(text="x" * 100_000), by="api")
        except OnewriteError as error:
            self._world.judge(error)
        else:
            self._world.fail("inputs-are-checked", "an event was accepted that is too large")

    def _look(self, env: Environment, ref: RunRef, _stage: str, _registry: Registry) -> None:
        read.show(env, ref)
        read.log_page(env, ref, limit=3)
        read.log_page(env, ref, after=2, limit=3)
        session = read.find(env, ref)
        read.show(env, ref, seq=session.state.seq // 2)
        read.show(env, ref, at=session.state.at)
        page = read.list_runs(env, ref.tenant, [session.head.workflow], limit=2)
        if any(entry.ref.tenant != ref.tenant for entry in page):
            self._world.fail("tenants-are-apart", f"{page} is listed for {ref.tenant}")
        last = (page[-1].created, page[-1].ref.run) if page else None
        read.list_runs(env, ref.tenant, [session.head.workflow], before=env.clock.now(), cursor=last, limit=2)
        read.wait_for(env, ref, timeout=10)
        definition = env.definitions.find(session.head.workflow, session.head.version, session.head.fingerprint)
        if definition is not None:
            read.result(env, session, definition)

    def _forge(self, env: Environment, ref: RunRef, _stage: str, registry: Registry) -> None:
        """Use somebody's key for something else."""
        order = self.accepted.get(ref)
        if order is None or order.key is None or not isinstance(order.input, Ticket):
            return
        try:
            workflow = registry.latest(order.workflow)
            start(env, workflow, Ticket(text="forged"), tenant=order.tenant, by="api", key=order.key)
        except Conflict:
            return
        self._world.fail("accepted-is-kept", f"the key of {order} was used for something else")

    _asks = {  # noqa: RUF012 - a table of methods, never changed
        "cancel": _cancel,
        "retry": _retry,
        "rerun": _rerun,
        "revive": _revive,
        "pester": _pester,
        "replay dead letters": _letters,
        "look": _look,
        "forge": _forge,
        "pause": _pause,
        "resume": _resume,
        "interrupt": _interrupt,
        "ambush": _ambush,
    }


ASKS = (
    *("cancel", "cancel", "cancel", "retry", "rerun", "rerun", "revive", "revive", "revive"),
    *("pester", "replay dead letters", "replay dead letters", "look", "forge"),
)
"""What may be asked, the more often named the more often asked."""
PAUSING = ("pause", "resume", "interrupt", "interrupt", "ambush", "ambush", "ambush")
"""The same, in histories in which runs are paused."""

PAUSES: Mapping[str, int | None] = {
    "s0": None,
    "s1": None,
    "s2": 2 * SECOND,
    "s3": 5 * SECOND,
    "s4": 40 * SECOND,
    "s5": 10 * MINUTE,
    "s6": HOUR,
    "s7": 5 * HOUR,
}
"""For how many milliseconds a run is paused, if its deadline is not before; for None, until it is resumed. By what is
drawn for a stage."""
TIMER = "sleep-"
"""How ids of timers begin."""
AMBUSHED: Mapping[str, int] = {f"s{number}": 3 * number - 16 for number in range(8)}
"""How many milliseconds after a message arrives, by the same."""
INTERRUPTED: Mapping[str, float] = {
    f"s{number}": seconds for number, seconds in enumerate((0, 0.1, 1, 30, 90, 1_200, 1, 5))
}
"""For how many seconds, by the same, until somebody does something else with it who has paused it."""
