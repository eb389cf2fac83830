"""Reads the operating system that a guest agent reports: `instanceView.osName` and `osVersion`.

Agents report what Python's platform module or `/etc/os-release` contains, so one distribution has several names
(`redhat`, `rhel`; `suse`, `sles`). Never raises; an unknown name counts as a system of another kind.
"""

from __future__ import annotations

import re

from onboarding.domain.image.os_release import Distribution

# Prefixes of the folded name, the longer before the shorter.
_NAMES: tuple[tuple[str, Distribution], ...] = (
    ("ubuntu", Distribution.UBUNTU),
    ("debian", Distribution.DEBIAN),
    ("redhat", Distribution.RHEL),
    ("rhel", Distribution.RHEL),
    ("centos", Distribution.CENTOS),
    ("oraclelinux", Distribution.ORACLE),
    ("oracle", Distribution.ORACLE),
    ("opensuse", Distribution.OPENSUSE),
    ("suse", Distribution.SLES),
    ("sles", Distribution.SLES),
    ("slehpc", Distribution.SLES),
    ("almalinux", Distribution.ALMALINUX),
    ("alma", Distribution.ALMALINUX),
    ("rocky", Distribution.ROCKY),
    ("fedora", Distribution.FEDORA),
    ("mariner", Distribution.AZURELINUX),
    ("cblmariner", Distribution.AZURELINUX),
    ("commonbaselinux", Distribution.AZURELINUX),
    ("azurelinux", Distribution.AZURELINUX),
    ("microsoftazurelinux", Distribution.AZURELINUX),
    ("flatcar", Distribution.FLATCAR),
    ("coreos", Distribution.COREOS),
    ("containerlinuxbycoreos", Distribution.COREOS),
    ("freebsd", Distribution.FREEBSD),
    ("windows", Distribution.WINDOWS),
    ("microsoftwindows", Distribution.WINDOWS),
    ("hyperv", Distribution.WINDOWS),
    ("microsofthyperv", Distribution.WINDOWS),
    ("azurestack", Distribution.WINDOWS),
    ("azurelocal", Distribution.WINDOWS),
    ("microsoftazurestack", Distribution.WINDOWS),
)
# What agents write when they do not know the name.
_UNKNOWN_NAMES = frozenset({"", "unknown", "linux", "na", "none", "null", "notavailable"})

_SERVICE_PACK = re.compile(r"(\d+)[-_. ]*sp[-_. ]*(\d+)", re.IGNORECASE)
_LINUX_VERSION = re.compile(r"\d+(?:\.\d+)?")
_WINDOWS_VERSION = re.compile(r"\d+(?:\.\d+){0,2}")
_FOLD = re.compile(r"[^a-z0-9]")


def read_guest(os_name: str, os_version: str) -> tuple[Distribution, str | None]:
    """Distribution and version that the agent reports; `unknown` if it reports nothing."""
    folded = _FOLD.sub("", os_name.lower())
    if folded in _UNKNOWN_NAMES:
        return Distribution.UNKNOWN, None
    distribution = next((found for prefix, found in _NAMES if folded.startswith(prefix)), Distribution.OTHER)
    version = _version(distribution, os_version) or _version(distribution, _behind_name(os_name))
    if distribution is Distribution.SLES and folded.startswith("suse") and version and _is_opensuse(version):
        distribution = Distribution.OPENSUSE
    return distribution, version


def _version(distribution: Distribution, text: str) -> str | None:
    """`7.6.1810` is 7.6, `12-SP3` is 12.3, `Microsoft Windows NT 6.2.9200.0` is 6.2.9200."""
    if distribution is Distribution.WINDOWS:
        match = _WINDOWS_VERSION.search(text)
        return match.group(0) if match else None
    if pack := _SERVICE_PACK.match(text.strip()):
        return f"{pack[1]}.{pack[2]}"
    match = _LINUX_VERSION.match(text.strip())
    return match.group(0) if match else None


def _behind_name(os_name: str) -> str:
    """The version in the name, where some agents put it: `SUSE Linux Enterprise Server 12 SP3`. Not for Windows, whose
    name holds a product year."""
    found = re.search(r"\d.*", os_name)
    return found.group(0) if found and "windows" not in os_name.lower() else ""


def _is_opensuse(version: str) -> bool:
    """Old agents call both `suse`; only openSUSE had 13.x and 42.x."""
    return version.partition(".")[0] in {"13", "42"}
