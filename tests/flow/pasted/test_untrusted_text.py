"""Tags, names, messages and files of others may hold any characters: no command lets them control the terminal, break
lines or become a formula in a spreadsheet."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from onboarding.cli.io import as_json
from onboarding.cli.main import main
from onboarding.cli.output import cell
from tests.unit.policy.conditions.bodies import VM

# ESC, BEL, NUL, DEL, carriage return, line feed, C1's CSI, next line, line separator, right-to-left override, a tag, a
# lone surrogate: none of them is printable.
NASTY = "\x1b[31m\x07\0\x7f\r\n\x9b2J\x85\u2028\u202e\U000e0041"
TEXTS = st.lists(st.sampled_from([*NASTY, "a", "é", "✓", "=", "'", '"', "{", "]", " "]), min_size=1, max_size=8).map(
    "".join
)


def _run_command(*command: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(command)
    return out.getvalue(), err.getvalue()


def _write(path: Path, value: Any) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return str(path)


def _commands(folder: Path, text: str) -> list[list[str]]:
    rule = {"allOf": [{"field": "tags.a", "equals": f"{text}x"}, {"field": "location", "equals": text}]}
    definition = {"properties": {"displayName": text, "policyRule": {"if": rule, "then": {"effect": "audit"}}}}
    policy = {"name": "p", "extension": "oms-agent-linux", "rule": rule}
    properties = VM["properties"] | {"osProfile": {}}
    body = VM | {"name": text, "id": text, "location": text, "tags": {"a": text}, "properties": properties}
    cases = {
        "policy": "../policies/p.json",
        "cases": [{"name": text, "vm": body, "expect": {"because": f"not {text}"}}],
    }
    image = {"publisher": text, "offer": text, "sku": text, "osName": text}
    event = {"eventType": text, "id": text, "subject": text, "data": {}}
    vm, d = _write(folder / "vm.json", body), _write(folder / "d.json", definition)
    policies = str(Path(_write(folder / "policies" / "p.json", policy)).parent)
    found = [
        ["policy", "test", _write(folder / "cases" / "p.cases.yaml", cases)],
        ["policy", "validate", _write(folder / "bad.json", {"name": "p", "extension": text, "rule": {text: text}})],
        ["policy", "import", d],
        [
            "policy",
            "import",
            _write(folder / "set.json", {"properties": {"policyDefinitions": [{"policyDefinitionId": text}]}}),
        ],
        ["diagnose", f"{text} Unsupported operating system: {text} Install failed with error: {text}"],
        ["diagnose", f"{text} Install failed with error: {text}", "--format", "json"],
        ["replay", _write(folder / "event.json", event), "--to", "http://127.0.0.1:9"],
        ["check", "--image", f"{text}:{text}:{text}", "--why"],
        ["check", _write(folder / "text.txt", text)],
    ]
    for what in (["--definition", d], ["--policy", f"{policies}/p.json"], ["--policies", policies]):
        found += [["policy", "explain", *what, "--vm", vm, "--format", form] for form in ("text", "json")]
    for form in ("text", "json"):
        found.append(["policy", "evaluate", "--definition", d, "--vm", vm, "--format", form])
    for form in ("table", "json"):
        found.append(["policy", "plan", "--policies", policies, "--vm-list", vm, "--format", form])
    for form in ("table", "json", "csv"):
        found.append(["check", _write(folder / "image.json", image), "--format", form])
    return found


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
@example(NASTY)
def test_nothing_that_is_not_printable_comes_out(tmp_path: Path, text: str) -> None:
    for command in _commands(tmp_path, text):
        for stream in _run_command(*command):
            assert stream.replace("\n", "").isprintable(), command


def _lines(folder: Path, text: str) -> list[int]:
    several = [_commands(folder, text)[index] for index in (0, 9, 11, 15, 17)]
    return [_run_command(*command)[0].count("\n") for command in several]


def test_a_text_adds_no_line(tmp_path: Path) -> None:
    assert _lines(tmp_path, "a\nb\u2028c\x85d\x0be") == _lines(tmp_path, "a?b?c?d?e")


@pytest.mark.parametrize("start", ["=", "@", "+", "-", "\t=", "\r@", "\t", "\r", " =", "＝", "\x1b="])
def test_no_cell_of_a_csv_is_a_formula(start: str, tmp_path: Path) -> None:
    image = {"publisher": f"{start}cmd|' /C calc'!A0", "offer": "o", "sku": "s"}
    out, _ = _run_command("check", _write(tmp_path / "image.json", [image]), "--format", "csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert len(rows) == 2
    assert "cmd" in rows[1][0]
    for cell_text in rows[1]:
        assert not cell_text.lstrip(" \t\r\n").startswith(("=", "@", "+", "-", "＝"))
        assert not cell_text.startswith(("\t", "\r"))


@pytest.mark.parametrize("value", ["Canonical:UbuntuServer", "5-lts", "", 5, -5, None, True])
def test_a_cell_that_is_no_formula_stays(value: object) -> None:
    assert cell(value) == ("" if value is None else value)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
@example(NASTY + "\ud800")
def test_json_says_what_it_said_and_is_printable(value: Any) -> None:
    for indent in (None, 2):
        text = as_json(value, indent)
        assert text.replace("\n", "").isprintable()
        assert json.loads(text) == value


@given(TEXTS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_import_keeps_what_it_cannot_show(tmp_path: Path, text: str) -> None:
    rule = {"if": {"field": "name", "equals": f"x{text}"}, "then": {"effect": "audit"}}
    definition = {"name": "p", "properties": {"displayName": "p", "policyRule": rule}}
    out, _ = _run_command("policy", "import", _write(tmp_path / "d.json", definition))
    if out:
        assert yaml.safe_load(out)["rule"]["equals"] == f"x{text}"
