"""A run's state: the fold of its log. A value that can be thrown away and folded again."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from kernel.core.events import ErrorRecord, Value


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Nothing happens to the run any more, unless it is reopened."""
        return self in _FINISHED


_FINISHED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class StageStatus(StrEnum):
    """Where a stage stands."""

    SCHEDULED = "scheduled"
    RUNNING = "running"
    EXPIRED = "expired"
    """Its lease ran out; a worker decides next whether it is tried again."""
    RETRYING = "retrying"
    SUSPENDED = "suspended"
    SLEEPING = "sleeping"
    """It is a timer, which has no attempts, and its time has not come."""
    WAITING = "waiting"
    """It is a wait, which has no attempts, and nothing that it is for has come."""
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


FINISHED_STAGE = frozenset({StageStatus.COMPLETED, StageStatus.FAILED, StageStatus.SKIPPED})


class StageState(Struct, frozen=True, omit_defaults=True, array_like=True):
    """What is known of one stage, or of a timer or a wait.

    Attributes:
        status: where it stands.
        attempt: number of the latest attempt, from 1; 0 before the first.
        seq: number of the commit that brought it here: while running its fencing token; once completed where its
            output is; while suspended where its check's state is, or, for a callback, still the fencing token.
        at: when it must be looked at: end of the lease, time of the retry, of the next check or heartbeat, of a timer,
            or of a wait's time-out.
        give_up_at: when a suspended stage has waited too long.
        check_errors: checks that threw in a row.
        external: where its output (or its check's state) is, when that is not in the commit itself.
        error: the last error of the stage.
        progress: as last reported by its check or callback.
    """

    status: StageStatus
    attempt: int = 0
    seq: int = 0
    at: int = 0
    give_up_at: int = 0
    check_errors: int = 0
    external: Value | None = None
    error: ErrorRecord | None = None
    progress: float | None = None

    @property
    def finished(self) -> bool:
        """Completed, failed for good, or skipped."""
        return self.status in FINISHED_STAGE


class Kept(Struct, frozen=True, omit_defaults=True, array_like=True):
    """An external event that nothing has waited for so far.

    Attributes:
        name: its class.
        seq: number of the commit that received it, which holds what it carries.
        external: where that is, when it is not in the commit itself.
        roles: what who sent it is allowed to act as.
    """

    name: str
    seq: int
    external: Value | None = None
    roles: tuple[str, ...] = ()


class Place(Struct, frozen=True, omit_defaults=True, array_like=True):
    """Where a machine is.

    Attributes:
        state: the state it is in, or has left last.
        since: when it entered it, in milliseconds.
        seq: number of the commit that holds the machine's data.
        taken: how many transitions it has taken so far, internal ones among them.
        transition: the one whose work is under way, if the machine is between two states.
    """

    state: str
    since: int
    seq: int
    taken: int = 0
    transition: str = ""


class Pause(Struct, frozen=True, omit_defaults=True):
    """Why and for how long a run is paused. Times are milliseconds.

    Attributes:
        since: when it was paused.
        until: when it is resumed by itself; None for not before somebody asks for it.
        reason: why, in the words of who asked.
    """

    since: int
    until: int | None = None
    reason: str = ""


class Identity(Struct, frozen=True, omit_defaults=True):
    """What never changes about a run; kept by its head."""

    tenant: str
    run: str
    workflow: str
    version: int
    fingerprint: str
    created: int
    deadline: int
    expires: int
    """When the store may forget the run, in milliseconds."""
    business_key: str = ""


class State(Struct):
    """The fold of a run's log up to commit ``seq``.

    A ``State`` has one owner: ``evolve`` changes the one it is given. ``fork`` gives an independent one for the price
    of copying two small tables, which is what ``decide`` works on.

    Attributes:
        identity: what never changes.
        seq: number of the last commit folded.
        at: time of that commit.
        status: where the run stands.
        stages: every stage, timer and wait that has begun, in order of first appearance; of a machine, those of the
            state or transition that it is in.
        active: ids of the stages that are not finished, in order of first appearance.
        deadline: when the run is failed, whatever it does.
        asleep: until when nobody needs to look, if the last commit put the run to sleep.
        generation: how often the run was reopened.
        input: the run's input, as recorded.
        config: the run's configuration, as recorded.
        undo_on_cancel: what was done is undone if the run is cancelled.
        error: why the run failed, or is being compensated.
        reason: why it was cancelled.
        undo: what is still to be compensated, next one first.
        cancelling: the compensation under way ends in "cancelled", not in "failed".
        compensation: ``""``, ``complete`` or ``incomplete``; while compensating, whether all went well so far.
        milestones: numbers of the commits that hold run-level events, oldest first.
        events: external events that were received and that no wait has taken, by id, in order.
        redone: how often a stage was forgotten to be run anew, by stage; absent for never.
        paused: nothing starts; whatever its status, but never of a run that is over.
        place: where a machine is, once it has begun.
    """

    identity: Identity
    seq: int
    at: int
    status: RunStatus
    stages: dict[str, StageState]
    active: dict[str, None]
    deadline: int
    asleep: int | None = None
    generation: int = 0
    input: Value | None = None
    config: Value | None = None
    undo_on_cancel: bool = False
    error: ErrorRecord | None = None
    reason: str = ""
    undo: tuple[str, ...] = ()
    cancelling: bool = False
    compensation: str = ""
    milestones: tuple[int, ...] = ()
    redone: dict[str, int] = {}
    events: dict[str, Kept] = {}
    paused: Pause | None = None
    place: Place | None = None

    @property
    def begun(self) -> bool:
        """Its program has been started."""
        return bool(self.stages) or self.place is not None

    @classmethod
    def initial(cls, identity: Identity) -> State:
        """The state before commit 0."""
        return cls(
            identity=identity,
            seq=-1,
            at=identity.created,
            status=RunStatus.RUNNING,
            stages={},
            active={},
            deadline=identity.deadline,
        )

    def fork(self) -> State:
        """An independent copy; the frozen values in it are shared."""
        return replace(self, stages=self.stages.copy(), active=self.active.copy(), events=self.events.copy())
