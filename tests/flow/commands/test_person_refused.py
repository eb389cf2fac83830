"""ARM refuses a person, not the function app: no breaker opens, and the row does not change."""

from __future__ import annotations

import argparse
from datetime import timedelta

import pytest

from onboarding.cli.machines import install, retry
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId
from tests.flow.commands.test_preflight import EXPIRED, FORBIDDEN, NO_TOKEN, OTHER_TENANT
from tests.flow.world import World, extension

REFUSALS = pytest.mark.parametrize(
    "evidence", [NO_TOKEN, OTHER_TENANT, EXPIRED, FORBIDDEN], ids=lambda evidence: evidence.code
)


@pytest.fixture
def world() -> World:
    return World()


async def failed(world: World, name: str = "web01") -> VmId:
    vm = world.add(name)
    broken = extension(state="Failed")
    world.arm.set_extension(vm, broken, "Install failed with exit code 62", "ProvisioningState/failed/1")
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.FAILED
    world.now += timedelta(minutes=1)
    return vm


async def retried(world: World, *vms: VmId) -> int:
    parser = argparse.ArgumentParser()
    retry.add(parser.add_subparsers())
    return await install.run_requests(parser.parse_args(["retry", "--no-wait"]), world.requests, vms)


@REFUSALS
async def test_a_vm_that_the_person_may_not_read_keeps_its_row(world: World, evidence: Evidence) -> None:
    vm = await failed(world)
    row = world.row(vm)
    world.arm.read_errors = [evidence]
    assert await retried(world, vm) == 2
    assert world.row(vm) == row
    assert not world.breakers.stored


@REFUSALS
async def test_a_vm_that_the_person_may_not_write_keeps_its_row(
    world: World, evidence: Evidence, capsys: pytest.CaptureFixture[str]
) -> None:
    vm = await failed(world)
    row = world.row(vm)
    world.arm.install_errors = [evidence]
    assert await retried(world, vm) == 2
    assert world.row(vm) == row
    assert not world.breakers.stored
    assert "web01: " in capsys.readouterr().err


async def test_the_other_vms_are_retried(world: World) -> None:
    first, second = await failed(world, "first"), await failed(world, "second")
    world.arm.read_errors = [FORBIDDEN]
    assert await retried(world, first, second) == 1
    assert sorted([world.row(first).outcome, world.row(second).outcome]) == [Outcome.FAILED, Outcome.REQUESTED]
    assert not world.breakers.stored
