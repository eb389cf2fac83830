"""A small world for tests: all ports in memory, a clock that tests set, and VMs as ARM reports them."""

from __future__ import annotations

import asyncio
import copy
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from copy import replace
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

from onboarding.app import Application
from onboarding.application.messages import encode
from onboarding.application.notifications import (
    AssociationDeleted,
    EventRef,
    ExtensionDeleted,
    ExtensionWritten,
    VmDeleted,
    VmStarted,
    VmWritten,
)
from onboarding.application.ports import (
    MOST_ON_A_PAGE,
    ArmAnswer,
    FoundAssociation,
    Heartbeats,
    LetterCount,
    MachineRows,
    Message,
    Ports,
    Pruned,
    ReconcileRequest,
    RowPage,
    RowVersions,
    RowWrite,
    ScheduledCheck,
    StoredBreaker,
    StoredMachine,
    StoredPause,
    StoredPolicy,
    StoredRollout,
    StoredRow,
    StoredSweep,
    SweepState,
)
from onboarding.application.rules import Rules
from onboarding.application.sweep.sweep_queue import Budget, SweepReport
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import ArmError, HeartbeatError, LostRace, StorageError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.limits.circuit_breaker import CircuitBreaker
from onboarding.domain.limits.pause import Pause
from onboarding.domain.limits.rollout_limit import RolloutState
from onboarding.domain.policy.policy import Policy, PolicySet
from onboarding.domain.policy.policy_version import PolicyState
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.change import Change, HistoryLine
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import EVERYTHING, Outcome, Row, Selection
from onboarding.domain.reconcile.row_totals import Activity, RowKind, Totals
from onboarding.domain.reconcile.steps.step import ArmRequest
from onboarding.domain.resource_id import ExtensionId, VmId, parse_id
from onboarding.loading.policy_extensions import with_extensions
from onboarding.loading.policy_folder import load_catalogue
from onboarding.logging import bound_keys
from tests.reference import REFERENCE, parse_entry, parse_policy

SUBSCRIPTION = "11112222-3333-4444-5555-666677778888"
START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
CREATED = START - timedelta(minutes=30)
"""When most machines were created: they are new at the start, and old enough for the sweep."""
WORKSPACE_ID = "6f680a37-00c6-41c7-a93f-1437e3462574"
WORKSPACE_KEY = "bm90IGEgcmVhbCB3b3Jrc3BhY2Uga2V5LCBvbmx5IDY0IGJ5dGVzIG9mIHRleHQgZm9yIHRoZSB0ZXN0cyBvZiB0aGlzISE="
OMS = "oms-agent-linux"
POLICY: dict[str, Any] = {
    "name": "linux-monitoring",
    "extension": OMS,
    "rule": {"field": "tags['onboarding']", "notEquals": "skip"},
    "settings": {"workspaceId": "{OMS_WORKSPACE_ID}"},
    "protectedSettings": {"workspaceKey": "{OMS_WORKSPACE_KEY}"},
}
# A second extension, as a user would add one. It supports the same systems and requires no settings;
# a policy may give it the id of a resource that it uses.
SECOND = parse_entry(
    {
        "name": "inventory-agent",
        "publisher": "Contoso.Inventory",
        "type": "InventoryAgentLinux",
        "version": "2.0",
        "resourceName": "InventoryAgent",
        "osType": "Linux",
        "settings": {"vaultId": {"type": "string"}},
        "supportTables": {"2026-01": {"date": "2026-01-15", "source": "s", "versions": {"ubuntu": ["16.04", "18.04"]}}},
    },
    "inventory-agent.yaml",
)
THIRD = replace(SECOND, name="backup-agent", type="BackupAgentLinux", resource_name="BackupAgent")
CATALOGUE = {**load_catalogue(), SECOND.name: SECOND, THIRD.name: THIRD}
SECOND_POLICY: dict[str, Any] = {"name": "inventory", "extension": SECOND.name, "rule": POLICY["rule"]}
THIRD_POLICY: dict[str, Any] = {"name": "backup", "extension": THIRD.name, "rule": POLICY["rule"]}
# Each race and each fault is tried with both.
SHAPES: dict[str, list[dict[str, Any]]] = {"one policy": [POLICY], "two policies": [POLICY, SECOND_POLICY]}
# What the service takes: a message, an entity, and for how long the product hides a message at most.
_LARGEST_MESSAGE, _LARGEST_ENTITY, _LONGEST_HIDDEN = 2**16, 2**20, timedelta(days=6)
XENIAL = {"publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS", "version": "latest"}
BIONIC = {"publisher": "Canonical", "offer": "UbuntuServer", "sku": "18.04-LTS", "version": "latest"}


def vm_id(name: str = "web01") -> VmId:
    return VmId(SUBSCRIPTION, "app-rg", name)


def subscription_of(key: str) -> str:
    """The subscription in the key of a VM."""
    return key.split("/")[2]


def vm_body(name: str = "web01", **changes: Any) -> dict[str, Any]:
    """A running Linux VM with a ready agent; `changes`: image, tags, power, agent, os_type, vm_id, os_profile,
    created."""
    statuses = [{"code": "ProvisioningState/succeeded"}, {"code": f"PowerState/{changes.get('power', 'running')}"}]
    view: dict[str, Any] = {"statuses": statuses}
    agent = changes.get("agent", "ready")
    if agent == "ready":
        view["vmAgent"] = {"statuses": [{"code": "ProvisioningState/succeeded", "displayStatus": "Ready"}]}
        view |= {key: changes[key] for key in ("osName", "osVersion") if key in changes}
    elif agent == "not_ready":
        view["vmAgent"] = {"statuses": [{"code": "ProvisioningState/Unavailable", "displayStatus": "Not Ready"}]}
    return {
        "id": str(vm_id(name)),
        "name": name,
        "type": "Microsoft.Compute/virtualMachines",
        "location": "westeurope",
        "tags": changes.get("tags", {}),
        "properties": {
            "vmId": changes.get("vm_id", f"id-of-{name}"),
            "timeCreated": changes.get("created", CREATED).isoformat(),
            "provisioningState": "Succeeded",
            "storageProfile": {
                "imageReference": changes.get("image", XENIAL),
                "osDisk": {"osType": changes.get("os_type", "Linux")},
            },
            "osProfile": changes.get("os_profile", {"linuxConfiguration": {"provisionVMAgent": True}}),
            "instanceView": view,
        },
    }


def extension(name: str = "OMSExtension", state: str = "Succeeded", **properties: Any) -> dict[str, Any]:
    return {
        "id": f"{vm_id()}/extensions/{name}",
        "name": name,
        "type": "Microsoft.Compute/virtualMachines/extensions",
        "properties": {
            "publisher": "Microsoft.EnterpriseCloud.Monitoring",
            "type": "OmsAgentForLinux",
            "typeHandlerVersion": "1.3",
            "provisioningState": state,
            **properties,
        },
    }


def _handler(resource: Mapping[str, Any]) -> tuple[str, str]:
    return resource["properties"]["publisher"], resource["properties"]["type"]


def install_request(vm: VmId, name: str, body: Mapping[str, Any]) -> ArmRequest:
    """The PUT of an extension."""
    return ArmRequest("PUT", f"{vm}/extensions/{name}", body)


class ArmInMemory:
    """ARM with the answers that the test sets; it records every call."""

    def __init__(self) -> None:
        self.machines: dict[str, dict[str, Any]] = {}
        self.images: dict[str, Mapping[str, Any]] = {}
        self.scopes: dict[str, Mapping[str, Any]] = {}  # groups and subscriptions, by id in lower case
        self.scope_errors: list[Evidence] = []
        self.read_errors: list[Evidence] = []
        self.list_errors: list[Evidence] = []
        self.install_errors: list[Evidence] = []
        self.removal_errors: list[Evidence] = []
        self.removal_ids: list[str] = []  # the client-request-id of each DELETE
        self.access_errors: list[Evidence] = []
        self.subscriptions: tuple[str, ...] = (SUBSCRIPTION,)
        self.checked: list[str] = []
        self.calls: list[str] = []
        self.bodies: list[Mapping[str, Any]] = []
        self.request_ids: list[str] = []  # the client-request-id of each PUT
        self.after_put: Callable[[], Awaitable[None]] | None = None
        self.clock: Callable[[], datetime] = lambda: START
        self.conflicts = 0  # requests that arrived while our write of another extension was in flight
        self.associations: dict[str, dict[str, dict[str, Any]]] = {}  # by machine and name, both in lower case
        self.association_errors: list[Evidence] = []
        self.patch_errors: list[Evidence] = []
        self.patches: list[Mapping[str, Any]] = []

    async def list_associations(self, vm: VmId) -> Sequence[Mapping[str, Any]]:
        self.calls.append("LIST associations")
        if self.association_errors:
            raise ArmError(self.association_errors.pop(0))
        return [copy.deepcopy(body) for body in self.associations.get(vm.key, {}).values()]

    async def send(self, vm: VmId, request: ArmRequest) -> bool:
        if request.method == "PATCH":
            await self._patch(vm, request)
            return False
        if request.method == "DELETE":
            self._delete_extension(vm, request.path.rpartition("/")[2])
            return False
        if "/extensions/" in request.path:
            await self._put_extension(vm, request.path.rpartition("/")[2], request.body)
            return False
        self.calls.append("PUT association")
        if self.association_errors:
            raise ArmError(self.association_errors.pop(0))
        self._refuse_missing_parent(vm)
        name = request.path.rpartition("/")[2]
        there = self.associations.setdefault(vm.key, {})
        created = name.lower() not in there
        there[name.lower()] = {"id": request.path, "name": name, **copy.deepcopy(dict(request.body))}
        return created

    async def _patch(self, vm: VmId, request: ArmRequest) -> None:
        """Add identities; the machine is `Updating` until `end_patch`."""
        self.calls.append("PATCH")
        self.patches.append(request.body)
        self.request_ids.append(bound_keys().client_request_id)
        if self.patch_errors:
            raise ArmError(self.patch_errors.pop(0))
        self._refuse_missing_parent(vm)
        self._refuse_second_writer(vm, "")
        machine = self.machines[vm.key]
        if request.etag and request.etag != machine.get("etag", request.etag):
            raise ArmError(Evidence(http_status=412, code="PreconditionFailed", message="The etag does not match."))
        wanted = request.body["identity"]
        has = machine.get("identity", {})
        identity = {"type": wanted["type"]}
        if "SystemAssigned" in wanted["type"]:
            identity["principalId"] = has.get("principalId", "99999999-0000-4000-8000-000000000009")
        if "UserAssigned" in wanted["type"].replace("SystemAssigned", ""):
            users = {**has.get("userAssignedIdentities", {}), **wanted.get("userAssignedIdentities", {})}
            identity["userAssignedIdentities"] = users
        machine["identity"] = identity
        machine["properties"]["provisioningState"] = "Updating"

    def end_patch(self, vm: VmId) -> None:
        self.machines[vm.key]["properties"]["provisioningState"] = "Succeeded"

    async def read_machine(self, vm: VmId, *, to_install: bool = False) -> ArmAnswer:
        self.calls.append("GET")
        if self.read_errors:
            raise ArmError(self.read_errors.pop(0))
        if vm.key not in self.machines:
            resource = f"'Microsoft.Compute/virtualMachines/{vm.name}' under resource group '{vm.resource_group}'"
            message = f"The Resource {resource} was not found."
            raise ArmError(Evidence(http_status=404, code="ResourceNotFound", message=message))
        return ArmAnswer(copy.deepcopy(self.machines[vm.key]), self.clock())

    async def read_extension(self, vm: VmId, name: str) -> ArmAnswer:
        self.calls.append("GET extension")
        if self.read_errors:
            raise ArmError(self.read_errors.pop(0))
        self._refuse_missing_parent(vm)
        machine = self.machines[vm.key]
        found = next((r for r in machine.get("resources", []) if r["name"].lower() == name.lower()), None)
        if found is None:
            raise ArmError(Evidence(http_status=404, code="ResourceNotFound", message="The extension was not found."))
        body = copy.deepcopy(found)
        views = machine["properties"].get("instanceView", {}).get("extensions", [])
        body["properties"]["instanceView"] = next((v for v in views if v["name"] == found["name"]), {})
        return ArmAnswer(body, self.clock())

    async def read_image(self, image_id: str) -> Mapping[str, Any]:
        self.calls.append("IMAGE")
        if image_id.lower() not in self.images:
            raise ArmError(Evidence(http_status=404, code="ResourceNotFound", message="The image was not found."))
        return self.images[image_id.lower()]

    async def read_scope(self, scope: str) -> Mapping[str, Any]:
        self.calls.append("SCOPE")
        await asyncio.sleep(0)  # as over a network: other tasks get their turn
        if self.scope_errors:
            raise ArmError(self.scope_errors.pop(0))
        if scope.lower() not in self.scopes:
            raise ArmError(Evidence(http_status=404, code="ResourceGroupNotFound", message="The group was not found."))
        return self.scopes[scope.lower()]

    async def _put_extension(self, vm: VmId, name: str, body: Mapping[str, Any]) -> None:
        self.calls.append("PUT")
        self.bodies.append(body)
        self.request_ids.append(bound_keys().client_request_id)
        if self.install_errors:
            raise ArmError(self.install_errors.pop(0))
        self._refuse_missing_parent(vm)
        self._refuse_second_writer(vm, name)
        properties = body["properties"]
        kept = {key: each for key, each in properties.items() if key not in ("protectedSettings", "forceUpdateTag")}
        self.set_extension(vm, extension(name, "Creating", **kept))
        if self.after_put is not None:
            await self.after_put()

    def _delete_extension(self, vm: VmId, name: str) -> None:
        """The extension is `Deleting` until `end_removal`."""
        self.calls.append("DELETE")
        self.removal_ids.append(bound_keys().client_request_id)
        if self.removal_errors:
            raise ArmError(self.removal_errors.pop(0))
        self._refuse_missing_parent(vm)
        self._refuse_second_writer(vm, name)
        for each in self.machines[vm.key].get("resources", []):
            if each["name"].lower() == name.lower():
                each["properties"]["provisioningState"] = "Deleting"

    def end_removal(self, vm: VmId, name: str) -> None:
        machine = self.machines[vm.key]
        view = machine["properties"]["instanceView"]
        machine["resources"] = [each for each in machine.get("resources", []) if each["name"] != name]
        view["extensions"] = [each for each in view.get("extensions", []) if each["name"] != name]

    def _refuse_missing_parent(self, vm: VmId) -> None:
        if vm.key not in self.machines:
            message = f"Can not perform requested operation on nested resource. Parent resource '{vm.name}' not found."
            raise ArmError(Evidence(http_status=404, code="ParentResourceNotFound", message=message))

    def _refuse_second_writer(self, vm: VmId, name: str) -> None:
        resources = self.machines.get(vm.key, {}).get("resources", [])
        others = [each["properties"]["provisioningState"] for each in resources if each["name"] != name]
        if {"Creating", "Deleting"}.intersection(others):
            self.conflicts += 1
            message = "The request failed due to conflict with a concurrent request."
            raise ArmError(Evidence(http_status=409, code="Conflict", message=message))

    async def list_machines(self, subscription: str) -> AsyncIterator[Mapping[str, Any]]:
        self.calls.append("LIST")
        if self.list_errors:
            raise ArmError(self.list_errors.pop(0))
        for body in [body for body in self.machines.values() if f"/{subscription}/".lower() in body["id"].lower()]:
            listed = copy.deepcopy(body)
            listed["properties"].pop("instanceView", None)
            listed["resources"] = [{"id": resource["id"]} for resource in listed.get("resources", [])]
            yield listed

    async def list_subscriptions(self) -> tuple[str, ...]:
        return self.subscriptions

    async def check_access(self, subscription: str) -> None:
        self.checked.append(subscription)
        if self.access_errors:
            raise ArmError(self.access_errors.pop(0))

    def set_extension(self, vm: VmId, resource: dict[str, Any], message: str = "", code: str = "") -> None:
        """Set the extension of one handler; a VM has each handler once. If `resource` has no settings, the old ones
        stay, and so do its upgrades."""
        machine = self.machines[vm.key]
        name, handler = resource["name"], _handler(resource)
        before: dict[str, Any] = next(
            (r for r in machine.get("resources", []) if _handler(r) == handler), {"properties": {}}
        )
        upgrades = ("autoUpgradeMinorVersion", "enableAutomaticUpgrade")
        kept = {key: before["properties"][key] for key in upgrades if key in before["properties"]}
        properties = {"settings": before["properties"].get("settings", {}), **kept, **resource["properties"]}
        others = [r for r in machine.get("resources", []) if _handler(r) != handler]
        machine["resources"] = [*others, {**resource, "properties": properties}]
        view = machine["properties"]["instanceView"]
        views = [each for each in view.get("extensions", []) if each["name"] != name]
        if code:
            status = {"code": code, "level": "Error", "displayStatus": "x", "message": message}
            views.append({"name": name, "statuses": [status]})
        view["extensions"] = views


class LedgerInMemory:
    """Keeps the guarantees of the table: one transaction, versions, and lines of history that are created once.

    Keys are in lower case, as in the table. Every final outcome gets a row in the outbox."""

    def __init__(self) -> None:
        self.machines: dict[str, StoredMachine] = {}
        self.rows: dict[tuple[str, str], StoredRow] = {}
        self.unreadable: dict[tuple[str, str], str] = {}  # the versions of rows that a newer version has written
        self.log: dict[tuple[str, str, str, str], Row] = {}  # the lines of history, as their triggers wrote them
        self.changes_by_key: dict[tuple[str, str, str, str, str], Change] = {}  # the lines of history of changes
        self.outbox: dict[tuple[str, str, datetime | None], Row] = {}
        self.indexed: list[str] = []  # the subscriptions whose index rows were renewed
        self.days: dict[tuple[str, date], Totals] = {}
        self.reachable = True
        self.while_listing: Callable[[], None] = lambda: None  # called before each row of a list
        self.when_committing: Callable[[], None] = lambda: None
        self.hangs = False  # while old rows are looked for
        self.unprunable: set[str] = set()  # subscriptions whose old rows cannot be deleted
        self.writes = 0
        self.calls: list[str] = []

    async def read(self, vm: VmId, *, new: bool = False) -> MachineRows:
        self._check()
        machine = self.machines.get(vm.key)
        if new and machine is None:
            return MachineRows()
        rows = {stored.row.extension: stored for (key, _), stored in self.rows.items() if key == vm.key}
        unreadable = {extension: version for (key, extension), version in self.unreadable.items() if key == vm.key}
        return MachineRows(machine, rows, unreadable)

    async def commit(
        self,
        machine: MachineRow,
        version: str | None,
        entries: Sequence[RowWrite],
        trigger: EventRef,
        *,
        again: bool = False,
        rest: Mapping[str, Any] | None = None,
        changes: Sequence[Change] = (),
    ) -> RowVersions:
        self.when_committing()
        self._check()
        key = machine.resource_id.lower()
        current = self.machines.get(key)
        _compare(current.version if current else None, version)
        written_twice = len(entries) - len({entry.row.extension.lower() for entry in entries})
        assert not written_twice, "a transaction that names a key twice is refused"
        for entry in entries:
            _compare(self._version((key, entry.row.extension.lower())), entry.version)
            for each in entry.replaces:
                _compare(self._version((key, each.row.extension.lower())), each.version)
            if entry.history and not again and _line(entry.row, trigger) in self.log:
                raise LostRace("lost")
        self.writes += 1
        written = f"v{self.writes}"
        self.machines[key] = StoredMachine(MachineRow.from_properties(machine.to_properties()), written, rest or {})
        for entry in entries:
            row = _stored(entry.row)
            self._replace((key, row.extension.lower()), StoredRow(row, written, entry.rest))
            for each in entry.replaces:
                self._replace((key, each.row.extension.lower()), None)
            if entry.history:
                self.log[_line(row, trigger)] = _with_trigger(row, trigger)
            if entry.ended is not None:
                end = EventRef(f"{trigger.id}.ended", trigger.time, trigger.correlation_id)
                self.log[_line(entry.ended, end)] = _with_trigger(_stored(entry.ended), end)
            if entry.history and row.outcome.final:
                self.outbox[_outcome(row)] = row
        self._keep(changes)
        return RowVersions(written, {entry.row.extension: written for entry in entries})

    async def undo(
        self,
        machine: MachineRow,
        version: str,
        extension: str,
        before: StoredRow | None,
        at: str,
        *,
        rest: Mapping[str, Any] | None = None,
        change: Change | None = None,
    ) -> None:
        self._check()
        key, place = machine.resource_id.lower(), (machine.resource_id.lower(), extension.lower())
        current = self.machines.get(key)
        _compare(current.version if current else None, version)
        _compare(self._version(place), at)
        self.writes += 1
        written = f"v{self.writes}"
        self.machines[key] = StoredMachine(machine, written, rest or {})
        self._replace(place, StoredRow(before.row, written, before.rest) if before else None)
        if change is not None:
            del self.changes_by_key[_change_line(change)]

    def _version(self, place: tuple[str, str]) -> str | None:
        stored = self.rows.get(place)
        return stored.version if stored else self.unreadable.get(place)

    def _replace(self, place: tuple[str, str], stored: StoredRow | None) -> None:
        self.unreadable.pop(place, None)
        if stored is not None:
            self.rows[place] = stored
        else:
            del self.rows[place]

    async def append(self, row: Row, trigger: EventRef) -> None:
        self._check()
        self.log[_line(row, trigger)] = _with_trigger(_stored(row), trigger)

    async def append_changes(self, changes: Sequence[Change]) -> None:
        self._check()
        self._keep(changes)

    def _keep(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self.changes_by_key[_change_line(change)] = Change.from_properties(change.to_properties())

    async def overdue(self, subscription: str, before: datetime) -> AsyncIterator[ScheduledCheck]:
        self._check()
        found: list[ScheduledCheck] = []
        for key, machine in self.machines.items():
            if subscription_of(key) == subscription.lower():
                found += _checks(machine.row.resource_id, machine.row.next_attempt_at)
        for row in self._rows_of(subscription):
            own = self.machines.get(row.resource_id.lower())
            check = own.row.next_attempt_at if own else None
            if not (check and row.next_attempt_at and check <= row.next_attempt_at):
                found += _checks(row.resource_id, row.next_attempt_at)
        for each in sorted(found, key=lambda each: each.due):
            if each.due < before:
                self.while_listing()
                yield each

    async def attention(self, subscription: str) -> AsyncIterator[Row]:
        self._check()
        for row in self._rows_of(subscription):
            if row.outcome.needs_person:
                yield row

    async def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        self._check()
        of_machines: dict[str, list[StoredRow]] = {}  # as in the table, those of a VM come one after the other
        for (key, _), stored in self.rows.items():
            of_machines.setdefault(key, []).append(stored)
        for stored in [stored for all_of in of_machines.values() for stored in all_of]:
            if _is_selected(stored.row, selection):
                yield stored.row

    async def page(self, selection: Selection = EVERYTHING, begin: str = "", most: int = MOST_ON_A_PAGE) -> RowPage:
        self._check()
        places = sorted(place for place, stored in self.rows.items() if _is_selected(stored.row, selection))
        if begin and not begin.isdecimal():
            raise ValueError(f"{begin!r} is not where a page of these rows ends")
        end = int(begin or 0) + most
        rows = [self.rows[place].row for place in places[int(begin or 0) : end]]
        return RowPage(rows, str(end) if end < len(places) else "", len(rows))

    async def attention_page(self, selection: Selection, begin: str = "", most: int = MOST_ON_A_PAGE) -> RowPage:
        self._check()
        found = sorted(self._rows_of(selection.subscription), key=lambda row: (row.resource_id.lower(), row.extension))
        return _page_of([row for row in found if row.outcome.needs_person], selection, begin, most)

    async def open_page(self, selection: Selection, begin: str = "", most: int = MOST_ON_A_PAGE) -> RowPage:
        self._check()
        found = [row for row in self._rows_of(selection.subscription) if not row.outcome.final and row.next_attempt_at]
        return _page_of(sorted(found, key=lambda row: row.next_attempt_at or START), selection, begin, most)

    async def count(self, selection: Selection = EVERYTHING) -> Mapping[RowKind, int]:
        return Counter([RowSummary.of(row).kind async for row in self.current(selection)])

    async def totals(self, subscription: str, since: date) -> AsyncIterator[Totals]:
        self._check()
        for (owner, day), totals in sorted(self.days.items()):
            if owner == subscription.lower() and day >= since:
                yield totals

    async def write_totals(self, totals: Totals) -> None:
        self._check()
        self.days[totals.subscription, totals.day] = totals

    def _rows_of(self, subscription: str) -> list[Row]:
        return [stored.row for (key, _), stored in self.rows.items() if subscription_of(key) == subscription.lower()]

    async def history(self, vm: VmId) -> AsyncIterator[Row]:
        self._check()
        lines = {place: row for place, row in self.log.items() if place[0] == vm.key}
        for place in sorted(lines, key=lambda place: (place[1], place[2], place[3])):
            yield lines[place]

    async def changes(
        self, subscription: str, selection: Selection, since: datetime
    ) -> AsyncIterator[Change | HistoryLine]:
        self._check()
        lines: dict[tuple[str, ...], Change | HistoryLine] = {}
        lines.update({(*place,): change for place, change in self.changes_by_key.items()})
        lines.update({(*place,): _history_line(row) for place, row in self.log.items()})
        for place in sorted(lines):
            line = lines[place]
            time = line.sent_at if isinstance(line, Change) else line.event_time + timedelta(days=1)
            if time >= since and _is_named(line.resource_id, replace(selection, subscription=subscription)):
                yield line

    async def summaries(
        self,
        subscription: str,
        *,
        index: bool = False,
        late: datetime | None = None,
        activity: Activity | None = None,
    ) -> AsyncIterator[tuple[str, RowSummary]]:
        self._check()
        self.calls.append(f"rows of {subscription}")
        if index:
            self.indexed.append(subscription)
        for (key, _), stored in list(self.rows.items()):
            if f"/{subscription.lower()}/" in key:
                row = stored.row
                if activity is not None:
                    activity.add(row.outcome, row.event_id, row.event_time, row.duration_ms)
                yield row.resource_id, RowSummary.of(row)

    async def unpublished(self, subscription: str, before: datetime) -> AsyncIterator[Row]:
        self._check()
        for row in list(self.outbox.values()):
            of_subscription = subscription_of(row.resource_id.lower()) == subscription.lower()
            if of_subscription and row.finished_at and row.finished_at < before:
                self.while_listing()
                yield row

    async def mark_published(self, row: Row) -> None:
        self._check()
        self.outbox.pop(_outcome(row), None)

    async def next_subscription(self, after: str) -> str:
        self._check()
        lines = [*self.log, *self.changes_by_key]
        ids = [*self.machines, *(key for key, _ in self.rows), *(key for key, *_ in lines)]
        found = {subscription_of(each) for each in ids}
        return min((each for each in found if each > after), default="")

    async def prune(self, subscription: str, before: datetime, after: str = "") -> AsyncIterator[Pruned]:
        if self.hangs:
            await asyncio.Event().wait()
        for line in sorted(self.log):
            place = f"log|{'|'.join(line)}"
            if subscription_of(line[0]) == subscription and place > after:
                self._check_pruning(subscription)
                at = self.log[line].event_time
                old = at is not None and at < before
                if old:
                    del self.log[line]
                yield Pruned(place, int(old))
        old_changes = [each for each, change in self.changes_by_key.items() if change.event_time < before]
        for each in old_changes:
            if subscription_of(each[0]) == subscription and after < "vm|":
                self._check_pruning(subscription)
                del self.changes_by_key[each]
                yield Pruned(f"log|{'|'.join(each)}", 1)
        for owner, day in sorted(self.days):
            if owner == subscription and day < before.date() and after < "vm|":
                del self.days[owner, day]
                yield Pruned(f"totals|{day}", 1)
        for key in sorted({key for key, _ in self.rows}):
            place = f"vm|{key}"
            if subscription_of(key) == subscription and place > after:
                self._check_pruning(subscription)
                yield Pruned(place, self._prune_machine(key, before))

    def _prune_machine(self, key: str, before: datetime) -> int:
        targets = {each: stored.row for each, stored in self.rows.items() if each[0] == key}
        ended = [row.finished_at for row in targets.values() if row.outcome is Outcome.GONE]
        if any(owner == key for owner, _ in self.unreadable):
            return 0
        if len(ended) < len(targets) or not all(at and at < before for at in ended):
            return 0
        for target in targets:
            del self.rows[target]
        return len(targets) + (self.machines.pop(key, None) is not None)

    def _check_pruning(self, subscription: str) -> None:
        self.while_listing()
        self._check()
        if subscription in self.unprunable:
            raise StorageError("the table could not be written: 500 Internal Server Error")

    def _check(self) -> None:
        if not self.reachable:
            raise StorageError("the table could not be reached")


def _page_of(rows: list[Row], selection: Selection, begin: str, most: int) -> RowPage:
    if begin and not begin.isdecimal():
        raise ValueError(f"{begin!r} is not where a page of these rows ends")
    end = int(begin or 0) + most
    chosen = [row for row in rows[int(begin or 0) : end] if _is_selected(row, selection)]
    return RowPage(chosen, str(end) if end < len(rows) else "", len(chosen))


def _compare(current: str | None, expected: str | None) -> None:
    """What the table answers to a conditional write; an entity that is gone was deleted by another worker."""
    if current != expected:
        raise LostRace("lost")


def _checks(resource_id: str, due: datetime | None) -> list[ScheduledCheck]:
    vm = parse_id(resource_id)
    assert isinstance(vm, VmId)
    return [ScheduledCheck(vm, due)] if due else []


def _stored(row: Row) -> Row:
    """The row as the table gives it back."""
    return Row.from_properties(row.to_properties())


def _with_trigger(row: Row, trigger: EventRef) -> Row:
    return replace(row, event_id=trigger.id, event_time=trigger.time, correlation_id=trigger.correlation_id)


def _line(row: Row, trigger: EventRef) -> tuple[str, str, str, str]:
    """The keys of a line of history; they sort the newest first within an extension."""
    inverted = 9_999_999_999_999 - int(trigger.time.timestamp() * 1000)
    return row.resource_id.lower(), row.extension.lower(), f"{inverted:013}", trigger.id.lower()


def _change_line(change: Change) -> tuple[str, str, str, str, str]:
    """The keys of the line of history of a change."""
    inverted = 9_999_999_999_999 - int(change.event_time.timestamp() * 1000)
    ids = change.event_id.lower(), change.name.lower()
    return change.resource_id.lower(), change.extension.lower(), f"{inverted:013}", *ids


def _history_line(row: Row) -> HistoryLine:
    assert row.event_time is not None
    ids = row.resource_id, row.extension, row.outcome, row.waiting_for
    return HistoryLine(*ids, row.error_code, row.client_request_id, row.steps, row.event_time)


def _outcome(row: Row) -> tuple[str, str, datetime | None]:
    return row.resource_id.lower(), row.extension.lower(), row.finished_at


def _is_selected(row: Row, selection: Selection) -> bool:
    return _is_named(row.resource_id, selection) and (not selection.outcomes or row.outcome in selection.outcomes)


def _is_named(resource_id: str, selection: Selection) -> bool:
    vm = parse_id(resource_id)
    assert isinstance(vm, VmId)
    wanted = [
        (selection.subscription, vm.subscription),
        (selection.resource_group, vm.resource_group),
        (selection.vm_name, vm.name),
    ]
    begins = vm.name.lower().startswith(selection.vm_prefix.lower())
    return begins and all(name.lower() in ("", found.lower()) for name, found in wanted)


class ScheduleQueueInMemory:
    """Takes messages at once; a test delivers them when it says that they are due."""

    def __init__(self) -> None:
        self.checks: list[ScheduledCheck] = []
        self.reconcile_requests: list[ReconcileRequest] = []
        self.sent: list[tuple[Message, timedelta]] = []  # every message, and for how long it was hidden
        self.reachable = True

    async def schedule(self, message: Message, now: datetime) -> None:
        if not self.reachable:
            raise StorageError("the queue could not be reached")
        if len(escape(encode(message))) > _LARGEST_MESSAGE:
            raise StorageError("the message could not be scheduled: 413")
        seconds = math.ceil(max(message.due - now, timedelta()).total_seconds())
        self.sent.append((message, min(timedelta(seconds=seconds), _LONGEST_HIDDEN)))
        if isinstance(message, ScheduledCheck):
            self.checks.append(message)
        else:
            self.reconcile_requests.append(message)


class InventoryInMemory:
    """Resource Graph over the machines of ARM, or over a frozen copy of them, since the real index lags."""

    def __init__(self, arm: ArmInMemory) -> None:
        self._arm = arm
        self.frozen: dict[str, dict[str, Any]] | None = None
        self.hidden: set[str] = set()
        self.errors: list[Evidence] = []
        self.errors_midway: list[Evidence] = []  # after the first VM
        self.hangs = False
        self.groups: dict[str, frozenset[str]] = {}
        self.frozen_associations: dict[str, dict[str, dict[str, Any]]] | None = None
        self.association_errors: list[Evidence] = []
        self.association_errors_midway: list[Evidence] = []  # before the first association

    async def machines(self, subscriptions: Sequence[str]) -> AsyncIterator[Mapping[str, Any]]:
        self._count_call()
        if self.hangs:
            await asyncio.Event().wait()
        seen = set(subscriptions) - self.hidden
        for number, body in enumerate(list((self._arm.machines if self.frozen is None else self.frozen).values())):
            if number and self.errors_midway:
                raise ArmError(self.errors_midway.pop(0))
            if any(f"/{subscription}/" in body["id"] for subscription in seen):
                indexed = copy.deepcopy(body)
                indexed["properties"].pop("instanceView", None)
                yield indexed

    async def associations(self, subscriptions: Sequence[str]) -> AsyncIterator[FoundAssociation]:
        self._arm.calls.append("GRAPH associations")
        if self.association_errors:
            raise ArmError(self.association_errors.pop(0))
        seen = set(subscriptions) - self.hidden
        listed = self._arm.associations if self.frozen_associations is None else self.frozen_associations
        for machine, bodies in listed.items():
            if machine not in self._arm.machines or subscription_of(machine) not in seen:
                continue
            for body in bodies.values():
                if self.association_errors_midway:
                    raise ArmError(self.association_errors_midway.pop(0))
                linked = (body["properties"].get(f"dataCollection{kind}Id", "") for kind in ("Rule", "Endpoint"))
                yield FoundAssociation(machine, *(each.lower() for each in linked))

    async def members(self, groups: Iterable[str]) -> Mapping[str, frozenset[str]]:
        self._count_call()
        return {name: self.groups[name] for name in groups if name in self.groups}

    def freeze(self) -> None:
        self.frozen = copy.deepcopy(self._arm.machines)

    def _count_call(self) -> None:
        self._arm.calls.append("GRAPH")
        if self.errors:
            raise ArmError(self.errors.pop(0))


class SweepsInMemory:
    def __init__(self) -> None:
        self.stored = StoredSweep(SweepState(), None)
        self.writes = 0

    async def read(self) -> StoredSweep:
        return self.stored

    async def write(self, state: SweepState, version: str | None, *, rest: Mapping[str, Any] | None = None) -> str:
        _compare(self.stored.version, version)
        if len(state.unanswered) > _LARGEST_ENTITY:
            raise StorageError("the table could not be written: 413")
        self.writes += 1
        self.stored = StoredSweep(state, f"v{self.writes}", rest or {})
        return f"v{self.writes}"


class PoisonInMemory:
    """The poison queue: messages, and texts that are not messages. What was read and stays is hidden for a while."""

    def __init__(self, queue: ScheduleQueueInMemory | None = None) -> None:
        self.messages: list[Message | str] = []
        self.errors: list[StorageError] = []
        self.clock: Callable[[], datetime] = lambda: START
        self._queue = queue or ScheduleQueueInMemory()
        self._hidden: dict[int, datetime] = {}

    async def count(self) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return len(self.messages)

    async def backlog(self) -> int:
        return len(self._queue.checks) + len(self._queue.reconcile_requests)

    async def requeue(self) -> AsyncIterator[bool]:
        for message in self._read(timedelta(minutes=2)):
            if not isinstance(message, str):
                await self._queue.schedule(message, max(message.due, self.clock()))  # visible at once
                self._delete(message)
            yield not isinstance(message, str)

    async def remove(self, settled: Callable[[Message], Awaitable[bool]], most: int) -> int:
        if self.errors:
            raise self.errors.pop(0)
        removed = 0
        for message in self._read(timedelta(minutes=1))[:most]:
            if not isinstance(message, str) and await settled(message):
                self._delete(message)
                removed += 1
        return removed

    def _read(self, hidden: timedelta) -> list[Message | str]:
        now = self.clock()
        read = [each for each in self.messages if self._hidden.get(id(each), now) <= now]
        self._hidden |= {id(each): now + hidden for each in read}
        return read

    def _delete(self, message: Message) -> None:
        del self.messages[next(n for n, each in enumerate(self.messages) if each is message)]


class PolicyStatesInMemory:
    def __init__(self) -> None:
        self.stored: dict[str, PolicyState] = {}
        self.trips = 0
        self._versions: Counter[str] = Counter()

    async def read_all(self) -> Mapping[str, StoredPolicy]:
        self.trips += 1
        read = {name: StoredPolicy(state, f"v{self._versions[name]}") for name, state in self.stored.items()}
        await asyncio.sleep(0)  # as over a network: other tasks get their turn
        return read

    async def write(self, state: PolicyState, version: str | None, *, rest: Mapping[str, Any] | None = None) -> None:
        self.trips += 1
        name = state.policy
        _compare(f"v{self._versions[name]}" if name in self.stored else None, version)
        self._versions[name] += 1
        self.stored[name] = state


class BreakersInMemory:
    def __init__(self) -> None:
        self.stored: dict[tuple[str, str, str], StoredBreaker] = {}
        self.reads = 0
        self.writes = 0

    async def read(self, subscription: str) -> tuple[StoredBreaker, ...]:
        self.reads += 1
        await asyncio.sleep(0)  # as over a network: other tasks get their turn
        return tuple(stored for (owner, _, _), stored in self.stored.items() if owner == subscription)

    async def write(
        self, breaker: CircuitBreaker, version: str | None, *, rest: Mapping[str, Any] | None = None
    ) -> None:
        key = _place(breaker)
        current = self.stored.get(key)
        _compare(current.version if current else None, version)
        self.writes += 1
        self.stored[key] = StoredBreaker(breaker, f"v{self.writes}", rest or {})

    async def delete(self, breaker: CircuitBreaker, version: str) -> None:
        key = _place(breaker)
        if key in self.stored and self.stored[key].version != version:
            raise LostRace("lost")
        self.stored.pop(key, None)


def _place(breaker: CircuitBreaker) -> tuple[str, str, str]:
    """The keys of the breaker, as the table has them."""
    return breaker.subscription, breaker.resource_group.lower(), breaker.extension.lower()


class HeartbeatsInMemory:
    """The newest heartbeats, by workspace, by the machine's id in lower case, and by category."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str, str], datetime] = {}
        self.errors: list[Evidence] = []
        self.queries: list[str] = []
        self.questions: list[tuple[str, ...]] = []  # the machines of each query; empty for a whole workspace

    async def newest(
        self, workspace: str, machines: Sequence[str] = (), *, since: datetime
    ) -> Mapping[str, Mapping[str, datetime]]:
        self.queries.append(workspace)
        self.questions.append(tuple(machines))
        await asyncio.sleep(0)  # as over a network: other tasks get their turn
        chosen = {each.lower() for each in machines}
        if self.errors:
            raise HeartbeatError(self.errors.pop(0))
        newest: dict[str, dict[str, datetime]] = {}
        for (where, machine, category), at in self.found.items():
            if where == workspace and at > since and (not chosen or machine in chosen):
                newest.setdefault(machine, {})[category] = at
        return newest


class RolloutsInMemory:
    def __init__(self) -> None:
        self.stored: dict[str, StoredRollout] = {}
        self.trips = 0

    async def read(self, policy: str) -> StoredRollout | None:
        self.trips += 1
        return self.stored.get(policy)

    async def write(self, state: RolloutState, version: str | None, *, rest: Mapping[str, Any] | None = None) -> str:
        self.trips += 1
        current = self.stored.get(state.policy)
        _compare(current.version if current else None, version)
        self.stored[state.policy] = StoredRollout(state, f"v{self.trips}", rest or {})
        return f"v{self.trips}"

    async def read_all(self) -> tuple[RolloutState, ...]:
        return tuple(stored.state for stored in self.stored.values())


class PausesInMemory:
    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], StoredPause] = {}
        self.reads = 0
        self.writes = 0
        self.reachable = True

    async def read_all(self) -> tuple[StoredPause, ...]:
        self.reads += 1
        await asyncio.sleep(0)  # as over a network: other tasks get their turn
        if not self.reachable:
            raise StorageError("the table could not be reached")
        return tuple(self.stored.values())

    async def write(self, pause: Pause, version: str | None, *, rest: Mapping[str, Any] | None = None) -> None:
        current = self.stored.get(pause.scope)
        _compare(current.version if current else None, version)
        self.writes += 1
        stored = Pause.from_properties(pause.to_properties())
        self.stored[pause.scope] = StoredPause(stored, f"v{self.writes}", "|".join(pause.scope), rest or {})

    async def delete(self, stored: StoredPause) -> None:
        current = self.stored.get(stored.pause.scope)
        if current is not None:
            _compare(current.version, stored.version)
            del self.stored[stored.pause.scope]


class PublisherInMemory:
    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.reachable = True

    async def publish(self, row: Row) -> bool:
        if self.reachable:
            self.rows.append(row)
        return self.reachable


@dataclass
class World:
    """The product over ports in memory. `now` changes only when a test changes it."""

    policies: list[dict[str, Any]] = field(default_factory=lambda: [POLICY])
    app_settings: dict[str, str] = field(
        default_factory=lambda: {"OMS_WORKSPACE_ID": WORKSPACE_ID, "OMS_WORKSPACE_KEY": WORKSPACE_KEY}
    )
    unusable: Mapping[str, str] = field(default_factory=dict)
    catalogue: Mapping[str, CatalogueEntry] = field(default_factory=lambda: CATALOGUE)
    now: datetime = START
    arm: ArmInMemory = field(default_factory=ArmInMemory)
    ledger: LedgerInMemory = field(default_factory=LedgerInMemory)
    schedule_queue: ScheduleQueueInMemory = field(default_factory=ScheduleQueueInMemory)
    breakers: BreakersInMemory = field(default_factory=BreakersInMemory)
    rollouts: RolloutsInMemory = field(default_factory=RolloutsInMemory)
    pauses: PausesInMemory = field(default_factory=PausesInMemory)
    published: PublisherInMemory = field(default_factory=PublisherInMemory)
    sweeps: SweepsInMemory = field(default_factory=SweepsInMemory)
    poison: PoisonInMemory = field(default_factory=PoisonInMemory)
    policy_states: PolicyStatesInMemory = field(default_factory=PolicyStatesInMemory)
    heartbeats: Heartbeats | None = field(default_factory=HeartbeatsInMemory)
    budget: Budget = field(default_factory=Budget)
    dead_letters: LetterCount | str = "there is no container of dead letters"
    person: str = ""  # the object id of whoever types the commands
    events: int = 0  # so many were made

    def __post_init__(self) -> None:
        self.parsed = tuple(self._parsed(raw, f"{raw['name']}.yaml") for raw in self.policies)
        policies = PolicySet(self.parsed).with_settings(self.app_settings)
        rules = Rules(policies, self.catalogue, self.app_settings, REFERENCE, unusable=self.unusable)
        self.inventory = InventoryInMemory(self.arm)
        ports = Ports(
            arm=self.arm,
            ledger=self.ledger,
            reader=self.ledger,
            schedule_queue=self.schedule_queue,
            breakers=self.breakers,
            publisher=self.published,
            clock=lambda: self.now,
            inventory=self.inventory,
            sweeps=self.sweeps,
            rollouts=self.rollouts,
            pauses=self.pauses,
            poison=self.poison,
            policy_states=self.policy_states,
            caller=self._caller,
            heartbeats=self.heartbeats,
            dead_letters=self._count_dead_letters,
        )
        self.arm.clock = self.poison.clock = lambda: self.now
        worker = Application(ports, rules, self.budget)
        self.dispatcher = worker.dispatcher
        self.sweep = worker.sweeper
        person = Application(ports, rules, self.budget)  # a command is another process
        self.requests = person.requests
        self.application = person
        self.enforcements = {policy.name: person.enforcement(policy) for policy in self.parsed}

    async def _count_dead_letters(self) -> LetterCount | str:
        return self.dead_letters

    async def _caller(self) -> str:
        return self.person

    def _parsed(self, raw: dict[str, Any], file: str) -> Policy:
        """A policy may name an extension whose file cannot be used, but not as one of several."""
        policy = parse_policy(raw, file, compile_rule)
        known = policy.one_of or policy.extension in self.catalogue
        return with_extensions(policy, file, self.catalogue, self.unusable) if known else policy

    def add(self, name: str = "web01", **changes: Any) -> VmId:
        vm = vm_id(name)
        self.arm.machines[vm.key] = vm_body(name, **changes)
        return vm

    def trigger(self, after: float = 0) -> EventRef:
        self.events += 1
        return EventRef(f"event-{self.events}", self.now + timedelta(seconds=after), "correlation")

    async def created(self, vm: VmId, trigger: EventRef | None = None) -> None:
        await self.dispatcher.handle(VmWritten(vm, trigger or self.trigger(), created=True))

    async def updated(self, vm: VmId) -> None:
        await self.dispatcher.handle(VmWritten(vm, self.trigger(), created=False))

    async def started(self, vm: VmId) -> None:
        await self.dispatcher.handle(VmStarted(vm, self.trigger()))

    async def deleted(self, vm: VmId, after: float = 1) -> None:
        """ARM deletes the VM, and Event Grid delivers the event."""
        self.arm.machines.pop(vm.key, None)
        await self.deletion_event(vm, after)

    async def deletion_event(self, vm: VmId, after: float = 1) -> None:
        """Deliver an event of the deletion of the VM, whether or not ARM deleted it."""
        await self.dispatcher.handle(VmDeleted(vm, self.trigger(after)))

    async def installed(self, vm: VmId, name: str = "OMSExtension", **properties: Any) -> None:
        """The handler reports success, and Event Grid delivers the event."""
        machine = self.arm.machines[vm.key]
        found = next(r for r in machine["resources"] if r["name"] == name)
        self.arm.set_extension(
            vm, {**found, "properties": {**found["properties"], **properties, "provisioningState": "Succeeded"}}
        )
        await self.extension_written(vm, name)

    async def extension_written(self, vm: VmId, name: str = "OMSExtension", *, succeeded: bool = True) -> None:
        await self.dispatcher.handle(ExtensionWritten(ExtensionId(vm, name), self.trigger(1), succeeded))

    async def extension_deleted(self, vm: VmId, name: str = "OMSExtension") -> None:
        await self.dispatcher.handle(ExtensionDeleted(ExtensionId(vm, name), self.trigger(1)))

    async def removed(self, vm: VmId, name: str = "OMSExtension") -> None:
        """ARM ends a removal, and Event Grid delivers the event."""
        self.arm.end_removal(vm, name)
        await self.extension_deleted(vm, name)

    async def association_deleted(self, vm: VmId, trigger: EventRef | None = None) -> None:
        """Deliver an event of the deletion of one of the VM's associations."""
        await self.dispatcher.handle(AssociationDeleted(vm, trigger or self.trigger(1)))

    async def run_latest_check(self) -> None:
        """Run the check that was scheduled last, when it is due."""
        check = self.schedule_queue.checks[-1]
        self.now = max(self.now, check.due)
        await self.dispatcher.check(check)

    async def finish_install(self, vm: VmId, name: str = OMS, state: str = "Succeeded", version: str = "") -> None:
        """The handler of a catalogue entry finishes, and Event Grid delivers the event."""
        entry = CATALOGUE[name]
        handler = {"publisher": entry.publisher, "type": entry.type, "typeHandlerVersion": version or entry.version}
        self.arm.set_extension(vm, extension(entry.resource_name, state, **handler))
        await self.extension_written(vm, entry.resource_name, succeeded=state == "Succeeded")

    async def run_next_check(self, until: datetime | None = None) -> bool:
        """Run the earliest check that is on the queue when it is due; whether one was due before `until`."""
        check = min(self.schedule_queue.checks, key=lambda each: each.due, default=None)
        if check is None or (until and check.due > until):
            return False
        self.schedule_queue.checks.remove(check)
        self.now = max(self.now, check.due)
        await self.dispatcher.check(check)
        return True

    def with_policies(
        self,
        policies: list[dict[str, Any]] | None = None,
        settings: dict[str, str] | None = None,
        catalogue: Mapping[str, CatalogueEntry] | None = None,
    ) -> World:
        """Another host with other policies, app settings or catalogue: it shares everything outside its process."""
        shared = (
            "arm",
            "ledger",
            "schedule_queue",
            "breakers",
            "rollouts",
            "pauses",
            "published",
            "sweeps",
            "poison",
            "policy_states",
            "heartbeats",
        )
        changed: dict[str, Any] = {"app_settings": settings} if settings else {}
        parts = {name: getattr(self, name) for name in shared}
        events = self.events + 1000  # so that its events are others
        wanted = self.policies if policies is None else policies
        changed |= {"catalogue": catalogue} if catalogue else {}
        return World(wanted, now=self.now, events=events, **changed, **parts)

    async def advance(self, vm: VmId) -> None:
        """Do the next thing for a VM: finish an install that is in flight, or else run its earliest check when it is
        due."""
        rows = [self.row(vm, extension) for extension in self.extensions if not self.row(vm, extension).outcome.final]
        for row in rows:
            if row.outcome is Outcome.REQUESTED:
                return await self.finish_install(vm, row.extension)
        due = min(row.next_attempt_at for row in rows if row.next_attempt_at)
        check = next(each for each in self.schedule_queue.checks if each == ScheduledCheck(vm, due))
        self.now = max(self.now, check.due)
        return await self.dispatcher.check(check)

    @property
    def extensions(self) -> list[str]:
        """The catalogue names of the extensions that the policies want."""
        return [policy["extension"] for policy in self.policies]

    async def sweep_and_reconcile(self) -> SweepReport:
        """Sweep, and handle every message that the sweep scheduled."""
        checks = len(self.schedule_queue.checks)
        report = await self.sweep.run()
        messages: list[Message] = [*self.schedule_queue.checks[checks:], *self.schedule_queue.reconcile_requests]
        self.schedule_queue.reconcile_requests.clear()
        for message in messages:
            await self.dispatcher.handle_message(message)
        return report

    def row(self, vm: VmId, extension: str = OMS) -> Row:
        return self.ledger.rows[(vm.key, extension)].row
