"""A client of the API, for the command line and the demo."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from kernel.errors import OnewriteError

DEFAULT_URL = "http://127.0.0.1:8321"
FINISHED = frozenset({"completed", "failed", "cancelled"})
TIMEOUT = 40.0
"""Seconds to wait for an answer; an API answers within 30."""
LONGEST_WAIT = 20
"""Seconds that the API is asked to wait for a run at a time."""

Json = dict[str, Any]


class Unreachable(OnewriteError):
    """Nothing answers at the address."""


class ApiError(OnewriteError):
    """The API refused, or failed.

    Attributes:
        status: the HTTP status.
        problem: the problem details (RFC 9457), or what there is of them.
    """

    def __init__(self, status: int, problem: Json) -> None:
        self.status = status
        self.problem = problem
        places = [f"  {each.get('where')}: {each.get('what')}" for each in problem.get("problems", ())]
        names = ("title", "detail", "message") if places else ("detail", "title", "message")
        said = next((str(problem[name]) for name in names if problem.get(name)), f"status {status}, no reason given")
        super().__init__("\n".join((f"{said}:", *places) if places else (said,)))


class Api:
    """The API at an address.

    Args:
        url: where it is.
        tenant: whom to be; the deployment's default tenant if absent. Only a local host believes it.
        roles: what to act as; likewise.
        token: what a deployment's authoriser wants to see; the tenant and the roles are then its claims.
    """

    def __init__(
        self, url: str = DEFAULT_URL, tenant: str | None = None, roles: Sequence[str] = (), *, token: str | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._tenant = tenant
        self._headers = {"Accept": "application/json"}
        who = [] if tenant is None else [f"tenant:{tenant}"]
        if roles:
            who.append(f"roles:{','.join(roles)}")
        if token or who:
            self._headers["Authorization"] = f"Bearer {token or ' '.join(who)}"

    def acting_as(self, roles: Sequence[str]) -> Api:
        """The same, for somebody who has these roles."""
        return Api(self.url, self._tenant, roles)

    def start(
        self,
        workflow: str,
        value: object,
        *,
        key: str | None = None,
        preset: str | None = None,
        config: Mapping[str, object] | None = None,
        business_key: str | None = None,
        priority: str | None = None,
        annotations: Mapping[str, object] | None = None,
    ) -> Json:
        """Start a run; gives its id as ``run``, and ``replay`` if it existed already.

        Raises:
            ApiError: the input or a key does not fit, there is no such workflow, or a run is under way with the
                business key.
        """
        body: Json = {"input": value}
        if preset is not None:
            body["preset"] = preset
        if config is not None:
            body["config"] = dict(config)
        if business_key is not None:
            body["business_key"] = business_key
        if priority is not None:
            body["priority"] = priority
        if annotations:
            body["annotations"] = dict(annotations)
        headers = {} if key is None else {"Idempotency-Key": key}
        return self._call("POST", f"/workflows/{quote(workflow, safe='')}/runs", body, headers)

    def run(self, run: str, *, wait: int = 0) -> Json:
        """A run as it is, or as it is when it is finished or ``wait`` seconds have passed."""
        return self._call("GET", f"/runs/{quote(run, safe='')}" + (f"?wait={wait}" if wait else ""))

    def wait(self, run: str) -> Json:
        """A run once it is finished, however long that takes."""
        while (found := self.run(run, wait=LONGEST_WAIT))["status"] not in FINISHED:
            pass
        return found

    def log(self, run: str) -> Iterator[Json]:
        """The commits of a run, in order, page by page."""
        after: int | None = -1
        while after is not None:
            page = self._call(
                "GET",
                f"/runs/{quote(run, safe='')}/log?after={after}" if after >= 0 else f"/runs/{quote(run, safe='')}/log",
            )
            yield from page["entries"]
            after = page["after"]

    def annotations(self, run: str, prefix: str = "") -> Iterator[Json]:
        """What was said of a run under keys that begin with ``prefix``, in order, page by page."""
        after: int | None = -1
        while after is not None:
            query = urlencode({"prefix": prefix, "after": after})
            page = self._call("GET", f"/runs/{quote(run, safe='')}/annotations?{query}")
            yield from page["annotations"]
            after = page["after"]

    def runs(self, **query: str | int) -> Json:
        """A page of runs, newest first, as ``runs``; ``cursor`` leads to the next one."""
        return self._call("GET", "/runs" + (f"?{urlencode(query)}" if query else ""))

    def diagram(self, what: str, *, of_run: bool, version: int | None = None) -> Json:
        """A workflow, or a run with its progress, as a Mermaid diagram: ``mermaid``."""
        query = "" if version is None else f"?version={version}"
        return self._call("GET", f"/{'runs' if of_run else 'workflows'}/{quote(what, safe='')}/diagram{query}")

    def send(self, run: str, name: str, payload: object, *, id_: str | None = None) -> Json:
        """Send an event to a run; gives its ``id``, and what became of it so far as ``status``."""
        body: Json = {"name": name, "payload": payload} | ({} if id_ is None else {"id": id_})
        return self.act(run, "events", body)

    def available(self, run: str) -> Json:
        """The events that a run can take as it stands, as ``events``."""
        return self._call("GET", f"/runs/{quote(run, safe='')}/available-events")

    def event(self, run: str, id_: str) -> Json:
        """What became of an event."""
        return self._call("GET", f"/runs/{quote(run, safe='')}/events/{quote(id_, safe='')}")

    def act(self, run: str, verb: str, body: Json | None = None) -> Json:
        """Cancel, pause, resume, retry or rerun a run; gives the run as it is then."""
        return self._call("POST", f"/runs/{quote(run, safe='')}/{verb}", body or {})

    def callback(self, token: str, said: Json) -> Json:
        """Answer the stage that gave out a token: with its ``output``, an ``error``, or a ``heartbeat``."""
        return self._call("POST", f"/callbacks/{quote(token, safe='')}", said)

    def _call(self, method: str, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None) -> Json:
        data = None if body is None else json.dumps(body).encode()
        sent = {**self._headers, **(headers or {})}
        if data is not None:
            sent["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data, sent, method=method)  # noqa: S310 - the user's own
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310 - as above
                answer: Json = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, _problem(error.read())) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(
                f"nothing answers at {self.url} ({reason}): start a host with `make serve`, or give its --url"
            ) from None


def _problem(body: bytes) -> Json:
    try:
        problem = json.loads(body)
    except ValueError:
        return {"detail": body[:200].decode(errors="replace")}
    return problem if isinstance(problem, dict) else {"detail": str(problem)}
