"""Items as DynamoDB attributes, and back, of a run's partition or a tenant's own. The only place that knows raw items.

Beside the keys ``PK`` and ``SK`` an item has the fields of its struct, by name; what is None is left out, and so are
an empty ``priority`` and empty ``annotations``. A
field that the sort key tells already is not stored again, but for ``Snapshot.seq``, which a condition
compares:

========  ==============================================================================================
item      attributes
========  ==============================================================================================
Head      all fields; ``events`` and ``annotations`` as text; no ``business_key`` if that is empty
Commit    at, token, by, events (text), ttl, v, annotations (text)
Snapshot  seq, fold, body (binary), ttl
Data      body (binary), ttl
Live      until, progress, ttl
Dead      at, error, body (binary), ttl
Inbox     all fields but ``id``; ``body`` binary
Key       holder, was, ttl
========  ==============================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from infra.dynamodb.attributes import binary, fraction, number, text
from kernel.errors import CorruptLog, LogError, NewerFormat
from kernel.limits import is_role
from kernel.ports import (
    DATA,
    DEAD,
    HEAD,
    INBOX,
    KEY,
    LIVE,
    LOG,
    SNAPSHOT,
    Commit,
    Data,
    Dead,
    Due,
    Head,
    Inbox,
    Key,
    Listed,
    Live,
    RunRef,
    Snapshot,
    Unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

    from kernel.ports import Found, Item

    Attributes = dict[str, AttributeValueTypeDef]

E = TypeVar("E")


def key(ref: RunRef, sort_key: str) -> Attributes:
    """The primary key of an item."""
    return {"PK": {"S": ref.partition}, "SK": {"S": sort_key}}


def to_attributes(ref: RunRef, item: Item) -> Attributes:
    """An item as DynamoDB keeps it."""
    attributes = key(ref, item.key)
    # Commits first: they are most of what is written.
    if isinstance(item, Commit):
        attributes |= {
            "at": {"N": str(item.at)},
            "token": {"S": item.token},
            "by": {"S": item.by},
            "events": {"S": item.events.decode()},
            "v": {"N": str(item.v)},
        }
        if item.annotations:
            attributes["annotations"] = {"S": item.annotations.decode()}
    elif isinstance(item, Head):
        attributes |= _head(item)
    elif isinstance(item, Snapshot):
        attributes |= {"seq": {"N": str(item.seq)}, "fold": {"N": str(item.fold)}, "body": {"B": item.body}}
    elif isinstance(item, Data):
        attributes["body"] = {"B": item.body}
    elif isinstance(item, Live):
        attributes["until"] = {"N": str(item.until)}
        if item.progress is not None:
            attributes["progress"] = {"N": repr(item.progress)}
    elif isinstance(item, Inbox):
        attributes |= _inbox(item)
    elif isinstance(item, Key):
        attributes |= {"holder": {"S": item.holder}, "was": {"S": item.was}}
    else:
        attributes |= {"at": {"N": str(item.at)}, "error": {"S": item.error}, "body": {"B": item.body}}
    attributes["ttl"] = {"N": str(item.ttl)}
    return attributes


def _head(head: Head) -> Attributes:
    attributes: Attributes = {
        "workflow": {"S": head.workflow},
        "version": {"N": str(head.version)},
        "fingerprint": {"S": head.fingerprint},
        "created": {"N": str(head.created)},
        "deadline": {"N": str(head.deadline)},
        "expires": {"N": str(head.expires)},
        "status": {"S": head.status},
        "listing": {"S": head.listing},
        "listing_order": {"S": head.listing_order},
        "due_shard": {"S": head.due_shard},
        "due_seq": {"N": str(head.due_seq)},
        "published": {"N": str(head.published)},
        "published_events": {"N": str(head.published_events)},
        "publish_failures": {"N": str(head.publish_failures)},
        "look": {"S": head.look},
        "token": {"S": head.token},
        "by": {"S": head.by},
        "events": {"S": head.events.decode()},
        "digest": {"S": head.digest},
        "v": {"N": str(head.v)},
    }
    if head.due is not None:
        attributes["due"] = {"N": str(head.due)}
    if head.business_key:
        attributes["business_key"] = {"S": head.business_key}
    if head.priority:
        attributes["priority"] = {"S": head.priority}
    if head.annotations:
        attributes["annotations"] = {"S": head.annotations.decode()}
    return attributes


def _inbox(item: Inbox) -> Attributes:
    attributes: Attributes = {
        "name": {"S": item.name},
        "body": {"B": item.body},
        "digest": {"S": item.digest},
        "at": {"N": str(item.at)},
        "by": {"S": item.by},
        "due_shard": {"S": item.due_shard},
        "seq": {"N": str(item.seq)},
        "refused": {"S": item.refused},
    }
    if item.roles:
        attributes["roles"] = {"S": " ".join(item.roles)}
    if item.due is not None:
        attributes["due"] = {"N": str(item.due)}
    if item.priority:
        attributes["priority"] = {"S": item.priority}
    return attributes


def found(raw: Mapping[str, Any]) -> Found:
    """An item that was read, or what stands for one that cannot be."""
    try:
        return from_attributes(raw)
    except LogError as error:
        return Unreadable(_key_of(raw, "SK"), error)


# boto3 types what it returns as it types what it is given, so reading is not worth its types: what is in the
# table is checked here, at run time, by being read.
def from_attributes(raw: Mapping[str, Any]) -> Item:
    """An item as the kernel knows it. Attributes that are not known are ignored.

    Raises:
        NewerFormat: an item of a kind that this version does not know.
        CorruptLog: it lacks an attribute, one has another type, or its sort key is another item's.
    """
    sort_key, partition = _key_of(raw, "SK"), _key_of(raw, "PK")
    for prefix, read in _READERS:
        if sort_key.startswith(prefix):
            try:
                item = read(sort_key, raw)
            except ValueError as error:
                raise CorruptLog(f"item {sort_key} of run {partition} cannot be read: {error}") from error
            if item.key != sort_key:
                raise CorruptLog(f"item {sort_key} of run {partition} cannot be read: it would be {item.key}")
            return item
    raise NewerFormat(f"item {sort_key} of run {partition} is of no kind that this version of Onewrite knows")


def _key_of(raw: Mapping[str, Any], name: str) -> str:
    try:
        return text(raw, name)
    except ValueError as error:
        raise CorruptLog(f"an item without a key cannot be read: {error}") from error


def _read_commit(sort_key: str, raw: Mapping[str, Any]) -> Commit:
    return Commit(
        seq=int(sort_key[len(LOG) :]),
        at=number(raw, "at"),
        token=text(raw, "token"),
        by=text(raw, "by"),
        events=text(raw, "events").encode(),
        ttl=number(raw, "ttl"),
        v=number(raw, "v"),
        annotations=_annotations(raw),
    )


def _priority(raw: Mapping[str, Any]) -> str:
    return text(raw, "priority") if "priority" in raw else ""


def _annotations(raw: Mapping[str, Any]) -> bytes:
    return text(raw, "annotations").encode() if "annotations" in raw else b""


def _read_head(_: str, raw: Mapping[str, Any]) -> Head:
    return Head(
        workflow=text(raw, "workflow"),
        version=number(raw, "version"),
        fingerprint=text(raw, "fingerprint"),
        created=number(raw, "created"),
        deadline=number(raw, "deadline"),
        expires=number(raw, "expires"),
        ttl=number(raw, "ttl"),
        status=text(raw, "status"),
        listing=text(raw, "listing"),
        listing_order=text(raw, "listing_order"),
        due_shard=text(raw, "due_shard"),
        due=number(raw, "due") if "due" in raw else None,
        due_seq=number(raw, "due_seq"),
        published=number(raw, "published"),
        published_events=number(raw, "published_events"),
        publish_failures=number(raw, "publish_failures"),
        look=text(raw, "look") if "look" in raw else "",
        token=text(raw, "token"),
        by=text(raw, "by"),
        events=text(raw, "events").encode(),
        digest=text(raw, "digest"),
        v=number(raw, "v"),
        business_key=text(raw, "business_key") if "business_key" in raw else "",
        priority=_priority(raw),
        annotations=_annotations(raw),
    )


def _read_snapshot(_: str, raw: Mapping[str, Any]) -> Snapshot:
    return Snapshot(seq=number(raw, "seq"), fold=number(raw, "fold"), body=binary(raw, "body"), ttl=number(raw, "ttl"))


def _read_data(sort_key: str, raw: Mapping[str, Any]) -> Data:
    return Data(key=sort_key, body=binary(raw, "body"), ttl=number(raw, "ttl"))


def _read_live(sort_key: str, raw: Mapping[str, Any]) -> Live:
    return Live(
        seq=int(sort_key[len(LIVE) :]),
        until=number(raw, "until"),
        progress=fraction(raw, "progress") if "progress" in raw else None,
        ttl=number(raw, "ttl"),
    )


def _read_dead(sort_key: str, raw: Mapping[str, Any]) -> Dead:
    seq, index = sort_key[len(DEAD) :].split("#")
    return Dead(
        seq=int(seq),
        index=int(index),
        at=number(raw, "at"),
        error=text(raw, "error"),
        body=binary(raw, "body"),
        ttl=number(raw, "ttl"),
    )


def _read_inbox(sort_key: str, raw: Mapping[str, Any]) -> Inbox:
    return Inbox(
        id=sort_key.removeprefix(INBOX),
        name=text(raw, "name"),
        body=binary(raw, "body"),
        digest=text(raw, "digest"),
        at=number(raw, "at"),
        by=text(raw, "by"),
        due_shard=text(raw, "due_shard"),
        due=number(raw, "due") if "due" in raw else None,
        seq=number(raw, "seq"),
        refused=text(raw, "refused"),
        roles=_roles(raw) if "roles" in raw else (),
        ttl=number(raw, "ttl"),
        priority=_priority(raw),
    )


def _roles(raw: Mapping[str, Any]) -> tuple[str, ...]:
    roles = tuple(text(raw, "roles").split(" "))
    if not all(map(is_role, roles)):
        raise ValueError("roles are no names of roles")
    return roles


def _read_key(sort_key: str, raw: Mapping[str, Any]) -> Key:
    workflow, name = sort_key.removeprefix(KEY).split("#")
    item = Key(
        workflow=workflow,
        name=name,
        holder=text(raw, "holder"),
        was=text(raw, "was"),
        ttl=number(raw, "ttl"),
    )
    if item.generation < 0 and item.holder:
        raise ValueError(f"{item.holder!r} is no holder")
    return item


_READERS: tuple[tuple[str, Callable[[str, Mapping[str, Any]], Item]], ...] = (
    (LOG, _read_commit),
    (HEAD, _read_head),
    (SNAPSHOT, _read_snapshot),
    (LIVE, _read_live),
    (DATA, _read_data),
    (DEAD, _read_dead),
    (INBOX, _read_inbox),
    (KEY, _read_key),
)


def due_of(raw: Mapping[str, Any]) -> Due:
    """An entry of the *due* index.

    Raises:
        CorruptLog: it is none.
    """
    return _entry(raw, lambda ref: Due(ref=ref, due=number(raw, "due"), key=text(raw, "SK")))


def listed_of(raw: Mapping[str, Any]) -> Listed:
    """An entry of the *runs* index.

    Raises:
        CorruptLog: it is none.
    """
    return _entry(
        raw,
        lambda ref: Listed(
            ref=ref,
            workflow=text(raw, "workflow"),
            version=number(raw, "version"),
            status=text(raw, "status"),
            created=number(raw, "created"),
            order=text(raw, "listing_order"),
        ),
    )


def _entry(raw: Mapping[str, Any], read: Callable[[RunRef], E]) -> E:
    partition = _key_of(raw, "PK")
    tenant, separator, run = partition.partition("#")
    try:
        if not separator:
            raise ValueError("its partition is no run's")  # noqa: TRY301 - told like what else is wrong with it
        return read(RunRef(tenant, run))
    except ValueError as error:
        raise CorruptLog(f"the index entry of {partition} cannot be read: {error}") from error


def size(raw: Mapping[str, Any]) -> int:
    """Size of an item in bytes as DynamoDB counts it for request units.

    Source: "DynamoDB item sizes and formats", Amazon DynamoDB Developer Guide: names and texts by their UTF-8
    bytes, binaries by their bytes, numbers by about a byte per two significant digits and one more.
    """
    total = 0
    for name, value in raw.items():
        total += len(name.encode())
        for kind, content in value.items():
            if kind == "S":
                total += len(content.encode())
            elif kind == "N":
                digits = content.lstrip("-").replace(".", "").strip("0")
                total += (len(digits) + 1) // 2 + 1 + content.startswith("-")
            else:
                total += len(content)
    return total
