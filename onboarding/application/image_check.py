"""Would this image be onboarded, and why? One answer for one image, guest report or VM body.

The command line and `GET /api/check` call the same functions, and these call the same domain code as the reconciler.
No I/O: the caller passes the item, the support table and the overrides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import replace
from functools import lru_cache
from typing import Any

from msgspec import Struct

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.support_table import Judgement, SupportTable, Verdict, judge
from onboarding.domain.errors import ConfigurationError, OnboardingError, as_written, error_text, known_names
from onboarding.domain.image.os_identification import (
    NO_OVERRIDES,
    ImageDefinition,
    OsRelease,
    Overrides,
    identify,
    read_definition,
)
from onboarding.domain.image.os_release import Distribution
from onboarding.domain.json_access import mapping
from onboarding.domain.machine.machine_facts import (
    ImageKind,
    ImageReference,
    MachineFacts,
    OsType,
    read_facts,
    read_image,
)
from onboarding.domain.machine.machine_formats import Unrecognised, arm_form
from onboarding.domain.masking import mask
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.reference_data import ReferenceData

_FIX = "give publisher, offer, sku; or urn; or imageReference; or osName, osVersion; or a VM body"
_IMAGE_KEYS = ("publisher", "offer", "sku")
_IMAGE_ID = re.compile(r"/[^\s:]{1,500}?/images/[^\s/:]", re.IGNORECASE)
_VM_MARKS = ("storageProfile", "vmId")
_COLUMNS = re.compile(r"\t|\s\s")  # a line of a table, which may hold a URN in the middle
_NOTHING_KNOWN = read_facts({})


class NotAnImage(OnboardingError):
    """The item names neither an image nor a guest nor a VM: what it holds instead, and what it would have to hold."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(error_text("", problem, fix))
        self.problem = mask(problem)
        self.fix = fix


class UsedExtension(Struct, frozen=True):
    """An extension, and the support table to judge by."""

    entry: CatalogueEntry
    table_name: str = ""
    """The table that a policy names; empty: the entry's default."""

    @property
    def table(self) -> SupportTable:
        return self.entry.support_table(self.table_name)


def used_extensions(policies: PolicySet, catalogue: Mapping[str, CatalogueEntry]) -> tuple[UsedExtension, ...]:
    """What the active policies install or audit, in their order, each extension with each of its tables once."""
    active = (policy for policy in policies.policies if not policy.off)
    used = {(name, policy.support_table): None for policy in active for name in policy.extensions}
    return tuple(UsedExtension(catalogue[name], table) for name, table in used if name in catalogue)


class Question(Struct, frozen=True):
    """An image, a guest agent's report, or both."""

    image: ImageReference
    """The image; an empty reference if only the guest agent's report is given."""
    os_name: str = ""
    """OS name from the guest agent, such as `ubuntu`; empty: not given."""
    os_version: str = ""
    """OS version from the guest agent, such as `22.04`; empty: not given."""
    definition: ImageDefinition | None = None
    """What the definition of a custom image says; None: not given."""

    def __str__(self) -> str:
        image = self.image
        if image.kind is ImageKind.MARKETPLACE:
            return ":".join(part for part in (image.publisher, image.offer, image.sku, image.version) if part)
        return image.id or " ".join(part for part in (self.os_name, self.os_version) if part) or "(nothing)"


class Answer(Struct, frozen=True):
    """The OS release of one item, and whether the support table lists it."""

    subject: str
    """The item as a person names it: a URN, an image id, an OS name or a VM."""
    publisher: str
    """The image's publisher; empty for an image without one."""
    release: OsRelease
    """Distribution, version and architecture, with the source that gave them."""
    judgement: Judgement
    """The support table's verdict, with its reason."""
    extension: str = ""
    """The catalogue entry of the table; empty: the caller knows."""

    @property
    def supported(self) -> bool:
        return self.judgement.verdict is Verdict.SUPPORTED

    def fields(self) -> dict[str, str | None]:
        """The answer's own fields, in their order."""
        return {
            "distribution": self.release.distribution,
            "version": self.release.version,
            "release": self.release.title,
            "architecture": self.release.architecture,
            "os_type": self.release.os_type,
            "verdict": self.judgement.verdict,
            "witness": self.release.source,
            "reason": self.judgement.reason,
        }


class Checker:
    """Answers for many items against one support table.

    A list can name one image hundreds of times, once per version, so answers by image name are cached."""

    def __init__(
        self, table: SupportTable, reference: ReferenceData, overrides: Overrides = NO_OVERRIDES, extension: str = ""
    ) -> None:
        self._table = table
        self._extension = extension
        self._reference = reference
        self._overrides = overrides
        self._judged_name = lru_cache(maxsize=8192)(self._judge_name)

    def check(self, item: object) -> Answer:
        """Answer for one item: a URN, or a mapping with any of the keys that `NotAnImage` lists."""
        question = read_question(item)
        if isinstance(question, MachineFacts):
            release, judgement = self._judged(question)
            return Answer(_subject_of(question), question.image.publisher, release, judgement, self._extension)
        image = question.image
        # The image's version does not change the answer, so it is not part of the cache key.
        named = ImageReference(image.publisher, image.offer, image.sku, id=image.id, kind=image.kind)
        release, judgement = self._judged_name(
            Question(named, question.os_name, question.os_version, question.definition)
        )
        return Answer(str(question), image.publisher, release, judgement, self._extension)

    @property
    def os_type(self) -> OsType:
        """The OS type that the table is for."""
        return self._table.os_type

    def _judge_name(self, question: Question) -> tuple[OsRelease, Judgement]:
        facts = replace(
            _NOTHING_KNOWN, image=question.image, guest_os_name=question.os_name, guest_os_version=question.os_version
        )
        return self._judged(facts, question.definition)

    def _judged(self, facts: MachineFacts, definition: ImageDefinition | None = None) -> tuple[OsRelease, Judgement]:
        release = identify(facts, self._reference, self._overrides, definition)
        return release, judge(release, self._table)


def check_all(checkers: Iterable[Checker], item: object) -> tuple[Answer, ...]:
    """The answers for one item by the tables of its OS type; by all tables if the type is unknown or none is for it."""
    answers = [(checker, checker.check(item)) for checker in checkers]
    fitting = [answer for checker, answer in answers if _os_type(answer) in (checker.os_type, OsType.UNKNOWN)]
    return tuple(fitting or (answer for _, answer in answers))


def _os_type(answer: Answer) -> OsType:
    release = answer.release
    return OsType.WINDOWS if release.distribution == Distribution.WINDOWS else release.os_type


def check_query(
    query: Mapping[str, str],
    used: Iterable[UsedExtension],
    catalogue: Mapping[str, CatalogueEntry],
    reference: ReferenceData,
    overrides: Overrides = NO_OVERRIDES,
) -> dict[str, Any]:
    """The body of `GET /api/check`: query parameters `image` (publisher:offer:sku[:version]) or the item's own keys,
    and `extension`, `supportTable`. Without an extension it is the first of those `used` that is for the item's OS
    type. Raises `NotAnImage` or `ConfigurationError` for what the caller must fix."""
    chosen = _chosen(query.get("extension", ""), query.get("supportTable", ""), used, catalogue)
    tables = {(each.entry.name, each.table.name): each.table for each in chosen}
    checkers = [Checker(table, reference, overrides, name) for (name, _), table in tables.items()]
    item = query["image"] if query.get("image") else {k: v for k, v in query.items() if v}
    answer = check_all(checkers, item)[0]
    table = tables[answer.extension, answer.judgement.table]
    return {
        "subject": answer.subject,
        **answer.fields(),
        "row": answer.judgement.row or None,
        "extension": answer.extension,
        "supportTable": table.name or None,
        "supportTableDate": table.date or None,
    }


def _chosen(
    name: str, table: str, used: Iterable[UsedExtension], catalogue: Mapping[str, CatalogueEntry]
) -> tuple[UsedExtension, ...]:
    if name and name not in catalogue:
        fix = known_names("extensions", catalogue, name)
        raise ConfigurationError("extension", f"unknown extension {as_written(name)}", fix)
    found = (UsedExtension(catalogue[name]),) if name else tuple(used)
    if not found:
        fix = "name one, or write a policy that does"
        raise ConfigurationError("extension", "no policy uses an extension", fix)
    return with_table(found, table) if table else found


def with_table(extensions: tuple[UsedExtension, ...], name: str) -> tuple[UsedExtension, ...]:
    """Those of the extensions that have a table of that name, each with it. Raises ConfigurationError if none has."""
    having = [each for each in extensions if name in each.entry.support_tables] or extensions[:1]
    chosen = {each.entry.name: UsedExtension(each.entry, name) for each in having}
    for each in chosen.values():
        each.entry.support_table(name)
    return tuple(chosen.values())


def read_question(item: object) -> Question | MachineFacts:
    """Read one item: a VM body as machine facts, everything else as a question about an image or a guest OS."""
    if isinstance(item, str):
        return Question(_image_by_id(item) or _parse_urn(item))
    if not isinstance(item, Mapping):
        raise NotAnImage(f"{as_written(item)} is not an image", _FIX)
    try:
        item = arm_form(item)
    except Unrecognised as error:
        raise NotAnImage(error.problem, error.fix) from error
    if any(key in mapping(item.get("properties")) for key in _VM_MARKS):
        return read_facts(item)
    image = _image_of(item)
    if image is None and "osName" not in item and "osVersion" not in item:
        keys = ", ".join(as_written(key) for key in list(item)[:8])
        raise NotAnImage(f"the item names no image: its keys are {keys}" if keys else "the item is empty", _FIX)
    known = {"architecture": item["architecture"]} if "architecture" in item else None
    definition = read_definition({"properties": known}) if known else None
    return Question(image or ImageReference(), _text(item, "osName"), _text(item, "osVersion"), definition)


def _subject_of(facts: MachineFacts) -> str:
    return str(facts.id) if facts.id.name else str(Question(facts.image, facts.guest_os_name, facts.guest_os_version))


def _image_by_id(text: str) -> ImageReference | None:
    """The managed image or gallery image that a resource id names; None if the text does not name one."""
    return read_image({"id": text.strip()}) if _IMAGE_ID.match(text.strip()) else None


def _parse_urn(text: str) -> ImageReference:
    parts = [part.strip() for part in text.strip().split(":")]
    if len(parts) not in (3, 4) or not all(parts[:3]) or _COLUMNS.search(text.strip()):
        fix = "write publisher:offer:sku or publisher:offer:sku:version"
        raise NotAnImage(f"{as_written(text)} is not an image", fix)
    version = parts[3] if len(parts) == 4 else ""
    return ImageReference(parts[0], parts[1], parts[2], version, kind=ImageKind.MARKETPLACE)


def _image_of(item: Mapping[str, Any]) -> ImageReference | None:
    if isinstance(item.get("imageReference"), Mapping):
        return read_image(item["imageReference"])
    if any(key in item for key in _IMAGE_KEYS):
        missing = [key for key in _IMAGE_KEYS if not _text(item, key).strip()]
        if missing and "osName" not in item:
            raise NotAnImage(f"the image has no {' and no '.join(missing)}", _FIX)
        return read_image({key: item.get(key) for key in (*_IMAGE_KEYS, "version")})
    return _parse_urn(item["urn"]) if isinstance(item.get("urn"), str) else None


def _text(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    return value if isinstance(value, str) else ""
