"""The functions of the domain with the reference data of the package: most tests want the result of the whole
product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onboarding.application import image_check
from onboarding.domain.catalog import catalogue_entry, support_table
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.support_table import SupportTable
from onboarding.domain.failures import error_table, handler_report
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.failure_rules import ErrorTable
from onboarding.domain.failures.handler_report import HandlerReport
from onboarding.domain.image import os_identification
from onboarding.domain.image.os_identification import NO_OVERRIDES, ImageDefinition, OsRelease, Overrides
from onboarding.domain.machine.machine_facts import ImageReference, MachineFacts, OsType
from onboarding.domain.machine.managed_machines import Managed
from onboarding.domain.policy import policy_file
from onboarding.domain.policy.policy import Policy, RuleCompiler
from onboarding.loading.package_data import reference_data

REFERENCE = reference_data()


def identify(
    facts: MachineFacts, overrides: Overrides = NO_OVERRIDES, definition: ImageDefinition | None = None
) -> OsRelease:
    return os_identification.identify(facts, REFERENCE, overrides, definition)


def release_of_image(image: ImageReference) -> OsRelease:
    return os_identification.release_of_image(image, REFERENCE)


def release_of_guest(os_name: str, os_version: str) -> OsRelease:
    return os_identification.release_of_guest(os_name, os_version, REFERENCE)


def parse_table(name: str, raw: Mapping[str, Any], os_type: OsType = OsType.LINUX) -> SupportTable:
    return support_table.parse_table(name, raw, REFERENCE.windows, os_type)


def parse_entry(raw: object, place: str) -> CatalogueEntry:
    return catalogue_entry.parse_entry(raw, place, REFERENCE)


def parse_errors(section: object, *, conventions: bool = True) -> ErrorTable:
    return error_table.parse_errors(section, REFERENCE.errors(), conventions=conventions)


def read_report(evidence: Evidence) -> HandlerReport:
    return handler_report.read_report(evidence, REFERENCE.handlers())


def parse_policy(raw: object, place: str, compile_rule: RuleCompiler) -> Policy:
    return policy_file.parse_policy(raw, place, compile_rule, REFERENCE.managed())


def recognise(facts: MachineFacts) -> Managed | None:
    return REFERENCE.managed().recognise(facts)


def checker(table: SupportTable, overrides: Overrides = NO_OVERRIDES) -> image_check.Checker:
    return image_check.Checker(table, REFERENCE, overrides)


def check_query(
    query: Mapping[str, str], catalogue: Mapping[str, CatalogueEntry], *used: image_check.UsedExtension
) -> dict[str, Any]:
    return image_check.check_query(query, used, catalogue, REFERENCE)
