"""Tenants are apart (invariant 13), and names that come from outside cannot reach beyond them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kernel.errors import InvalidInput, NotFound
from kernel.limits import check_key, check_reason, check_tenant, is_run_id
from kernel.ports import RunRef
from kernel.shell import read
from kernel.shell.attend import Outcome
from kernel.shell.outbox import replay_dead_letters
from kernel.testing.play import Play
from onewrite import Context
from tests.shell.script import Note, Script, fork, items_of, letters_of, line, work

STRANGER = "umbrella"

ASKED: dict[str, Callable[[Play, RunRef], Any]] = {
    "show": lambda play, ref: read.show(play.env, ref),
    "show as of a number": lambda play, ref: read.show(play.env, ref, seq=0),
    "log": lambda play, ref: read.log_page(play.env, ref),
    "wait": lambda play, ref: read.wait_for(play.env, ref, timeout=0),
    "cancel": lambda play, ref: play.cancel(ref),
    "pause": lambda play, ref: play.pause(ref),
    "resume": lambda play, ref: play.resume(ref),
    "retry": lambda play, ref: play.retry(ref),
    "rerun": lambda play, ref: play.rerun(ref, "a"),
}


def started(script: Script) -> tuple[Play, RunRef]:
    """A run of the tenant ``acme`` that waits for a worker."""
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    return play, play.start(flow, Note(text="secret"), tenant="acme")


NO_RUNS = ["", "x", "a#b", "~head", "0" * 23, "G" * 24, "0" * 24 + "\n", "../../etc", "\0", "\ud800"]


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED.keys())
def test_another_tenants_run_is_not_found(script: Script, ask: Callable[[Play, RunRef], Any]) -> None:
    play, ref = started(script)
    before = items_of(play, ref)
    with pytest.raises(NotFound) as refused:
        ask(play, RunRef(STRANGER, ref.run))
    assert str(refused.value) == f"there is no run {ref.run!r}, or its retention is over", "as if it did not exist"
    assert items_of(play, ref) == before
    assert not items_of(play, RunRef(STRANGER, ref.run))


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED.keys())
@pytest.mark.parametrize("run", NO_RUNS, ids=ascii)
def test_a_run_that_cannot_be_is_not_found_without_asking_the_store(
    script: Script, ask: Callable[[Play, RunRef], Any], run: str
) -> None:
    play, _ = started(script)
    asked = len(play.faults.calls)
    with pytest.raises(NotFound):
        ask(play, RunRef("acme", run))
    assert len(play.faults.calls) == asked


def test_a_poke_for_another_tenants_run_does_nothing(script: Script) -> None:
    play, ref = started(script)
    assert play.attend(RunRef(STRANGER, ref.run)).outcome is Outcome.GONE
    assert script.calls == []


def test_a_list_holds_a_tenants_own_runs_only(script: Script) -> None:
    play, ref = started(script)
    other = play.start(line(script.stage("a"), script.stage("b")), Note(), tenant=STRANGER)
    assert [each.ref for each in read.list_runs(play.env, "acme", ["flow"])] == [ref]
    assert [each.ref for each in read.list_runs(play.env, STRANGER, ["flow"])] == [other]


def test_tenants_whose_names_begin_alike_are_apart(script: Script) -> None:
    play, ref = started(script)
    flow = line(script.stage("a"), script.stage("b"))
    for tenant in ("acm", "acme-2", "acme.eu", "ACME"):
        play.start(flow, Note(), tenant=tenant, key="k")
    assert [each.ref for each in read.list_runs(play.env, "acme", ["flow"])] == [ref]
    assert len({item.partition for item in play.store._partitions}) == 5


def test_the_same_key_is_another_run_for_each_tenant(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    runs = {play.start(flow, Note(), key="k", tenant=tenant).run for tenant in ("acme", STRANGER)}
    assert len(runs) == 2


def test_dead_letters_of_another_tenants_run_are_not_there(script: Script) -> None:
    play, ref = started(script)
    play.sink.refuse = lambda _event: "no"
    for _ in range(play.env.limits.publish_attempts):
        play.clock.move(play.env.limits.look_grace)
        play.tick()
    assert letters_of(play, ref)
    assert letters_of(play, RunRef(STRANGER, ref.run)) == []
    assert replay_dead_letters(play.env, RunRef(STRANGER, ref.run)) is None


def test_a_stage_knows_whose_run_it_is_and_its_pokes_and_events_say_so(script: Script) -> None:
    def whose(ctx: Context) -> None:
        seen.append(ctx.tenant)

    seen: list[str] = []
    play = Play(flow := fork(script.stage("a"), script.stage("b", whose), script.stage("c", whose)))
    play.start(flow, Note(), tenant="acme")
    play.step()
    assert {each.tenant for each in play.queue.waiting} == {"acme"}
    work(play)
    assert seen == ["acme", "acme"]
    assert {each.tenant for each in play.sink.events} == {"acme"}


# --- names ------------------------------------------------------------------------------------------------------------


GOOD = ["a", "acme", "acme-2", "Acme_GmbH.eu", "auth0|5f7c", "user@acme.example", "a" * 128]


@pytest.mark.parametrize("tenant", GOOD)
def test_a_tenants_name_may_be_what_authorisers_give(tenant: str) -> None:
    assert check_tenant(tenant) == tenant


HOSTILE = ["", "a#b", "a~b", "#", "~head", "a b", "a\n", "a\0", "ä", "\ud800", "-a", ".a", "a/b", "a%23b", "a" * 129]


@pytest.mark.parametrize("tenant", HOSTILE, ids=ascii)
def test_a_tenants_name_that_could_reach_into_another_key_is_refused(script: Script, tenant: str) -> None:
    with pytest.raises(InvalidInput, match="is not a tenant id"):
        check_tenant(tenant)
    play = Play(flow := line(script.stage("a")))
    with pytest.raises(InvalidInput, match="is not a tenant id"):
        play.start(flow, Note(), tenant=tenant)


@pytest.mark.parametrize("key", ["k", "order-123", "Bestellung Nr. 5 / ß", "#", "~head", "a" * 256, "日本"])
def test_an_idempotency_key_may_be_any_printable_text(key: str) -> None:
    assert check_key("key", key) == key


@pytest.mark.parametrize("key", ["", "a" * 257, "a\n", "\0", "\ud800", "\u202e"], ids=ascii)
def test_an_idempotency_key_that_cannot_be_printed_is_refused(key: str) -> None:
    with pytest.raises(InvalidInput, match="the key must have 1 to 256 printable characters"):
        check_key("key", key)


def test_keys_that_look_alike_in_a_store_are_different_runs(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    keys = ["a", "a ", "A", "a#", "#a", "ä", "a\u0308", "a/../a"]
    assert len({play.start(flow, Note(), key=key).run for key in keys}) == len(keys)


@pytest.mark.parametrize("run", ["0" * 24, "0123456789abcdef01234567"])
def test_a_run_id_is_twenty_four_hexadecimal_digits(run: str) -> None:
    assert is_run_id(run)


def test_every_run_has_such_an_id(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    assert is_run_id(play.start(flow, Note()).run)
    assert is_run_id(play.start(flow, Note(), key="k").run)


def test_a_reason_may_be_any_text_of_a_paragraph() -> None:
    assert check_reason("") == ""
    assert check_reason("ü\n" * 250) == "ü\n" * 250
