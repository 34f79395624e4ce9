"""Deploys template.yaml as `sam deploy` does: the code to a bucket, then a change set, which applies the transform."""

from __future__ import annotations

import platform
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from msgspec import Struct

from tests.artefact import ROOT

REGION = "us-east-1"
BUCKET, KEY = "artefacts", "onewrite.zip"
CODE = "    CodeUri: .\n"
"""The line of the template that `sam package` replaces."""
PATIENCE = 120.0
"""Seconds that a deployment may take."""


class Stack(Struct, frozen=True):
    """What was deployed.

    Attributes:
        name: of the stack.
        api: address of its API.
        outputs: those that the template declares.
        template: its body, as it was deployed.
    """

    name: str
    api: str
    outputs: dict[str, str]
    template: str

    def __getitem__(self, output: str) -> str:
        return self.outputs[output]


def client(service: str, endpoint: str) -> Any:
    """A client for a service that `infra.clients` knows nothing of."""
    config = Config(read_timeout=60, retries={"total_max_attempts": 1})
    session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
    make: Any = session.client  # boto3's stubs are installed for the services that the product calls
    return make(service, endpoint_url=endpoint, config=config)


def deploy(endpoint: str, artefact: Path, name: str, parameters: Mapping[str, str], scratch: Path) -> Stack:
    """Deploy the template, with these parameters; the others have their defaults."""
    upload(endpoint, zipped(artefact, scratch / KEY))
    template = (ROOT / "template.yaml").read_text()
    assert template.count(CODE) == 1
    body = template.replace(CODE, CODE.replace(".", f"s3://{BUCKET}/{KEY}"))
    formation = client("cloudformation", endpoint)
    formation.create_change_set(
        StackName=name,
        ChangeSetName="first",
        ChangeSetType="CREATE",
        TemplateBody=body,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    until(
        lambda: formation.describe_change_set(StackName=name, ChangeSetName="first"),
        "CREATE_COMPLETE",
        failed="FAILED",
    )
    formation.execute_change_set(StackName=name, ChangeSetName="first")
    made = until(
        lambda: (
            formation.describe_stacks(StackName=name)["Stacks"][0]
            | {"Why": [event for event in _events(formation, name) if "FAILED" in event["ResourceStatus"]]}
        ),
        "CREATE_COMPLETE",
        failed="ROLLBACK_COMPLETE",
        field="StackStatus",
    )
    outputs = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
    # On AWS it is the name of a host; LocalStack serves all hosts below its own address.
    host, _, stage = outputs["ApiUrl"].removeprefix("https://").partition("/")
    return Stack(name, f"{endpoint}/_aws/execute-api/{host.partition('.')[0]}/{stage}", outputs, body)


def runtime() -> dict[str, str]:
    """The parameters that say what the artefact was built for: this interpreter, on this machine."""
    minor = f"python3.{sys.version_info.minor}"
    architecture = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    return {"Runtime": minor if minor in {"python3.11", "python3.12"} else "python3.13", "Architecture": architecture}


def zipped(artefact: Path, into: Path) -> Path:
    """The artefact as one file."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for path in sorted(artefact.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(artefact))
    return into


def upload(endpoint: str, file: Path) -> None:
    """Put it where Lambda takes it from."""
    storage = client("s3", endpoint)
    storage.create_bucket(Bucket=BUCKET)
    storage.put_object(Bucket=BUCKET, Key=KEY, Body=file.read_bytes())


def until(describe: Any, status: str, *, failed: str, field: str = "Status") -> dict[str, Any]:
    """Ask until something has a status."""
    end = time.monotonic() + PATIENCE
    while (found := describe())[field] != status:
        assert found[field] != failed, found
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return dict(found)


def _events(formation: Any, name: str) -> list[dict[str, Any]]:
    return list(formation.describe_stack_events(StackName=name)["StackEvents"])
