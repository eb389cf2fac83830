"""Generates the parts of documentation pages that follow from data: support tables and the meaning of publishers' names
(`docs/supported-images.md`), the shipped extensions and the kinds of managed machine (`docs/policies.md`).

The prose is written by hand; this module fills in the parts between `<!-- begin: name -->` and `<!-- end: name -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.entry_file import IdentityNeed
from onboarding.domain.catalog.support_table import SupportTable
from onboarding.domain.image.os_release import TITLES, Distribution
from onboarding.domain.machine.managed_machines import ManagedKind

_PART = re.compile(r"(<!-- begin: (?P<name>[\w-]+) -->\n).*?(<!-- end: (?P=name) -->)", re.DOTALL)


def fill_page(page: str, parts: Mapping[str, str]) -> str:
    """The page with its generated parts replaced; a part without marks in the page is left out."""
    return _PART.sub(lambda match: f"{match[1]}{parts.get(match['name'], '')}{match[3]}", page)


def page_parts(
    entries: Iterable[CatalogueEntry], grammar: Mapping[str, Any], kinds: Iterable[ManagedKind]
) -> dict[str, str]:
    """Every generated part by its name."""
    entries = tuple(entries)
    return {
        "extensions": _extensions(entries),
        "tables": _tables(entries),
        "publishers": _publishers(grammar["publishers"]),
        "managed": _managed(kinds),
    }


def _extensions(entries: Iterable[CatalogueEntry]) -> str:
    lines = [
        "| Extension | Handler and version | Needs on the VM | To be given by the policy | Systems | Facts of |",
        "|---|---|---|---|---|---|",
    ]
    for entry in entries:
        until = f"<br>until {entry.retirement_date}" if entry.retirement_date else ""
        version = f"{entry.version}, upgraded by the platform" if entry.enable_automatic_upgrade else entry.version
        table = entry.support_table("")
        systems = f"table `{table.name}`" if table.rows else f"any {entry.os_type}"
        cells = (
            f"`{entry.name}`<br>{entry.display_name}{until}",
            f"`{entry.publisher}`<br>`{entry.type}` {version}",
            ", ".join(_needs(entry)) or "–",
            ", ".join(_to_give(entry)) or "–",
            systems,
            "<br>".join(f"{each.date}: {each.source}" for each in entry.sources) or "–",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _needs(entry: CatalogueEntry) -> Iterator[str]:
    if entry.needs.identity is not IdentityNeed.NONE:
        yield _IDENTITIES[entry.needs.identity]
    yield from (f"`{name}`" for name in entry.needs.extensions)


def _to_give(entry: CatalogueEntry) -> Iterator[str]:
    for group, schema in entry.groups.items():
        secret = " (secret)" if group == "protectedSettings" else ""
        for name in schema.required:
            yield f"`{name}`{secret}"


_IDENTITIES = {
    IdentityNeed.ANY: "an identity",
    IdentityNeed.SYSTEM: "the system-assigned identity",
    IdentityNeed.NAMED: "an identity that its settings name",
}


def _tables(entries: Iterable[CatalogueEntry]) -> str:
    sections = [
        _section(entry, table)
        for entry in entries
        for table in entry.support_tables.values() or [entry.support_table("")]
    ]
    return "\n".join(sections)


def _section(entry: CatalogueEntry, table: SupportTable) -> str:
    if not table.name:
        return f"### `{entry.name}`, without a table\n\nAny {table.os_type}.\n"
    default = ", the default" if table.name == entry.default_support_table else ""
    head = f"### `{entry.name}`, table `{table.name}`{default}\n\nAs of {table.date}. Source: {table.source}.\n\n"
    if not table.rows:
        return f"{head}Any {table.os_type}.\n"
    lines = ["| Distribution | Versions | Architectures |", "|---|---|---|"]
    by_kind: dict[tuple[Distribution, tuple[str, ...]], list[str]] = {}
    for row in table.rows:
        condition = f" ({row.condition})" if row.condition else ""
        by_kind.setdefault((row.distribution, row.architectures), []).append(f"{row.versions}{condition}")
    for (distribution, architectures), versions in sorted(by_kind.items(), key=lambda kind: TITLES[kind[0][0]].lower()):
        lines.append(f"| {TITLES[distribution]} | {', '.join(versions)} | {', '.join(architectures)} |")
    return head + "\n".join(lines) + "\n"


def _publishers(publishers: Mapping[str, Sequence[Mapping[str, str]]]) -> str:
    lines = ["| Publisher | Offer and sku | Read as |", "|---|---|---|"]
    for publisher, rules in sorted(publishers.items()):
        lines += [f"| `{publisher}` | {_names(rule)} | {_meaning(rule)} |" for rule in rules]
    return "\n".join(lines) + "\n"


def _managed(kinds: Iterable[ManagedKind]) -> str:
    lines = ["| Kind | What it is, and why policies exclude it | Recognised by any one of |", "|---|---|---|"]
    for kind in kinds:
        evidence = "<br>".join(map(str, kind.evidence))
        lines.append(f"| `{kind.name}` | {kind.what}: {kind.why.rstrip('.')} | {evidence} |")
    return "\n".join(lines) + "\n"


def _names(rule: Mapping[str, str]) -> str:
    globs = [f"{part} `{rule[part]}`" for part in ("offer", "sku") if part in rule]
    return ", ".join(globs) or "all"


def _meaning(rule: Mapping[str, str]) -> str:
    if "otherwise" in rule:
        return f"what its name says, otherwise {TITLES[Distribution(rule['otherwise'])]}"
    distribution = Distribution(rule["is"])
    return "unknown: its name does not say" if distribution is Distribution.UNKNOWN else TITLES[distribution]
