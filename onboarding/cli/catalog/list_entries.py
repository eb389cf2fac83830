"""`onboard extension list`: the extensions that can be used, where each comes from, and which policies use it.

Files that cannot be used are listed too, each with its error. Exit codes: 0, 1 if a file cannot be used.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onboarding.cli.command_list import EXTENSION_ACTIONS, add_command
from onboarding.cli.io import Commands
from onboarding.cli.output import Form, add_output, write_records
from onboarding.cli.policy.policy_input import policy_folder
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.setting_schema import Path as SettingPath
from onboarding.domain.catalog.setting_schema import SettingSchema, written
from onboarding.domain.policy.policy import PolicySet
from onboarding.loading.policy_folder import Catalogue, load_catalogue_of, load_policies

_COLUMNS = ("name", "origin", "file", "replaces", "os", "publisher", "type", "version", "secrets", "policies", "error")


def add(actions: Commands) -> None:
    parser = add_command(actions, "list", EXTENSION_ACTIONS)
    parser.add_argument("--own", action="store_true", help="only your own, those of the folder extensions/")
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    folder = Path(policy_folder(os.environ))
    catalogue = load_catalogue_of(folder)
    policies, _ = load_policies(folder, catalogue.entries, catalogue.unusable)
    records = [each for each in _records(catalogue, policies) if each["origin"] == "own" or not args.own]
    if args.output is Form.TABLE:
        _show(records, folder)
    else:
        write_records(args.output, _COLUMNS, records)
    return 1 if catalogue.left_out else 0


def _records(catalogue: Catalogue, policies: PolicySet) -> Iterator[Mapping[str, Any]]:
    replaced: dict[str, list[str]] = {}
    for each in catalogue.replaced:
        replaced.setdefault(each.by, []).append(each.name)
    for entry in catalogue.entries.values():
        own = catalogue.files.get(entry.name)
        yield {
            "name": entry.name,
            "origin": "own" if own else "shipped",
            "file": own or f"onboarding/catalog/{entry.name}.yaml",
            "replaces": replaced.get(entry.name, []) if own else [],
            "os": entry.os_type.value,
            "publisher": entry.publisher,
            "type": entry.type,
            "version": entry.version,
            "secrets": list(_secrets(entry)),
            "policies": [policy.name for policy in policies.policies if entry.name in policy.extensions],
            "error": "",
        }
    for left_out in catalogue.left_out:
        yield {
            "name": left_out.name,
            "origin": "shipped" if left_out.shipped else "own",
            "file": left_out.error.place.partition(":")[0],
            "error": str(left_out.error),
        }


def _secrets(entry: CatalogueEntry) -> Iterator[str]:
    """The settings that no text may show, as `protectedSettings.api_key`."""
    for group, schema in entry.groups.items():
        for path in _secret_paths(schema, (group,), secret=group == "protectedSettings"):
            yield written(path)


def _secret_paths(schema: SettingSchema, path: SettingPath, *, secret: bool) -> Iterator[SettingPath]:
    secret = secret if schema.secret is None else schema.secret
    inner = [*(schema.properties or {}).items(), *([("*", schema.items)] if schema.items else [])]
    for name, each in inner:
        yield from _secret_paths(each, (*path, name), secret=secret)
    if secret and not inner and len(path) > 1:
        yield path


def _replacing(record: Mapping[str, Any]) -> str:
    names = " and ".join(record["replaces"])
    return f", which replaces the shipped {names}" if names else ""


def _show(records: list[Mapping[str, Any]], folder: Path) -> None:
    from onboarding.cli.console import open_console, plain_table, printable

    console = open_console()
    table = plain_table("Extension", "From", "OS", "Publisher and type", "Version", "Secrets", "Policies")
    for each in records:
        if not each["error"]:
            cells = (
                each["name"],
                each["origin"],
                each["os"],
                f"{each['publisher']}\n{each['type']}",
                each["version"] or "-",
                "\n".join(name.rpartition(".")[2] for name in each["secrets"]) or "-",
                "\n".join(each["policies"]) or "-",
            )
            table.add_row(*map(printable, cells))
    console.print(table)
    for each in records:
        if each["origin"] == "own" and not each["error"]:
            console.print(
                printable(f"{each['name']} is from {folder / each['file']}{_replacing(each)}"), soft_wrap=True
            )
        if each["error"]:
            console.print(printable(f"cannot be used: {each['error']}", "red"), soft_wrap=True)
    if not any(each["origin"] == "own" for each in records):
        text = f"{folder / 'extensions'} holds no extension of your own; `onboard extension new` makes one"
        console.print(printable(text), soft_wrap=True)
