"""The settings of a template: values that are known, parameters for the others, and never a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import replace
from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.extension_settings import are_known, given_settings
from onboarding.domain.catalog.setting_schema import Path, schema_at, written
from onboarding.domain.catalog.setting_templates import MachineValues, fill, machine_templates_in
from onboarding.domain.policy.policy import Policy
from onboarding.export.extension_template import RESERVED
from onboarding.export.template_values import Parameter

_ARM_TYPES = {"object": "object", "array": "array", "boolean": "bool", "integer": "int"}
_CLIENT_ID = "identity.clientId"
# Each value is its own template, so that the templates of the machine stay for the deployment to compute.
_ANY_MACHINE = MachineValues("{machine.id}", "{machine.name}", "{machine.location}")


def template_settings(
    entry: CatalogueEntry, policy: Policy, app_settings: Mapping[str, str], identity: str = ""
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The public and the protected settings. What is secret, or not known here, is a `Parameter`, and so is a required
    setting that the policy leaves out. `identity` is the id of the one that the settings must name; empty: none."""
    machine = replace(_ANY_MACHINE, identity_id=identity)
    names = _Names()
    made = []
    for group, values in given_settings(entry, policy).items():
        protected = group == "protectedSettings"
        secrets = {path for path, _ in entry.secret_values(group, values)}

        def parameter(path: Path, text: Any, secrets: set[Path] = secrets, protected: bool = protected) -> Any:
            missing = {name for name in machine_templates_in(text) if not machine.value(name)}
            if missing == {_CLIENT_ID} and identity:  # only Azure knows it
                return Parameter(names.of(path), f"The client id of {identity}.")
            if missing:
                return text  # `fill` leaves it out
            secure = path in secrets or (protected and isinstance(text, str))
            if not secure and are_known({"": text}, app_settings):
                return text
            what = "Protected setting" if protected else "Setting"
            return Parameter(names.of(path), f"{what} {written(path)} of the extension.", secure=secure)

        tree = {name: _mapped(value, (name,), parameter) for name, value in values.items() if value is not None}
        tree |= _required(entry, group, tree, names)
        made.append(fill(tree, app_settings, machine))
    return made[0], made[1]


def placeholders(entry: CatalogueEntry, policy: Policy, public: Mapping[str, Any], machine: MachineValues) -> Any:
    """The settings for a person's command, public and protected, with `<name>` for each secret."""
    secrets = {path for path, _ in entry.secret_values("settings", public)}
    shown = _mapped(public, (), lambda path, value: _placeholder(path) if path in secrets else value)
    protected = fill(given_settings(entry, policy)["protectedSettings"], {}, machine)
    return shown, _mapped(protected, (), lambda path, value: _placeholder(path))


def _placeholder(path: Path) -> str:
    return f"<{next(step for step in reversed(path) if isinstance(step, str))}>"


def _required(entry: CatalogueEntry, group: str, given: Mapping[str, Any], names: _Names) -> dict[str, Parameter]:
    schema, protected = entry.groups[group], group == "protectedSettings"
    what = "Protected setting" if protected else "Setting"
    return {
        name: Parameter(
            names.of((name,)),
            f"{what} {name} of the extension.",
            secure=protected or bool(schema_at(schema, (name,)).secret),
            type=_ARM_TYPES.get(schema.at(name).kind, "string"),
        )
        for name in schema.required
        if name not in given
    }


def _mapped(value: Any, path: Path, change: Any) -> Any:
    """The value with each of its leaves changed."""
    if isinstance(value, Mapping):
        return {name: _mapped(each, (*path, str(name)), change) for name, each in value.items()}
    if isinstance(value, list):
        return [_mapped(each, (*path, index), change) for index, each in enumerate(value)]
    return value if value is None else change(path, value)


class _Names:
    """The names of parameters, each given once."""

    def __init__(self) -> None:
        self._taken = set(RESERVED)

    def of(self, path: Path) -> str:
        """The setting's own name; for one inside of others, all their names in one: `proxy.user` is `proxyUser`."""
        first, *rest = self._words(path)
        base = first if not rest else first + "".join(word[:1].upper() + word[1:] for word in rest)
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}{number}"
        self._taken.add(name)
        return name

    @staticmethod
    def _words(path: Path) -> Iterator[str]:
        if len(path) == 1:
            yield str(path[0])
            return
        for step in path:
            yield from re.findall(r"[A-Za-z0-9_]+", str(step))
