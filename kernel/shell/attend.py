"""Attending a run, as a worker does on a poke: load, do what is ready, commit, repeat; then leave it in order."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from kernel.core import commands as c
from kernel.core.decide import KEPT
from kernel.core.definition import EVENT, Definition, Later
from kernel.core.draft import Stale
from kernel.core.events import StageScheduled, StageStarted
from kernel.core.plan import Check, EndPause, Execute, Fire, Idle, Overdue, Recover, Start, plan
from kernel.core.state import RunStatus, StageStatus
from kernel.core.tokens import digest_of
from kernel.errors import Conflict, Forbidden
from kernel.ports import Inbox, Poke
from kernel.shell import heads
from kernel.shell.commit import Beside, commit
from kernel.shell.environment import Environment
from kernel.shell.execute import Done, run_body, run_check
from kernel.shell.insist import PATIENCE, insist
from kernel.shell.leave import WAITS, lease_of, leave, pause_ends, send, times_of
from kernel.shell.load import Session, load
from kernel.shell.logs import log
from kernel.shell.pause import resume_if_due
from kernel.shell.receive import Applied, is_crowded, payload_of, poke_waiting, refuse, unsettled

RESERVE = 1_000
"""Milliseconds kept back at the end of an invocation for the last commit and for leaving the run in order."""


class Outcome(StrEnum):
    """How a look at a run ended. All of these are fine: the poke is done."""

    ATTENDED = "attended"
    EARLY = "early"
    """The poke came before its time and was sent again for the rest."""
    GONE = "gone"
    """There is no such run (any more)."""
    PARKED = "parked"
    """This deployment does not have what the run is pinned to."""


class Attended(Struct, frozen=True):
    """What a look at a run did.

    Attributes:
        outcome: how it ended.
        stages: bodies and checks that ran.
        short: a stage was left to others because this worker has too little time for it, or stops.
    """

    outcome: Outcome
    stages: int = 0
    short: bool = False


def never() -> bool:
    """For a worker that goes on as long as there is time."""
    return False


def attend(
    env: Environment,
    poke: Poke,
    until: float,
    *,
    share: float | None = None,
    by: str = "worker",
    stopping: Callable[[], bool] = never,
) -> Attended:
    """Look at a run and do what is ready.

    Args:
        env: the ports.
        poke: which run, and which stage first.
        until: monotonic time in seconds at which the invocation ends. The first stage may take all of it.
        share: monotonic time in seconds after which no further stage is begun; ``until`` if absent.
        by: who does it, for the log.
        stopping: asked before each stage: once it says so, no further one is begun here, and others are poked for it.

    Raises:
        InfrastructureError: the store failed; the poke must come again.
        LogError: the run's log cannot be read by this version.
    """
    if poke.at > env.clock.now():
        send(env, [(poke, poke.at)])
        return Attended(Outcome.EARLY)
    patience = min(until, env.clock.monotonic() + PATIENCE, until if share is None else share)
    session = insist(env, lambda: load(env.store, poke.ref, env.clock.now), patience)
    if session is None:
        log.info("poke for a run that is gone", extra={"run": poke.run})
        if poke.event and (lost := unsettled(env, poke.ref, poke.event, patience)):
            refuse(env, poke.ref, lost, "the run is gone: its retention is over")
        return Attended(Outcome.GONE)
    head = session.head
    definition = env.definitions.find(head.workflow, head.version, head.fingerprint)
    if definition is None:
        return _park(env, session, poke.event, until, by)
    if head.status == heads.PARKED:
        heads.set_status(env, session, heads.coarse(session.state))
    worker = _Worker(env, session, definition, poke, until, until if share is None else share, by, stopping)
    if poke.event:
        worker.receive(poke.event)
    worker.work()
    if worker.deferred is not None:  # what has been done here meanwhile may be what it waited for
        worker.receive(poke.event)
        worker.work()
    leave(env, session, by=by, timers=worker.timers, met=worker.met, until=until)
    return Attended(Outcome.ATTENDED, worker.done, worker.short)


def _park(env: Environment, session: Session, event: str, until: float, by: str) -> Attended:
    """Never run on other code, never failed for it: shown as parked until a deployment that has the code comes by.

    A paused run needs no code, until it goes on.
    """
    resume_if_due(env, session, by=by, until=until)
    head, state = session.head, session.state
    if event and state.status is not RunStatus.RUNNING and (late := unsettled(env, session.ref, event, until)):
        refuse(env, session.ref, late, f"run {session.ref.run} is {state.status}: it takes no events any more")
    if state.status.finished or state.paused is not None:
        leave(env, session, by=by, timers={}, met=pause_ends(env, session), until=None)
    elif head.status in (heads.OPEN, heads.PAUSED):
        heads.set_status(env, session, heads.PARKED)
        extra = {"run": session.ref.run, "workflow": head.workflow, "version": head.version}
        log.warning("run parked: this deployment does not have its workflow, version and fingerprint", extra=extra)
    return Attended(Outcome.PARKED)


_CHAINING = (c.Begin, c.Complete, c.Fail, c.Ready, c.NotReady, c.Unanswered, c.Receive, c.Fire, c.Settle)


class _Worker:
    """One worker's hold on one run."""

    def __init__(
        self,
        env: Environment,
        session: Session,
        definition: Definition,
        poke: Poke,
        until: float,
        share: float,
        by: str,
        stopping: Callable[[], bool],
    ) -> None:
        self.env = env
        self.session = session
        self.definition = definition
        self.hint = poke.stage
        self.until = until
        self.share = share
        self.by = by
        self.stopping = stopping
        self.done = 0
        self.short = False
        self.deferred: Inbox | None = None
        self.met: int | None = None
        self.timers: dict[str, int] = {}
        self.leases: dict[str, int] = {}
        self.secrets: dict[str, str] | None = {} if any(each.callback for each in definition.stages.values()) else None
        active = session.state.active
        stages = session.state.stages
        # A poke for one stage leaves the others that are scheduled to the pokes that were sent for them.
        self.others = {id_ for id_ in active if id_ != poke.stage and stages[id_].status is StageStatus.SCHEDULED}
        if not poke.stage or poke.stage not in active:
            self.others.clear()
        if session.state.asleep is not None:
            # Waits that were too long for a message when the run fell asleep may be short enough by now.
            self.timers = {id_: stages[id_].at for id_ in active if stages[id_].status in WAITS and stages[id_].at}

    def receive(self, id_: str) -> None:
        """Apply an external event, unless somebody has, or say why the run does not take it; or defer it."""
        ref = self.session.ref
        self.deferred = None
        item = unsettled(self.env, ref, id_, self.until)
        if item is None:
            return
        self.session.offer(EVENT + id_, item.body)
        try:
            self._commit_and_run(
                c.Receive(id_, item.name, payload_of(self.env, item), self._chain(), item.by, item.roles),
                Applied(self.env, ref, item),
            )
        except (Conflict, Forbidden) as refusal:
            refuse(self.env, ref, item, str(refusal))
        except Later:
            if is_crowded(self.env, ref, item, self.until):
                refuse(self.env, ref, item, f"{KEPT} events wait already until the run is further on")
            else:
                self.deferred = item
        finally:
            self.session.withdraw(EVENT + id_)

    def work(self) -> None:
        """Do what is ready here, until nothing is, or the time or the number of stages is used up."""
        while self._step() and (self.definition.chain or not self.done):
            pass

    def _step(self) -> bool:  # noqa: C901 - one case for each step
        """Do the next thing; False if there is none for this worker."""
        now = self.env.clock.now()
        state, skew = self.session.state, self.env.limits.max_skew
        match plan(state, now, skew, self.hint, others=self.others, leases=self.leases):
            case Start():
                self._commit_and_run(c.Begin(self._chain()))
            case Execute(stage=stage) | Check(stage=stage) if not self._fits(stage):
                self.short = True
                send(self.env, [(self._poke(stage), 0)])
                return False
            case Execute(stage=stage):
                seq, grace = state.stages[stage].seq, self.env.limits.lease_grace
                self._commit_and_run(c.Claim(stage, seq, grace, self._secret()))
            case Check(stage=stage):
                self.done += 1
                self._commit_and_run(self._check(stage, now))
            case Fire(timer=timer):
                self._commit_and_run(c.Fire(timer, state.stages[timer].seq, self._chain()))
            case Recover(stage=stage):
                self._recover(stage)
            case EndPause():
                if resume_if_due(self.env, self.session, by=self.by, until=self.until):
                    self.timers.clear()  # all that can go on has been poked for, so that none of it waits for another
                    return False
            case Overdue():
                self._commit(c.Expire(state.deadline))
            case Idle():
                self._meet(now)
                return False
            case _:
                return False  # it is over
        return True

    def _check(self, stage: str, now: int) -> c.Command | Done:
        """Ask the check; but not for ever one that kills its process, and so never gets to say that it is too late."""
        suspended, spec = self.session.state.stages[stage], self.definition.stages[stage]
        if spec.callback is not None:
            return c.Unanswered(stage, suspended.seq, suspended.at, self.env.random.roll(), self._chain())
        if now >= suspended.give_up_at + spec.timeout + self.env.limits.lease_grace:
            return c.NotReady(stage, suspended.seq, suspended.at, None, None, self._chain())
        return run_check(self.env, self.session, self.definition, stage, self._chain, self.until)

    def _commit_and_run(self, command: c.Command | Done, beside: Beside | None = None) -> None:
        """Commit; while the commit made a stage ours, run its body and commit what came of it."""
        next_: Done | None = command if isinstance(command, Done) else Done(command)
        while next_ is not None:
            before = self.env.clock.monotonic()
            started = self._commit(next_.command, beside, next_.annotations)
            beside = None
            if started is None:
                return
            lease = before + (started.lease - self.session.state.at) / 1000
            self.done += 1
            secret = self.secrets.get(started.callback, "") if self.secrets else ""
            next_ = run_body(
                self.env,
                self.session,
                self.definition,
                started,
                self._chain,
                secret=secret,
                expires=lease,
                until=self.until,
            )

    def _commit(
        self, command: c.Command, beside: Beside | None = None, annotations: bytes = b""
    ) -> StageStarted | None:
        """Commit, and see to what the commit asks for. The stage that it made ours, if any; none if it was stale."""
        before = self.session.state
        try:
            decision = commit(
                self.env,
                self.session,
                self.definition,
                command,
                by=self.by,
                until=self.until,
                renew=self._renew,
                beside=beside,
                annotations=annotations,
            )
        except Stale as stale:
            log.info("result discarded: %s", stale, extra={"run": self.session.ref.run})
            return None
        if self.definition.selective:
            known = self.deferred.id if self.deferred is not None else ""  # looked at here, before anybody leaves
            poke_waiting(self.env, self.session, before, self.until, known=known)
        started: StageStarted | None = None
        ready: list[tuple[Poke, int]] = []
        for event in decision.events:
            match event:
                case StageStarted():
                    started = event
                case StageScheduled(stage=stage):
                    ready.append((self._poke(stage), 0))
                    self.others.add(stage)
                case _:
                    pass
        self.timers |= times_of(decision.events)
        if ready and self.session.state.paused is None:
            send(self.env, ready)
        return started

    def _recover(self, stage: str) -> None:
        """Settle a stage whose lease ran out, unless its worker gave a sign of life meanwhile."""
        found = self.session.state.stages[stage]
        if found.status is StageStatus.RUNNING:  # else somebody has reaped it already
            lease = lease_of(self.env, self.session, stage)
            if lease + self.env.limits.max_skew > self.env.clock.now():
                self.leases[stage] = lease
                return
        self._commit_and_run(c.Settle(stage, found.seq, self.env.random.roll(), self._chain()))

    def _meet(self, now: int) -> None:
        """Somebody else runs what we were poked for: one look at the end of the lease finds out how it went.

        Or the run is paused, and goes on soon.
        """
        state = self.session.state
        wanted = [self.hint] if self.hint else list(state.active)
        leases = [
            self.leases.get(id_, state.stages[id_].at)
            for id_ in wanted
            if id_ in state.active and state.stages[id_].status is StageStatus.RUNNING
        ]
        if (ends := pause_ends(self.env, self.session)) is not None:
            leases.append(ends)
        self.met = max(min(leases), now) if leases else None

    def _room(self) -> int:
        """Milliseconds that the next stage may take: all that is left for the first one, then the share's."""
        end = min(self.share, self.until) if self.done else self.until
        return int((end - self.env.clock.monotonic()) * 1000) - RESERVE

    def _chain(self) -> c.Chain:
        goes_on = (self.definition.chain or not self.done) and self._may_begin()
        return c.Chain(self._room() if goes_on else -1, self.env.limits.lease_grace, self._secret() if goes_on else "")

    def _secret(self) -> str:
        """Draw a secret for the callback token of an attempt that may be started; what the log keeps of it."""
        if self.secrets is None:
            return ""
        secret = self.env.random.secret()
        digest = digest_of(secret)
        self.secrets[digest] = secret
        return digest

    def _renew(self, command: c.Command) -> c.Command:
        """A command that is decided again has less time left for a next stage."""
        return replace(command, chain=self._chain()) if isinstance(command, _CHAINING) else command

    def _fits(self, stage: str) -> bool:
        return self._may_begin() and self.definition.stages[stage].timeout <= self._room()

    def _may_begin(self) -> bool:
        """Whether this worker may begin one more stage at all."""
        return self.done < self.env.limits.chain_cap and not self.stopping()

    def _poke(self, stage: str) -> Poke:
        return self.session.poke(stage)
