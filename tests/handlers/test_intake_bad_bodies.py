"""Bad bodies sent to the HTTP API: a clear problem detail each, and nothing stored."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.handlers.aws import Client, http_event
from tests.handlers.shop import GOOD, Deployment


def body_of(text: str) -> str:
    """A start's body with this text as its input."""
    return f'{{"input": {text}}}'


NESTED = "[" * 70 + "]" * 70

MALFORMED = {
    "nothing closed": '{"input": {',
    "no JSON": "hello",
    "trailing characters": '{"input": {}} x',
    "NaN": body_of('{"id": NaN}'),
    "Infinity": body_of('{"id": -Infinity}'),
    "half a surrogate pair": body_of('{"id": "\\ud800"}'),
    "the other half": body_of('{"id": "\\udc00"}'),
    "a control character": body_of('{"id": "\x01"}'),
    "a byte order mark": "\ufeff" + body_of('{"id": "1"}'),
    "a number with a leading zero": body_of('{"id": 01}'),
    "single quotes": "{'input': {}}",
}

UNFIT = {
    "no object but a list": ("[]", "body"),
    "a list of bodies": (f"[{body_of('{}')}]", "body"),
    "no object but a text": ('"input"', "body"),
    "no object but null": ("null", "body"),
    "no input": ("{}", "input"),
    "an unknown field": ('{"input": {}, "tenant": "other"}', "tenant"),
    "a list as input": (body_of("[]"), "input"),
    "null as input": (body_of("null"), "input"),
    "a text as input, though it is JSON text": (body_of(json.dumps(json.dumps(GOOD))), "input"),
    "a missing field": (body_of("{}"), "input.id"),
    "a wrong type": (body_of('{"id": 7}'), "input.id"),
    "a wrong type deep inside": (
        body_of('{"id": "1", "lines": [{"sku": "a", "quantity": "two"}]}'),
        "input.lines.0.quantity",
    ),
    "a value out of bounds": (
        body_of('{"id": "1", "lines": [{"sku": "", "quantity": 1}]}'),
        "input.lines.0.sku",
    ),
    "the character NUL": (body_of('{"id": "a\\u0000b"}'), "input.id"),
    "NUL in a key": (body_of('{"id": "1", "a\\u0000b": 1}'), "input"),
    "a number of 5,000 digits": (body_of('{"id": ' + "9" * 5000 + "}"), "body"),
    "a number past all doubles": (body_of('{"id": 1e999}'), "body"),
    "nested 70 deep": (body_of('{"id": "1", "x": ' + NESTED + "}"), "input"),
    "nested 100,000 deep": (body_of("[" * 100_000 + "]" * 100_000), "body"),
    "a config that is no object": ('{"input": {"id": "1"}, "config": 7}', "config"),
    "a stage's config that is no object": ('{"input": {"id": "1"}, "config": {"charge": 7}}', "config.charge"),
    "a wrong config": (
        '{"input": {"id": "1"}, "config": {"charge": {"limit": "all"}}}',
        "config.charge.limit",
    ),
    "NUL in a config": (
        '{"input": {"id": "1"}, "config": {"charge": {"url": "a\\u0000"}}}',
        "config.charge.url",
    ),
    "a preset that is no text": ('{"input": {"id": "1"}, "preset": 7}', "preset"),
    "a version that is a text": ('{"input": {"id": "1"}, "version": "1"}', "version"),
    "a version below one": ('{"input": {"id": "1"}, "version": 0}', "version"),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "base64"])
def test_what_is_no_json_is_malformed(client: Client, deployment: Deployment, text: str, *, encoded: bool) -> None:
    reply = client.request("POST", "/workflows/order/runs", body=text, encoded=encoded)

    assert reply.status == 400, reply.text
    assert "JSON" in reply.problem["detail"]
    assert deployment.writes == []


@pytest.mark.parametrize(("text", "place"), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_is_refused_with_its_place(
    client: Client, deployment: Deployment, text: str, place: str
) -> None:
    reply = client.request("POST", "/workflows/order/runs", body=text)

    assert reply.status == 422, reply.text
    assert any(where == place or where.startswith(f"{place}.") for where in reply.places), reply.text
    assert len(reply.text) < 10_000
    assert deployment.writes == []


def test_all_that_is_wrong_is_told_at_once_but_not_without_end(client: Client, deployment: Deployment) -> None:
    lines = [{"sku": "", "quantity": 0}] * 5_000

    reply = client.start({"input": {"id": "1", "lines": lines}})

    assert reply.status == 422
    assert len(reply.places) == 100
    assert len(reply.text) < 50_000
    assert deployment.writes == []


def test_a_body_that_is_no_utf_8_is_malformed(client: Client, deployment: Deployment) -> None:
    for body in (b'{"input": {"id": "\xff"}}', '{"input": {"id": "ü"}}'.encode("latin-1"), b"\xed\xa0\x80"):
        assert client.request("POST", "/workflows/order/runs", body=body).status == 400
    assert deployment.writes == []


def test_a_body_that_is_not_the_base64_it_is_declared_as_is_malformed(client: Client, deployment: Deployment) -> None:
    event = client.shape(
        "POST", "/workflows/order/runs", (), {}, "{not base64}", encoded=True, authorizer=None, stage="$default"
    )

    assert client.send(event).status == 400
    assert deployment.writes == []


def test_a_body_in_base64_is_read(client: Client) -> None:
    body = json.dumps({"input": {"id": "ünïcödé ☃"}}, ensure_ascii=False)

    assert client.request("POST", "/workflows/order/runs", body=body, encoded=True).status == 201


def test_half_a_surrogate_pair_in_the_event_itself_is_malformed(client: Client, deployment: Deployment) -> None:
    assert client.request("POST", "/workflows/order/runs", body='{"input": {"id": "\ud800"}}').status == 400
    assert deployment.writes == []


def test_a_body_that_is_empty_is_refused(client: Client, deployment: Deployment) -> None:
    for body in (None, "", " "):
        assert client.request("POST", "/workflows/order/runs", body=body).status in (400, 422)
    assert deployment.writes == []


@pytest.mark.parametrize(
    "media", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx", "x"]
)
def test_other_media_types_are_not_taken(client: Client, deployment: Deployment, media: str) -> None:
    reply = client.start({"input": GOOD}, Content_Type=media)

    assert reply.status == 415
    assert "application/json" in reply.problem["detail"]
    assert deployment.writes == []


def test_a_form_is_not_taken(client: Client, deployment: Deployment) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    assert client.request("POST", "/workflows/order/runs", body="input=1", headers=form).status == 415
    assert deployment.writes == []


@pytest.mark.parametrize("media", ["application/json; charset=latin-1", "application/json;charset=utf-16"])
def test_other_encodings_are_not_taken(client: Client, media: str) -> None:
    assert client.start({"input": GOOD}, Content_Type=media).status == 415


@pytest.mark.parametrize(
    "media", ["application/json; charset=utf-8", "APPLICATION/JSON", 'application/json;charset="UTF-8"']
)
def test_json_by_any_spelling_is_taken(client: Client, media: str) -> None:
    assert client.start({"input": GOOD}, Content_Type=media).status == 201


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "base64"])
def test_a_body_too_large_is_refused_unread(client: Client, deployment: Deployment, *, encoded: bool) -> None:
    body = json.dumps({"input": GOOD | {"note": "x" * 5_200_000}})

    reply = client.request("POST", "/workflows/order/runs", body=body, encoded=encoded)

    assert reply.status == 413
    assert deployment.writes == []


def test_an_input_that_is_a_little_too_large_is_refused_too(client: Client, deployment: Deployment) -> None:
    reply = client.start({"input": GOOD | {"note": "x" * 5_000_000}})

    assert (reply.status, "too large" in reply.problem["detail"]) == (422, True)
    assert deployment.writes == []


def test_unknown_workflows_versions_presets_and_stages_are_named(client: Client, deployment: Deployment) -> None:
    cases = [
        (client.start({"input": GOOD}, workflow="nope"), 404, "'nope'"),
        (client.start({"input": GOOD, "version": 9}), 404, "version 9"),
        (client.start({"input": GOOD, "preset": "bold"}), 422, "'bold'"),
        (client.start({"input": GOOD, "config": {"fly": {}}}), 422, "fly"),
        (client.start({"input": GOOD, "config": {"ship": {"fast": True}}}), 422, "ship"),
        (client.get("/runs", ("workflow", "nope")), 404, "'nope'"),
    ]

    for reply, status, word in cases:
        assert (reply.status, word in reply.problem["detail"]) == (status, True), reply.text
    assert deployment.writes == []


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
BODIES = st.one_of(
    st.text(),
    JSONS.map(json.dumps),
    st.dictionaries(st.sampled_from(["input", "config", "preset", "version", "key"]), JSONS).map(json.dumps),
    st.builds(lambda lines: json.dumps({"input": {"id": "1", "lines": lines}}), JSONS),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(body=BODIES)
def test_whatever_is_sent_the_answer_is_one_that_is_documented(body: str) -> None:
    deployment = Deployment()

    reply = Client(deployment.intake, http_event).request("POST", "/workflows/order/runs", body=body)

    assert reply.status in (201, 400, 422), reply.text
    assert (deployment.writes == []) == (reply.status != 201)
    assert reply.status == 201 or reply.problem
