"""From machine facts to the OS release: which witness is asked, and which one wins.

Order: override file, marketplace image, purchase plan, guest agent, the name that a person gave to an own image; each
is asked only when the one before is silent, and the last only tells: it is free text, so nothing is decided by it.
Names can be wrong or old, so a guest agent that contradicts them wins, and the reason says so. Never guesses: what
nobody tells is `unknown`, with what would settle it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import replace
from functools import lru_cache
from typing import Any

from msgspec import Struct

from onboarding.domain.image.guest_os import read_guest
from onboarding.domain.image.os_release import Distribution, OsRelease, OsSource, os_type_of, title_of
from onboarding.domain.image.overrides import NO_OVERRIDES, Override, Overrides
from onboarding.domain.image.version_notation import refines
from onboarding.domain.image.windows_releases import WindowsReleases
from onboarding.domain.machine.machine_facts import (
    AgentState,
    ImageKind,
    ImageReference,
    MachineFacts,
    OsType,
    Plan,
    read_image,
    read_plan,
)
from onboarding.domain.reference_data import ReferenceData

__all__ = [
    "NO_OVERRIDES",
    "ImageDefinition",
    "OsRelease",
    "OsSource",
    "Overrides",
    "identify",
    "read_definition",
    "release_of_guest",
    "release_of_image",
]

# Standard_D4ps_v5: the letter p among the small ones is an Arm processor.
_ARM_SIZE = re.compile(r"(?:standard|basic)_[A-Z]+\d+(?:-\d+)?[a-z]*p[a-z]*_", re.ASCII)
# The gallery and the image in any form of id; galleries that are shared carry a GUID in their names.
_OWN_NAME = re.compile(r"(?:galleries/(?P<gallery>[^/]{0,200})/)?images/(?P<name>[^/]{1,200})", re.IGNORECASE)
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SIZE_PREFIX = re.compile(r"^(standard|basic)_", re.IGNORECASE)
_ARCHITECTURES = {"x64": "x86_64", "x86_64": "x86_64", "arm64": "arm64"}  # ARM's words, and ours


class ImageDefinition(Struct, frozen=True):
    """What one GET of a gallery image definition or a managed image tells. `identifier` is free text."""

    os_type: OsType = OsType.UNKNOWN
    architecture: str | None = None
    identifier: ImageReference | None = None
    plan: Plan | None = None


def read_definition(body: object) -> ImageDefinition:
    """Read the body of a gallery image definition (own, shared, community) or of a managed image."""
    properties = _mapping(_mapping(body).get("properties"))
    disk = _mapping(_mapping(properties.get("storageProfile")).get("osDisk"))
    os_type = str(properties.get("osType") or disk.get("osType") or "").capitalize()
    identifier = read_image(properties.get("identifier"))
    return ImageDefinition(
        os_type=OsType(os_type) if os_type in (OsType.LINUX, OsType.WINDOWS) else OsType.UNKNOWN,
        architecture=_ARCHITECTURES.get(str(properties.get("architecture") or "").lower()),
        identifier=identifier if identifier.kind is ImageKind.MARKETPLACE else None,
        plan=read_plan(properties.get("purchasePlan")),
    )


def release_of_image(image: ImageReference, reference: ReferenceData) -> OsRelease:
    """The release that a marketplace image's publisher, offer and sku tell."""
    if image.kind is not ImageKind.MARKETPLACE:
        return _silent("there is no marketplace image")
    subject = f"marketplace image {image.publisher}:{image.offer}:{image.sku}"
    return _named(OsSource.IMAGE, subject, image.publisher, image.offer, image.sku, reference)


def release_of_guest(os_name: str, os_version: str, reference: ReferenceData) -> OsRelease:
    """The release that the guest agent reports."""
    distribution, version = read_guest(os_name, os_version)
    if distribution is Distribution.UNKNOWN:
        return _silent("the guest agent has not reported a system")
    said = " ".join(part for part in (os_name.strip(), os_version.strip()) if part)
    reason = f"the guest agent reports {said!r}"
    product = ""
    if distribution is Distribution.WINDOWS:
        product = _windows_of_guest(reference.windows(), os_name, os_version)
    return OsRelease(distribution, version, None, os_type_of(distribution), OsSource.AGENT, reason, product=product)


def identify(
    facts: MachineFacts,
    reference: ReferenceData,
    overrides: Overrides = NO_OVERRIDES,
    definition: ImageDefinition | None = None,
) -> OsRelease:
    """The release of a machine, from every witness that its facts and its image's definition offer."""
    told = _overridden(facts, overrides, definition, reference)
    if told is None:
        named = release_of_image(facts.image, reference)
        if not named.known:
            plans = (facts.plan, definition.plan if definition else None)
            named = _better(*(_of_plan(plan, reference) for plan in plans), named)
        guest = release_of_guest(facts.guest_os_name, facts.guest_os_version, reference)
        told = _with_guest(named, guest, reference)
        if not told.known:
            told = _of_own_name(facts, told, reference)
        told = _with_disk(told, _disk_type(facts, definition))
        told = _explained(told, facts, definition)
    if told.architecture is None and (architecture := _architecture_of(facts, definition)):
        return replace(told, architecture=architecture)
    return told


def _overridden(
    facts: MachineFacts, overrides: Overrides, definition: ImageDefinition | None, reference: ReferenceData
) -> OsRelease | None:
    if not overrides.rules:
        return None
    identifier = definition.identifier if definition else None
    rule = overrides.find(facts.image.id, _definition_of(facts.image.id), _urn(facts.image))
    if rule is None:
        return None
    if not rule.believe_identifier:
        return _taught(rule, overrides.place, reference)
    if identifier is None:
        return None
    subject = f"gallery identifier {_urn(identifier)}, believed by {overrides.place},"
    named = _named(OsSource.OVERRIDE, subject, identifier.publisher, identifier.offer, identifier.sku, reference)
    return named if named.known else None


def _taught(rule: Override, place: str, reference: ReferenceData) -> OsRelease:
    of_windows = rule.distribution is Distribution.WINDOWS
    product = reference.windows().named(rule.version or "") if of_windows else ""
    reason = f"{place} says that {rule.glob} is {title_of(rule.distribution, product or rule.version)}"
    os_type = os_type_of(rule.distribution)
    return OsRelease(
        rule.distribution, rule.version, rule.architecture, os_type, OsSource.OVERRIDE, reason, product=product
    )


def _of_plan(plan: Plan | None, reference: ReferenceData) -> OsRelease:
    if plan is None:
        return _silent("there is no purchase plan")
    name = f"{plan.publisher}:{plan.product}:{plan.name}"
    return _named(OsSource.PLAN, f"purchase plan {name}", plan.publisher, plan.product, plan.name, reference)


def _of_own_name(facts: MachineFacts, silent: OsRelease, reference: ReferenceData) -> OsRelease:
    """What the name of an own image tells, its gallery's name included. Whether the system is Linux, the disk says."""
    found = _OWN_NAME.search(_GUID.sub("", facts.image.id))
    if found is None:
        return silent
    reading = reference.grammar().read("", found["gallery"] or "", found["name"])
    if reading.distribution in (Distribution.UNKNOWN, Distribution.WINDOWS):
        return silent
    distribution, version = reading.distribution, reading.version
    told = f"the name of the own image {found['name']} reads as {title_of(distribution, version)}"
    reason = f"{told}, but it is free text; {_fix(facts)} would settle it"
    return OsRelease(distribution, version, None, OsType.UNKNOWN, OsSource.NAME, reason, needs_agent=True)


def _with_guest(named: OsRelease, guest: OsRelease, reference: ReferenceData) -> OsRelease:
    """Names first; the guest agent where they are silent, or wrong."""
    if not guest.known:
        return named
    if not named.known:
        return guest
    if _agree(named, guest, reference):
        before, now = _told_by(named), _told_by(guest)
        if now and not before:
            return replace(guest, architecture=named.architecture)
        if now and now != before and not _includes(guest, named, reference):
            reason = f"{named.reason}, and {guest.reason}"
            return replace(named, version=guest.version, product=guest.product, reason=reason, needs_agent=False)
        return replace(named, needs_agent=False) if named.needs_agent else named
    reason = f"{guest.reason}, against the {named.witness} that tells {named.title}: the running system wins"
    return replace(guest, architecture=named.architecture, reason=reason)


def _agree(named: OsRelease, guest: OsRelease, reference: ReferenceData) -> bool:
    if named.distribution != guest.distribution:
        # Old agents call openSUSE `suse`, like SLES.
        return {named.distribution, guest.distribution} == {Distribution.OPENSUSE, Distribution.SLES}
    return _includes(named, guest, reference) or _includes(guest, named, reference)


def _told_by(release: OsRelease) -> str:
    """Which release it is, as far as it was told; a build of Windows is none."""
    return release.product if release.distribution == Distribution.WINDOWS else release.version or ""


def _includes(wider: OsRelease, finer: OsRelease, reference: ReferenceData) -> bool:
    """Whether the one says the same as the other, or less, of one distribution."""
    if wider.distribution == Distribution.WINDOWS:
        return not wider.product or reference.windows().includes(wider.product, finer.product)
    return refines(finer.version, wider.version)


def _with_disk(told: OsRelease, os_type: OsType) -> OsRelease:
    """The OS disk knows Linux from Windows for certain, and nothing else."""
    if os_type is OsType.WINDOWS and told.os_type is not OsType.WINDOWS:
        against = f", against the {told.witness} that tells {told.title}" if told.known else ""
        reason = f"the OS disk is a Windows disk{against}"
        architecture, witness, silent = told.architecture, OsSource.DISK, told.witness is not OsSource.AGENT
        return OsRelease(Distribution.WINDOWS, None, architecture, OsType.WINDOWS, witness, reason, silent)
    if os_type is OsType.LINUX and told.os_type is OsType.WINDOWS:
        reason = f"the {told.witness} tells Windows, but the OS disk is a Linux disk; the guest agent would settle it"
        return replace(_silent(reason), architecture=told.architecture, os_type=OsType.LINUX)
    if told.os_type is OsType.UNKNOWN and os_type is not OsType.UNKNOWN:
        return replace(told, os_type=os_type)
    return told


def _explained(told: OsRelease, facts: MachineFacts, definition: ImageDefinition | None) -> OsRelease:
    """What would settle an unknown: the agent if it may still speak, a line in the override file in any case."""
    if told.known:
        return told
    identifier = definition.identifier if definition else None
    hint = f"; its gallery definition calls itself {_urn(identifier)}, which is free text" if identifier else ""
    return replace(told, reason=f"{told.reason}{hint}; {_fix(facts)} would settle it")


def _fix(facts: MachineFacts) -> str:
    waits = facts.agent is not AgentState.READY
    cure = "the guest agent, once it reports, or a line" if waits else "a line"
    subject = facts.image.id or _urn(facts.image) or "this VM, which has no image"
    return f"{cure} in the override file for {subject}"


def _named(
    witness: OsSource, subject: str, publisher: str, offer: str, sku: str, reference: ReferenceData
) -> OsRelease:
    reading = reference.grammar().read(publisher, offer, sku)
    if reading.distribution is Distribution.UNKNOWN:
        because = f" because {reading.doubt}" if reading.doubt else ""
        return _silent(f"the {subject} does not tell a system{because}", reading.architecture)
    of_windows = reading.distribution is Distribution.WINDOWS
    product = _windows_of_names(reference.windows(), publisher, offer, sku) if of_windows else ""
    title = title_of(reading.distribution, product or reading.version, reading.architecture)
    missing = "" if reading.version or product else ", without a version"
    because = f" because {reading.doubt}" if missing and reading.doubt else ""
    return OsRelease(
        distribution=reading.distribution,
        version=reading.version,
        architecture=reading.architecture,
        os_type=os_type_of(reading.distribution),
        witness=witness,
        reason=f"the {subject} tells {title}{missing}{because}",
        needs_agent=bool(missing),
        product=product,
    )


# A fleet has few images and few systems, and its VMs are read again and again.
@lru_cache(maxsize=512)
def _windows_of_names(windows: WindowsReleases, publisher: str, offer: str, sku: str) -> str:
    return windows.of_names(publisher, offer, sku)


@lru_cache(maxsize=512)
def _windows_of_guest(windows: WindowsReleases, os_name: str, os_version: str) -> str:
    return windows.of_guest(os_name, os_version)


def _silent(reason: str, architecture: str | None = None) -> OsRelease:
    return OsRelease(Distribution.UNKNOWN, None, architecture, OsType.UNKNOWN, OsSource.NONE, reason, needs_agent=True)


def _better(*releases: OsRelease) -> OsRelease:
    return next((release for release in releases if release.known), releases[-1])


def _disk_type(facts: MachineFacts, definition: ImageDefinition | None) -> OsType:
    if facts.os_type is OsType.UNKNOWN and definition is not None:
        return definition.os_type
    return facts.os_type


def _architecture_of(facts: MachineFacts, definition: ImageDefinition | None) -> str | None:
    if definition is not None and definition.architecture:
        return definition.architecture
    hardware = _mapping(_mapping(facts.body.get("properties")).get("hardwareProfile"))
    size = hardware.get("vmSize")
    if not isinstance(size, str) or not size:
        return None
    folded = _SIZE_PREFIX.sub(lambda match: match.group(0).lower(), size)
    return "arm64" if _ARM_SIZE.match(folded) else "x86_64"


def _definition_of(image_id: str) -> str:
    """The gallery definition of an image version."""
    return re.split("/versions/", image_id, maxsplit=1, flags=re.IGNORECASE)[0]


def _urn(reference: ImageReference | None) -> str:
    if reference is None or reference.kind is not ImageKind.MARKETPLACE:
        return ""
    return f"{reference.publisher}:{reference.offer}:{reference.sku}"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
