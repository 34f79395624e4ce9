"""What ``bench.hops`` makes of what workers note: hops, medians, percentiles."""

from __future__ import annotations

from typing import cast

import pytest
from msgspec import Raw

from bench import hops as bench
from bench.hops import FLOW, NAMES, REGISTRY, Hop, Round, Seen, Watched, figures, hops, percentile
from bench.payloads import order
from kernel.core.codec import FORMAT, encode_events
from kernel.core.events import AnyEvent, StageCompleted, StageStarted, Value
from kernel.ports import Commit, Guard, RunRef, Store
from kernel.shell.attend import attend
from kernel.shell.environment import Environment
from kernel.shell.start import start
from kernel.testing.memory import FakeClock, MemoryBlobs, MemoryQueue, MemorySink, MemoryStore, NoAlarm, SeededRandom

STAGES = ("a", "b", "c")
MS = 1_000_000


def test_a_hop_goes_from_the_answered_commit_of_a_stage_to_the_body_of_the_next_wherever_that_begins() -> None:
    seen = [
        Seen(completed={("r", "a"): [10 * MS], ("r", "c"): [90 * MS]}, begun={("r", "a"): [MS], ("r", "c"): [40 * MS]}),
        Seen(completed={("r", "b"): [33 * MS]}, begun={("r", "b"): [15 * MS]}),
    ]

    assert hops(seen, STAGES, "r") == [Hop(5.0, apart=True), Hop(7.0, apart=True)]


def test_a_hop_within_a_worker_counts_and_is_told_from_others() -> None:
    assert hops([Seen({("r", "a"): [MS]}, {("r", "b"): [3 * MS]})], STAGES, "r") == [Hop(2.0, apart=False)]


def test_hops_of_other_runs_and_from_other_stages_do_not_count() -> None:
    seen = [
        Seen(
            completed={("r", "a"): [MS], ("other", "b"): [MS], ("r", "b"): [4 * MS]},
            begun={("r", "b"): [2 * MS], ("other", "c"): [9 * MS], ("r", "c"): [7 * MS]},
        )
    ]

    assert hops(seen, STAGES[1:], "r") == [Hop(3.0, apart=False)]


@pytest.mark.parametrize(
    "second", [Seen({}, {("r", "b"): [50 * MS]}), Seen({("r", "a"): [50 * MS]}, {})], ids=["begun", "completed"]
)
def test_what_happened_twice_makes_no_hop_whoever_did_it(second: Seen) -> None:
    seen = Seen({("r", "a"): [MS]}, {("r", "b"): [2 * MS]})

    assert hops([seen, second], STAGES, "r") == []


def test_a_percentile_is_the_smallest_sample_that_so_many_percent_do_not_exceed() -> None:
    samples = [float(number) for number in range(200, 0, -1)]

    assert (percentile(samples, 99), percentile(samples, 50), percentile([7.0], 99)) == (198.0, 100.0, 7.0)


def test_a_round_compares_the_median_hop_with_the_sum_of_the_medians_of_its_parts() -> None:
    parts = {"load_query": [1.0, 2.0, 90.0], "claim_put": [3.0], "redis": [5.0]}

    assert Round([Hop(14.0, apart=True), Hop(15.0, apart=True), Hop(99.0, apart=False)], parts).over == 1.5


def test_a_round_on_a_slow_machine_does_not_change_what_hops_are_over_their_parts() -> None:
    def round_(slow: float) -> Round:
        parts = {"load_query": [5.0 * slow], "claim_put": [4.0 * slow], "redis": [1.0 * slow]}
        return Round([Hop(12.0 * slow, apart=True)], parts)

    found = figures([round_(1), round_(1), round_(8)])

    assert found == {
        "hop_over_parts": 1.2,
        "hop_p50_over_parts_p50": 1.2,
        "hop_ms_p50": 12.0,
        "load_query_ms_p50": 5.0,
        "claim_put_ms_p50": 4.0,
        "redis_ms_p50": 1.0,
        "parts_ms_p50": 10.0,
        "hop_ms_p99": 96.0,
        "load_query_ms_p99": 40.0,
        "claim_put_ms_p99": 32.0,
        "redis_ms_p99": 8.0,
        "hops": 3,
        "hops_to_another_worker": 3,
    }


def test_of_commits_only_those_are_noted_that_were_taken_and_complete_a_stage() -> None:
    def commit(seq: int, token: str, event: AnyEvent) -> Commit:
        return Commit(seq=seq, at=1, token=token, by="w", events=encode_events([event]), ttl=1, v=FORMAT)

    ref, store = RunRef("t", "r"), Watched(MemoryStore())
    store.put(ref, commit(1, "mine", StageStarted("a", 1, 5_000)), Guard.COMMIT_IS_NEXT)
    store.put(ref, commit(2, "mine", StageCompleted("a", 1, Value(json=Raw(b"{}")))), Guard.COMMIT_IS_NEXT)
    store.put(ref, commit(2, "late", StageCompleted("a", 1, Value(json=Raw(b"{}")))), Guard.COMMIT_IS_NEXT)

    completed = store.completed()

    assert list(completed) == [("r", "a")]
    assert len(completed["r", "a"]) == 1


def test_two_workers_note_each_hop_of_a_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, memory = FakeClock(), MemoryStore()
    queue = MemoryQueue(clock.now)
    stores = [Watched(memory), Watched(memory)]
    begun: list[dict[tuple[str, str], list[int]]] = [{}, {}]
    workers = [
        Environment(
            store=cast("Store", store),
            queue=queue,
            blobs=MemoryBlobs(),
            sink=MemorySink(),
            clock=clock,
            random=SeededRandom(number),
            alarm=NoAlarm(),
            definitions=REGISTRY,
        )
        for number, store in enumerate(stores)
    ]
    ref = start(workers[0], FLOW, order(), tenant="t", by="me").ref
    turn = 0
    while (poke := queue.receive()) is not None:
        monkeypatch.setattr(bench, "_begun", begun[turn])
        attend(workers[turn], poke, clock.monotonic() + 300)
        turn = 1 - turn

    found = hops([Seen(store.completed(), each) for store, each in zip(stores, begun, strict=True)], NAMES, ref.run)

    assert len(found) == len(NAMES) - 1
    assert all(hop.ms > 0 and hop.apart for hop in found)
