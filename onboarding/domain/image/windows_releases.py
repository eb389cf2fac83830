"""The releases of Windows: how images, guest agents, tables and people write them, and which is newer.

A release is written `Server 2012 R2`, `Server 1709`, `8.1`, `10` or `10 21H2`; an empty text is an unknown one.
The releases are data (`windows_releases.yaml`). No name makes this module raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from onboarding.domain.errors import ConfigurationError

SERVER = "Server "

_JOINT = "[-_. ]{0,3}"
_WINDOWS = "(?:windows|(?<![a-z])win|(?<![a-z])ws)"
_SERVER = "(?:server|srv|svr)"
# What may stand between the word for Windows and the release.
_FILLERS = "(?:server|srv|svr|datacenter|dc|standard|std|enterprise|core|client|desktop|pro|os|vm|image|version)"
# 2022-06 and 2022.06.01 are dates, and so is 20220601.
_YEAR_ENDS = r"(?!\d|[-_.](?:0[1-9]|1[0-2])(?!\d))"
# 22h2 is a client's version, and a number that goes on behind a dot is another product's.
_NUMBER_ENDS = r"(?!\d|[._]\d|h\d)"
_R2 = f"(?P<r2>{_JOINT}r2(?![a-z0-9]|[-_.]?\\d)|r2)?"
_R2_APART = re.compile(r"(?<![a-z0-9])r2(?![a-z0-9])")
_BUILD = re.compile(r"(?<![\d.])(?:6\.[0-3]|10\.0)\D{1,10}(?P<build>\d{4,5})(?!\d)")
_MARKS = re.compile(r" ?\((?:r|tm|c)\)|[^a-z0-9._-]+")
_APART = re.compile(r"[-_ ]+")
_DIGIT = re.compile(r"[0-9]")
_ALONE = re.compile(r"1[01](?![\d._])")
_NEWEST = 10**6  # the last build of the newest client, which has no last one yet


class WindowsReleases(Struct, frozen=True, eq=False):
    """`windows_releases.yaml`, compiled."""

    spans: Mapping[str, tuple[int, int]]  # by release: its first and its last build
    by_build: Mapping[int, tuple[str, ...]]  # the releases that have a build
    written: Mapping[str, str]  # releases by how tables and people write them, in lower case
    others: frozenset[int]  # builds that Azure Stack HCI or Azure Local has too
    worded: tuple[re.Pattern[str], ...]  # server releases behind the word for Windows
    beside_datacenter: re.Pattern[str]  # server releases before the word datacenter
    bare: re.Pattern[str]  # server releases in a sku whose offer names nothing but Windows
    semiannual: re.Pattern[str]  # server releases such as 1709
    clients: re.Pattern[str]  # client releases
    versions: re.Pattern[str]  # versions of clients, such as 22h2
    version_words: Mapping[str, str]  # other words for these versions
    unlike: re.Pattern[str]  # names that look like Windows and are another product
    offers: re.Pattern[str]  # offers that name nothing but Windows
    client_publishers: frozenset[str]  # publishers that publish only clients

    def of_names(self, publisher: str, offer: str, sku: str) -> str:
        """The release that the names of a Windows image say; empty if they say none, or several."""
        publisher, offer, sku = (name.strip().lower() for name in (publisher, offer, sku))
        if self.unlike.search(f"{offer}/{sku}"):
            return ""
        found = {*self._releases_in(sku, bare=bool(self.offers.fullmatch(offer))), *self._releases_in(offer)}
        if len(found) > 1 or any(release.startswith(SERVER) for release in found):
            return found.pop() if len(found) == 1 else ""
        version = self._version_in(sku) or self._version_in(offer)
        if not found and version and publisher in self.client_publishers:
            found = {name.partition(" ")[0] for name in self.spans if name.endswith(f" {version}")} - {SERVER.strip()}
        return self._with_version(found.pop(), version) if len(found) == 1 else ""

    def of_guest(self, os_name: str, os_version: str) -> str:
        """The release that a guest agent reports. Its words and its build must agree, except that Windows 11 calls
        itself 10: then the build counts. A build alone is enough if only one release has it."""
        name = _MARKS.sub(" ", os_name.lower())
        if self.unlike.search(name):
            return ""
        match = _BUILD.search(os_version) or _BUILD.search(os_name)
        build = int(match["build"]) if match else 0
        named = {*self._releases_in(name)}
        releases = self.by_build.get(build, ())
        if len(named) > 1:
            return ""
        if named:
            release = self._with_version(named.pop(), self._version_in(name))
            return self._confirmed(release, build, releases)
        if "server" in name:
            releases = tuple(each for each in releases if each.startswith(SERVER))
        elif build in self.others:
            return ""
        return releases[0] if len(releases) == 1 else ""

    def named(self, text: str) -> str:
        """The release in a person's words: `2012 R2`, `Server 2012R2`, `Windows Server 2019`, `11`, `10 22H2`."""
        words = re.sub(r"(?<=\d)r2$", " r2", _APART.sub(" ", text.strip().lower()))
        return self.written.get(words.removeprefix("microsoft ").removeprefix("windows "), "")

    def includes(self, wider: str, release: str) -> bool:
        """Whether a release is `wider` or a version of it: `10` includes `10 21H2`; 2012 does not include 2012 R2."""
        return release == wider or (not wider.startswith(SERVER) and release.startswith(f"{wider} "))

    def at_least(self, release: str, least: str) -> bool | None:
        """Whether a release is `least` or newer, servers and clients apart; None if it is not exact enough."""
        if release.startswith(SERVER) != least.startswith(SERVER):
            return False
        (first, last), (bound, _) = self.spans[release], self.spans[least]
        return True if first >= bound else None if last >= bound else False

    def _releases_in(self, name: str, *, bare: bool = False) -> Iterator[str]:
        """Each release in a name, as often as it occurs. Patterns that cannot match are skipped."""
        if not _DIGIT.search(name):
            return
        worded, beside = "w" in name, "datacenter" in name
        patterns = (
            *(self.worded if worded else ()),
            *((self.beside_datacenter,) if beside else ()),
            *((self.bare,) if bare else ()),
        )
        years = [match for pattern in patterns for match in pattern.finditer(name)]
        apart = bool(years and _R2_APART.search(name))
        for match in years:
            yield from self._of_year(match, apart=apart)
        if not years and (worded or beside):
            for match in self.semiannual.finditer(name):
                yield self.written[next(filter(None, match.groups()))]
        for match in self.clients.finditer(name) if worded else ():
            digits = next(filter(None, match.groups()))
            yield "8.1" if digits.startswith("8") and digits != "8" else digits
        if bare and (alone := _ALONE.match(name)):
            yield alone.group()

    def _of_year(self, match: re.Match[str], *, apart: bool) -> Iterator[str]:
        release = f"{SERVER}20{match['year'].removeprefix('2k')[-2:]:0>2}"
        later = f"{release} R2"
        if later not in self.spans:
            yield release
        elif match["r2"]:
            yield later
        elif apart:
            yield from (release, later)  # 2012-datacenter-r2 may be either
        else:
            yield release

    def _version_in(self, name: str) -> str:
        """The version of a client in a name; empty without one, or with several."""
        words = {match.group() for match in self.versions.finditer(name)}
        found = {self.version_words.get(word, word.upper()) for word in words}
        return found.pop() if len(found) == 1 else ""

    def _with_version(self, release: str, version: str) -> str:
        finer = f"{release} {version}"
        return finer if version and not release.startswith(SERVER) and finer in self.spans else release

    def _confirmed(self, release: str, build: int, releases: tuple[str, ...]) -> str:
        """The release, unless the build belongs to another one; for a client with the version that the build has."""
        if release.startswith(SERVER):
            return release if not releases or release in releases else ""
        first, last = self.spans[release]
        clients = [each for each in releases if not each.startswith(SERVER)]
        if clients:
            finer = clients[0]
            agrees = self.includes(release, finer)
            return finer if agrees or (release.partition(" ")[0], finer.partition(" ")[0]) == ("10", "11") else ""
        if not build or first <= build <= last:
            return release
        return "11" if release == "10" and build >= self.spans["11"][0] else ""


def parse_releases(raw: Mapping[str, Any], place: str) -> WindowsReleases:
    """Compile the data; `place` names its file, for errors."""
    try:
        return _compile(raw)
    except (LookupError, StopIteration, ValueError, TypeError, AttributeError, re.error) as error:
        raise ConfigurationError(
            place, f"the Windows releases cannot be read: {error}", "follow the comment at the head of the file"
        ) from error


def _compile(raw: Mapping[str, Any]) -> WindowsReleases:
    builds = {f"{SERVER}{name}": tuple(listed) for name, listed in raw["server"].items()}
    builds |= {str(name): tuple(listed) for name, listed in raw["client"].items()}
    spans = {name: (listed[0], listed[-1]) for name, listed in builds.items()}
    wider = dict.fromkeys(name.partition(" ")[0] for name in raw["client"] if " " in name)
    for name in wider:
        versions = [spans[each] for each in spans if each.startswith(f"{name} ")]
        spans[name] = (versions[0][0], versions[-1][1])
    newest = next(reversed(wider))
    spans[newest] = (spans[newest][0], _NEWEST)
    by_build: dict[int, list[str]] = {}
    for name, listed in builds.items():
        for build in listed:
            by_build.setdefault(build, []).append(name)
    return WindowsReleases(
        spans=spans,
        by_build={build: tuple(names) for build, names in by_build.items()},
        written={name.lower(): name for name in spans}
        | {name.removeprefix(SERVER).lower(): name for name in spans if name.startswith(SERVER)},
        others=frozenset(raw["others"]),
        **_patterns(raw),
        version_words=raw["versions"],
        unlike=re.compile(_any(raw["unlike"])),
        offers=re.compile(_any(raw["offers"])),
        client_publishers=frozenset(raw["clients"]),
    )


def _patterns(raw: Mapping[str, Any]) -> dict[str, Any]:
    years, r2 = raw["years"], [name.removesuffix(" R2") for name in raw["server"] if name.endswith(" R2")]
    year = f"(?P<year>{_any((*years, *(f'2k0?{int(each[-2:])}' for each in years)))}){_R2}{_YEAR_ENDS}"
    short = f"(?P<year>{_any(each[-2:] for each in years if each not in r2)}){_R2}{_NUMBER_ENDS}"
    # A bare 12 may be any product's; 12 R2, and a number behind the word for a server, is a release of Windows.
    short_r2 = f"(?P<year>{_any(f'0?{int(each[-2:])}' for each in r2)})(?P<r2>{_JOINT}r2){_NUMBER_ENDS}"
    short_server = f"(?P<year>{_any(each[-2:] for each in years)}){_R2}{_NUMBER_ENDS}"
    semiannual = _any(each.lower() for each in raw["semiannual"])
    versions = {name.partition(" ")[2].lower() for name in raw["client"]} - {""} | set(raw["versions"])
    return {
        "worded": (
            re.compile(f"(?:{_WINDOWS}|(?<![a-z0-9])w)(?:{_JOINT}{_FILLERS}){{0,4}}{_JOINT}{year}"),
            re.compile(f"{_WINDOWS}{short}"),
            re.compile(f"{_WINDOWS}{short_r2}"),
            re.compile(f"(?:(?<![a-z])ws|{_WINDOWS}{_JOINT}{_SERVER}){_JOINT}{short_server}"),
        ),
        "beside_datacenter": re.compile(f"(?<![a-z0-9.]){year}(?={_JOINT}(?:sp\\d{_JOINT})?datacenter)"),
        "bare": re.compile(f"(?:^|(?<![a-z]){_SERVER}{_JOINT}){year}"),
        "semiannual": re.compile(
            f"(?:datacenter{_JOINT}core|{_WINDOWS}{_JOINT}{_SERVER}){_JOINT}({semiannual})(?![a-z0-9])"
            f"|(?<![a-z0-9])({semiannual}){_JOINT}datacenter"
        ),
        "clients": re.compile(
            f"(?:windows|(?<![a-z])win)(?:{_JOINT}(?:client|desktop|enterprise|pro|os)){{0,2}}{_JOINT}(1[01])"
            rf"(?!\d|[._]\d(?!\dh\d)|{_JOINT}(?:r2|sp\d))"
            # Behind a hyphen, 7 and 8 are often the number of what runs on Windows.
            rf"|(?:windows|(?<![a-z])win) ?(7|8[._]?1|8)(?!\d|[._]\d|{_JOINT}r2)"
            r"|windows[-_](7|8[._]1)(?=[-_](?:enterprise|pro|ultimate))"
            r"|(?<![a-z0-9])w(7|8[._]?1|8|1[01])(?:t(?![a-z0-9]))?(?![a-z0-9]|[._]\d)"
        ),
        "versions": re.compile(f"(?<![a-z0-9]){_any(sorted(versions))}(?![a-z0-9])"),
    }


def _any(patterns: Iterable[str]) -> str:
    return f"(?:{'|'.join(patterns)})"
