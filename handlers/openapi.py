"""The service's own OpenAPI document: requests as Powertools reads them off the routes, answers as msgspec.

Powertools would describe answers by pydantic models, which ours are not, and failures in a form of its own.
So its operations are kept, and their responses replaced.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from handlers.answers import LogPage, RunList, StartedRun, StepPage
from handlers.problems import MEDIA_TYPE, Problem
from handlers.routes import ROUTES, Route
from kernel.shell.read import AnnotationPage

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import ApiGatewayResolver

VERSION = "1.0.0"
"""Of the HTTP API. The first number rises with the first change that a caller could trip over."""

_REFERENCE = "#/components/schemas/"
_ABOUT = (
    "Starts, shows and steers durable workflow runs. Failures are problem details (RFC 9457). The tenant "
    "comes from the authoriser's claims; another tenant's run is not found. Times are in milliseconds."
)
_LOCATION: dict[str, Any] = {"description": "Path of the run.", "required": True, "schema": {"type": "string"}}
_RETRY_AFTER = {"description": "Seconds after which to try again.", "schema": {"type": "string"}}


def document(app: ApiGatewayResolver, base: str) -> dict[str, Any]:
    """The document, OpenAPI 3.1.

    Args:
        app: the resolver with all routes.
        base: path under which the service is reached, such as ``/prod``; empty for the root.
    """
    text = app.get_openapi_json_schema(title="Onewrite", version=VERSION, description=_ABOUT)
    found: dict[str, Any] = json.loads(text)
    types = {type_ for route in ROUTES for type_ in route.answers.values() if type_} | {Problem}
    references, schemas = _schemas(sorted(types, key=lambda type_: type_.__name__))
    for route in ROUTES:
        operation = found["paths"][route.path][route.method.lower()]
        operation["responses"] = _responses(route, references)
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _never_null(parameter["schema"])
            if parameter["in"] == "header":  # Powertools writes it in small letters
                parameter["name"] = parameter["schema"]["title"]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            content["schema"] = _never_null(content["schema"])
    bodies = found["components"]["schemas"].items()
    schemas.update((name, schema) for name, schema in bodies if "ValidationError" not in name)
    found["components"]["schemas"] = dict(sorted(schemas.items()))
    found["servers"] = [{"url": base or "/"}]
    return found


def _schemas(types: list[type]) -> tuple[dict[type, dict[str, Any]], dict[str, Any]]:
    references, schemas = msgspec.json.schema_components(types, ref_template=_REFERENCE + "{name}")
    for schema in schemas.values():
        # Of a docstring, the first sentences are for readers of the API, the rest for those of the code.
        schema["description"] = " ".join(schema.get("description", "").partition("\n\n")[0].split())
    return dict(zip(types, references, strict=True)), schemas


def _responses(route: Route, references: dict[type, dict[str, Any]]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, type_ in route.answers.items():
        schema = references[type_] if type_ else {"type": "object"}
        headers = {"Location": _LOCATION} if type_ is StartedRun else {}
        response = responses[str(status)] = _response(status, "application/json", schema, headers)
        if links := _links(route, type_):
            response["links"] = links
    for status in route.problems:
        headers = {"Retry-After": _RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        responses[str(status)] = _response(status, MEDIA_TYPE, references[Problem], headers)
    return dict(sorted(responses.items()))


def _response(status: int, media_type: str, schema: dict[str, Any], headers: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {media_type: {"schema": schema}},
        "headers": headers,
    }


def _links(route: Route, type_: type | None) -> dict[str, Any]:
    """Where an answer leads: a started run to what can be asked of it, a page to the next one."""
    if type_ is StartedRun:
        operations = [each.name for each in ROUTES if "<run>" in each.rule]
        return {name: _link(name, run="$response.body#/run") for name in operations}
    if type_ is RunList:
        return {"next": _link(route.name, cursor="$response.body#/cursor")}
    if type_ in (LogPage, StepPage, AnnotationPage):
        return {"next": _link(route.name, run="$request.path.run", after="$response.body#/after")}
    return {}


def _link(operation: str, **parameters: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": parameters}


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter or body without null: what is not given is left out."""
    variants = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(variants) != 1:
        return schema | {"anyOf": variants} if variants else schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return rest | dict(variants[0])
