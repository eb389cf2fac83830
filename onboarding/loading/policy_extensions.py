"""Checks the extensions that a policy names against the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import replace

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import ConfigurationError, as_written, known_names
from onboarding.domain.json_access import digest
from onboarding.domain.policy.policy import Policy
from onboarding.domain.policy_digest import joined


def with_extensions(
    policy: Policy, file: str, catalogue: Mapping[str, CatalogueEntry], unusable: Mapping[str, str]
) -> Policy:
    """The policy with the operating system of each of its extensions, and with a digest that changes when they do;
    `file` is its name, for errors. Raises ConfigurationError for an extension that the catalogue does not have, or that
    the policy cannot use."""
    places = extension_places(policy.extensions)
    entries = [known_extension(name, f"{file}: {place}", catalogue, unusable) for name, place in places]
    for error in conflicts(entries):
        raise ConfigurationError(f"{file}: {error.place}", error.problem, error.fix)
    for entry in entries:
        check_support_table(policy.support_table, f"{file}: supportTable", entry)
    one_of = {entry.name: entry.os_type for entry in entries} if policy.one_of else policy.one_of
    of_entries = entries[0].digest if len(entries) == 1 else digest([entry.digest for entry in entries])[:8]
    return replace(policy, one_of=one_of, digest=joined(policy.digest, of_entries))


def extension_places(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each name with its place in the file."""
    for index, name in enumerate(names):
        yield name, f"extension[{index}]" if len(names) > 1 else "extension"


def conflicts(entries: list[CatalogueEntry]) -> Iterator[ConfigurationError]:
    """An error for each extension of a policy that is for the operating system of an earlier one."""
    for index, entry in enumerate(entries):
        other = next((each for each in entries[:index] if each.os_type is entry.os_type), None)
        if other is not None:
            problem = f"{as_written(other.name)} and {as_written(entry.name)} are both for {entry.os_type}"
            fix = "name one extension for each operating system, and write another policy for the other"
            yield ConfigurationError(f"extension[{index}]", problem, fix)


def known_extension(
    name: str, place: str, catalogue: Mapping[str, CatalogueEntry], unusable: Mapping[str, str]
) -> CatalogueEntry:
    """The entry that a policy names. Raises ConfigurationError if the catalogue does not have it."""
    if (entry := catalogue.get(name)) is not None:
        return entry
    if (why := unusable.get(name)) is not None:
        problem = f"the catalogue entry of the extension {as_written(name)} cannot be used"
        raise ConfigurationError(place, problem, f"correct this first: {why}")
    fix = known_names("extensions", catalogue, name)
    raise ConfigurationError(place, f"unknown extension {as_written(name)}", fix)


def check_support_table(name: str, place: str, entry: CatalogueEntry) -> None:
    """Raises ConfigurationError if a policy names a support table that the entry does not have."""
    if name and name not in entry.support_tables:
        tables = [f'"{known}"' for known in entry.support_tables]
        fix = known_names("tables", tables, name)
        raise ConfigurationError(place, f"{entry.name} has no support table {as_written(name)}", fix)
