"""Starting a run from where workers are, and making the table, by command."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from hosts.engines import aws_environment
from hosts.engines.embedded_moto import EmbeddedMoto
from hosts.worker import start, table

pytestmark = pytest.mark.moto

ORDER = Path(__file__).parent.parent.parent / "workflows/examples/inputs/order/laptop.json"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    with EmbeddedMoto.start() as moto:
        aws = aws_environment(moto.endpoint_url)
        for name, value in aws.items():
            monkeypatch.setenv(name, value)
        yield {
            **aws,
            "WORKFLOWS": "workflows.examples:registry",
            "TABLE_NAME": "onewrite",
            "TRANSPORT": "redis",
            "REDIS_URL": "redis://127.0.0.1:1",
            "DEFAULT_TENANT": "acme",
        }


def test_a_run_is_started_once_per_key_though_redis_is_down(
    environ: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert table.main(environ) == 0
    assert table.main(environ) == 0, "making it again does nothing"
    capsys.readouterr()

    for _ in range(2):
        assert start.main(["order", str(ORDER), "--key", "k-1"], environ) == 0

    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == {"run": second["run"], "workflow": "order", "replay": False}
    assert second["replay"] is True


def test_what_is_wrong_with_a_start_is_said(
    environ: Mapping[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table.main(environ)
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    for arguments, said in (
        (["nonsense", str(ORDER)], "there is no workflow 'nonsense' here"),
        (["order", str(tmp_path / "nowhere")], "nowhere"),
        (["order", str(bad)], "Field required"),
    ):
        assert start.main(arguments, environ) == 1
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        start.main(["order", str(ORDER)], {**environ, "DEFAULT_TENANT": ""})
    assert "DEFAULT_TENANT" in capsys.readouterr().err
