"""``Startable``: what workflows and machines have in common, which is all that the world outside needs to know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, cast

from pydantic import BaseModel
from typing_extensions import TypeVar

from kernel.define.config import configure, require_presets, same
from kernel.define.model import codec_of, is_model
from kernel.define.policy import is_whole
from kernel.define.shape import require_json
from kernel.define.stage import require_id
from kernel.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel.core.definition import Definition
    from kernel.define.plan import Outline
    from kernel.shell.read import RunView

Request = tuple[bytes, bytes | None]
"""What a run was asked for with: its accepted input and its configuration, as recorded."""

In = TypeVar("In", bound=BaseModel)


def require_names(what: str, id_: object, version: object, input_: object, presets: object) -> None:
    """See to it that what names a workflow or a machine, and says what it is started with, makes sense.

    Raises:
        DefinitionError: it does not; the message says what to change.
    """
    require_id(id_, what.partition(" ")[0])
    if not is_whole(version, 1):
        raise DefinitionError(f"{what}: version is {version!r}: give a whole number from 1")
    if not is_model(input_):
        raise DefinitionError(f"{what}: input is {input_!r}: give a pydantic model")
    try:
        require_json(input_, f"{what}, its input")
    except NameError as error:
        raise DefinitionError(f"{what}: {error}: define it above the {what.partition(' ')[0]}") from error
    require_presets(presets, what)


class Startable(ABC, Generic[In]):
    """What runs are started of: a ``Workflow`` or a ``Machine``, with an ``In``."""

    _plan: Outline

    @property
    def id(self) -> str:
        """Its name."""
        return self._plan.id

    @property
    def version(self) -> int:
        """From 1. A run stays with the version that it began with."""
        return self._plan.version

    @property
    def presets(self) -> tuple[str, ...]:
        """Names of its presets."""
        return tuple(self._plan.presets)

    @property
    def input(self) -> type[In]:
        """The model of a run's input."""
        return cast("type[In]", self._plan.input)

    def require_complete(self) -> None:
        """See to it that there is something to run, and that presets are for stages and fields that there are.

        Raises:
            DefinitionError: it is not so.
        """
        self._plan.require_complete()

    @cached_property
    def definition(self) -> Definition:
        """It, as the kernel sees it. Made when first asked for: a worker needs only that of its run.

        Raises:
            DefinitionError: it is not complete.
        """
        return self._compiled()

    @abstractmethod
    def _compiled(self) -> Definition: ...

    def accept(self, data: object) -> bytes:
        """A run's input, validated, with defaults filled in: JSON text as it is to be recorded.

        Args:
            data: JSON text (``bytes`` or ``str``), or what JSON can be made of: a model, a mapping.

        Raises:
            InvalidInput: it does not fit the model, or is not plain JSON; each problem has a path, such as
                ``input.lines.0.sku``.
        """
        return codec_of(self._plan.input).accept(data, "input")

    def configure(self, config: Mapping[str, object] | None = None, preset: str | None = None) -> bytes | None:
        """A run's configuration: that of the preset, with the fields given here in place of the preset's.

        Args:
            config: by stage id, a model or some of its fields.
            preset: name of one of the workflow's presets.

        Returns:
            JSON text: by stage id, the whole configuration of each stage that either speaks of; or None.

        Raises:
            InvalidInput: an unknown stage or preset (the message names those there are), a stage that has no
                configuration, or one that does not fit its model.
        """
        return configure(self._plan, config, preset)

    def same(self, one: Request, other: Request) -> bool:
        """Whether two requests ask for the same, though their texts may not be."""
        return codec_of(self._plan.input).same(one[0], other[0]) and same(self._plan, one[1], other[1])

    @abstractmethod
    def diagram(self, run: RunView | None = None) -> str:
        """It as a Mermaid diagram, for a page, a pull request or anything else that draws them.

        Args:
            run: a run of it, whose progress is drawn in; as ``Play.ended(run).view`` has it.
        """

    def event_schemas(self) -> dict[str, dict[str, Any]]:
        """JSON Schemas of the events that a run takes, by name."""
        return {name: code.event.model_json_schema() for name, code in self.definition.events.items()}

    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of a run's input."""
        return self._plan.input.model_json_schema()
