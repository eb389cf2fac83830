"""`onboard policy test`: run the test cases of policies. A case is a VM body and the expected result.

A `*.cases.yaml` names a `policy` or a `definition` (with `parameters`) and lists `cases`, each with `name`, `vm` (a
body, or a file with one) and `expect`: `selected`, `because`, `decision` and `steps` for a policy; `applies`, `effect`
and `compliant` for a definition. A case may also have `resourceGroup` and `subscription` with the values that rules may
read. Other values of them are unknown, and a policy that needs one has `selected: null`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from copy import replace
from datetime import UTC, datetime
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct, field, to_builtins

from onboarding.application.preview import forecast
from onboarding.application.rules import Rules
from onboarding.cli.command_list import add_action
from onboarding.cli.io import BadInput, Commands, counted
from onboarding.cli.output import FORMERLY_DOCUMENT, Form, add_output, write_records
from onboarding.cli.policy.definition_input import load_definition
from onboarding.cli.policy.evaluate import bind
from onboarding.cli.policy.policy_input import Source, folder_or_file, load_policy, load_rules, read_source, read_vms
from onboarding.domain.errors import as_written
from onboarding.domain.json_access import printable
from onboarding.domain.machine.machine_facts import MachineFacts, read_facts
from onboarding.domain.machine.machine_formats import Unrecognised, arm_form
from onboarding.domain.machine.resource_containers import GROUP, SUBSCRIPTION, ResourceContainers, read_properties
from onboarding.domain.policy.policy import Policy, PolicySet
from onboarding.domain.policy.rule import resource_of
from onboarding.domain.typed_file import FileMapping, Refused, Text
from onboarding.loading.policy_extensions import with_extensions

type Decide = Callable[[Mapping[str, Any], ResourceContainers], Mapping[str, Any]]


_A_FILE = {"is": "the name of a file", "fix": "write a text"}


class Case(FileMapping, frozen=True, kw_only=True):
    """One case."""

    what: ClassVar[str] = "a case"

    name: Annotated[Text | None, Meta(description="Its name in the output.")] = None
    vm: Annotated[
        dict[str, Any] | str,
        Meta(
            description="The body of a VM, which may be partial, or a file with one.",
            extra={"is": "a VM", "fix": "write a body, or the name of a file with one"},
        ),
    ]
    expect: Annotated[
        dict[str, Any],
        Meta(
            description="selected, because, decision and steps for a policy; applies, effect and compliant for a"
            " definition.",
            extra_json_schema={
                "properties": {
                    "selected": {"type": ["boolean", "null"]},
                    "because": {"description": "A part of the reason."},
                    "decision": {"type": "string", "description": "What would be done, such as Install or Waiting."},
                    "steps": {"type": "string", "description": "What would be written, in the words of the plan."},
                    "applies": {"type": ["boolean", "null"]},
                    "effect": {"type": "string"},
                    "compliant": {"type": ["boolean", "null"]},
                },
                "additionalProperties": False,
            },
        ),
    ]
    resource_group: Annotated[
        dict[str, Any], Meta(description="What ARM says of the VM's resource group, as far as rules read it.")
    ] = field(default_factory=dict)
    subscription: Annotated[dict[str, Any], Meta(description="The same of its subscription.")] = field(
        default_factory=dict
    )


class CasesFile(FileMapping, frozen=True, kw_only=True):
    """Cases of one policy or one definition."""

    what: ClassVar[str] = "a file of cases"

    policy: Annotated[str | None, Meta(description="The file of the policy.", extra=_A_FILE)] = None
    definition: Annotated[str | None, Meta(description="The file of a definition of Azure Policy.", extra=_A_FILE)] = (
        None
    )
    parameters: Annotated[dict[str, Any] | None, Meta(description="Values for the definition's parameters.")] = None
    cases: Annotated[tuple[Case, ...], Meta(min_length=1, description="The cases.")]

    def __post_init__(self) -> None:
        if self.policy is None and self.definition is None:
            problem = "the file names neither 'policy' nor 'definition'"
            raise Refused("", problem, "add one of the two and a file's name")


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
    file = source.read_as(CasesFile)
    decide = _decider(file, path.parent)
    for index, case in enumerate(file.cases):
        place = f"cases[{index}]"
        actual = decide(_vm(source, f"{place}.vm", case.vm, path.parent), _containers(case))
        name = place if case.name is None else str(case.name)
        yield CaseResult(str(path), source.line_of(place), name, tuple(_differences(case.expect, actual)))


def _decider(file: CasesFile, folder: Path) -> Decide:
    if file.definition is not None:
        values = file.parameters or {}
        bound = bind(*load_definition(str(folder / file.definition), values), values)

        def evaluate(body: Mapping[str, Any], around: ResourceContainers) -> Mapping[str, Any]:
            return bound.evaluate(resource_of(_facts(body, around), _NOW)).as_dict()

        return evaluate
    policy = load_policy(str(folder / (file.policy or "")))
    rules = cache(partial(_rules_of, policy, folder / (file.policy or "")))

    def decide(body: Mapping[str, Any], around: ResourceContainers) -> Mapping[str, Any]:
        facts = _facts(body, around)
        assignment = policy.select(facts, _NOW)
        return _Answer(
            {"selected": None if assignment.undecided else assignment.selected, "because": assignment.reason},
            lambda: _foreseen(rules(), facts),
        )

    return decide


class _Answer(Mapping[str, Any]):
    """What a policy says of a VM. The catalogue is only read for a case that expects a decision or steps."""

    def __init__(self, selected: Mapping[str, Any], foresee: Callable[[], Mapping[str, Any]]) -> None:
        self._selected, self._foresee = selected, cache(foresee)

    def __getitem__(self, key: str) -> Any:
        return self._selected[key] if key in self._selected else self._foresee()[key]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._selected, "decision", "steps"))

    def __len__(self) -> int:
        return len(self._selected) + 2


def _rules_of(policy: Policy, file: Path) -> Rules:
    """The policy alone, with the extensions of its folder. App settings are those of no app: all count as set."""
    rules, _ = load_rules(str(file.parent), {})
    with read_source(str(file)).problems_named():
        whole = with_extensions(policy, str(file), rules.catalogue, rules.unusable)
    return replace(rules, policies=PolicySet((whole,)))


def _foreseen(rules: Rules, facts: MachineFacts) -> Mapping[str, Any]:
    """The decision on the VM, and what would be written, as `onboard policy plan` says it."""
    found = forecast(rules, facts, _NOW)[0]
    return {"decision": str(found.word), "steps": ", ".join(filter(None, (step.written for step in found.steps)))}


_NOW = datetime.now(UTC)


def _facts(body: Mapping[str, Any], around: ResourceContainers) -> MachineFacts:
    return replace(read_facts(body), around=around)


def _containers(case: Case) -> ResourceContainers:
    around = ResourceContainers()
    for what, given in ((GROUP, case.resource_group), (SUBSCRIPTION, case.subscription)):
        around = around.having(what, read_properties(what, given, whole=False))
    return around


def _vm(source: Source, place: str, vm: dict[str, Any] | str, folder: Path) -> Mapping[str, Any]:
    """The VM body of a case, which may be partial, or the only body of the file that the case names."""
    if isinstance(vm, str):
        found = list(islice(read_vms(str(folder / vm)), 2))
        if len(found) != 1:
            problem = f"the file {as_written(vm)} holds {'several VMs' if found else 'no VM'}"
            raise source.error(place, problem, "give a file with one VM")
        return found[0]
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
