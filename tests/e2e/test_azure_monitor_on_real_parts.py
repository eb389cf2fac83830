"""The Azure Monitor Agent by one policy on real parts: identity, association and extension, from an event to a machine
whose data flows. ARM's own record of requests says how many calls each machine took."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from copy import replace
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
import yaml

from simulator.arm import Application, ExtensionSpec, FaultRule, Guest, Kind, Machine, Options, Power, VmSpec
from simulator.arm.http.faults import read_rule_file
from simulator.demo.ledger import Ledger, Row
from simulator.laptop import ROOT, SUBSCRIPTIONS, CloudOptions, Laptop
from tests.roles import ASSOCIATIONS, IDENTITIES, INSTALLER

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTION = next(iter(SUBSCRIPTIONS))
_SCOPE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-monitor/providers"
OURS, FOREIGN, OTHER = (
    f"{_SCOPE}/Microsoft.ManagedIdentity/userAssignedIdentities/id-{name}" for name in ("ama", "app", "backup")
)
MISSPELT = f"{OURS}-misspelt"
RULE, GONE_RULE = (f"{_SCOPE}/Microsoft.Insights/dataCollectionRules/dcr-{name}" for name in ("linux", "gone"))
JAMMY: dict[str, Any] = {
    "image": {
        "publisher": "Canonical",
        "offer": "0001-com-ubuntu-server-jammy",
        "sku": "22_04-lts",
        "version": "latest",
    },
    "guest": Guest(os_name="ubuntu", os_version="22.04", agent_delay=0),
}
SYSTEM = {"type": "SystemAssigned"}
AGENT = ExtensionSpec(name="AMA", publisher="Microsoft.Azure.Monitor", type="AzureMonitorLinuxAgent", version="1.36")
SETTINGS = {"DATA_COLLECTION_RULE_ID": RULE, "AMA_IDENTITY_ID": OURS}
WAITS = {
    "install-request": {"every": ["4s"]},
    "operation": {"every": ["1s"]},
    "platform": {"every": ["1s"]},
    "throttling": {"every": ["1s"]},
    "vm-running": {"every": ["30s"]},
}
# A machine's tag `wants` chooses its policy.
POLICIES: dict[str, dict[str, Any]] = {
    "any": {"identity": {"use": "any", "add": "{AMA_IDENTITY_ID}"}},
    "system": {"identity": {"use": "any", "add": "system"}},
    "added": {"identity": {"use": "added", "add": "{AMA_IDENTITY_ID}"}},
    "beside": {"identity": {"use": "added", "add": "{AMA_IDENTITY_ID}", "besideOthers": True}},
    "misspelt": {"identity": {"use": "any", "add": MISSPELT}},
    "gone-rule": {"identity": {"use": "any", "add": "system"}, "dataCollectionRules": [GONE_RULE]},
}
# Simulated seconds; a simulated minute takes a second. An identity takes long enough that its event never comes before
# our own row, so that the number of calls is certain.
DURATIONS = {
    what: (seconds,) * 3
    for what, seconds in {"vm-create": 6.0, "vm-identity": 60.0, "install": 60.0, "vm-start": 6.0}.items()
}


def users(*ids: str) -> dict[str, Any]:
    return {"type": "UserAssigned", "userAssignedIdentities": {each: {} for each in ids}}


@dataclass(frozen=True)
class World:
    laptop: Laptop
    ledger: Ledger

    def create(self, name: str, wants: str, identity: Mapping[str, Any] | None = None, **spec: Any) -> Machine:
        """A new machine, whose owner's event the function app gets."""
        return self.laptop.arm.create_vm(self._spec(name, wants, identity, spec))

    def add(self, name: str, wants: str, identity: Mapping[str, Any] | None = None, **spec: Any) -> Machine:
        """A machine that has existed for a month, and an event: its owner writes a tag."""
        machine = self.laptop.arm.add_vm(self._spec(name, wants, identity, spec))
        machine.created -= timedelta(days=30)
        return machine

    def touch(self, machine: Machine) -> None:
        self.laptop.arm.update_vm(machine.id, {"tags": {**machine.body["tags"], "touched": "yes"}})

    async def row(self, machine: Machine, *outcomes: str, waiting_for: str | None = None) -> Row:
        """Wait for a row with one of these outcomes."""
        deadline = time.monotonic() + 20
        while True:
            row = (await self.ledger.current()).get(machine.id.lower())
            fits = row is not None and row.outcome in outcomes
            if row is not None and fits and waiting_for in (None, row.text("WaitingFor")):
                return row
            assert time.monotonic() < deadline, f"{machine.name}: {row and row.as_json()}"
            await asyncio.sleep(0.05)

    async def calls(self, machine: Machine) -> list[str]:
        """Every request about the machine, in ARM's order, when Event Grid has delivered all events."""
        await self.laptop.grid.idle()
        return [str(request.kind) for request in self.laptop.arm.requests.select(vm=machine.id)]

    def flows(self, machine: Machine) -> str:
        """Empty if the machine's data flows, else why not."""
        return self.laptop.arm.data_flows(machine.id).reason

    def _spec(self, name: str, wants: str, identity: Mapping[str, Any] | None, more: dict[str, Any]) -> VmSpec:
        application = Application("app")
        return VmSpec(
            name=name, tags={"wants": wants}, identity=identity, **({"applications": (application,)} | JAMMY | more)
        )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("policies")
    for name, policy in POLICIES.items():
        whole = {
            "name": name,
            "extension": "azure-monitor-agent-linux",
            "rule": {"field": "tags['wants']", "equals": name},
            "dataCollectionRules": ["{DATA_COLLECTION_RULE_ID}"],
            "waits": WAITS,
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(whole | policy))
    options = Options(subscriptions=tuple(SUBSCRIPTIONS), durations=DURATIONS)
    async with (
        Laptop(CloudOptions(scale=60, options=options)) as laptop,
        Ledger(laptop.azurite.connection_string) as ledger,
    ):
        laptop.arm.identities.add_all([OURS, FOREIGN, OTHER])
        laptop.arm.insights.resources.add_rule(RULE, kind="Linux")
        await laptop.start_host(folder, SETTINGS)
        yield World(laptop, ledger)


def steps(row: Row) -> dict[str, str]:
    return {step["step"]: step["state"] for step in json.loads(row.text("Steps"))}


DONE = {"identity": "done", "association": "done", "extension": "done"}
FOUR = ["vm-get", "association-put", "extension-put", "extension-get"]
SIX = ["vm-get", "association-put", "vm-patch", "vm-get", "extension-put", "extension-get"]


@pytest.mark.parametrize(
    ("name", "identity", "wants", "calls"),
    [
        ("system", SYSTEM, "any", FOUR),
        ("one-foreign", users(FOREIGN), "any", FOUR),
        ("ours", users(OURS), "added", FOUR),
        ("several", users(FOREIGN, OTHER), "any", FOUR),
        ("none", None, "any", SIX),
        ("none-system", None, "system", SIX),
        ("none-added", None, "added", SIX),
        ("beside", users(FOREIGN), "beside", SIX),
    ],
)
async def test_a_new_machine_takes_the_calls_of_its_case_and_its_data_flows(
    world: World, name: str, identity: dict[str, Any] | None, wants: str, calls: Sequence[str]
) -> None:
    machine = world.create(name, wants, identity)
    row = await world.row(machine, "Installed")
    assert steps(row) == DONE
    assert await world.calls(machine) == calls
    assert world.flows(machine) == ""


async def test_of_several_identities_the_settings_name_one_that_is_there(world: World) -> None:
    machine = world.create("named", "any", users(FOREIGN, OTHER))
    await world.row(machine, "Installed")
    (extension,) = machine.extensions.values()
    managed = extension.properties["settings"]["authentication"]["managedIdentity"]
    assert managed["identifier-name"] == "mi_res_id"
    assert managed["identifier-value"].lower() in {FOREIGN.lower(), OTHER.lower()}


async def test_a_machine_that_has_everything_is_read_and_its_associations_are_listed(world: World) -> None:
    machine = world.add("equipped", "any", SYSTEM, extensions=(AGENT,))
    world.laptop.arm.associate_as_other_deployer(machine.id, "portal", RULE)
    world.touch(machine)
    row = await world.row(machine, "AlreadyInstalled")
    assert steps(row) == DONE
    assert await world.calls(machine) == ["vm-get", "association-list"]
    assert world.flows(machine) == ""


async def test_a_stopped_machine_gets_identity_and_association_and_the_agent_when_it_runs(world: World) -> None:
    machine = world.create("stopped", "any", None, power=Power.DEALLOCATED)
    row = await world.row(machine, "Waiting", waiting_for="vm-running")
    assert steps(row) == {"identity": "done", "association": "done", "extension": "waiting"}
    assert await world.calls(machine) == ["vm-get", "association-put", "vm-patch", "vm-get"]
    world.laptop.arm.start_vm(machine.id)
    await world.row(machine, "Installed")
    assert (await world.calls(machine))[4:] == ["vm-get", "extension-put", "extension-get"]
    assert world.flows(machine) == ""


async def test_an_identity_is_never_added_beside_another_without_the_policys_switch(world: World) -> None:
    machine = world.create("conflict", "added", users(FOREIGN))
    row = await world.row(machine, "Failed")
    assert (row.text("Cause"), row.text("Step")) == ("identity-conflict", "identity")
    assert steps(row) == {"identity": "refused", "association": "done", "extension": "blocked"}
    assert await world.calls(machine) == ["vm-get", "association-put"]
    assert machine.identity.held() == {FOREIGN.lower()}


CONFLICT = (
    "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
    "https://aka.ms/activitylog to get more details on the conflicting requests."
)
# Each fault once, for the machine of its number: what ARM answers to the first write of the identity.
FAULTS = {rule.code or "InternalExecutionError": rule for rule in read_rule_file(ROOT / "samples/faults/identity.yaml")}


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("changed-since", FAULTS["PreconditionFailed"]),
        ("ends-badly", FAULTS["InternalExecutionError"]),
        ("busy", FaultRule(kind=Kind.VM_PATCH, nth=(1,), status=409, code="Conflict", message=CONFLICT)),
        ("error", FaultRule(kind=Kind.VM_PATCH, nth=(1,), status=500, code="InternalServerError", message="Oh.")),
    ],
)
async def test_a_write_of_the_identity_that_fails_for_now_is_repeated(
    world: World, name: str, fault: FaultRule
) -> None:
    world.laptop.arm.faults.add(replace(fault, vm=name))
    machine = world.create(name, "any")
    row = await world.row(machine, "Installed")
    assert steps(row) == DONE
    assert (await world.calls(machine)).count("vm-patch") == 2
    assert machine.identity.held() == {OURS.lower()}
    assert world.flows(machine) == ""


async def test_an_identity_that_does_not_exist_is_named_and_holds_nobody_else_back(world: World) -> None:
    machine = world.create("bad-id", "misspelt")
    row = await world.row(machine, "Waiting", waiting_for="scope-paused")
    assert row.text("Step") == "identity"
    assert MISSPELT.rpartition("/")[2] in row.text("Reason") + row.text("ErrorMeaning") + row.text("Steps")
    assert (await world.calls(machine)).count("vm-patch") == 1
    other = world.create("good-id", "any")
    await world.row(other, "Installed")


async def test_a_refused_association_never_holds_the_extension_back(world: World) -> None:
    machine = world.create("no-rule", "gone-rule")
    row = await world.row(machine, "Failed")
    assert row.text("Step") == "association"
    assert steps(row) == {"identity": "done", "association": "refused", "extension": "done"}
    assert world.flows(machine) == "no data collection rule is associated"


async def test_every_installed_row_has_data_and_nobodys_application_broke(world: World) -> None:
    """After all of the above."""
    rows = [row for row in await world.ledger.rows() if row.outcome in ("Installed", "AlreadyInstalled")]
    assert len(rows) > 10
    assert {row.text("VmName"): reason for row in rows if (reason := world.laptop.arm.data_flows(row.vm).reason)} == {}
    broken = {each.vm.rpartition("/")[2] for each in world.laptop.arm.breakages}
    assert broken == {"beside"}, "the one whose policy says besideOthers"


async def test_the_documented_roles_allow_all_that_the_product_did_and_none_is_superfluous(world: World) -> None:
    needed, app = world.laptop.arm.scopes.needed, world.laptop.arm.options.principal_id
    assert needed.missing((INSTALLER, ASSOCIATIONS, IDENTITIES), app) == set()
    assert needed.missing((INSTALLER, ASSOCIATIONS), app) == set(IDENTITIES.actions)
    endpoint = {"Microsoft.Insights/dataCollectionEndpoints/read"}  # no policy here wants one
    assert needed.missing((INSTALLER, IDENTITIES), app) == set(ASSOCIATIONS.actions) - endpoint


async def test_a_right_that_is_missing_for_identities_is_named_and_machines_with_one_are_onboarded(
    world: World,
) -> None:
    """The last test, because the breaker of that identity is open afterwards."""
    world.laptop.arm.faults.add(replace(FAULTS["LinkedAuthorizationFailed"], vm="no-right", nth=()))
    machine = world.create("no-right", "any")
    row = await world.row(machine, "Waiting", waiting_for="scope-paused")
    assert (row.text("Step"), row.text("Cause")) == ("identity", "not-authorized")
    other = world.create("with-identity", "any", SYSTEM)
    await world.row(other, "Installed")
    assert await world.calls(other) == FOUR
