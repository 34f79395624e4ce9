"""Business keys: of the runs of a tenant and workflow that have the same key, at most one is under way.

A generation of a run holds its key: taken in one transaction with the commit that begins it, freed once it is over and
published. Until then whoever wants the key takes it over from a holder whose log has ended, or that is gone. Each put
names the holder that it saw, so somebody late takes, and frees, nothing that is another one's by now.
"""

from __future__ import annotations

from collections.abc import Callable

from kernel.core.state import State
from kernel.errors import KeyHeld, LogError, NotFound
from kernel.limits import check_business_key, is_workflow_id
from kernel.ports import Found, Guard, Key, Put, RunRef, business_key, keys_of, readable
from kernel.shell.environment import Environment
from kernel.shell.insist import insist
from kernel.shell.load import SPARE, Session, load, ttl_of
from kernel.shell.logs import log


def find_holder(
    env: Environment,
    tenant: str,
    workflow: str,
    name: str,
    *,
    or_last: Callable[[RunRef], bool] = lambda _ref: False,
) -> RunRef:
    """The run that holds a business key.

    Args:
        env: the ports.
        tenant: whose key.
        workflow: of which workflow.
        name: which.
        or_last: while nobody holds it, whether the run will do that has just freed it.

    Raises:
        InvalidInput: it cannot be a business key.
        NotFound: nobody holds it, or another tenant's run does.
    """
    check_business_key(name)
    key = _read(env, tenant, workflow, name) if is_workflow_id(workflow) else None
    if isinstance(key, Key):
        if key.run:
            return RunRef(tenant, key.run)
        if key.was and or_last(last := RunRef(tenant, _run_of(key.was))):
            return last
    message = f"no run of workflow {workflow[:64]!r} holds the business key {name!r}"
    raise NotFound(message)


class Hold:
    """A run's try at holding its business key. Goes with a start, and with the commit that reopens a run."""

    def __init__(self, env: Environment, ref: RunRef, workflow: str, name: str, ttl: int) -> None:
        """Nobody was seen to hold it.

        Args:
            env: the ports.
            ref: the run that wants the key.
            workflow: whose key.
            name: which.
            ttl: when the run is gone, whatever becomes of it, in seconds.
        """
        self._env = env
        self._ref = ref
        self._workflow = workflow
        self._name = name
        self._ttl = ttl
        self._was = ""

    def look(self) -> None:
        """See who holds the key.

        Raises:
            KeyHeld: a run that is under way does.
        """
        self.refused(_read(self._env, self._ref.tenant, self._workflow, self._name))

    def put(self, state: State) -> Put:
        """The put that goes with the commit that makes this state."""
        return self.by(state.generation)

    def by(self, generation: int) -> Put:
        """The put by which a generation of the run takes the key from who was seen to hold it, if anybody was."""
        holder = _holder(self._ref.run, generation)
        key = Key(workflow=self._workflow, name=self._name, holder=holder, was=self._was, ttl=self._ttl)
        return keys_of(self._ref.tenant), key, Guard.KEY_AS_SEEN

    def refused(self, existing: Found | None) -> None:
        """Somebody else holds the key: the next put takes it from them, if they do not need it any more.

        Raises:
            KeyHeld: they do.
        """
        key = readable(existing)
        if not isinstance(key, Key):
            self._was = ""
            return
        if key.run not in ("", self._ref.run) and self._is_under_way(key):
            raise KeyHeld(self._workflow, self._name, key.run)
        self._was = key.holder

    def _is_under_way(self, key: Key) -> bool:
        """Whether a holder's log goes on. Its head does not count: nobody may have finalised it so far.

        What the key itself says is believed before what could not be found of the run: neither a run that is not there
        before its time, nor a log that ends before the generation that holds the key, is over.
        """
        env = self._env

        def late() -> int:
            return env.clock.now() - env.limits.max_skew  # for the slowest clock that is allowed it is still there

        try:
            session = insist(env, lambda: load(env.store, RunRef(self._ref.tenant, key.run), late))
        except LogError as error:
            extra = {"run": key.run, "key": self._name, "error": str(error)}
            log.warning("whoever holds a business key cannot be read: it stays theirs", extra=extra)
            return True
        if session is None:
            return late() < (key.ttl - SPARE) * 1000
        return not session.state.status.finished or session.state.generation < key.generation


def free(env: Environment, session: Session) -> None:
    """Free the business key of a run that is over. Refused, if somebody has taken it over: then it is theirs."""
    head = session.head
    if not head.business_key:
        return
    key = Key(
        workflow=head.workflow,
        name=head.business_key,
        holder="",
        was=_holder(session.ref.run, session.state.generation),
        ttl=ttl_of(env.clock.now()),  # a key that is not there is as free as this one
    )
    insist(env, lambda: env.store.put(keys_of(session.ref.tenant), key, Guard.KEY_AS_SEEN))


def _read(env: Environment, tenant: str, workflow: str, name: str) -> Found | None:
    return readable(insist(env, lambda: env.store.get(keys_of(tenant), business_key(workflow, name))))


def _holder(run: str, generation: int) -> str:
    return f"{run}#{generation}"


def _run_of(holder: str) -> str:
    return holder.partition("#")[0]
