"""`onboard policy validate`: every error of policy, extension and definition files, each with file and line. Needs no
cloud."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onboarding.cli.io import BadInput, Commands, as_json
from onboarding.cli.policy_input import Source, read_source
from onboarding.core.catalog import parse_entry
from onboarding.core.conditions import ConditionError
from onboarding.core.conditions.check import condition_errors
from onboarding.core.definitions import definition_errors
from onboarding.core.errors import ConfigurationError
from onboarding.core.foreign import printable
from onboarding.core.overrides import parse_overrides
from onboarding.core.policy import parse_policy
from onboarding.core.rule import compile_rule
from onboarding.files import EXTENSIONS, OVERRIDES, extension_files, policy_files


@dataclass(frozen=True, slots=True)
class Fault:
    file: str
    line: int
    place: str
    message: str

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.place}: {self.message}" if self.place else f"{self.file}: {self.message}"
        )


def add(actions: Commands) -> None:
    parser = actions.add_parser("validate", help="find every error in policy and definition files")
    parser.add_argument("files", nargs="*", metavar="FILE", help="files or folders (default: policies)")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    paths = [path for name in args.files or ["policies"] for path in _files(Path(name))]
    faults = [fault for path in paths for fault in _faults(str(path))]
    if args.format == "json":
        print(as_json({"files": len(paths), "errors": [asdict(fault) for fault in faults]}))
    else:
        print("\n".join([*(printable(str(fault)) for fault in faults), f"{len(paths)} files, {len(faults)} errors"]))
    return 1 if faults else 0


def _files(path: Path) -> list[Path]:
    if not os.path.exists(path):
        raise BadInput(f"{path}: is not there; give policy files, or a folder of them")
    if not path.is_dir():
        return [path]
    overrides = path / OVERRIDES
    return [*policy_files(path), *extension_files(path), *([overrides] if overrides.is_file() else [])]


def _faults(path: str) -> Iterator[Fault]:
    try:
        source = read_source(path)
    except BadInput as unreadable:
        told = str(unreadable).removeprefix(f"{path}:").strip()
        line, _, message = told.partition(": ")
        yield Fault(path, int(line), "", message) if line.isdigit() else Fault(path, 1, "", told)
        return
    for error in _errors(source):
        yield Fault(path, source.line_of(error.place), error.place, error.message)


def _errors(source: Source) -> Iterable[ConditionError]:
    if Path(source.name).name == OVERRIDES:
        return _first_error(source, lambda data: parse_overrides(data, source.name))
    if Path(source.name).parent.name == EXTENSIONS:
        return _first_error(source, lambda data: parse_entry(data, source.name))
    return definition_errors(source.data) if _is_definition(source.data) else _policy_errors(source)


def _is_definition(data: Any) -> bool:
    return isinstance(data, dict) and bool({"properties", "policyrule", "if"} & {str(key).lower() for key in data})


def _part(value: Any, key: str) -> dict[str, Any]:
    part = value.get(key) if isinstance(value, dict) else None
    return part if isinstance(part, dict) else {}


def _policy_errors(source: Source) -> Iterator[ConditionError]:
    """The errors of both conditions, and the first of the rest."""
    data = source.data if isinstance(source.data, dict) else {}
    parameters = _part(data, "parameters")
    conditions = {key: data[key] for key in ("rule", "existenceCondition") if data.get(key) is not None}
    for key, condition in conditions.items():
        yield from condition_errors(condition, parameters, key)
    rest = {key: value for key, value in data.items() if key not in conditions} if conditions else source.data
    yield from _first_error(source, lambda _: parse_policy(rest, source.name, compile_rule))


def _first_error(source: Source, parse: Callable[[Any], object]) -> Iterator[ConditionError]:
    try:
        parse(source.data)
    except ConfigurationError as error:
        place = error.place.removeprefix(source.name).lstrip(": ")
        yield ConditionError(place, f"{error.problem}; {error.mend}")
