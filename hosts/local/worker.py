"""One instance of a function, as a process: `python -m hosts.local.worker job`. Gets one event at a time.

Speaks JSON lines with its host: events come on standard input, answers go to standard output. What handlers
and stages print goes to standard error. It ends when its host does, however that ends: then standard input
is at its end.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any

from hosts.local.metering import Tell, metered
from infra import compose
from infra.settings import Settings
from kernel.shell.environment import Environment

Handler = Callable[[dict[str, Any], Any], Any]


class LocalContext:
    """What Lambda hands to a function beside the event.

    Args:
        function: the function's name.
        request_id: of this invocation.
        seconds: how long it may take.
    """

    memory_limit_in_mb = 1024
    function_version = "$LATEST"
    identity = None
    client_context = None

    def __init__(self, function: str, request_id: str, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.function_name = function
        self.invoked_function_arn = f"arn:aws:lambda:eu-west-1:123456789012:function:{function}"
        self.aws_request_id = request_id
        self.log_group_name = f"/aws/lambda/{function}"
        self.log_stream_name = f"local/{os.getpid()}"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the host cuts the invocation off."""
        return max(0, int((self._end - time.monotonic()) * 1000))


def make_handler(function: str, environ: Mapping[str, str], tell: Tell | None) -> Handler:
    """A handler, composed as its module composes it in Lambda, metered if somebody wants to be told.

    Args:
        function: ``intake``, ``job`` or ``tick``.
        environ: the function's environment variables.
        tell: is told what runs have used.

    Raises:
        SettingsError: the environment is not right.
    """

    def watched(env: Environment) -> Environment:
        return metered(env, tell) if tell else env

    # Each is imported only where it is needed, so that a tick starts as quickly as it does in Lambda.
    if function == "tick":
        from handlers.tick import make_handler as make_tick  # noqa: PLC0415 - only the function that this process is

        return make_tick(watched(compose.maintenance(environ)))
    settings = Settings.from_env(environ)
    registry = compose.registry(settings)
    env = watched(compose.environment(settings, registry))
    if function == "job":
        from handlers.job import make_handler as make_job  # noqa: PLC0415 - only the function that this process is

        return make_job(env)
    from handlers.intake import make_handler as make_intake  # noqa: PLC0415 - only the function that this process is

    return make_intake(env, registry, settings)


class _Channel:
    """The two pipes to the host."""

    def __init__(self) -> None:
        # Whatever the handler reads or prints must not meet what is said here.
        self._in = os.fdopen(os.dup(0), encoding="utf-8")
        self._out: IO[str] = os.fdopen(os.dup(1), "w", encoding="utf-8")
        with open(os.devnull, encoding="utf-8") as nothing:  # noqa: PTH123 - a device, not a path
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        self.requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="requests", daemon=True).start()

    def _read(self) -> None:
        for line in self._in:
            self.requests.put(json.loads(line))
        # The host is gone, and nobody else will ever end this process: at once, whatever it is doing.
        os._exit(0)

    def say(self, **message: Any) -> None:  # noqa: ANN401 - JSON
        """Send a line."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


def main(function: str, *flags: str) -> None:
    """Serve events until the host closes standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's to handle
    channel = _Channel()

    def tell(tenant: str, run: str, usage: dict[str, Any]) -> None:
        channel.say(kind="usage", tenant=tenant, run=run, usage=usage)

    try:
        handle = make_handler(function, os.environ, tell if "--meter" in flags else None)
    except Exception as error:  # noqa: BLE001 - whatever it is, the host has to be told
        channel.say(kind="broken", error=f"{type(error).__name__}: {error}")
        return
    channel.say(kind="ready")
    while True:
        request = channel.requests.get()
        context = LocalContext(os.environ.get("AWS_LAMBDA_FUNCTION_NAME", function), request["id"], request["seconds"])
        try:
            answer = handle(request["event"], context)
            channel.say(kind="answer", answer=answer)
        except Exception as error:  # noqa: BLE001 - as Lambda does: the invocation failed, the instance lives on
            traceback.print_exc()
            channel.say(kind="error", error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
