"""Values of users' types as JSON: what is recorded reads back as the same value, or recording it is an error.

A model is recorded by its fields' names, whatever aliases it has for the outside.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json

from kernel.errors import InvalidInput, StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_DEPTH = 64
"""How deep an input may be nested."""


Hint = Any
"""A type as an annotation has it: a class, a union, a generic. Python cannot type these yet (PEP 747)."""

JSON = Any
"""What JSON text decodes to."""

Value = Any
"""A value of a user's type."""


def origin_of(annotation: Hint) -> Hint:
    """The class of a generic's alias (``list`` of ``list[int]``), or the annotation itself."""
    origin: Hint = get_origin(annotation)
    return annotation if origin is None else origin


def members(annotation: Hint) -> tuple[Hint, ...]:
    """The alternatives of a union, or the annotation itself."""
    return get_args(annotation) if origin_of(annotation) in (Union, UnionType) else (annotation,)


def union(alternatives: tuple[Hint, ...]) -> Hint:
    """The type that allows each of these; the opposite of ``members``."""
    return Union[alternatives]  # noqa: UP007 - made at run time from any number of types


class Codec:
    """Reads and writes the values of one type as JSON.

    Attributes:
        annotation: the type.
        nullable: null is how one of its values is recorded.
    """

    def __init__(self, annotation: Hint) -> None:
        """Build nothing yet: importing a module of workflows must stay cheap."""
        self.annotation = annotation
        alternatives = members(annotation)
        # `Model | None` needs no adapter of its own: null is looked at here, the rest is the model's.
        rest = tuple(each for each in alternatives if each is not None and each is not NoneType)
        self._optional = len(alternatives) > len(rest) == 1
        self._core = rest[0] if self._optional else annotation

    @cached_property
    def nullable(self) -> bool:  # noqa: D102 - said above
        # Asked of the type, not read from its spelling: Any, an alias and a Literal may all have None.
        try:
            return self.record(self.load(b"null")) == b"null"
        except StageError:  # the time-out's interrupt
            raise
        except Exception:  # noqa: BLE001 - whatever a validator of the user's throws: it won't have null
            return False

    @cached_property
    def _source(self) -> TypeAdapter[Any] | type[BaseModel]:
        core: type[BaseModel] = self._core
        if is_model(core) and core.__pydantic_complete__:
            return core  # has a validator and a serializer of its own
        return TypeAdapter(core)

    @cached_property
    def _validate(self) -> Callable[..., Any]:
        source = self._source
        validator = source.validator if isinstance(source, TypeAdapter) else source.__pydantic_validator__
        return validator.validate_json

    @cached_property
    def _dump(self) -> Callable[..., bytes]:
        source = self._source
        serializer = source.serializer if isinstance(source, TypeAdapter) else source.__pydantic_serializer__
        return serializer.to_json

    def load(self, data: bytes) -> Value:
        """The value that was recorded as ``data``.

        Raises:
            ValueError: it does not fit the type (pydantic's ValidationError).
            Exception: whatever a validator of the user's throws.
        """
        if self._optional and data == b"null":
            return None
        return self._validate(data, by_alias=False, by_name=True)

    def record(self, value: Value) -> bytes:
        """The value as it is to be recorded.

        Raises:
            ValueError: it does not fit the type, or would not be the same when read back.
            Exception: whatever a validator or serializer of the user's throws.
        """
        if value is None and self._optional:
            return b"null"
        data = self._dump(value, by_alias=False, round_trip=True, warnings=False)
        again = self._validate(data, by_alias=False, by_name=True)
        # Serializers are lenient: NaN becomes null, a subclass loses its fields, a wrong type passes.
        if again != value and (difference := _difference(value, again)):
            raise ValueError(difference)
        if b"NaN" in data or b"Infinity" in data:
            msgspec.json.decode(data)  # throws unless they stand in a string: no JSON reader knows them
        return data

    def same(self, one: bytes, other: bytes) -> bool:
        """Whether two records are of the same value. A set, which has no order, may be recorded in any.

        Records that are not of this type are the same as none.
        """
        try:
            return one == other or exactly(self.load(one)) == exactly(self.load(other))
        except StageError:  # the time-out's interrupt
            raise
        except Exception:  # noqa: BLE001 - what another version recorded, or a validator of the user's that throws
            return False

    def accept(self, given: object, where: str, *, by_name: bool = False) -> bytes:
        """What somebody sent, validated, with defaults filled in, as it is to be recorded.

        Args:
            given: JSON text, or what JSON text can be made of.
            where: where the paths of problems start, such as ``input``.
            by_name: fields may be given by name as well as by alias.

        Raises:
            InvalidInput: with a path for each problem.
        """
        if is_model(self._core) and isinstance(given, self._core):
            return self._recorded(given, where)
        text = plain_json(given, where)
        try:
            value = self._validate(text, by_alias=True, by_name=True) if by_name else self._validate(text)
        except ValidationError as error:
            problems = tuple(
                (".".join((where, *map(str, each["loc"]))), each["msg"])
                for each in error.errors(include_url=False, include_context=False, include_input=False)
            )
            raise InvalidInput(f"the {where} is refused", problems) from error
        except Exception as error:
            raise _refused(where, problems_of(error)) from error
        return self._recorded(value, where)

    def _recorded(self, value: Value, where: str) -> bytes:
        try:
            return self.record(value)
        except Exception as error:
            raise _refused(where, problems_of(error)) from error


def exactly(value: Value) -> object:
    """What is equal for values that are the same in every part: unlike in Python, ``True`` is not 1, nor 1.0."""
    match value:
        case BaseModel():
            return type(value), *((name, exactly(each)) for name, each in value)
        case dict():
            return dict, {exactly(key): exactly(each) for key, each in value.items()}
        case set() | frozenset():
            return set, frozenset(map(exactly, value))
        case list() | tuple():
            return list, *map(exactly, value)
        case _:
            return type(value), value


@lru_cache(maxsize=2048)
def codec_of(annotation: Hint) -> Codec:
    """The codec of a type; made once."""
    return Codec(annotation)


def is_model(annotation: Hint) -> bool:
    """Whether it is a pydantic model (and not a generic alias or a union of some)."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def problems_of(error: Exception) -> str:
    """An error in one line; of a validation error the first problems, without the values (maybe secrets)."""
    if isinstance(error, ValidationError):
        details = error.errors(include_url=False, include_context=False, include_input=False)
        shown = (f"{'.'.join(map(str, each['loc'])) or 'value'}: {each['msg']}" for each in details[:5])
        more = f"; and {len(details) - 5} more" if len(details) > 5 else ""  # noqa: PLR2004 - as in the line above
        return "; ".join(shown) + more
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def plain_json(given: object, where: str) -> bytes:
    """JSON text that any reader understands alike.

    Refused are NaN and Infinity, numbers beyond all measure, lone surrogates, the character NUL, and nesting
    past ``MAX_DEPTH``.

    Raises:
        InvalidInput: it is not so.
    """
    try:
        if isinstance(given, str):
            given = given.encode()
        text = given if isinstance(given, bytes) else to_json(given)
        value = msgspec.json.decode(text)
    except RecursionError:
        raise _refused(where, f"nested deeper than {MAX_DEPTH}") from None
    except (ValueError, msgspec.MsgspecError) as error:
        raise _refused(where, f"not JSON as RFC 8259 defines it: {error}") from error
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH or rb"\u0000" in text:  # else no closer look is needed
        _inspect(value, where, where)
    return text


def _inspect(value: JSON, where: str, path: str, depth: int = 1) -> None:
    if isinstance(value, str) and "\0" in value:
        raise _refused(where, "holds the character NUL", path)
    if not isinstance(value, dict | list):
        return
    if depth > MAX_DEPTH:
        raise _refused(where, f"nested deeper than {MAX_DEPTH}")
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        _inspect(key, where, path, depth)
        _inspect(each, where, f"{path}.{key}", depth + 1)


def _refused(where: str, what: str, path: str = "") -> InvalidInput:
    return InvalidInput(f"the {where} is refused", ((path or where, what),))


def _difference(value: Value, again: Value, path: str = "value") -> str:
    """Where a value is not what its record says; nothing if it is nowhere.

    Private attributes of models don't count, though they make models unequal: pydantic never records them.
    """
    if value == again:
        return ""
    if type(value) is not type(again):
        return f"{path} is a {type(value).__name__}, but would be read back as a {type(again).__name__}"
    pairs: Iterable[tuple[object, Value, Value]]
    if isinstance(value, BaseModel):
        names = (*type(value).model_fields, *(value.model_extra or ()))
        pairs = ((name, getattr(value, name), getattr(again, name, None)) for name in names)
    elif isinstance(value, dict) and value.keys() == again.keys():
        pairs = ((key, each, again[key]) for key, each in value.items())
    elif isinstance(value, list | tuple) and len(value) == len(again):
        pairs = ((index, *both) for index, both in enumerate(zip(value, again, strict=True)))
    else:
        return f"{path} would not be the same when read back from its JSON"
    return next(filter(None, (_difference(one, other, f"{path}.{step}") for step, one, other in pairs)), "")
