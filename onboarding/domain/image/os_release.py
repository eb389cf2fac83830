"""The operating system of a machine, as far as it is known, and the source that it is known from.

A release with distribution `unknown` or without a version is an answer too: its reason says what would identify it.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from onboarding.domain.machine.machine_facts import OsType


class OsSource(StrEnum):
    """The source of an OS release. `os_identification` has their order."""

    OVERRIDE = "override"
    IMAGE = "marketplace image"
    PLAN = "plan"  # the purchase plan
    AGENT = "guest agent"
    NAME = "own image's name"  # free text: it is reported and decides nothing
    DISK = "OS disk"
    NONE = "none"  # no source has an answer


class Distribution(StrEnum):
    """The known distributions; `OTHER` is a system that a source names and that is not among them."""

    UBUNTU = "ubuntu"
    DEBIAN = "debian"
    RHEL = "rhel"
    CENTOS = "centos"
    ORACLE = "oracle"
    SLES = "sles"
    OPENSUSE = "opensuse"
    ALMALINUX = "almalinux"
    ROCKY = "rocky"
    FEDORA = "fedora"
    AZURELINUX = "azurelinux"
    FLATCAR = "flatcar"
    COREOS = "coreos"
    FREEBSD = "freebsd"
    WINDOWS = "windows"
    OTHER = "other"
    UNKNOWN = "unknown"


TITLES = {
    Distribution.UBUNTU: "Ubuntu",
    Distribution.DEBIAN: "Debian",
    Distribution.RHEL: "Red Hat Enterprise Linux",
    Distribution.CENTOS: "CentOS",
    Distribution.ORACLE: "Oracle Linux",
    Distribution.SLES: "SUSE Linux Enterprise Server",
    Distribution.OPENSUSE: "openSUSE",
    Distribution.ALMALINUX: "AlmaLinux",
    Distribution.ROCKY: "Rocky Linux",
    Distribution.FEDORA: "Fedora",
    Distribution.AZURELINUX: "Azure Linux",
    Distribution.FLATCAR: "Flatcar",
    Distribution.COREOS: "CoreOS",
    Distribution.FREEBSD: "FreeBSD",
    Distribution.WINDOWS: "Windows",
    Distribution.OTHER: "a system of another kind",
    Distribution.UNKNOWN: "an unknown system",
}


class OsRelease(Struct, frozen=True):
    """What is known about the operating system of a machine."""

    distribution: str  # a `Distribution`, or another name from a person's label
    version: str | None  # `7`, `7.9`; `12.5` for SLES 12 SP5; a build such as `10.0.17763` for Windows; None if unknown
    architecture: str | None  # `x86_64` or `arm64`; None if unknown
    os_type: OsType
    source: OsSource
    reason: str  # what the source says, in words for people
    needs_agent: bool = False  # the guest agent has not reported yet and could say more
    product: str = ""  # the release of Windows, such as `Server 2019` or `10 22H2`; empty if unknown or not Windows

    @property
    def known(self) -> bool:
        return self.distribution != Distribution.UNKNOWN

    @property
    def title(self) -> str:
        """The name for people: `Ubuntu 16.04`, `CentOS 7.9 (arm64)`, `Windows Server 2019`."""
        return title_of(self.distribution, self.product or self.version, self.architecture)


def title_of(distribution: str, version: str | None, architecture: str | None = None) -> str:
    known = distribution in Distribution
    name = TITLES[Distribution(distribution)] if known else distribution
    shown = f"{name} {version}" if version else name
    return f"{shown} ({architecture})" if architecture == "arm64" else shown


def os_type_of(distribution: str) -> OsType:
    """The OS type of a distribution; ARM counts FreeBSD as Linux."""
    if distribution == Distribution.WINDOWS:
        return OsType.WINDOWS
    return OsType.UNKNOWN if distribution == Distribution.UNKNOWN else OsType.LINUX
