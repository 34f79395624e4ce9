"""What Schemathesis is told of the service beside its document. Loaded by name, in Schemathesis' own process.

The document says of a run's input that ``GET /workflows`` has its JSON Schema. So the storm puts it there: every
workflow gets a start of its own, in which what is valid by the schema must be accepted, and what is not must be
refused. It also says how callers are told apart here.
"""

from __future__ import annotations

import copy
import json
import os
import urllib.request
from pathlib import Path
from typing import Any, Final

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

Json = dict[str, Any]
Case = schemathesis.Case[Any]

START = "/workflows/{workflow}/runs"
URL: Final = "STORM_URL"
"""Environment variable: where the service is."""
TENANTS: Final = ("acme", "umbrella")
"""Who calls; neither must see anything of the other's."""
LOG: Final = "STORM_LOG"
"""Environment variable: the file that a line is added to for every answer: method, path, status, tenant, run."""

# --- the document -----------------------------------------------------------------------------------------------------


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: Json) -> None:
    """Put into the document what it leaves to ``GET /workflows`` and to the authoriser."""
    _add_security(raw_schema)
    for workflow in _workflows():
        _add_start(raw_schema, workflow, workflow["versions"][-1])


def _workflows() -> list[Json]:
    request = urllib.request.Request(os.environ[URL] + "/workflows", headers={"Authorization": bearer(TENANTS[0])})  # noqa: S310 - the server under test
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - as above
        found: list[Json] = json.load(answer)["workflows"]
    return found


def bearer(tenant: str) -> str:
    """The header by which the local host knows a tenant."""
    return f"Bearer tenant:{tenant}"


def _add_security(document: Json) -> None:
    document["components"]["securitySchemes"] = {"tenant": {"type": "http", "scheme": "bearer"}}
    for item in document["paths"].values():
        for operation in item.values():
            if "401" in operation["responses"]:
                operation["security"] = [{"tenant": []}]


def _add_start(document: Json, workflow: Json, version: Json) -> None:
    schemas, name = document["components"]["schemas"], f"{workflow['id']}-input"
    text = json.dumps(version["input"]).replace("#/$defs/", f"#/components/schemas/{name}-")
    input_ = schemas[name] = json.loads(text)
    schemas.update({f"{name}-{key}": schema for key, schema in input_.pop("$defs", {}).items()})
    body = schemas[f"{workflow['id']}-start"] = copy.deepcopy(schemas["StartBody"])
    fields = body["properties"]
    fields["input"] = {"$ref": f"#/components/schemas/{name}"}
    fields["version"] = {"enum": [version["version"], None]}
    fields["preset"] = {"enum": [*version["presets"], None]}
    # What a stage may be configured with is known to the workflow's author only.
    fields["config"] = {"anyOf": [{"type": "object", "maxProperties": 0}, {"type": "null"}]}
    start = copy.deepcopy(document["paths"][START]["post"])
    start["operationId"] = f"start_{workflow['id']}"
    start["parameters"] = [each for each in start["parameters"] if each["in"] != "path"]
    (content,) = start["requestBody"]["content"].values()
    content["schema"] = {"$ref": f"#/components/schemas/{workflow['id']}-start"}
    document["paths"][START.replace("{workflow}", workflow["id"])] = {"post": start}


# --- what it cannot say -----------------------------------------------------------------------------------------------


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Exception, case: Case, response: schemathesis.Response
) -> bool:
    """Leave out refusals of data that fits the document, where no schema could say that it does not fit."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 422:
        return True
    problems = response.json().get("problems", [])
    return not problems or not all(_beyond_schemas(case, each["where"], each["what"]) for each in problems)


def _beyond_schemas(case: Case, where: str, what: str) -> bool:
    return (
        # Only a cursor that was given is one.
        where == "cursor"
        # Only the run itself knows how many commits it has.
        or (where == "seq" and case.path in ("/runs/{run}", "/runs/{run}/diagram"))
        # Only the run itself knows its deadline, and only a clock what is still to come.
        or (where == "until" and case.path == "/runs/{run}/pause")
        # Names are separated by commas, and what stands between two of them may be no name.
        or (where.startswith("workflow.") and case.path == "/runs" and "at least 1 character" in what)
        # Any workflow's input and configuration: those of each are in its own start.
        or (case.path == START and where.partition(".")[0] in ("input", "config"))
        # Which events a run waits for, its workflow says.
        or (case.path.endswith("/events") and where.partition(".")[0] in ("name", "payload"))
        # No text of an input holds NUL, and it is not nested without end: in all of it, whatever its schema.
        or what.startswith(("holds the character NUL", "nested deeper"))
    )


# --- what happened ----------------------------------------------------------------------------------------------------


@schemathesis.hook
def after_call(context: schemathesis.HookContext, case: Case, response: schemathesis.Response) -> None:
    """Note the answer, so that what was accepted can be looked for when the storm is over."""
    started = case.method == "POST" and case.path.endswith("/runs") and response.status_code < 300
    line = {
        "method": case.method,
        "path": case.path,
        "status": response.status_code,
        "tenant": str(case.headers["Authorization"]).rpartition(":")[2] if started else "",
        "run": response.json()["run"] if started else "",
    }
    with Path(os.environ[LOG]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
