"""What third parties send: tokens that were never given out, and answers of any form to one that was."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import strategies as st

from kernel.core.tokens import LONGEST, Token, read_token, write_token
from kernel.errors import Refused
from kernel.ports import RunRef
from kernel.shell import callback
from kernel.testing.play import Play
from tests.hostile.attack import attack, either
from tests.hostile.shapes import damaged, damaged_text, junk, odd_texts, texts, valid_texts
from tests.shell.script import Flow, Note, Script, line, work

tokens = st.builds(Token, valid_texts, valid_texts, valid_texts, st.integers(1, 9_999_999_999), valid_texts)


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@attack(token=tokens)
def test_a_token_reads_back_as_it_was_given(token: Token) -> None:
    text = write_token(token)

    assert read_token(text) == token or len(text) > LONGEST
    assert text.replace("-", "").replace("_", "").isalnum()
    assert text.isascii()


@attack(
    text=st.one_of(
        texts,
        tokens.map(write_token).flatmap(damaged_text),
        damaged([1, "acme", "a" * 24, "charge", 1, "0" * 48]).map(encoded),
        junk.map(encoded),
        odd_texts.map(encoded),
    )
)
def test_any_other_token_is_none(text: str) -> None:
    found = read_token(text)

    assert found is None or write_token(found) == text


def waiting() -> tuple[Play, RunRef, str]:
    """A run that waits for an answer, and its token."""
    script = Script()
    play = Play(flow := _flow(script))
    ref = play.start(flow, Note())
    work(play)
    return play, ref, script.tokens[0]


def _flow(script: Script) -> Flow:
    return line(script.asks("ask"))


@attack(said=st.one_of(junk, texts, st.builds(dict, text=texts)), kind=texts, message=texts)
def test_any_answer_to_a_callback_is_recorded_or_refused(said: Any, kind: str, message: str) -> None:
    play, ref, token = waiting()

    completed = either(Refused, callback.complete, play.env, token, said)
    failed = either(Refused, callback.fail, play.env, token, kind=kind, message=message, retryable=False)

    accepted = [each for each in (completed, failed) if isinstance(each, callback.Answered)]
    assert len(accepted) <= 1, "one token, one answer"
    status = play.look(ref).status
    assert status == (accepted[0].status if accepted else "running")


@attack(text=st.one_of(texts, tokens.map(write_token)))
def test_no_token_that_is_made_up_changes_anything(text: str) -> None:
    play, ref, token = waiting()

    found = either(Refused, callback.complete, play.env, text, {"text": "x"})

    assert isinstance(found, Refused) or text == token
    assert play.look(ref).status == "running"
