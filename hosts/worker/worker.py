"""One worker process: threads that take messages and attend their runs, until they are told to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from msgspec import Struct

from hosts.worker.health import Health, Part
from hosts.worker.options import Options
from hosts.worker.pauses import Pauses
from hosts.worker.slots import Held, Slots
from kernel.delivery import Consumer, Delivery
from kernel.errors import InfrastructureError, OnewriteError
from kernel.shell.batch import answer, attend_all
from kernel.shell.environment import Environment
from kernel.shell.hand_back import hand_back

log = logging.getLogger(__name__)

WAIT = 4.0
"""Seconds for which an idle thread waits for a message before it looks whether it shall stop."""
POLLERS = 2
"""Threads that wait for messages at a time; other idle ones wait for their turn. So an idle worker costs the same
however many threads it has, and no message waits: whoever got one lets the next thread have its turn."""
KEEP = 30.0
"""Seconds between two signs of life of what is in hand, at most."""
HAND_BACK = 3.0
"""Seconds that handing back may take, after the drain."""
AT_ONCE = 16
"""Runs of which stages are handed back side by side."""
PASS = 0.25
"""Seconds between two passes of handing back: a claim that was on its way in the first is there in the second."""


class Stopped(Struct, frozen=True, kw_only=True):
    """How a worker has stopped.

    Attributes:
        seconds: how long it took.
        handed_back: stages that were handed back.
        given_back: messages that were given back.
        clean: everything under way had ended by itself.
    """

    seconds: float
    handed_back: int
    given_back: int
    clean: bool


class Worker:
    """The threads of a worker process.

    Args:
        env: the ports.
        consumer: where messages come from.
        options: how it works.
        name: who it is, in the logs of the runs.
        seconds: how long it goes on with a run at a time.
        health: is told how it goes.
    """

    def __init__(
        self,
        env: Environment,
        consumer: Consumer,
        options: Options,
        *,
        name: str,
        seconds: float,
        health: Health,
    ) -> None:
        self.name = name
        self._env = env
        self._consumer = consumer
        self._options = options
        self._seconds = seconds
        self._health = health
        self._stopping = threading.Event()
        self._slots = Slots(options.concurrency)
        self._turns = threading.BoundedSemaphore(POLLERS)
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"slot-{number}", daemon=True)
            for number in range(options.concurrency)
        ]
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to take messages."""
        for thread in (self._keeper, *self._threads):
            thread.start()

    # --- taking messages ----------------------------------------------------------------------------------------------

    def _serve(self, slot: int) -> None:
        pauses = Pauses(self._env.random)
        while not self._stopping.is_set():
            try:
                pause = self.once(slot, pauses)
            except Exception:  # a mistake of ours must not end the thread: the others would have to do its work
                if self._stopping.is_set():
                    return  # its connection was closed under it
                log.exception("slot failed", extra={"worker": self.name, "slot": slot})
                pause = pauses.failed()
            if pause:
                self._stopping.wait(pause)

    def once(self, slot: int, pauses: Pauses) -> float:
        """Take messages once, and attend their runs. Gives the seconds to wait before the next time."""
        by = f"slot-{slot}"
        with self._turns:
            self._health.came_round()
            if self._stopping.is_set():
                return 0.0
            try:
                batch = self._consumer.receive(self._options.prefetch, WAIT)
            except InfrastructureError as error:
                self._health.failed(Part.TRANSPORT, str(error), by)
                pause = pauses.failed()
                log.warning(
                    "could not receive messages",
                    extra={"worker": self.name, "error": str(error), "again": round(pause, 2)},
                )
                return pause
        self._health.reached(Part.TRANSPORT, by)
        if not batch:
            return 0.0
        if not self._attend(slot, batch):
            pauses.reset()
            return 0.0
        return pauses.failed()

    def _attend(self, slot: int, batch: Sequence[Delivery]) -> bool:
        """Attend a batch, and answer it. True if the store did not answer, so that more of this makes no sense."""
        until = self._env.clock.monotonic() + self._seconds
        by = f"slot-{slot}"
        self._slots.take(slot, batch, until)
        self._health.began(slot, until)
        try:
            seen = attend_all(
                self._env,
                batch,
                until,
                by=self.name,
                stopping=self._stopping.is_set,
                begins=lambda delivery: self._slots.begin(slot, delivery),
            )
        finally:
            self._health.ended(slot)
            ours = self._slots.free(slot)
        if seen.failed:
            self._health.failed(Part.TABLE, "a run could not be attended", by)
        elif seen.attended:
            self._health.reached(Part.TABLE, by)
        if ours:
            answer(self._consumer, seen)
        return bool(seen.failed)

    def _keep(self) -> None:
        """Say now and then that what is in hand is still in hand. What is past its time is left to others."""
        while not self._stopping.wait(min(self._consumer.visibility / 3, KEEP)):
            self.keep()
        while not self._slots.empty:  # while what is under way ends
            self._env.clock.sleep(min(1.0, self._consumer.visibility / 3))
            self.keep()

    def keep(self) -> None:
        """Hide the messages in hand from others once more."""
        if self._slots.full:
            self._health.came_round()
        held = self._slots.alive(self._env.clock.monotonic())
        try:
            if held:
                self._consumer.keep(held)
        except OnewriteError as error:
            log.warning("messages in hand may come again", extra={"worker": self.name, "error": str(error)})
        except Exception:  # a mistake of ours must not end the thread
            log.exception("messages in hand may come again", extra={"worker": self.name})

    # --- stopping -----------------------------------------------------------------------------------------------------

    def stop(self, hurry: threading.Event) -> Stopped:
        """Take no more messages, and begin no more stages; let what runs end, or hand it back.

        Args:
            hurry: once it is set, what is under way is handed back at once.
        """
        clock = self._env.clock
        began = clock.monotonic()
        self._stopping.set()
        self._health.draining()
        # Beside the drain: a Redis that does not answer must not use up its time.
        threading.Thread(target=self._consumer.close, name="close", daemon=True).start()
        end = began + self._options.drain
        while any(thread.is_alive() for thread in self._threads) and clock.monotonic() < end and not hurry.is_set():
            hurry.wait(0.02)
        held = self._slots.seize()
        handed_back = given_back = 0
        if held:
            handed_back, given_back = self._give_back(held)
        return Stopped(
            seconds=round(clock.monotonic() - began, 2),
            handed_back=handed_back,
            given_back=given_back,
            clean=not held,
        )

    def _give_back(self, held: Sequence[Held]) -> tuple[int, int]:
        """Hand back the stages that still run, and the messages that brought them; for so long and no longer."""
        end = self._env.clock.monotonic() + HAND_BACK
        waiting = [each.current for each in held if each.current is not None and each.current.poke is not None]
        handed: set[tuple[str, str]] = set()
        stages = 0
        # Two passes: whoever was just about to claim a stage when it was told to stop has done so by the second.
        for last in (False, True):
            answers = self._all_handed(waiting, end)
            stages += sum(len(given or ()) for given in answers.values())
            handed |= {key for key, given in answers.items() if given}
            # What could not be asked once is not asked again: its lease finds it.
            waiting = [each for each in waiting if answers.get(_key(each)) is not None]
            if not waiting:
                break
            if not last:
                self._env.clock.sleep(PASS)
        batch = [each for one in held for each in one.batch]
        # Where a stage was poked for, its message is not needed, unless it told of an event. All others come again.
        done = [each for each in batch if _key(each) in handed and each.poke is not None and not each.poke.event]
        rest = [each for each in batch if each not in done and each.poke is not None]
        try:
            self._consumer.release(rest)
            self._consumer.acknowledge(done)
        except OnewriteError as error:
            log.warning("messages not given back: they come again by themselves", extra={"error": str(error)})
        return stages, len(rest)

    def _all_handed(self, waiting: Sequence[Delivery], end: float) -> dict[tuple[str, str], list[str] | None]:
        """Hand back side by side what can be in time: the stages of each message, None where the store failed."""
        answers: dict[tuple[str, str], list[str] | None] = {}
        if not waiting:
            return answers
        pool = ThreadPoolExecutor(min(len(waiting), AT_ONCE), thread_name_prefix="hand-back")
        futures = {pool.submit(self._handed, each, end): each for each in waiting}
        done, _ = wait(futures, timeout=max(0.0, end - self._env.clock.monotonic()))
        pool.shutdown(wait=False, cancel_futures=True)
        for future in done:
            answers[_key(futures[future])] = future.result()
        return answers

    def _handed(self, delivery: Delivery, end: float) -> list[str] | None:
        """The stages of a message's run that were handed back; None if the store did not answer."""
        if delivery.poke is None:
            return []
        try:
            return hand_back(self._env, delivery.poke.ref, self.name, end)
        except OnewriteError as error:
            extra = {"run": delivery.poke.run, "error": str(error)}
            log.warning("stage not handed back: it is found once its lease is over", extra=extra)
        except Exception:
            log.exception("stage not handed back", extra={"run": delivery.poke.run})
        return None


def _key(delivery: Delivery) -> tuple[str, str]:
    """What a message is known by: each stream has ids of its own."""
    return delivery.source, delivery.id
