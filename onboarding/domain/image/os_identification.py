"""Identifies the OS release from machine facts: which sources are read, and which one wins.

The order of sources: override file, marketplace image, purchase plan, guest agent, the name that a person gave to an
own image. Each is read only if those before it have no answer. The last one is free text: it is reported and decides
nothing. Names can be wrong or old, so a guest agent that contradicts them wins, and the reason says so. It never
guesses: without an answer the release is `unknown`, and the reason says what would identify it.
"""

from __future__ import annotations

import re
from copy import replace
from functools import lru_cache

from msgspec import Struct

from onboarding.domain.image.guest_os import read_guest
from onboarding.domain.image.os_release import Distribution, OsRelease, OsSource, os_type_of, title_of
from onboarding.domain.image.overrides import NO_OVERRIDES, Override, Overrides
from onboarding.domain.image.version_notation import refines
from onboarding.domain.image.windows_releases import WindowsReleases
from onboarding.domain.json_access import mapping
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

# Standard_D4ps_v5: a small letter p behind the number means an Arm processor.
_ARM_SIZE = re.compile(r"(?:standard|basic)_[A-Z]+\d+(?:-\d+)?[a-z]*p[a-z]*_", re.ASCII)
# The gallery and the image in any form of id; shared galleries have a GUID in their names.
_OWN_NAME = re.compile(r"(?:galleries/(?P<gallery>[^/]{0,200})/)?images/(?P<name>[^/]{1,200})", re.IGNORECASE)
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SIZE_PREFIX = re.compile(r"^(standard|basic)_", re.IGNORECASE)
_ARCHITECTURES = {"x64": "x86_64", "x86_64": "x86_64", "arm64": "arm64"}  # ARM's words, and ours


class ImageDefinition(Struct, frozen=True):
    """What ARM says about a gallery image definition or a managed image."""

    os_type: OsType = OsType.UNKNOWN
    architecture: str | None = None  # None if ARM does not say
    identifier: ImageReference | None = None  # publisher, offer and sku, which are free text in a gallery
    plan: Plan | None = None  # the purchase plan; None without one


def read_definition(body: object) -> ImageDefinition:
    """Read the body of a gallery image definition (own, shared, community) or of a managed image."""
    properties = mapping(mapping(body).get("properties"))
    disk = mapping(mapping(properties.get("storageProfile")).get("osDisk"))
    os_type = str(properties.get("osType") or disk.get("osType") or "").capitalize()
    identifier = read_image(properties.get("identifier"))
    return ImageDefinition(
        os_type=OsType(os_type) if os_type in (OsType.LINUX, OsType.WINDOWS) else OsType.UNKNOWN,
        architecture=_ARCHITECTURES.get(str(properties.get("architecture") or "").lower()),
        identifier=identifier if identifier.kind is ImageKind.MARKETPLACE else None,
        plan=read_plan(properties.get("purchasePlan")),
    )


def release_of_image(image: ImageReference, reference: ReferenceData) -> OsRelease:
    """The release that a marketplace image's publisher, offer and sku say."""
    if image.kind is not ImageKind.MARKETPLACE:
        return _unknown_release("there is no marketplace image")
    subject = f"marketplace image {image.publisher}:{image.offer}:{image.sku}"
    return _release_of_names(OsSource.IMAGE, subject, image.publisher, image.offer, image.sku, reference)


def release_of_guest(os_name: str, os_version: str, reference: ReferenceData) -> OsRelease:
    """The release that the guest agent reports."""
    distribution, version = read_guest(os_name, os_version)
    if distribution is Distribution.UNKNOWN:
        return _unknown_release("the guest agent has not reported an OS")
    report = " ".join(part for part in (os_name.strip(), os_version.strip()) if part)
    reason = f"the guest agent reports {report!r}"
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
    """The release of a machine, from every source in its facts and in its image's definition."""
    release = _release_of_override(facts, overrides, definition, reference)
    if release is None:
        named = release_of_image(facts.image, reference)
        if not named.known:
            plans = (facts.plan, definition.plan if definition else None)
            named = _first_known(*(_of_plan(plan, reference) for plan in plans), named)
        guest = release_of_guest(facts.guest_os_name, facts.guest_os_version, reference)
        release = _with_guest(named, guest, reference)
        if not release.known:
            release = _of_own_name(facts, release, reference)
        release = _with_disk(release, _disk_type(facts, definition))
        release = _with_fix(release, facts, definition)
    if release.architecture is None and (architecture := _architecture_of(facts, definition)):
        return replace(release, architecture=architecture)
    return release


def _release_of_override(
    facts: MachineFacts, overrides: Overrides, definition: ImageDefinition | None, reference: ReferenceData
) -> OsRelease | None:
    if not overrides.rules:
        return None
    identifier = definition.identifier if definition else None
    rule = overrides.find(facts.image.id, _definition_of(facts.image.id), _urn(facts.image))
    if rule is None:
        return None
    if not rule.believe_identifier:
        return _release_given_by(rule, overrides.place, reference)
    if identifier is None:
        return None
    subject = f"gallery identifier {_urn(identifier)}, which {overrides.place} declares reliable,"
    release = _release_of_names(
        OsSource.OVERRIDE, subject, identifier.publisher, identifier.offer, identifier.sku, reference
    )
    return release if release.known else None


def _release_given_by(rule: Override, place: str, reference: ReferenceData) -> OsRelease:
    of_windows = rule.distribution is Distribution.WINDOWS
    product = reference.windows().named(rule.version or "") if of_windows else ""
    reason = f"{place} says that {rule.glob} is {title_of(rule.distribution, product or rule.version)}"
    os_type = os_type_of(rule.distribution)
    return OsRelease(
        rule.distribution, rule.version, rule.architecture, os_type, OsSource.OVERRIDE, reason, product=product
    )


def _of_plan(plan: Plan | None, reference: ReferenceData) -> OsRelease:
    if plan is None:
        return _unknown_release("there is no purchase plan")
    subject = f"purchase plan {plan.publisher}:{plan.product}:{plan.name}"
    return _release_of_names(OsSource.PLAN, subject, plan.publisher, plan.product, plan.name, reference)


def _of_own_name(facts: MachineFacts, unknown: OsRelease, reference: ReferenceData) -> OsRelease:
    """The release in the name of an own image and its gallery, else `unknown`. Only the disk gives its OS type."""
    found = _OWN_NAME.search(_GUID.sub("", facts.image.id))
    if found is None:
        return unknown
    reading = reference.grammar().read("", found["gallery"] or "", found["name"])
    if reading.distribution in (Distribution.UNKNOWN, Distribution.WINDOWS):
        return unknown
    distribution, version = reading.distribution, reading.version
    name = f"the name of the own image {found['name']} says {title_of(distribution, version)}"
    reason = f"{name}, but it is free text; to identify the OS, use {_fix(facts)}"
    return OsRelease(distribution, version, None, OsType.UNKNOWN, OsSource.NAME, reason, needs_agent=True)


def _with_guest(named: OsRelease, guest: OsRelease, reference: ReferenceData) -> OsRelease:
    """The release that the names say; the guest agent's if they say none, less, or another one."""
    if not guest.known:
        return named
    if not named.known:
        return guest
    if _agree(named, guest, reference):
        before, now = _exact_release(named), _exact_release(guest)
        if now and not before:
            return replace(guest, architecture=named.architecture)
        if now and now != before and not _includes(guest, named, reference):
            reason = f"{named.reason}, and {guest.reason}"
            return replace(named, version=guest.version, product=guest.product, reason=reason, needs_agent=False)
        return replace(named, needs_agent=False) if named.needs_agent else named
    reason = f"{guest.reason}, but the {named.source} says {named.title}: the running system counts"
    return replace(guest, architecture=named.architecture, reason=reason)


def _agree(named: OsRelease, guest: OsRelease, reference: ReferenceData) -> bool:
    if named.distribution != guest.distribution:
        # Old agents call openSUSE `suse`, like SLES.
        return {named.distribution, guest.distribution} == {Distribution.OPENSUSE, Distribution.SLES}
    return _includes(named, guest, reference) or _includes(guest, named, reference)


def _exact_release(release: OsRelease) -> str:
    """The release without its distribution, as far as it is known; a build of Windows is not a release."""
    return release.product if release.distribution == Distribution.WINDOWS else release.version or ""


def _includes(wider: OsRelease, finer: OsRelease, reference: ReferenceData) -> bool:
    """Whether `finer` is the same release of a distribution as `wider`, or a more exact one."""
    if wider.distribution == Distribution.WINDOWS:
        return not wider.product or reference.windows().includes(wider.product, finer.product)
    return refines(finer.version, wider.version)


def _with_disk(release: OsRelease, os_type: OsType) -> OsRelease:
    """The release, corrected by the OS disk, which says for certain whether it is Linux or Windows."""
    if os_type is OsType.WINDOWS and release.os_type is not OsType.WINDOWS:
        but = f", but the {release.source} says {release.title}" if release.known else ""
        reason = f"the OS disk is a Windows disk{but}"
        architecture, needs_agent = release.architecture, release.source is not OsSource.AGENT
        return OsRelease(Distribution.WINDOWS, None, architecture, OsType.WINDOWS, OsSource.DISK, reason, needs_agent)
    if os_type is OsType.LINUX and release.os_type is OsType.WINDOWS:
        reason = f"the {release.source} says Windows, but the OS disk is a Linux disk; the guest agent can decide it"
        return replace(_unknown_release(reason), architecture=release.architecture, os_type=OsType.LINUX)
    if release.os_type is OsType.UNKNOWN and os_type is not OsType.UNKNOWN:
        return replace(release, os_type=os_type)
    return release


def _with_fix(release: OsRelease, facts: MachineFacts, definition: ImageDefinition | None) -> OsRelease:
    """An unknown release with what would identify it in its reason."""
    if release.known:
        return release
    identifier = definition.identifier if definition else None
    hint = f"; its gallery definition has the identifier {_urn(identifier)}, which is free text" if identifier else ""
    return replace(release, reason=f"{release.reason}{hint}; to identify the OS, use {_fix(facts)}")


def _fix(facts: MachineFacts) -> str:
    """What can identify the operating system: the guest agent if it may still report, and the override file."""
    waits = facts.agent is not AgentState.READY
    source = "the guest agent, once it reports, or a line" if waits else "a line"
    subject = facts.image.id or _urn(facts.image) or "this VM, which has no image"
    return f"{source} in the override file for {subject}"


def _release_of_names(
    source: OsSource, subject: str, publisher: str, offer: str, sku: str, reference: ReferenceData
) -> OsRelease:
    reading = reference.grammar().read(publisher, offer, sku)
    if reading.distribution is Distribution.UNKNOWN:
        because = f" because {reading.doubt}" if reading.doubt else ""
        return _unknown_release(f"the {subject} does not name an OS{because}", reading.architecture)
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
        source=source,
        reason=f"the {subject} says {title}{missing}{because}",
        needs_agent=bool(missing),
        product=product,
    )


# A fleet has few images and systems, and its VMs are read many times.
@lru_cache(maxsize=512)
def _windows_of_names(windows: WindowsReleases, publisher: str, offer: str, sku: str) -> str:
    return windows.of_names(publisher, offer, sku)


@lru_cache(maxsize=512)
def _windows_of_guest(windows: WindowsReleases, os_name: str, os_version: str) -> str:
    return windows.of_guest(os_name, os_version)


def _unknown_release(reason: str, architecture: str | None = None) -> OsRelease:
    return OsRelease(Distribution.UNKNOWN, None, architecture, OsType.UNKNOWN, OsSource.NONE, reason, needs_agent=True)


def _first_known(*releases: OsRelease) -> OsRelease:
    return next((release for release in releases if release.known), releases[-1])


def _disk_type(facts: MachineFacts, definition: ImageDefinition | None) -> OsType:
    if facts.os_type is OsType.UNKNOWN and definition is not None:
        return definition.os_type
    return facts.os_type


def _architecture_of(facts: MachineFacts, definition: ImageDefinition | None) -> str | None:
    if definition is not None and definition.architecture:
        return definition.architecture
    hardware = mapping(mapping(facts.body.get("properties")).get("hardwareProfile"))
    size = hardware.get("vmSize")
    if not isinstance(size, str) or not size:
        return None
    folded = _SIZE_PREFIX.sub(lambda match: match.group(0).lower(), size)
    return "arm64" if _ARM_SIZE.match(folded) else "x86_64"


def _definition_of(image_id: str) -> str:
    """The id of the gallery definition of an image version."""
    return re.split("/versions/", image_id, maxsplit=1, flags=re.IGNORECASE)[0]


def _urn(reference: ImageReference | None) -> str:
    if reference is None or reference.kind is not ImageKind.MARKETPLACE:
        return ""
    return f"{reference.publisher}:{reference.offer}:{reference.sku}"
