"""The worker dies at every boundary of a VM's way, before and after each request to storage and ARM has had its effect.
What is written down finishes the job: one true row, one install, and the outcome told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
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
from simulator.storm.storm import POLICIES, SETTINGS
from simulator.tls import certificates_in
from tests.fault.tripwire import Snare, Step, Tripwire

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMAGE = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"}
CENTOS = Guest(os_name="centos", os_version="7.9", agent_delay=0)

# The way of a VM, request by request. Those that an install takes at first sight; then those of the look that finds the
# package manager locked.
STEPS = {
    "reading the ledger": Step("table", "GET", "vm|"),
    "reading the VM": Step("arm", "GET"),
    "scheduling the look": Step("queue", "POST"),
    "claiming the row": Step("table", "POST", "install-request"),
    "asking for the install": Step("arm", "PUT"),
    "recording the request": Step("table", "POST", "Requested"),
    "recording the end": Step("table", "POST", "Installed"),
    "clearing the note that the outcome is to be told": Step("table", "DELETE", "untold"),
    "reading the VM again, for a failure": Step("arm", "GET", nth=2),
    "recording the failure": Step("table", "POST", "package-manager"),
    "asking for the install again": Step("arm", "PUT", nth=2),
}
AGAIN = ("again", "failure")
# Before a step is after the one before it, but for those that go side by side or have none.
BEFORE = ("scheduling the look", "claiming the row", "clearing the note that the outcome is to be told")
CASES = [*product(STEPS, (True,)), *product(BEFORE, (False,))]
IDS = [f"{'after' if forwarded else 'before'} {name}" for name, forwarded in CASES]


def spec_of(name: str, forwarded: bool) -> VmSpec:
    """The VM of a case; its handler finds the package manager locked once if the step comes only then."""
    runs = locked_package_manager(1) if any(word in name for word in AGAIN) else ()
    return VmSpec(name=f"step-{CASES.index((name, forwarded)):02}", image=IMAGE, guest=CENTOS, runs=runs)


@dataclass(frozen=True)
class Ended:
    aftermath: Aftermath
    snares: dict[str, Snare]
    told: Counter[str]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ended(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ended]:
    """All of them one after the other: a VM is created, the host dies at its step, another starts. Then all is waited
    for at once."""
    folder = tmp_path_factory.mktemp("steps")
    storage = folder / "storage"
    hosts: list[Hosts] = []
    async with Laptop(Scenery(storage=storage)) as laptop:
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
                Truth(spec.id.lower(), spec.name, "Installed") for spec in map(spec_of, *zip(*CASES, strict=True))
            ]
            await all_told(laptop, [truth.vm for truth in truths])
            aftermath = await look_back(laptop, hosts[0], truths, storage)
    yield Ended(aftermath, snares, Counter(str(event["subject"]).lower() for event in aftermath.announced))


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


async def all_told(laptop: Laptop, vms: list[str]) -> None:
    """Until every VM has its final row, and everybody was told; a test says what is missing if that does not come."""

    async def look() -> bool:
        rows = await ledger.current()
        told = {str(event["subject"]).lower() for event in laptop.topic.events}
        return all(vm in told and vm in rows and rows[vm].final for vm in vms)

    async with Ledger(laptop.azurite.connection_string) as ledger:
        with suppress(TimeoutError):
            async with asyncio.timeout(45):
                while not await look():  # noqa: ASYNC110  # the table tells nobody
                    await asyncio.sleep(0.25)


@pytest.mark.parametrize(("name", "forwarded"), CASES, ids=IDS)
async def test_what_is_written_down_finishes_the_job(ended: Ended, name: str, forwarded: bool) -> None:
    spec = spec_of(name, forwarded)
    assert ended.snares[spec.name].sprung
    (row,) = [row for row in ended.aftermath.rows if row.vm == spec.id.lower()]
    assert (row.outcome, row.text("ExtensionName")) == ("Installed", "OMSExtension")
    requests = [attempt for attempt in ended.aftermath.attempts if attempt.vm == spec.id.lower()]
    assert len(requests) == max(1, len(spec.runs))
    assert 1 <= ended.told[spec.id.lower()] <= 2


async def test_the_invariant_is_whole(ended: Ended) -> None:
    findings = judge(ended.aftermath)
    assert [violation.says for finding in findings for violation in finding.violations] == []


async def eventually(holds: Callable[[], bool], what: str, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"no {what} in {within:.0f} s"
        await asyncio.sleep(0.02)
