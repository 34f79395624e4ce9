"""How LocalStack runs Lambda functions: as processes under the runtime client, where it would start containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hosts.engines.lambda_runtime import ExecutionEnvironment, Function, InitFailed

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Processes:
    """What all functions have in common.

    Attributes:
        endpoint_url: where LocalStack answers.
        python: the interpreter that runs them.
        runtime: the folder with the runtime client, for that interpreter.
        logs: the folder for what they write, a file for each execution environment.
        variables: environment variables besides those of their configuration.
    """

    endpoint_url: str
    python: str
    runtime: Path
    logs: Path
    variables: Mapping[str, str]


def executor(processes: Processes) -> type:
    """The class that LocalStack makes an object of for each execution environment.

    It has the methods of LocalStack's ``RuntimeExecutor``, whose subclass it need not be.
    """

    class Executor(ProcessExecutor):
        shared = processes

    return Executor


class ProcessExecutor:
    """An execution environment of a function, as LocalStack sees it."""

    shared: Processes

    def __init__(self, id: str, function_version: Any) -> None:  # noqa: A002, ANN401 - LocalStack's names and types
        self.id = id
        self.function_version = function_version
        self._environment: ExecutionEnvironment | None = None

    def start(self, env_vars: Mapping[str, object]) -> None:
        """Start a process, and wait until it has loaded its handler."""
        shared, config, name = self.shared, self.function_version.config, self.function_version.id.function_name
        variables = {key: str(value) for key, value in env_vars.items() if not key.startswith("LOCALSTACK_")}
        function = Function(
            config.handler,
            Path(config.code.get_unzipped_code_location()),
            shared.python,
            shared.runtime,
            seconds=config.timeout,
            name=name,
            variables={**variables, "AWS_ENDPOINT_URL": shared.endpoint_url, **shared.variables},
        )
        self._environment = ExecutionEnvironment(function, shared.logs / f"{name}-{self.id[:8]}.log")
        try:
            self._environment.start()
        except InitFailed as failed:
            from localstack.services.lambda_.invocation.executor_endpoint import (  # noqa: PLC0415 - LocalStack's Python
                StatusErrorException,
            )

            raise StatusErrorException("Environment startup failed", payload=failed.error) from failed

    def stop(self) -> None:
        """End the process."""
        if self._environment is not None:
            self._environment.stop()

    def invoke(self, payload: Mapping[str, str]) -> Any:  # noqa: ANN401 - LocalStack's own type
        """Hand the process an event, and wait for what it comes to."""
        from localstack.services.lambda_.invocation.lambda_models import (  # noqa: PLC0415 - LocalStack's Python
            InvocationResult,
        )

        if self._environment is None:
            raise RuntimeError(f"execution environment {self.id} was not started")
        id_ = payload["invoke-id"]
        outcome = self._environment.invoke_with(
            (payload["payload"] or "null").encode(), id_, payload["invoked-function-arn"]
        )
        return InvocationResult(id_, outcome.body, is_error=outcome.error, logs=outcome.logs)

    def get_logs(self) -> str:
        """Nothing: the logs are in a file."""
        return ""

    def get_address(self) -> str:
        """Where it runs."""
        return LOOPBACK

    def get_endpoint_from_executor(self) -> str:
        """Where it finds LocalStack."""
        return LOOPBACK

    def get_runtime_endpoint(self) -> str:
        """Where LocalStack is told of invocations: nowhere, since `invoke` waits."""
        return self.shared.endpoint_url

    @classmethod
    def prepare_version(cls, function_version: Any) -> None:  # noqa: ANN401 - LocalStack's own type
        """Unpack the code."""
        if function_version.config.code:
            function_version.config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: Any) -> None:  # noqa: ANN401 - LocalStack's own type
        """Nothing: the state's folder goes as a whole."""

    @classmethod
    def validate_environment(cls) -> bool:
        """Nothing is needed that could be missing."""
        return True
