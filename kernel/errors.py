"""The errors that the kernel raises, in one tree.

::

    OnewriteError
    ├── DefinitionError            a workflow is written wrong; found when it is defined
    ├── SettingsError              the deployment is set up wrong; found at cold start
    ├── Refused                    the caller asked for something that cannot be; nothing was stored
    │   ├── InvalidInput           the request does not fit its model or its limits
    │   ├── NotFound               no such run, workflow or stage (or it is another tenant's)
    │   ├── Forbidden              it exists, but who asks has none of the roles that it takes
    │   ├── Conflict               it exists, but its present state does not allow this
    │   │   └── KeyHeld            another run that is under way has the same business key
    │   ├── Gone                   it was there, and never will be again: too late, or something else took its place
    │   └── NotDeployed            this deployment does not have the workflow that it takes; one that has it can
    ├── InfrastructureError        a store, queue or object store failed; the work goes back and is tried again
    │   ├── Unavailable            no answer, throttled, or the outcome is unknown
    │   └── Missing                the table, queue or bucket does not exist, or access to it is denied
    ├── LogError                   a run's log cannot be read
    │   ├── NewerFormat            written by a newer version of Onewrite
    │   └── CorruptLog             a gap or a record that does not fit its format
    └── StageError                 what a stage may raise, or fails with
        ├── StageTimedOut          its body ran longer than its timeout
        ├── PermanentError         raised by user code: do not retry
        ├── InvalidOutput          it returned what its annotation does not allow
        ├── InvalidStageInput      what precedes it no longer fits its parameters
        ├── WaitLimitReached       a suspended stage was not ready, or not answered, within its limit
        ├── HeartbeatMissed        whoever was to answer a stage gave no sign of life in time
        ├── LeaseLost              its worker died or was cut off before it could commit
        └── NotUpstream            it asked for the output of a stage that does not precede it
"""

from __future__ import annotations


class ProcessEnds(BaseException):
    """The process is to die here: with ``KeyboardInterrupt`` all that passes through the handling of stages' errors."""


class OnewriteError(Exception):
    """Base of all errors raised by Onewrite."""


class DefinitionError(OnewriteError):
    """A workflow is written wrong. The message says what to change."""


class SettingsError(OnewriteError):
    """The deployment's settings are wrong. The message lists everything that is."""


class Refused(OnewriteError):
    """A request that cannot be fulfilled. Nothing was stored."""


class InvalidInput(Refused):
    """A request does not fit its model or its limits.

    Args:
        message: what is wrong, in one sentence.
        problems: ``(where, what)`` pairs; *where* is a dotted path such as ``input.lines.0.sku``.
    """

    def __init__(self, message: str, problems: tuple[tuple[str, str], ...] = ()) -> None:
        """Keep the list of problems beside the message."""
        self.problems = problems
        detail = "; ".join(f"{where}: {what}" for where, what in problems[:10])
        super().__init__(f"{message} ({detail})" if detail else message)


class NotFound(Refused):
    """No such run, workflow or stage, or it belongs to another tenant."""


class Forbidden(Refused):
    """Whoever asks has none of the roles that it takes."""


class Conflict(Refused):
    """The thing exists, but its present state does not allow what was asked."""


class KeyHeld(Conflict):
    """Another run that is under way holds the business key.

    Args:
        workflow, key: which key of which workflow.
        run: who holds it.
    """

    def __init__(self, workflow: str, key: str, run: str) -> None:
        """Keep who holds it beside the message."""
        self.run = run
        super().__init__(f"run {run} of {workflow} is under way with business key {key!r}: wait for it, or cancel it")


class Gone(Refused):
    """It was there, and never will be again: its time is over, or something else has taken its place."""


class NotDeployed(Refused):
    """This deployment does not have the workflow that it takes. Repeat the request: one that has it can answer it."""


class InfrastructureError(OnewriteError):
    """A store, queue, object store or event sink failed. Nothing is lost: the work is tried again."""


class Unavailable(InfrastructureError):
    """Throttled, unreachable, or the outcome of the call is unknown. The same call may be retried."""


class Missing(InfrastructureError):
    """The table, queue, bucket or bus does not exist, or access to it is denied. Retrying does not help."""


class LogError(OnewriteError):
    """A run's log cannot be read."""


class NewerFormat(LogError):
    """The record was written by a newer version of Onewrite. Deploy that version, or wait for the roll-back."""


class CorruptLog(LogError):
    """A gap in the log, or a record that does not fit its format."""


class StageError(OnewriteError):
    """Base of what a stage fails with when the engine says so, and of what it may raise to be failed for good."""


class StageTimedOut(StageError):
    """The body ran longer than the stage's timeout and was interrupted."""


class PermanentError(StageError):
    """Raise it (or a subclass) in a stage to fail it for good, whatever its retry policy says."""


class InvalidOutput(StageError):
    """A stage returned a value that its return annotation does not allow."""


class InvalidStageInput(StageError):
    """The recorded outputs that precede a stage do not fit its parameters."""


class WaitLimitReached(StageError):
    """A suspended stage was not ready, or not answered, within its limit, or its check failed too often."""


class HeartbeatMissed(StageError):
    """Whoever was to answer a stage gave no sign of life for longer than the stage's ``callback_heartbeat``."""


class LeaseLost(StageError):
    """The worker died, froze or was cut off: the lease of the attempt ran out before it committed."""


class NotUpstream(StageError):
    """``ctx.output(stage)`` was asked for a stage that does not precede this one, or that has no output."""
