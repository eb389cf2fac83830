"""The worker dies before and after each request of a removal. The stored state is enough to finish: the extension is
gone, one removal took effect, and the row says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from simulator.arm import ExtensionSpec, Guest, Kind, VmSpec
from simulator.demo.ledger import Row
from simulator.laptop import CloudOptions, Laptop
from simulator.roles import assign_shipped_roles
from simulator.storm.hosts import Hosts
from simulator.storm.storm import options
from simulator.storm.targets import OMS
from simulator.tls import certificates_in
from tests.fault.kill_proxy import KillPoint, KillProxy, Step
from tests.fault.killing import final_rows, kill_at_each_step, settings_through

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),  # the first one waits for seven deaths, each of them followed by the start of a host
]

POLICY = """\
name: retire-oms
effect: removeIfExists
existing: enforce
extension: oms-agent-linux
waits:
  install-request: {every: [4s], giveUpAfter: 15m}
  removal: {every: [4s], giveUpAfter: 15m}
  agent-ready: {every: [1s], giveUpAfter: 15m}
  operation: {every: [1s], giveUpAfter: 15m}
"""
CENTOS = Guest(os_name="centos", os_version="7.9", agent_delay=0)
PUBLISHER, _, TYPE = OMS.handler.rpartition(".")
STEPS = {
    "claiming the row": Step("table", "POST", "install-request"),
    "asking for the removal": Step("arm", "DELETE", OMS.resource),
    "recording the request": Step("table", "POST", '"Requested"'),
    "recording the end": Step("table", "POST", '"Removed"'),
}
CASES = [(name, forwarded) for name in STEPS for forwarded in (False, True)]


def spec_of(name: str, forwarded: bool) -> VmSpec:
    there = ExtensionSpec(name=OMS.resource, publisher=PUBLISHER, type=TYPE, version="1.3")
    number = CASES.index((name, forwarded))
    return VmSpec(name=f"removal-{number:02}", guest=CENTOS, extensions=(there,))


def cases() -> Iterator[tuple[str, VmSpec, Step]]:
    for name, forwarded in CASES:
        yield name, spec_of(name, forwarded), replace(STEPS[name], forwarded=forwarded)


@dataclass(frozen=True)
class Ended:
    rows: dict[str, Row]
    kill_points: dict[str, KillPoint]
    removals: dict[str, int]
    """How many removals ARM accepted, by VM."""
    left: list[str]
    """The VMs that still have the extension."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ended(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ended]:
    """Runs all cases one after the other: a VM is created, the host dies at the step, another host starts."""
    folder = tmp_path_factory.mktemp("removals")
    policies = folder / "policies"
    policies.mkdir()
    (policies / "retire.yaml").write_text(POLICY)
    hosts: list[Hosts] = []
    async with Laptop(CloudOptions(storage=folder / "storage", options=options())) as laptop:
        certificates = certificates_in(laptop.endpoints.ca_file.parent)
        async with KillProxy(lambda: hosts[0].pid(), trusted=certificates.client_context()) as wire:
            settings = await settings_through(wire, laptop, certificates) | {"ONBOARDING_POLICIES": str(policies)}
            assign_shipped_roles(laptop.arm, laptop.arm.options.subscriptions)
            hosts.append(Hosts(laptop, settings, folder))
            await hosts[0].start()
            kill_points = await kill_at_each_step(laptop, hosts[0], wire, cases())
            rows = {row.text("VmName"): row for row in await final_rows(laptop, len(CASES))}
            await hosts[0].stop()
            specs = [spec_of(*case) for case in CASES]
            machines = {spec.name: laptop.arm.machines[spec.id.lower()] for spec in specs}
            left = [name for name, each in machines.items() if each.find_handler(OMS.handler, other_than="")]
            removals = {spec: removals_of(laptop, spec) for spec in machines}
    yield Ended(rows, kill_points, removals, left)


def removals_of(laptop: Laptop, name: str) -> int:
    return sum(call.status == 202 for call in laptop.arm.requests.select(vm=name, kind=Kind.EXTENSION_DELETE))


@pytest.mark.parametrize(("name", "forwarded"), CASES)
async def test_the_stored_state_is_enough_to_finish(ended: Ended, name: str, forwarded: bool) -> None:
    vm = spec_of(name, forwarded).name
    assert ended.kill_points[vm].fired
    assert ended.rows[vm].outcome == "Removed"
    assert ended.removals[vm] == 1
    assert vm not in ended.left
