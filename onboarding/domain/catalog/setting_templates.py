"""Templates in settings: `{NAME}` stands for an app setting, `{machine.id}` for a value of the machine itself.

A template of the machine may have no value, such as `{identity.id}` on a machine without an identity. Then the smallest
object around it is left out, and an object that is empty without it. At the top there is no object to leave out: there
it is the setting alone. An app setting without a value is a mistake instead, which `extension_settings` reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

from onboarding.domain.catalog.setting_schema import Path
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.masking import mask
from onboarding.domain.resource_id import fold_id

_TEMPLATE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\}")
_KEY_VAULT = re.compile(r"@\s*Microsoft\.KeyVault\s*\(", re.IGNORECASE)


class MachineValues(Struct, frozen=True):
    """What templates may take from the machine; an empty text is no value."""

    id: str  # the resource id
    name: str
    location: str  # the region
    identity_id: str = ""  # the resource id of the identity that the agent is to use
    identity_client_id: str = ""

    @classmethod
    def of(cls, facts: MachineFacts, identity: str = "") -> MachineValues:
        """The values of a machine; `identity` is the id of the one that the agent must be given by name."""
        clients = facts.identity.clients
        resource_id = str(facts.id) if facts.id.name else ""
        return cls(resource_id, facts.id.name, facts.location, identity, clients.get(fold_id(identity), ""))

    def value(self, template: str) -> str:
        field = MACHINE_TEMPLATES.get(template)
        return str(getattr(self, field)) if field else ""


MACHINE_TEMPLATES: Mapping[str, str] = {
    "machine.id": "id",
    "machine.name": "name",
    "machine.location": "location",
    "identity.id": "identity_id",
    "identity.clientId": "identity_client_id",
}


def texts_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text in a value, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from texts_in(each, (*path, str(name)))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from texts_in(each, (*path, index))


def app_settings_in(value: Any) -> list[str]:
    """The names of the app settings that a value stands for."""
    return [name for name in _templates_in(value) if "." not in name]


def machine_templates_in(value: Any) -> list[str]:
    """The templates of the machine in a value, known or not."""
    return [name for name in _templates_in(value) if "." in name]


def has_template(text: str) -> bool:
    return _TEMPLATE.search(text) is not None


def has_machine_template(text: str) -> bool:
    return any("." in found[1] for found in _TEMPLATE.finditer(text))


def is_unresolved(value: Any) -> bool:
    """Whether a value, or a value in it, is a Key Vault reference that the platform did not replace."""
    return any(_KEY_VAULT.search(text) for _, text in texts_in(value))


def readable(value: Any) -> str:
    """Why a secret value can be read in the file that holds it; empty if it only names app settings."""
    match value:
        case bool() | None:
            return ""
        case str() if not value.strip():
            return ""
        case str() if is_unresolved(value):
            return "is a Key Vault reference, which works in app settings only"
        case str() if has_template(value) and mask(value) == value:
            return ""
    return "is readable in this file"


def fill(settings: Mapping[str, Any], app_settings: Mapping[str, str], machine: MachineValues | None) -> dict[str, Any]:
    """The settings with the values of their templates. Without a machine, its templates stay as they are."""
    filled = ((name, _filled(value, app_settings, machine)) for name, value in settings.items())
    return {name: value for name, value in filled if not isinstance(value, _Left)}


def secret_pieces(value: Any, app_settings: Mapping[str, str]) -> list[str]:
    """The texts of a secret value that must be masked: all of it. If it has templates of the machine, whose values are
    in every log line, only what is between them and has the value of an app setting."""
    if not isinstance(value, str):
        return [str(value)]
    pieces = [piece for piece in _between_machine_templates(value) if has_template(piece) or piece == value]
    return [_TEMPLATE.sub(lambda found: app_settings.get(found[1], "").strip(), piece) for piece in pieces]


def _between_machine_templates(text: str) -> list[str]:
    pieces, start = [], 0
    for found in _TEMPLATE.finditer(text):
        if "." in found[1]:
            pieces.append(text[start : found.start()])
            start = found.end()
    return [*pieces, text[start:]]


def split(text: str) -> list[str]:
    """The text cut at its templates: literal, name, literal, name, …, literal."""
    return _TEMPLATE.split(text)


class _Left(Enum):
    """What is left of a value without a value."""

    OBJECT = "the object around it goes too"
    NOTHING = "it is gone, and what is around it stays"


def _filled(value: Any, app_settings: Mapping[str, str], machine: MachineValues | None) -> Any:
    if value is None:
        return _Left.NOTHING  # `key:` without a value counts as absent
    if isinstance(value, str):
        return _filled_text(value, app_settings, machine)
    if isinstance(value, Mapping):
        filled = {name: _filled(each, app_settings, machine) for name, each in value.items()}
        kept = {name: each for name, each in filled.items() if not isinstance(each, _Left)}
        if _Left.OBJECT in filled.values() or (value and not kept):
            return _Left.NOTHING
        return kept
    if isinstance(value, list):
        items = [None if each is None else _filled(each, app_settings, machine) for each in value]
        return _Left.OBJECT if _Left.OBJECT in items else [each for each in items if not isinstance(each, _Left)]
    return value


def _filled_text(text: str, app_settings: Mapping[str, str], machine: MachineValues | None) -> str | _Left:
    names = [found[1] for found in _TEMPLATE.finditer(text)]
    if machine is not None and any("." in name and not machine.value(name) for name in names):
        return _Left.OBJECT

    def value(found: re.Match[str]) -> str:
        if "." not in found[1]:
            return app_settings.get(found[1], "").strip()
        return found[0] if machine is None else machine.value(found[1])

    return _TEMPLATE.sub(value, text)


def _templates_in(value: Any) -> list[str]:
    found = (name for _, text in texts_in(value) for name in _TEMPLATE.findall(text))
    return list(dict.fromkeys(found))
