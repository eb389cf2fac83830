"""Which extensions a command is about: the one that `--extension` names, else those that the policies use."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from onboarding.application.image_check import UsedExtension, used_extensions
from onboarding.cli.io import BadInput
from onboarding.cli.policy.policy_input import load_rules, policy_folder
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import as_written, known_names
from onboarding.loading.policy_extensions import known_extension
from onboarding.loading.policy_folder import load_catalogue_of


def add_extension(parser: argparse.ArgumentParser, *, default: str = "those that the policies use") -> None:
    parser.add_argument("--extension", default="", metavar="NAME", help=f"catalogue entry (default: {default})")


def chosen_extensions(name: str) -> tuple[UsedExtension, ...]:
    """The extension of that name; for an empty name those that the policies use, of which there is at least one."""
    if name:
        return (UsedExtension(_named(name)),)
    folder = policy_folder(os.environ)
    rules, problems = load_rules(folder, os.environ)
    if found := used_extensions(rules.policies, rules.catalogue):
        return found
    problem = f"no policy of the folder {as_written(folder, 200)} uses an extension"
    known = known_names("extensions", rules.catalogue)
    reasons = (*problems, *(policy.off for policy in rules.policies.policies if policy.inactive))
    correct = f"; or correct the folder: {reasons[0]}" if reasons else ""
    raise BadInput("", problem, f"give --extension NAME ({known}){correct}")


def chosen_entries(name: str) -> tuple[CatalogueEntry, ...]:
    """The same, each catalogue entry once, whatever support tables policies choose."""
    return tuple({used.entry.name: used.entry for used in chosen_extensions(name)}.values())


def _named(name: str) -> CatalogueEntry:
    """The catalogue entry of that name: one of the package, or one of the policy folder."""
    catalogue = load_catalogue_of(Path(policy_folder(os.environ)))
    return known_extension(name, "--extension", catalogue.entries, catalogue.unusable)
