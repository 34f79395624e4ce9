"""A run's configuration: presets, overrides, and the models of the stages that they are for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec
from pydantic import BaseModel

from kernel.define.context import NoConfig
from kernel.define.model import codec_of, plain_json
from kernel.errors import DefinitionError, InvalidInput

if TYPE_CHECKING:
    from kernel.define.plan import Outline
    from kernel.define.stage import AnyStage


def require_presets(given: object, what: str) -> None:
    """See to it that presets are shaped as such; what they say is looked at when the stages are known.

    Raises:
        DefinitionError: they are not.
    """
    if isinstance(given, Mapping) and all(
        isinstance(name, str) and isinstance(stages, Mapping) for name, stages in given.items()
    ):
        return
    raise DefinitionError(
        f"{what}: presets are not configurations by name and stage: give a mapping such as "
        "{'test': {'charge': {'url': 'https://test.example.org'}}}"
    )


def require_preset(given: object, stage: AnyStage, what: str) -> None:
    """See to it that what a preset says of a stage is a configuration of that stage, or some of its fields.

    Their values are not judged: the model may want them together with those of a run.

    Raises:
        DefinitionError: it is not.
    """
    model = stage.contract.config
    if model is NoConfig:
        raise DefinitionError(f"{what}: stage {stage.id!r} has no configuration: annotate its ctx Context[Config]")
    try:
        _fields(given, model, stage.id)
    except InvalidInput as error:
        raise DefinitionError(f"{what}: {error}") from error


def configure(plan: Outline, config: Mapping[str, object] | None, preset: str | None) -> bytes | None:
    """What ``Workflow.configure`` says."""
    if preset is not None and (not isinstance(preset, str) or preset not in plan.presets):
        raise InvalidInput(f"workflow {plan.id} has no preset {preset!r}; there are: {_listed(plan.presets)}")
    if config is not None and not isinstance(config, Mapping):
        raise InvalidInput("the config is refused", (("config", "give an object: configurations by stage id"),))
    basis = {} if preset is None else plan.presets[preset]
    wishes = config or {}
    models = {id_: placed.stage.contract.config for id_, placed in plan.placed.items()}
    for id_ in wishes:
        if models.get(id_, NoConfig) is NoConfig:
            problem = "has no configuration" if id_ in models else "is not in the workflow"
            able = _listed(each for each, model in models.items() if model is not NoConfig)
            raise InvalidInput(f"workflow {plan.id}: stage {id_!r} {problem}; stages that can be configured: {able}")
    complete = {}
    for id_, model in models.items():
        where = f"config.{id_}"
        # A stage that nobody speaks of uses its model's defaults; one whose model has none must be spoken of.
        if id_ in basis or id_ in wishes or any(field.is_required() for field in model.model_fields.values()):
            fields = _fields(basis.get(id_), model, where) | _fields(wishes.get(id_), model, where)
            complete[id_] = msgspec.Raw(codec_of(model).accept(fields, where, by_name=True))
    return msgspec.json.encode(complete) if complete else None


def same(plan: Outline, one: bytes | None, other: bytes | None) -> bool:
    """Whether two recorded configurations are equal, though their texts may not be."""
    if one is None or other is None:
        return one is other
    try:
        stages, others = _by_stage(one), _by_stage(other)
    except msgspec.MsgspecError:  # one is none
        return False
    return stages.keys() == others.keys() and all(
        (placed := plan.stage(id_)) is not None and codec_of(placed.stage.contract.config).same(text, others[id_])
        for id_, text in stages.items()
    )


def _by_stage(config: bytes) -> dict[str, bytes]:
    return {id_: bytes(text) for id_, text in msgspec.json.decode(config, type=dict[str, msgspec.Raw]).items()}


def _fields(given: object, model: type[BaseModel], where: str) -> dict[str, object]:
    """The fields given, by name."""
    if given is None:
        return {}
    if isinstance(given, BaseModel):
        given = codec_of(model).accept(given, where)
    text = plain_json(given, where)
    try:
        fields = msgspec.json.decode(text, type=dict[str, object])
    except msgspec.ValidationError:
        problem = (where, "give an object: fields of the configuration")
        raise InvalidInput("the config is refused", (problem,)) from None
    aliases = ((field.validation_alias, name) for name, field in model.model_fields.items())
    names = {alias: name for alias, name in aliases if isinstance(alias, str)}
    named = {names.get(key, key): value for key, value in fields.items()}
    unknown = () if model.model_config.get("extra") == "allow" else sorted(named.keys() - model.model_fields.keys())
    if unknown:  # pydantic would ignore it: a typo would leave a default in force without a word
        known = _listed(model.model_fields)
        problems = tuple(
            (f"{where}.{name}", f"is not a field of the configuration; there are: {known}") for name in unknown
        )
        raise InvalidInput("the config is refused", problems)
    return named


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
