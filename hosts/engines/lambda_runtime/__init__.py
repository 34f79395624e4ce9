"""Lambda's execution environments on this machine: handlers under AWS's own runtime client, without a container.

A function's process runs `awslambdaric`, as it does in Lambda, and talks to a Runtime API that is served here. Code
under test thus meets the real client: how it finds the handler, makes JSON of answers, reports errors, and tells the
time that is left. What is Lambda's part besides is done here as Lambda does it: a process is kept for the next
invocation, and killed when it takes too long; one that died is replaced by a fresh one.

Nothing but the standard library is needed, so that LocalStack's own Python can run it, too.
"""

from __future__ import annotations

from hosts.engines.lambda_runtime.environment import ExecutionEnvironment, Function, InitFailed, Outcome
from hosts.engines.lambda_runtime.folder import runtime_folder

__all__ = ["ExecutionEnvironment", "Function", "InitFailed", "Outcome", "runtime_folder"]
