"""``python -m hosts.worker.dead_letters list|show|replay|purge``: the dead letters of Redis Streams, for people.

Losing one loses nothing, since the due index knows every run that somebody must look at. They tell what is wrong: a
worker that dies of a message, or somebody else's messages in our streams.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from infra.pokes import ForeignMessage, parse
from infra.redis.client import connect
from infra.redis.dead_letters import DeadLetter, DeadLetters
from infra.settings import Settings
from kernel.errors import OnewriteError, SettingsError

UNUSED = {"WORKFLOWS": "not:asked", "TABLE_NAME": "not-asked"}
"""Settings that a worker needs, and this does not."""
REFUSED = 1
"""Exit status when it could not be done."""


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Do it; the exit status."""
    given = _parser().parse_args(arguments)
    try:
        settings = Settings.from_env({**UNUSED, **environ, "TRANSPORT": "redis"})
        if settings.redis_url is None:  # pragma: no cover - it is required over Redis
            raise SettingsError("REDIS_URL is missing")
        with connect(settings.redis_url, cluster=settings.redis_cluster) as client:
            do: Callable[[DeadLetters, argparse.Namespace], int] = given.do
            return do(DeadLetters(client, settings.redis_prefix), given)
    except OnewriteError as error:
        print(error, file=sys.stderr)
        return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hosts.worker.dead_letters", description="Dead letters of Redis Streams."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    listing = commands.add_parser("list", help="the newest, newest first")
    listing.add_argument("--limit", type=int, choices=range(1, 1_001), default=50, metavar="1..1000")
    listing.add_argument("--before", default="", metavar="ID", help="go on after the last one of a page")
    listing.add_argument("--json", action="store_true", help="a line of JSON for each")
    listing.set_defaults(do=_list)
    showing = commands.add_parser("show", help="one, with the whole message")
    showing.add_argument("id")
    showing.set_defaults(do=_show)
    for name, do, what in (
        ("replay", _replay, "put them back into their stream, byte for byte"),
        ("purge", _purge, "throw them away"),
    ):
        command = commands.add_parser(name, help=what)
        which = command.add_mutually_exclusive_group(required=True)
        which.add_argument("ids", nargs="*", default=[], metavar="ID")
        which.add_argument("--all", action="store_true")
        command.set_defaults(do=do)
    return parser


def _list(letters: DeadLetters, given: argparse.Namespace) -> int:
    found = letters.list(given.limit, before=given.before)
    for letter in found:
        print(json.dumps(_plain(letter)) if given.json else _line(letter))
    if not given.json:
        left = letters.count()
        print(f"{len(found)} shown of {left}" if left else "no dead letters", file=sys.stderr)
    return 0


def _show(letters: DeadLetters, given: argparse.Namespace) -> int:
    print(json.dumps(_plain(letters.view(given.id)), indent=2))
    return 0


def _replay(letters: DeadLetters, given: argparse.Namespace) -> int:
    return _told("put back", letters.replay(None if given.all else given.ids), given)


def _purge(letters: DeadLetters, given: argparse.Namespace) -> int:
    if given.all:
        print(f"{letters.purge()} thrown away")
        return 0
    gone = [id_ for id_ in dict.fromkeys(given.ids) if letters.purge([id_])]
    return _told("thrown away", gone, given)


def _told(what: str, done: Sequence[str], given: argparse.Namespace) -> int:
    print(f"{len(done)} {what}")
    missing = [] if given.all else [id_ for id_ in given.ids if id_ not in done]
    for id_ in missing:
        print(f"there is no dead letter {id_}", file=sys.stderr)
    return REFUSED if missing else 0


def _plain(letter: DeadLetter) -> dict[str, Any]:
    body = None if letter.body is None else letter.body.decode(errors="backslashreplace")
    return {
        "id": letter.id,
        "at": _time(letter),
        "source": letter.source,
        "message": letter.message,
        "deliveries": letter.deliveries,
        "body": body,
        "problem": _problem(body),
    }


def _line(letter: DeadLetter) -> str:
    plain = _plain(letter)
    said = plain["problem"] or plain["body"]
    return f"{plain['id']}  {plain['at']}  {plain['source']}  delivered {plain['deliveries']} times: {said}"


def _problem(body: str | None) -> str:
    """Why it is no poke of ours; empty if it is one."""
    try:
        parse(body)
    except ForeignMessage as error:
        return str(error)
    return ""


def _time(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.at / 1000, UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
