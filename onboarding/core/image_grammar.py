"""Reads publisher, offer and sku of an image as its publisher means them.

The grammar is data (`data/image_grammar.yaml`); this module knows only how to apply it. It answers None for what the
names do not tell and never raises on a name, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from typing import Any

from onboarding.core.errors import ConfigurationError
from onboarding.core.release import Distribution
from onboarding.core.versions import Notation, VersionReader, compatible, refines

_JOINT = r"[-_. ]*"
_NO_LETTER_BEFORE = "(?<![a-z])"


@dataclass(frozen=True, slots=True)
class Names:
    """The three names of an image, lower case."""

    publisher: str
    offer: str
    sku: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What the names tell. `doubt` says why an answer was withheld, in words that follow "because"."""

    distribution: Distribution = Distribution.UNKNOWN
    version: str | None = None
    architecture: str | None = None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """How names write one distribution. `worded` finds the version behind its word, `bare` at the start of a sku
    of a publisher that makes only this one, `alone` in a sku that holds nothing else."""

    versions: VersionReader
    worded: re.Pattern[str] | None
    bare: re.Pattern[str] | None
    alone: re.Pattern[str] | None
    codenames: re.Pattern[str] | None
    codename_versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a publisher's name adds: `distribution` for the names that fit, if these images are all that
    (`certain`), or if the words are silent."""

    offer: re.Pattern[str]
    sku: re.Pattern[str]
    distribution: Distribution
    certain: bool

    def fits(self, names: Names) -> bool:
        return bool(self.offer.match(names.offer) and self.sku.match(names.sku))


@dataclass(frozen=True, slots=True)
class Grammar:
    """The whole of `image_grammar.yaml`, compiled."""

    words: re.Pattern[str]
    starts: re.Pattern[str]
    families: Mapping[Distribution, Family]
    publishers: Mapping[str, tuple[Rule, ...]]
    publisher_globs: tuple[tuple[re.Pattern[str], tuple[Rule, ...]], ...]
    architectures: tuple[tuple[str, re.Pattern[str]], ...]

    def read(self, publisher: str, offer: str, sku: str) -> Reading:
        """The release that these names tell."""
        names = Names(publisher.strip().lower(), offer.strip().lower(), sku.strip().lower())
        rule = self._rule_for(names)
        architecture = self._architecture_of(names)
        if rule is not None and rule.certain:
            if rule.distribution is Distribution.UNKNOWN:
                return Reading(architecture=architecture, doubt="this publisher's names do not tell the system below")
            return self._reading(rule.distribution, names, architecture, certain=True)
        named = self._distributions_in(names)
        if len(named) > 1:
            listed = " and ".join(sorted(named))
            return Reading(architecture=architecture, doubt=f"the name holds {listed}")
        if named:
            return self._reading(named.pop(), names, architecture, certain=False)
        return Reading(rule.distribution if rule else Distribution.UNKNOWN, None, architecture)

    def _rule_for(self, names: Names) -> Rule | None:
        rules = self.publishers.get(names.publisher)
        if rules is None:
            rules = next((found for glob, found in self.publisher_globs if glob.match(names.publisher)), ())
        return next((rule for rule in rules if rule.fits(names)), None)

    def _distributions_in(self, names: Names) -> set[Distribution]:
        """The sku is the image, the offer its family: where the sku names one distribution, the offer is not asked."""
        in_sku = self._words_in(names.sku)
        if len(in_sku) == 1:
            return in_sku
        in_offer = self._words_in(names.offer)
        return (in_sku & in_offer) or in_sku or in_offer

    def _words_in(self, name: str) -> set[Distribution]:
        found = (*self.words.finditer(name), *self.starts.finditer(name))
        return {Distribution(match.lastgroup) for match in found if match.lastgroup}

    def _reading(self, distribution: Distribution, names: Names, architecture: str | None, *, certain: bool) -> Reading:
        family = self.families[distribution]
        candidates = list(_versions(family, names, certain=certain))
        if not candidates:
            return Reading(distribution, None, architecture)
        version = candidates[0]
        for other in candidates[1:]:
            if not compatible(version, other):
                doubt = f"the names tell both version {version} and {other}"
                return Reading(distribution, None, architecture, doubt)
            version = other if refines(other, version) else version
        return Reading(distribution, version, architecture)

    def _architecture_of(self, names: Names) -> str | None:
        text = f"{names.offer}/{names.sku}"
        return next((name for name, pattern in self.architectures if pattern.search(text)), None)


def _versions(family: Family, names: Names, *, certain: bool) -> Iterator[str]:
    """Every version that the names tell, the image's own name first; codenames only where no number does."""
    found = False
    for version in _numbers(family, names, certain=certain):
        found = True
        yield version
    if not found and family.codenames is not None:
        for name in (names.sku, names.offer):
            for match in family.codenames.finditer(name):
                yield family.codename_versions[match.group(0)]


def _numbers(family: Family, names: Names, *, certain: bool) -> Iterator[str]:
    patterns = ((family.worded, names.sku), (family.bare if certain else family.alone, names.sku))
    for pattern, name in (*patterns, (family.worded, names.offer)):
        if pattern is None:
            continue
        for match in pattern.finditer(name):
            if version := family.versions.version_of(match):
                yield version


def parse_grammar(raw: Mapping[str, Any], place: str) -> Grammar:
    """Compile the grammar's data; `place` names its file, for errors."""
    try:
        return _compile(raw)
    except (KeyError, ValueError, TypeError, re.error) as error:
        raise ConfigurationError(place, f"is no image grammar ({error})", "see the head of the file") from error


def _compile(raw: Mapping[str, Any]) -> Grammar:
    distributions = {Distribution(name): spec for name, spec in raw["distributions"].items()}
    endings = "|".join(raw["endings"])
    exact: dict[str, tuple[Rule, ...]] = {}
    globs: list[tuple[re.Pattern[str], tuple[Rule, ...]]] = []
    for publisher, rules in raw["publishers"].items():
        compiled = tuple(_rule(rule) for rule in rules)
        if "*" in publisher:
            globs.append((re.compile(translate(publisher)), compiled))
        else:
            exact[publisher] = compiled
    return Grammar(
        words=re.compile(_named(distributions, "words")),
        starts=re.compile(f"{_NO_LETTER_BEFORE}(?:{_named(distributions, 'starts')})"),
        families={name: _family(spec, endings) for name, spec in distributions.items()},
        publishers=exact,
        publisher_globs=tuple(globs),
        architectures=tuple((name, re.compile(_any(words))) for name, words in raw["architectures"].items()),
    )


def _family(spec: Mapping[str, Any], endings: str) -> Family:
    lowest, highest = spec.get("majors", (0, 99))
    versions = VersionReader(Notation(spec["notation"]), lowest, highest)
    number = versions.pattern()
    fillers = "|".join(sorted(spec.get("fillers", ()), key=len, reverse=True))
    between = f"(?:{_JOINT}(?:{fillers}))*{_JOINT}" if fillers else _JOINT
    codenames = spec.get("codenames", {})
    return Family(
        versions=versions,
        worded=re.compile(f"(?:{_word(spec)}){between}{number}") if number else None,
        bare=re.compile(f"^(?:{fillers}|gen[12]|[-_. ])*{number}") if number and fillers else None,
        alone=re.compile(rf"^{number}(?:{_JOINT}(?:{endings}))*$") if number else None,
        codenames=re.compile(rf"(?<![a-z])(?:{'|'.join(codenames)})(?![a-z])") if codenames else None,
        codename_versions=codenames,
    )


def _rule(raw: Mapping[str, str]) -> Rule:
    certain = "is" in raw
    return Rule(
        offer=re.compile(translate(raw.get("offer", "*"))),
        sku=re.compile(translate(raw.get("sku", "*"))),
        distribution=Distribution(raw["is"] if certain else raw["otherwise"]),
        certain=certain,
    )


def _named(distributions: Mapping[Distribution, Mapping[str, Any]], key: str) -> str:
    """One expression for all distributions, whose group tells which of them it found."""
    return "|".join(f"(?P<{name}>{_any(spec[key])})" for name, spec in distributions.items() if spec.get(key))


def _word(spec: Mapping[str, Any]) -> str:
    starts = (f"{_NO_LETTER_BEFORE}{pattern}" for pattern in spec.get("starts", ()))
    return _any((*spec.get("words", ()), *starts))


def _any(patterns: Iterable[str]) -> str:
    return "|".join(f"(?:{pattern})" for pattern in patterns)
