"""What holds of every shipped entry, so that a new one is checked by itself."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml

from onboarding.domain.catalog.support_table import Verdict
from onboarding.domain.failures.classification import Evidence, classify
from onboarding.domain.machine.machine_facts import OsType
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import checker

ROOT = Path(__file__).parents[3]
CATALOGUE = load_catalogue()
FILES = sorted((ROOT / "onboarding/catalog").rglob("*.yaml"))
HANDLERS = {
    (each["publisher"], each["type"])
    for each in yaml.safe_load((ROOT / "simulator/arm/compute/handlers.yaml").read_text(encoding="utf-8"))
}


def test_each_file_has_the_name_of_its_entry_in_the_folder_of_its_system() -> None:
    named = {file.stem: file.parent.name for file in FILES}
    assert named == {entry.name: str(entry.os_type).lower() for entry in CATALOGUE.values()}
    assert len(CATALOGUE) >= 23


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_each_entry_says_where_its_facts_come_from(name: str) -> None:
    entry = CATALOGUE[name]
    assert entry.sources
    dates = [each.date for each in entry.sources]
    dates += [each.date for each in entry.support_tables.values()]
    dates += [each.date for each in entry.errors.editions]
    assert all(date.fromisoformat(each) for each in dates)
    assert entry.logs, "`onboard logs` has something to read"
    assert entry.version.count(".") == 1, "VMs take major.minor"
    assert (entry.publisher, entry.type) in HANDLERS, "the simulator knows its handler"


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_what_an_entry_needs_is_for_the_same_system(name: str) -> None:
    entry = CATALOGUE[name]
    assert {CATALOGUE[each].os_type for each in entry.needs.extensions} <= {entry.os_type}


def test_all_but_the_retired_agent_come_for_both_systems() -> None:
    """A policy names one for each operating system."""
    kinds: dict[str, set[OsType]] = {}
    for entry in CATALOGUE.values():
        kinds.setdefault(entry.name.rpartition("-")[0], set()).add(entry.os_type)
    assert [kind for kind, systems in kinds.items() if len(systems) == 1] == ["oms-agent"]


def test_the_end_of_an_extension_is_named_with_its_day() -> None:
    named = {name: entry.retired for name, entry in CATALOGUE.items() if entry.retirement_date > "2026-11-29"}
    assert named == {
        f"dependency-agent-{os.lower()}": f"The support of Dependency agent for {os} ends on 2028-06-30"
        for os in ("Linux", "Windows")
    }


def test_no_entry_asks_for_a_secret_in_the_public_half() -> None:
    secret = ("key", "token", "password", "script")
    for entry in CATALOGUE.values():
        names = [name for name in entry.settings.properties or {} if name.lower().endswith(secret)]
        assert set(names) <= {"script"}, entry.name


@pytest.mark.parametrize(
    ("name", "urn", "supported"),
    [
        ("dependency-agent-linux", "Canonical:0001-com-ubuntu-server-focal:20_04-lts", True),
        ("dependency-agent-linux", "Canonical:0001-com-ubuntu-server-jammy:22_04-lts", False),
        ("dependency-agent-linux", "SUSE:sles-12-sp5:gen2", True),
        ("dependency-agent-linux", "SUSE:sles-15-sp4:gen2", False),
        ("dependency-agent-linux", "RedHat:RHEL:8_9", True),
        ("dependency-agent-windows", "MicrosoftWindowsServer:WindowsServer:2022-datacenter", True),
        ("dependency-agent-windows", "MicrosoftWindowsServer:WindowsServer:2025-datacenter", False),
        ("change-tracking-linux", "Canonical:ubuntu-24_04-lts:server", True),
        ("change-tracking-linux", "Debian:debian-12:12-arm64", False),
        ("change-tracking-windows", "MicrosoftWindowsServer:WindowsServer:2025-datacenter", True),
        ("change-tracking-windows", "MicrosoftWindowsServer:WindowsServer:2008-R2-SP1", True),
        ("entra-login-linux", "Canonical:ubuntu-24_04-lts:server", True),
        ("entra-login-linux", "Canonical:ubuntu-24_04-lts:server-arm64", False),
        ("entra-login-linux", "RedHat:RHEL:7_9", True),
        ("entra-login-linux", "RedHat:RHEL:8_2", False),
        ("entra-login-linux", "OpenLogic:CentOS:7_9", False),
        ("entra-login-windows", "MicrosoftWindowsServer:WindowsServer:2025-datacenter", True),
        ("entra-login-windows", "MicrosoftWindowsServer:WindowsServer:2019-datacenter", False),
        ("custom-script-linux", "Canonical:0001-com-ubuntu-server-jammy:22_04-lts", True),
        ("custom-script-linux", "kinvolk:flatcar-container-linux-free:stable", None),
        ("custom-script-windows", "MicrosoftWindowsServer:WindowsServer:2016-Datacenter", True),
        ("custom-script-windows", "MicrosoftWindowsServer:WindowsServer:2012-R2-Datacenter", False),
        ("key-vault-linux", "Canonical:ubuntu-24_04-lts:server", True),
        ("key-vault-linux", "Canonical:0001-com-ubuntu-server-focal:20_04-lts", False),
        ("key-vault-linux", "microsoftcblmariner:azure-linux-3:azure-linux-3-gen2", True),
        ("key-vault-windows", "MicrosoftWindowsServer:WindowsServer:2022-datacenter", True),
        ("key-vault-windows", "MicrosoftWindowsServer:WindowsServer:2019-datacenter", False),
        ("network-watcher-linux", "Canonical:ubuntu-24_04-lts:server", True),
        ("network-watcher-linux", "Debian:debian-12:12", False),
        ("network-watcher-windows", "MicrosoftWindowsServer:WindowsServer:2012-Datacenter", True),
        ("network-watcher-windows", "MicrosoftWindowsServer:WindowsServer:2025-datacenter", False),
        ("machine-configuration-linux", "Debian:debian-12:12", True),
        ("machine-configuration-linux", "MicrosoftWindowsServer:WindowsServer:2025-datacenter", False),
        ("defender-for-endpoint-windows", "MicrosoftWindowsServer:WindowsServer:2025-datacenter", True),
    ],
)
def test_images_are_judged_by_the_entrys_default_table(name: str, urn: str, supported: bool | None) -> None:
    verdicts = {True: Verdict.SUPPORTED, False: Verdict.UNSUPPORTED, None: Verdict.UNKNOWN}
    assert checker(CATALOGUE[name].support_table("")).check(urn).judgement.verdict == verdicts[supported]


def test_entra_login_for_windows_has_a_second_table_of_what_the_handler_takes() -> None:
    wider = checker(CATALOGUE["entra-login-windows"].support_table("2025-12-handler"))
    server = "MicrosoftWindowsServer:WindowsServer"
    verdicts = [wider.check(f"{server}:{sku}").judgement.verdict for sku in ("2019-datacenter", "2016-Datacenter")]
    assert verdicts == [Verdict.SUPPORTED, Verdict.UNSUPPORTED]


@pytest.mark.parametrize(
    ("name", "text", "cause", "code"),
    [
        (
            "entra-login-linux",
            "[ExtensionOperationError] Non-zero exit code: 22, ./installer.sh install",
            "identity-missing",
            22,
        ),
        ("entra-login-linux", "Non-zero exit code: 23", "already-installed-other-version", 23),
        ("entra-login-windows", "failed with exit code -2145648574", "identity-missing", None),
        ("entra-login-windows", "DSREG_AUTOJOIN_DISC_FAILED", "no-connectivity", None),
        ("key-vault-linux", "Attempt to get non-existent AuthConfig", "bad-configuration", None),
        ("dependency-agent-linux", "Unsupported kernel version: 5.15.0-1-azure", "unsupported-os", None),
        ("custom-script-linux", "processing file downloads failed: unexpected status code", "download-failed", None),
        (
            "defender-for-endpoint-linux",
            "defenderForEndpointOnboardingScript does not exist",
            "bad-configuration",
            None,
        ),
    ],
)
def test_failures_have_the_cause_that_the_entry_tells(name: str, text: str, cause: str, code: int | None) -> None:
    failure = classify(Evidence(message=text), CATALOGUE[name].errors, datetime(2026, 11, 29, tzinfo=UTC))
    assert failure.cause == cause
    assert code in (None, failure.exit_code)
