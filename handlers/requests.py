"""What callers send: bodies, times, statuses, cursors. Strict: nothing is taken for what it is not."""

# Annotations here are read at run time by pydantic, so they are no strings.
import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Raw, Struct
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from handlers.problems import Failure, Problems
from kernel import annotations
from kernel.core.failures import MAX_MESSAGE
from kernel.errors import InvalidInput
from kernel.limits import check_key, is_run_id
from kernel.shell.callback import MAX_KIND

# --- bodies -------------------------------------------------------------------------------------------------

_PRINTABLE = r"^[!-~]+$"
_TEXT = r"^[^\x00]*$"
"""Everything but the character NUL, which some readers of a log stop at."""

Reason = Annotated[str, Field(max_length=500, pattern=_TEXT, description="Why, for the run's log.")]
Name = Annotated[str, Field(min_length=1, max_length=256, pattern=_TEXT)]


EventId = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$", description="Id of the event.")
]


BusinessKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:@-]*$",
        description="What a run is about: of a workflow's runs with the same one, at most one is under way.",
    ),
]


def _key(given: str) -> str:
    try:
        return check_key("key", given)
    except InvalidInput:
        message = "give 1 to 256 printable characters"
        raise ValueError(message) from None


Key = Annotated[
    str,
    AfterValidator(_key),
    # Of the characters that a header can hold, these cannot be printed.
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[^\x00-\x1f\x7f-\xa0\xad]*$"}),
]
"""What a caller tells a repeated request by."""


def _whole(given: object) -> object:
    return int(given) if isinstance(given, float) and given.is_integer() else given


WHOLE = BeforeValidator(_whole)
"""Goes with a whole number, however it is written: JSON has one kind of number, in which 1.0 is 1."""


class Body(BaseModel):
    """What all bodies have in common: unknown fields are refused, and nothing is coerced."""

    # Built when first needed: most processes see one kind of request, and all of them start.
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


Annotations = Annotated[
    dict[str, Any],  # the kernel checks them, and says which of them does not fit
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": annotations.MOST,
            "propertyNames": {"pattern": f"^{annotations.KEY}$"},
            "additionalProperties": {
                "anyOf": [
                    {"type": "string", "maxLength": annotations.LONGEST},
                    {"type": "boolean"},
                    {"type": "number"},
                ]
            },
        }
    ),
]


class StartBody(Body):
    """What a run is started with."""

    input: Any = Field(description="The run's input; `GET /workflows` has its JSON Schema.")
    config: dict[str, dict[str, Any]] | None = Field(None, description="Configuration, by id of the stage.")
    preset: Name | None = Field(None, description="Name of a configuration that the workflow declares.")
    version: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        None, description="Of the workflow; the latest if absent."
    )
    business_key: BusinessKey | None = None
    priority: Literal["normal", "high"] = Field(
        "normal", description="Messages of runs of high priority do not wait behind those of others."
    )
    annotations: Annotations | None = Field(None, description="What is said of this start, such as who or why.")


class ReasonBody(Body):
    """Why something is asked for."""

    reason: Reason = ""


class RerunBody(ReasonBody):
    """From where a finished run shall go on, and why."""

    stage: Name = Field(description="Id of the stage that runs again, with all that depends on it.")


class EventBody(Body):
    """An external event for a run."""

    name: Name = Field(description="Its class: `GET /workflows` has those that the run's workflow waits for.")
    payload: Any = Field(description="What it carries; `GET /workflows` has its JSON Schema.")
    id: EventId | None = Field(None, description="The same id is the same event, however often it is sent.")


ABSENT: Any = object()
"""What a field is that nobody gave, where null is something that can be given."""


class CallbackError(Body):
    """What went wrong, in the words of whoever was to answer."""

    kind: Annotated[str, Field(min_length=1, max_length=MAX_KIND, pattern=_PRINTABLE)] = "CallbackFailed"
    message: Annotated[str, Field(max_length=MAX_MESSAGE, pattern=_TEXT)] = ""
    retryable: bool = Field(default=True, description="Whether another attempt, with another token, may help.")


class CallbackBody(Body):
    """What a third party says: the stage's output, an error, or that they are still at work."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": [name]} for name in ("output", "error", "heartbeat")],
            "dependentRequired": {"progress": ["heartbeat"]},
        }
    )

    output: Any = Field(default_factory=lambda: ABSENT, description="The stage's output, whatever its type is.")
    error: CallbackError = Field(default_factory=lambda: ABSENT)
    heartbeat: Literal[True] = Field(default_factory=lambda: ABSENT)
    progress: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="How far they are, from 0 to 1; goes with a heartbeat."
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        said = self.model_fields_set
        if len(said & {"output", "error", "heartbeat"}) != 1 or ("progress" in said and "heartbeat" not in said):
            message = "give one of output, error and heartbeat; progress goes with heartbeat only"
            raise ValueError(message)
        return self


_object = msgspec.json.Decoder(dict[str, Raw])
_RAW = ("input", "output", "payload")


def read_object(text: str) -> dict[str, Any]:
    """The fields of a body. Values of users' types stay JSON text: their own models read them once, as they were sent.

    Raises:
        Failure: 400: it is not JSON as RFC 8259 defines it. 422: it is no object, or too deep.
    """
    try:
        fields = msgspec.json.decode(text)
    except (RecursionError, msgspec.ValidationError) as error:
        # Well-formed, but too deep, or with a number too large.
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Failure(422, f"The body is refused: {what}.", (("body", what),)) from error
    except ValueError as error:  # also what is no Unicode
        raise Failure(400, f"The body is not JSON as RFC 8259 defines it: {error}.") from error
    if not isinstance(fields, dict):
        raise Failure(422, "The body must be a JSON object.", (("body", "give a JSON object"),))
    if not any(name in fields for name in _RAW):
        return fields
    raw = _object.decode(text)
    return fields | {name: raw[name] for name in _RAW if name in fields}


def json_text(value: object, where: str = "input") -> bytes:
    """A value as JSON text: one that was kept as text, or one that Lambda has read already.

    Raises:
        InvalidInput: it is not JSON as RFC 8259 defines it: NaN, half a surrogate pair, thousands of digits.
    """
    if isinstance(value, Raw):
        return bytes(value)
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidInput(f"the {where} is not JSON as RFC 8259 defines it", ((where, what),)) from error


def plain_text(event: Mapping[str, Any], most: int) -> str:
    """The body of an API Gateway event as text; empty if it has none.

    Raises:
        Failure: 413: it is longer than ``most`` bytes. 400: it is not UTF-8. 415: it is not declared as JSON.
    """
    body = event.get("body") or ""
    encoded = bool(event.get("isBase64Encoded"))
    # Looked at before it is decoded: a character is a byte or more, and of base64 four are three.
    if len(body) * 3 // 4 > most if encoded else len(body) > most:
        raise _too_large(most)
    try:
        data = base64.b64decode(body, validate=True) if encoded else body.encode()
        text: str = data.decode() if encoded else body
    except (binascii.Error, ValueError) as error:
        raise Failure(400, "The body is not UTF-8 text, or not the base64 that it is declared as.") from error
    if len(data) > most:
        raise _too_large(most)
    if text:
        _require_json(event)
    return text


def _too_large(most: int) -> Failure:
    return Failure(413, f"The body is too large: at most {most} bytes. Keep large values elsewhere and send keys.")


def _require_json(event: Mapping[str, Any]) -> None:
    headers = event.get("headers") or {}
    declared = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    media, _, options = str(declared or "application/json").lower().partition(";")
    charset = re.search(r"charset\s*=\s*\"?([\w-]+)", options)
    if media.strip() != "application/json" or (charset and charset[1] not in {"utf-8", "utf8", "us-ascii"}):
        raise Failure(415, "The body must be JSON in UTF-8: send 'Content-Type: application/json' with it.")


def problems_of(error: ValidationError) -> Problems:
    """Where and what, of an error of pydantic's. Not the values: they may be secret, and they may be huge."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return tuple((".".join(map(str, each["loc"])) or "body", words(each["msg"])) for each in details)


def words(message: str) -> str:
    """A message of pydantic's, without what it puts before those of ours."""
    return message.removeprefix("Value error, ")


def refusal(problems: Problems) -> Failure:
    """What a request that does not fit is refused with."""
    listed = "; ".join(f"{where}: {what}" for where, what in problems[:10])
    return Failure(422, f"The request does not fit ({listed}).", problems)


# --- times and statuses -------------------------------------------------------------------------------------

LAST = 9_999_999_999_999
"""The latest time in milliseconds that keys of the index have room for: in the year 2286."""


def milliseconds(given: object) -> int:
    """A time: milliseconds since the epoch, or ISO 8601, in UTC if it does not say.

    Raises:
        ValueError: it is neither.
    """
    # What is longer than any time is not looked at: it may have megabytes.
    text = str(given) if isinstance(given, str | int) and not _is_long(given) else ""
    if re.fullmatch(r"[0-9]{1,13}", text, re.ASCII):
        return int(text)
    try:
        # A plus sign that was not escaped in a query has become a space. RFC 3339 allows small letters.
        at = datetime.fromisoformat(re.sub(r"(T.*) (\d\d)", r"\1+\2", text.upper()))
        since = at if at.tzinfo else at.replace(tzinfo=UTC)
        found = (since - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        found = -1
    if not 0 <= found <= LAST or len(text) < len("2026-01-01"):
        message = "give a time: milliseconds since 1970, or ISO 8601 such as 2026-01-31T12:00:00Z"
        raise ValueError(message)
    return found


def _is_long(given: str | int) -> bool:
    return len(given) > _LONGEST if isinstance(given, str) else abs(given) > LAST


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST = len("2026-01-31T12:00:00.123456789123456789+00:00")

Moment = Annotated[
    int,
    BeforeValidator(milliseconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": LAST},
                # Of the years 1971 to 2285, whatever the offset: the first and the last year are not whole.
                {
                    "type": "string",
                    "format": "date-time",
                    "pattern": r"^(197[1-9]|19[89][0-9]|2[01][0-9]{2}|22[0-7][0-9]|228[0-5])-",
                },
            ]
        }
    ),
]
"""A point in time, kept in milliseconds."""


class PauseBody(ReasonBody):
    """For how long a run shall pause, and why."""

    until: Annotated[
        Moment | None, Field(description="When it goes on by itself; only when it is resumed, if absent.")
    ] = None


Status = Literal["open", "paused", "parked", "completed", "failed", "cancelled"]


def _split(given: object) -> list[object]:
    parts = given if isinstance(given, list) else [given]
    return [each for part in parts for each in (part.split(",") if isinstance(part, str) else [part])]


Statuses = Annotated[list[Status], Field(max_length=50), BeforeValidator(_split)]
"""Repeated, or separated by commas."""
Names = Annotated[list[Name], Field(max_length=50), BeforeValidator(_split)]
"""Repeated, or separated by commas. Bounded, because each name costs a list some queries."""


# --- cursors ------------------------------------------------------------------------------------------------


class _Cursor(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The last run of a page. The version comes first, so that a later form is not misread."""

    v: int
    created: int
    run: str


_cursor = msgspec.json.Decoder(_Cursor)


def cursor_after(created: int, run: str) -> str:
    """What stands for "after this run" in the next request."""
    return base64.urlsafe_b64encode(msgspec.json.encode(_Cursor(1, created, run))).rstrip(b"=").decode()


def read_cursor(text: str) -> tuple[int, str]:
    """The run that a cursor stands for: when it was created, and its id.

    Raises:
        InvalidInput: it is no cursor that we gave.
    """
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        found = _cursor.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        found = _Cursor(0, 0, "")
    if found.v != 1 or not 0 <= found.created <= LAST or not is_run_id(found.run):
        problem = ("cursor", "give the cursor of the page before, unchanged, or none for the first page")
        raise InvalidInput("the cursor is not one of ours", (problem,))
    return found.created, found.run
