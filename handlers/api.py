"""The HTTP API: routes over Powertools' resolver, which validates their parameters by their annotations."""

# Annotations of the routes are read at run time by Powertools, so they are no strings.
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi import params
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent, APIGatewayProxyEventV2
from aws_lambda_powertools.utilities.typing import LambdaContext
from msgspec import Struct

from handlers import answers
from handlers.operations import Operations
from handlers.problems import MEDIA_TYPE, Failure, headers_of, problem_of
from handlers.requests import (
    LAST,
    BusinessKey,
    CallbackBody,
    EventBody,
    EventId,
    Key,
    Moment,
    Names,
    PauseBody,
    ReasonBody,
    RerunBody,
    StartBody,
    Statuses,
    read_object,
    refusal,
    words,
)
from handlers.routes import ROUTES, methods_of, route, told
from handlers.tenants import Caller, caller_of
from infra.settings import Settings
from kernel.shell.callback import Answered
from kernel.shell.read import AnnotationPage, RunView
from kernel.shell.receive import EventView

KEY_HEADER = "Idempotency-Key"
LONGEST_WAIT = 25
"""Seconds that a request may wait: API Gateway cuts it off after 29."""

_WAIT = "Seconds to wait until it is finished; ignored with seq or at."

Answer: TypeAlias = Response[Any]
Run = Annotated[str, params.Path(description="Id of the run.")]
Workflow = Annotated[str, params.Path(description="Id of the workflow.")]
After = Annotated[int, params.Query(ge=-1, le=LAST, description="Only what comes after this commit.")]
Limit = Annotated[int, params.Query(ge=1, le=200, description="At most so many.")]
Prefix = Annotated[str, params.Query(max_length=64, description="Only what has a key that begins so.")]
Why = Annotated[ReasonBody | None, params.Body()]


class Request(Struct, frozen=True):
    """What a route needs to know of the request besides its parameters.

    Attributes:
        event: as it came, but for its body and path: those are made plain.
        method: of HTTP.
        base: path under which the service is reached, such as ``/prod``.
        path: the path below that.
        id: of the request, for the log.
        left: seconds that the invocation has left.
    """

    event: dict[str, Any]
    method: str
    base: str
    path: str
    id: str
    left: float


class Api:
    """A resolver with its routes. Powertools keeps the request at hand in it, so it serves one at a time."""

    def __init__(self, settings: Settings, operations: Operations, log: Logger, *, rest: bool) -> None:
        """Register the routes with the resolver for REST APIs, or with that for HTTP APIs."""
        self._settings = settings
        self._operations = operations
        self._log = log
        self._make = APIGatewayProxyEvent if rest else APIGatewayProxyEventV2
        resolver = APIGatewayRestResolver if rest else APIGatewayHttpResolver
        # Without debug=False the environment could make it answer with tracebacks.
        self._app = resolver(debug=False, enable_validation=True, json_body_deserializer=read_object)
        self._app.exception_handler(Exception)(self._failed)
        for each in ROUTES:
            register = self._app.route(each.rule, each.method, summary=each.summary, operation_id=each.name)
            register(getattr(self, each.name))
        self._request = Request({}, "", "", "", "", 0)

    def resolve(self, request: Request) -> dict[str, Any]:
        """Answer a request."""
        self._request = request
        # Powertools keeps the event in a class that all resolvers share, in all threads. Ours shadows it.
        self._app.current_event = self._make(request.event, read_object)
        return self._app.resolve(request.event, LambdaContext())

    # --- runs -------------------------------------------------------------------------------------------

    @route(
        "POST",
        "/workflows/<workflow>/runs",
        {201: answers.StartedRun, 200: answers.StartedRun},
        404,
        409,
        422,
        body=True,
    )
    def start_run(
        self,
        workflow: Workflow,
        body: Annotated[StartBody, params.Body()],
        idempotency_key: Annotated[
            Key | None,
            params.Header(
                alias=KEY_HEADER,
                description="The same key and input give the same run, however often they are sent.",
            ),
        ] = None,
    ) -> Answer:
        """Start a run; 200 if the same start had been asked for before."""
        started = self._operations.start(self._caller, workflow=workflow, key=idempotency_key, **dict(body))
        status = HTTPStatus.OK if started.replay else HTTPStatus.CREATED
        return _answer(started, status, Location=f"{self._request.base}/runs/{started.run}")

    @route("GET", "/runs", {200: answers.RunList}, 404, 422)
    def list_runs(
        self,
        workflow: Annotated[Names | None, params.Query(description="Only runs of these workflows.")] = None,
        status: Annotated[Statuses | None, params.Query(description="Only runs with one of these statuses.")] = None,
        since: Annotated[Moment | None, params.Query(description="Created then or later.")] = None,
        before: Annotated[Moment | None, params.Query(description="Created before then.")] = None,
        cursor: Annotated[str | None, params.Query(description="From the page before.")] = None,
        limit: Limit = 50,
    ) -> Answer:
        """List runs, newest first."""
        found = self._operations.list_runs(
            self._caller,
            workflow=workflow,
            status=status,
            since=since,
            before=before,
            cursor=cursor,
            limit=limit,
        )
        return _answer(found)

    @route("GET", "/runs/<run>", {200: answers.RunAnswer}, 404, 422)
    def show_run(
        self,
        run: Run,
        seq: Annotated[int | None, params.Query(ge=0, le=LAST, description="As of this commit.")] = None,
        at: Annotated[Moment | None, params.Query(description="As of this time.")] = None,
        wait: Annotated[int, params.Query(ge=0, le=LONGEST_WAIT, description=_WAIT)] = 0,
    ) -> Answer:
        """Show a run, with its result once it is completed."""
        left = min(float(wait), self._request.left)
        return _answer(self._operations.show(self._caller, run=run, seq=seq, at=at, wait=left))

    @route("GET", "/runs/<run>/log", {200: answers.LogPage}, 404, 422)
    def show_log(self, run: Run, after: After = -1, limit: Limit = 100) -> Answer:
        """Show a run's log."""
        return _answer(self._operations.log(self._caller, run=run, after=after, limit=limit))

    @route("GET", "/runs/<run>/steps", {200: answers.StepPage}, 404, 422)
    def show_steps(self, run: Run, after: After = -1, limit: Limit = 100) -> Answer:
        """Show how the log makes the state, commit by commit."""
        return _answer(self._operations.steps(self._caller, run=run, after=after, limit=limit))

    @route("GET", "/runs/<run>/annotations", {200: AnnotationPage}, 404, 422)
    def list_annotations(self, run: Run, prefix: Prefix = "", after: After = -1, limit: Limit = 100) -> Answer:
        """List what was said of a run, and by whom."""
        found = self._operations.annotations(self._caller, run=run, prefix=prefix, after=after, limit=limit)
        return _answer(found)

    @route("POST", "/runs/<run>/cancel", {202: RunView}, 404, 409, 422, body=True)
    def cancel_run(self, run: Run, body: Why = None) -> Answer:
        """Cancel an unfinished run."""
        reason = body.reason if body else ""
        return _answer(self._operations.cancel(self._caller, run=run, reason=reason), HTTPStatus.ACCEPTED)

    @route("POST", "/runs/<run>/pause", {202: RunView}, 404, 409, 422, body=True)
    def pause_run(self, run: Run, body: Annotated[PauseBody | None, params.Body()] = None) -> Answer:
        """Let nothing more of a run start, until a time or until it is resumed."""
        asked = body or PauseBody()
        shown = self._operations.pause(self._caller, run=run, reason=asked.reason, until=asked.until)
        return _answer(shown, HTTPStatus.ACCEPTED)

    @route("POST", "/runs/<run>/resume", {202: RunView}, 404, 409, 422, body=True)
    def resume_run(self, run: Run, body: Why = None) -> Answer:
        """Let a paused run go on."""
        reason = body.reason if body else ""
        return _answer(self._operations.resume(self._caller, run=run, reason=reason), HTTPStatus.ACCEPTED)

    @route("POST", "/runs/<run>/retry", {202: RunView}, 404, 409, 422, body=True)
    def retry_run(self, run: Run, body: Why = None) -> Answer:
        """Let a failed run go on where it failed."""
        reason = body.reason if body else ""
        return _answer(self._operations.retry(self._caller, run=run, reason=reason), HTTPStatus.ACCEPTED)

    @route("POST", "/runs/<run>/rerun", {202: RunView}, 404, 409, 422, body=True)
    def rerun_run(self, run: Run, body: Annotated[RerunBody, params.Body()]) -> Answer:
        """Let a finished run go on from a stage."""
        shown = self._operations.rerun(self._caller, run=run, stage=body.stage, reason=body.reason)
        return _answer(shown, HTTPStatus.ACCEPTED)

    @route("POST", "/runs/<run>/events", {202: EventView}, 403, 404, 409, 422, body=True)
    def send_event(self, run: Run, body: Annotated[EventBody, params.Body()]) -> Answer:
        """Send an event to a run; the same id again tells what has become of it."""
        sent = self._operations.send_event(self._caller, run=run, **dict(body))
        location = f"{self._request.base}/runs/{run}/events/{sent.id}"
        return _answer(sent, HTTPStatus.ACCEPTED, Location=location)

    @route("GET", "/runs/<run>/available-events", {200: answers.AvailableEvents}, 404)
    def list_available_events(self, run: Run) -> Answer:
        """List the events that a run can take as it stands, and of whom."""
        return _answer(self._operations.available_events(self._caller, run=run))

    @route("GET", "/runs/<run>/events/<event>", {200: EventView}, 404, 422)
    def show_event(self, run: Run, event: Annotated[EventId, params.Path()]) -> Answer:
        """Show what became of an event."""
        return _answer(self._operations.show_event(self._caller, run=run, id=event))

    @route("GET", "/workflows/<workflow>/keys/<key>", {200: answers.RunAnswer}, 404, 422)
    def show_holder(self, workflow: Workflow, key: Annotated[BusinessKey, params.Path()]) -> Answer:
        """Show the run that holds a business key."""
        return _answer(self._operations.show_holder(self._caller, workflow=workflow, business_key=key))

    @route("POST", "/workflows/<workflow>/keys/<key>/events", {202: EventView}, 403, 404, 409, 422, body=True)
    def send_event_to_holder(
        self,
        workflow: Workflow,
        key: Annotated[BusinessKey, params.Path()],
        body: Annotated[EventBody, params.Body()],
    ) -> Answer:
        """Send an event to the run that holds a business key."""
        sent = self._operations.send_event_to_holder(self._caller, workflow=workflow, business_key=key, **dict(body))
        return _answer(sent, HTTPStatus.ACCEPTED, Location=f"{self._request.base}/runs/{sent.run}/events/{sent.id}")

    @route("GET", "/runs/<run>/dead-letters", {200: answers.DeadLetterList}, 404)
    def list_dead_letters(self, run: Run) -> Answer:
        """List events of a run that could not be published."""
        return _answer(self._operations.dead_letters(self._caller, run=run))

    @route("POST", "/runs/<run>/dead-letters/replay", {200: answers.Replayed}, 400, 404, 413, 415)
    def replay_dead_letters(self, run: Run) -> Answer:
        """Publish a run's dead letters once more."""
        return _answer(self._operations.replay_dead_letters(self._caller, run=run))

    @route("GET", "/runs/<run>/diagram", {200: answers.Diagram}, 404, 409, 422)
    def draw_run(
        self,
        run: Run,
        seq: Annotated[int | None, params.Query(ge=0, le=LAST, description="As of this commit.")] = None,
        at: Annotated[Moment | None, params.Query(description="As of this time.")] = None,
    ) -> Answer:
        """Draw a run: its workflow, and how far it has come."""
        return _answer(self._operations.run_diagram(self._caller, run=run, seq=seq, at=at))

    # --- third parties ----------------------------------------------------------------------------------

    @route("POST", "/callbacks/<token>", {200: Answered}, 404, 409, 410, 422, body=True, public=True)
    def answer_callback(
        self,
        token: Annotated[str, params.Path(description="What a stage gave out, as it is.")],
        body: Annotated[CallbackBody, params.Body()],
    ) -> Answer:
        """Answer a stage: give its output, or an error, or say that you are still at work."""
        return _answer(self._operations.callback(token=token, **dict(body)))

    # --- the deployment ---------------------------------------------------------------------------------

    @route("GET", "/workflows", {200: answers.WorkflowList})
    def list_workflows(self) -> Answer:
        """List the workflows of this deployment."""
        return _answer(self._operations.workflows(self._caller))

    @route("GET", "/workflows/<workflow>/diagram", {200: answers.Diagram}, 404, 422)
    def draw_workflow(
        self,
        workflow: Workflow,
        version: Annotated[int | None, params.Query(ge=1, le=LAST, description="The latest, if not given.")] = None,
    ) -> Answer:
        """Draw a workflow."""
        return _answer(self._operations.diagram(self._caller, workflow=workflow, version=version))

    @route("GET", "/health", {200: answers.Health}, public=True)
    def check_health(self) -> Answer:
        """Check that the table answers."""
        return _answer(self._operations.health())

    @route("GET", "/openapi.json", {200: None}, public=True)
    def show_document(self) -> Answer:
        """Describe this API."""
        from handlers.openapi import document  # noqa: PLC0415 - few ask for it, and all would pay at start

        return _answer(document(self._app, self._request.base))

    # --- callers and failures ---------------------------------------------------------------------------

    @property
    def _caller(self) -> Caller:
        settings = self._settings
        return caller_of(
            self._request.event, settings.tenant_claim, settings.default_tenant, roles=settings.roles_claim
        )

    def _failed(self, error: Exception) -> Answer:
        request = self._request
        if isinstance(error, NotFoundError):
            error = _no_route(request.method, request.path)
        elif isinstance(error, RequestValidationError):
            error = _invalid(error)
        return Response(**failed(error, request.path, request.id, self._log))


def failed(error: Exception, path: str, request: str, log: Logger) -> dict[str, Any]:
    """The answer to a request that failed, as ``Response`` takes it. What no caller can help is logged."""
    path = told(path)
    problem = problem_of(error, path, request)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", exc_info=error, extra={"path": path})
    elif problem.status > HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request failed", extra={"path": path, "error": str(error)})
    return {
        "status_code": problem.status,
        "content_type": MEDIA_TYPE,
        "body": msgspec.json.encode(problem).decode(),
        "headers": {"Cache-Control": "no-store", **headers_of(error)},
    }


def _no_route(method: str, path: str) -> Failure:
    methods = methods_of(path)
    if methods and method not in methods:
        allowed = ", ".join(methods)
        return Failure(405, f"This path takes {allowed} only.", headers={"Allow": allowed})
    return Failure(404, "There is no such path; GET /openapi.json lists those there are.")


def _invalid(error: RequestValidationError) -> Failure:
    return refusal(tuple((_place(each["loc"]), words(each["msg"])) for each in error.errors()))


def _place(location: tuple[str | int, ...]) -> str:
    # It begins with where the parameter stands: in the path, the query, a header or the body.
    kind, *rest = location
    if kind == "header":  # there is one, and Powertools writes it in small letters
        return KEY_HEADER
    return ".".join(map(str, rest)) or "body"


def _answer(body: Struct | Mapping[str, Any], status: int = HTTPStatus.OK, **headers: str) -> Answer:
    text = msgspec.json.encode(body).decode()
    return Response(int(status), "application/json", text, {"Cache-Control": "no-store", **headers})
