"""Items for the suites to write: valid ones, of runs that no other test has."""

from __future__ import annotations

import secrets

import msgspec
from msgspec.structs import replace

from kernel.ports import Commit, Data, Dead, Head, Inbox, Key, Live, Published, RunRef, Snapshot

NOW = 1_893_456_000_000
"""A time in milliseconds, some years ahead, so that no store takes an item for expired."""
TTL = NOW // 1000 + 86_400


def fresh_token() -> str:
    """A token that nobody has used."""
    return secrets.token_hex(12)


def fresh_ref(tenant: str = "acme") -> RunRef:
    """A run that nobody has used."""
    return RunRef(tenant, fresh_token())


def head(ref: RunRef, **changes: object) -> Head:
    """A head as a start writes it: awake, nothing published, in index partitions of its own."""
    base = Head(
        workflow="order",
        version=3,
        fingerprint="f1f2f3f4",
        created=NOW,
        deadline=NOW + 3_600_000,
        expires=NOW + 7_200_000,
        ttl=TTL,
        status="open",
        listing=f"{ref.tenant}#order#{ref.run}",
        listing_order=f"open#{NOW:013d}#{ref.run}",
        due_shard=f"due#{ref.run}",
        due=NOW + 120_000,
        due_seq=0,
        published=-1,
        publish_failures=0,
        look=fresh_token(),
        token=fresh_token(),
        by="api:alice",
        events=b'[{"type":"RunCreated","input":{"json":{"sku":"\xc3\xa9toile \xf0\x9f\x8c\x9f"}}}]',
        digest="d1d2d3d4",
        v=1,
    )
    return replace(base, **changes)


def commit(seq: int, **changes: object) -> Commit:
    """A commit with a token of its own."""
    base = Commit(
        seq=seq,
        at=NOW + seq,
        token=fresh_token(),
        by="worker",
        events=b'[{"type":"StageScheduled","stage":"charge"}]',
        ttl=TTL,
        v=1,
    )
    return replace(base, **changes)


def snapshot(seq: int, fold: int = 1, body: bytes = b"\x00\x01\xff snapshot") -> Snapshot:
    """A snapshot as of commit ``seq``."""
    return Snapshot(seq=seq, fold=fold, body=body, ttl=TTL)


def data(key: str = "data#0000000000#0123456789abcdef", body: bytes = b'{"big":true}') -> Data:
    """A value too big for its event."""
    return Data(key=key, body=body, ttl=TTL)


def live(seq: int, until: int = NOW + 60_000, progress: float | None = None) -> Live:
    """A sign of life."""
    return Live(seq=seq, until=until, progress=progress, ttl=TTL)


def dead(seq: int, index: int = 0) -> Dead:
    """A dead letter."""
    return Dead(seq=seq, index=index, at=NOW, error="Größe: zu groß", body=b'{"id":"r#1#0"}', ttl=TTL)


def inbox(id_: str = "e-1", **changes: object) -> Inbox:
    """An external event that was accepted, and that nobody has settled."""
    base = Inbox(
        id=id_,
        name="Delivered",
        body='{"place":"Größe 🌟"}'.encode(),
        digest="d1d2d3d4",
        at=NOW,
        by="api:alice",
        due_shard=f"due#{fresh_token()}",
        due=NOW + 120_000,
        ttl=TTL,
    )
    return replace(base, **changes)


def held(name: str, holder: str, was: str = "") -> Key:
    """A business key that is held, or free if nobody is named."""
    return Key(workflow="order", name=name, holder=holder, was=was, ttl=TTL)


def published(ref: RunRef, seq: int, kind: str = "RunCompleted") -> Published:
    """An event on its way to the sink."""
    id_ = f"{ref.run}#{seq}#0"
    body = {"id": id_, "type": kind, "tenant": ref.tenant, "run": ref.run, "seq": seq, "note": "größe 🌟"}
    return Published(id_, kind, ref.tenant, ref.run, NOW + seq, msgspec.json.encode(body))
