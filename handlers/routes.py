"""What each route says of itself, beside its code: method, path, answers. The document is made of it, too."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct

F = TypeVar("F", bound=Callable[..., Any])


class Route(Struct, frozen=True):
    """A route.

    Attributes:
        method: of HTTP.
        rule: its path, with parameters in angle brackets.
        name: of the method that serves it, and the id of its operation.
        summary: one line for the document.
        answers: what it answers with, by status; None for no schema.
        problems: statuses of the problems that it may answer with.
    """

    method: str
    rule: str
    name: str
    summary: str
    answers: Mapping[int, type | None]
    problems: tuple[int, ...]

    @property
    def path(self) -> str:
        """Its path as OpenAPI writes it."""
        return re.sub(r"<(\w+)>", r"{\1}", self.rule)


ROUTES: list[Route] = []
"""All routes, in the order in which they are written."""

_BODY = (400, 413, 415)
_ALWAYS = (401, 500, 503)


def route(
    method: str,
    rule: str,
    answers: Mapping[int, type | None],
    *problems: int,
    body: bool = False,
    public: bool = False,
) -> Callable[[F], F]:
    """Make a method serve a route.

    Args:
        method: of HTTP.
        rule: its path, with parameters in angle brackets.
        answers: what it answers with, by status.
        problems: statuses of the problems that it may answer with, besides those that any route may.
        body: whether it reads a body.
        public: whether it is open to callers without a tenant.
    """

    def registered(function: F) -> F:
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        expected = {*problems, *_ALWAYS, *(_BODY if body else ())} - ({401} if public else set())
        ROUTES.append(Route(method, rule, function.__name__, summary, answers, tuple(sorted(expected))))
        return function

    return registered


def told(path: str) -> str:
    """A path as logs and problems tell it: a callback's token is a secret."""
    return re.sub(r"/callbacks/[^/]+", "/callbacks/...", path)


def methods_of(path: str) -> list[str]:
    """The methods that a path has; none if there is no such path."""
    wanted = path.rstrip("/")  # Powertools' resolver for REST APIs does not mind a slash at the end
    fits = (each for each in ROUTES if re.fullmatch(re.sub(r"<\w+>", "[^/]+", each.rule), wanted))
    return sorted({each.method for each in fits})
