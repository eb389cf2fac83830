"""The worker dies at every boundary of a VM's way, before and after each request to storage and ARM has had its effect.
What is written down finishes the job for both extensions: one true row each, one install, and the outcome told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from copy import replace
from dataclasses import dataclass
from itertools import product

import pytest
import pytest_asyncio

from simulator.arm import Guest, VmSpec, locked_package_manager
from simulator.azurite import connection_string
from simulator.demo.ledger import Ledger
from simulator.laptop import Laptop, Scenery
from simulator.storm.aftermath import look_back
from simulator.storm.hosts import Hosts
from simulator.storm.invariant import Aftermath, Truth, judge
from simulator.storm.storm import POLICIES, SETTINGS, options
from simulator.storm.targets import AMA, OMS, TARGETS, Target
from simulator.tls import certificates_in
from tests.fault.tripwire import Snare, Step, Tripwire

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),  # the first one waits for seventeen deaths, each of them followed by the start of a host
]

# Both extensions install on CentOS 7, and only the first on CentOS 6.
IMAGE = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"}
CENTOS = Guest(os_name="centos", os_version="7.9", agent_delay=0)
OLD_IMAGE = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "6.8", "version": "6.8.20170105"}
OLD_CENTOS = Guest(os_name="centos", os_version="6.8", agent_delay=0)

# The way of a VM, request by request. Those that an install takes at first sight; those of the second extension; then,
# on a VM that takes one extension alone, those of the look that finds the package manager locked.
STEPS = {
    "reading the ledger": Step("table", "GET", "vm|"),
    "reading the VM": Step("arm", "GET"),
    "scheduling the look": Step("queue", "POST"),
    "claiming the row": Step("table", "POST", "install-request"),
    "asking for the install": Step("arm", "PUT", OMS.resource),
    "recording the request": Step("table", "POST", "Requested"),
    "recording the end": Step("table", "POST", "Installed"),
    "clearing the note that the outcome is to be told": Step("table", "DELETE", "untold"),
    "asking for the second extension": Step("arm", "PUT", AMA.resource),
    "recording the second end": Step("table", "POST", "Installed", nth=2),
    "reading the VM again, for a failure": Step("arm", "GET", nth=2),
    "recording the failure": Step("table", "POST", "package-manager"),
    "asking for the install again": Step("arm", "PUT", OMS.resource, nth=2),
}
AGAIN = ("again", "failure")
# Before a step is after the one before it, but for those that go side by side or have none.
BEFORE = (
    "scheduling the look",
    "claiming the row",
    "asking for the second extension",
    "clearing the note that the outcome is to be told",
)
CASES = [*product(STEPS, (True,)), *product(BEFORE, (False,))]
IDS = [f"{'after' if forwarded else 'before'} {name}" for name, forwarded in CASES]


def spec_of(name: str, forwarded: bool) -> VmSpec:
    """The VM of a case; its handler finds the package manager locked once if the step comes only then."""
    called = f"step-{CASES.index((name, forwarded)):02}"
    if any(word in name for word in AGAIN):
        return VmSpec(name=called, image=OLD_IMAGE, guest=OLD_CENTOS, runs=locked_package_manager(1))
    return VmSpec(name=called, image=IMAGE, guest=CENTOS)


def outcome_of(spec: VmSpec, target: Target) -> str:
    return "Unsupported" if target is AMA and spec.guest is OLD_CENTOS else "Installed"


@dataclass(frozen=True)
class Ended:
    aftermath: Aftermath
    snares: dict[str, Snare]
    told: Counter[tuple[str, str]]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ended(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ended]:
    """All of them one after the other: a VM is created, the host dies at its step, another starts. Then all is waited
    for at once."""
    folder = tmp_path_factory.mktemp("steps")
    storage = folder / "storage"
    hosts: list[Hosts] = []
    async with Laptop(Scenery(storage=storage, options=options())) as laptop:
        certificates = certificates_in(laptop.endpoints.ca_file.parent)
        async with Tripwire(lambda: hosts[0].pid, trusted=certificates.client_context()) as wire:
            endpoints = {kind: await wire.place(kind, url) for kind, url in laptop.azurite.endpoints.items()}
            settings = {
                **SETTINGS,
                "AzureWebJobsStorage": connection_string(endpoints),
                "ARM_ENDPOINT": await wire.place("arm", laptop.endpoints.arm, certificates.server_context()),
            }
            hosts.append(Hosts(laptop, POLICIES, settings, folder))
            await hosts[0].start()
            snares = await kill_at_each_step(laptop, hosts[0], wire)
            truths = [
                Truth(spec.id.lower(), spec.name, target.extension, outcome_of(spec, target))
                for spec in map(spec_of, *zip(*CASES, strict=True))
                for target in TARGETS
            ]
            await all_told(laptop, [(truth.vm, truth.extension) for truth in truths])
            aftermath = await look_back(laptop, hosts[0], truths, storage)
    told = Counter((str(event["subject"]).lower(), event["data"]["Extension"]) for event in aftermath.announced)
    yield Ended(aftermath, snares, told)


async def kill_at_each_step(laptop: Laptop, hosts: Hosts, wire: Tripwire) -> dict[str, Snare]:
    """A VM and a snare for each case, and a new host after each death."""
    snares = {}
    for name, forwarded in CASES:
        spec = spec_of(name, forwarded)
        snares[spec.name] = Snare(spec.name, replace(STEPS[name], forwarded=forwarded))
        wire.snares.append(snares[spec.name])
        laptop.arm.create_vm(spec)
        await eventually(lambda: not hosts.alive, f"a death {'after' if forwarded else 'before'} {name}")
        await hosts.restart()
    return snares


async def all_told(laptop: Laptop, wanted: list[tuple[str, str]]) -> None:
    """Until every VM has its final rows, and everybody was told; a test says what is missing if that does not come."""

    async def check() -> bool:
        final = {(row.vm, row.extension) for row in await ledger.rows() if row.final}
        told = {(str(event["subject"]).lower(), event["data"]["Extension"]) for event in laptop.topic.events}
        return final.intersection(told).issuperset(wanted)

    async with Ledger(laptop.azurite.connection_string) as ledger:
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                while not await check():  # noqa: ASYNC110  # the table tells nobody
                    await asyncio.sleep(0.25)


@pytest.mark.parametrize(("name", "forwarded"), CASES, ids=IDS)
async def test_what_is_written_down_finishes_the_job(ended: Ended, name: str, forwarded: bool) -> None:
    spec = spec_of(name, forwarded)
    vm = spec.id.lower()
    assert ended.snares[spec.name].sprung
    for target in TARGETS:
        (row,) = [row for row in ended.aftermath.rows if (row.vm, row.extension) == (vm, target.extension)]
        assert row.outcome == outcome_of(spec, target)
        installs = max(1, len(spec.runs)) if row.outcome == "Installed" else 0
        assert row.text("ExtensionName") == (target.resource if installs else "")
        requests = [each for each in ended.aftermath.attempts if (each.vm, each.handler) == (vm, target.handler)]
        assert len(requests) == installs
        # Once, once more after the death, and by a sweep that comes at that moment.
        assert 1 <= ended.told[(vm, target.extension)] <= 3


async def test_the_invariant_is_whole(ended: Ended) -> None:
    findings = judge(ended.aftermath)
    assert [violation.says for finding in findings for violation in finding.violations] == []


async def eventually(holds: Callable[[], bool], what: str, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"no {what} in {within:.0f} s"
        await asyncio.sleep(0.02)
