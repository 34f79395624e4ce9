"""Limits on names and keys that come from outside. What becomes part of a key must not contain its separators."""

from __future__ import annotations

import re
from collections.abc import Collection

from kernel.errors import InvalidInput

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@|-]{0,127}\Z")
_RUN = re.compile(r"[0-9a-f]{24}\Z")
_WORKFLOW = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_BUSINESS_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}\Z")
_EVENT_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z", re.ASCII)
_ROLE = re.compile(r"[A-Za-z0-9_.:/@-]{1,64}\Z", re.ASCII)
MAX_ROLES = 50
"""Roles that somebody who sends an event may have."""
_MAX_KEY = 256
_MAX_REASON = 500


def check_tenant(tenant: str) -> str:
    """A tenant's id: letters, digits and ``_ . : @ | -``, 128 at most.

    Raises:
        InvalidInput: it is not.
    """
    if not _TENANT.match(tenant):
        message = f"tenant {tenant[:40]!r} is not a tenant id: 1 to 128 letters, digits or _ . : @ | -"
        raise InvalidInput(message)
    return tenant


def is_run_id(run: str) -> bool:
    """Whether this can be a run's id at all."""
    return _RUN.match(run) is not None


def check_key(what: str, key: str) -> str:
    """A key or name that a caller chose: 1 to 256 printable characters.

    Raises:
        InvalidInput: it is not.
    """
    if not 0 < len(key) <= _MAX_KEY or not key.isprintable():
        message = f"the {what} must have 1 to {_MAX_KEY} printable characters"
        raise InvalidInput(message)
    return key


def is_workflow_id(workflow: str) -> bool:
    """Whether this can be a workflow's id at all, as ``kernel.define`` lets it be."""
    return _WORKFLOW.match(workflow) is not None


def check_business_key(key: str) -> str:
    """A business key: it becomes part of keys and of URLs.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(key, str) or not _BUSINESS_KEY.match(key):
        message = "a business key is a letter or digit, then up to 127 letters, digits, or _ . : @ -"
        raise InvalidInput(message, (("business_key", message),))
    return key


def check_event_id(id_: str) -> str:
    """The id of an external event.

    Raises:
        InvalidInput: it is none.
    """
    if not _EVENT_ID.match(id_):
        message = "an event's id is 1 to 64 letters, digits, underscores, dots, colons and hyphens"
        raise InvalidInput(message, (("id", message),))
    return id_


def check_roles(roles: Collection[str]) -> tuple[str, ...]:
    """What somebody is allowed to act as: at most 50 roles.

    Raises:
        InvalidInput: one is none, or there are too many.
    """
    if len(roles) > MAX_ROLES or not all(map(is_role, roles)):
        message = f"roles are at most {MAX_ROLES}, each of 1 to 64 letters, digits and _ . : / @ -"
        raise InvalidInput(message, (("roles", message),))
    return tuple(dict.fromkeys(roles))


def is_role(role: object) -> bool:
    """Whether this can be a role's name at all."""
    return isinstance(role, str) and _ROLE.match(role) is not None


def check_reason(reason: str) -> str:
    """A text that somebody gives for the log.

    Raises:
        InvalidInput: it is too long or not storable.
    """
    if len(reason) > _MAX_REASON:
        message = f"the reason has {len(reason)} characters; at most {_MAX_REASON}"
        raise InvalidInput(message)
    try:
        reason.encode()
    except UnicodeEncodeError as error:
        message = "the reason contains characters that are not valid Unicode text"
        raise InvalidInput(message) from error
    return reason
