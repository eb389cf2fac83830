"""Updates of what we installed, after the catalogue entry, the policy or a secret has changed; and what is left."""

from __future__ import annotations

import io
from copy import replace
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from onboarding.application.ports import StoredRow
from onboarding.cli.machines.status_output import RowTableWriter
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import CATALOGUE, World, extension
from tests.reference import parse_entry

AGENT = "metrics-agent"
RAW: dict[str, Any] = {
    "name": AGENT,
    "publisher": "Contoso.Metrics",
    "type": "MetricsAgentLinux",
    "version": "1.36",
    "enableAutomaticUpgrade": True,
    "resourceName": "MetricsAgent",
    "os": "linux",
    "settings": {
        "properties": {
            "level": {"type": "string"},
            "proxy": {"properties": {"mode": {"type": "string"}}},
            "endpoint": {"type": "string", "destination": True},
            "machine": {"type": "string", "default": "{machine.name}"},
        }
    },
    "protectedSettings": {"properties": {"token": {"type": "string"}}},
}
POLICY: dict[str, Any] = {
    "name": "metrics",
    "extension": AGENT,
    "settings": {"level": "info"},
    "protectedSettings": {"token": "{TOKEN}"},
}
SETTINGS = {"TOKEN": "the first token of the tests", "ONBOARDING_DIGEST_KEY": "k" * 40}
WINDOW: dict[str, Any] = {"changeWindow": {"days": ["sat"], "from": "02:00", "to": "06:00"}}
LIMIT: dict[str, Any] = {"brake": {"maxInstallsPerHour": 2}}
QUARTER = timedelta(minutes=16)


def catalogue(**changes: Any) -> dict[str, CatalogueEntry]:
    entry = parse_entry({**RAW, **changes}, "metrics-agent.yaml")
    return {**CATALOGUE, AGENT: entry}


def host(**changes: Any) -> World:
    return World([{**POLICY, **changes}], app_settings=dict(SETTINGS), catalogue=catalogue())


def later(world: World, policy: dict[str, Any] = POLICY, settings: dict[str, str] = SETTINGS, **entry: Any) -> World:
    """Another host, with another policy, other app settings or another catalogue entry."""
    return world.with_policies([policy], dict(settings), catalogue(**entry))


async def installed(world: World, name: str = "web01", runs: str = "1.37.2") -> VmId:
    """A VM with the extension that we installed, an hour ago."""
    vm = world.add(name)
    await world.created(vm)
    await finish(world, vm, runs)
    assert world.row(vm, AGENT).outcome is Outcome.INSTALLED
    world.now += timedelta(hours=1)
    await world.sweep_and_reconcile()  # it stores which version of the policy there is
    world.arm.calls.clear()
    world.arm.bodies.clear()
    return vm


def set_running(world: World, vm: VmId, version: str) -> None:
    """The guest agent reports the version that runs."""
    view = world.arm.machines[vm.key]["properties"]["instanceView"]
    handler = {"type": f"{RAW['publisher']}.{RAW['type']}", "typeHandlerVersion": version}
    done = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "ok", "message": ""}
    others = [each for each in view.get("extensions", []) if each["name"] != RAW["resourceName"]]
    view["extensions"] = [*others, {"name": RAW["resourceName"], **handler, "statuses": [done]}]


async def finish(world: World, vm: VmId, runs: str) -> None:
    """The handler reports success and the version that runs."""
    (resource,) = world.arm.machines[vm.key]["resources"]
    world.arm.set_extension(
        vm, {**resource, "properties": {**resource["properties"], "provisioningState": "Succeeded"}}
    )
    set_running(world, vm, runs)
    await world.extension_written(vm, RAW["resourceName"])


def change(world: World, vm: VmId, **properties: Any) -> None:
    """Somebody else writes the extension."""
    (resource,) = world.arm.machines[vm.key]["resources"]
    resource["properties"] |= properties


async def swept(world: World) -> World:
    """Let the policy be the same for long enough, and sweep."""
    await world.sweep_and_reconcile()
    world.now += QUARTER
    await world.sweep_and_reconcile()
    return world


def row(world: World, vm: VmId) -> Row:
    return world.row(vm, AGENT)


def sent(world: World) -> list[dict[str, Any]]:
    return [dict(body["properties"]) for body in world.arm.bodies]


async def test_a_higher_version_in_the_catalogue_updates_what_we_installed() -> None:
    vm = await installed(world := host())
    world = await swept(later(world, version="1.40"))
    assert row(world, vm).outcome is Outcome.REQUESTED
    assert [each["typeHandlerVersion"] for each in sent(world)] == ["1.40"]
    assert row(world, vm).update == '{"from":{"version":"1.36"},"to":{"version":"1.40"}}'
    assert "updates it for policy metrics: 1.36 → 1.40" in row(world, vm).reason
    await finish(world, vm, "1.40.1")
    now = row(world, vm)
    assert (now.outcome, now.extension_version) == (Outcome.INSTALLED, "1.40.1")
    assert now.update == '{"from":{"version":"1.36"},"to":{"version":"1.40"}}'
    world.now += timedelta(hours=1)
    world.arm.calls.clear()
    assert (await world.sweep_and_reconcile()).requested == 0


async def test_versions_are_compared_as_numbers() -> None:
    world = host()
    world = World(world.policies, app_settings=dict(SETTINGS), catalogue=catalogue(version="1.9"))
    vm = await installed(world, runs="1.9.1")
    world = await swept(later(world, version="1.10"))
    assert [each["typeHandlerVersion"] for each in sent(world)] == ["1.10"]
    assert row(world, vm).outcome is Outcome.REQUESTED


async def test_a_minor_version_that_the_platform_has_upgraded_to_is_no_reason_for_an_update() -> None:
    vm = await installed(world := host())
    set_running(world, vm, "1.41.0")
    world = await swept(later(world, version="1.40"))
    assert sent(world) == []
    assert row(world, vm).outcome is Outcome.INSTALLED
    # The inventory does not have the version that runs; once it was read, no sweep asks again.
    assert row(world, vm).extension_version == "1.41.0"
    world.now += timedelta(hours=1)
    assert (await world.sweep_and_reconcile()).requested == 0


@pytest.mark.parametrize("wanted", ["1.36", "1.40", "1.9"])
async def test_a_newer_version_on_the_machine_is_left_and_named(wanted: str) -> None:
    vm = await installed(world := host())
    change(world, vm, typeHandlerVersion="2.1")
    set_running(world, vm, "2.1.7")
    world = await swept(later(world, version=wanted))
    await world.updated(vm)
    assert sent(world) == []
    assert row(world, vm).outcome is Outcome.INSTALLED


async def test_the_row_says_that_the_newer_version_is_left() -> None:
    vm = await installed(world := host())
    change(world, vm, typeHandlerVersion="2.1")
    await world.updated(vm)
    assert "it has 2.1, policy metrics asks for 1.36: the newer version is left" in row(world, vm).reason


@pytest.mark.parametrize(
    ("requested", "runs", "minor", "named"),
    [
        ("1.40", "1.40.1", True, "1.40"),  # the machine requests a higher one
        ("1.36", "1.41.0", True, "1.36"),  # Azure chooses the newest minor version
        ("1.36", "1.41.0", False, "1.41"),  # Azure would take exactly this one
        ("1.36", "2.0.1", True, "2.0"),
    ],
)
async def test_an_update_of_settings_never_names_a_lower_version(
    requested: str, runs: str, minor: bool, named: str
) -> None:
    vm = await installed(world := host())
    change(world, vm, typeHandlerVersion=requested, autoUpgradeMinorVersion=minor)
    set_running(world, vm, runs)
    world = await swept(later(world, {**POLICY, "settings": {"level": "debug"}}))
    (body,) = sent(world)
    assert (body["typeHandlerVersion"], body["autoUpgradeMinorVersion"]) == (named, minor)
    assert row(world, vm).update == '{"settings":["level"]}'


async def test_changed_settings_are_named_without_their_values() -> None:
    vm = await installed(world := host())
    settings = {"proxy": {"mode": "application"}}
    world = await swept(later(world, {**POLICY, "settings": settings}))
    assert sent(world)[0]["settings"] == {**settings, "machine": "web01"}
    assert row(world, vm).update == '{"settings":["level","proxy"]}'
    assert "application" not in row(world, vm).reason
    await finish(world, vm, "1.37.2")
    assert row(world, vm).outcome is Outcome.INSTALLED


async def test_automatic_upgrades_are_switched() -> None:
    vm = await installed(world := host())
    world = await swept(later(world, enableAutomaticUpgrade=False))
    assert [each["enableAutomaticUpgrade"] for each in sent(world)] == [False]
    assert "enableAutomaticUpgrade true → false" in row(world, vm).reason
    await finish(world, vm, "1.37.2")
    assert row(world, vm).outcome is Outcome.INSTALLED


async def test_an_update_that_the_machine_never_shows_is_sent_once() -> None:
    vm = await installed(world := host())
    world = await swept(later(world, enableAutomaticUpgrade=False))
    change(world, vm, enableAutomaticUpgrade=True)  # ARM keeps what was there
    await finish(world, vm, "1.37.2")
    assert row(world, vm).outcome is Outcome.INSTALLED
    for _ in range(3):
        world.now += timedelta(hours=1)
        await world.sweep_and_reconcile()
    assert len(sent(world)) == 1


async def test_what_others_installed_is_named_and_left() -> None:
    world = host()
    vm = world.add()
    handler = {"publisher": RAW["publisher"], "type": RAW["type"], "typeHandlerVersion": "1.30"}
    world.arm.set_extension(vm, extension(RAW["resourceName"], **handler, settings={"level": "info"}))
    await world.created(vm)
    world.now += timedelta(hours=1)
    await swept(world)
    assert sent(world) == []
    assert row(world, vm).outcome is Outcome.ALREADY_INSTALLED
    assert "it has 1.30, policy metrics asks for 1.36" in row(world, vm).reason


async def test_settings_that_somebody_changed_are_no_update() -> None:
    vm = await installed(world := host())
    change(world, vm, settings={"level": "trace"})
    world = await swept(later(world, {**POLICY, "settings": {"level": "debug"}}))
    assert row(world, vm).update == ""


async def test_a_move_to_another_destination_asks_for_reconnect() -> None:
    here = {"level": "info", "endpoint": "https://a.example"}
    vm = await installed(world := host(settings=here))
    there = {"level": "debug", "endpoint": "https://b.example"}
    world = await swept(later(world, {**POLICY, "settings": there}))
    assert sent(world) == []
    assert row(world, vm).outcome is Outcome.INSTALLED
    moves = {**POLICY, "settings": there, "reconnect": True}
    world = await swept(later(world, moves))
    assert sent(world)[0]["settings"]["endpoint"] == "https://b.example"


async def test_a_policy_that_only_audits_says_what_it_would_update() -> None:
    vm = await installed(world := host())
    audits = {**POLICY, "effect": "auditIfNotExists"}
    world = await swept(later(world, audits, version="1.40"))
    set_running(world, vm, "1.37.2")
    await world.requests.handle(vm, OperatorRequest())
    assert sent(world) == []
    assert row(world, vm).outcome is Outcome.INSTALLED
    assert "policy metrics only audits: would update MetricsAgentLinux (1.36 → 1.40)" in row(world, vm).reason


async def test_no_event_begins_an_update() -> None:
    vm = await installed(world := host())
    other = later(world, version="1.40")
    await other.updated(vm)
    assert sent(world) == []
    assert row(world, vm).outcome is Outcome.INSTALLED


async def test_the_sweep_waits_until_the_catalogue_is_the_same_on_all_hosts() -> None:
    vm = await installed(world := host())
    other = later(world, version="1.40")
    assert (await other.sweep_and_reconcile()).outdated == 0
    other.now += timedelta(minutes=14)
    assert (await other.sweep_and_reconcile()).outdated == 0
    other.now += timedelta(minutes=2)
    assert (await other.sweep_and_reconcile()).outdated == 1
    assert row(other, vm).outcome is Outcome.REQUESTED


async def test_an_update_waits_for_the_change_window_and_the_row_keeps_what_it_was() -> None:
    vm = await installed(world := host(**WINDOW))
    world = await swept(later(world, {**POLICY, **WINDOW}, version="1.40"))
    waiting = row(world, vm)
    assert (waiting.waiting_for, waiting.was) == (WaitingFor.CHANGE_WINDOW, "Installed")
    assert waiting.update == '{"from":{"version":"1.36"},"to":{"version":"1.40"}}'
    assert sent(world) == []
    await world.run_latest_check()
    assert [each["typeHandlerVersion"] for each in sent(world)] == ["1.40"]
    assert row(world, vm).undone_at == ""


async def test_updates_count_against_the_rollout_limit() -> None:
    world = host(**LIMIT)
    vms = [await installed(world, f"vm-{number}") for number in range(2)]
    vms.append(await installed(world, "vm-2"))
    world.now += timedelta(hours=2)
    world.arm.bodies.clear()
    world = await swept(later(world, {**POLICY, **LIMIT}, version="1.40"))
    waiting = [row(world, vm).waiting_for for vm in vms]
    assert waiting.count(WaitingFor.ROLLOUT_LIMIT) == 1
    assert len(sent(world)) == 2


async def test_an_update_that_is_taken_back_while_it_waits_leaves_nothing() -> None:
    vm = await installed(world := host(**WINDOW))
    other = await swept(later(world, {**POLICY, **WINDOW}, version="1.40"))
    assert row(world, vm).update != ""
    world.now = other.now
    await world.run_latest_check()
    assert (row(world, vm).outcome, row(world, vm).update) == (Outcome.INSTALLED, "")


async def test_many_updates_in_a_week_are_nobodys_contest() -> None:
    vm = await installed(world := host())
    for minor in range(40, 46):
        world = await swept(later(world, version=f"1.{minor}"))
        assert row(world, vm).outcome is Outcome.REQUESTED
        await finish(world, vm, f"1.{minor}.0")
        world.now += timedelta(hours=1)
    assert (row(world, vm).outcome, row(world, vm).undone_at) == (Outcome.INSTALLED, "")


REFUSED = Evidence(
    http_status=409,
    code="OperationNotAllowed",
    message="Cannot update handlerVersion or autoUpgradeMinorVersion for VM extension 'e'.",
)


@pytest.mark.parametrize(
    ("policy", "entry"),
    [(POLICY, {"version": "1.40"}), ({**POLICY, "settings": {"level": "debug"}}, {})],
    ids=["version", "settings"],
)
async def test_an_update_that_arm_refuses_is_not_repeated_until_a_person_wants_it(
    policy: dict[str, Any], entry: dict[str, Any]
) -> None:
    vm = await installed(world := host())
    world.arm.install_errors = [REFUSED]
    world = await swept(later(world, policy, **entry))
    failed = row(world, vm)
    assert (failed.outcome, failed.cause) == (Outcome.FAILED, "already-installed-other-version")
    for _ in range(3):
        world.now += timedelta(hours=1)
        await world.sweep_and_reconcile()
        await world.updated(vm)
    assert len(sent(world)) == 1
    assert (row(world, vm).outcome, row(world, vm).reason) == (Outcome.FAILED, failed.reason)
    await world.requests.handle(vm, OperatorRequest())
    assert len(sent(world)) == 2
    await finish(world, vm, "1.40.0")
    assert (row(world, vm).outcome, row(world, vm).undone_at) == (Outcome.INSTALLED, "")


async def test_an_update_that_arm_throttles_goes_on_as_the_same_update() -> None:
    vm = await installed(world := host())
    throttled = Evidence(http_status=429, code="TooManyRequests", headers={"retry-after": "90"})
    world.arm.install_errors = [throttled]
    world = later(world, {**POLICY, "settings": {"level": "debug"}})
    await world.sweep_and_reconcile()
    world.now += QUARTER
    await world.sweep_and_reconcile()
    assert (row(world, vm).waiting_for, row(world, vm).was) == (WaitingFor.THROTTLING, "Installed")
    await world.run_latest_check()
    assert len(sent(world)) == 2
    assert "updates it for policy metrics: settings level" in row(world, vm).reason
    await finish(world, vm, "1.37.2")
    assert (row(world, vm).outcome, row(world, vm).undone_at) == (Outcome.INSTALLED, "")


async def test_a_version_that_does_not_exist_is_put_right_by_the_next_change_of_the_entry() -> None:
    vm = await installed(world := host())
    world.arm.install_errors = [REFUSED]
    world = await swept(later(world, version="1.99"))
    assert row(world, vm).outcome is Outcome.FAILED
    world.now += timedelta(hours=1)
    world = await swept(later(world, version="1.40"))
    world.now += QUARTER
    await world.sweep_and_reconcile()
    assert [each["typeHandlerVersion"] for each in sent(world)] == ["1.99", "1.40"]


async def test_an_update_that_failed_and_that_somebody_made_ends_as_installed() -> None:
    vm = await installed(world := host())
    world.arm.install_errors = [REFUSED]
    world = await swept(later(world, version="1.40"))
    change(world, vm, typeHandlerVersion="1.40")
    set_running(world, vm, "1.40.3")
    world.now += timedelta(hours=1)
    await world.sweep_and_reconcile()
    assert (row(world, vm).outcome, len(sent(world))) == (Outcome.INSTALLED, 1)


async def test_a_person_who_installs_gets_the_update_at_once() -> None:
    vm = await installed(world := host())
    world = later(world, version="1.40")
    await world.requests.handle(vm, OperatorRequest())
    assert [each["typeHandlerVersion"] for each in sent(world)] == ["1.40"]


async def test_a_preview_and_the_status_say_from_what_to_what() -> None:
    vm = await installed(world := host())
    world = later(world, version="1.40")
    (preview,) = await world.requests.preview(vm, OperatorRequest())
    assert [step.written for step in preview.steps] == ["update MetricsAgentLinux (1.36 → 1.40)"]
    assert sent(world) == []
    await world.requests.handle(vm, OperatorRequest())
    await finish(world, vm, "1.40.0")
    console = Console(record=True, width=200, file=io.StringIO())
    writer = RowTableWriter(console)
    writer.write(row(world, vm))
    writer.end()
    assert "the handler reports success (update: 1.36 → 1.40)" in console.export_text()


async def test_a_changed_secret_is_sent_and_leaves_no_trace_of_itself() -> None:
    vm = await installed(world := host())
    before = row(world, vm).protected_digest
    assert len(before) == 16
    token = "the second token of the tests"
    world = await swept(later(world, settings={**SETTINGS, "TOKEN": token}))
    assert [each["protectedSettings"] for each in sent(world)] == [{"token": token}]
    assert row(world, vm).update == '{"protectedSettings":true}'
    await finish(world, vm, "1.37.2")
    now = row(world, vm)
    assert (now.outcome, now.protected_digest == before) == (Outcome.INSTALLED, False)
    world.now += timedelta(hours=1)
    assert (await world.sweep_and_reconcile()).requested == 0


async def test_a_secret_whose_request_never_went_out_is_sent_again() -> None:
    vm = await installed(world := host())
    token = "the second token of the tests"
    world.arm.install_errors = [Evidence(code="ServiceResponseError", message="the connection broke")]
    world = later(world, settings={**SETTINGS, "TOKEN": token})
    await world.sweep_and_reconcile()
    assert row(world, vm).waiting_for is WaitingFor.CLAIM
    await world.run_latest_check()
    assert len(sent(world)) == 2
    assert row(world, vm).outcome is Outcome.REQUESTED


@pytest.mark.parametrize("key", ["", "too short", "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/key)"])
async def test_without_a_key_no_digest_of_a_secret_is_kept(key: str) -> None:
    settings = {**SETTINGS, "ONBOARDING_DIGEST_KEY": key}
    world = World([POLICY], app_settings=settings, catalogue=catalogue())
    vm = await installed(world)
    assert row(world, vm).protected_digest == ""
    world = await swept(later(world, settings={**settings, "TOKEN": "the third token of the tests"}))
    assert sent(world) == []


async def test_what_a_person_removed_stays_away_after_a_change_of_the_catalogue() -> None:
    vm = await installed(world := host())
    await world.requests.handle(vm, OperatorRequest(removal=True))
    await world.removed(vm, RAW["resourceName"])
    assert row(world, vm).outcome is Outcome.REMOVED
    world.arm.bodies.clear()
    world = await swept(later(world, version="1.40"))
    assert (sent(world), row(world, vm).outcome) == ([], Outcome.REMOVED)
    world = await swept(later(world, {**POLICY, "settings": {"level": "debug"}}))
    assert row(world, vm).outcome is Outcome.REQUESTED


async def test_a_row_of_a_version_that_knew_no_entries_is_of_the_same_policy() -> None:
    vm = await installed(world := host())
    key = vm.key, AGENT
    stored = world.ledger.rows[key]
    of_file = stored.row.policy_hash.partition(".")[0]
    world.ledger.rows[key] = StoredRow(replace(stored.row, policy_hash=of_file), stored.version)
    assert (await world.sweep_and_reconcile()).requested == 0


async def test_no_row_and_no_line_of_history_has_the_secret() -> None:
    vm = await installed(world := host())
    token = "the second token of the tests"
    world = await swept(later(world, settings={**SETTINGS, "TOKEN": token}))
    written = [str(each.to_properties()) for each in (*world.ledger.log.values(), row(world, vm))]
    written += [str(each.to_properties()) for each in world.ledger.changes_by_key.values()]
    assert written
    assert not [each for each in written if token in each or SETTINGS["TOKEN"] in each]


async def test_a_stopped_vm_is_updated_once_it_runs() -> None:
    vm = await installed(world := host())
    statuses = world.arm.machines[vm.key]["properties"]["instanceView"]["statuses"]
    statuses[1]["code"] = "PowerState/deallocated"
    world = await swept(later(world, version="1.40"))
    assert (row(world, vm).waiting_for, row(world, vm).was) == (WaitingFor.VM_RUNNING, "Installed")
    assert sent(world) == []
    statuses[1]["code"] = "PowerState/running"
    await world.started(vm)
    assert [each["typeHandlerVersion"] for each in sent(world)] == ["1.40"]


async def test_a_new_version_begins_another_canary() -> None:
    canary = {"brake": {"canary": {"percent": 1, "for": "1h"}}}
    world = host(**canary)
    vm = await installed(world)
    stored = world.rollouts.stored["metrics"].state.canary
    world = await swept(later(world, {**POLICY, **canary}, version="1.40"))
    now = world.rollouts.stored["metrics"].state.canary
    assert (stored.installed, now.installed) == (1, 0)
    assert stored.policy_hash.partition(".")[0] == now.policy_hash.partition(".")[0]
    assert row(world, vm).outcome is Outcome.REQUESTED
