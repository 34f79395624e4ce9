"""What a type looks like: whether JSON can carry it, whether it fits another, how a fingerprint spells it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_type_hints
from uuid import UUID

from pydantic import BaseModel, PydanticUserError, TypeAdapter
from typing_extensions import is_typeddict

from kernel.define.model import Hint, is_model, members, origin_of
from kernel.errors import DefinitionError

_PLAIN: frozenset[Any] = frozenset(
    {
        *(
            str,
            int,
            float,
            bool,
            bytes,
            None,
            NoneType,
            Any,
            Decimal,
            UUID,
            list,
            dict,
            tuple,
            set,
            frozenset,
        ),
        *(dt.datetime, dt.date, dt.time, dt.timedelta),
    }
)
_CONTAINERS = frozenset({list, dict, tuple, set, frozenset})

# A value of these kinds exists in Python only; JSON validation refuses each.
_UNREADABLE = frozenset({"is-instance", "is-subclass", "callable", "generator"})

# Where pydantic's schemas hold others. `lax_schema` stands for itself and its strict twin.
_INNER = ("schema", "items_schema", "keys_schema", "values_schema", "extras_schema", "lax_schema", "steps")


def require_json(annotation: Hint, what: str) -> None:
    """See to it that values of a type can be written as JSON and read back.

    Args:
        annotation: the type.
        what: names it in the error, such as ``stage 'pack', parameter 'receipt'``.

    Raises:
        DefinitionError: they cannot.
        NameError: a model refers to something that is not defined (yet).
    """
    if problem := _json_problem(annotation):
        raise DefinitionError(f"{what}: {problem}. Use a pydantic model of types that JSON can carry")


@lru_cache(maxsize=2048)
def _json_problem(annotation: Hint) -> str:
    if is_model(annotation):
        return _model_problem(annotation)
    if annotation in _PLAIN or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        return ""  # known, so no adapter need be built at import
    if len(members(annotation)) > 1 or origin_of(annotation) in _CONTAINERS:
        parts = (each for each in get_args(annotation) if each is not ...)
        return next(filter(None, map(_json_problem, parts)), "")
    try:
        schema = TypeAdapter(annotation).core_schema
    except PydanticUserError as error:
        return f"{name_of(annotation)} cannot be written as JSON ({str(error).splitlines()[0]})"
    return _first_unreadable(schema, name_of(annotation))


def _model_problem(model: type[BaseModel]) -> str:
    if model is BaseModel:
        return "BaseModel itself has no fields, so everything would be lost"
    if not model.__pydantic_complete__:
        model.model_rebuild()
    return _first_unreadable(model.__pydantic_core_schema__, model.__name__)


def _first_unreadable(schema: Mapping[str, Any], path: str) -> str:
    """The first place in a pydantic schema where JSON has no value to offer, or nothing."""
    kind = schema["type"]
    if kind in _UNREADABLE:
        return f"{path} is of a kind that JSON cannot carry ({kind})"
    if kind.startswith("function-"):
        return ""  # the user's own validator: it makes the value from what JSON carries
    if kind == "union":  # pydantic's own, such as that of pathlib.Path, hold a choice for Python only
        problems = [_first_unreadable(part, path) for _, part in _parts(schema)]
        return problems[0] if all(problems) else ""
    for step, part in _parts(schema):
        if problem := _first_unreadable(part, f"{path}.{step}" if step else path):
            return problem
    return ""


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas within a schema, with the name of the field each stands for, if it does."""
    if schema["type"] == "json-or-python":
        yield "", schema["json_schema"]
        return
    fields = schema.get("fields", {})  # a list of a dataclass's arguments, and one of mere names around it
    if not isinstance(fields, Mapping):
        fields = {each["name"]: each for each in fields if not isinstance(each, str)}
    for name, field in fields.items():
        yield name, field["schema"]
    for key in _INNER:
        inner = schema.get(key)
        for each in inner if isinstance(inner, list) else (inner,):
            if each is not None:
                yield "", each
    choices = schema.get("choices", ())
    for choice in choices.values() if isinstance(choices, Mapping) else choices:
        yield "", choice[0] if isinstance(choice, tuple) else choice
    for definition in schema.get("definitions", ()):
        yield "", definition


def fits(given: Hint, wanted: Hint) -> bool:
    """Whether a value of one type may be given where the other is wanted.

    A second net below the static one, so when in doubt it says yes: it compares the alternatives of unions,
    classes, and the parameters of one generic.
    """
    given, wanted = _bare(given), _bare(wanted)
    if wanted in (Any, object) or given is Any or given == wanted or (given, wanted) == (int, float):
        return True
    if len(members(given)) > 1 or len(members(wanted)) > 1:
        return all(any(fits(each, other) for other in members(wanted)) for each in members(given))
    given_class, wanted_class = origin_of(given), origin_of(wanted)
    if not isinstance(given_class, type) or not isinstance(wanted_class, type):
        return True
    if not _is_kind_of(given_class, wanted_class):
        return False
    given_args, wanted_args = get_args(given), get_args(wanted)
    if given_class is not wanted_class or len(given_args) != len(wanted_args):
        return True
    return all(fits(one, other) for one, other in zip(given_args, wanted_args, strict=True))


def _is_kind_of(given: Hint, wanted: Hint) -> bool:
    """``issubclass``, except that a TypedDict is none to ask: it is a dict that may have the keys it requires."""
    if not is_typeddict(wanted):
        return issubclass(given, wanted)
    required: frozenset[str] = wanted.__required_keys__
    return required <= given.__annotations__.keys() if is_typeddict(given) else issubclass(given, dict)


def alternatives(annotation: Hint) -> tuple[Hint, ...]:
    """The alternatives of a type, as ``members``, but with those behind an alias or an ``Annotated`` as well."""
    bare = _bare(annotation)
    inner = members(bare)
    return inner if len(inner) == 1 else tuple(one for each in inner for one in alternatives(each))


def _bare(annotation: Hint) -> Hint:
    if hasattr(annotation, "__value__"):  # an alias: type Name = ...
        return _bare(annotation.__value__)
    if origin_of(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    return NoneType if annotation is None else annotation


def describe(annotation: Hint, seen: set[type] | None = None) -> str:
    """A type's structure as text: its fields by name, type and whether required; its models; values of enums.

    The same in every process. Neither validators nor constraints nor defaults nor the module count: a run
    goes on when those change. A class is spelt out where it is met first.
    """
    seen = set() if seen is None else seen
    annotation = _bare(annotation)
    arguments = get_args(annotation)
    if origin_of(annotation) is Literal:
        return f"Literal[{','.join(map(repr, arguments))}]"
    if len(members(annotation)) > 1:
        return "|".join(describe(each, seen) for each in arguments)
    if arguments:
        return f"{name_of(origin_of(annotation))}[{','.join(describe(each, seen) for each in arguments)}]"
    if not isinstance(annotation, type) or annotation in _PLAIN or annotation in seen:
        return name_of(annotation)
    seen.add(annotation)
    if issubclass(annotation, Enum):
        return f"{name_of(annotation)}({','.join(repr(each.value) for each in annotation)})"
    fields = sorted(_fields(annotation))
    spelt = ",".join(f"{name}{'' if required else '?'}:{describe(inner, seen)}" for name, required, inner in fields)
    return f"{name_of(annotation)}{{{spelt}}}"


def _fields(owner: type) -> Iterator[tuple[str, bool, Any]]:
    if issubclass(owner, BaseModel):
        for name, field in owner.model_fields.items():
            yield name, field.is_required(), field.annotation
    elif dataclasses.is_dataclass(owner) or issubclass(owner, dict | tuple):  # TypedDict and NamedTuple
        for name, inner in get_type_hints(owner).items():
            yield name, True, inner


def name_of(annotation: Hint) -> str:
    """A type as a message calls it: ``list[Parcel] | None``."""
    if annotation in (None, NoneType):
        return "None"
    if len(members(annotation)) > 1:
        return " | ".join(map(name_of, members(annotation)))
    arguments = get_args(annotation) if isinstance(origin_of(annotation), type) else ()
    name = getattr(origin_of(annotation), "__name__", None) or str(annotation)
    return f"{name}[{', '.join(map(name_of, arguments))}]" if arguments else name
