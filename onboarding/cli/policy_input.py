"""What the policy commands read: definition and policy files (with the line of every place in them), VMs, parameters.

JSON with or without a byte order mark, and YAML. Whatever is wrong becomes `BadInput` with file and line.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from onboarding.cli.check_input import read_items
from onboarding.cli.io import BadInput
from onboarding.cli.vm_bodies import arm_shape
from onboarding.core.definition_forms import is_specification, spelled
from onboarding.core.errors import ConfigurationError
from onboarding.core.policy import Policy, parse_policy
from onboarding.core.rule import compile_rule
from onboarding.enforce import Rules
from onboarding.files import load_catalogue_of, load_overrides, load_policies
from onboarding.reading import MAX_BYTES, Unreadable, line_in, nodes_of, parse_json, parse_yaml, too_large

MAX_LIST = 256 * 1024 * 1024  # bytes of a list of VMs or events: each of them is small


@dataclass(frozen=True)
class Source:
    """A file that was read: its text for finding lines, and the data in it."""

    name: str
    text: str
    data: Any

    def line_of(self, place: str) -> int:
        """The line of a path such as `rule.allOf[2].field`; that of the nearest part above it that is there."""
        return line_in(self._nodes, place)

    @cached_property
    def _nodes(self) -> yaml.Node | None:
        return nodes_of(self.text)

    def error(self, place: str, message: str) -> BadInput:
        return BadInput(f"{self.name}:{self.line_of(place)}: {place}: {message}")


def read_source(path: str) -> Source:
    """Read a JSON or YAML file."""
    text = read_text(path)
    is_json = text.lstrip()[:1] in ("{", "[")
    try:
        return Source(path, text, parse_json(text) if is_json else parse_yaml(text))
    except Unreadable as error:
        kind = f"is no {'JSON' if is_json else 'YAML'}: " if error.line else ""
        raise BadInput(f"{path}:{error.line or 1}: {kind}{error}; {error.mend}") from None


def read_text(path: str, limit: int = MAX_BYTES) -> str:
    """A file's text, or standard input's for `-`; a byte order mark is dropped."""
    try:
        if path == "-":
            content = sys.stdin.buffer.read(limit + 1)
        else:
            with open(path, "rb") as file:
                content = file.read(limit + 1)
        if len(content) > limit:
            raise BadInput(f"{path}: {too_large(limit)}; {too_large(limit).mend}")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); give a file, or - for standard input") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def load_policy(path: str) -> Policy:
    """One policy file; what is wrong with it, with its line."""
    source = read_source(path)
    try:
        return parse_policy(source.data, source.name, compile_rule)
    except ConfigurationError as error:
        place = error.place.removeprefix(source.name).lstrip(": ")
        raise source.error(place, error.problem) from None


def load_rules(folder: str, environment: Mapping[str, str]) -> tuple[Rules, tuple[str, ...]]:
    """Policies, own extensions and image overrides of a folder as the function app would use them, and what is wrong
    with them."""
    catalogue = load_catalogue_of(Path(folder))
    policies, problems = load_policies(Path(folder), catalogue.entries, catalogue.unusable)
    overrides, untaught = load_overrides(Path(folder))
    rules = Rules(policies, catalogue.entries, environment, overrides, catalogue.unusable)
    return rules, (*catalogue.problems, *problems, *untaught)


def folder_or_file(name: str) -> Path:
    """What an argument names. An empty one, as of a variable that is not set, is no name of this folder."""
    if not name.strip():
        raise BadInput(f"{name!r} names no file and no folder; give one")
    return Path(name)


def policy_folder(environment: Mapping[str, str]) -> str:
    return environment.get("ONBOARDING_POLICIES") or "policies"


def read_vms(path: str) -> Iterator[Mapping[str, Any]]:
    """VM bodies: one, an array, an ARM list (`value`) or JSON Lines; one wrapped in `body` is unwrapped."""
    name = "standard input" if path == "-" else path
    for item in read_items(io.StringIO(read_text(path, MAX_LIST)), name):
        yield from _bodies(item.value, f"{name}, line {item.line}")


def _bodies(value: Any, place: str) -> Iterator[Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        raise BadInput(f"{place}: is no VM body; give what a GET of the VM answers, as JSON")
    if isinstance(value.get("value"), list) and "properties" not in value:
        for body in value["value"]:
            yield from _bodies(body, place)
    elif isinstance(value.get("body"), Mapping) and "properties" not in value:
        yield arm_shape(value["body"])
    else:
        yield arm_shape(value)


def read_parameters(text: str | None) -> Mapping[str, Any]:
    """`--parameters`: JSON, or `@file` with JSON in it; an assignment's `{"name": {"value": …}}` is as good.

    A deployment's parameter file is unwrapped; of a file with the parameters' definitions the defaults are taken."""
    if not text:
        return {}
    source = read_text(text[1:]) if text.startswith("@") else text
    try:
        values: Any = parse_json(source)
    except Unreadable as error:
        raise BadInput(f'--parameters: is no JSON ({error}); write {{"name": value}}, or @file') from None
    if not isinstance(values, dict):
        raise BadInput('--parameters: is no object; write {"name": value}')
    if isinstance(values.get("parameters"), dict) and {"$schema", "contentVersion", "properties"} & values.keys():
        return _values(values["parameters"])
    return _values(values)


def _values(values: dict[str, Any]) -> Mapping[str, Any]:
    if values and all(map(is_specification, values.values())):
        told = {name: spelled(value).get("defaultValue") for name, value in values.items()}
        return {name: value for name, value in told.items() if value is not None}
    return values
