"""The parts of a request: times, lists, cursors, bodies, callers. Read as they are meant, or refused by name."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import strategies as st
from msgspec import Raw
from pydantic import ValidationError

from handlers.direct import Listing
from handlers.problems import Failure, problem_of
from handlers.requests import (
    LAST,
    cursor_after,
    json_text,
    milliseconds,
    plain_text,
    read_cursor,
    read_object,
)
from handlers.tenants import caller_of, signature
from kernel.errors import InvalidInput
from kernel.limits import check_tenant, is_run_id
from tests.handlers.aws import Client, http_event
from tests.handlers.shop import GOOD, Deployment, started
from tests.hostile.attack import attack, either
from tests.hostile.shapes import damaged, damaged_text, deep, json_values, junk, odd_texts, texts

# --- times ------------------------------------------------------------------------------------------------------------

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
times = st.datetimes(
    datetime(1971, 1, 1),  # noqa: DTZ001 - bounds of what gets a zone of its own
    datetime(2285, 12, 31),  # noqa: DTZ001 - as above
    timezones=st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


whole = times.map(lambda at: at.replace(microsecond=at.microsecond // 1_000 * 1_000))


@attack(at=st.one_of(times, whole), small=st.booleans(), escaped=st.booleans())
def test_every_time_that_the_document_allows_is_read_to_the_millisecond(
    at: datetime, *, small: bool, escaped: bool
) -> None:
    text = at.isoformat()
    if not escaped:
        text = text.replace("+", " ")  # as a plus sign in a query arrives
    assert milliseconds(text.lower() if small else text) == (at - EPOCH) // timedelta(milliseconds=1)


@attack(at=st.integers(0, LAST))
def test_milliseconds_are_a_time_as_number_and_as_text(at: int) -> None:
    assert milliseconds(at) == milliseconds(str(at)) == at


@attack(given=st.one_of(junk, times.map(datetime.isoformat).flatmap(damaged_text), st.integers(-5, LAST + 5)))
def test_anything_else_is_a_time_or_refused(given: object) -> None:
    at = either(ValueError, milliseconds, given)
    if isinstance(at, ValueError):
        assert "give a time" in str(at)
        return
    assert isinstance(given, str | int)
    assert 0 <= at <= LAST


def test_no_millisecond_is_lost_to_the_arithmetic_of_floats() -> None:
    assert milliseconds("2038-03-04T02:34:11.957Z") == 2_151_282_851_957


def test_a_text_of_megabytes_is_no_time_and_takes_none() -> None:
    with pytest.raises(ValueError, match="give a time"):
        milliseconds("T" * 5_000_000)  # the square of that is a day


# --- lists ------------------------------------------------------------------------------------------------------------

STATUSES = ("open", "paused", "parked", "completed", "failed", "cancelled")


@attack(
    fields=st.dictionaries(
        st.sampled_from(["workflow", "status"]), st.one_of(junk, st.lists(st.sampled_from(STATUSES)))
    )
)
def test_a_list_holds_names_or_is_refused(fields: dict[str, Any]) -> None:
    listing = either(ValidationError, Listing.model_validate, fields)
    if isinstance(listing, ValidationError):
        assert {each["loc"][0] for each in listing.errors()} <= fields.keys()
        return
    for name, given in fields.items():
        parts = given if isinstance(given, list) else [given]
        wanted = None if given is None else [each for part in parts for each in part.split(",")]
        assert getattr(listing, name) == wanted


@pytest.mark.parametrize("name", ["workflow", "status"])
def test_a_list_is_bounded_since_each_name_costs_queries(name: str) -> None:
    Listing.model_validate({name: ",".join(["open"] * 50)})
    with pytest.raises(ValidationError, match="at most 50"):
        Listing.model_validate({name: ",".join(["open"] * 51)})


# --- cursors ----------------------------------------------------------------------------------------------------------

run_ids = st.binary(min_size=12, max_size=12).map(bytes.hex)
cursors = st.builds(cursor_after, st.integers(0, LAST), run_ids)


@attack(created=st.integers(0, LAST), run=run_ids)
def test_a_cursor_reads_back_as_it_was_given(created: int, run: str) -> None:
    assert read_cursor(cursor_after(created, run)) == (created, run)


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@attack(
    text=st.one_of(
        texts,
        cursors.flatmap(damaged_text),
        damaged([1, 5, "a" * 24]).map(encoded),
        st.integers(-2, 5).map(lambda version: encoded([version, 5, "a" * 24])),
        texts.map(lambda run: encoded([1, 5, run])),
        junk.map(encoded),
        odd_texts.map(encoded),
    )
)
def test_any_other_cursor_is_refused(text: str) -> None:
    found = either(InvalidInput, read_cursor, text)
    if isinstance(found, InvalidInput):
        assert [where for where, _ in found.problems] == ["cursor"]
        return
    created, run = found
    assert json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))) == [1, created, run]
    assert 0 <= created <= LAST
    assert is_run_id(run)


# --- bodies -----------------------------------------------------------------------------------------------------------


@attack(value=st.dictionaries(st.sampled_from(["input", "config", "a"]), json_values))
def test_a_body_is_read_as_it_was_sent(value: dict[str, Any]) -> None:
    read = read_object(json.dumps(value))

    assert {name: json.loads(json_text(each)) for name, each in read.items()} == value
    assert isinstance(read.get("input", Raw()), Raw)


objects = damaged({"input": {"id": "1"}, "config": {"charge": {}}})


@attack(
    text=st.one_of(
        texts, junk.map(json.dumps), objects.map(json.dumps).flatmap(damaged_text), st.integers(1, 5_000).map(deep)
    )
)
def test_any_body_is_an_object_or_refused(text: str) -> None:
    read = either(Failure, read_object, text)
    if isinstance(read, Failure):
        assert read.status in (400, 422)
        assert str(read)
        return
    assert (
        json.loads(json_text(read["input"])) == json.loads(text)["input"]
        if "input" in read
        else read == json.loads(text)
    )


@attack(value=junk)
def test_a_value_that_lambda_has_read_is_json_again_or_refused(value: Any) -> None:
    text = either(InvalidInput, json_text, value)
    if isinstance(text, InvalidInput):
        assert [where for where, _ in text.problems] == ["input"]
        return
    assert json.loads(text, parse_constant=pytest.fail) == value


MOST = 1_000


@attack(
    body=st.one_of(st.none(), texts, st.binary().map(base64.b64encode).map(bytes.decode), st.just("é" * MOST)),
    encoded_=st.booleans(),
    media=st.one_of(st.just("application/json"), texts, st.text().map(lambda text: f"application/json;charset={text}")),
)
def test_any_text_of_a_body_is_taken_whole_or_refused(body: str | None, encoded_: bool, media: str) -> None:
    event = {"body": body, "isBase64Encoded": encoded_, "headers": {"Content-type": media}}
    text = either(Failure, plain_text, event, MOST)
    if isinstance(text, Failure):
        assert text.status in (400, 413, 415)
        return
    assert text == (base64.b64decode(body or "").decode() if encoded_ else body or "")
    assert len(text.encode()) <= MOST


@pytest.mark.parametrize(("version", "status"), [("1.0", 201), ("1e0", 201), ("1.5", 422), ("true", 422), ('"1"', 422)])
def test_a_whole_number_is_one_however_it_is_written(version: str, status: int) -> None:
    body = f'{{"input": {json.dumps(GOOD)}, "version": {version}}}'

    reply = Client(Deployment().intake, http_event).request("POST", "/workflows/order/runs", body=body)

    assert reply.status == status, reply.text
    assert status == 201 or reply.places == ["version"]


@pytest.mark.parametrize("key", ["a\xad", "\x85", "\xa0", "a\u200b", "k" * 257])
def test_a_key_that_cannot_be_printed_is_named(key: str) -> None:
    deployment = Deployment()

    reply = Client(deployment.intake, http_event).start({"input": GOOD}, Idempotency_Key=key)

    assert (reply.status, reply.places) == (422, ["Idempotency-Key"])
    assert "printable" in reply.problem["detail"]
    assert deployment.writes == []


def test_a_commit_that_there_is_none_of_is_named() -> None:
    client = Client(Deployment().intake, http_event)

    reply = client.get(f"/runs/{started(client)}", ("seq", "99"))

    assert (reply.status, reply.places) == (422, ["seq"])


# --- callers ----------------------------------------------------------------------------------------------------------

claims = st.one_of(st.just({"tenant": "umbrella", "sub": "alice"}), damaged({"tenant": "umbrella", "sub": "alice"}))
authorizers = st.one_of(
    claims.map(lambda given: {"jwt": {"claims": given, "scopes": None}}),
    claims.map(lambda given: {"lambda": given}),
    claims.map(lambda given: {"claims": given}),
    claims,
    damaged({"jwt": {"claims": {"tenant": "umbrella"}}}),
    junk,
)


@attack(authorizer=authorizers, default=st.sampled_from(["acme", None]))
def test_a_caller_has_the_tenant_of_the_claim_or_none_at_all(authorizer: Any, default: str | None) -> None:
    caller = either(Failure, caller_of, {"requestContext": {"authorizer": authorizer}}, "tenant", default)
    if isinstance(caller, Failure):
        assert caller.status == 401
        assert "WWW-Authenticate" in caller.headers
        return
    assert check_tenant(caller.tenant) == caller.tenant
    assert caller.by.startswith("api:")
    assert caller.by.isascii()
    if caller.tenant == default:  # nobody named a tenant at all
        assert "tenant" not in names_of_claims(authorizer)


def names_of_claims(authorizer: Any) -> list[str]:
    """What the authoriser says something of: API Gateway documents four places for it."""
    if not isinstance(authorizer, dict):
        return []
    jwt = authorizer.get("jwt")
    places = [jwt.get("claims") if isinstance(jwt, dict) else None, authorizer.get("claims"), authorizer.get("lambda")]
    return list(next((each for each in places if isinstance(each, dict) and each), authorizer))


@pytest.mark.parametrize("claimed", [None, "", 1.5, True, [], {}])
def test_a_claim_that_is_there_and_holds_no_tenant_is_never_the_default_one(claimed: object) -> None:
    with pytest.raises(Failure, match="claim for the tenant is no"):
        caller_of({"requestContext": {"authorizer": {"lambda": {"tenant": claimed}}}}, "tenant", "acme")


@attack(kind=st.sampled_from(["api", "event"]), name=texts)
def test_any_name_makes_a_signature_that_every_reader_of_a_log_can_bear(kind: str, name: str) -> None:
    by = signature(kind, name)

    assert by.startswith(f"{kind}:")
    assert len(by) <= 64
    assert by.isascii()
    assert by.isprintable()


# --- problems ---------------------------------------------------------------------------------------------------------


@attack(
    message=texts,
    places=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    path=texts,
    status=st.sampled_from([400, 401, 404, 405, 409, 413, 415, 422]),
)
def test_whatever_is_wrong_can_be_told(message: str, places: Any, path: str, status: int) -> None:
    for error in (Failure(status, message, places), InvalidInput(message, places), ValueError(message)):
        problem = problem_of(error, path)
        assert len(problem.detail.encode()) < 10_000, "it is bounded, and Unicode"
        assert problem.instance.isascii()
        assert isinstance(error, Failure | InvalidInput) or message not in problem.detail or len(message) < 3
