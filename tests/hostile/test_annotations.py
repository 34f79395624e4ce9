"""Annotations and priorities: whatever is said is kept as it is, or refused with an error that can be told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from kernel.annotations import LONGEST, MOST, accept, add, decode, encode
from kernel.errors import CorruptLog, InvalidInput
from kernel.limits import PRIORITIES, check_priority
from tests.hostile.attack import attack, either
from tests.hostile.shapes import damaged_text, junk, texts, valid_texts

keys = st.one_of(st.from_regex(r"\A[A-Za-z][A-Za-z0-9._-]{0,63}\Z"), texts, junk)
values = st.one_of(st.text(max_size=LONGEST), st.booleans(), st.integers(), st.floats(), texts, junk)


def _hashable(key: object) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True


@attack(given=st.one_of(st.dictionaries(keys.filter(_hashable), values, max_size=MOST + 2), junk))
def test_annotations_of_a_start_are_kept_as_they_are_or_refused_by_name(given: Any) -> None:
    kept = either(InvalidInput, accept, given)

    if isinstance(kept, InvalidInput):
        assert all(where.startswith("annotations") for where, _ in kept.problems)
        assert msgspec.json.encode([str(kept), kept.problems]), "it can be told in an answer"
        assert len(str(kept)) < 5_000
    elif not given:
        assert kept == b""
    else:
        assert decode(kept, "").said == list(given.items())
        assert len(kept) < 40_000


@attack(pairs=st.lists(st.tuples(keys, values), max_size=MOST + 4))
def test_an_annotation_of_a_stage_is_kept_as_it_is_or_an_error_that_can_be_told(pairs: list[tuple[Any, Any]]) -> None:
    said: list[Any] = []
    kept: list[tuple[Any, Any]] = []
    for key, value in pairs:
        refused = either(ValueError, either, TypeError, add, said, key, value)
        if refused is None:
            kept.append((key, value))
            continue
        assert str(refused).encode()
        assert len(str(refused)) < 500

    assert said == kept
    assert len(said) <= MOST
    assert not said or decode(encode(said, "stage"), "").said == said


notes = st.lists(st.tuples(valid_texts, st.one_of(valid_texts, st.booleans(), st.integers(-9, 9))), min_size=1)


@attack(text=st.one_of(notes.map(encode).map(bytes.decode).flatmap(damaged_text), texts))
def test_any_text_of_annotations_is_read_or_told_to_be_corrupt(text: str) -> None:
    found = either(CorruptLog, decode, text.encode(errors="surrogatepass"), "run r1, commit 7,")

    if isinstance(found, CorruptLog):
        assert str(found).startswith("run r1, commit 7, has annotations that cannot be read")
    else:
        assert decode(encode(found.said, found.stage), "") == found if found.said else True


@attack(given=st.one_of(texts, junk))
def test_anything_else_is_no_priority(given: Any) -> None:
    if isinstance(given, str) and given in PRIORITIES:
        return
    with pytest.raises(InvalidInput, match="there is no priority") as caught:
        check_priority(given)
    assert str(caught.value).encode()
