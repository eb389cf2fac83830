"""Reads the input of the policy commands: definition and policy files (with line numbers), VMs, parameters.

Files are JSON or YAML. Every problem raises `BadInput` with file and line.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from onboarding.application.rules import Rules
from onboarding.cli.images.check_input import read_list_items
from onboarding.cli.io import MAX_LIST, BadInput, line_of, read_text, shown
from onboarding.domain.errors import ConfigurationError, as_written
from onboarding.domain.machine.machine_formats import Unrecognised, other_type, read_vm
from onboarding.domain.policy.definitions.definition_forms import is_specification, spelled
from onboarding.domain.policy.policy import Policy
from onboarding.domain.policy.policy_file import parse_policy
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.typed_file import read_as
from onboarding.loading.package_data import managed_kinds, reference_data
from onboarding.loading.policy_folder import load_catalogue_of, load_overrides, load_policies
from onboarding.loading.safe_reader import Unreadable, line_in, nodes_of, parse_json, parse_yaml, without_comments


@dataclass(frozen=True)
class Source:
    """A file that was read: its data, and its text to find line numbers in."""

    name: str
    text: str
    data: Any

    def line_of(self, place: str) -> int:
        """The line of a place such as `rule.allOf[2].field`, or of the nearest part of it that exists."""
        return line_in(self._nodes, place)

    @cached_property
    def _nodes(self) -> yaml.Node | None:
        return nodes_of(self.text)

    def at(self, place: str) -> str:
        """A path in the file with its line, as error texts name it."""
        return f"{self.name}:{self.line_of(place)}{f': {place}' if place else ''}"

    def error(self, place: str, problem: str, fix: str) -> BadInput:
        return BadInput(self.at(place), problem, fix)

    def read_as[T](self, kind: type[T]) -> T:
        """What the file says, as that type. Raises BadInput with the line of the problem."""
        with self.problems_named():
            return read_as(self.data, kind, self.name)

    @contextmanager
    def problems_named(self) -> Iterator[None]:
        """Raises BadInput with the line for a ConfigurationError about this file."""
        try:
            yield
        except ConfigurationError as error:
            place = error.place.removeprefix(self.name).lstrip(": ")
            raise self.error(place, error.problem, error.fix) from error


def read_source(path: str, *, with_comments: bool = False) -> Source:
    """Read a JSON or YAML file. `with_comments` allows comments in JSON, which files of other projects may have."""
    text = read_text(path)
    if with_comments and (bare := without_comments(text)).lstrip()[:1] in ("{", "["):
        text = bare
    is_json = text.lstrip()[:1] in ("{", "[")
    try:
        return Source(path, text, parse_json(text) if is_json else parse_yaml(text))
    except Unreadable as error:
        raise BadInput(line_of(path, error.line or 1), error.problem, error.fix) from error


def load_policy(path: str) -> Policy:
    """Read one policy file. Raises BadInput with the line of the problem."""
    source = read_source(path)
    with source.problems_named():
        return parse_policy(source.data, source.name, compile_rule, managed_kinds())


def load_rules(folder: str, environment: Mapping[str, str]) -> tuple[Rules, tuple[str, ...]]:
    """The policies, extensions and image overrides of a folder as the function app uses them, and their problems."""
    catalogue = load_catalogue_of(Path(folder))
    policies, problems = load_policies(Path(folder), catalogue.entries, catalogue.unusable)
    overrides, override_problems = load_overrides(Path(folder))
    active = policies.with_settings(environment)
    rules = Rules(active, catalogue.entries, environment, reference_data(), overrides, catalogue.unusable)
    return rules, (*catalogue.problems, *problems, *override_problems)


def folder_or_file(name: str) -> Path:
    """The path of an argument. An empty one, from a shell variable that is not set, does not mean this folder."""
    if not name.strip():
        raise BadInput("", f"{as_written(name)} is not the name of a file or folder", "give one")
    return Path(name)


def policy_folder(environment: Mapping[str, str]) -> str:
    return environment.get("ONBOARDING_POLICIES") or "policies"


def read_vms(path: str, *, only_vms: bool = False) -> Iterator[Mapping[str, Any]]:
    """VM bodies in any form that `machine_formats` reads: one, a list, or JSON Lines; each is returned in ARM's form.

    Azure's definitions apply to any resource; `only_vms` is for our policies, which apply to VMs only."""
    for item in read_list_items(io.StringIO(read_text(path, MAX_LIST)), shown(path)):
        try:
            body = read_vm(item.value)
        except Unrecognised as error:
            raise BadInput(line_of(path, item.line), error.problem, error.fix) from error
        if only_vms and (other := other_type(body)):
            fix = "give VMs only, of type Microsoft.Compute/virtualMachines"
            raise BadInput(line_of(path, item.line), f"a resource of type {as_written(other)} is not a VM", fix)
        yield body


def read_parameters(text: str | None) -> Mapping[str, Any]:
    """The values of `--parameters`: JSON, or `@FILE` with JSON; also `{"name": {"value": …}}` of an assignment.

    The parameter file of a deployment is unwrapped; from definitions of parameters the default values are taken."""
    if not text:
        return {}
    file = text[1:] if text.startswith("@") else ""
    source = read_text(file) if file else text
    try:
        values: Any = parse_json(source)
    except Unreadable as error:
        place = f"--parameters, {line_of(file, error.line)}" if file and error.line else "--parameters"
        raise BadInput(place, error.problem, 'write {"name": value}, or @file') from error
    if not isinstance(values, dict):
        raise BadInput("--parameters", f"{as_written(values)} is not an object", 'write {"name": value}')
    if isinstance(values.get("parameters"), dict) and {"$schema", "contentVersion", "properties"} & values.keys():
        return _values(values["parameters"])
    return _values(values)


def _values(values: dict[str, Any]) -> Mapping[str, Any]:
    if values and all(map(is_specification, values.values())):
        defaults = {name: spelled(value).get("defaultValue") for name, value in values.items()}
        return {name: value for name, value in defaults.items() if value is not None}
    return values
