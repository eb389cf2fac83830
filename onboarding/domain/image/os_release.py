"""The operating system of a machine, as far as it is known, and who told.

A release with distribution `unknown` or without a version is an answer too: it says in `reason` what would settle it.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from onboarding.domain.machine.machine_facts import OsType


class OsSource(StrEnum):
    """Who told; each is asked only when the one before is silent. The name of a person's own image is free text: it is
    told, and decides nothing."""

    OVERRIDE = "override"
    IMAGE = "marketplace image"
    PLAN = "plan"
    AGENT = "guest agent"
    NAME = "own image's name"
    DISK = "OS disk"
    NONE = "none"


class Distribution(StrEnum):
    """The distributions we name; `OTHER` is a known system that is none of these."""

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
    """Distribution, version and architecture, and the witness that told them.

    `version` has the numbers that the witness gave (`7` or `7.9`; SLES 12 SP5 is `12.5`; of Windows a build such as
    `10.0.17763`) and is None where it gave none. `product` is the release of Windows, such as `Server 2019` or
    `10 22H2`; it is empty for every other system and where nobody told. `needs_agent` is true when the guest agent
    has not spoken yet and could tell more than is known here."""

    distribution: str
    version: str | None
    architecture: str | None
    os_type: OsType
    witness: OsSource
    reason: str
    needs_agent: bool = False
    product: str = ""

    @property
    def known(self) -> bool:
        return self.distribution != Distribution.UNKNOWN

    @property
    def title(self) -> str:
        """What a person calls it: `Ubuntu 16.04`, `CentOS 7.9 (arm64)`, `Windows Server 2019`."""
        return title_of(self.distribution, self.product or self.version, self.architecture)


def title_of(distribution: str, version: str | None, architecture: str | None = None) -> str:
    known = distribution in Distribution
    name = TITLES[Distribution(distribution)] if known else distribution
    shown = f"{name} {version}" if version else name
    return f"{shown} ({architecture})" if architecture == "arm64" else shown


def os_type_of(distribution: str) -> OsType:
    """The OS type that goes with a distribution; ARM calls FreeBSD Linux."""
    if distribution == Distribution.WINDOWS:
        return OsType.WINDOWS
    return OsType.UNKNOWN if distribution == Distribution.UNKNOWN else OsType.LINUX
