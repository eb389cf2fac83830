"""`onboard extension new`: write the first text of a catalogue entry, from publisher and type, or from an installed
extension as `az vm extension show -o json` or a GET of ARM prints it. Secrets are never copied.

With --policy it writes a policy for it too. No file is overwritten, but the schemas for editors: outside of a checkout
they are written into `schemas/` of the policy folder. Exit codes: 0, 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from onboarding.cli.command_list import EXTENSION_ACTIONS, add_command
from onboarding.cli.io import BadInput, Commands, shown, write_text
from onboarding.cli.policy.policy_input import policy_folder, read_source
from onboarding.domain.catalog.catalogue_entry import parse_entry
from onboarding.domain.errors import ConfigurationError, as_written
from onboarding.domain.json_access import printable
from onboarding.export.entry_schema import entry_schema
from onboarding.export.entry_skeleton import ENTRY_SCHEMA, POLICY_SCHEMA, NewEntry, entry_text, policy_text
from onboarding.export.policy_schema import policy_schema
from onboarding.loading.package_data import managed_kinds, reference_data
from onboarding.loading.policy_folder import EXTENSIONS, load_catalogue_of

_GIVE = "give --publisher and --type, or an extension as `az vm extension show -o json` prints it"
_SCHEMAS = "schemas"  # below the policy folder, where nothing is read as a policy


class _Installed(Struct, frozen=True):
    """What the body of an extension says of it."""

    publisher: str = ""
    type: str = ""
    version: str = ""
    name: str = ""
    automatic_upgrade: bool | None = None
    minor_upgrade: bool = True
    settings: Mapping[str, Any] = {}
    protected: tuple[str, ...] = ()
    machine: Mapping[str, str] = {}


def add(actions: Commands) -> None:
    parser = add_command(actions, "new", EXTENSION_ACTIONS)
    what = "an installed extension as JSON, from `az vm extension show` or a GET of ARM; - for standard input"
    parser.add_argument("body", nargs="?", metavar="FILE", help=what)
    parser.add_argument("--publisher", help="the publisher, such as Contoso.Inventory")
    parser.add_argument("--type", help="the type, such as InventoryLinuxAgent")
    parser.add_argument("--version", help="the version, such as 7.0")
    parser.add_argument("--os", choices=("linux", "windows"), help="default: as the type says")
    parser.add_argument("--name", help="its name in policies (default: made from the type)")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE", help="a public setting; may be repeated"
    )
    parser.add_argument("--secret", action="append", default=[], metavar="NAME", help="a protected setting; likewise")
    parser.add_argument("--policy", action="store_true", help="write a policy that names it, too")
    where = "where to write it; - prints it (default: NAME.yaml in extensions/ of the policy folder)"
    parser.add_argument("--file", metavar="FILE", help=where)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    new = _new_entry(args, _read_body(args.body, args.type) if args.body else _Installed())
    folder = Path(policy_folder(os.environ))
    if args.file == "-":
        print(_checked(entry_text(new, f"../../{ENTRY_SCHEMA}")), end="")
        return 0
    path = Path(args.file) if args.file else folder / EXTENSIONS / f"{new.name}.yaml"
    policy = folder / f"{new.name}.yaml"
    _refuse_existing([path, *([policy] if args.policy else [])])
    in_project = Path(ENTRY_SCHEMA).is_file()
    of_entries, of_policies = Path(ENTRY_SCHEMA), Path(POLICY_SCHEMA)
    if not in_project:
        of_entries, of_policies = (folder / _SCHEMAS / each.name for each in (of_entries, of_policies))
    texts = {path: _checked(entry_text(new, _relative(of_entries, path)))}
    if args.policy:
        texts[policy] = policy_text(new, _relative(of_policies, policy))
    for each, text in texts.items():
        _write(each, text)
        print(printable(f"wrote {each}"))
    if not in_project:
        _write_schema(of_entries, entry_schema())
        _write_schema(of_policies, policy_schema(load_catalogue_of(folder).entries, managed_kinds()))
    _say_next(new, "" if path == folder / EXTENSIONS / path.name else str(path))
    return 0


def _say_next(new: NewEntry, path: str) -> None:
    validate, try_it = f"onboard extension validate {path}".strip(), f"onboard extension test {path or new.name}"
    print(printable(f"next: complete it, then `{validate}` and `{try_it}`"))
    if new.protected:
        names = ", ".join(new.app_settings.values())
        print(printable(f"app settings for its secrets, in Azure as Key Vault references: {names}"))


def _new_entry(args: argparse.Namespace, body: _Installed) -> NewEntry:
    publisher, type_ = args.publisher or body.publisher, args.type or body.type
    if not publisher or not type_:
        raise BadInput("", f"the {'type' if publisher else 'publisher'} of the extension is not given", _GIVE)
    system = args.os or next((each for each in ("linux", "windows") if each in f"{publisher}.{type_}".lower()), "")
    if not system:
        raise BadInput("--os", f"the type {as_written(type_)} does not say for which operating system it is", "give it")
    version = ".".join((args.version or body.version).split(".")[:2])
    return NewEntry(
        name=args.name or _name_of(type_),
        publisher=publisher,
        type=type_,
        os=system,
        version=version,
        resource_name=body.name,
        automatic_upgrade=body.automatic_upgrade,
        minor_upgrade=body.minor_upgrade,
        settings={**body.settings, **dict(map(_setting, args.setting))},
        protected=tuple(dict.fromkeys((*body.protected, *args.secret))),
        machine=body.machine,
    )


def _name_of(type_: str) -> str:
    """`InventoryLinuxAgent` as `inventory-linux-agent`."""
    words = re.sub(r"(?<=[A-Za-z0-9])(?=[A-Z][a-z])", "-", type_)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise BadInput("--setting", f"{as_written(name)} has no value", "write it as NAME=VALUE")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise BadInput("--setting", f"the value of {as_written(name)} is not YAML", "write a text or JSON") from error


def _read_body(path: str, type_: str | None) -> _Installed:
    """The one extension in a file: as `az` prints it, as ARM does, or a list of which `--type` chooses."""
    source = read_source(path)
    values = source.data.get("value", source.data) if isinstance(source.data, dict) else source.data
    bodies = [each for each in (values if isinstance(values, list) else [values]) if isinstance(each, dict)]
    found = [each for each in map(_installed, bodies) if each.publisher and each.type]
    chosen = [each for each in found if not type_ or each.type.lower() == type_.lower()]
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        raise BadInput(shown(path), "the input has no extension with publisher and type", _GIVE)
    types = ", ".join(each.type for each in chosen)
    raise BadInput(shown(path), f"the input has {len(chosen)} extensions", f"choose one with --type: {types}")


def _installed(body: Mapping[str, Any]) -> _Installed:
    inner = body.get("properties")
    properties: Mapping[str, Any] = inner if isinstance(inner, dict) and "publisher" in inner else body
    # `az` has the resource's type in `type`, and the handler's under a name that changed over time.
    types = [properties.get(name) for name in ("typePropertiesType", "virtualMachineExtensionType", "type")]
    settings, protected = properties.get("settings"), properties.get("protectedSettings")
    automatic = properties.get("enableAutomaticUpgrade")
    return _Installed(
        publisher=_text(properties.get("publisher")),
        type=next((each for each in types if isinstance(each, str) and each and "/" not in each), ""),
        version=_text(properties.get("typeHandlerVersion")),
        name=_text(body.get("name")).rpartition("/")[2],
        automatic_upgrade=automatic if isinstance(automatic, bool) else None,
        minor_upgrade=properties.get("autoUpgradeMinorVersion") is not False,
        settings=settings if isinstance(settings, dict) else {},
        protected=tuple(map(str, protected)) if isinstance(protected, dict) else (),  # names alone, never values
        machine=dict(_machine_values(_text(body.get("id")), _text(body.get("location")))),
    )


def _machine_values(id_: str, location: str) -> Iterator[tuple[str, str]]:
    """The templates of the machine, by the value that each has on this one."""
    machine = re.split("/extensions/", id_, maxsplit=1, flags=re.IGNORECASE)[0]
    if location:
        yield location, "machine.location"
    if machine:
        yield machine.rpartition("/")[2], "machine.name"
        yield machine, "machine.id"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _checked(text: str) -> str:
    """The text, which has to be a valid entry. Raises BadInput for an invalid name or version."""
    try:
        parse_entry(yaml.safe_load(text), "", reference_data())
    except ConfigurationError as error:
        raise BadInput(error.place.lstrip(": "), error.problem, error.fix) from error
    return text


def _refuse_existing(paths: list[Path]) -> None:
    for path in paths:
        if os.path.lexists(path):
            raise BadInput(str(path), "the file is there already", "give another --name or --file, or remove it")


def _relative(schema: Path, file: Path) -> str:
    return Path(os.path.relpath(schema, file.parent)).as_posix()


def _write_schema(path: Path, schema: Mapping[str, Any]) -> None:
    _write(path, json.dumps(schema, indent=2, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(str(path.parent), f"the folder cannot be made: {error.strerror}", "name another file") from error
    write_text(path, text)
