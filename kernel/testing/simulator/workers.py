"""Workers where messages are in streams: processes of several threads that stay, until they die or are told to stop.

What ``hosts.worker`` does with threads, sockets and signals is done here with actors, by the kernel's own functions:
slots take messages, attend their runs and answer; a keeper says what is still in hand; and once the process is told to
stop, its main thread lets what runs end, or hands it back while its body may still run, and makes an end of it all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kernel.define.registry import Registry
from kernel.delivery import Consumer, Delivery
from kernel.errors import InfrastructureError, OnewriteError
from kernel.metrics import Count, NoMetrics
from kernel.ports import RunRef
from kernel.shell.attend import Outcome
from kernel.shell.batch import answer, attend_all, process_available
from kernel.shell.environment import SECOND, Environment
from kernel.shell.hand_back import hand_back
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.deployment import Deployment
from kernel.testing.simulator.ports import ActorClock, Port, some_offset
from kernel.testing.simulator.streams import Streams
from kernel.testing.simulator.watch import Watch
from kernel.testing.simulator.world import Actor, Process, World
from kernel.testing.transport import MemoryConsumer

SLOTS = 2
"""Threads of a process that attend runs."""
WORKERS = 3
"""Those of all processes, but for frozen ones and for processes that are told to stop."""
POLLERS = 2
"""Those that look for messages at a time."""
ATTENDS = 300.0
"""Seconds for which a slot goes on with its messages."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
"""Seconds that a slot waits after the transport has failed."""
DRAINS = (0.0, 0.0, 0.0, 1.0, 5.0, 25.0)
"""Seconds for which what runs may go on after its process was told to stop."""
HAND_BACK = 3.0
"""Seconds that handing back may take, after the drain."""
PASS = 0.25
"""Seconds between its two passes."""
KILL = 30 * SECOND
"""Milliseconds after the drain at which the platform's patience with a process ends."""
LOOK = 20 * SECOND
"""Milliseconds after which an attempt that was handed back is looked for once more."""


class Held:
    """What a slot has in hand: its batch, the message of it that it attends, and by when it should be done."""

    def __init__(self, batch: Sequence[Delivery], until: float) -> None:
        """A batch that it has just received."""
        self.batch = batch
        self.current: Delivery | None = None
        self.until = until


class Worker(Process):
    """A process, and what its threads share.

    Attributes:
        edition: of the code that it has.
        offset: of its clock, in milliseconds.
        registry: its workflows.
        held: what its slots have in hand, by the name of the thread.
        polling: threads that look for messages.
        failures: how often the transport has failed since it last did not.
        kept: somebody sees to it that what is in hand stays so.
    """

    __slots__ = ("edition", "failures", "held", "kept", "offset", "polling", "registry")

    def __init__(self, number: int, edition: tuple[bool, ...]) -> None:
        """It has done nothing yet."""
        super().__init__(f"worker:{number}")
        self.edition = edition
        self.offset = 0
        self.registry: Registry | None = None
        self.held: dict[str, Held] = {}
        self.polling: set[Actor] = set()
        self.failures = 0
        self.kept = False

    def stops(self) -> bool:
        """Whether it was told to stop."""
        return self.told_at is not None

    @property
    def slots(self) -> list[Actor]:
        """The threads that attend runs."""
        return [thread for thread in self.threads if "slot" in thread.name]


class Thread(Struct, frozen=True, kw_only=True):
    """What a thread has: itself, its process, its ports, and who looks at what it looks at."""

    actor: Actor
    worker: Worker
    env: Environment
    consumer: Consumer
    looks: Looks


class Workers:
    """Starts processes when they are needed, tells them to stop, and has them take messages."""

    def __init__(self, world: World, deployment: Deployment, streams: Streams) -> None:
        """Nobody works."""
        self._world = world
        self._deployment = deployment
        self._watch = deployment.watch
        self._streams = streams
        self._chance = Chance(world.seed, "workers")
        self._visibility = self._chance.pick((20.0, 60.0, 60.0, 200.0))
        self._prefetch = self._chance.pick((1, 1, 2, 3))
        self._by_polling = self._chance.happens(0.2)
        self._workers: list[Worker] = []
        self._started = 0

    # --- taking messages -------------------------------------------------------------------------------------------

    @property
    def free(self) -> bool:
        """Whether somebody is there to look for a message."""
        self._workers = [worker for worker in self._workers if not worker.over]
        at_work = [worker for worker in self._workers if not worker.stops()]
        busy = [slot for worker in at_work for slot in worker.slots if not slot.frozen]
        polling = [slot for worker in at_work for slot in worker.polling if not slot.frozen]
        return len(busy) < WORKERS and len(polling) < POLLERS

    def begin(self) -> None:
        """Have a slot look for messages, if there are any, and one is free."""
        at = self._streams.next_at
        if at is None or at > self._world.now or not self.free:
            return
        edition = self._deployment.edition
        for old in self._workers:
            if old.edition != edition:
                self._tell(old)  # as whoever deploys does
        worker = next((each for each in self._workers if not each.stops() and len(each.slots) < SLOTS), None)
        if worker is None:
            self._started += 1
            worker = Worker(self._started, edition)
            self._workers.append(worker)
        slot = self._thread(worker, "slot", self._serve)
        worker.polling.add(slot)
        if worker.registry is None:
            worker.registry = self._deployment.registry(slot)
            worker.offset = slot.offset = some_offset(self._world, slot)

    def _thread(self, worker: Worker, kind: str, work: Callable[[Thread], None]) -> Actor:
        """Start a thread of a process."""

        def run(actor: Actor) -> None:
            looks = Looks(self._world, self._watch, actor)
            env = replace(self._deployment.environment(actor, worker.registry or Registry()), metrics=looks)
            own: Any = MemoryConsumer(self._streams, ActorClock(self._world, actor), self._visibility)
            consumer: Any = Port(self._world, actor, "queue", own)
            work(Thread(actor=actor, worker=worker, env=env, consumer=consumer, looks=looks))

        name = worker.name.replace("worker:", "w")
        return self._world.spawn(f"{name}-{kind}", run, offset=worker.offset, process=worker)

    def _serve(self, me: Thread) -> None:
        """A slot: take messages once, and attend their runs."""
        try:
            batch = [] if self._by_polling else me.consumer.receive(self._prefetch, 0.0)
            if self._by_polling:
                self._poll(me)
        except InfrastructureError as error:
            self._world.say(me.actor, f"no messages: {error}")
            me.worker.polling.discard(me.actor)
            me.worker.failures += 1
            me.env.clock.sleep(min(FIRST_PAUSE * 2**me.worker.failures, LONGEST_PAUSE))
            return
        finally:
            me.worker.polling.discard(me.actor)
        me.worker.failures = 0
        if batch:
            self._attend(me, batch)

    def _poll(self, me: Thread) -> None:
        """A host that polls inside a function, which hides nothing from others for longer, and hands nothing back."""

        def received(found: Sequence[Delivery]) -> None:
            me.worker.polling.discard(me.actor)
            for delivery in found:
                me.looks.come_to(delivery)
                self._threaten(me, delivery)

        until = me.env.clock.monotonic() + ATTENDS
        each: Any = _Telling(me.consumer, received)
        most = me.actor.chance.pick((1, 3, 10))
        process_available(me.env, each, most, until, wait=0.0, by=me.worker.name, stopping=me.worker.stops)

    def body_waits(self, actor: Actor, milliseconds: int) -> None:
        """Now and then, have a process told to stop while one of its bodies runs."""
        worker = next((each for each in self._workers if each is actor.process), None)
        name = f"{actor.name}.{actor.calls}"
        if worker is not None and self._world.weather.strikes("stopped", actor.chance, name, often=3.0):
            self._world.plan(self._world.now + actor.chance.below(milliseconds), partial(self._tell, worker))

    def _threaten(self, me: Thread, delivery: Delivery) -> None:
        """Now and then, have a process told to stop soon after it has received something."""
        chance = me.actor.chance
        if self._world.weather.strikes("stopped", chance, f"{me.actor.name} #{delivery.id}", often=0.5):
            at = self._world.now + chance.below(chance.pick((100, 1_000, 20_000, 60_000)))
            self._world.plan(at, partial(self._tell, me.worker))

    def _attend(self, me: Thread, batch: Sequence[Delivery]) -> None:
        """Attend a batch, and answer it, unless it was taken out of this thread's hand meanwhile."""
        worker, name = me.worker, me.actor.name
        for delivery in batch:
            self._threaten(me, delivery)
        until = me.env.clock.monotonic() + ATTENDS
        held = worker.held[name] = Held(batch, until)
        self._keep_soon(worker)

        def begins(delivery: Delivery) -> None:
            held.current = delivery
            me.looks.come_to(delivery)

        seen = attend_all(me.env, batch, until, by=worker.name, stopping=worker.stops, begins=begins, lines=me.looks)
        ours = worker.held.pop(name, None) is not None
        if ours and not self._world.weather.strikes("returned", me.actor.chance, name):
            answer(me.consumer, seen)

    # --- what is in hand -------------------------------------------------------------------------------------------

    def _keep_soon(self, worker: Worker) -> None:
        if not worker.kept:
            worker.kept = True
            self._world.plan(self._world.now + int(self._visibility * SECOND / 3), partial(self._keep_now, worker))

    def _keep_now(self, worker: Worker) -> None:
        worker.kept = False
        if worker.held and not worker.over:
            self._thread(worker, "keeper", self._keep)

    def _keep(self, me: Thread) -> None:
        """The keeper: hide the messages in hand from others once more. What is past its time is left to them."""
        now = me.env.clock.monotonic()
        alive = [each for held in me.worker.held.values() if now <= held.until for each in held.batch]
        try:
            if alive:
                me.consumer.keep(alive)
        except OnewriteError as error:
            self._world.say(me.actor, f"messages in hand may come again: {error}")
        self._keep_soon(me.worker)

    # --- stopping --------------------------------------------------------------------------------------------------

    def _tell(self, worker: Worker) -> None:
        """Tell a process to stop; kill it if it does not."""
        if worker.over or worker.stops():
            return
        worker.told_at = self._world.now
        self._world.say(None, f"{worker.name} is told to stop")
        drain = self._chance.pick(DRAINS)
        self._thread(worker, "main", partial(self._stop, drain=drain))
        end = self._world.now + int((drain + HAND_BACK) * SECOND) + KILL
        self._world.plan(end, lambda: worker.end(self._world.now))

    def _stop(self, me: Thread, *, drain: float) -> None:
        """The main thread: let what runs end, or hand it back; then the process is gone."""
        worker, clock = me.worker, me.env.clock
        end = clock.monotonic() + drain
        while worker.slots and clock.monotonic() < end:
            clock.sleep(max(PASS, drain / 20))
        seized = list(worker.held.values())
        worker.held.clear()
        if seized:
            self._give_back(me, seized)
        clock.sleep(me.actor.chance.pick((0.0, 0.0, 0.3, 3.0)))
        self._world.say(me.actor, f"{worker.name} is gone")
        worker.end(self._world.now)

    def _give_back(self, me: Thread, seized: Sequence[Held]) -> None:
        """Hand back the stages that still run, and the messages that brought them."""
        clock, worker = me.env.clock, me.worker
        end = clock.monotonic() + HAND_BACK
        waiting = {each.current.id: each.current for each in seized if each.current is not None}
        handed: dict[str, bool] = {}
        for last in (False, True):
            answers: dict[str, bool] = {}
            threads = [
                self._thread(worker, "hand-back", partial(self._hand_back, delivery=delivery, end=end, answers=answers))
                for delivery in waiting.values()
            ]
            while any(thread in worker.threads for thread in threads) and clock.monotonic() < end:
                clock.sleep(0.02)
            handed |= {id_: given or handed.get(id_, False) for id_, given in answers.items()}
            waiting = {id_: waiting[id_] for id_ in answers}
            if not waiting:
                break
            if not last:
                clock.sleep(PASS)
        batch = [each for held in seized for each in held.batch]
        done = [each for each in batch if handed.get(each.id) and each.poke is not None and not each.poke.event]
        try:
            me.consumer.release([each for each in batch if each not in done])
            me.consumer.acknowledge(done)
        except OnewriteError as error:
            self._world.say(me.actor, f"messages not given back: {error}")

    def _hand_back(self, me: Thread, *, delivery: Delivery, end: float, answers: dict[str, bool]) -> None:
        """A thread that hands back what the process has under way in one run, and says if that was anything."""
        assert delivery.poke is not None  # noqa: S101 - nothing else is sent here
        ref, since = delivery.poke.ref, self._world.now
        me.actor.touches, me.actor.hands_back = ref, True
        try:
            given = hand_back(me.env, ref, me.worker.name, end)
        except OnewriteError as error:
            self._world.judge(error)
            self._world.say(me.actor, f"not handed back: {error}")
            return
        answers[delivery.id] = bool(given)
        for stage in given:
            self._world.say(me.actor, f"has handed back {stage}")
            self._expect(ref, stage, since)

    def _expect(self, ref: RunRef, stage: str, since: int) -> None:
        """An attempt was handed back: others are to have been told, now and a little later."""
        claim = self._watch.runs[ref].witness.books.of(stage).claim
        look = partial(self._watch.handed_back, ref, stage, claim, since)
        look()
        self._world.plan(self._world.now + LOOK, look)


class Looks(NoMetrics):
    """A thread's looks at runs: which run each is about, and what the kernel says of how it ended.

    ``Metrics``, and ``kernel.shell.batch.Lines``.
    """

    def __init__(self, world: World, watch: Watch, actor: Actor) -> None:
        """It has looked at nothing."""
        self._world = world
        self._watch = watch
        self._actor = actor
        self._gone = False

    def come_to(self, delivery: Delivery) -> None:
        """A message is about to be attended."""
        assert delivery.poke is not None  # noqa: S101 - nothing else is sent here
        self._actor.touches = delivery.poke.ref
        self._gone = self._watch.gone(delivery.poke.ref)

    def count(self, name: Count, value: int = 1, **labels: str) -> None:  # noqa: ARG002 - a port
        """A look has ended, or something else: of a run whose retention was over before it, nothing is to be seen."""
        outcome = labels.get("outcome", Outcome.GONE)
        if name is Count.POKES_ATTENDED and self._gone and outcome not in (Outcome.GONE, Outcome.EARLY):
            self._world.fail("gone-is-gone", f"a run whose retention is over is {outcome}")

    def warning(self, msg: str, /, *, extra: Mapping[str, object]) -> None:
        """A run could not be attended, for a reason of the kernel's own."""
        error = sys.exc_info()[1]
        if isinstance(error, OnewriteError):
            self._world.judge(error)
        self._world.say(self._actor, f"{msg}: {extra['message_id']}: {extra['error']}")

    def exception(self, msg: str, /, *, extra: Mapping[str, object]) -> None:
        """Something else went wrong."""
        self._world.fail("no-unexpected-error", f"{msg}: {extra['message_id']}: {sys.exc_info()[1]!r}")


class _Telling:
    """A consumer that tells what it receives."""

    def __init__(self, consumer: Consumer, tell: Callable[[Sequence[Delivery]], None]) -> None:
        self._consumer = consumer
        self._tell = tell

    def receive(self, most: int, wait: float) -> Sequence[Delivery]:
        """Receive, and tell."""
        found = self._consumer.receive(most, wait)
        self._tell(found)
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self._consumer, name)
