"""Decisions on Windows VMs, and on Linux VMs whose release is not exact enough for the table."""

from __future__ import annotations

from copy import replace
from typing import Any

import pytest

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.support_table import judge
from onboarding.domain.image.os_identification import Overrides
from onboarding.domain.image.overrides import parse_overrides
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import Act, Stop, Wait
from tests.reference import identify, parse_table
from tests.unit.reconcile.contexts import ENTRY, context, vm_body
from tests.windows_entry import windows_entry

TABLE = windows_entry()
ANY = windows_entry(supportTables=None)
GOLDEN = {"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/golden"}


def _marketplace(sku: str) -> dict[str, str]:
    return {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": sku, "version": "latest"}


def _decided(
    entry: CatalogueEntry,
    *,
    guest: tuple[str, str] | None = None,
    overrides: Overrides | None = None,
    least: str = "",
    **vm: Any,
) -> tuple[str, str]:
    """Which decision, and its outcome or what it waits for."""
    body = vm_body(**{"os_type": "Windows", **vm})
    if guest is not None:
        body["properties"]["instanceView"] |= {"osName": guest[0], "osVersion": guest[1]}
    facts = read_facts(body)
    release = identify(facts, overrides) if overrides else identify(facts)
    table = entry.support_table("")
    if least:
        table = parse_table("x", {"date": "d", "source": "s", "versions": {"rhel": f">= {least}"}})
    decision = decide(replace(context(), facts=facts, release=release, entry=entry, judgement=judge(release, table)))
    match decision:
        case Act():
            return "Install", ""
        case Wait():
            return "Wait", decision.waiting_for
        case Stop():
            return "Skip", decision.outcome
    return type(decision).__name__, ""


@pytest.mark.parametrize(
    ("vm", "with_table", "without"),
    [
        ({"image": _marketplace("2019-Datacenter")}, ("Install", ""), ("Install", "")),
        ({"image": _marketplace("2008-R2-SP1")}, ("Skip", "Unsupported"), ("Install", "")),
        (
            {"image": _marketplace("2019-Datacenter"), "os_type": "Linux"},
            ("Skip", "OutOfScope"),
            ("Skip", "OutOfScope"),
        ),
        ({"os_type": "Linux"}, ("Skip", "OutOfScope"), ("Skip", "OutOfScope")),
        ({"os_type": ""}, ("Skip", "Unsupported"), ("Skip", "Unsupported")),
        ({"image": GOLDEN}, ("Skip", "Undetermined"), ("Install", "")),
        ({"image": GOLDEN, "agent": "silent"}, ("Wait", "agent-ready"), ("Wait", "agent-ready")),
        (
            {"image": GOLDEN, "guest": ("Windows Server 2022 Datacenter", "10.0.20348")},
            ("Install", ""),
            ("Install", ""),
        ),
        (
            {"image": GOLDEN, "guest": ("Windows Server 2012 Standard", "6.2.9200")},
            ("Skip", "Unsupported"),
            ("Install", ""),
        ),
        (
            {"image": _marketplace("2008-R2-SP1"), "guest": ("Windows Server 2012 R2 Standard", "6.3.9600")},
            ("Install", ""),
            ("Install", ""),
        ),
        (
            {"profile": {"windowsConfiguration": {"provisionVMAgent": False}}, "image": GOLDEN, "agent": "absent"},
            ("Wait", "agent-ready"),
            ("Skip", "Failed"),
        ),
    ],
)
def test_a_windows_vm_is_decided_on_like_any_other(
    vm: dict[str, Any], with_table: tuple[str, str], without: tuple[str, str]
) -> None:
    assert (_decided(TABLE, **vm), _decided(ANY, **vm)) == (with_table, without)


def test_a_windows_vm_is_out_of_a_linux_entrys_scope() -> None:
    assert _decided(ENTRY, image=_marketplace("2019-Datacenter")) == ("Skip", "OutOfScope")


@pytest.mark.parametrize(
    ("rule", "decided"),
    [
        ({"distribution": "windows", "version": "2019"}, ("Install", "")),
        ({"distribution": "windows", "version": "Server 2008 R2"}, ("Skip", "Unsupported")),
        ({"distribution": "windows", "version": 2016}, ("Install", "")),
        ({"distribution": "windows"}, ("Skip", "Undetermined")),
        ({"distribution": "windows", "version": "nobody's"}, ("Skip", "Undetermined")),
    ],
)
def test_an_override_teaches_the_release(rule: dict[str, Any], decided: tuple[str, str]) -> None:
    overrides = parse_overrides({"images": [{"match": "*/images/golden", **rule}]}, "image-overrides.yaml")
    assert _decided(TABLE, image=GOLDEN, overrides=overrides) == decided


@pytest.mark.parametrize(
    ("plan", "product"),
    [("2016-datacenter", "Server 2016"), ("standard", "")],
)
def test_a_plan_tells_the_release(plan: str, product: str) -> None:
    body = vm_body(os_type="Windows", image=GOLDEN)
    body["plan"] = {"publisher": "contoso", "product": "app-on-windows", "name": plan}
    release = identify(read_facts(body))
    assert (release.distribution, release.product, release.source) == ("windows", product, "plan")


@pytest.mark.parametrize(
    ("sku", "guest", "product"),
    [
        ("win11", ("Windows 11 Pro", "10.0.22631"), "11 23H2"),
        ("win11-24h2", ("Windows 11 Pro", ""), "11 24H2"),
        ("win10", ("Windows 11 Pro", "10.0.22631"), "11 23H2"),
        ("win11", ("Windows", ""), "11"),
    ],
)
def test_the_agent_refines_or_corrects_the_name(sku: str, guest: tuple[str, str], product: str) -> None:
    body = vm_body(os_type="Windows", image={"publisher": "contoso", "offer": "desktop", "sku": sku})
    body["properties"]["instanceView"] |= {"osName": guest[0], "osVersion": guest[1]}
    assert identify(read_facts(body)).product == product


RHEL_8 = {"publisher": "RedHat", "offer": "RHEL", "sku": "8-lvm-gen2", "version": "latest"}


@pytest.mark.parametrize(
    ("vm", "decided"),
    [
        ({"guest": ("redhat", "8.10")}, ("Install", "")),
        ({"guest": ("redhat", "8.1")}, ("Skip", "Unsupported")),
        ({"agent": "silent"}, ("Wait", "agent-ready")),
        ({}, ("Skip", "Undetermined")),
    ],
)
def test_a_version_too_coarse_for_the_table_waits_for_the_agent(vm: dict[str, Any], decided: tuple[str, str]) -> None:
    assert _decided(ENTRY, os_type="Linux", image=RHEL_8, least="8.2", **vm) == decided
