"""Which workflows a deployment has, and whether its workers can run them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from onewrite import Context, DefinitionError, NotFound, Registry, Workflow, stage


class Order(BaseModel):
    id: str


@stage(timeout=timedelta(seconds=30))
def charge(ctx: Context, order: Order) -> str:
    return order.id


@stage
def ship(ctx: Context, receipt: str) -> int:
    return len(receipt)


order = Workflow("order", input=Order).then(charge)
newer = Workflow("order", input=Order, version=10).then(charge).then(ship)
media = Workflow("media", input=Order).then(charge)

registry = Registry(order, newer, media)


def test_workflows_come_in_order_of_id_and_version() -> None:
    assert [(each.id, each.version) for each in registry] == [("media", 1), ("order", 1), ("order", 10)]
    assert len(registry) == 3


def test_a_run_finds_exactly_what_it_is_pinned_to() -> None:
    assert registry.find("order", 1, order.definition.fingerprint) is order.definition
    assert registry.find("order", 10, newer.definition.fingerprint) is newer.definition
    assert registry.find("order", 10, order.definition.fingerprint) is None
    assert registry.find("order", 2, order.definition.fingerprint) is None
    assert registry.find("orders", 1, order.definition.fingerprint) is None


def test_a_new_run_takes_the_latest_version_or_the_one_asked_for() -> None:
    assert registry.latest("order") is newer
    assert registry.get("order", 1) is order


def test_what_is_not_there_is_answered_with_what_is() -> None:
    with pytest.raises(NotFound, match="there is no workflow 'orders' here; there are: media, order"):
        registry.latest("orders")
    with pytest.raises(NotFound, match="there is no workflow 'order' here; there are: none"):
        Registry().get("order", 1)
    with pytest.raises(NotFound, match="workflow order has no version 2 here; it has 1, 10"):
        registry.get("order", 2)


def test_two_of_the_same_version_are_refused() -> None:
    with pytest.raises(DefinitionError) as refusal:
        Registry(order, Workflow("order", input=Order).then(charge).then(ship))

    assert str(refusal.value) == (
        "two workflows have the id 'order' and version 1: give one another id, or the newer one the next version"
    )


def test_what_is_no_workflow_or_has_no_stages_is_refused() -> None:
    loose: Any = Registry

    with pytest.raises(DefinitionError, match="Registry: <stage 'charge'> is not a workflow"):
        loose(charge)
    with pytest.raises(DefinitionError, match="workflow 'order' has no stages"):
        Registry(Workflow("order", input=Order))


def test_a_stage_that_does_not_fit_a_fresh_invocation_is_refused_before_it_is_ever_started() -> None:
    registry.check(timedelta(seconds=70))
    Registry(order).check(timedelta(seconds=31), margin=timedelta(0))

    with pytest.raises(DefinitionError) as refusal:
        registry.check(timedelta(seconds=65))

    assert str(refusal.value) == (
        "workflow 'order' version 10, stage 'ship': its timeout of 60 s does not fit an invocation of 65 s "
        "(less 5 s to load and commit): shorten it, or give the worker more time (JOB_TIMEOUT_SECONDS)"
    )
