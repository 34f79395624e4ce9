"""``Registry``: the workflows of a deployment, by id and version."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kernel.define.policy import milliseconds
from kernel.define.startable import Startable
from kernel.errors import DefinitionError, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.core.definition import Definition

AnyWorkflow = Startable[Any]


class Registry:
    """The workflows that a deployment runs. Several versions of one may stand side by side.

    ::

        registry = Registry(order, media, order_v1)
    """

    def __init__(self, *workflows: AnyWorkflow) -> None:
        """Index the workflows.

        Raises:
            DefinitionError: two have the same id and version, or one has no stages.
        """
        self._workflows: dict[str, dict[int, AnyWorkflow]] = {}
        for each in workflows:
            if not isinstance(each, Startable):
                raise DefinitionError(f"Registry: {each!r} is not a workflow")
            each.require_complete()
            versions = self._workflows.setdefault(each.id, {})
            if each.version in versions:
                raise DefinitionError(
                    f"two workflows have the id {each.id!r} and version {each.version}: "
                    "give one another id, or the newer one the next version"
                )
            versions[each.version] = each

    def __iter__(self) -> Iterator[AnyWorkflow]:
        """All workflows, in order of id and version."""
        for _, versions in sorted(self._workflows.items()):
            yield from (workflow for _, workflow in sorted(versions.items()))

    def __len__(self) -> int:
        """How many there are, each version counted."""
        return sum(len(versions) for versions in self._workflows.values())

    def find(self, workflow: str, version: int, fingerprint: str) -> Definition | None:
        """What a run is pinned to; None if this deployment does not have exactly that."""
        pinned = self.pinned(workflow, version, fingerprint)
        return pinned.definition if pinned else None

    def pinned(self, workflow: str, version: int, fingerprint: str) -> AnyWorkflow | None:
        """The workflow that a run is pinned to; None if this deployment does not have exactly that."""
        known = self._workflows.get(workflow, {}).get(version)
        return known if known and known.definition.fingerprint == fingerprint else None

    def latest(self, id_: str) -> AnyWorkflow:
        """The highest version of a workflow.

        Raises:
            NotFound: there is no such workflow.
        """
        versions = self._versions(id_)
        return versions[max(versions)]

    def get(self, id_: str, version: int) -> AnyWorkflow:
        """One version of a workflow.

        Raises:
            NotFound: there is no such workflow, or not in this version.
        """
        versions = self._versions(id_)
        if version not in versions:
            known = ", ".join(map(str, sorted(versions)))
            raise NotFound(f"workflow {id_} has no version {version} here; it has {known}")
        return versions[version]

    def _versions(self, id_: str) -> dict[int, AnyWorkflow]:
        if id_ not in self._workflows:
            known = ", ".join(sorted(self._workflows)) or "none"
            raise NotFound(f"there is no workflow {id_!r} here; there are: {known}")
        return self._workflows[id_]

    def check(self, fresh_invocation: timedelta, *, margin: timedelta = timedelta(seconds=5)) -> None:
        """See to it that every stage can finish in one invocation of a worker.

        Args:
            fresh_invocation: how long an invocation may run, such as the function's timeout.
            margin: what loading and committing may take of it.

        Raises:
            DefinitionError: a stage's timeout is too long, so that it would never be started.
        """
        limit = milliseconds(fresh_invocation, "fresh_invocation") - milliseconds(margin, "margin", least=_NONE)
        for workflow in self:
            for spec in workflow.definition.stages.values():
                if spec.timeout >= limit:
                    raise DefinitionError(
                        f"workflow {workflow.id!r} version {workflow.version}, stage {spec.id!r}: "
                        f"its timeout of {spec.timeout / 1000:g} s does not fit an invocation of "
                        f"{fresh_invocation.total_seconds():g} s (less {margin.total_seconds():g} s to load "
                        "and commit): shorten it, or give the worker more time (JOB_TIMEOUT_SECONDS)"
                    )


_NONE = timedelta(0)
