"""The shipped entries of the Azure Monitor Agent: what is sent, which images are supported, by which table."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from onboarding.domain.catalog.catalogue_entry import extension_body
from onboarding.domain.catalog.extension_settings import resolve_settings
from onboarding.domain.catalog.protected_settings import ProtectedSettings
from onboarding.domain.catalog.setting_templates import MachineValues
from onboarding.domain.catalog.support_table import Verdict
from onboarding.domain.failures.failure_rules import Cause
from onboarding.domain.image.os_release import Distribution
from onboarding.domain.policy.rule import compile_rule
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import REFERENCE, checker, parse_policy
from tests.shared_samples import needs_samples, read_lines

CATALOGUE = load_catalogue()
LINUX, WINDOWS = CATALOGUE["azure-monitor-agent-linux"], CATALOGUE["azure-monitor-agent-windows"]
NEW, BEFORE = (checker(LINUX.support_table(name)) for name in ("", "2026-05"))
ON_WINDOWS, WITH_ESU = (checker(WINDOWS.support_table(name)) for name in ("", "2025-03-esu"))
IDENTITY = {
    "managedIdentity": {
        "identifier-name": "mi_res_id",
        "identifier-value": "/subscriptions/0/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id",
    }
}
NAMED = {"managedIdentity": {"identifier-name": "mi_res_id", "identifier-value": "/subscriptions/0/id"}}
LOGIN = {"proxy": {"username": "svc", "password": "hush-hush"}}
VERDICTS = {True: Verdict.SUPPORTED, False: Verdict.UNSUPPORTED, None: Verdict.UNKNOWN}


@pytest.mark.parametrize(
    ("entry", "type_", "version"),
    [(LINUX, "AzureMonitorLinuxAgent", "1.36"), (WINDOWS, "AzureMonitorWindowsAgent", "1.2")],
    ids=["linux", "windows"],
)
def test_the_request_is_that_of_the_built_in_policies(entry: object, type_: str, version: str) -> None:
    assert entry in (LINUX, WINDOWS)
    each = LINUX if entry is LINUX else WINDOWS
    body = extension_body(each, "westeurope", {"authentication": IDENTITY}, ProtectedSettings({}, []))
    assert body == {
        "location": "westeurope",
        "properties": {
            "publisher": "Microsoft.Azure.Monitor",
            "type": type_,
            "typeHandlerVersion": version,
            "autoUpgradeMinorVersion": True,
            "enableAutomaticUpgrade": True,
            "settings": {"authentication": IDENTITY},
            "protectedSettings": {},
        },
    }
    assert each.resource_name == type_


@pytest.mark.parametrize(
    ("public", "protected", "problem"),
    [
        ({}, {}, ""),
        ({"authentication": IDENTITY}, {}, ""),
        ({"proxy": {"mode": "application", "address": "http://proxy:80", "auth": True}}, LOGIN, ""),
        ({"proxy": {"mode": "application", "address": "http://proxy:80", "auth": "true"}}, LOGIN, ""),
        ({"proxy": {"mode": "none"}}, {}, ""),
        ({"authentication": {"managedIdentity": {"identifier-name": "client_id"}}}, {}, "identifier-value is missing"),
        (
            {"authentication": {"managedIdentity": {**IDENTITY["managedIdentity"], "identifier-name": "name"}}},
            {},
            "identifier-name must be 'mi_res_id' or 'client_id' or 'object_id'",
        ),
        ({"proxy": {"mode": "system"}}, {}, "settings.proxy.mode must be"),
        ({"proxy": {"address": "http://proxy:80"}}, {}, "settings.proxy.mode is missing"),
        ({}, {"proxy": {"username": "u"}}, "protectedSettings.proxy.password is missing"),
        ({"workspaceId": "6f680a37-00c6-41c7-a93f-1437e3462574"}, {}, "settings.workspaceId is unknown"),
        ({"stopOnMultipleConnections": True}, {}, "settings.stopOnMultipleConnections is unknown"),
        ({}, {"workspaceKey": "x"}, "protectedSettings.workspaceKey is unknown"),
    ],
)
def test_no_setting_is_required_and_those_of_other_agents_are_refused(
    public: dict[str, Any], protected: dict[str, Any], problem: str
) -> None:
    for entry in (LINUX, WINDOWS):
        found = [str(each) for each in entry.problems(public, protected)]
        assert len(found) == (1 if problem else 0)
        assert problem in "".join(found)


@pytest.mark.parametrize(("identity", "sent"), [("", {}), ("/subscriptions/0/id", {"authentication": NAMED})])
def test_the_settings_name_the_identity_where_it_is_known(identity: str, sent: dict[str, Any]) -> None:
    for entry in (LINUX, WINDOWS):
        policy = parse_policy({"name": "p", "extension": entry.name}, "p.yaml", compile_rule)
        settings = resolve_settings(entry, policy, {}, MachineValues("/vm", "vm", "westeurope", identity))
        assert (settings.public, settings.problems) == (sent, ())


def test_the_newest_table_is_the_default() -> None:
    assert LINUX.support_table("").name == "2026-08"
    for entry in (LINUX, WINDOWS):
        dates = {table.date for table in entry.support_tables.values()}
        assert entry.support_table("").date == max(dates, key=date.fromisoformat)


def test_the_windows_releases_are_written_as_in_the_data() -> None:
    """Shipped tables are not looked up in the list of releases when a process starts."""
    rows = [
        row
        for entry in CATALOGUE.values()
        for table in entry.support_tables.values()
        for row in table.rows
        if row.distribution is Distribution.WINDOWS
    ]
    assert rows
    assert {row.version: REFERENCE.windows().named(row.version) for row in rows} == {
        row.version: row.version for row in rows
    }


def test_the_successor_of_a_retired_extension_is_in_the_catalogue() -> None:
    retired = [entry.retired for entry in CATALOGUE.values() if entry.retired]
    assert retired
    named = [text.partition("its successor is ")[2] for text in retired if "successor" in text]
    assert named
    assert not set(named) - set(CATALOGUE)


@pytest.mark.parametrize(
    ("urn", "now", "before"),
    [
        ("Canonical:ubuntu-26_04-lts:server", True, False),
        ("Canonical:ubuntu-26_04-lts:server-arm64", True, False),
        ("Canonical:0001-com-ubuntu-minimal-jammy:minimal-22_04-lts-gen2", True, True),
        ("Canonical:UbuntuServer:16.04.0-LTS", True, True),
        ("Canonical:UbuntuServer:14.04.5-LTS", False, False),
        ("Canonical:ubuntu-24_10:server", False, False),
        ("Debian:debian-12:12-arm64", True, True),
        ("Debian:debian-10:10-backports-arm64", False, False),
        ("RedHat:RHEL:7-LVM", True, True),
        ("RedHat:rhel-arm64:9_4-arm64", True, True),
        ("RedHat:RHEL:10-lvm-gen2", True, True),
        ("OpenLogic:CentOS:7_9-gen2", False, True),
        ("OpenLogic:CentOS:8_5", False, True),
        ("OpenLogic:CentOS:6.10", False, False),
        ("Oracle:Oracle-Linux:ol10-lvm-gen2", True, False),
        ("Oracle:Oracle-Linux:ol9-arm64-lvm-gen2", False, False),
        ("almalinux:almalinux-arm:9-arm-gen2", False, False),
        ("almalinux:almalinux-arm:8-arm-gen2", True, True),
        ("almalinux:almalinux-x86_64:10-gen2", True, False),
        ("resf:rockylinux-x86_64:10-base", True, False),
        ("resf:rockylinux-aarch64:9-base-aarch64", True, True),
        ("SUSE:sles-12-sp5:gen2", False, True),
        ("SUSE:sles-sap-12-sp5:gen1", False, True),
        ("suse:sles-16-0-x86-64:gen2", True, True),
        ("SUSE:opensuse-leap-15-6:gen2", True, True),
        ("SUSE:opensuse-leap-15-6-arm64:gen2", False, False),
        ("microsoftcblmariner:azure-linux-3:azure-linux-3-gen2", True, True),
        ("MicrosoftCBLMariner:cbl-mariner:cbl-mariner-1", False, False),
        ("kinvolk:flatcar-container-linux-free:stable", False, False),
        ("thefreebsdfoundation:freebsd-14_1:14_1-release-amd64-gen2-zfs", False, False),
        ("MicrosoftWindowsServer:WindowsServer:2022-Datacenter", False, False),
        ("fortinet:fortinet_fortigate-vm_v5:fortinet_fg-vm", None, None),
        ("jetware-srl:lemp7-on-ubuntu:ubuntu", None, None),
    ],
)
def test_linux_images_are_judged_by_the_handlers_own_list(urn: str, now: bool | None, before: bool | None) -> None:
    verdicts = (NEW.check(urn).judgement.verdict, BEFORE.check(urn).judgement.verdict)
    assert verdicts == (VERDICTS[now], VERDICTS[before])


@pytest.mark.parametrize(
    ("urn", "supported"),
    [
        ("MicrosoftWindowsServer:WindowsServer:2016-datacenter-server-core-g2", True),
        ("MicrosoftWindowsServer:WindowsServer:2019-Datacenter", True),
        ("MicrosoftWindowsServer:WindowsServer:2022-datacenter-azure-edition", True),
        ("MicrosoftWindowsServer:WindowsServer:2025-datacenter-g2", True),
        ("MicrosoftWindowsServer:WindowsServer:2012-Datacenter", False),
        ("MicrosoftWindowsServer:WindowsServer:2008-R2-SP1", False),
        ("MicrosoftWindowsServer:WindowsServer:datacenter-core-20h2-with-containers-smalldisk-gs", False),
        ("MicrosoftWindowsServer:WindowsServer:2012-R2-Datacenter", None),
        ("MicrosoftSQLServer:SQL2016SP1-WS2016:Standard", True),
        ("MicrosoftSQLServer:SQL2014SP3-WS2012R2:Enterprise", None),
        ("MicrosoftWindowsDesktop:windows-11:win11-24h2-pro", True),
        ("MicrosoftWindowsDesktop:windows11preview-arm64:win11-24h2-pro", True),
        ("MicrosoftWindowsDesktop:Windows-10:win10-22h2-ent-g2", True),
        ("MicrosoftWindowsDesktop:Windows-10:rs3-pro", False),
        ("Canonical:ubuntu-24_04-lts:server", False),
    ],
)
def test_windows_images_are_judged_by_microsofts_page(urn: str, supported: bool | None) -> None:
    assert ON_WINDOWS.check(urn).judgement.verdict == VERDICTS[supported]


def test_server_2012_r2_depends_on_extended_security_updates() -> None:
    urn = "MicrosoftWindowsServer:WindowsServer:2012-R2-Datacenter-gensecond"
    reason = ON_WINDOWS.check(urn).judgement.reason
    assert reason.endswith("only with Extended Security Updates; for VMs that have them use table 2025-03-esu")
    assert WITH_ESU.check(urn).supported


def test_advice_is_the_agents_own() -> None:
    for entry in (LINUX, WINDOWS):
        assert "managedIdentity" in entry.errors.causes[Cause.BAD_CONFIGURATION].advice
        assert "handler.control.monitor.azure.com" in entry.errors.causes[Cause.NO_CONNECTIVITY].advice
    assert "700 MB" in LINUX.errors.causes[Cause.LOW_DISK_SPACE].advice
    assert "CentOS" in LINUX.errors.causes[Cause.UNSUPPORTED_OS].advice


@needs_samples
def test_the_labelled_images_agree_with_their_labels() -> None:
    """An image of Windows that is labelled as unknown may be supported: some of their names contain the release."""
    rows = [
        (row["supported_by_ama"], (ON_WINDOWS if row["distro"] == "windows" else NEW).check(row), row["distro"])
        for row in read_lines("ama_images.jsonl")
    ]
    labelled = [(label, answer) for label, answer, _ in rows if label is not None]
    right = sum(answer.judgement.verdict is VERDICTS[label] for label, answer in labelled)
    wrongly = [
        answer.subject
        for label, answer, distribution in rows
        if answer.supported and label is not True and (label is False or distribution != "windows")
    ]
    assert wrongly == []
    assert right >= 0.99 * len(labelled)
