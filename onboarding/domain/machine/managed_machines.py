"""Machines that a platform manages, such as nodes of clusters and VMs that live for minutes. Policies leave them out
unless they include them (`includeManaged`).

The evidence for them is data (`managed_machines.yaml`), checked when it is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import cache
from typing import Any

from msgspec import Struct

from onboarding.domain.errors import ConfigurationError, as_written, known_names, unknown_key
from onboarding.domain.json_access import mapping, printable, text
from onboarding.domain.machine.machine_facts import MachineFacts

_KEYS = ("name", "is", "why", "source", "evidence")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SHOWN = 100  # characters of a value in a reason


def _managed_by(facts: MachineFacts) -> str:
    """The managing resource. A flexible scale set does not count: its VMs are VMs like any other."""
    return "" if "/virtualmachinescalesets/" in facts.managed_by.lower() else facts.managed_by


def _admin(facts: MachineFacts) -> str:
    profile = mapping(mapping(facts.body.get("properties")).get("osProfile"))
    return text(profile.get("adminUsername"))


# The keys of evidence besides `tags`: each with its words for people and how it is read.
_FIELDS: Mapping[str, tuple[str, Callable[[MachineFacts], str]]] = {
    "name": ("name", lambda facts: facts.id.name or text(facts.body.get("name"))),
    "resourceGroup": ("resource group", lambda facts: facts.id.resource_group),
    "managedBy": ("managed by", _managed_by),
    "adminUsername": ("administrator", _admin),
    "imagePublisher": ("image publisher", lambda facts: facts.image.publisher),
    "imageOffer": ("image offer", lambda facts: facts.image.offer),
    "imageId": ("image", lambda facts: facts.image.id),
    "planPublisher": ("plan publisher", lambda facts: facts.plan.publisher if facts.plan else ""),
    "planProduct": ("plan product", lambda facts: facts.plan.product if facts.plan else ""),
}


class Pattern(Struct, frozen=True):
    """Texts of which any may match."""

    globs: tuple[str, ...]  # as they are written
    plain: frozenset[str]  # those without `*` and `?`, in lower case
    wild: tuple[str, ...]  # those with `*` or `?`, in lower case

    def matches(self, text: str) -> bool:
        """Whether a text in lower case matches."""
        return text in self.plain or (bool(self.wild) and _compiled(self.wild)(text) is not None)

    def __str__(self) -> str:
        return " or ".join(f"`{glob}`" for glob in self.globs)


class _Seen:
    """The values of a machine that evidence compares, in lower case, read once for all evidence."""

    def __init__(self, facts: MachineFacts) -> None:
        self.values = {name: read(facts) for name, (_, read) in _FIELDS.items()}
        self.folded = {name: value.lower() for name, value in self.values.items() if value}
        self.written = {key.lower(): (key, value) for key, value in facts.tags.items() if isinstance(key, str)}
        self.tags = {key: value.lower() for key, (_, value) in self.written.items()}

    def tag(self, key: str, key_pattern: Pattern, pattern: Pattern) -> str | None:
        """The key, in lower case, of the first tag that matches; None without one."""
        keys = filter(key_pattern.matches, self.tags) if _is_wild(key) else (key,)
        return next((each for each in keys if pattern.matches(self.tags[each])), None)


class Evidence(Struct, frozen=True):
    """What marks a machine of a kind: all of it must match."""

    fields: tuple[tuple[str, Pattern], ...]  # keys of `_FIELDS`, each with its pattern
    tags: tuple[tuple[str, Pattern, Pattern], ...]  # the key in lower case, the key as a pattern, the value's pattern
    needs: frozenset[str]  # the tag keys without `*` and `?`, compared first because most machines have none of them

    def found(self, seen: _Seen) -> str:
        """The values of the machine that match, in words; empty if the evidence does not match."""
        if not self.needs <= seen.tags.keys():
            return ""
        tags = []
        for sought in self.tags:
            tag = seen.tag(*sought)
            if tag is None:
                return ""
            tags.append(tag)
        for name, pattern in self.fields:
            if name not in seen.folded or not pattern.matches(seen.folded[name]):
                return ""
        words = [f"{_FIELDS[name][0]} {_show(seen.values[name])}" for name, _ in self.fields]
        return ", ".join(words + ["tag " + _show(": ".join(filter(None, seen.written[tag]))) for tag in tags])

    def __str__(self) -> str:
        words = [f"{_FIELDS[name][0]} {pattern}" for name, pattern in self.fields]
        words += [f"tag `{key.globs[0]}`{'' if '*' in value.globs else f': {value}'}" for _, key, value in self.tags]
        return ", ".join(words)


class ManagedKind(Struct, frozen=True):
    """One kind of machine that policies leave out."""

    name: str  # as `includeManaged` names it
    what: str  # such as "a node of an AKS cluster"
    why: str  # why it should not be changed
    source: str  # where the evidence is documented
    evidence: tuple[Evidence, ...]  # any one piece is enough


class Managed(Struct, frozen=True):
    """The kind of a managed machine, and the reason in words."""

    kind: str  # the name of a `ManagedKind`
    reason: str


class ManagedKinds(Struct, frozen=True, eq=False):
    """All kinds, in the order in which they are compared."""

    kinds: tuple[ManagedKind, ...]

    def __iter__(self) -> Iterator[ManagedKind]:
        return iter(self.kinds)

    def recognise(self, facts: MachineFacts) -> Managed | None:
        """Which kind of managed machine it is; None if no evidence matches."""
        seen = _Seen(facts)
        for kind in self.kinds:
            for evidence in kind.evidence:
                if found := evidence.found(seen):
                    return Managed(kind.name, f"it is {kind.what} ({found})")
        return None


def parse_kinds(raw: object, place: str) -> ManagedKinds:
    """Check and compile the data. Raises ConfigurationError, naming the place in it."""
    listed = mapping(raw).get("kinds")
    if not isinstance(listed, list) or not listed:
        problem = "missing list 'kinds'" if listed is None else f"{as_written(listed)} is not a list of kinds"
        raise ConfigurationError(f"{place}: kinds", problem, "write `- {name: …, evidence: …}` lines")
    kinds = tuple(_read_kind(item, f"{place}: kinds[{index}]") for index, item in enumerate(listed))
    names = [kind.name for kind in kinds]
    for index, name in enumerate(names):
        if name in names[:index]:
            problem = f"two kinds have the name {as_written(name)}"
            raise ConfigurationError(f"{place}: kinds[{index}].name", problem, "give each kind its own name")
    return ManagedKinds(kinds)


def included(given: bool | str | Sequence[str], kinds: ManagedKinds, place: str) -> frozenset[str]:
    """The kinds that a policy's `includeManaged` names: all for true, none for false. Raises ConfigurationError for
    the name of no kind."""
    names = [kind.name for kind in kinds]
    if isinstance(given, bool):
        return frozenset(names if given else ())
    for index, name in enumerate([given] if isinstance(given, str) else given):
        if name not in names:
            here = place if isinstance(given, str) else f"{place}[{index}]"
            fix = f"write true, false or a list of kinds; {known_names('kinds', names, name)}"
            raise ConfigurationError(here, f"unknown kind {as_written(name)}", fix)
    return frozenset([given] if isinstance(given, str) else given)


def _read_kind(raw: object, place: str) -> ManagedKind:
    item = _closed_mapping(raw, _KEYS, place)
    for key in _KEYS[:-1]:
        if not isinstance(item.get(key), str) or not item[key].strip():
            problem = f"missing key '{key}' in a kind"
            if item.get(key) not in (None, ""):
                problem = f"{as_written(item[key])} is not a text"
            raise ConfigurationError(f"{place}.{key}", problem, f"add `{key}:` and a text")
    if not _NAME.fullmatch(item["name"]):
        fix = "use lower-case letters, digits and single hyphens"
        raise ConfigurationError(f"{place}.name", f"{as_written(item['name'])} is not the name of a kind", fix)
    listed = item.get("evidence")
    if not isinstance(listed, list) or not listed:
        problem = (
            "missing list 'evidence' in a kind" if listed is None else f"{as_written(listed)} is not a list of evidence"
        )
        raise ConfigurationError(f"{place}.evidence", problem, "write `- {name: …}` or `- tags: {…: …}` lines")
    evidence = tuple(_read_evidence(each, f"{place}.evidence[{index}]") for index, each in enumerate(listed))
    return ManagedKind(item["name"], item["is"].strip(), item["why"].strip(), item["source"].strip(), evidence)


def _read_evidence(raw: object, place: str) -> Evidence:
    item = _closed_mapping(raw, (*_FIELDS, "tags"), place)
    fields = tuple((name, _read_pattern(value, f"{place}.{name}")) for name, value in item.items() if name != "tags")
    if not all(glob.strip("*") for _, pattern in fields for glob in pattern.globs):
        raise ConfigurationError(place, "this evidence fits every machine", "name what marks a machine of this kind")
    tags = item.get("tags", {})
    if not isinstance(tags, Mapping) or not (fields or tags):
        problem = f"{as_written(tags)} is not a mapping" if not isinstance(tags, Mapping) else "this evidence is empty"
        raise ConfigurationError(place, problem, f"name {', '.join(_FIELDS)} or `tags: {{key: value}}`")
    sought = tuple(_read_tag(key, value, f"{place}.tags.{key}") for key, value in tags.items())
    return Evidence(fields, sought, frozenset(key for key, _, _ in sought if not _is_wild(key)))


def _read_tag(key: object, value: object, place: str) -> tuple[str, Pattern, Pattern]:
    if not isinstance(key, str) or len(key.strip("*?")) < 3:
        problem = f"{as_written(key)} is too short for the key of a tag"
        raise ConfigurationError(place, problem, "write at least three of its letters")
    return key.lower(), _read_pattern(key, place), _read_pattern(value, place)


def _read_pattern(value: object, place: str) -> Pattern:
    globs: Sequence[Any] = value if isinstance(value, list) else [value]
    if not globs or not all(isinstance(glob, str) and glob for glob in globs):
        fix = "write a text, with * and ? for what varies, or a list of texts"
        raise ConfigurationError(place, f"{as_written(value)} is not a pattern", fix)
    folded = [glob.lower() for glob in globs]
    wild = tuple(glob for glob in folded if _is_wild(glob))
    return Pattern(tuple(globs), frozenset(folded).difference(wild), wild)


@cache
def _compiled(globs: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    """Compiled when first needed: a new process needs few of them."""
    return re.compile("|".join(translate(glob.replace("[", "[[]")) for glob in globs)).match


def _closed_mapping(raw: object, keys: Sequence[str], place: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        problem = f"{as_written(raw)} is not a mapping"
        raise ConfigurationError(place, problem, f"write a mapping with the keys {', '.join(keys)}")
    for key in raw:
        if key not in keys:
            raise unknown_key(f"{place}.{key}", key, "a kind", keys)
    return raw


def _is_wild(key: str) -> bool:
    return "*" in key or "?" in key


def _show(value: str) -> str:
    shown = printable(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
