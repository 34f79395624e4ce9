"""One suite per port, for any adapter: subclass it in a test module as ``Test…`` and give the fixture.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self) -> Store:
            return MyStore(...)

Tests use runs and index partitions of their own, so adapters may share a table among tests.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"kernel.testing.conformance.{port}" for port in ("blobs", "consumer", "locks", "queue", "sink", "store"))
)

from kernel.testing.conformance.blobs import BlobsContract  # noqa: E402  # to be rewritten, imported after
from kernel.testing.conformance.consumer import ConsumerContract  # noqa: E402 - pytest must rewrite their assertions first
from kernel.testing.conformance.locks import LocksContract  # noqa: E402 - pytest must rewrite their assertions first
from kernel.testing.conformance.queue import QueueContract  # noqa: E402 - pytest must rewrite their assertions first
from kernel.testing.conformance.sink import SinkContract  # noqa: E402 - pytest must rewrite their assertions first
from kernel.testing.conformance.store import StoreContract  # noqa: E402 - pytest must rewrite their assertions first

__all__ = ["BlobsContract", "ConsumerContract", "LocksContract", "QueueContract", "SinkContract", "StoreContract"]
