"""How a version is written in a name: one pattern a notation, and what its digits mean.

Publishers write Ubuntu 18.04 as `18.04`, `18_04`, `1804` and `18`, CentOS 7.9 as `7.9`, `7_9` and `79`, and SLES 12 SP5
as `12-SP5` and `12sp5`. Digits that are not a version of the distribution are not read as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Notation(StrEnum):
    CALENDAR = "calendar"
    ENTERPRISE = "enterprise"
    SERVICE_PACK = "service-pack"
    DOTTED = "dotted"
    NUMBER = "number"
    NONE = "none"


_NUMBERS = re.compile(r"\d{1,9}(?:\.\d{1,9})*", re.ASCII)

# Nothing here looks at what follows except for further digits, so that endings such as -gen2 change nothing.
_PATTERNS = {
    Notation.CALENDAR: r"(?P<major>\d\d)(?:[._-]?(?P<minor>04|10)(?:[._-]?\d)?)?(?!\d)",
    Notation.ENTERPRISE: r"(?P<major>10|[5-9])(?:[._u-]?(?P<minor>1[01]|\d))?(?![\d]|[-_]?bit)",
    Notation.SERVICE_PACK: r"(?P<major>1\d)(?:[-_. ]?sp[-_. ]?(?P<minor>\d)|[._-](?P<point>[0-7]))?(?!\d)",
    Notation.DOTTED: r"(?P<major>\d{1,2})(?:[._-](?P<minor>\d{1,2}))?(?!\d)",
    Notation.NUMBER: r"(?P<major>\d{1,2})(?!\d)",
}


@dataclass(frozen=True, slots=True)
class VersionReader:
    """Reads versions of one distribution: its notation and the major numbers that exist."""

    notation: Notation
    lowest: int = 0
    highest: int = 99

    def pattern(self) -> str:
        """The expression to embed behind the words that may stand before the number; empty where there is none."""
        return _PATTERNS.get(self.notation, "")

    def version_of(self, match: re.Match[str]) -> str | None:
        """What the digits mean, or None where no such release exists."""
        digits = match.groupdict()
        major = digits["major"]
        if not self.lowest <= int(major) <= self.highest:
            return None
        minor = digits.get("minor") or digits.get("point")
        if minor is None and self.notation is Notation.CALENDAR and int(major) % 2 == 0:
            return f"{major}.04"  # a bare even year is the LTS release: ubuntu18 is 18.04
        return major if minor is None else f"{major}.{minor}"


def refines(version: str | None, other: str | None) -> bool:
    """Whether `version` says the same as `other`, or more: 7.9 refines 7, and anything refines None."""
    if other is None:
        return True
    return version is not None and (version == other or version.startswith(f"{other}."))


def at_least(version: str | None, least: str) -> bool | None:
    """Whether a version is `least` or newer, number by number; None where it is too coarse to tell: 8 may be 8.2."""
    if version is None or not _NUMBERS.fullmatch(version):
        return None
    have, wanted = ([int(number) for number in each.split(".")] for each in (version, least))
    shared = min(len(have), len(wanted))
    if have[:shared] != wanted[:shared]:
        return have[:shared] > wanted[:shared]
    return None if any(wanted[shared:]) else True


def compatible(one: str | None, other: str | None) -> bool:
    """Whether both can be the version of one system."""
    return refines(one, other) or refines(other, one)
