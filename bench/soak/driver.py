"""The soak's callers: they start runs, some twice at once, cancel some, let failed ones go on, and keep the answers.

A caller that gets no answer asks again, with the same key, as callers should. What was answered with success was
accepted, and has to be found again in the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

from msgspec import Struct

from bench.soak.workflows import SHARES
from hosts.local.client import Api, ApiError, Unreachable
from kernel.ports import HEAD, Head, RunRef, Store
from kernel.shell import heads
from kernel.shell.environment import Limits

AGAIN = 0.2
"""Seconds after which a caller asks again who got no answer."""
PATIENCE = 30.0
"""Seconds for which a caller does so."""
CONFLICT = 409
LOOK_EVERY = 0.5
"""Seconds between two looks at which runs are over."""
SHARDS = Limits().shards
"""Shards of the *due* index; the soak leaves them as they are."""
FAR = 10**15
"""A time that is later than any ``due``, in milliseconds."""


class Pace(Struct, frozen=True, kw_only=True):
    """How much the callers do.

    Attributes:
        per_second: runs that are started.
        open: runs that may be under way at a time: moto's queues slow down past a few hundred messages.
        twice: the share of runs that two callers start at once, with the same key.
        cancelled: the share that is cancelled, at a random time.
        retried: the share of failed runs that are retried.
        rerun: the share of finished runs that are run again from a stage.
    """

    per_second: float = 12.0
    open: int = 60
    twice: float = 0.1
    cancelled: float = 0.05
    retried: float = 0.5
    rerun: float = 0.02


class Accepted(Struct):
    """A run that was accepted, and what else was.

    Attributes:
        ref: which run.
        workflow: of what.
        created: how many answers to its start said that they had created it.
        cancels, reopens: commands that were answered with success.
        over: it was seen finished and out of the *due* index, and not told to go on since.
    """

    ref: RunRef
    workflow: str
    created: int = 0
    cancels: int = 0
    reopens: int = 0
    over: bool = False


class Callers:
    """Everybody who calls the API.

    Args:
        api: where.
        store: tells which runs are over, more cheaply than the API.
        tenant: whose runs.
        random: chance.
        pace: how much they do.

    Attributes:
        accepted: the runs that were accepted, by id.
        twice: starts that were sent twice at once.
        unanswered: starts of which a caller gave up to get an answer; nothing was accepted, and nothing is missed.
        wrong: answers that must not be, in words.
    """

    def __init__(self, api: Api, store: Store, tenant: str, random: Random, pace: Pace) -> None:
        self.accepted: dict[str, Accepted] = {}
        self.unanswered = 0
        self.twice = 0
        self.wrong: list[str] = []
        self._api = api
        self._store = store
        self._tenant = tenant
        self._random = random
        self._pace = pace
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=12, thread_name_prefix="caller")
        self._threads = [
            threading.Thread(target=run, name=run.__name__, daemon=True) for run in (self._start_runs, self._follow)
        ]
        self._slots = threading.Semaphore(pace.open)

    def start(self) -> None:
        """Begin to call."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask for nothing more. Who waits for an answer still gets it; then all have ended."""
        self._stopped.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def open(self) -> list[Accepted]:
        """Runs that are not over, as far as is known."""
        with self._lock:
            return [each for each in self.accepted.values() if not each.over]

    def look(self) -> list[Accepted]:
        """Look which runs are over that were not; gives them.

        A run in the *due* index is not over. One that is not in it may be, or the index is behind: its head tells.
        """
        candidates = self.open
        due = self._due()
        ended = []
        for each in candidates:
            if each.ref in due:
                continue
            head = self._store.get(each.ref, HEAD)
            if isinstance(head, Head) and head.due is None:
                each.over = True
                ended.append(each)
        return ended

    def _due(self) -> set[RunRef]:
        shards = map(heads.due_shard, range(SHARDS))
        return {entry.ref for shard in shards for entry in self._store.due(shard, FAR, 100_000)}

    # --- starting -----------------------------------------------------------------------------------------------------

    def _start_runs(self) -> None:
        """Start runs at the pace, as long as not too many are under way."""
        next_ = time.monotonic()
        number = 0
        while not self._stopped.is_set():
            next_ = max(next_ + 1 / self._pace.per_second, time.monotonic() - 1.0)
            if self._stopped.wait(max(0.0, next_ - time.monotonic())):
                return
            while not self._slots.acquire(timeout=0.2):
                if self._stopped.is_set():
                    return
            number += 1
            self._pool.submit(self._start_one, f"soak-{number}", number)

    def _start_one(self, key: str, number: int) -> None:
        random = Random(f"{number}/{self._random.random()}")
        workflow = random.choices(list(SHARES), list(SHARES.values()))[0]
        given = {"seed": random.getrandbits(32)}

        def ask() -> Accepted | None:
            return self._accept(workflow, given, key)

        if random.random() < self._pace.twice:
            self.twice += 1
            other = threading.Thread(target=ask, name=f"{key}-twice", daemon=True)
            other.start()
            run = ask()
            other.join()
        else:
            run = ask()
        if run is None:
            self._slots.release()
        elif random.random() < self._pace.cancelled:
            self._stopped.wait(random.uniform(0, 1.5))
            run.cancels += self._commanded(run, "cancel", {"reason": "the soak says so"})

    def _accept(self, workflow: str, given: dict[str, int], key: str) -> Accepted | None:
        for _ in self._tries():
            try:
                answer = self._api.start(workflow, given, key=key)
            except Unreachable:
                continue
            except ApiError as error:
                if error.status < 500:
                    self.wrong.append(f"start of {key} is refused: {error}")
                    return None
                continue
            ref = RunRef(self._tenant, answer["run"])
            with self._lock:
                run = self.accepted.setdefault(ref.run, Accepted(ref, workflow))
                run.created += not answer["replay"]
            return run
        with self._lock:
            self.unanswered += 1
        return None

    def _tries(self) -> Iterator[None]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            yield
            time.sleep(AGAIN)

    # --- what else is asked ------------------------------------------------------------------------------------------

    def _commanded(self, run: Accepted, verb: str, body: dict[str, str]) -> int:
        """Ask for it until there is an answer; 1 if it was accepted, 0 if it was refused or nobody answered."""
        for _ in self._tries():
            try:
                self._api.act(run.ref.run, verb, body)
            except Unreachable:
                continue
            except ApiError as error:
                if error.status == CONFLICT:
                    return 0
                if error.status < 500:
                    self.wrong.append(f"{verb} of {run.ref.run} is refused: {error}")
                    return 0
                continue
            return 1
        return 0

    def _follow(self) -> None:
        """Look which runs are over; let some of them go on, and others come in their place."""
        while not self._stopped.wait(LOOK_EVERY):
            for run in self.look():
                if not self._go_on(run):
                    self._slots.release()

    def _go_on(self, run: Accepted) -> bool:
        """Let a run that is over go on, maybe; True if it does."""
        if run.reopens >= 2 or self._stopped.is_set():
            return False
        head = self._store.get(run.ref, HEAD)
        failed = isinstance(head, Head) and head.status == "failed"
        roll = self._random.random()
        if failed and roll < self._pace.retried:
            accepted = self._commanded(run, "retry", {"reason": "the soak says so"})
        elif not failed and roll < self._pace.rerun:
            accepted = self._commanded(run, "rerun", {"stage": "begin" if run.workflow != "booking" else "reserve"})
        else:
            return False
        run.reopens += accepted
        # Without an answer it may go on all the same.
        run.over = False
        return True
