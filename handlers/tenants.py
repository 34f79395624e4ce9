"""Who calls: the tenant, from the authoriser's claims and nowhere else, and the name that the log shows."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from handlers.problems import Failure
from kernel.errors import InvalidInput
from kernel.limits import MAX_ROLES, check_tenant, is_role

_UNSAFE = re.compile(r"[^A-Za-z0-9_.:@|-]")
_MAX_BY = 64


class Caller(Struct, frozen=True):
    """Who asks.

    Attributes:
        tenant: whose runs they are.
        by: who it is, for the log: ``api:<subject>``, ``event:<source>`` or ``direct``.
        roles: what they are allowed to act as.
    """

    tenant: str
    by: str
    roles: tuple[str, ...] = ()


def caller_of(event: Mapping[str, object], claim: str, default: str | None, roles: str = "") -> Caller:
    """The caller of an API Gateway event.

    Args:
        event: in format 2.0 or 1.0.
        claim: name of the claim that holds the tenant.
        default: tenant of callers whose authoriser has no such claim, if the deployment allows it.
        roles: name of the claim that holds their roles, if there is one.

    Raises:
        Failure: 401: there is no such claim and no default tenant, or the claim holds no tenant's id.
    """
    claims = _claims(event)
    subject = next((claims[name] for name in ("sub", "principalId") if isinstance(claims.get(name), str)), "")
    tenant = _tenant(claims.get(claim, _ABSENT), default)
    return Caller(tenant, signature("api", str(subject) or "anonymous"), _roles(claims.get(roles)))


def caller_without_claims(by: str, default: str | None) -> Caller:
    """The caller of an event that has no authoriser: access to it is what IAM allows.

    Raises:
        Failure: 401: the deployment has no default tenant.
    """
    return Caller(_tenant(_ABSENT, default), by)


def caller_who_invokes(event: Mapping[str, object], default: str | None) -> Caller:
    """The caller of a direct invocation: whoever IAM lets invoke the function says for whom.

    Args:
        event: what it was invoked with; its ``tenant``, if there is one.
        default: the tenant otherwise, if the deployment allows it.

    Raises:
        Failure: 401: neither is there, or the former is no tenant's id.
    """
    return Caller(_tenant(event.get("tenant", _ABSENT), default, "field of the event"), "direct")


def signature(kind: str, name: str) -> str:
    """How the log names somebody: bounded, and of characters that no reader of it stumbles over."""
    return _UNSAFE.sub("_", f"{kind}:{name}")[:_MAX_BY]


_ABSENT = object()
"""What a claim is that the authoriser does not give. One that it gives as null is there, and holds no tenant."""


def _tenant(claimed: object, default: str | None, source: str = "authoriser's claim") -> str:
    if claimed is _ABSENT:
        if default is None:
            raise _refusal(f"There is no tenant: there is no {source} for it, and none is the default.")
        return default
    # A lambda authoriser may give a number. Anything else that is there and no id is refused, not passed over: a caller
    # whose claim is broken must not end up with the default tenant's runs.
    if isinstance(claimed, bool) or not isinstance(claimed, str | int):
        raise _refusal(f"The {source} for the tenant is no text.")
    try:
        return check_tenant(str(claimed))
    except InvalidInput as error:
        raise _refusal(f"The {source} for the tenant is no tenant's id.") from error


def _roles(claimed: object) -> tuple[str, ...]:
    """The roles that a claim names; what can be none of a transition's, names none.

    An authoriser gives a list as a list or, where it only has texts, as ``a,b`` (Cognito) or ``[a b]`` (JWT).
    """
    if isinstance(claimed, str):
        claimed = re.split(r"[,\s]+", claimed.removeprefix("[").removesuffix("]"))
    named = claimed if isinstance(claimed, list | tuple) else ()
    return tuple(dict.fromkeys(each for each in named if is_role(each)))[:MAX_ROLES]


def _refusal(detail: str) -> Failure:
    return Failure(401, detail, headers={"WWW-Authenticate": "Bearer"})  # which RFC 9110 wants with this status


def _claims(event: Mapping[str, object]) -> Mapping[str, object]:
    """All that the authoriser says.

    Source: API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs" (``jwt.claims``,
    ``lambda``) and "Lambda proxy integrations in API Gateway" (``claims``, or the context itself).
    """
    authorizer = _mapping(_mapping(event.get("requestContext")).get("authorizer"))
    jwt = _mapping(_mapping(authorizer.get("jwt")).get("claims"))
    return jwt or _mapping(authorizer.get("claims")) or _mapping(authorizer.get("lambda")) or authorizer


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
