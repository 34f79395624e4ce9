"""The command line over a gateway whose function is made up: output, exit status, and errors in a line."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hosts.local import cli
from hosts.local.gateway import Gateway
from hosts.local.serve import chosen_settings, interpreter
from kernel.errors import OnewriteError
from tests.hosts.conftest import Fake

ERROR = {"kind": "Undeliverable", "message": "nobody goes there", "stage": "ship"}
VIEW = {
    "run": "r1",
    "workflow": "order",
    "status": "failed",
    "seq": 8,
    "created": 1000,
    "updated": 2500,
    "stages": [
        {"stage": "charge", "status": "completed", "attempt": 2},
        {"stage": "ship", "status": "failed", "attempt": 1, "error": ERROR},
    ],
    "error": ERROR,
    "compensation": "complete",
    "business_key": "order-123",
}
DONE = VIEW | {"status": "completed", "error": None, "compensation": "", "output": {"tracking": "T1"}}
FAILED = {"type": "StageFailed", "stage": "ship", "error": ERROR}
SAID = {
    "annotations": [
        {"key": "trigger", "value": "nightly", "seq": 0, "at": 1000, "by": "api:alice"},
        {"key": "carrier.eta", "value": 3, "seq": 4, "at": 2000, "by": "worker", "stage": "ship"},
    ],
    "after": None,
}
LOG = {"entries": [{"seq": 3, "at": 2000, "by": "worker", "events": [FAILED]}], "after": None}


def answer(event: dict[str, Any]) -> Any:
    route = (event["requestContext"]["http"]["method"], event["rawPath"])
    answers: dict[tuple[str, str], Any] = {
        ("POST", "/workflows/order/runs"): {"run": "r1", "replay": True},
        ("GET", "/runs/r1"): VIEW,
        ("GET", "/runs/done"): DONE,
        ("GET", "/runs/r1/log"): LOG,
        ("GET", "/runs/r1/annotations"): SAID,
        ("GET", "/runs/urgent"): DONE | {"priority": "high"},
        ("GET", "/runs"): {
            "runs": [{"run": "r1", "workflow": "order", "version": 1, "status": "failed", "created": 1000}]
        },
        ("POST", "/callbacks/t-1"): {"run": "r1", "stage": "ship", "status": "completed"},
        ("POST", "/runs/r1/rerun"): VIEW | {"status": "running"},
        ("POST", "/runs/r1/pause"): VIEW | {"status": "paused"},
        ("POST", "/runs/r1/resume"): VIEW | {"status": "running"},
        ("GET", "/runs/held"): VIEW | {"status": "paused", "paused": {"since": 2000, "reason": "the bank is down"}},
        ("GET", "/workflows/order/diagram"): {
            "workflow": "order",
            "version": 2,
            "mermaid": "flowchart TD\n    a[<b>]\n",
        },
        ("GET", f"/runs/{'0' * 24}/diagram"): {"workflow": "order", "version": 1, "mermaid": "of a run\n"},
    }
    if route not in answers:
        return {"statusCode": 404, "body": json.dumps({"title": "Not found", "detail": "there is no such run"})}
    return {"statusCode": 200, "body": json.dumps(answers[route])}


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def function() -> Fake:
    return Fake(answer)


@pytest.fixture
def run(function: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    gateway = Gateway(function)
    gateway.start()
    monkeypatch.setenv("ONEWRITE_URL", gateway.url)

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
        return result.exit_code, result.output

    yield run
    gateway.stop()


@pytest.fixture
def order(tmp_path: Path) -> str:
    file = tmp_path / "order.json"
    file.write_text('{"number": "S-1"}')
    return str(file)


def test_show_prints_stages_errors_and_log(run: Run) -> None:
    status, output = run("show", "r1", "--log")

    assert status == 0
    for part in (
        "order r1  order-123  failed",
        "1.5 s, 3 attempts, commit 8",
        "nobody goes there",
        "compensation complete",
    ):
        assert part in output
    assert "StageFailed" in output


def test_a_token_says_who_it_is(run: Run, function: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEWRITE_TOKEN", "eyJ.eyJ.sig")

    assert run("show", "r1")[0] == 0

    assert [event["headers"]["authorization"] for event in function.events] == ["Bearer eyJ.eyJ.sig"]


@pytest.mark.parametrize(("token", "options"), [("t", ("--tenant", "acme")), ("a b", ()), ("a\nb", ()), ("ünï", ())])
def test_a_token_that_cannot_be_sent_is_refused(
    run: Run, function: Fake, monkeypatch: pytest.MonkeyPatch, token: str, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ONEWRITE_TOKEN", token)

    status, output = run("show", "r1", *options)

    assert (status, "ONEWRITE_TOKEN" in output, function.events) == (2, True, [])


def test_show_prints_json_for_programs(run: Run) -> None:
    status, output = run("show", "r1", "--json")

    assert status == 0
    assert json.loads(output) == VIEW


def test_run_starts_with_the_file_and_the_key_and_fails_with_the_run(run: Run, function: Fake, order: str) -> None:
    status, output = run("run", "order", order, "--key", "k", "--business-key", "order-123")

    assert status == 1
    assert "the same run" in output
    assert json.loads(function.events[0]["body"]) == {"input": {"number": "S-1"}, "business_key": "order-123"}
    assert function.events[0]["headers"]["idempotency-key"] == "k"


def test_run_sends_the_priority_and_what_is_said_of_the_start(run: Run, function: Fake, order: str) -> None:
    said = ["why=audit = yes", "n=3", "share=0.5", "dry-run=true", "text=null", "odd=NaN", "list=[1]", "empty="]
    options = [each for pair in said for each in ("--annotate", pair)]

    run("run", "order", order, "--priority", "high", "--no-wait", *options)

    assert json.loads(function.events[0]["body"]) == {
        "input": {"number": "S-1"},
        "priority": "high",
        "annotations": {
            "why": "audit = yes",
            "n": 3,
            "share": 0.5,
            "dry-run": True,
            "text": "null",
            "odd": "NaN",
            "list": "[1]",
            "empty": "",
        },
    }


def test_what_is_said_needs_a_key(run: Run, function: Fake, order: str) -> None:
    status, output = run("run", "order", order, "--annotate", "nightly")

    assert status == 2
    assert "is not KEY=VALUE" in output
    assert not function.events


def test_a_run_of_high_priority_shows_it_and_others_say_nothing(run: Run) -> None:
    assert "completed  high priority" in run("show", "urgent")[1]
    assert "priority" not in run("show", "done")[1]


def test_annotations_are_listed_with_who_said_them(run: Run, function: Fake) -> None:
    status, output = run("annotations", "r1", "--prefix", "t")

    assert status == 0
    assert function.events[0]["rawQueryString"] == "prefix=t&after=-1"
    lines = [line.split() for line in output.splitlines()]
    assert lines[0] == ["key", "value", "stage", "by", "at", "commit"]
    assert lines[1][:3] + lines[1][-1:] == ["trigger", "nightly", "api:alice", "0"]
    assert lines[2][:4] + lines[2][-1:] == ["carrier.eta", "3", "ship", "worker", "4"]


def test_annotations_are_printed_as_json_for_programs(run: Run) -> None:
    status, output = run("annotations", "r1", "--json")

    assert status == 0
    assert json.loads(output) == {"annotations": SAID["annotations"]}


def test_run_without_waiting_prints_the_id(run: Run, order: str) -> None:
    assert run("run", "order", order, "--no-wait") == (0, "r1\n")


def test_watch_succeeds_with_the_run(run: Run) -> None:
    status, output = run("watch", "done")

    assert status == 0
    assert '"tracking": "T1"' in output


def test_list_passes_on_what_to_look_for(run: Run, function: Fake) -> None:
    status, output = run("list", "--workflow", "order", "--status", "failed")

    assert status == 0
    assert "r1" in output
    assert function.events[0]["queryStringParameters"] == {"workflow": "order", "status": "failed", "limit": "20"}


def test_rerun_names_the_stage(run: Run, function: Fake) -> None:
    assert run("rerun", "r1", "ship", "--reason", "lost") == (0, "running\n")
    assert json.loads(function.events[0]["body"]) == {"stage": "ship", "reason": "lost"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--output", '{"number": "L-1"}'), {"output": {"number": "L-1"}}),
        (("--output", "null"), {"output": None}),
        (
            ("--error", "no paper", "--kind", "OutOfPaper", "--final"),
            {"error": {"kind": "OutOfPaper", "message": "no paper", "retryable": False}},
        ),
        (("--heartbeat", "--progress", "0.5"), {"heartbeat": True, "progress": 0.5}),
    ],
    ids=["output", "null", "error", "heartbeat"],
)
def test_callback_says_what_the_third_party_says(
    run: Run, function: Fake, arguments: tuple[str, ...], said: dict[str, Any]
) -> None:
    assert run("callback", "t-1", *arguments) == (0, "ship completed\n")
    assert json.loads(function.events[0]["body"]) == said


def test_pause_and_resume_pass_on_until_when_and_why(run: Run, function: Fake) -> None:
    until = "2026-01-31T12:00:00Z"
    assert run("pause", "r1", "--reason", "the bank is down", "--until", until) == (0, "paused\n")
    assert run("pause", "r1") == (0, "paused\n")
    assert run("resume", "r1", "--reason", "up again") == (0, "running\n")
    assert [json.loads(event["body"]) for event in function.events] == [
        {"reason": "the bank is down", "until": until},
        {"reason": ""},
        {"reason": "up again"},
    ]


def test_show_says_until_when_and_why_a_run_is_paused(run: Run) -> None:
    assert "paused until it is resumed: the bank is down" in run("show", "held")[1]


def test_diagram_prints_mermaid_as_it_is_of_a_workflow_or_a_run(run: Run, function: Fake) -> None:
    assert run("diagram", "order", "--version", "2") == (0, "flowchart TD\n    a[<b>]\n")
    assert function.events[0]["queryStringParameters"] == {"version": "2"}
    assert run("diagram", "0" * 24) == (0, "of a run\n")
    assert json.loads(run("diagram", "order", "--json")[1])["version"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "nope"), "there is no such run"),
        (("run", "order", "/no/such/file"), "/no/such/file cannot be read"),
        (("run", "order", "-"), "- is not JSON"),
        (("callback", "t-1", "--output", "{"), "--output is not JSON"),
    ],
)
def test_what_the_user_can_mend_is_an_error_that_says_so(run: Run, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(OnewriteError, match=message):
        run(*arguments)


def test_main_prints_such_an_error_in_a_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["onewrite", "show", "nope"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)
    monkeypatch.setattr(sys.stderr, "reconfigure", lambda **_: None, raising=False)

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 1
    assert capsys.readouterr().err == "there is no such run\n"


@pytest.mark.parametrize(
    ("executable", "called"),
    [("/here/.venv/bin/python", ".venv/bin/python"), ("/usr/bin/python3", "/usr/bin/python3")],
    ids=["of-this-folder", "of-somewhere-else"],
)
def test_what_serve_says_to_try_can_be_pasted(executable: str, called: str) -> None:
    assert interpreter(executable, Path("/here")) == called


def test_settings_are_the_environment_variables_of_the_template() -> None:
    assert chosen_settings({"TICK_SECONDS": "5", "LOG_LEVEL": "DEBUG", "PATH": "/bin"}) == {
        "TICK_SECONDS": "5",
        "LOG_LEVEL": "DEBUG",
    }
