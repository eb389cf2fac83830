"""The systems that a handler supports: versions are matched number by number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.arm.compute.artifacts import Artifacts
from simulator.arm.compute.guests import guest_of
from simulator.arm.options import Options

SERVER = "Windows Server"
OLD = Artifacts(Options().newest)
NEW = Artifacts({})


@pytest.mark.parametrize(
    ("name", "version", "in_2017", "in_2023"),
    [
        ("ubuntu", "16.04", True, True),
        ("ubuntu", "12.04", True, False),
        ("ubuntu", "22.04", False, True),
        ("ubuntu", "16", False, False),
        ("centos", "7.9.2009", True, True),
        ("redhat", "5.11", True, False),
        ("sles_sap", "12.3", True, True),
        ("opensuse-leap", "15.4", False, True),
        ("almalinux", "8.6", False, True),
        ("debian", "8.11", True, True),
        ("windows", "10", False, False),
        ("", "", False, False),
    ],
)
def test_the_oms_handler_of_2017_and_of_2023(name: str, version: str, in_2017: bool, in_2023: bool) -> None:
    seen = []
    for artifacts in (OLD, NEW):
        handler = artifacts.find("microsoft.enterprisecloud.monitoring", "omsagentforlinux")
        assert handler is not None
        release = artifacts.resolve(handler, "1.3", auto_upgrade=True)
        assert release is not None
        seen.append(release.installs_on(name, version, "x64"))
        assert not release.installs_on(name, version, "arm64")
    assert seen == [in_2017, in_2023]


def test_without_automatic_upgrade_the_minor_version_must_exist() -> None:
    handler = NEW.find("Microsoft.EnterpriseCloud.Monitoring", "OmsAgentForLinux")
    assert handler is not None
    assert NEW.resolve(handler, "1.4", auto_upgrade=False) is None
    pinned = NEW.resolve(handler, "1.3", auto_upgrade=False)
    assert pinned is not None
    assert pinned.version.startswith("1.3.")
    assert NEW.resolve(handler, "2.0", auto_upgrade=True) is None


@given(st.text(), st.text())
def test_any_system_gets_an_answer(name: str, version: str) -> None:
    handler = OLD.find("Microsoft.EnterpriseCloud.Monitoring", "OmsAgentForLinux")
    assert handler is not None
    assert isinstance(handler.releases[0].installs_on(name, version, "x64"), bool)


@pytest.mark.parametrize(
    ("publisher", "offer", "sku", "system"),
    [
        ("Canonical", "UbuntuServer", "16.04-LTS", ("ubuntu", "16.04")),
        ("canonical", "ubuntu-24_04-lts", "server", ("ubuntu", "24.04")),
        ("RedHat", "RHEL", "7.9", ("redhat", "7.9")),
        ("SUSE", "sles-12-sp5", "gen2", ("sles", "12.5")),
        ("OpenLogic", "CentOS", "7.5", ("centos", "7.5")),
        ("unheard-of", "x", "y", ("ubuntu", "22.04")),
        ("MicrosoftWindowsServer", "WindowsServer", "2019-Datacenter", (f"{SERVER} 2019 Datacenter", "10.0.17763")),
        ("MicrosoftWindowsServer", "WindowsServer", "2012-R2-Datacenter", (f"{SERVER} 2012 R2 Datacenter", "6.3.9600")),
        ("microsoftwindowsserver", "windowsserver", "x", (f"{SERVER} 2022 Datacenter", "10.0.20348")),
        ("MicrosoftWindowsDesktop", "windows-11", "win11-23h2-pro", ("Windows 11 Enterprise", "10.0.22631")),
    ],
)
def test_a_vm_made_over_http_runs_the_system_of_its_image_name(
    publisher: str, offer: str, sku: str, system: tuple[str, str]
) -> None:
    image = {"publisher": publisher, "offer": offer, "sku": sku}
    guest = guest_of({"properties": {"storageProfile": {"imageReference": image}}})
    assert (guest.os_name, guest.os_version) == system
