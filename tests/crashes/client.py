"""A client of the intake that means what it asks: it asks again until it is answered, and holds us to the answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from kernel.errors import InfrastructureError
from kernel.ports import RunRef
from kernel.testing.faults import Crash
from tests.crashes.deployment import TENANT, Deployment
from tests.crashes.fate import watching
from tests.handlers.aws import Client as Http
from tests.handlers.aws import Context, Json, Query, Reply, bus_event, http_event

T = TypeVar("T")

TRIES = 8
PAUSE = 5
"""Seconds between two tries, as the answer's Retry-After says."""


class Client:
    """Asks for things, and remembers what it was promised.

    Attributes:
        promised: the status in which a run must end, by run, after what was accepted.
        reopened: runs that were to go on.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._http = Http(self._sent, http_event)
        self.begin()

    def begin(self) -> None:
        """Begin a history."""
        self._runs: dict[str, str] = {}
        self.promised: dict[str, str] = {}
        self.reopened: set[str] = set()

    # --- asking until there is an answer ------------------------------------------------------------------------------

    def _sent(self, event: Any, context: Any) -> Json:
        return self._deployment.intake(event, context)

    def _answered(self, once: Callable[[], T | None]) -> tuple[T, bool]:
        """The answer, and whether it was doubtful before what had become of it."""
        with watching():
            for number in range(TRIES):
                answer = once()
                if answer is not None:
                    return answer, number > 0
                self._deployment.go(PAUSE)
            raise AssertionError(f"no answer after {TRIES} tries")

    def http(self, method: str, path: str, body: object = None, query: Query = (), key: str = "") -> tuple[Reply, bool]:
        """Send a request to API Gateway until it is answered by other than that the service is unavailable."""
        headers = {"Idempotency-Key": key} if key else {}

        def once() -> Reply | None:
            try:
                reply = self._http.request(method, path, body=body, query=query, headers=headers)
            except Crash:
                return None
            assert reply.status < 500 or reply.status == 503, f"server error: {reply.text}"
            return None if reply.status == 503 else reply

        return self._answered(once)

    def invoke(self, event: Json) -> tuple[Json, bool]:
        """Invoke the intake, directly or as EventBridge does, until it does not fail."""

        def once() -> Json | None:
            try:
                return self._sent(event, Context(30))
            except (Crash, InfrastructureError):
                return None

        return self._answered(once)

    # --- what is asked for --------------------------------------------------------------------------------------------

    def start(self, workflow: str, text: str = "", key: str = "k-1", business_key: str | None = None) -> str:
        """Start a run over HTTP."""
        path = f"/workflows/{workflow}/runs"
        reply, _ = self.http("POST", path, {"input": {"text": text}, "business_key": business_key}, key=key)
        with watching():
            assert reply.status in (200, 201), reply.text
            assert reply.status == 200 or key not in self._runs, f"accepted-is-kept: {key} started another run"
            return self._known(key, reply.json)

    def refused_start(self, workflow: str, business_key: str) -> str:
        """Start a run with a key that another one holds, which is under way; gives the one that the answer names."""
        path, body = f"/workflows/{workflow}/runs", {"input": {"text": ""}, "business_key": business_key}
        reply, _ = self.http("POST", path, body, key="refused")
        with watching():
            assert reply.status == 409, f"one-run-per-key: {reply.text}"
            return str(reply.json["run"])

    def refused_rerun(self, run: str, stage: str) -> str:
        """Run a finished run again whose key another one holds; gives the one that the answer names."""
        reply, _ = self.http("POST", f"/runs/{run}/rerun", {"stage": stage})
        with watching():
            assert reply.status == 409, f"one-run-per-key: {reply.text}"
            return str(reply.json["run"])

    def holder(self, workflow: str, business_key: str) -> str:
        """The run that holds a key; empty if nobody does."""
        reply, _ = self.http("GET", f"/workflows/{workflow}/keys/{business_key}")
        with watching():
            assert reply.status in (200, 404), reply.text
        return str(reply.json["run"]) if reply.status == 200 else ""

    def send_to_holder(self, workflow: str, business_key: str, id_: str, text: str = "") -> str:
        """Send an event to the run that holds a key; gives which one that is."""
        body = {"name": "Note", "payload": {"text": text}, "id": id_}
        reply, _ = self.http("POST", f"/workflows/{workflow}/keys/{business_key}/events", body)
        with watching():
            assert reply.status == 202, reply.text
            return str(reply.json["run"])

    def start_directly(self, workflow: str, key: str = "k-1") -> str:
        """Start a run by direct invocation."""
        answer, _ = self.invoke({"start": {"workflow": workflow, "input": {"text": ""}, "key": key}})
        return self._known(key, answer)

    def start_by_event(self, workflow: str, id_: str = "e-1") -> str:
        """Start a run by an event of EventBridge."""
        answer, _ = self.invoke(bus_event({"workflow": workflow, "input": {"text": ""}}, id=id_))
        return self._known(id_, answer)

    def _known(self, key: str, answer: Any) -> str:
        with watching():
            assert "run" in answer, answer
            run: str = answer["run"]
            assert self._runs.setdefault(key, run) == run, f"accepted-is-kept: {key} gave two runs"
        self._deployment.refs.add(RunRef(TENANT, run))
        return run

    def get(self, path: str, **query: str | int) -> Any:
        """Read something."""
        reply, _ = self.http("GET", path, query=[(name, str(value)) for name, value in query.items()])
        with watching():
            assert reply.status == 200, reply.text
        return reply.json

    def cancel(self, run: str) -> None:
        """Cancel a run."""
        reply, again = self.http("POST", f"/runs/{run}/cancel", {"reason": "enough"})
        with watching():
            # Asked again, it may be cancelled already.
            assert reply.status == 202 or (again and reply.status == 409), reply.text
        self.promised[run] = "cancelled"

    def send(self, run: str, id_: str, text: str = "") -> None:
        """Send an event to a run."""
        reply, _ = self.http("POST", f"/runs/{run}/events", {"name": "Note", "payload": {"text": text}, "id": id_})
        with watching():
            assert reply.status == 202, reply.text
            assert reply.json["id"] == id_

    def event(self, run: str, id_: str) -> str:
        """What became of an event that was accepted."""
        return str(self.get(f"/runs/{run}/events/{id_}")["status"])

    def pause(self, run: str, until: int | None = None) -> None:
        """Pause a run, until a time if one is given."""
        self._changed(run, "pause", {"reason": "hold on"} | ({} if until is None else {"until": until}))

    def resume(self, run: str) -> None:
        """Let a paused run go on."""
        self._changed(run, "resume", {"reason": "go on"})

    def _changed(self, run: str, verb: str, body: Json) -> None:
        reply, again = self.http("POST", f"/runs/{run}/{verb}", body)
        with watching():
            # Asked again, it may be so already.
            assert reply.status == 202 or (again and reply.status == 409), reply.text

    def retry(self, run: str) -> None:
        """Retry a failed run."""
        self._reopen(run, f"/runs/{run}/retry", None)

    def rerun(self, run: str, stage: str) -> None:
        """Run a finished run again from a stage."""
        self._reopen(run, f"/runs/{run}/rerun", {"stage": stage})

    def _reopen(self, run: str, path: str, body: object) -> None:
        reply, again = self.http("POST", path, body)
        with watching():
            # Asked again, it may be running already.
            assert reply.status == 202 or (again and reply.status == 409), reply.text
        self.reopened.add(run)

    def callback(self, token: str, **said: object) -> Any:
        """Answer a stage, as a third party who has its token; whoever is not sure of the answer says the same again."""
        reply, _ = self.http("POST", f"/callbacks/{token}", said)
        with watching():
            assert reply.status == 200, reply.text
        return reply.json

    def refused_callback(self, token: str, **said: object) -> int:
        """Answer a stage that is not to be answered so; the status of the refusal."""
        reply, _ = self.http("POST", f"/callbacks/{token}", said)
        with watching():
            assert reply.status in (409, 410), reply.text
        return reply.status

    def replay_dead_letters(self, run: str) -> None:
        """Publish what could not be published."""
        reply, _ = self.http("POST", f"/runs/{run}/dead-letters/replay")
        with watching():
            assert (reply.status, reply.json["clean"]) == (200, True), reply.text

    def ask_once(self, event: Json) -> None:
        """Invoke the intake directly, and give up if there is no answer."""
        with suppress(Crash, InfrastructureError):
            self._sent(event, Context(30))
