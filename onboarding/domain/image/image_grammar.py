"""Reads the operating system from the publisher, offer and sku of an image.

The grammar is data (`image_grammar.yaml`); this module only applies it. What the names do not say stays
unknown, and no name makes it raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import translate
from typing import Any

from msgspec import Struct

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.image.os_release import Distribution
from onboarding.domain.image.version_notation import Notation, VersionReader, compatible, refines
from onboarding.domain.lazy_pattern import Pattern

_JOINT = r"[-_. ]*"
_NO_LETTER_BEFORE = "(?<![a-z])"
_NO_LETTER_AFTER = "(?![a-z])"
_LETTERS = re.compile("[a-z]+")


class Names(Struct, frozen=True):
    """The three names of an image, in lower case."""

    publisher: str
    offer: str
    sku: str


class Reading(Struct, frozen=True):
    """What the names say."""

    distribution: Distribution = Distribution.UNKNOWN
    version: str | None = None  # None if the names have none, or several that contradict each other
    architecture: str | None = None  # None if the names have none
    doubt: str = ""  # why the distribution or the version is missing, in words that follow "because"


class Family(Struct, frozen=True):
    """How names write one distribution and its versions. Without such a form a pattern stays None."""

    versions: VersionReader
    name: Pattern  # the distribution's own word in an offer
    plain: frozenset[str]  # the words that an offer may have besides it without naming a product
    worded: Pattern | None  # a version behind the distribution's word
    bare: Pattern | None  # a version at the start of a sku, for publishers that make only this distribution
    alone: Pattern | None  # a sku that is only a version, or a whole version and then `words` of letters
    full: Pattern | None  # a sku that is only an unmistakable version, for offers that name a product too
    leading: Pattern | None  # a version at the start of a name, before the distribution's word
    elsewhere: Pattern | None  # a second version, which makes every answer doubtful
    codenames: Pattern | None
    codename_versions: Mapping[str, str]
    rolling: Pattern | None  # a branch that is not a release

    def is_all_of(self, offer: str) -> bool:
        """Whether the offer names this distribution and no product on it."""
        return offer.isascii() and self.plain.issuperset(_LETTERS.findall(self.name.sub("-", offer)))


class Rule(Struct, frozen=True):
    """The distribution of those images of one publisher whose names match."""

    offer: Pattern
    sku: Pattern
    distribution: Distribution
    certain: bool  # true for all images that match; false only for those whose words name no distribution

    def fits(self, names: Names) -> bool:
        return bool(self.offer.match(names.offer) and self.sku.match(names.sku))


class Grammar(Struct, frozen=True):
    """The whole of `image_grammar.yaml`. The group of a match names the distribution."""

    words: Pattern  # the words for distributions, anywhere in a name
    starts: Pattern  # those that must not follow a letter
    codenames: Pattern  # codenames, where they identify a distribution
    codename_words: frozenset[str]  # all codenames
    families: Mapping[Distribution, Family]
    publishers: Mapping[str, tuple[Rule, ...]]  # by publisher, in lower case
    publisher_globs: tuple[tuple[Pattern, tuple[Rule, ...]], ...]  # for publishers that no key names
    architectures: tuple[tuple[str, Pattern], ...]
    numerals: Pattern  # versions that are spelled in words
    numeral_words: frozenset[str]  # the words of `numerals`
    numeral_values: tuple[str, ...]  # their digits, in the order of the groups of `numerals`

    def read(self, publisher: str, offer: str, sku: str) -> Reading:
        """The release that these names say."""
        names = Names(publisher.strip().lower(), self._folded(offer), self._folded(sku))
        rule = self._rule_for(names)
        architecture = self._architecture_of(names)
        if rule is not None and rule.certain:
            if rule.distribution is Distribution.UNKNOWN:
                return Reading(architecture=architecture, doubt="this publisher's names do not say which OS it is")
            return self._reading(rule.distribution, names, architecture, certain=True)
        named = self._distributions_in(names)
        if len(named) > 1:
            listed = " and ".join(sorted(named))
            return Reading(architecture=architecture, doubt=f"the name contains {listed}")
        if named:
            return self._reading(named.pop(), names, architecture, certain=False)
        return Reading(rule.distribution if rule else Distribution.UNKNOWN, None, architecture)

    def _folded(self, name: str) -> str:
        """The name in lower case, with digits for versions that it spells in words."""
        folded = name.strip().lower()
        if self.numeral_words.isdisjoint(_LETTERS.findall(folded)):
            return folded
        return self.numerals.sub(self._digits_of, folded)

    def _digits_of(self, match: re.Match[str]) -> str:
        return self.numeral_values[match.lastindex - 1] if match.lastindex else match.group(0)

    def _rule_for(self, names: Names) -> Rule | None:
        rules = self.publishers.get(names.publisher)
        if rules is None:
            rules = next((found for glob, found in self.publisher_globs if glob.match(names.publisher)), ())
        return next((rule for rule in rules if rule.fits(names)), None)

    def _distributions_in(self, names: Names) -> set[Distribution]:
        """The distributions that the names contain. A sku names the image and an offer its family, so the offer counts
        only if the sku does not name exactly one."""
        in_sku = self._words_in(names.sku)
        if len(in_sku) == 1:
            return in_sku
        in_offer = self._words_in(names.offer)
        return (in_sku & in_offer) or in_sku or in_offer

    def _words_in(self, name: str) -> set[Distribution]:
        found = [*self.words.finditer(name), *self.starts.finditer(name)]
        if not self.codename_words.isdisjoint(_LETTERS.findall(name)):
            found.extend(self.codenames.finditer(name))
        return {Distribution(match.lastgroup) for match in found if match.lastgroup}

    def _reading(self, distribution: Distribution, names: Names, architecture: str | None, *, certain: bool) -> Reading:
        family = self.families[distribution]
        branch = family.rolling.search(f"{names.offer}/{names.sku}") if family.rolling else None
        if branch is not None:
            return Reading(distribution, None, architecture, f"{branch.group(0)} is not a release")
        candidates = list(_versions(family, names, certain=certain))
        if not candidates:
            return Reading(distribution, None, architecture)
        if not certain and family.elsewhere is not None:
            candidates.extend(_existing_versions(family, family.elsewhere, names.sku))
        version = candidates[0]
        for other in candidates[1:]:
            if not compatible(version, other):
                doubt = f"the names contain both version {version} and {other}"
                return Reading(distribution, None, architecture, doubt)
            version = other if refines(other, version) else version
        return Reading(distribution, version, architecture)

    def _architecture_of(self, names: Names) -> str | None:
        text = f"{names.offer}/{names.sku}"
        return next((name for name, pattern in self.architectures if pattern.search(text)), None)


def _versions(family: Family, names: Names, *, certain: bool) -> Iterator[str]:
    """Every version in the names, those of the sku first; codenames only without a number."""
    found = False
    for version in _numbers(family, names, certain=certain):
        found = True
        yield version
    if not found and family.codenames is not None:
        for name in (names.sku, names.offer):
            for match in family.codenames.finditer(name):
                yield family.codename_versions[match.group(1)]


def _numbers(family: Family, names: Names, *, certain: bool) -> Iterator[str]:
    offer, sku = names.offer, names.sku
    whole = family.bare if certain else _alone(family, offer, sku)
    for pattern, name in (
        (family.worded, sku),
        (whole, sku),
        (family.leading if sku[:1].isdigit() else None, sku),
        (family.worded, offer),
        (family.leading if offer[:1].isdigit() else None, offer),
    ):
        if pattern is not None:
            yield from _existing_versions(family, pattern, name)


def _existing_versions(family: Family, pattern: Pattern, name: str) -> Iterator[str]:
    """Those versions that the pattern finds and that exist."""
    return filter(None, map(family.versions.version_of, pattern.finditer(name)))


def _alone(family: Family, offer: str, sku: str) -> Pattern | None:
    """The pattern for a sku that begins with a version; it is stricter if the offer names a product too."""
    match = family.alone.match(sku) if family.alone is not None else None
    if match is None:
        return None
    if not family.is_all_of(offer):
        return family.full
    return family.alone if not match["words"] or family.versions.is_whole(match) else None


def parse_grammar(raw: Mapping[str, Any], place: str) -> Grammar:
    """Read the grammar's data; `place` names its file, for errors. An invalid expression shows only when it is used."""
    try:
        return _grammar(raw)
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigurationError(
            place, f"the image grammar cannot be read: {error}", "follow the comment at the head of the file"
        ) from error


def _grammar(raw: Mapping[str, Any]) -> Grammar:
    distributions = {Distribution(name): spec for name, spec in raw["distributions"].items()}
    endings = "|".join(raw["endings"])
    neutral = raw["neutral"]
    numerals = raw["numerals"]
    spelled = [words.replace(" ", "[-_. ]?") for words in numerals]
    exact: dict[str, tuple[Rule, ...]] = {}
    globs: list[tuple[Pattern, tuple[Rule, ...]]] = []
    for publisher, rules in raw["publishers"].items():
        compiled = tuple(_rule(rule) for rule in rules)
        if "*" in publisher:
            globs.append((Pattern(translate(publisher)), compiled))
        else:
            exact[publisher] = compiled
    return Grammar(
        words=Pattern(_named_groups(distributions, _words)),
        starts=Pattern(f"{_NO_LETTER_BEFORE}(?:{_named_groups(distributions, _starts)})"),
        codenames=Pattern(f"{_NO_LETTER_BEFORE}(?:{_named_groups(distributions, _identifying_codenames)})"),
        codename_words=frozenset(word for spec in distributions.values() for word in spec.get("codenames", ())),
        families={name: _family(spec, endings, frozenset(neutral)) for name, spec in distributions.items()},
        publishers=exact,
        publisher_globs=tuple(globs),
        architectures=tuple((name, Pattern(_any(words))) for name, words in raw["architectures"].items()),
        numerals=Pattern(
            rf"{_NO_LETTER_BEFORE}(?:{'|'.join(f'({words})' for words in spelled)})"
            rf"(?=$|[-_. ](?:{'|'.join((*spelled, endings, '0?4', '10'))}){_NO_LETTER_AFTER})"
        ),
        numeral_words=frozenset(word for words in numerals for word in (words.split()[0], words.replace(" ", ""))),
        numeral_values=tuple(numerals.values()),
    )


def _family(spec: Mapping[str, Any], endings: str, neutral: frozenset[str]) -> Family:
    lowest, highest = spec.get("majors", (0, 99))
    versions = VersionReader(Notation(spec["notation"]), lowest, highest)
    word, number, full = _word(spec), versions.pattern(), versions.full_pattern()
    fillers = _longest_first(spec.get("fillers", ()))
    between = f"(?:{_JOINT}(?:{fillers}))*{_JOINT}" if fillers else _JOINT
    before = f"(?:(?:{fillers})[-_. ]*+)*+" if fillers else ""
    tail = f"(?:{_JOINT}(?:{endings})(?![a-z]))*+(?P<words>(?:[-_. ]+[a-z]+(?![a-z0-9])|{_JOINT}(?:{endings}))*+)"
    codenames = spec.get("codenames", {})
    return Family(
        versions=versions,
        name=Pattern(f"(?:aks|[a-z])?(?:{word})"),
        plain=neutral.union(spec.get("fillers", ()), endings.split("|")),
        worded=Pattern(f"(?:{word}){between}{number}") if number else None,
        bare=Pattern(f"^(?:{fillers}|gen[12]|[-_. ])*{number}") if number and fillers else None,
        alone=Pattern(f"^{before}{number}{tail}$") if number else None,
        full=Pattern(f"^{full}(?:{_JOINT}(?:{endings}))*+$") if full else None,
        leading=Pattern(f"^{full}{_JOINT}(?:{word})") if full else None,
        elsewhere=Pattern(elsewhere) if (elsewhere := versions.elsewhere_pattern()) else None,
        codenames=Pattern(f"(?:{_NO_LETTER_BEFORE}|{word})({'|'.join(codenames)}){_NO_LETTER_AFTER}")
        if codenames
        else None,
        codename_versions=codenames,
        rolling=_token(spec["rolling"]) if "rolling" in spec else None,
    )


def _rule(raw: Mapping[str, str]) -> Rule:
    certain = "is" in raw
    return Rule(
        offer=Pattern(translate(raw.get("offer", "*"))),
        sku=Pattern(translate(raw.get("sku", "*"))),
        distribution=Distribution(raw["is"] if certain else raw["otherwise"]),
        certain=certain,
    )


def _named_groups(
    distributions: Mapping[Distribution, Mapping[str, Any]], patterns: Callable[[Mapping[str, Any]], Iterable[str]]
) -> str:
    """One expression for all distributions, with a named group for each."""
    found = ((name, _any(patterns(spec))) for name, spec in distributions.items())
    return "|".join(f"(?P<{name}>{expression})" for name, expression in found if expression)


def _words(spec: Mapping[str, Any]) -> Iterable[str]:
    yield from spec.get("words", ())


def _starts(spec: Mapping[str, Any]) -> Iterable[str]:
    yield from spec.get("starts", ())


def _identifying_codenames(spec: Mapping[str, Any]) -> Iterator[str]:
    """Expressions for codenames that identify the distribution. Most codenames are ordinary words too, so they count
    only beside a companion, a hint or their version."""
    joint = "[-_. ]"
    codenames = spec.get("codenames", {})
    if telling := spec.get("telling"):
        yield f"(?:{'|'.join(telling)}){_NO_LETTER_AFTER}"
    if companions := spec.get("companions"):
        yield f"(?:{'|'.join(codenames)}){joint}(?:{'|'.join(companions)}){_NO_LETTER_AFTER}"
    if hinting := spec.get("hinting"):
        yield f"(?:{'|'.join(hinting)}){joint}(?:{'|'.join(spec['hints'])}){_NO_LETTER_AFTER}"
    for codename, version in codenames.items():
        digits = version.replace(".", "[-_.]?")
        yield f"{codename}{joint}?{digits}(?!\\d)|(?<!\\d){digits}{joint}{codename}{_NO_LETTER_AFTER}"


def _word(spec: Mapping[str, Any]) -> str:
    return _any((*_words(spec), *(f"{_NO_LETTER_BEFORE}{pattern}" for pattern in _starts(spec))))


def _token(words: Iterable[str]) -> Pattern:
    return Pattern(f"{_NO_LETTER_BEFORE}(?:{'|'.join(words)}){_NO_LETTER_AFTER}")


def _longest_first(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


def _any(patterns: Iterable[str]) -> str:
    return "|".join(f"(?:{pattern})" for pattern in patterns)
