"""Callback tokens: which attempt may be answered, and a secret that only who was given the token knows.

A token says by itself which attempt it belongs to, so no table of tokens is needed. What is kept of its secret is a
SHA-256, in the event that started the attempt: nobody who reads the log can answer.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, urlsafe_b64encode

import msgspec
from msgspec import Struct

LONGEST = 512
"""Characters of a token, at most: room for the longest names of tenant and stage."""
_VERSION = 1
_END = 10_000_000_000
"""Numbers of commits have ten digits."""


class Token(Struct, frozen=True):
    """What a token says.

    Attributes:
        tenant, run, stage: what may be answered.
        seq: number of the attempt's Started commit.
        secret: hexadecimal digits.
    """

    tenant: str
    run: str
    stage: str
    seq: int
    secret: str

    @property
    def digest(self) -> str:
        """What is kept of its secret."""
        return digest_of(self.secret)


class _Text(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A token as it is written. The version comes first, so that a later form is not misread."""

    v: int
    tenant: str
    run: str
    stage: str
    seq: int
    secret: str


_read = msgspec.json.Decoder(_Text).decode


def write_token(token: Token) -> str:
    """A token as text: letters, digits, ``-`` and ``_``, fit for a path."""
    text = _Text(_VERSION, token.tenant, token.run, token.stage, token.seq, token.secret)
    return urlsafe_b64encode(msgspec.json.encode(text)).rstrip(b"=").decode()


def read_token(text: str) -> Token | None:
    """The token that a text is; None if it is none. Of a token there is one text only."""
    if len(text) > LONGEST:
        return None
    try:
        found = _read(b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True))
        token = Token(found.tenant, found.run, found.stage, found.seq, found.secret)
        known = found.v == _VERSION and 0 < found.seq < _END and write_token(token) == text
    except (ValueError, RecursionError):
        return None
    return token if known else None


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret_of(token: Token, digest: str) -> bool:
    """Whether this is what was kept of the token's secret. Takes as long if it is not."""
    return hmac.compare_digest(token.digest.encode(), digest.encode())
