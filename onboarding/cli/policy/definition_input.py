"""Reads a file of Azure Policy definitions, and the parameters file in its folder that belongs to it.

A repository may keep a rule and the definitions of its parameters in two files (`azurepolicy.rules.json` and
`azurepolicy.parameters.json`, and the like). Then the second file is read too; it is not needed where `--parameters`
gives every value.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from onboarding.cli.io import BadInput
from onboarding.cli.policy.policy_input import Source, read_source
from onboarding.domain.json_access import printable
from onboarding.domain.policy.conditions import ConditionError
from onboarding.domain.policy.definitions.definition import Definition, only, read_kept
from onboarding.domain.policy.definitions.definition_forms import Kept, kept_in, parameters_in

_NOTHING: Final[Mapping[str, Any]] = {}
_LANGUAGES: Final = {
    ".bicep": ("Bicep", "give the JSON that 'az bicep build' makes of it"),
    ".bicepparam": ("Bicep", "give the JSON that 'az bicep build' makes of the template"),
    ".tf": ("Terraform", "give the definition's JSON, as 'az policy definition show --name NAME' prints it"),
}


def load_definition(path: str, values: Mapping[str, Any] = _NOTHING) -> tuple[Source, Definition]:
    """The only definition in a file. `values` are those of `--parameters`."""
    source, kept = load_kept(path, values)
    try:
        return source, read_kept(only(kept))
    except ConditionError as error:
        raise source.error(error.place, error.problem, error.fix) from error


def load_kept(
    path: str, values: Mapping[str, Any] = _NOTHING, *, quiet: bool = False
) -> tuple[Source, tuple[Kept, ...]]:
    """Every definition and initiative in a file. Unless `quiet`, standard error names other files that were read."""
    language = _LANGUAGES.get(Path(path).suffix.lower())
    if language:
        name, fix = language
        raise BadInput(path, f"the file is {name}, not JSON", fix)
    source = read_source(path, with_comments=True)
    try:
        return source, kept_of(source, values, quiet=quiet)
    except ConditionError as error:
        raise source.error(error.place, error.problem, error.fix) from error


def kept_of(source: Source, values: Mapping[str, Any] = _NOTHING, *, quiet: bool = False) -> tuple[Kept, ...]:
    """The same for a file that was already read. Raises ConditionError where it has no known form."""
    return tuple(_completed(each, source.name, values, quiet) for each in kept_in(source.data))


def _completed(kept: Kept, path: str, values: Mapping[str, Any], quiet: bool) -> Kept:
    """The definition, completed by the definitions of the parameters that its rule uses."""
    names = kept.missing_parameters
    if not names:
        return kept
    for sibling in _siblings(path):
        parameters = parameters_in(_data(sibling))
        if parameters and {name.lower() for name in names} <= {name.lower() for name in parameters}:
            if not quiet:
                print(printable(f"{path}: definitions of the parameters are read from {sibling}"), file=sys.stderr)
            return kept.with_parameters(parameters)
    if {name.lower() for name in names} <= {name.lower() for name in values}:
        return kept.with_parameters({name: {} for name in values})
    quoted = ", ".join(f"'{name}'" for name in names[:8])
    raise ConditionError(
        f"{kept.properties_place}.parameters".lstrip("."),
        f"the rule names the parameters {quoted}, and this file does not define them",
        f"put the parameters file {_names(path)[0]} next to it, give a definition with 'parameters', or give all values"
        " with --parameters",
    )


def _siblings(path: str) -> Iterator[Path]:
    """The files that may define the parameters, the likeliest names first."""
    if path == "-":
        return
    own = Path(path)
    try:
        there = {each.name.lower(): each for each in sorted(own.parent.iterdir()) if each.suffix.lower() in _SUFFIXES}
    except OSError:
        return
    there.pop(own.name.lower(), None)
    likely = [name.lower() for name in _names(path)]
    yield from (there[name] for name in likely if name in there)
    others = [each for name, each in there.items() if "param" in name and name not in likely]
    if len(others) == 1:
        yield others[0]


_SUFFIXES: Final = frozenset((".json", ".jsonc", ".yaml", ".yml"))


def _names(path: str) -> list[str]:
    """`x.rules.json` → `x.parameters.json`, `policyRule.json` → `policyParameters.json`, and the like."""
    own = Path("azurepolicy.rules.json" if path == "-" else path)
    names = []
    for word in ("parameters", "params", "parameter"):
        replaced = re.sub(r"rules?(?=[^a-z]*$)", word, own.stem, flags=re.IGNORECASE)
        names.append(f"{replaced if replaced != own.stem else f'{own.stem}.{word}'}{own.suffix or '.json'}")
    return [*names, "parameters.json"]


def _data(path: Path) -> Any:
    try:
        return read_source(str(path), with_comments=True).data
    except BadInput:
        return None  # an unrelated file of the folder
