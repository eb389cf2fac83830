"""`onboard policy test`: run the test cases of policies. A case is a VM body and the expected result.

A `*.cases.yaml` names a `policy` or a `definition` (with `parameters`) and lists `cases`, each with `name`, `vm` (a
body, or a file with one) and `expect`: `selected` and `because` for a policy; `applies`, `effect` and `compliant` for a
definition. A case may also have `resourceGroup` and `subscription` with the values that rules may read. Other values of
them are unknown, and a policy that needs one has `selected: null`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from copy import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from onboarding.cli.command_list import add_action
from onboarding.cli.io import BadInput, Commands, counted
from onboarding.cli.output import FORMERLY_DOCUMENT, Form, add_output, write_records
from onboarding.cli.policy.definition_input import load_definition
from onboarding.cli.policy.evaluate import bind
from onboarding.cli.policy.policy_input import Source, folder_or_file, load_policy, read_source, read_vms
from onboarding.domain.errors import as_written
from onboarding.domain.json_access import printable
from onboarding.domain.machine.machine_facts import MachineFacts, read_facts
from onboarding.domain.machine.machine_formats import Unrecognised, arm_form
from onboarding.domain.machine.resource_containers import GROUP, SUBSCRIPTION, ResourceContainers, read_properties
from onboarding.domain.policy.rule import resource_of

type Decide = Callable[[Mapping[str, Any], ResourceContainers], Mapping[str, Any]]


class CaseResult(Struct, frozen=True):
    """The result of one case."""

    file: str
    line: int

    case: str
    """The name of the case."""

    differences: tuple[str, ...]
    """What is not as expected; empty if the case passed."""

    def __str__(self) -> str:
        sign = "✗" if self.differences else "✓"
        return "\n    ".join(map(printable, [f"{sign} {self.file}:{self.line}: {self.case}", *self.differences]))


def add(actions: Commands) -> None:
    parser = add_action(actions, "test")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="*.cases.yaml files, or folders with them (default: policies)"
    )
    add_output(parser, formerly=FORMERLY_DOCUMENT)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    files = [file for name in args.files or ["policies"] for file in _case_files(folder_or_file(name))]
    results = [result for file in files for result in _run_cases(file)]
    failed = sum(bool(result.differences) for result in results)
    if args.output in (Form.JSONL, Form.CSV):
        write_records(args.output, ("file", "line", "case", "differences"), map(to_builtins, results))
    elif args.output is Form.JSON:
        print(json.dumps({"cases": len(results), "failed": failed, "outcomes": to_builtins(results)}))
    else:
        print("\n".join([*map(str, results), f"{counted(len(results), 'case')}, {failed} failed"]))
    return 1 if failed else 0


_GIVE = "give *.cases.yaml files, or a folder of them"


def _case_files(path: Path) -> list[Path]:
    try:
        if not path.exists():
            raise BadInput(str(path), "the file or folder is not there", _GIVE)
        if not path.is_dir():
            return [path]
        found = sorted(each for each in path.iterdir() if each.stem.endswith(".cases"))
    except (OSError, ValueError) as error:
        raise BadInput(str(path), f"the file or folder cannot be read: {error}", _GIVE) from error
    if not found:
        problem = "the folder holds no *.cases.yaml file, so nothing was tested"
        raise BadInput(str(path), problem, "write one, or give another folder")
    return found


def _run_cases(path: Path) -> Iterator[CaseResult]:
    source = read_source(str(path))
    if not isinstance(source.data, dict) or not isinstance(source.data.get("cases"), list) or not source.data["cases"]:
        raise source.error("cases", "the file holds no cases", "write `policy: FILE` and a list `cases:`")
    decide = _decider(source, path.parent)
    for index, case in enumerate(source.data["cases"]):
        place = f"cases[{index}]"
        if not isinstance(case, dict) or not isinstance(case.get("expect"), dict) or "vm" not in case:
            missing = "vm" if isinstance(case, dict) and "vm" not in case else "expect"
            problem = (
                f"missing key '{missing}' in a case" if isinstance(case, dict) else f"{as_written(case)} is not a case"
            )
            raise source.error(place, problem, "give it name, vm and expect")
        actual = decide(_vm(source, f"{place}.vm", case["vm"], path.parent), _containers(case, source, place))
        name = str(case.get("name", place))
        yield CaseResult(str(path), source.line_of(place), name, tuple(_differences(case["expect"], actual)))


def _decider(source: Source, folder: Path) -> Decide:
    for key in ("definition", "policy"):
        if not isinstance(source.data.get(key, ""), str):
            raise source.error(key, f"{as_written(source.data[key])} is not the name of a file", "write a text")
    if "definition" in source.data:
        values = source.data.get("parameters") or {}
        if not isinstance(values, dict):
            raise source.error("parameters", f"{as_written(values)} is not a mapping", "write `name: value` lines")
        bound = bind(*load_definition(str(folder / source.data["definition"]), values), values)

        def evaluate(body: Mapping[str, Any], around: ResourceContainers) -> Mapping[str, Any]:
            return bound.evaluate(resource_of(_facts(body, around), _NOW)).as_dict()

        return evaluate
    if "policy" not in source.data:
        raise source.error(
            "", "the file names neither 'policy' nor 'definition'", "add one of the two and a file's name"
        )
    policy = load_policy(str(folder / source.data["policy"]))

    def decide(body: Mapping[str, Any], around: ResourceContainers) -> Mapping[str, Any]:
        assignment = policy.select(_facts(body, around), _NOW)
        return {"selected": None if assignment.undecided else assignment.selected, "because": assignment.reason}

    return decide


_NOW = datetime.now(UTC)


def _facts(body: Mapping[str, Any], around: ResourceContainers) -> MachineFacts:
    return replace(read_facts(body), around=around)


def _containers(case: Mapping[str, Any], source: Source, place: str) -> ResourceContainers:
    around = ResourceContainers()
    for what in (GROUP, SUBSCRIPTION):
        given = case.get(what, {})
        if not isinstance(given, Mapping):
            problem = f"{as_written(given)} is not an object"
            raise source.error(f"{place}.{what}", problem, "write what ARM says of it, such as `tags: {env: lab}`")
        around = around.having(what, read_properties(what, given, whole=False))
    return around


def _vm(source: Source, place: str, vm: Any, folder: Path) -> Mapping[str, Any]:
    """The VM body of a case, which may be partial, or the only body of the file that the case names."""
    if isinstance(vm, str):
        found = list(islice(read_vms(str(folder / vm)), 2))
        if len(found) != 1:
            problem = f"the file {as_written(vm)} holds {'several VMs' if found else 'no VM'}"
            raise source.error(place, problem, "give a file with one VM")
        return found[0]
    if not isinstance(vm, dict):
        problem = f"{as_written(vm)} is not a VM"
        raise source.error(place, problem, "write a body, or the name of a file with one")
    try:
        return arm_form(vm)
    except Unrecognised as error:
        raise source.error(place, error.problem, error.fix) from error


def _differences(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterator[str]:
    for key, wanted in expected.items():
        if key not in actual:
            yield f"{key}: cannot be expected here; use {', '.join(actual)}"
        elif key == "because":
            if str(wanted).lower() not in str(actual[key]).lower():
                yield f"because: expected {wanted!r} in {actual[key]!r}"
        elif actual[key] != wanted:
            yield f"{key}: expected {wanted!r}, is {actual[key]!r} ({actual.get('because', '')})"
