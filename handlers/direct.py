"""Callers without HTTP: EventBridge events that start runs, and direct invocation with any operation."""

# Annotations here are read at run time by pydantic, so they are no strings.
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from pydantic import Field, ValidationError

from handlers.operations import Operations
from handlers.problems import Failure, plain, problem_of
from handlers.requests import (
    LAST,
    WHOLE,
    Body,
    BusinessKey,
    CallbackBody,
    EventBody,
    EventId,
    Key,
    Moment,
    Name,
    Names,
    PauseBody,
    ReasonBody,
    RerunBody,
    StartBody,
    Statuses,
    problems_of,
    refusal,
)
from handlers.tenants import Caller, caller_who_invokes, caller_without_claims, signature
from infra.settings import Settings
from kernel.errors import InfrastructureError, NotFound, Refused
from kernel.limits import MAX_ROLES

START = "onewrite.start"
"""The detail type of events that start a run."""

Limit = Annotated[int, Field(ge=1, le=200), WHOLE]


class Start(StartBody):
    """Start a run."""

    workflow: Name
    key: Key | None = None


class OfRun(Body):
    """An operation on a run."""

    run: Name


class OfWorkflow(Body):
    """An operation on a workflow."""

    workflow: Name
    version: Annotated[int, Field(ge=1, le=LAST), WHOLE] | None = None


class AsOf(OfRun):
    """An operation on a run as it was."""

    seq: Annotated[int, Field(ge=0, le=LAST), WHOLE] | None = None
    at: Moment | None = None


class Show(AsOf):
    """Show a run."""

    wait: Annotated[float, Field(ge=0)] = 0


class Page(OfRun):
    """Show a page of a run's log."""

    after: Annotated[int, Field(ge=-1, le=LAST), WHOLE] = -1
    limit: Limit = 100


class Annotations(Page):
    """Show a page of a run's annotations."""

    prefix: Annotated[str, Field(max_length=64)] = ""


class Listing(Body):
    """List runs."""

    workflow: Names | None = None
    status: Statuses | None = None
    since: Moment | None = None
    before: Moment | None = None
    cursor: str | None = None
    limit: Limit = 50


class Change(OfRun, ReasonBody):
    """Change a run, with a reason."""


class Send(OfRun, EventBody):
    """Send an event to a run. Whoever may invoke the function vouches for the roles."""

    roles: list[str] = Field(default=[], max_length=MAX_ROLES)


class OfEvent(OfRun):
    """An operation on an event that was sent to a run."""

    id: EventId


class OfKey(Body):
    """An operation on the run that holds a business key."""

    workflow: Name
    business_key: BusinessKey


class SendToHolder(OfKey, EventBody):
    """Send an event to the run that holds a business key. Whoever may invoke the function vouches for the roles."""

    roles: list[str] = Field(default=[], max_length=MAX_ROLES)


class Pause(OfRun, PauseBody):
    """Pause a run."""


class Rerun(OfRun, RerunBody):
    """Rerun a run from a stage."""


class Callback(CallbackBody):
    """Answer a stage."""

    token: str


COMMANDS: dict[str, tuple[type[Body], Callable[..., object]]] = {
    "start": (Start, Operations.start),
    "show": (Show, Operations.show),
    "list": (Listing, Operations.list_runs),
    "log": (Page, Operations.log),
    "steps": (Page, Operations.steps),
    "annotations": (Annotations, Operations.annotations),
    "cancel": (Change, Operations.cancel),
    "pause": (Pause, Operations.pause),
    "resume": (Change, Operations.resume),
    "retry": (Change, Operations.retry),
    "rerun": (Rerun, Operations.rerun),
    "send_event": (Send, Operations.send_event),
    "available_events": (OfRun, Operations.available_events),
    "show_event": (OfEvent, Operations.show_event),
    "show_holder": (OfKey, Operations.show_holder),
    "send_event_to_holder": (SendToHolder, Operations.send_event_to_holder),
    "callback": (Callback, Operations.callback),
    "dead_letters": (OfRun, Operations.dead_letters),
    "replay_dead_letters": (OfRun, Operations.replay_dead_letters),
    "diagram": (OfWorkflow, Operations.diagram),
    "run_diagram": (AsOf, Operations.run_diagram),
    "workflows": (Body, Operations.workflows),
    "health": (Body, Operations.health),
}
"""By name: what an operation is given, and the operation, whose arguments have the names of those fields."""


class Direct:
    """Answers direct invocations, for whom they say, and EventBridge events, for the deployment's default tenant."""

    def __init__(self, settings: Settings, operations: Operations, log: Logger) -> None:
        """Remember what there is to call."""
        self._settings = settings
        self._operations = operations
        self._log = log

    def invoke(self, event: object, left: float) -> dict[str, Any]:
        """Do what a direct invocation asks: ``{"start": {...}}``, ``{"show": "<run>"}`` and so on.

        Args:
            event: an object with one field, the name of an operation; and the ``tenant``, unless it is the default one.
            left: seconds that the invocation has left.

        Returns:
            The answer, or ``{"error": problem}``.

        Raises:
            InfrastructureError: the store failed. Lambda repeats an asynchronous invocation then; nothing is lost.
        """
        name = ""
        try:
            name, given, caller = self._command(event)
            model, operation = COMMANDS[name]
            fields = dict(model.model_validate(given))
            if "wait" in fields:
                fields["wait"] = min(fields["wait"], left)
            answer: dict[str, Any] = plain(operation(self._operations, caller, **fields))
        except InfrastructureError:
            raise
        except Exception as error:  # noqa: BLE001 - a caller gets an answer, whatever happens
            problem = problem_of(_told(error), name)
            if problem.status >= 500:  # noqa: PLR2004 - the caller is not to blame
                self._log.error("invocation failed", exc_info=error, extra={"command": name})
            return {"error": plain(problem)}
        return answer

    def _command(self, event: object) -> tuple[str, object, Caller]:
        """The operation's name, what it is given, and for whom."""
        known = ", ".join(COMMANDS)
        asked = {name: given for name, given in event.items() if name != "tenant"} if isinstance(event, Mapping) else {}
        if not isinstance(event, Mapping) or len(asked) != 1:
            raise Failure(400, f"Give an object with one field, the name of an operation: {known}; and the tenant.")
        ((name, given),) = asked.items()
        if name not in COMMANDS:
            raise Failure(404, f"There is no operation {str(name)[:40]!r}; there are: {known}.")
        caller = caller_who_invokes(event, self._settings.default_tenant)
        return name, {"run": given} if isinstance(given, str) else given, caller

    def take(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Start the run that an EventBridge event asks for.

        Returns:
            The run; or ``{"refused": reason}`` for an event that no repetition would make right.

        Raises:
            OnewriteError: it could not be stored, the deployment has no such workflow, or no default tenant. Lambda
                tries it again, and leaves it to the dead-letter queue in the end.
        """
        by = signature("event", str(event.get("source", "")))
        caller = caller_without_claims(by, self._settings.default_tenant)
        try:
            fields = _asked(event)
            answer: dict[str, Any] = plain(self._operations.start(caller, **fields))
        except NotFound:
            raise  # there is no such workflow so far: another version of the code may be on its way
        except (Refused, Failure, ValidationError) as error:
            reason = problem_of(_told(error), "").detail
            extra = {"event_id": str(event.get("id")), "reason": reason}
            self._log.error("event refused for good", extra=extra)
            return {"refused": reason}
        return answer


def _asked(event: Mapping[str, Any]) -> dict[str, Any]:
    """What an event asks for. Its own id is the key, so that one that is delivered twice starts one run."""
    kind = str(event.get("detail-type"))[:80]
    if kind != START:
        raise Failure(422, f"Events of type {kind!r} are not for this function, only {START!r}.")
    fields = dict(Start.model_validate(event.get("detail")))
    fields["key"] = fields["key"] or event.get("id")
    if not isinstance(fields["key"], str):
        raise Failure(422, "The event has no id, and its detail no key.")
    return fields


def _told(error: Exception) -> Exception:
    """The same error, in words for callers."""
    return refusal(problems_of(error)) if isinstance(error, ValidationError) else error
