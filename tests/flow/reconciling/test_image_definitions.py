"""What the image definition of a custom image adds, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from onboarding.domain.reconcile.row import Outcome
from tests.flow.world import World

GALLERY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/gold/images/base"
IMAGE = {"id": f"{GALLERY}/versions/1.0.0"}
PLAN = {"publisher": "cloudera", "product": "cloudera-centos-os", "name": "7_5"}


def definition(**properties: Any) -> dict[str, Any]:
    return {"properties": {"osType": "Linux", "architecture": "x64", **properties}}


@pytest.fixture
def world() -> World:
    return World()


async def test_the_purchase_plan_of_a_definition_tells_the_os(world: World) -> None:
    world.arm.images[GALLERY.lower()] = definition(purchasePlan=PLAN)
    vm = world.add(image=IMAGE)
    await world.created(vm)
    row = world.row(vm)
    assert (row.outcome, row.distribution, row.witness) == (Outcome.REQUESTED, "centos", "plan")
    assert world.arm.calls == ["GET", "IMAGE", "PUT"]


async def test_a_definition_is_read_once(world: World) -> None:
    world.arm.images[GALLERY.lower()] = definition(purchasePlan=PLAN)
    for name in ("first", "second", "third"):
        await world.created(world.add(name, image=IMAGE))
    assert world.arm.calls.count("IMAGE") == 1


async def test_no_definition_is_read_where_the_guest_agent_reports_the_os(world: World) -> None:
    vm = world.add(image=IMAGE, osName="centos", osVersion="7.9")
    await world.created(vm)
    assert world.arm.calls == ["GET", "PUT"]


async def test_its_identifier_is_free_text_and_decides_nothing(world: World) -> None:
    text = {"publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS"}
    world.arm.images[GALLERY.lower()] = definition(identifier=text)
    vm = world.add(image=IMAGE)
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.UNDETERMINED


async def test_a_definition_that_may_not_be_read_changes_nothing(world: World) -> None:
    vm = world.add(image=IMAGE)
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.UNDETERMINED
