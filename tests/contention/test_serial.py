"""The check of races on trial: what could have been by turns passes, and what could not does not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from kernel.ports import Commit, Guard, Head, HeadUpdate, Item
from kernel.testing.conformance.examples import commit, fresh_ref, fresh_token, head
from kernel.testing.units import apply
from tests.contention.racing import Move
from tests.contention.serial import assert_never_backwards, chain_of

REF = fresh_ref()
FIRST = head(REF)


def put(item: Commit, began: float, ended: float, stood: Item | None = None) -> Move:
    return Move(REF, Guard.COMMIT_IS_NEXT, item, stood is None, stood, began, ended)


def wake(due_seq: int, over: Head, began: float, ended: float, *, accepted: bool = True) -> Move:
    change = HeadUpdate(guard=Guard.WAKE_IS_NEWER, look=fresh_token(), due=over.created + due_seq, due_seq=due_seq)
    return Move(REF, change.guard, change, accepted, over, began, ended)


def after(move: Move) -> Head:
    assert isinstance(move.seen, Head)
    assert isinstance(move.write, HeadUpdate)
    return apply(move.seen, move.write)


WON, LOST = commit(1), commit(1)


def test_one_winner_whose_record_the_loser_is_shown_could_have_been_by_turns() -> None:
    moves = [put(LOST, 0, 3, stood=WON), put(WON, 1, 2)]

    assert chain_of(moves, None, WON) == [moves[1]]


def test_two_winners_of_a_number_could_not() -> None:
    with pytest.raises(AssertionError, match="replaced the same version"):
        chain_of([put(WON, 0, 1), put(LOST, 0, 1)], None, LOST)


def test_a_winner_whose_record_is_not_there_could_not() -> None:
    with pytest.raises(AssertionError, match="what is there is not"):
        chain_of([put(WON, 0, 1)], None, None)


def test_a_loser_who_is_shown_what_never_was_there_could_not() -> None:
    with pytest.raises(AssertionError, match="never was there"):
        chain_of([put(WON, 0, 1), put(LOST, 0, 1, stood=commit(1))], None, WON)


def test_updates_are_put_into_the_order_in_which_they_took_effect() -> None:
    first = wake(1, FIRST, 0, 5)
    second = wake(3, after(first), 1, 4)
    late = wake(2, after(second), 2, 6, accepted=False)

    assert chain_of([second, late, first], FIRST, after(second)) == [first, second]


def test_an_update_that_its_guard_should_have_refused_could_not() -> None:
    first = wake(3, FIRST, 0, 1)
    second = wake(2, after(first), 2, 3)

    with pytest.raises(AssertionError, match="wake-is-newer let"):
        chain_of([first, second], FIRST, after(second))


def test_an_update_that_its_guard_should_have_let_pass_could_not() -> None:
    with pytest.raises(AssertionError, match="wake-is-newer refused"):
        chain_of([wake(1, FIRST, 0, 1, accepted=False)], FIRST, FIRST)


def test_an_update_that_was_lost_could_not() -> None:
    first = wake(1, FIRST, 0, 1)
    other = wake(2, replace(FIRST, look="nobody's"), 0, 1)

    with pytest.raises(AssertionError, match="have no place in any order"):
        chain_of([first, other], FIRST, after(first))


def test_an_update_that_took_effect_before_it_was_sent_could_not() -> None:
    first = wake(1, FIRST, 5, 6)
    second = wake(2, after(first), 0, 1)

    with pytest.raises(AssertionError, match="took effect after a write"):
        chain_of([first, second], FIRST, after(second))


@pytest.mark.parametrize(
    ("began", "ended", "words"), [(0.0, 1.0, "yet to be written"), (9.0, 10.0, "long been replaced")]
)
def test_a_refusal_by_what_was_not_there_at_the_time_could_not(began: float, ended: float, words: str) -> None:
    first = wake(5, FIRST, 3, 4)
    second = wake(6, after(first), 5, 6)
    refused = wake(4, after(first), began, ended, accepted=False)

    with pytest.raises(AssertionError, match=words):
        chain_of([first, second, refused], FIRST, after(second))


@pytest.mark.parametrize("backwards", [{"due_seq": -1}, {"published": -2}], ids=str)
def test_what_goes_back_is_named(backwards: dict[str, int]) -> None:
    with pytest.raises(AssertionError, match="back from"):
        assert_never_backwards([FIRST, replace(FIRST, **backwards)])
