"""Annotations (R5): typed key-values of a start and of attempts, written with their commit, listed by prefix."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum, IntEnum, StrEnum
from math import inf, nan
from typing import Any

import pytest
from msgspec.structs import replace

from infra.dynamodb.items import from_attributes, size, to_attributes
from kernel.annotations import LONGEST, MOST, WIDEST, encode
from kernel.core.events import StageCompleted, StageFailed
from kernel.core.evolve import FOLD_VERSION
from kernel.errors import Conflict, CorruptLog, InvalidInput, NotFound
from kernel.ports import DATA, Commit, RunRef
from kernel.shell import read
from kernel.testing.faults import Fault
from kernel.testing.play import Play
from kernel.testing.units import Usage, size_of
from onewrite import Context, Pending, Retry
from onewrite.testing import context
from tests.shell.script import (
    MINUTE,
    Act,
    Note,
    Script,
    commits_of,
    dies,
    events,
    fork,
    head_of,
    is_commit_of,
    keys_of,
    line,
    once,
    once_before,
    state_of,
    unreadable,
    work,
)

SAID: dict[str, Any] = {"trigger": "nightly", "attempt": 3, "share": 0.5, "dry-run": True, "Who.else_1": "Zoë 🌟"}


def says(key: Any = "who", value: Any = "alice", then: Act | None = None) -> Act:
    """Annotate, and go on."""

    def act(ctx: Context) -> Any:
        ctx.annotate(key, value)
        return then(ctx) if then else None

    return act


def fails(ctx: Context) -> None:
    raise RuntimeError("no")


def listed(play: Play, ref: RunRef, prefix: str = "") -> list[tuple[Any, ...]]:
    """What was said, and where: key, value, number, stage."""
    return [(each.key, each.value, each.seq, each.stage) for each in play.annotations(ref, prefix)]


# --- at the start -----------------------------------------------------------------------------------------------------


def test_what_a_run_is_started_with_is_listed_with_its_place(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note(), annotations=SAID)
    begun = play.clock.now()
    play.clock.move(MINUTE)
    play.play(ref)
    found = play.annotations(ref)
    assert {each.key: each.value for each in found} == SAID
    assert [type(each.value) for each in found] == [str, int, float, bool, str]
    assert {(each.seq, each.at, each.by, each.stage) for each in found} == {(0, begun, "test", "")}


@pytest.mark.parametrize("none", [None, {}])
def test_nothing_is_stored_of_no_annotations(script: Script, none: Any) -> None:
    play = Play(flow := line(script.stage("a", says()), script.stage("b")))
    ref = play.start(flow, Note(), annotations=none)
    play.play(ref)
    head = head_of(play, ref)
    assert head.annotations == b""
    assert "annotations" not in to_attributes(ref, head)
    said = [commit.seq for commit in commits_of(play, ref) if "annotations" in to_attributes(ref, commit)]
    assert said == [2], "the only commit that says anything"


def test_no_decision_ever_sees_them(script: Script) -> None:
    """The log, the state and its snapshot are those of a run of which nothing was said."""
    plays = []
    for act, said in ((None, None), (says(), SAID)):
        play = Play(flow := line(*(script.stage(f"s{number:02d}", act) for number in range(20))))
        ref = play.start(flow, Note(), annotations=said)
        play.play(ref)
        plays.append((play.ended(ref).log, state_of(play, ref), FOLD_VERSION))
    (plain, plain_state, _), (noted, noted_state, _) = plays
    assert noted == plain
    assert noted_state == plain_state


def test_they_are_not_part_of_what_was_asked_for(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    first = play.start(flow, Note(), key="k", annotations={"who": "alice"})
    assert play.start(flow, Note(), key="k", annotations={"who": "bob"}) == first
    assert play.start(flow, Note(), key="k") == first
    with pytest.raises(Conflict):
        play.start(flow, Note(text="other"), key="k", annotations={"who": "alice"})
    assert listed(play, first) == [("who", "alice", 0, "")]


BAD: list[tuple[Any, Any, str]] = [
    ("", 1, "a key is a letter"),
    ("1st", 1, "a key is a letter"),
    ("a b", 1, "a key is a letter"),
    ("a\n", 1, "a key is a letter"),
    ("ünï", 1, "a key is a letter"),
    ("a#b", 1, "a key is a letter"),
    ("x" * 65, 1, "a key is a letter"),
    ("\ud800", 1, "a key is a letter"),
    ("k", None, "not NoneType"),
    ("k", [], "not list"),
    ("k", {"a": 1}, "not dict"),
    ("k", b"x", "not bytes"),
    ("k", 1j, "not complex"),
    ("k", nan, "nan is not a finite number"),
    ("k", inf, "inf is not a finite number"),
    ("k", -inf, "-inf is not a finite number"),
    ("k", WIDEST, "at most 64 bits"),
    ("k", -WIDEST - 1, "at most 64 bits"),
    ("k", 10**5000, "at most 64 bits"),
    ("k", "x" * (LONGEST + 1), "at most 256 characters, not 257"),
    ("k", "\ud800", "not valid Unicode"),
]


@pytest.mark.parametrize(("key", "value", "why"), BAD, ids=map(str, range(len(BAD))))
def test_a_start_that_says_what_cannot_be_kept_is_refused_whole_and_names_it(
    script: Script, key: str, value: Any, why: str
) -> None:
    play = Play(flow := line(script.stage("a")))
    with pytest.raises(InvalidInput) as caught:
        play.start(flow, Note(), annotations={"fine": 1, key: value})
    ((where, what),) = caught.value.problems
    assert where == "annotations." + key.encode(errors="backslashreplace").decode()[:80]
    assert why in what
    assert len(str(caught.value)) < 500
    str(caught.value).encode()
    assert play.faults.calls == []


@pytest.mark.parametrize("odd", [[], [("a", 1)], "who", 7, {f"k{n}": n for n in range(MOST + 1)}])
def test_more_than_there_may_be_or_something_else_is_refused(script: Script, odd: Any) -> None:
    play = Play(flow := line(script.stage("a")))
    with pytest.raises(InvalidInput) as caught:
        play.start(flow, Note(), annotations=odd)
    assert caught.value.problems == (("annotations", "give an object of at most 16 fields"),)
    assert play.faults.calls == []


def test_every_annotation_that_does_not_fit_is_named(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    bad: dict[Any, Any] = {"a b": 1, "fine": 2, "k": None, 7: "x"}
    with pytest.raises(InvalidInput) as caught:
        play.start(flow, Note(), annotations=bad)
    assert [where for where, _ in caught.value.problems] == ["annotations.a b", "annotations.k", "annotations.7"]


EDGES: list[Any] = ["", "x" * LONGEST, '\0\n"\\é🌟', True, False, 0, -1, WIDEST - 1, -WIDEST, 0.0, 1e308, 5e-324, 1.0]


@pytest.mark.parametrize("value", EDGES, ids=map(str, range(len(EDGES))))
def test_what_is_within_the_limits_is_read_as_it_was_said(script: Script, value: Any) -> None:
    play = Play(flow := line(script.stage("a", says("x" * 64, value))))
    ref = play.start(flow, Note(), annotations={"k": value})
    play.play(ref)
    found = play.annotations(ref)
    assert [(each.key, type(each.value), each.value) for each in found] == [
        ("k", type(value), value),
        ("x" * 64, type(value), value),
    ]


def test_as_many_as_there_may_be_are_kept_and_read_through_the_table(script: Script) -> None:
    most = {f"k{number:02d}".ljust(64, "x"): "\0" * LONGEST for number in range(MOST)}

    def all_of_them(ctx: Context) -> None:
        for key, value in most.items():
            ctx.annotate(key, value)

    play = Play(flow := line(script.stage("a", all_of_them)))
    ref = play.start(flow, Note(), annotations=most)
    play.play(ref)
    assert [(each.key, each.value) for each in play.annotations(ref)] == [*most.items(), *most.items()]
    for item in (head_of(play, ref), commits_of(play, ref)[1]):
        assert from_attributes(to_attributes(ref, item)) == item
        assert 16 * 6 * LONGEST < size(to_attributes(ref, item)) < 30_000
        assert abs(size(to_attributes(ref, item)) - size_of(ref, item)) <= 4


# --- from a stage -----------------------------------------------------------------------------------------------------


def test_what_a_stage_says_is_written_with_the_commit_that_completes_it(script: Script) -> None:
    play = Play(flow := line(script.stage("a", says("who", "alice")), script.stage("b", says("n", 3))))
    ref = play.start(flow, Note())
    play.play(ref)
    assert listed(play, ref) == [("who", "alice", 2, "a"), ("n", 3, 3, "b")]
    for each in play.annotations(ref):
        (completed,) = (event for event in play.ended(ref).log[each.seq] if isinstance(event, StageCompleted))
        assert completed.stage == each.stage
        commit = commits_of(play, ref)[each.seq - 1]
        assert (each.at, each.by) == (commit.at, commit.by) == (commit.at, "worker")


def test_what_an_attempt_says_that_fails_is_kept_with_its_failure(script: Script) -> None:
    tried: list[int] = []

    def tries(ctx: Context) -> None:
        tried.append(ctx.attempt)
        ctx.annotate("try", ctx.attempt)
        if ctx.attempt < 3:
            fails(ctx)

    play = Play(flow := line(script.stage("a", tries, retry=Retry(3))))
    ref = play.run(flow, Note()).ref
    found = play.annotations(ref)
    assert [(each.key, each.value, each.stage) for each in found] == [("try", n, "a") for n in (1, 2, 3)]
    failed = [seq for seq, each in enumerate(play.ended(ref).log) if any(isinstance(e, StageFailed) for e in each)]
    assert [each.seq for each in found[:2]] == failed


def test_a_compensation_may_say_something_too(script: Script) -> None:
    first = script.stage("a", compensate=script.undo(says("undone", value=True)))
    play = Play(flow := line(first, script.stage("b", fails, retry=Retry(1)), on_failure="compensate"))
    ref = play.run(flow, Note()).ref
    assert [(each.key, each.stage) for each in play.annotations(ref)] == [("undone", "compensate:a")]


def test_a_stage_that_suspends_itself_and_its_check_may_say_something(script: Script) -> None:
    looks: list[int] = []

    def look(ctx: Context) -> Any:
        looks.append(1)
        ctx.annotate("look", len(looks))
        return Pending() if len(looks) < 3 else None

    play = Play(flow := line(script.job("a", look)))
    ref = play.run(flow, Note()).ref
    assert [(each.key, each.value) for each in play.annotations(ref)] == [("look", 1), ("look", 2), ("look", 3)]

    asked = Play(flow := line(script.asks("b", says("asked", "bob"))))
    ref = asked.start(flow, Note())
    work(asked)
    assert [(each.key, each.value, each.stage) for each in asked.annotations(ref)] == [("asked", "bob", "b")]


def test_a_check_that_throws_has_said_what_it_said(script: Script) -> None:
    looks: list[int] = []

    def look(ctx: Context) -> None:
        looks.append(1)
        ctx.annotate("look", len(looks))
        if len(looks) == 1:
            fails(ctx)

    play = Play(flow := line(script.job("a", look)))
    assert [value for _, value, _, _ in listed(play, play.run(flow, Note()).ref)] == [1, 2]


def test_a_later_one_with_the_same_key_stands_beside_the_earlier_one(script: Script) -> None:
    def twice(ctx: Context) -> None:
        ctx.annotate("who", "bob")
        ctx.annotate("who", "carol")

    play = Play(flow := line(script.stage("a", twice), script.stage("b", says("who", "dave"))))
    ref = play.start(flow, Note(), annotations={"who": "alice"})
    play.play(ref)
    said = [("who", "alice", 0, ""), ("who", "bob", 2, "a"), ("who", "carol", 2, "a"), ("who", "dave", 3, "b")]
    assert listed(play, ref) == said


def test_a_rerun_says_it_again(script: Script) -> None:
    play = Play(flow := line(script.stage("a", says())))
    ref = play.run(flow, Note()).ref
    play.rerun(ref, "a")
    play.play(ref)
    assert [(key, stage) for key, _, _, stage in listed(play, ref)] == [("who", "a")] * 2


def test_a_stale_attempt_says_nothing(script: Script) -> None:
    """It was cancelled, or another took the stage over, before it could commit; nor does the next commit say it."""

    def overtaken(ctx: Context) -> None:
        ctx.annotate("late", value=True)
        if not cancelled:
            cancelled.append(True)
            play.cancel(ref)

    cancelled: list[bool] = []
    play = Play(flow := line(script.stage("a", overtaken)))
    ref = play.start(flow, Note())
    play.play(ref)
    assert listed(play, ref) == []
    assert not [commit for commit in commits_of(play, ref) if commit.annotations]


def test_an_attempt_whose_lease_was_reaped_says_nothing_and_the_next_one_does(script: Script) -> None:
    def slow(ctx: Context) -> None:
        ctx.annotate("attempt", ctx.attempt)
        if ctx.attempt == 1:
            play.clock.move(10 * MINUTE)
            play.tick()

    play = Play(flow := line(script.stage("a", slow, timeout=timedelta(minutes=1), retry=Retry(3))))
    ref = play.start(flow, Note())
    play.play(ref)
    assert [(each.key, each.value) for each in play.annotations(ref)] == [("attempt", 2)]


def test_of_an_attempt_that_took_its_process_down_nothing_is_known(script: Script) -> None:
    play = Play(flow := line(script.stage("a", says(then=dies(1)), retry=Retry(3))))
    ref = play.run(flow, Note()).ref
    assert len(listed(play, ref)) == 1


def test_a_commit_whose_reply_was_lost_says_it_once(script: Script) -> None:
    play = Play(flow := line(script.stage("a", says()), script.stage("b")))
    ref = play.start(flow, Note())
    once(play, lambda call: is_commit_of(call, "StageCompleted", "a"), Fault.LOST_REPLY)
    play.play(ref)
    assert listed(play, ref) == [("who", "alice", 2, "a")]


def test_a_commit_that_is_decided_again_still_says_it(script: Script) -> None:
    """Another branch was faster, so that the commit takes a later number."""
    play = Play(
        flow := fork(script.stage("a"), script.stage("b", says("who", "b")), script.stage("c", says("who", "c")))
    )
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "b"), lambda: play.attend(ref, "c"))
    play.play(ref)
    assert sorted((value, stage) for _, value, _, stage in listed(play, ref)) == [("b", "b"), ("c", "c")]
    for each in play.annotations(ref):
        assert [e.stage for e in play.ended(ref).log[each.seq] if isinstance(e, StageCompleted)] == [each.stage]


@pytest.mark.parametrize(("key", "value", "why"), BAD, ids=map(str, range(len(BAD))))
def test_what_a_stage_says_that_cannot_be_kept_is_an_error_at_the_call(
    script: Script, key: str, value: Any, why: str
) -> None:
    seen: list[BaseException] = []

    def act(ctx: Context) -> None:
        ctx.annotate("before", 1)
        try:
            ctx.annotate(key, value)
        except (TypeError, ValueError) as error:
            seen.append(error)
        ctx.annotate("after", 2)

    play = Play(flow := line(script.stage("a", act)))
    ref = play.run(flow, Note()).ref
    (error,) = seen
    assert why in str(error)
    assert type(error) is (TypeError if "not " in why and why.rsplit(maxsplit=1)[-1] in _NO_VALUES else ValueError)
    assert listed(play, ref) == [("before", 1, 2, "a"), ("after", 2, 2, "a")]


_NO_VALUES = ("NoneType", "list", "dict", "bytes", "complex")


def test_a_key_that_is_no_text_is_a_type_error(script: Script) -> None:
    with pytest.raises(TypeError, match="the key of an annotation is a text, not int"):
        context(Note()).annotate(7, 1)  # type: ignore[arg-type]


def test_an_error_of_a_call_that_nobody_catches_fails_the_attempt(script: Script) -> None:
    play = Play(flow := line(script.stage("a", says("bad key"), retry=Retry(1))))
    error = play.run(flow, Note()).view.error
    assert error is not None
    assert (error.kind, error.category) == ("ValueError", "user")
    assert error.message.startswith("annotation bad key: a key is a letter")


def test_the_seventeenth_of_an_attempt_is_an_error_and_the_sixteen_are_kept(script: Script) -> None:
    def too_many(ctx: Context) -> None:
        for number in range(MOST + 1):
            ctx.annotate(f"k{number}", number)

    play = Play(flow := line(script.stage("a", too_many, retry=Retry(1))))
    ended = play.run(flow, Note())
    assert ended.view.error is not None
    assert ended.view.error.message == "an attempt has at most 16 annotations: k16 is one too many"
    assert [value for _, value, _, _ in listed(play, ended.ref)] == list(range(MOST))


def test_values_of_enumerations_are_what_they_stand_for(script: Script) -> None:
    class Why(StrEnum):
        AUDIT = "audit"

    class Level(IntEnum):
        HIGH = 3

    class Old(str, Enum):  # noqa: UP042 - what many still write
        KEY = "key"

    class Share(float):
        pass

    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    def act(ctx: Context) -> None:
        for value in (Why.AUDIT, Level.HIGH, Old.KEY, Share(0.5), Text("text"), Number(7)):
            ctx.annotate(Old.KEY, value)
        ctx.annotate(Text("text"), value=True)

    play = Play(flow := line(script.stage("a", act)))
    ref = play.run(flow, Note()).ref
    assert [(key, value) for key, value, _, _ in listed(play, ref)] == [
        ("key", "audit"),
        ("key", 3),
        ("key", "key"),
        ("key", 0.5),
        ("key", "text"),
        ("key", 7),
        ("text", True),
    ]


def test_what_is_said_after_the_end_of_a_body_is_not_kept(script: Script) -> None:
    kept: list[Context] = []
    play = Play(flow := line(script.stage("a", kept.append), script.stage("b", lambda _ctx: kept[0].annotate("k", 1))))
    assert listed(play, play.run(flow, Note()).ref) == []


def test_a_unit_test_of_a_stage_meets_the_same_errors() -> None:
    ctx = context(Note())
    ctx.annotate("who", "alice")
    with pytest.raises(ValueError, match="annotation who: a text has at most 256"):
        ctx.annotate("who", "x" * 257)


# --- what it costs ----------------------------------------------------------------------------------------------------


def used(script: Script, act: Act | None, said: Any = None, output: int = 200) -> tuple[Usage, Play, RunRef]:
    def body(ctx: Context) -> Note:
        if act:
            act(ctx)
        return Note(text="y" * output)

    play = Play(flow := line(*(script.stage(f"stage-{number}", body) for number in range(5))))
    ref = play.start(flow, Note(text="x" * 200), annotations=said)
    play.play(ref)
    return play.meter.of(ref), play, ref


def test_they_cost_no_write_unit_while_items_stay_under_a_kilobyte(script: Script) -> None:
    plain, _, _ = used(script, None)
    noted, play, ref = used(script, says("trigger", "x" * 100), {"trigger": "y" * 100})
    assert noted == plain
    assert max(size_of(ref, commit) for commit in commits_of(play, ref)) < 1024
    assert len(listed(play, ref)) == 6


@pytest.mark.parametrize("output", [300, 400, 440, 480, 500, 540])
def test_an_output_that_has_no_room_beside_them_is_kept_elsewhere(script: Script, output: int) -> None:
    _, play, ref = used(script, says("trigger", "x" * 120), output=output)
    assert max(size_of(ref, commit) for commit in commits_of(play, ref)) < 1024
    assert bool(keys_of(play, ref, DATA)) == (output > 380)
    assert play.ended(ref).output == Note(text="y" * output)


@pytest.mark.parametrize("priority", ["normal", "high"])
@pytest.mark.parametrize("said", [None, {"why": "y" * 60}, {"why": "y" * 250}])
def test_what_a_head_keeps_beside_leaves_values_the_less_room(script: Script, priority: Any, said: Any) -> None:
    """So that it is never larger than without: well under a kilobyte."""
    play = Play(flow := line(script.stage("a")))

    def largest(**options: Any) -> int:
        refs = [play.start(flow, Note(text="x" * length), **options) for length in range(560)]
        return max(size_of(ref, head_of(play, ref)) for ref in refs)

    assert largest(priority=priority, annotations=said) == largest() < 1_000


def test_a_conflict_leaves_nothing_behind_however_much_is_said(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note(text="x" * 400), key="k")
    with pytest.raises(Conflict):
        play.start(flow, Note(text="y" * 400), key="k", annotations={"why": "z" * 250})
    assert keys_of(play, ref, DATA) == []


# --- listing ----------------------------------------------------------------------------------------------------------


def chatty(script: Script, stages: int, each: int = 1) -> tuple[Play, RunRef]:
    """A run each of whose stages says so much."""

    def talks(ctx: Context) -> None:
        for number in range(each):
            ctx.annotate(f"{ctx.stage}.{number}", number)

    play = Play(flow := line(*(script.stage(f"s{number:03d}", talks) for number in range(stages))))
    ref = play.start(flow, Note(), annotations={"trigger": "nightly"})
    play.play(ref)
    return play, ref


@pytest.mark.parametrize(
    ("prefix", "keys"),
    [
        ("", ["trigger", "s000.0", "s001.0", "s002.0"]),
        ("s", ["s000.0", "s001.0", "s002.0"]),
        ("s001", ["s001.0"]),
        ("s001.0", ["s001.0"]),
        ("S", []),
        ("s001.0x", []),
        (".", []),
        ("\ud800", []),
    ],
)
def test_they_are_listed_by_prefix(script: Script, prefix: str, keys: list[str]) -> None:
    play, ref = chatty(script, 3)
    assert [each.key for each in play.annotations(ref, prefix)] == keys


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 200])
def test_pages_are_whole_in_order_and_go_on_where_they_ended(script: Script, limit: int) -> None:
    play, ref = chatty(script, 8, each=3)
    whole = play.annotations(ref)
    assert len(whole) == 1 + 8 * 3
    pages = []
    after: int | None = -1
    while after is not None:
        page = read.list_annotations(play.env, ref, after=after, limit=limit)
        assert page.annotations
        assert len(page.annotations) <= max(limit, 3), "of one commit they come together"
        pages.append(page.annotations)
        after = page.after
    assert [each for page in pages for each in page] == whole


def test_a_page_reads_so_many_commits_at_most_also_where_nothing_was_said(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "SCANNED", 10)
    play, ref = chatty(script, 30)
    seen, after, pages = [], -1, 0
    while True:
        page = read.list_annotations(play.env, ref, prefix="s029", after=after)
        seen += [each.key for each in page.annotations]
        pages += 1
        if page.after is None:
            break
        assert page.after == after + 10
        after = page.after
    assert (seen, pages) == (["s029.0"], 4)


def test_a_listing_past_the_end_is_empty(script: Script) -> None:
    play, ref = chatty(script, 1)
    assert read.list_annotations(play.env, ref, after=10**9) == read.AnnotationPage([], None)


def test_a_listing_of_no_run_or_of_anothers_is_not_found(script: Script) -> None:
    play, ref = chatty(script, 1)
    for other in (RunRef("acme", ref.run), RunRef(ref.tenant, "0" * 24), RunRef(ref.tenant, "x")):
        with pytest.raises(NotFound):
            read.list_annotations(play.env, other)


def test_a_listing_is_of_the_whole_log_behind_a_snapshot_too(script: Script) -> None:
    play, ref = chatty(script, 40)
    assert keys_of(play, ref, "~snap")
    assert len(listed(play, ref)) == 41


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'{"said":[["k"]]}', b'{"said":[["k",null]]}', b'{"said":[[1,2]]}', b"\xff", b"[" * 5000]
)
def test_annotations_that_cannot_be_read_are_told_of_and_harm_the_run_in_nothing(script: Script, text: bytes) -> None:
    play = Play(flow := line(script.stage("a", says()), script.stage("b", says()), chain=False))
    ref = play.start(flow, Note())
    play.step()
    commit = commits_of(play, ref)[1]
    play.store.put(ref, replace(commit, annotations=text))
    play.play(ref)
    assert play.look(ref).status == "completed"
    with pytest.raises(CorruptLog, match=f"run {ref.run}, commit 2, has annotations that cannot be read"):
        play.annotations(ref)
    assert [each.seq for each in read.list_annotations(play.env, ref, after=2).annotations] == [4]


def test_a_commit_that_cannot_be_read_is_no_empty_one(script: Script) -> None:
    play, ref = chatty(script, 3)
    unreadable(play, ref, commits_of(play, ref)[1].key)
    with pytest.raises(CorruptLog):
        play.annotations(ref)


def test_what_is_kept_can_be_read_by_people(script: Script) -> None:
    play = Play(flow := line(script.stage("a", says("who", "Zoë"))))
    ref = play.start(flow, Note(), annotations={"attempt": 3})
    play.play(ref)
    assert head_of(play, ref).annotations == b'{"said":[["attempt",3]]}'
    assert commits_of(play, ref)[1].annotations == '{"said":[["who","Zoë"]],"stage":"a"}'.encode()


def test_they_are_not_published(script: Script) -> None:
    play = Play(flow := line(script.stage("a", says("secretly", "said"))))
    ref = play.start(flow, Note(), annotations={"secretly": "said"})
    play.play(ref)
    assert play.sink.events
    assert not [event for event in play.sink.events if b"secretly" in event.body]
    assert events(play, ref, StageCompleted)
    assert isinstance(commits_of(play, ref)[0], Commit)


def test_no_annotations_are_no_text() -> None:
    assert encode([]) == encode([], "stage") == b""
