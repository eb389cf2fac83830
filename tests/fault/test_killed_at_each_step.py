"""The worker dies before and after each request to storage and ARM about a VM: those of the identity, the association
and three extensions. The stored state is enough to finish: one true row and one install for each extension, one write
of the identity, and the association; and the outcomes are published."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from copy import replace
from dataclasses import dataclass
from itertools import product

import pytest
import pytest_asyncio

from simulator.arm import Guest, Kind, VmSpec, locked_package_manager
from simulator.demo.ledger import Ledger
from simulator.laptop import CloudOptions, Laptop
from simulator.roles import assign_shipped_roles
from simulator.storm.evidence import prepare
from simulator.storm.final_state import read_final_state
from simulator.storm.hosts import Hosts
from simulator.storm.invariant import ExpectedRow, FinalState, judge
from simulator.storm.storm import options
from simulator.storm.targets import AMA, INVENTORY, OMS, Target
from simulator.tls import certificates_in
from tests.fault.kill_proxy import KillPoint, KillProxy, Step
from tests.fault.killing import kill_at_each_step, settings_through

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),  # the first one waits for all deaths, each of them followed by the start of a host
]

TARGETS = (OMS, AMA, INVENTORY)
# All extensions support Ubuntu 16.04, and the Azure Monitor Agent does not support CentOS 6.
IMAGE = {"publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS", "version": "16.04.202109280"}
XENIAL = Guest(os_name="ubuntu", os_version="16.04", agent_delay=0)
OLD_IMAGE = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "6.8", "version": "6.8.20170105"}
OLD_CENTOS = Guest(os_name="centos", os_version="6.8", agent_delay=0)

# The requests about a VM in their order: those of the first install, before which the association is written; those of
# the identity, and of the second and third extension; and, on an older VM, those of the scheduled check that finds the
# package manager locked.
STEPS = {
    "reading the ledger": Step("table", "GET", "vm|"),
    "reading the VM": Step("arm", "GET"),
    "writing the association": Step("arm", "PUT", "dataCollectionRuleAssociations"),
    "scheduling the check": Step("queue", "POST"),
    "claiming the row": Step("table", "POST", "install-request"),
    "asking for the install": Step("arm", "PUT", OMS.resource),
    "recording the request": Step("table", "POST", "Requested"),
    "recording the end": Step("table", "POST", "Installed"),
    "clearing the outbox entry of the outcome": Step("table", "DELETE", "unpublished"),
    "scheduling the check of the identity": Step("queue", "POST", nth=2),
    "claiming the identity": Step("table", "POST", "install-request", nth=2),
    "asking for the identity": Step("arm", "PATCH"),
    "recording the request for the identity": Step("table", "POST", "Requested", nth=2),
    "asking for the second extension": Step("arm", "PUT", AMA.resource),
    "recording the second end": Step("table", "POST", "Installed", nth=2),
    "asking for the third extension": Step("arm", "PUT", INVENTORY.resource),
    "recording the third end": Step("table", "POST", "Installed", nth=3),
    "reading the VM again, for a failure": Step("arm", "GET", nth=2),
    "recording the failure": Step("table", "POST", "package-manager"),
    "asking for the install again": Step("arm", "PUT", OMS.resource, nth=2),
}
AGAIN = ("again", "failure")
# Before a step is the same as after the previous one, except for concurrent steps and steps without a previous one.
BEFORE = (
    "scheduling the check",
    "claiming the row",
    "writing the association",
    "claiming the identity",
    "asking for the identity",
    "asking for the second extension",
    "asking for the third extension",
    "clearing the outbox entry of the outcome",
)
CASES = [*product(STEPS, (True,)), *product(BEFORE, (False,))]
IDS = [f"{'after' if forwarded else 'before'} {name}" for name, forwarded in CASES]


def spec_of(name: str, forwarded: bool) -> VmSpec:
    """The VM of a case. Its handler finds the package manager locked once if the step needs that."""
    called = f"step-{CASES.index((name, forwarded)):02}"
    if any(word in name for word in AGAIN):
        return VmSpec(name=called, image=OLD_IMAGE, guest=OLD_CENTOS, runs=locked_package_manager(1))
    return VmSpec(name=called, image=IMAGE, guest=XENIAL)


def outcome_of(spec: VmSpec, target: Target) -> str:
    return "Unsupported" if target is AMA and spec.guest is OLD_CENTOS else "Installed"


def cases() -> Iterator[tuple[str, VmSpec, Step]]:
    for name, forwarded in CASES:
        yield name, spec_of(name, forwarded), replace(STEPS[name], forwarded=forwarded)


@dataclass(frozen=True)
class Ended:
    final: FinalState
    kill_points: dict[str, KillPoint]
    published: Counter[tuple[str, str]]
    identities: Counter[str]
    """How many writes of identities each VM got."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ended(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ended]:
    """Runs all cases one after the other: a VM is created, the host dies at the step, another host starts. Then it
    waits for all VMs."""
    folder = tmp_path_factory.mktemp("steps")
    storage = folder / "storage"
    hosts: list[Hosts] = []
    async with Laptop(CloudOptions(storage=storage, options=options())) as laptop:
        certificates = certificates_in(laptop.endpoints.ca_file.parent)
        async with KillProxy(lambda: hosts[0].pid(), trusted=certificates.client_context()) as wire:
            settings = await settings_through(wire, laptop, certificates)
            prepare(laptop.arm)
            assign_shipped_roles(laptop.arm, laptop.arm.options.subscriptions)
            hosts.append(Hosts(laptop, settings, folder))
            await hosts[0].start()
            kill_points = await kill_at_each_step(laptop, hosts[0], wire, cases())
            expected_rows = [
                ExpectedRow(spec.id.lower(), spec.name, target.extension, outcome_of(spec, target))
                for spec in map(spec_of, *zip(*CASES, strict=True))
                for target in TARGETS
            ]
            await all_published(laptop, [(expected_row.vm, expected_row.extension) for expected_row in expected_rows])
            await hosts[0].stop()
            async with Ledger(laptop.azurite.connection_string) as ledger:
                entities = await ledger.everything()
            final = await read_final_state(laptop, hosts[0], entities, expected_rows, storage)
        identities = Counter(
            str(each.vm).lower() for each in laptop.arm.requests if each.kind is Kind.VM_PATCH and each.status
        )
    published = Counter((str(event["subject"]).lower(), event["data"]["Extension"]) for event in final.outcome_events)
    yield Ended(final, kill_points, published, identities)


async def all_published(laptop: Laptop, wanted: list[tuple[str, str]]) -> None:
    """Wait until every VM has its final rows and every outcome is published. If that fails, a test says what is
    missing."""

    async def check() -> bool:
        final = {(row.vm, row.extension) for row in await ledger.rows() if row.final}
        published = {(str(event["subject"]).lower(), event["data"]["Extension"]) for event in laptop.topic.events}
        return final.intersection(published).issuperset(wanted)

    async with Ledger(laptop.azurite.connection_string) as ledger:
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                while not await check():  # noqa: ASYNC110  # the table tells nobody
                    await asyncio.sleep(0.25)


@pytest.mark.parametrize(("name", "forwarded"), CASES, ids=IDS)
async def test_the_stored_state_is_enough_to_finish(ended: Ended, name: str, forwarded: bool) -> None:
    spec = spec_of(name, forwarded)
    vm = spec.id.lower()
    assert ended.kill_points[spec.name].fired
    assert ended.identities[vm] == (outcome_of(spec, AMA) == "Installed")
    for target in TARGETS:
        (row,) = [row for row in ended.final.rows if (row.vm, row.extension) == (vm, target.extension)]
        assert row.outcome == outcome_of(spec, target)
        installs = max(1, len(spec.runs)) if row.outcome == "Installed" else 0
        assert row.text("ExtensionName") == (target.resource if installs else "")
        requests = [each for each in ended.final.attempts if (each.vm, each.handler) == (vm, target.handler)]
        assert len(requests) == installs
        # Once, once more after the death, and once by a sweep at that moment.
        assert 1 <= ended.published[(vm, target.extension)] <= 3


async def test_the_invariant_holds(ended: Ended) -> None:
    findings = judge(ended.final)
    assert [violation.says for finding in findings for violation in finding.violations] == []
