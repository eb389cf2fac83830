"""Every command that reads a file, with files that could crash it, fill its memory or keep it busy for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from tests.unit.loading.test_reading import ALIASES
from tests.unit.policy.conditions.bodies import VM

pytestmark = pytest.mark.timeout(130)  # a little more than the timeout of a process of many commands

_TIMEOUT_S = 120
_MEMORY = 3 * 1024**3
# All run in one process with limited memory: a crash or an endless command fails the test, not the test run.
_RUN = """
import contextlib, io, json, resource, sys
from onboarding.cli.main import main
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
for command in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(command)
    print(json.dumps([command, code, out.getvalue()[-2000:], err.getvalue()[-2000:]]))
"""


def _answers(commands: list[list[str]]) -> list[tuple[list[str], int, str, str]]:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(_MEMORY)],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def _commands(bad: str, vm: str, cases: str) -> list[list[str]]:
    return [
        ["policy", "import", bad],
        ["policy", "evaluate", "--definition", bad, "--vm", vm],
        ["policy", "explain", "--definition", bad, "--vm", vm],
        ["policy", "explain", "--policy", bad, "--vm", vm],
        ["policy", "test", bad],
        ["policy", "test", cases],
        ["check", "--overrides", bad, "--image", "Canonical:UbuntuServer:16.04-LTS"],
    ]


FILES = {
    "brackets.yaml": "name: x\na:\n - " + "[" * 100_000,
    "brackets.json": "[" * 100_000,
    "objects.json": '{"a":' * 5000 + "1" + "}" * 5000,
    "aliases.yaml": "name: p\nextension: oms-agent-linux\nparameters:\n" + indent(ALIASES, "  "),
    "large.yaml": "# " + "x" * 5 * 1024 * 1024,
    "digits.yaml": "a: " + "9" * 5000,
    "digits.json": '{"a": ' + "9" * 5000 + "}",
    "sixty.yaml": "a: 1" + ":1" * 100_000,
}


@pytest.mark.parametrize("name", FILES)
def test_a_command_names_the_file_that_it_does_not_read(name: str, tmp_path: Path) -> None:
    bad, vm, cases = tmp_path / name, tmp_path / "vm.json", tmp_path / "p.cases.yaml"
    bad.write_text(FILES[name], encoding="utf-8")
    vm.write_text(json.dumps(VM), encoding="utf-8")
    cases.write_text(f"policy: {name}\ncases: [{{vm: {{}}, expect: {{}}}}]\n", encoding="utf-8")
    for command, code, out, err in _answers(_commands(str(bad), str(vm), str(cases))):
        assert (code, out) == (2, ""), command
        assert name in err
        assert len(err.splitlines()) == 1
        assert any(bound in err for bound in ("100 deep", "100,000 values", "4 MiB", "digits"))
    ((_, code, out, _),) = _answers([["policy", "validate", str(bad)]])
    assert code == 1
    assert name in out


@pytest.mark.parametrize(
    "text",
    [
        '{"name": ' + "[" * 100_000,
        '{"name": ' + "[" * 200 + "]" * 200 + "}",
        '{"name": ' + "9" * 5000 + "}",
        '[{"name": "a"}, ' + "9" * 5000 + "]",
        "publisher,offer\n" + '"' + "x" * 200_000,
    ],
    ids=["open", "deep", "digits", "digits in an array", "field"],
)
def test_a_command_names_the_list_of_vms_or_events_that_it_does_not_read(text: str, tmp_path: Path) -> None:
    bad, definition = tmp_path / "list.json", tmp_path / "definition.json"
    bad.write_text(text, encoding="utf-8")
    rule = {"if": {"field": "name", "equals": "x"}, "then": {"effect": "audit"}}
    definition.write_text(json.dumps({"properties": {"policyRule": rule}}), encoding="utf-8")
    commands = [
        ["check", str(bad)],
        ["policy", "plan", "--vm-list", str(bad)],
        ["policy", "evaluate", "--definition", str(definition), "--vm", str(bad)],
        ["policy", "explain", "--vm", str(bad)],
        ["replay", str(bad), "--to", "http://127.0.0.1:9"],
    ]
    for command, code, _, err in _answers(commands):
        assert code == 2, command
        assert "list.json" in err


def test_costly_conditions_come_to_an_end_at_every_command(tmp_path: Path) -> None:
    grown = {"value": "[" + "replace(" * 40 + "field('name')" + ", '1', '1111111111')" * 40 + "]", "equals": "x"}
    inner = {"count": {"value": "[range(0, 10000)]", "where": {"field": "name", "like": "*1*"}}, "equals": 3}
    counts = {"count": {"value": "[range(0, 10000)]", "name": "outer", "where": inner}, "equals": 3}
    vm, commands = tmp_path / "vm.json", []
    vm.write_text(json.dumps({**VM, "tags": {"a": "a" * 256}}), encoding="utf-8")
    for number, rule in enumerate((grown, counts, {"field": "tags.a", "like": "*a" * 100 + "*b"})):
        definition, policy = tmp_path / f"d{number}.json", tmp_path / f"p{number}" / "p.yaml"
        definition.write_text(json.dumps({"properties": {"policyRule": {"if": rule, "then": {"effect": "audit"}}}}))
        policy.parent.mkdir()
        policy.write_text(json.dumps({"name": "p", "extension": "oms-agent-linux", "rule": rule}))
        commands += [
            ["policy", "evaluate", "--definition", str(definition), "--vm", str(vm)],
            ["policy", "explain", "--definition", str(definition), "--vm", str(vm)],
            ["policy", "explain", "--policy", str(policy), "--vm", str(vm)],
            ["policy", "plan", "--policies", str(policy.parent), "--vm-list", str(vm)],
        ]
    answers = _answers(commands)
    assert len(answers) == len(commands)
    assert {code for _, code, _, _ in answers} == {0}
    output = "".join(out for _, _, out, _ in answers)
    assert output.count("text is longer than 131,072 characters") >= 4
    assert output.count("takes too many steps") >= 4
