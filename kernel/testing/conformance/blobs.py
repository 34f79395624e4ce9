"""What a blob store must be true to: bytes come back as they went in."""

# ruff: noqa: S101, D102
# It is a suite: it asserts, and each test's name is its sentence.

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.testing.conformance.examples import fresh_ref

if TYPE_CHECKING:
    from kernel.ports import Blobs


class BlobsContract:
    """The suite for ``kernel.ports.Blobs``. A subclass gives the fixture ``blobs``."""

    @pytest.fixture
    def blobs(self) -> Blobs:
        """The blob store under test."""
        raise NotImplementedError

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b'{"a": 1}', id="json"),
            pytest.param(b"", id="empty"),
            pytest.param(bytes(range(256)), id="every-byte"),
            pytest.param("größe 🌟\r\n".encode(), id="unicode"),
            pytest.param(bytes(range(256)) * 8192, id="2-megabytes"),
        ],
    )
    def test_an_object_is_read_as_it_was_written(self, blobs: Blobs, body: bytes) -> None:
        key = _key()

        blobs.put(key, body)

        assert blobs.get(key) == body

    def test_an_object_that_was_never_written_is_none(self, blobs: Blobs) -> None:
        assert blobs.get(_key()) is None

    def test_writing_the_same_again_is_harmless(self, blobs: Blobs) -> None:
        key = _key()
        blobs.put(key, b"once")

        blobs.put(key, b"once")

        assert blobs.get(key) == b"once"

    def test_objects_of_tenants_and_runs_are_apart(self, blobs: Blobs) -> None:
        key = _key()
        blobs.put(f"acme/{key}", b"ours")
        blobs.put(f"globex/{key}", b"theirs")

        assert blobs.get(f"acme/{key}") == b"ours"
        assert blobs.get(f"acme/{key}0") is None


def _key() -> str:
    ref = fresh_ref()
    return f"{ref.tenant}/{ref.run}/0000000003-0123456789abcdef"
