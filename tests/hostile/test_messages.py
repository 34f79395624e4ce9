"""Queue messages, one by one and in batches: pokes are attended, everything else goes back alone and harms nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import strategies as st

from infra.pokes import FORMAT, MAX_BODY, MAX_NAME, ForeignMessage, encode, parse
from infra.sqs import _group, messages
from kernel.ports import Poke, RunRef
from kernel.shell.read import show
from tests.handlers.aws import Client, Context, Json, http_event, queue_record
from tests.handlers.shop import GOOD, TENANT, Deployment
from tests.hostile.attack import attack, either
from tests.hostile.shapes import as_lambda_gives, damaged, damaged_text, deep, junk, odd_texts, records, texts

END = 253_402_300_800_000
names = st.text(st.characters(exclude_characters="#", exclude_categories=["Cs"]), min_size=1, max_size=40)
pokes = records(
    Poke,
    tenant=names,
    run=names,
    stage=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    at=st.integers(0, END - 1),
    v=st.just(FORMAT),
)


@attack(poke=pokes)
def test_a_poke_reads_back_as_it_was_sent(poke: Poke) -> None:
    assert parse(encode(poke)) == poke


edges = st.sampled_from(["", "a", "a#b", "#", "x" * MAX_NAME, "x" * (MAX_NAME + 1)])


@attack(
    poke=records(
        Poke,
        tenant=edges,
        run=edges,
        stage=edges,
        v=st.sampled_from([FORMAT, FORMAT, FORMAT - 1, FORMAT + 1, -1]),
        at=st.sampled_from([0, 0, -1, END - 1, END]),
    )
)
def test_a_poke_out_of_bounds_is_refused(poke: Poke) -> None:
    fits = (
        0 < len(poke.tenant) <= MAX_NAME
        and 0 < len(poke.run) <= MAX_NAME
        and len(poke.stage) <= MAX_NAME
        and "#" not in poke.tenant + poke.run
        and 0 <= poke.at < END
    )
    body = encode(poke)
    if poke.v == FORMAT and fits:
        assert parse(body) == poke
        return
    with pytest.raises(ForeignMessage, match="newer version" if poke.v > FORMAT else "not a poke"):
        parse(body)


bodies = st.one_of(
    pokes.map(encode).map(json.loads).flatmap(damaged).map(json.dumps),
    pokes.map(encode).flatmap(damaged_text),
    junk.map(json.dumps),
    texts,
    odd_texts,
    st.integers(1, MAX_BODY // 2).map(deep),
    st.integers(1, 3).map(lambda times: "x" * (MAX_BODY * times)),
)


@attack(body=st.one_of(bodies, junk))
def test_any_body_is_a_poke_or_foreign(body: object) -> None:
    poke = either(ForeignMessage, parse, body)
    if isinstance(poke, ForeignMessage):
        assert len(str(poke)) < 1_000
        return
    assert parse(encode(poke)) == poke
    assert poke.tenant
    assert poke.run
    assert poke.ref.partition.count("#") == 1


@attack(tenant=texts)
def test_any_tenant_makes_a_message_group_that_sqs_takes(tenant: str) -> None:
    group = _group(tenant)

    assert len(group) <= 128
    assert all("!" <= each <= "~" for each in group)


# --- batches ----------------------------------------------------------------------------------------------------------

GOOD_ID = "good"
strangers = st.one_of(bodies.map(lambda body: queue_record(body, "stranger")), damaged(queue_record("{}", "stranger")))


@attack(before=st.lists(strangers, max_size=3), after=st.lists(strangers, max_size=3))
def test_whatever_comes_in_a_batch_the_good_message_in_it_is_attended(before: list[Any], after: list[Any]) -> None:
    deployment = Deployment()
    run = Client(deployment.intake, http_event).start({"input": GOOD}).json["run"]
    good = queue_record(encode(Poke(TENANT, run)), GOOD_ID)

    answer = deployment.job(as_lambda_gives({"Records": [*before, good, *after]}), Context(300))

    assert show(deployment.play.env, RunRef(TENANT, run)).status == "completed"
    assert answer.keys() == {"batchItemFailures"}
    returned = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
    assert all(isinstance(each, str) for each in returned), "SQS knows ids that are texts"
    assert GOOD_ID not in returned


@attack(event=st.one_of(damaged({"Records": [queue_record("{}", "1"), queue_record("x", "2")]}), junk))
def test_any_event_is_a_batch_or_is_refused_whole(event: Json) -> None:
    deployment = Deployment()
    answer = either(ForeignMessage, deployment.job, event, Context(300))

    if isinstance(answer, ForeignMessage):
        assert "not a batch of SQS" in str(answer)
    else:
        assert len(answer["batchItemFailures"]) <= len(event.get("Records", []))
    assert deployment.writes == []


def test_a_message_without_an_id_returns_with_its_whole_batch() -> None:
    assert messages({"Records": [{"body": "a"}, {"messageId": 7, "body": "b"}, "c"]}) == [
        ("", "a"),
        ("", "b"),
        ("", None),
    ]
