"""External events: classes of which a workflow waits for some, and how what is sent is read as one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from pydantic import BaseModel

from kernel.define.model import Codec, Value, codec_of, is_model, union
from kernel.define.shape import require_json
from kernel.define.stage import require_id
from kernel.errors import DefinitionError, InvalidInput

MOST = 3
"""Events that one wait may be for."""


class EventCode(Struct, frozen=True):
    """Reads what is sent as an event of one class.

    Attributes:
        event: the class.
        codec: of it.
        among: of what waits take that are for this event, or for another one.
    """

    event: type[BaseModel]
    codec: Codec
    among: tuple[Codec, ...]

    def accept(self, data: object) -> bytes:
        """What an event carries, validated, with defaults filled in: JSON text as it is to be recorded.

        Raises:
            InvalidInput: it does not fit the class, or could be taken for another one that a wait is for as well.
        """
        text = self.codec.accept(data, "payload")
        for codec in self.among:
            taken = type(codec.load(text))
            if taken is not self.event:
                problem = f"would be read as a {taken.__name__}: give the classes a field that tells them apart"
                raise InvalidInput(f"{self.event.__name__} {problem}", (("payload", problem),))
        return text


class ValueCode(Struct, frozen=True):
    """Reads what no stage gives: the event that a wait got, or a machine's data."""

    codec: Codec

    def read_output(self, data: bytes) -> Value:
        """The value; None for a wait whose time was up."""
        return None if data == b"null" else self.codec.load(data)


def codes_of(waits: Sequence[Sequence[type[BaseModel]]]) -> Mapping[str, EventCode]:
    """What reads each event that a workflow waits for, by name, where each wait is for one of several."""
    classes = {event.__name__: event for events in waits for event in events}
    return {
        name: EventCode(
            event,
            codec_of(event),
            tuple(codec_of(union(tuple(events))) for events in waits if event in events and len(events) > 1),
        )
        for name, event in classes.items()
    }


def require_events(events: Sequence[object], before: Iterable[Sequence[type[BaseModel]]], what: str) -> None:
    """See to it that a wait is for events that can be told apart, among them and from those of other waits.

    Raises:
        DefinitionError: it is not.
    """
    if not 1 <= len(events) <= MOST:
        raise DefinitionError(f"{what}: give one to three classes of events")
    known = {event.__name__: event for others in before for event in others}
    shapes: dict[str, str] = {}
    for event in events:
        if not isinstance(event, type) or not is_model(event):
            raise DefinitionError(f"{what}: {event!r} is no event: give its class, a pydantic model such as Delivered")
        name = event.__name__
        require_id(name, "event")
        require_json(event, f"{what}, event {name}")
        if known.setdefault(name, event) is not event:
            raise DefinitionError(f"{what}: there are two classes of the name {name!r}: rename one")
        schema = event.model_json_schema()
        shape = repr((schema.get("properties"), schema.get("required")))
        if shape in shapes:
            raise DefinitionError(
                f"{what}: {shapes[shape]} and {name} look alike: give each a field that tells them apart, such as "
                f"kind: Literal[{name!r}] = {name!r}"
            )
        shapes[shape] = name
