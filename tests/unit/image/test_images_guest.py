"""What guest agents report of their system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.image.os_identification import OsSource
from onboarding.domain.image.os_release import Distribution
from tests.reference import release_of_guest


@pytest.mark.parametrize(
    ("os_name", "os_version", "distribution", "version"),
    [
        ("ubuntu", "18.04", "ubuntu", "18.04"),
        ("Ubuntu", "14.04", "ubuntu", "14.04"),
        ("redhat", "8.10", "rhel", "8.10"),
        ("rhel", "9.3", "rhel", "9.3"),
        ("Red Hat Enterprise Linux", "7.9", "rhel", "7.9"),
        ("centos", "7.6.1810", "centos", "7.6"),
        ("oracle", "7.9", "oracle", "7.9"),
        ("Oracle Linux Server", "8.6", "oracle", "8.6"),
        ("debian", "10.13", "debian", "10.13"),
        ("debian", "buster/sid", "debian", None),
        ("suse", "12", "sles", "12"),
        ("sles", "15.3", "sles", "15.3"),
        ("sles", "12-SP5", "sles", "12.5"),
        ("sles_sap", "15.4", "sles", "15.4"),
        ("SUSE Linux Enterprise Server 12 SP3", "", "sles", "12.3"),
        ("suse", "42.3", "opensuse", "42.3"),
        ("opensuse-leap", "15.2", "opensuse", "15.2"),
        ("almalinux", "8.7", "almalinux", "8.7"),
        ("rocky", "9.1", "rocky", "9.1"),
        ("mariner", "2.0.20230101", "azurelinux", "2.0"),
        ("azurelinux", "3.0", "azurelinux", "3.0"),
        ("FreeBSD", "12.1-RELEASE", "freebsd", "12.1"),
        ("flatcar", "3510.2.1", "flatcar", "3510.2"),
        ("alpine", "", "other", None),
        ("openbsd", "20.0", "other", "20.0"),
        ("iosxe", "csr1000v", "other", None),
        ("Windows Server 2019 Datacenter", "10.0.17763.1217", "windows", "10.0.17763"),
        ("Windows Server 2012 Datacenter", "Microsoft Windows NT 6.2.9200.0", "windows", "6.2.9200"),
        ("Windows Server 2016 Datacenter", "", "windows", None),
        ("Microsoft Hyper-V Server 2019", "10.0.17763", "windows", "10.0.17763"),
        ("Azure Stack HCI", "10.0.20349.1", "windows", "10.0.20349"),
        ("", "", "unknown", None),
        ("unknown", "1.0", "unknown", None),
        ("Linux", "5.4", "unknown", None),
    ],
)
def test_a_report_is_read(os_name: str, os_version: str, distribution: str, version: str | None) -> None:
    release = release_of_guest(os_name, os_version)
    assert (release.distribution, release.version) == (distribution, version)
    assert release.source is (OsSource.AGENT if distribution != "unknown" else OsSource.NONE)


@given(st.text(), st.text())
def test_no_report_makes_it_raise(os_name: str, os_version: str) -> None:
    assert release_of_guest(os_name, os_version).distribution in Distribution
