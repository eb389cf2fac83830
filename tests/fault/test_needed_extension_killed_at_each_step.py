"""The worker dies before and after each request about an extension that needs another one. The stored state is enough
to finish: both are installed once, the needed one first, and each has one true row."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from simulator.arm import Attempt, Guest, VmSpec
from simulator.demo.ledger import Row
from simulator.laptop import CloudOptions, Laptop
from simulator.roles import assign_shipped_roles
from simulator.storm.hosts import Hosts
from simulator.storm.storm import options
from simulator.storm.targets import INVENTORY, PLUGIN, copy_policies
from simulator.tls import certificates_in
from tests.fault.kill_proxy import KillPoint, KillProxy, Step
from tests.fault.killing import final_rows, kill_at_each_step, settings_through

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),  # the first one waits for all deaths, each of them followed by the start of a host
]

POLICIES = ("own-extension.yaml", "inventory-plugin.yaml")
XENIAL = Guest(os_name="ubuntu", os_version="16.04", agent_delay=0)
STEPS = {
    "recording that it waits": Step("table", "POST", "needed-extension"),
    "recording the end of the needed one": Step("table", "POST", '"Installed"'),
    "claiming its row": Step("table", "POST", "install-request", nth=2),
    "asking for it": Step("arm", "PUT", PLUGIN.resource),
    "recording its request": Step("table", "POST", '"Requested"', nth=2),
    "recording its end": Step("table", "POST", '"Installed"', nth=2),
}
CASES = [(name, forwarded) for name in STEPS for forwarded in (False, True)]


def spec_of(name: str, forwarded: bool) -> VmSpec:
    return VmSpec(name=f"needs-{CASES.index((name, forwarded)):02}", guest=XENIAL)


def cases() -> Iterator[tuple[str, VmSpec, Step]]:
    for name, forwarded in CASES:
        yield name, spec_of(name, forwarded), replace(STEPS[name], forwarded=forwarded)


@dataclass(frozen=True)
class Ended:
    rows: list[Row]
    kill_points: dict[str, KillPoint]
    attempts: list[Attempt]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ended(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ended]:
    """Runs all cases one after the other: a VM is created, the host dies at the step, another host starts."""
    folder = tmp_path_factory.mktemp("needs")
    policies, every = folder / "policies", copy_policies(folder / "every")
    shutil.copytree(every / "extensions", policies / "extensions")
    for name in POLICIES:
        shutil.copy(every / name, policies)
    hosts: list[Hosts] = []
    async with Laptop(CloudOptions(storage=folder / "storage", options=options())) as laptop:
        certificates = certificates_in(laptop.endpoints.ca_file.parent)
        async with KillProxy(lambda: hosts[0].pid(), trusted=certificates.client_context()) as wire:
            settings = await settings_through(wire, laptop, certificates) | {"ONBOARDING_POLICIES": str(policies)}
            assign_shipped_roles(laptop.arm, laptop.arm.options.subscriptions)
            hosts.append(Hosts(laptop, settings, folder))
            await hosts[0].start()
            kill_points = await kill_at_each_step(laptop, hosts[0], wire, cases())
            rows = await final_rows(laptop, 2 * len(CASES))
            await hosts[0].stop()
            attempts = list(laptop.arm.attempts)
    yield Ended(rows, kill_points, attempts)


@pytest.mark.parametrize(("name", "forwarded"), CASES)
async def test_the_stored_state_is_enough_to_finish(ended: Ended, name: str, forwarded: bool) -> None:
    vm = spec_of(name, forwarded)
    assert ended.kill_points[vm.name].fired
    outcomes = sorted((row.extension, row.outcome) for row in ended.rows if row.vm == vm.id.lower())
    assert outcomes == [(INVENTORY.extension, "Installed"), (PLUGIN.extension, "Installed")]
    sent = [each for each in ended.attempts if each.vm == vm.id.lower()]
    assert [each.handler for each in sent] == [INVENTORY.handler, PLUGIN.handler]
    assert INVENTORY.handler in sent[1].succeeded
