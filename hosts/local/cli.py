"""The command line: `python -m hosts.local --help`."""

# ruff: noqa: FBT002 - a command's flags are its parameters, and typer calls it by name

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import typer
from rich.console import Console
from rich.live import Live

from hosts.local import client, show
from hosts.local.client import FINISHED, Api, Json
from hosts.local.host import Engine, Options, isolate
from kernel.errors import OnewriteError
from kernel.limits import is_run_id

PORT = 8321
LOOK_EVERY = 0.5
"""Seconds between two looks at a run that is watched."""

app = typer.Typer(
    help="Onewrite on this machine, without an account. Begin with `demo`; or `serve`, and then `run`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
console = Console(highlight=False)
problems = Console(stderr=True, highlight=False)

Url = Annotated[str, typer.Option(envvar="ONEWRITE_URL", help="Where the API is.")]
Tenant = Annotated[str | None, typer.Option(envvar="ONEWRITE_TENANT", help="Whose runs, if not the default's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Run = Annotated[str, typer.Argument(help="Id of the run.")]
Reason = Annotated[str, typer.Option(help="Why, for the run's log.")]
WhichEngine = Annotated[
    str, typer.Option(help="moto, for everything; or dynamodb-local, for the table (needs Java 17).")
]
Endpoint = Annotated[
    str | None, typer.Option(help="Take what answers there for all of AWS, a LocalStack say; no engine then.")
]


@app.command()
def demo(engine: WhichEngine = "moto", endpoint_url: Endpoint = None) -> None:
    """Run the examples, make things fail, watch them recover, see what it costs. Ends by itself."""
    from hosts.local.demo import play  # noqa: PLC0415 - the other commands do without it

    isolate()
    raise typer.Exit(play(console, _engine(engine), endpoint_url))


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Where the API listens; 0 for any free port.")] = PORT,
    engine: WhichEngine = "moto",
    endpoint_url: Endpoint = None,
    rest: Annotated[bool, typer.Option("--rest", help="Be a REST API: events of format 1.0.")] = False,
) -> None:
    """Stay up until Ctrl-C. Settings are environment variables, by the names that template.yaml uses."""
    from hosts.local.serve import chosen_settings  # noqa: PLC0415 - as above
    from hosts.local.serve import serve as stay_up  # noqa: PLC0415 - as above

    isolate()
    logging.basicConfig(format="%(message)s")
    chosen = chosen_settings(os.environ)
    stay_up(
        console,
        Options(engine=_engine(engine), endpoint_url=endpoint_url, port=port, rest=rest, variables=chosen),
    )


@app.command()
def run(  # noqa: PLR0913, PLR0917 - all that can be said of a start
    workflow: Annotated[str, typer.Argument(help="Id of the workflow.")],
    file: Annotated[Path, typer.Argument(help="JSON file with the run's input; - for standard input.")],
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same again gives the same run.")] = None,
    business_key: Annotated[
        str | None, typer.Option(help="What the run is about: at most one with the same is under way.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Name of a configuration of the workflow.")] = None,
    priority: Annotated[str | None, typer.Option(help="normal, or high: it does not wait behind others.")] = None,
    annotate: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Say something of this start; may be repeated.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Watch it until it is finished.")] = True,
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Start a run with the input in a file, and watch it. Exits with 1 unless it completes."""
    api = _api(url, tenant)
    said = dict(map(_annotation, annotate or ()))
    started = api.start(
        workflow,
        _read(file),
        key=key,
        preset=preset,
        business_key=business_key,
        priority=priority,
        annotations=said,
    )
    if not wait:
        _print(started, lambda: console.print(started["run"]), as_json=as_json)
        return
    if started["replay"] and not as_json:
        console.print("this key has been used before: it is the same run", style="dim")
    _end(_follow(api, started["run"], quiet=as_json), as_json=as_json)


@app.command("show")
def show_run(
    run: Run,
    log: Annotated[bool, typer.Option("--log", help="Show its log as well.")] = False,
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show a run: its stages, what went wrong, its output."""
    api = _api(url, tenant)
    view = api.run(run)
    if log:
        view["log"] = list(api.log(run))

    def pretty() -> None:
        console.print(show.run_page(view, console))
        if log:
            console.print(show.log_lines(view["log"]))

    _print(view, pretty, as_json=as_json)


@app.command()
def watch(run: Run, url: Url = client.DEFAULT_URL, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Watch a run until it is finished. Exits with 1 unless it completes."""
    _end(_follow(_api(url, tenant), run, quiet=as_json), as_json=as_json)


@app.command("annotations")
def list_annotations(
    run: Run,
    prefix: Annotated[str, typer.Option(help="Only those whose key begins so.")] = "",
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List what was said of a run: who, why, when, and in which stage."""
    found = list(_api(url, tenant).annotations(run, prefix))
    shown = {"annotations": found}
    _print(shown, lambda: console.print(show.annotation_table(found) if found else "no annotations"), as_json=as_json)


@app.command("list")
def list_runs(
    workflow: Annotated[str | None, typer.Option(help="Only runs of this workflow.")] = None,
    status: Annotated[str | None, typer.Option(help="open, paused, parked, completed, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 20,
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    chosen = {"workflow": workflow, "status": status, "limit": limit}
    found = _api(url, tenant).runs(**{name: value for name, value in chosen.items() if value is not None})
    runs = found["runs"]
    _print(found, lambda: console.print(show.run_table(runs) if runs else "no runs"), as_json=as_json)


@app.command()
def cancel(
    run: Run,
    reason: Reason = "",
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Cancel an unfinished run."""
    _acted(_api(url, tenant).act(run, "cancel", {"reason": reason}), as_json=as_json)


@app.command()
def pause(
    run: Run,
    until: Annotated[
        str | None, typer.Option(help="When it goes on by itself, such as 2026-01-31T12:00:00Z; if not given, never.")
    ] = None,
    reason: Reason = "",
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Let nothing more of a run start; what runs may end."""
    body = {"reason": reason} if until is None else {"reason": reason, "until": until}
    _acted(_api(url, tenant).act(run, "pause", body), as_json=as_json)


@app.command()
def resume(
    run: Run,
    reason: Reason = "",
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Let a paused run go on."""
    _acted(_api(url, tenant).act(run, "resume", {"reason": reason}), as_json=as_json)


@app.command()
def retry(
    run: Run,
    reason: Reason = "",
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Let a failed run go on where it failed."""
    _acted(_api(url, tenant).act(run, "retry", {"reason": reason}), as_json=as_json)


@app.command()
def send(
    run: Run,
    name: Annotated[str, typer.Argument(help="The event's class.")],
    payload: Annotated[Path, typer.Argument(help="A JSON file with what it carries; - for standard input.")],
    id_: Annotated[str | None, typer.Option("--id", help="The same id is the same event.")] = None,
    role: Annotated[
        list[str], typer.Option(help="What to act as; may be repeated. Only a local host believes it.")
    ] = [],  # noqa: B006 - read only
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Send an event to a run that waits for it, or will."""
    sent = _api(url, tenant, role).send(run, name, _read(payload), id_=id_)
    _print(sent, lambda: console.print(show.event_of(sent)), as_json=as_json)


@app.command()
def available(run: Run, url: Url = client.DEFAULT_URL, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show the events that a run can take as it stands, and of whom."""
    found = _api(url, tenant).available(run)
    _print(found, lambda: console.print(show.available_events(found)), as_json=as_json)


@app.command("event")
def show_event(
    run: Run,
    id_: Annotated[str, typer.Argument(metavar="ID", help="Id of the event.")],
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show what became of an event: accepted, applied or refused."""
    found = _api(url, tenant).event(run, id_)
    _print(found, lambda: console.print(show.event_of(found)), as_json=as_json)


@app.command()
def rerun(
    run: Run,
    stage: Annotated[str, typer.Argument(help="Id of the stage to run again, with all that depends on it.")],
    reason: Reason = "",
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Run a finished run again from a stage."""
    _acted(_api(url, tenant).act(run, "rerun", {"stage": stage, "reason": reason}), as_json=as_json)


@app.command()
def callback(
    token: Annotated[str, typer.Argument(help="What the stage gave out.")],
    output: Annotated[str | None, typer.Option(help="The stage's output, as JSON.")] = None,
    error: Annotated[str | None, typer.Option(help="What went wrong: the attempt fails.")] = None,
    kind: Annotated[str, typer.Option(help="What sort of error it is.")] = "CallbackFailed",
    final: Annotated[bool, typer.Option("--final", help="The error is for good: no other attempt helps.")] = False,
    heartbeat: Annotated[bool, typer.Option("--heartbeat", help="Still at work.")] = False,
    progress: Annotated[float | None, typer.Option(help="With --heartbeat: how far, as a fraction.")] = None,
    url: Url = client.DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Answer a stage that waits for a third party: give its output, fail it, or keep it waiting."""
    said: Json = {}
    if output is not None:
        said["output"] = _parsed(output, "--output")
    if error is not None:
        said["error"] = {"kind": kind, "message": error, "retryable": not final}
    if heartbeat:
        said["heartbeat"] = True
    if progress is not None:
        said["progress"] = progress
    answered = Api(url).callback(token, said)
    _print(answered, lambda: console.print(f"{answered['stage']} {answered['status']}"), as_json=as_json)


@app.command()
def diagram(
    what: Annotated[str, typer.Argument(help="Id of a workflow, or of a run.")],
    version: Annotated[int | None, typer.Option(help="Of the workflow; the latest if not given.")] = None,
    url: Url = client.DEFAULT_URL,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Draw a workflow, or a run with its progress, as a Mermaid diagram."""
    drawn = _api(url, tenant).diagram(what, of_run=is_run_id(what), version=version)
    _print(drawn, lambda: print(drawn["mermaid"], end=""), as_json=as_json)


# --- helpers ------------------------------------------------------------------------------------------------


def _engine(name: str) -> Engine:
    if name not in ("moto", "dynamodb-local"):
        raise typer.BadParameter(f"{name!r} is no engine: give moto or dynamodb-local", param_hint="--engine")
    return cast("Engine", name)


def _api(url: str, tenant: str | None, roles: Sequence[str] = ()) -> Api:
    """The API, as somebody. A token is not an option: everybody on a machine sees the options of its processes."""
    token = os.environ.get("ONEWRITE_TOKEN", "")
    if token and (tenant or roles):
        message = "with ONEWRITE_TOKEN, the token says who you are"
        raise typer.BadParameter(message, param_hint="--tenant" if tenant else "--role")
    if not token.isascii() or not token.isprintable() or " " in token:
        message = "ONEWRITE_TOKEN is no token: it has spaces, or characters that a header cannot have"
        raise typer.BadParameter(message)
    return Api(url, tenant, roles, token=token)


def _read(file: Path) -> Any:  # noqa: ANN401 - JSON
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise OnewriteError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise OnewriteError(f"{file} is not JSON: {error}") from error


def _annotation(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``; the value is a bool or a number if it is written as one in JSON, and a text otherwise."""
    key, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--annotate")
    try:
        read = json.loads(value, parse_constant=str)  # NaN is no JSON
    except ValueError:
        return key, value
    return key, read if isinstance(read, bool | int | float) else value


def _parsed(text: str, option: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(text)
    except ValueError as error:
        raise OnewriteError(f"{option} is not JSON: {error}") from error


def _follow(api: Api, run: str, *, quiet: bool) -> Json:
    """Look at a run until it is finished, and show how it goes."""
    view = api.run(run)
    if view["status"] in FINISHED:
        return view
    if quiet or not console.is_terminal:
        return api.wait(run)
    with Live(show.run_page(view, console), console=console, transient=True) as live:
        while view["status"] not in FINISHED:
            time.sleep(LOOK_EVERY)
            view = api.run(run)
            live.update(show.run_page(view, console))
    return view


def _end(view: Json, *, as_json: bool) -> NoReturn:
    _print(view, lambda: console.print(show.run_page(view, console)), as_json=as_json)
    raise typer.Exit(0 if view["status"] == "completed" else 1)


def _acted(view: Json, *, as_json: bool) -> None:
    _print(view, lambda: console.print(show.status_of(view)), as_json=as_json)


def _print(value: Json, pretty: Callable[[], None], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        pretty()


def main() -> None:
    """Run a command. What the user can mend is told in a line, without a traceback."""
    # A terminal that knows no check marks gets question marks, not an error.
    for stream in (sys.stdout, sys.stderr):
        cast("Any", stream).reconfigure(errors="replace")
    # Whoever ends us politely shall find everything ended in order.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        app()
    except OnewriteError as error:
        problems.print(str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(1)
