"""Values that are too big for the table, as private objects in an S3 bucket."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from infra.failures import AWS_ERRORS, code_of, translate
from kernel.errors import Missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

    from kernel.errors import InfrastructureError


class NoBlobs:
    """Implements ``kernel.ports.Blobs`` where the deployment has no bucket: whoever needs one fails."""

    def put(self, key: str, body: bytes) -> None:
        """Fail.

        Raises:
            Missing: always.
        """
        raise Missing(
            f"writing object {key}: {len(body)} bytes are too many for the table, and this deployment has no "
            "bucket for big values. Set BLOB_BUCKET, or make the value smaller"
        )

    def get(self, key: str) -> bytes | None:
        """Fail: something was written while there was a bucket.

        Raises:
            Missing: always.
        """
        raise Missing(f"reading object {key}: this deployment has no bucket. Set BLOB_BUCKET to the one it is in")


class S3Blobs:
    """Implements ``kernel.ports.Blobs``. May be shared by threads.

    Objects are private by the bucket's settings (template.yaml) and encrypted by S3's default. The role needs
    ``s3:ListBucket`` as well: without it S3 says "denied" of an object that is not there.

    Args:
        client: gives an S3 client; called at the first use, since most invocations need none.
        bucket: the bucket's name.
    """

    def __init__(self, client: Callable[[], S3Client], bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, body: bytes) -> None:
        """Write an object. S3 checks what arrives against its SHA-256."""
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        try:
            self._client().put_object(Bucket=self._bucket, Key=key, Body=body, ChecksumSHA256=digest)
        except AWS_ERRORS as error:
            raise self._failure(error, f"writing object {key}") from error

    def get(self, key: str) -> bytes | None:
        """Read an object; None if it is not there. botocore checks what arrives against the stored digest."""
        try:
            return self._client().get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except AWS_ERRORS as error:
            if code_of(error) == "NoSuchKey":
                return None
            raise self._failure(error, f"reading object {key}") from error

    def _failure(self, error: Exception, doing: str) -> InfrastructureError:
        return translate(
            error,
            f"{doing} in bucket {self._bucket!r}",
            "Check BLOB_BUCKET, the region, and what the function's role allows.",
        )
