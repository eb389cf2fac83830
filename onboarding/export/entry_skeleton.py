"""The first text of a catalogue entry and of a policy that names it, with comments for somebody who writes the first.

What an installed extension shows of its settings becomes their schema; its values become examples in comments. A value
that is or may be a secret is never copied.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from msgspec import Struct

from onboarding.domain.catalog.secret_names import names_secret
from onboarding.domain.json_access import json_type, printable
from onboarding.domain.masking import mask

ENTRY_SCHEMA, POLICY_SCHEMA = "docs/schemas/extension.schema.json", "docs/policy.schema.json"
_LONGEST_EXAMPLE = 60
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ESCAPES = {'"': '\\"', "\\": "\\\\"}
_COLUMN = 33  # where the comments of the first keys begin


class NewEntry(Struct, frozen=True):
    """What is known of an extension before its entry is written."""

    name: str
    publisher: str
    type: str
    os: str  # linux or windows
    version: str = ""  # empty: nobody said it
    resource_name: str = ""
    automatic_upgrade: bool | None = None
    minor_upgrade: bool = True
    settings: Mapping[str, Any] = {}  # public ones, as examples
    protected: Sequence[str] = ()  # the names of protected settings
    machine: Mapping[str, str] = {}  # templates such as machine.id, by the value that they have on the example's VM

    def __repr__(self) -> str:
        return f"NewEntry({self.name!r})"

    @property
    def app_settings(self) -> Mapping[str, str]:
        """The app setting of each protected setting."""
        vendor = self.publisher.partition(".")[0]
        prefix = self.name if vendor.lower() == "microsoft" else vendor
        found: dict[str, str] = {}
        for name in self.protected:
            setting = _upper(f"{prefix}_{name}")
            setting = setting if setting[:1].isalpha() else f"EXTENSION_{setting}".strip("_")
            taken = [each for each in found.values() if re.fullmatch(rf"{setting}(_\d+)?", each)]
            found[name] = f"{setting}_{len(taken) + 1}" if taken else setting
        return found


def entry_text(new: NewEntry, schema: str) -> str:
    """The file of the entry. `schema` is the path of the JSON Schema of entries, from the file's folder."""
    publisher, type_ = printable(new.publisher), printable(new.type)  # in comments, which a line break would end
    images = f"az vm extension image list-versions --publisher {publisher} --name {type_} --location REGION"
    version = new.version or "1.0"
    lines = [
        f"# yaml-language-server: $schema={schema}",
        "# An extension of your own; docs/extensions.md explains every key. `onboard extension validate` finds errors,",
        f"# `onboard extension test {new.name}` installs it on a simulated VM.",
        _key("name", new.name, "in policies, rows and commands"),
        _key("publisher", new.publisher, "as Azure knows it"),
        _key("type", new.type),
        _key("version", version, "" if new.version else "a guess; the versions that there are:", quoted=True),
        *([] if new.version else [f"# {images}"]),
        _key("resourceName", new.resource_name or re.sub(r"[^A-Za-z0-9_.-]", "-", new.type), "its name on the VM"),
        _key("os", new.os, "linux or windows"),
        *([] if new.minor_upgrade else ["autoUpgradeMinorVersion: false"]),
        *([] if new.automatic_upgrade is None else [f"enableAutomaticUpgrade: {_plain(new.automatic_upgrade)}"]),
        "",
        "# Public settings: whoever can read the VM sees them. Policies give the values. A list of the names that must",
        "# be there is `required: [name]`; a value for policies that give none is `default:`.",
        "settings:",
        "  type: object",
        *(_properties(new.settings, new.machine, "  ") if new.settings else ["  additionalProperties: true # any"]),
        "",
        "# Protected settings: secrets, which Azure encrypts and never shows. Policies name app settings for them.",
        *_protected(new.protected),
        "",
        "# The operating systems that it supports, with date and source; without tables every version is tried.",
        "# supportTables:",
        '#   "2026-01":',
        "#     date: 2026-01-15",
        "#     source: the vendor's page",
        f"#     versions: {_VERSIONS[new.os]}",
        "",
        "# What its exit codes mean: `errors:` in docs/extensions.md. Its logs on the VM, for `onboard logs`:",
        f"# logs: [{_LOGS[new.os].format(publisher=publisher, type=type_)}]",
    ]
    return "\n".join(lines) + "\n"


_VERSIONS = {
    "linux": '{ubuntu: ">= 20.04", rhel: ["8", "9"], debian: any}',
    "windows": '{windows: [">= 2016", ">= 10 1809"]}',
}
_LOGS = {
    "linux": "/var/log/azure/{publisher}.{type}/*.log",
    "windows": r"'C:\WindowsAzure\Logs\Plugins\{publisher}.{type}\*\*.log'",
}


def policy_text(new: NewEntry, schema: str) -> str:
    """The file of a policy that installs the extension on every new VM in its scope. `schema` is the path
    of the JSON Schema of policies."""
    settings = {name: each for name, value in new.settings.items() if (each := _shown(name, value, new.machine))}
    lines = [
        f"# yaml-language-server: $schema={schema}",
        f"name: {new.name}",
        f"extension: {new.name}",
        "effect: deployIfNotExists # auditIfNotExists writes what would be done, and does nothing",
        "# VMs that are older than this policy are only audited: `onboard enforce` takes them up.",
        "# scope: [/subscriptions/ID/resourceGroups/NAME] # without it every VM whose events reach the app",
        "# rule: {field: \"tags['monitored']\", equals: 'yes'} # without it every VM in scope",
    ]
    if settings:
        lines += ["settings:", *(f"  {_plain(name)}: {each}" for name, each in settings.items())]
    if new.protected:
        lines.append("protectedSettings: # names of app settings; in Azure each is a Key Vault reference")
        lines += [f'  {_plain(name)}: "{{{setting}}}"' for name, setting in new.app_settings.items()]
    return "\n".join(lines) + "\n"


def _key(name: str, value: str, comment: str = "", *, quoted: bool = False) -> str:
    text = f"{name}: {_written(value) if quoted else _plain(value)}"
    return f"{text:<{_COLUMN}} # {comment}" if comment else text


def _protected(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield "protectedSettings:"
        yield "  type: object"
        yield f"  required: [{', '.join(map(_plain, names))}]"
        yield "  properties:"
        yield from (f"    {_plain(name)}: {{type: string}}" for name in names)
        return
    yield "# protectedSettings:"
    yield "#   type: object"
    yield "#   required: [api_key]"
    yield "#   properties:"
    yield "#     api_key: {type: string}"


def _properties(settings: Mapping[str, Any], machine: Mapping[str, str], indent: str) -> Iterator[str]:
    yield f"{indent}properties:"
    for name, value in settings.items():
        key = f"{indent}  {_plain(name)}:"
        if isinstance(value, Mapping) and value:
            yield key
            yield f"{indent}    type: object"
            yield from _properties(value, machine, f"{indent}    ")
        elif union := _union(value):
            yield key
            yield f"{indent}    type: array"
            yield f"{indent}    items:"
            yield f"{indent}      type: object"
            yield from _properties(union, machine, f"{indent}      ")
        else:
            yield f"{key} {_schema(name, value, machine)}"


def _schema(name: str, value: Any, machine: Mapping[str, str]) -> str:
    """The schema of a value that has no properties, with the value as an example."""
    if isinstance(value, str) and value in machine:
        return f'{{type: string, default: "{{{machine[value]}}}"}} # a value of the VM'
    kind = json_type(value)
    if _may_be_secret(name, value):
        return f"{{type: {kind}, secret: true}} # looks like a secret: protectedSettings, if it is read there"
    if isinstance(value, list):
        items = {json_type(each) for each in value}
        one = items.pop() if len(items) == 1 else ""
        schema = f"{{type: array, items: {{type: {one}}}}}" if one else "{type: array}"
    elif isinstance(value, Mapping):
        schema = "{type: object, additionalProperties: true}"
    else:
        schema = f"{{type: {kind}}}" if kind else "{}"
    example = _written(value)
    is_shown = value not in (None, "", [], {}) and len(example) <= _LONGEST_EXAMPLE and not _holds_secret(name, value)
    return f"{schema} # for example {example}" if is_shown else schema


def _union(value: Any) -> Mapping[str, Any]:
    """The properties of the objects in a list, if one schema fits them all; else none."""
    items = value if isinstance(value, list) and all(isinstance(each, Mapping) for each in value) else []
    union: dict[str, Any] = {}
    for item in items:
        for name, each in item.items():
            if _shape(union.setdefault(name, each)) != _shape(each):
                return {}
    return union


def _shape(value: Any) -> Any:
    """What two values have in common that fit one schema."""
    if isinstance(value, Mapping):
        return {name: _shape(each) for name, each in value.items()}
    return [_shape(each) for each in value] if isinstance(value, list) else json_type(value)


def _may_be_secret(name: str, value: Any) -> bool:
    return isinstance(value, str) and (names_secret(name) or mask(value) != value)


def _shown(name: str, value: Any, machine: Mapping[str, str]) -> str:
    """A value in a policy; empty for one that has a default, that may be a secret, or that a policy cannot hold."""
    if value in (None, [], {}) or (isinstance(value, str) and value in machine):
        return ""
    return "" if _holds_secret(name, value) or _lists_null(value) else _written(value)


def _lists_null(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_lists_null, value.values()))
    return isinstance(value, list) and any(each is None or _lists_null(each) for each in value)


def _holds_secret(name: str, value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_secret(str(inner), each) for inner, each in value.items())
    if isinstance(value, list):
        return any(_holds_secret(name, each) for each in value)
    return _may_be_secret(name, value)


def _written(value: Any) -> str:
    """The value on one line, as JSON that YAML reads in the same way."""
    match value:
        case str():
            return '"' + "".join(_ESCAPES.get(c, c) if c.isprintable() else f"\\U{ord(c):08x}" for c in value) + '"'
        case Mapping():
            return "{" + ", ".join(f"{_written(str(name))}: {_written(each)}" for name, each in value.items()) + "}"
        case list():
            return f"[{', '.join(map(_written, value))}]"
        case float():
            mantissa, e, exponent = repr(value).partition("e")  # to YAML, 1e9 is a text
            return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else repr(value)
    return json.dumps(value, default=str)


def _plain(value: Any) -> str:
    """A scalar as YAML has it, without quotes where that means the same."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return _written(value)


def _upper(name: str) -> str:
    """`apiKey` and `api-key` as `API_KEY`."""
    return re.sub(r"[^A-Za-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_").upper()
