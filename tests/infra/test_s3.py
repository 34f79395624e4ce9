"""Blobs in S3: checked on their way, and told apart from a bucket that is not there."""

from __future__ import annotations

import base64
import hashlib

import pytest
from botocore.exceptions import ConnectTimeoutError

from infra.s3 import NoBlobs, S3Blobs
from kernel.errors import Missing, Unavailable
from tests.infra.aws import client_error, fake


def test_an_object_is_sent_with_its_sha256_and_no_access_list() -> None:
    client = fake({})

    S3Blobs(lambda: client, "blobs").put("acme/r1/1", b"body")

    digest = base64.b64encode(hashlib.sha256(b"body").digest()).decode()
    assert client.requests == [
        ("put_object", {"Bucket": "blobs", "Key": "acme/r1/1", "Body": b"body", "ChecksumSHA256": digest})
    ]


def test_no_client_is_made_before_the_first_use() -> None:
    def never() -> object:
        raise AssertionError

    S3Blobs(never, "blobs")  # type: ignore[arg-type]  # it must not be called


def test_an_object_that_is_not_there_is_none_but_a_bucket_that_is_not_is_missing() -> None:
    assert S3Blobs(lambda: fake(client_error("NoSuchKey", status=404)), "blobs").get("key") is None
    with pytest.raises(Missing, match=r"reading object key in bucket 'blobs'.*Check BLOB_BUCKET"):
        S3Blobs(lambda: fake(client_error("NoSuchBucket", status=404)), "blobs").get("key")


def test_what_may_pass_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="writing object key in bucket 'blobs'"):
        S3Blobs(lambda: fake(ConnectTimeoutError(endpoint_url="http://x")), "blobs").put("key", b"")
    with pytest.raises(Unavailable, match="SlowDown"):
        S3Blobs(lambda: fake(client_error("SlowDown", status=503)), "blobs").get("key")


def test_without_a_bucket_a_big_value_is_an_error_that_says_what_to_set() -> None:
    with pytest.raises(Missing, match=r"400000 bytes.*Set BLOB_BUCKET"):
        NoBlobs().put("key", b"x" * 400_000)
    with pytest.raises(Missing, match="Set BLOB_BUCKET"):
        NoBlobs().get("key")
