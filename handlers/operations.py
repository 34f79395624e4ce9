"""What can be asked for, whichever way it comes: each operation calls the kernel and shapes the answer.

Their arguments have the names that callers use for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import asdict, replace

from handlers.answers import (
    AvailableEvents,
    DeadLetter,
    DeadLetterList,
    Diagram,
    Health,
    ListedRun,
    LogPage,
    Replayed,
    RunAnswer,
    RunList,
    StartedRun,
    Step,
    StepPage,
    VersionInfo,
    WorkflowInfo,
    WorkflowList,
)
from handlers.requests import ABSENT, CallbackError, cursor_after, json_text, read_cursor
from kernel.core.events import COMPENSATE
from kernel.errors import Conflict, NotFound
from kernel.ports import HEAD, Dead, RunRef, Unreadable
from kernel.shell import callback, heads, outbox
from kernel.shell import read as kernel_read
from kernel.shell.cancel import cancel
from kernel.shell.keys import find_holder
from kernel.shell.load import Session
from kernel.shell.pause import pause, resume
from kernel.shell.receive import EventView, accept, accept_by_key, look_up
from kernel.shell.rerun import rerun, retry
from kernel.shell.start import start

if TYPE_CHECKING:
    from handlers.tenants import Caller
    from kernel.annotations import Scalar
    from kernel.define.registry import Registry
    from kernel.define.startable import Startable
    from kernel.shell.callback import Answered
    from kernel.shell.environment import Environment
    from kernel.shell.read import AnnotationPage, RunView

T = TypeVar("T")

OUTPUT_LIMIT = 2_000_000
"""Bytes of a run's output that fit an answer: a Lambda response is at most 6 MB, its quotes escaped twice."""
MOST_LETTERS = 100
"""Dead letters of a run that an answer holds."""
PAGE_LIMIT = 1_000_000
"""Bytes after which a page of a log ends, whatever its limit."""


class Operations:
    """All operations over an environment. May be shared by threads."""

    def __init__(self, env: Environment, registry: Registry) -> None:
        """Remember both."""
        self.env = env
        self.registry = registry

    def start(
        self,
        caller: Caller,
        *,
        workflow: str,
        input: object,  # noqa: A002 - the domain's word
        config: Mapping[str, object] | None = None,
        preset: str | None = None,
        version: int | None = None,
        key: str | None = None,
        business_key: str | None = None,
        priority: Literal["normal", "high"] = "normal",
        annotations: Mapping[str, Scalar] | None = None,
    ) -> StartedRun:
        """Start a run, with an input that is JSON text or what such text can be made of."""
        chosen = self.registry.latest(workflow) if version is None else self.registry.get(workflow, version)
        text = json_text(input)
        started = start(
            self.env,
            chosen,
            text,
            tenant=caller.tenant,
            by=caller.by,
            key=key,
            config=config,
            preset=preset,
            business_key=business_key,
            priority=priority,
            annotations=annotations,
        )
        if not started.replay:
            return StartedRun(started.ref.run, chosen.id, chosen.version, "running", replay=False)
        # It may be of an older version, and in any state.
        known = kernel_read.show(self.env, started.ref)
        return StartedRun(known.run, known.workflow, known.version, known.status, replay=True)

    def show(
        self,
        caller: Caller,
        *,
        run: str,
        seq: int | None = None,
        at: int | None = None,
        wait: float = 0,
    ) -> RunAnswer:
        """A run as it is, or as of a commit or a time; ``wait`` seconds for it to be finished."""
        ref = RunRef(caller.tenant, run)
        as_it_is = seq is None and at is None
        if wait > 0 and as_it_is:
            kernel_read.wait_for(self.env, ref, timeout=wait)
        session = kernel_read.find(self.env, ref)
        if as_it_is:
            shown = asdict(kernel_read.present(self.env, session))
        else:
            state = kernel_read.replay(self.env, session, seq=seq, at=at)
            session = Session(ref, session.head, state, session.recent)
            shown = asdict(kernel_read.view(session.state, session.head))
        if session.state.status.value == "completed" and (output := self._output(session)) is not None:
            if len(output) > OUTPUT_LIMIT:
                shown["output_omitted"] = len(output)
            else:
                shown["output"] = Raw(output)
        return RunAnswer(**shown)

    def _output(self, session: Session) -> bytes | None:
        """The result as JSON text; None where the workflow, which says what it is, is not deployed."""
        head = session.head
        definition = self.env.definitions.find(head.workflow, head.version, head.fingerprint)
        if definition is None:
            return None
        values = kernel_read.result(self.env, session, definition)
        return values[0] if len(values) == 1 else b"[" + b",".join(values) + b"]"

    def list_runs(
        self,
        caller: Caller,
        *,
        workflow: Sequence[str] | None = None,
        status: Sequence[str] | None = None,
        since: int | None = None,
        before: int | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> RunList:
        """The caller's runs, newest first; of all workflows and statuses unless some are named."""
        known = dict.fromkeys(each.id for each in self.registry)
        wanted = tuple(dict.fromkeys(workflow or known))
        found = kernel_read.list_runs(
            self.env,
            caller.tenant,
            wanted,
            statuses=tuple(dict.fromkeys(status or heads.COARSE)),
            since=since or 0,
            before=before,
            cursor=None if cursor is None else read_cursor(cursor),
            limit=limit + 1,
        )
        unknown = [each for each in wanted if each not in known]
        if unknown and not found and cursor is None:  # one that is no longer deployed may still have runs
            message = f"there is no workflow {unknown[0]!r} here, nor any such run of one"
            raise NotFound(message)
        page = found[:limit]
        return RunList(
            [ListedRun(one.ref.run, one.workflow, one.version, one.status, one.created) for one in page],
            cursor_after(page[-1].created, page[-1].ref.run) if len(found) > limit else None,
        )

    def log(self, caller: Caller, *, run: str, after: int = -1, limit: int = 100) -> LogPage:
        """The commits after number ``after``."""
        found = kernel_read.log_page(self.env, RunRef(caller.tenant, run), after=after, limit=limit + 1)
        return LogPage(*_page(found, limit, lambda entry: entry.seq))

    def steps(self, caller: Caller, *, run: str, after: int = -1, limit: int = 100) -> StepPage:
        """The fold of the log after number ``after``, step by step."""
        session = kernel_read.find(self.env, RunRef(caller.tenant, run))
        head = replace(session.head, status=heads.OPEN)  # whether it is parked now says nothing of then
        found: list[Step] = []
        for events, state in kernel_read.steps(self.env, session):
            if state.seq > after:
                found.append(Step(state.seq, state.at, events, kernel_read.view(state, head)))
            if len(found) > limit:
                break
        return StepPage(*_page(found, limit, lambda step: step.seq))

    def annotations(
        self, caller: Caller, *, run: str, prefix: str = "", after: int = -1, limit: int = 100
    ) -> AnnotationPage:
        """What was said of a run, under keys with this prefix, in the commits after number ``after``."""
        ref = RunRef(caller.tenant, run)
        return kernel_read.list_annotations(self.env, ref, prefix=prefix, after=after, limit=limit)

    def cancel(self, caller: Caller, *, run: str, reason: str = "") -> RunView:
        """Cancel an unfinished run."""
        return self._changed(caller, run, lambda ref: cancel(self.env, ref, by=caller.by, reason=reason))

    def pause(self, caller: Caller, *, run: str, reason: str = "", until: int | None = None) -> RunView:
        """Let nothing more of a run start, until a time or until it is resumed."""
        by = caller.by
        return self._changed(caller, run, lambda ref: pause(self.env, ref, by=by, reason=reason, until=until))

    def resume(self, caller: Caller, *, run: str, reason: str = "") -> RunView:
        """Let a paused run go on."""
        return self._changed(caller, run, lambda ref: resume(self.env, ref, by=caller.by, reason=reason))

    def retry(self, caller: Caller, *, run: str, reason: str = "") -> RunView:
        """Let a failed run go on where it failed."""
        return self._changed(caller, run, lambda ref: retry(self.env, ref, by=caller.by, reason=reason))

    def rerun(self, caller: Caller, *, run: str, stage: str, reason: str = "") -> RunView:
        """Let a finished run go on from a stage."""
        by = caller.by
        return self._changed(caller, run, lambda ref: rerun(self.env, ref, stage, by=by, reason=reason))

    def send_event(
        self,
        caller: Caller,
        *,
        run: str,
        name: str,
        payload: object,
        id: str | None = None,  # noqa: A002 - the domain's word
        roles: Sequence[str] | None = None,
    ) -> EventView:
        """Accept an external event for a run, from the caller or from somebody for whom they vouch."""
        text = json_text(payload, "payload")
        return accept(
            self.env,
            RunRef(caller.tenant, run),
            name,
            text,
            by=caller.by,
            id_=id,
            roles=caller.roles if roles is None else roles,
        )

    def available_events(self, caller: Caller, *, run: str) -> AvailableEvents:
        """The events that a run can take as it stands."""
        return AvailableEvents(list(kernel_read.available(self.env, RunRef(caller.tenant, run))))

    def show_event(self, caller: Caller, *, run: str, id: str) -> EventView:  # noqa: A002 - the domain's word
        """What became of an external event, by its id."""
        return look_up(self.env, RunRef(caller.tenant, run), id)

    def show_holder(self, caller: Caller, *, workflow: str, business_key: str) -> RunAnswer:
        """The run that holds a business key."""
        return self.show(caller, run=find_holder(self.env, caller.tenant, workflow, business_key).run)

    def send_event_to_holder(
        self,
        caller: Caller,
        *,
        workflow: str,
        business_key: str,
        name: str,
        payload: object,
        id: str | None = None,  # noqa: A002 - the domain's word
        roles: Sequence[str] | None = None,
    ) -> EventView:
        """Accept an external event for the run that holds a business key; the same again also from who held it last."""
        text = json_text(payload, "payload")
        by, tenant = caller.by, caller.tenant
        acting = caller.roles if roles is None else roles
        return accept_by_key(self.env, tenant, workflow, business_key, name, text, by=by, id_=id, roles=acting)

    def _changed(self, caller: Caller, run: str, change: Callable[[RunRef], None]) -> RunView:
        ref = RunRef(caller.tenant, run)
        change(ref)
        return kernel_read.show(self.env, ref)

    def callback(
        self,
        _caller: Caller | None = None,
        *,
        token: str,
        output: object = ABSENT,
        error: CallbackError = ABSENT,
        progress: float | None = None,
        heartbeat: object = ABSENT,  # noqa: ARG002 - said by there being neither an output nor an error
    ) -> Answered:
        """Complete, fail or keep alive the stage whose token it is, whoever asks."""
        if output is not ABSENT:
            return callback.complete(self.env, token, json_text(output, "output"))
        if error is not ABSENT:
            return callback.fail(self.env, token, kind=error.kind, message=error.message, retryable=error.retryable)
        return callback.heartbeat(self.env, token, progress)

    def dead_letters(self, caller: Caller, *, run: str) -> DeadLetterList:
        """Events of a run that could not be published."""
        ref = RunRef(caller.tenant, run)
        kernel_read.find(self.env, ref)
        letters = list(islice(outbox.dead_letters(self.env, ref), MOST_LETTERS))
        return DeadLetterList(
            [
                DeadLetter(each.seq, each.index, each.at, each.error, Raw(each.body))
                for each in letters
                if isinstance(each, Dead)
            ],
            [str(each.error) for each in letters if isinstance(each, Unreadable)],
        )

    def replay_dead_letters(self, caller: Caller, *, run: str) -> Replayed:
        """Publish them once more."""
        ref = RunRef(caller.tenant, run)
        kernel_read.find(self.env, ref)
        flushed = outbox.replay_dead_letters(self.env, ref)
        return Replayed(flushed.published, flushed.clean) if flushed else Replayed(0, clean=True)

    def workflows(self, _caller: Caller) -> WorkflowList:
        """What can be started, by anyone who has a tenant."""
        by_id: dict[str, list[VersionInfo]] = {}
        for each in self.registry:
            by_id.setdefault(each.id, []).append(_version(each))
        infos = [WorkflowInfo(id_, versions[-1].version, versions) for id_, versions in by_id.items()]
        return WorkflowList(infos)

    def diagram(self, _caller: Caller, *, workflow: str, version: int | None = None) -> Diagram:
        """A workflow, drawn."""
        chosen = self.registry.latest(workflow) if version is None else self.registry.get(workflow, version)
        return Diagram(chosen.id, chosen.version, chosen.diagram())

    def run_diagram(self, caller: Caller, *, run: str, seq: int | None = None, at: int | None = None) -> Diagram:
        """A run's workflow, drawn, with how far the run has come; or had, as of a commit or a time."""
        shown = kernel_read.show(self.env, RunRef(caller.tenant, run), seq=seq, at=at)
        pinned = self.registry.pinned(shown.workflow, shown.version, shown.fingerprint)
        if pinned is None:
            raise Conflict(
                f"run {run} needs {shown.workflow} version {shown.version}, which this deployment does not have"
            )
        return Diagram(pinned.id, pinned.version, pinned.diagram(shown))

    def health(self, _caller: Caller | None = None) -> Health:
        """Whether the table answers.

        Raises:
            InfrastructureError: it does not.
        """
        self.env.store.get(RunRef("health", "health"), HEAD)
        return Health("ok")


def _page(found: Sequence[T], limit: int, seq: Callable[[T], int]) -> tuple[list[T], int | None]:
    """As many as fit a page, at least one, and the number to go on after if that were not all."""
    page: list[T] = []
    size = 0
    for each in found[:limit]:
        size += len(msgspec.json.encode(each))
        if page and size > PAGE_LIMIT:
            break
        page.append(each)
    return page, seq(page[-1]) if len(page) < len(found) else None


def _version(workflow: Startable[Any]) -> VersionInfo:
    definition = workflow.definition
    return VersionInfo(
        version=workflow.version,
        fingerprint=definition.fingerprint,
        stages=[id_ for id_ in definition.code if not id_.startswith(COMPENSATE)],
        presets=list(workflow.presets),
        input=workflow.input_schema(),
        events=workflow.event_schemas(),
    )
