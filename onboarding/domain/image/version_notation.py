"""How names write versions: a pattern for each notation, and what its digits mean.

Publishers write Ubuntu 18.04 as `18.04`, `18_04`, `1804` and `18`, CentOS 7.9 as `7.9`, `7_9` and `79`, and SLES 12 SP5
as `12-SP5`, `12sp5` and `125`. Other digits (dates, sizes, counts) are not read as a version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct


class Notation(StrEnum):
    CALENDAR = "calendar"
    ENTERPRISE = "enterprise"
    SERVICE_PACK = "service-pack"
    DOTTED = "dotted"
    LEAP = "leap"
    NUMBER = "number"
    NONE = "none"


_NUMBERS = re.compile(r"\d{1,9}(?:\.\d{1,9})*", re.ASCII)

# A count of something: 16-cores, 64bit, 32gb.
_UNIT = r"[-_ ]?(?:bits?|[gmt]i?b|v?cpus?|v?cores?|users?|seats?|days?|hours?|months?|years?)(?![a-z])"
# What follows a version does not matter, except further digits and units, so endings such as -gen2 change nothing.
_END = rf"(?!\d|{_UNIT})"
# 16-04-2021 and 20-04-15 may be days; behind a dot the last is a build. 12-2016 may be a month.
_NO_DATE = r"(?!\d\d(?P<date>[._-])\d\d(?P=date)(?:19|20)\d\d(?!\d)|\d\d(?P<day>[_-])\d\d(?P=day)\d\d(?!\d))"
_NO_MONTH = r"(?!1[0-2][._-](?:19|20)\d\d(?!\d))"
_PATTERNS = {
    Notation.CALENDAR: rf"{_NO_DATE}{_NO_MONTH}(?P<major>\d\d)(?:[._-]?(?P<minor>04|10)(?:[._-]?\d)?)?{_END}",
    Notation.ENTERPRISE: rf"{_NO_MONTH}(?P<major>10|[5-9])(?:[._u-]?(?P<minor>1[01]|\d))?{_END}",
    Notation.SERVICE_PACK: (
        rf"{_NO_DATE}(?P<major>1\d)"
        rf"(?:[-_. ]?sp[-_. ]?(?P<minor>\d)|[._-](?P<point>[0-7])|(?P<pack>(?<=1[1256])[1-7]|(?<=16)0))?{_END}"
    ),
    Notation.DOTTED: rf"{_NO_DATE}(?P<major>\d{{1,2}})(?:[._-](?P<minor>\d{{1,2}}))?{_END}",
    Notation.LEAP: rf"(?P<major>15|42|1[1-3])(?:[._-]?(?P<minor>\d))?{_END}",
    Notation.NUMBER: rf"(?P<major>\d{{1,2}})(?:[._]0)?{_END}",
}


class VersionReader(Struct, frozen=True):
    """Reads versions of one distribution: its notation and the major numbers that exist."""

    notation: Notation
    lowest: int = 0
    highest: int = 99

    def pattern(self) -> str:
        """The expression of a version behind the distribution's word; empty if the distribution has no versions."""
        return _PATTERNS.get(self.notation, "")

    def full_pattern(self) -> str:
        """The expression of a version that no other number looks like; empty if the notation has no such form."""
        if self.notation is not Notation.CALENDAR:
            return ""
        return rf"{_NO_DATE}(?P<major>[12]\d)[._-](?P<minor>04|10)(?!\d)"

    def elsewhere_pattern(self) -> str:
        """The expression of a second version in a name: behind "to", as in names of upgrades, or by a form that is
        hardly a date, a build or a product's version. Empty if the distribution has no versions."""
        if not (number := self.pattern()):
            return ""
        if self.notation is not Notation.CALENDAR:
            return rf"(?<=[-_. ]to[-_. ]){number}"
        whole = r"(?<!\d)(?<!\d[._])(?=(?:1[3-9]|2\d)[._-](?:04|10)(?![._-]?\d))"
        return rf"(?:(?<=[-_. ]to[-_. ])|{whole}){number}"

    def version_of(self, match: re.Match[str]) -> str | None:
        """The version that the digits mean; None if no such release exists."""
        digits = match.groupdict()
        major = digits["major"]
        if not self.lowest <= int(major) <= self.highest:
            return None
        minor = _minor(digits)
        if minor is None and self.notation is Notation.CALENDAR and int(major) % 2 == 0:
            return f"{major}.04"  # a bare even year is the LTS release: ubuntu18 is 18.04
        return major if minor is None else f"{major}.{minor}"

    def is_whole(self, match: re.Match[str]) -> bool:
        """Whether the digits contain more than the major number."""
        return _minor(match.groupdict()) is not None


def _minor(digits: Mapping[str, str | None]) -> str | None:
    return digits.get("minor") or digits.get("point") or digits.get("pack")


def refines(version: str | None, other: str | None) -> bool:
    """Whether `version` is `other` or a more exact form of it: 7.9 refines 7, and anything refines None."""
    if other is None:
        return True
    return version is not None and (version == other or version.startswith(f"{other}."))


def at_least(version: str | None, least: str) -> bool | None:
    """Whether a version is `least` or newer, number by number; None if it is not exact enough: 8 may be 8.2."""
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
