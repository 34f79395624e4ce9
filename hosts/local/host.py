"""The local host: an engine, a deployment in it, the three functions, and what calls them."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from msgspec import Struct, field

from hosts.engines import EngineMissing, aws_environment
from hosts.local.deployment import VARIABLES, VISIBILITY_MARGIN, Deployment, deploy
from hosts.local.feeder import BATCH, Feeder
from hosts.local.functions import Function, Invocable
from hosts.local.gateway import Gateway
from hosts.local.metering import Ledger
from hosts.local.schedule import Schedule
from infra.clients import Clients
from infra.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Engine = Literal["moto", "dynamodb-local"]
"""What stands for AWS: moto for everything, or DynamoDB Local for the table and moto for the rest."""

INTAKE_SECONDS = 29.0
TICK_SECONDS = 55.0
"""Time-outs of the two functions (template.yaml)."""
JOB_LIMIT = 3
INTAKE_LIMIT = 8
"""Instances at most. An intake that waits for a run (`?wait=`) occupies one."""


_LEADS_ELSEWHERE = ("AWS_", "LOCALSTACK", "EDGE_PORT")
"""How variables begin that lead to an account, or to another engine."""


class Options(Struct, frozen=True, kw_only=True):
    """How to set the host up.

    Attributes:
        engine: what to start, when there is no endpoint.
        endpoint_url: an endpoint that stands for all of AWS; then nothing is started.
        port: where the API listens; 0 for any free port.
        rest: let the API be a REST API instead of an HTTP API.
        variables: environment variables of the functions: settings that differ from the template's
            (``infra.settings``), and any other.
        metered: count what runs cost.
        workers: instances of the job function at most; all of them are started in advance.
        batch: messages that one of them gets at a time, at most.
        attends: attend the runs that the API accepts. If not, the functions job and tick have no instances, and nobody
            calls them: somebody else does their work.
    """

    engine: Engine = "moto"
    endpoint_url: str | None = None
    port: int = 0
    rest: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    metered: bool = False
    workers: int = JOB_LIMIT
    batch: int = BATCH
    attends: bool = True


class LocalHost:
    """Everything, running. A context manager: starts on entering, and leaves no process behind on leaving.

    Attributes:
        folder: where the functions' output goes; removed on leaving, unless ``keep`` is set.
        keep: leave the folder.
        world: file in it that ``workflows.examples.outside`` keeps its effects in.
        url: the API's address.
        ledger: what runs have cost, if metered.
        job, intake, tick: the functions.
        variables: their environment.
        deployment: the resources.
        aws: clients for everything but the table.
        dynamodb: a client for the table.
    """

    url: str
    job: Function
    intake: Function
    tick: Function
    variables: Mapping[str, str]
    deployment: Deployment
    aws: Clients
    dynamodb: DynamoDBClient

    def __init__(
        self,
        options: Options,
        say: Callable[[str], None] = lambda _text: None,
        carrier: Callable[[Invocable], Invocable] = lambda function: function,
    ) -> None:
        """Start nothing yet; ``say`` is told what goes on, ``carrier`` may stand between the queue and its function."""
        self.options = options
        self._carrier = carrier
        self.folder = Path(tempfile.mkdtemp(prefix="onewrite-"))
        self.world = self.folder / "world.jsonl"
        self.keep = False
        self.ledger = Ledger()
        self._say = say
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything that was started, last things first. Stopping twice is no error."""
        self._undo.close()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def logged(self) -> Iterator[None]:
        """Inside the block, what the host itself has to tell goes to a file in its folder, and not to the screen."""
        logger = logging.getLogger("hosts.local")
        handler = logging.FileHandler(self.folder / "host.log")
        logger.addHandler(handler)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.propagate = True
            handler.close()

    def _start(self) -> None:
        options = self.options
        chosen = {**VARIABLES, **options.variables}
        # Before anything is started: what is wrong with them is the user's to mend.
        settings = Settings.from_env({"TABLE_NAME": "not-yet", "QUEUE_URL": "http://not-yet"} | chosen)
        endpoint, table_endpoint = self._engine()
        aws = self.aws = self._undo.enter_context(Clients(endpoint=endpoint))
        self.dynamodb = self._undo.enter_context(Clients(endpoint=table_endpoint)).dynamodb
        visibility = settings.job_timeout_seconds + VISIBILITY_MARGIN
        self.deployment = deploy(aws, self.dynamodb, visibility=visibility)
        variables = self.variables = {
            **_inherited(os.environ),
            **aws_environment(endpoint),
            "AWS_ENDPOINT_URL_DYNAMODB": table_endpoint,
            "AWS_REGION": self.deployment.region,
            "AWS_DEFAULT_REGION": self.deployment.region,
            **self.deployment.variables(),
            # The examples' pretend world, which all instances share.
            "ONEWRITE_WORLD": str(self.world),
            **chosen,
        }
        self._say("starting the functions")
        self.intake = self._function("intake", variables, INTAKE_SECONDS, INTAKE_LIMIT)
        self.job = self._function("job", variables, settings.job_timeout_seconds, options.workers)
        self.tick = self._function("tick", variables, TICK_SECONDS, 1)
        self.intake.warm(1)
        if options.attends:
            self.job.warm(options.workers)
            self.tick.warm(1)
        feeder = Feeder(
            aws.sqs,
            self.deployment.queue_url,
            self.deployment.queue_arn,
            self._carrier(self.job),
            pollers=options.workers,
            batch=options.batch,
            priority=(self.deployment.priority_queue_url, self.deployment.priority_queue_arn),
        )
        schedule = Schedule(self.tick, self.deployment.rule_arn, settings.tick_seconds)
        gateway = Gateway(
            self.intake,
            port=options.port,
            rest=options.rest,
            tenant_claim=settings.tenant_claim,
            roles_claim=settings.roles_claim,
        )
        self._undo.callback(gateway.stop)
        self._undo.callback(_end, self, feeder, schedule)
        self.url = gateway.url
        gateway.start()
        if options.attends:
            feeder.start()
            schedule.start()

    def _engine(self) -> tuple[str, str]:
        """Addresses of everything, and of the table."""
        options = self.options
        if options.endpoint_url is not None:
            require_answer(options.endpoint_url)
            return options.endpoint_url, options.endpoint_url
        self._say("starting moto")
        # Importing it takes a second, which other ways to use this module can save.
        from hosts.engines.embedded_moto import EmbeddedMoto  # noqa: PLC0415 - only the engine that is wanted

        moto = self._undo.enter_context(EmbeddedMoto.start())
        if options.engine == "moto":
            return moto.endpoint_url, moto.endpoint_url
        from hosts.engines.dynamodb_local import DynamoDbLocal  # noqa: PLC0415 - only the engine that is wanted

        self._say("starting DynamoDB Local")
        return moto.endpoint_url, self._undo.enter_context(DynamoDbLocal.start()).endpoint_url

    def _function(self, name: str, variables: Mapping[str, str], seconds: float, limit: int) -> Function:
        function = Function(
            name,
            variables,
            seconds=seconds,
            limit=limit,
            log=self.folder / f"{name}.log",
            ledger=self.ledger if self.options.metered else None,
        )
        self._undo.callback(function.stop)
        return function


def isolate() -> None:
    """Let nothing in this process reach an account of AWS. For programs that are a host and nothing else."""
    for name in [name for name in os.environ if name.startswith(_LEADS_ELSEWHERE)]:
        del os.environ[name]
    os.environ.update(aws_environment())


def _end(host: LocalHost, feeder: Feeder, schedule: Schedule) -> None:
    """Take no more work, then end the functions, which ends what waits for them."""
    feeder.stop()
    schedule.stop()
    for function in (host.job, host.tick, host.intake):
        function.stop()
    feeder.join()
    schedule.join()


def _inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """The surrounding environment without what leads to an account or another engine, and without settings."""
    settings = {name.upper() for name in Settings.__struct_fields__}
    return {
        name: value
        for name, value in environment.items()
        if name not in settings and not name.startswith(_LEADS_ELSEWHERE)
    }


def require_answer(endpoint_url: str) -> None:
    """See to it that something answers there.

    Raises:
        EngineMissing: nothing does.
    """
    try:
        with urllib.request.urlopen(endpoint_url, timeout=5):  # noqa: S310 - an address that the user gave
            pass
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, ValueError) as error:
        raise EngineMissing(f"nothing answers at {endpoint_url}: {error}") from error
