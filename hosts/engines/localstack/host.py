"""LocalStack's process. Run by path, by LocalStack's own Python: `python host.py OPTIONS`, with options as JSON.

Three things are not as LocalStack does them: it listens on a socket that it is given, since its own server binds all
interfaces whatever it is told; DynamoDB is a DynamoDB Local that is already there; functions are processes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def main(options: dict[str, Any]) -> None:
    """Serve until the owner closes standard input.

    Args:
        options: ``state``, the folder to keep everything in; ``listener``, the file descriptor of the socket;
            ``dynamodb``, the port of DynamoDB Local; ``endpoint_url``, ``python``, ``runtime``, ``logs`` and
            ``variables`` as `executor.Processes` has them.
    """
    threading.Thread(target=_end_with_owner, args=(options["state"],), name="owner", daemon=True).start()
    sys.path.remove(str(Path(__file__).parent))
    sys.path.append(str(ROOT))  # last, so that nothing of the project stands for something of LocalStack's
    _be_like_python_3_13()
    _listen_on(options["listener"])
    _use_dynamodb_at(options["dynamodb"])
    _run_functions_as_processes(options)
    from localstack.runtime.main import main as serve  # noqa: PLC0415 - once everything is in place

    serve()


def _end_with_owner(state: str) -> None:
    while os.read(0, 1024):
        pass
    # By a process of its own: it takes a while, and nothing may be written meanwhile. The functions' processes end by
    # themselves, for the same reason as this one: their owner is gone.
    subprocess.Popen(["rm", "-rf", state], start_new_session=True)  # noqa: S607 - wherever the system has it
    os._exit(0)


def _be_like_python_3_13() -> None:
    """What LocalStack needs of it, where an older one runs it: ``Lock | None`` in annotations, and a decorator."""
    if sys.version_info >= (3, 13):
        return
    import warnings  # noqa: PLC0415 - only there

    from typing_extensions import deprecated  # noqa: PLC0415 - only there

    allocate = threading.Lock

    class Lock:
        def __new__(cls) -> Any:  # noqa: ANN401 - what it makes is a lock, and no object of this class
            return allocate()

    threading.Lock = Lock
    vars(warnings)["deprecated"] = deprecated  # a checker knows that the module has none


def _listen_on(listener: int) -> None:
    from localstack.runtime.server.twisted import TwistedRuntimeServer  # noqa: PLC0415 - LocalStack's Python
    from rolo.serving.twisted import TwistedGateway  # noqa: PLC0415 - LocalStack's Python
    from twisted.internet import reactor  # noqa: PLC0415 - LocalStack's Python

    def register(_server: object, gateway: object, _listen: object, _certificate: object = None) -> None:
        reactor.adoptStreamPort(listener, socket.AF_INET, TwistedGateway(gateway))

    TwistedRuntimeServer.register = register


def _use_dynamodb_at(port: int) -> None:
    from localstack.services.dynamodb.server import DynamodbServer  # noqa: PLC0415 - LocalStack's Python

    server = DynamodbServer(port, "127.0.0.1")
    DynamodbServer.start_dynamodb = lambda _server: True
    DynamodbServer.stop_dynamodb = lambda _server: None
    DynamodbServer.get = staticmethod(lambda: server)


def _run_functions_as_processes(options: dict[str, Any]) -> None:
    from localstack.services.lambda_.invocation.plugins import (  # noqa: PLC0415 - LocalStack's Python
        DockerRuntimeExecutorPlugin,
    )

    from hosts.engines.localstack.executor import Processes, executor  # noqa: PLC0415 - the path is set only now

    chosen = executor(
        Processes(
            options["endpoint_url"],
            options["python"],
            Path(options["runtime"]),
            Path(options["logs"]),
            options["variables"],
        )
    )
    DockerRuntimeExecutorPlugin.load = lambda _plugin, *_args, **_options: chosen


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
