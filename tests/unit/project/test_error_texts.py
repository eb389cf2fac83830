"""Every error about input says the problem, then the place in parentheses, then the fix: "problem (place); fix"."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onboarding.cli.io import BadInput
from onboarding.domain.errors import ConfigurationError, as_written, known_names, unknown_key
from onboarding.domain.policy.conditions import ConditionError
from onboarding.loading.policy_folder import (
    load_catalogue,
    load_overrides,
    load_policies,
    load_used_catalogue,
    with_line,
)

ROOT = Path(__file__).parents[3]
FORM = re.compile(r"(?P<problem>\S.*?) \((?P<place>(?:[^()]|\([^()]*\))+)\); (?P<fix>\S.*)", re.DOTALL)

# Where problem and fix are among the arguments of each error, and of the functions that make one.
MAKERS: Mapping[str, tuple[int, int]] = {
    "ConfigurationError": (1, 2),
    "ConditionError": (1, 2),
    "BadInput": (1, 2),
    "_problem": (1, 2),
    "Unreadable": (0, 1),
    "Unrecognised": (0, 1),
    "NotAnImage": (0, 1),
    "Unread": (0, 1),
    "SyntaxFault": (0, 1),
    "UnknownAlias": (0, 1),
}
# Texts that begin with a verb have no subject; the others are words of the past.
BAD_PROBLEM = re.compile(
    r"^(?:is|has|holds|was|must|cannot|names|needs) |\bis no [a-z]|\bis none\b|\bnone of ours\b|[.;]$|; "
)
BAD_FIX = re.compile(r"^(?:[A-Z][a-z]|is |must )|\bmend|\bheed|\.$")


def calls() -> Iterator[tuple[str, ast.Call, ast.AST]]:
    """Every place that makes an error about input, with the function around it."""
    for path in sorted((ROOT / "onboarding").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and maker(node) is not None:
                    yield f"{path.relative_to(ROOT).as_posix()}:{node.lineno}", node, function


def maker(call: ast.Call) -> tuple[int, int] | None:
    """Where problem and fix are among the arguments; None for any other call."""
    match call.func:
        case ast.Name(id=name):
            return MAKERS.get(name)
        case ast.Attribute(attr="error", value=ast.Name(id="env")) | ast.Attribute(attr="error", value=ast.Call()):
            return 0, 1
        case ast.Attribute(attr="error", value=ast.Name(id="source")):
            return 1, 2
    return None


def texts(node: ast.AST, function: ast.AST) -> Iterator[str]:
    """What an argument may be: its literal text with `…` for what is put in; of a name, all that it is given."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in values)
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts(body, function)
            yield from texts(orelse, function)
        case ast.Name(id=name):
            for given_ in ast.walk(function):
                if isinstance(given_, ast.Assign) and any(
                    isinstance(t, ast.Name) and t.id == name for t in given_.targets
                ):
                    yield from texts(given_.value, function)


def test_every_error_is_made_of_a_problem_and_a_fix() -> None:
    wrong, seen = [], 0
    for place, call, function in calls():
        positions = maker(call)
        assert positions is not None
        if any(isinstance(argument, ast.Starred) for argument in call.args):
            continue  # problem and fix come from one that is checked itself
        problem, fix = (call.args[at] if at < len(call.args) else None for at in positions)
        for text in texts(problem, function) if problem is not None else ():
            seen += 1
            if BAD_PROBLEM.search(text):
                wrong.append(f"{place}: problem {text!r}")
        for text in texts(fix, function) if fix is not None else ():
            seen += 1
            if BAD_FIX.search(text) or not text:
                wrong.append(f"{place}: fix {text!r}")
    assert not wrong, "\n".join(wrong)
    assert seen > 300


@pytest.mark.parametrize("error", [ConfigurationError, ConditionError, BadInput])
def test_the_text_has_problem_place_and_fix_in_this_order(
    error: type[ConfigurationError] | type[ConditionError] | type[BadInput],
) -> None:
    made = error("p.yaml:3: waits", "'soon' is not a duration", "use a number and s, m, h or d, such as 30m")
    assert str(made) == "'soon' is not a duration (p.yaml:3: waits); use a number and s, m, h or d, such as 30m"
    assert (made.place, made.problem) == ("p.yaml:3: waits", "'soon' is not a duration")
    assert made.fix == "use a number and s, m, h or d, such as 30m"
    assert str(error("", "nothing to check", "give a file")) == "nothing to check; give a file"


SECRET = "S3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3c=="


@pytest.mark.parametrize("error", [ConfigurationError, ConditionError, BadInput])
def test_no_part_of_an_error_shows_a_secret(
    error: type[ConfigurationError] | type[ConditionError] | type[BadInput],
) -> None:
    made = error(f"p.yaml: a.{SECRET}", f"{as_written(SECRET)} is not a name, {SECRET}", "write a name")
    assert SECRET not in str(made) + made.problem + repr(made)
    assert "***" in made.problem


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (5, "5"),
        ("soon", "'soon'"),
        ("a\nb", "'a\\nb'"),
        ([], "an empty list"),
        (["a"], "a list"),
        ({}, "an empty mapping"),
        ({"a": 1}, "a mapping"),
        ("ab " * 100, f"'{'ab ' * 26}ab…'"),
    ],
)
def test_a_value_is_shown_as_it_is_written(value: object, text: str) -> None:
    assert as_written(value) == text


def test_an_unknown_name_is_named_with_the_known_ones_and_the_nearest() -> None:
    error = unknown_key("p.yaml:3: efect", "efect", "policy lab", ["effect", "name", "scope"])
    assert str(error) == (
        "unknown key 'efect' in policy lab (p.yaml:3: efect); known keys: effect, name, scope; did you mean 'effect'?"
    )
    assert known_names("tables", ['"2024-01"', '"2025-01"'], "2024-1").endswith("; did you mean '2024-01'?")
    assert known_names("names", map(str, range(60))).endswith("48, 49 and 10 more")
    assert known_names("names", []) == "remove it"


# What may stand in place of any value, and is rarely right there.
WRONG: list[Any] = [
    None,
    "",
    " ",
    "soon",
    5,
    -1,
    1.5,
    True,
    [],
    {},
    ["x"],
    [None],
    {"efect": 1},
    [{"efect": 1}],
    "[",
    "x" * 500,
]
POLICY: dict[str, Any] = {
    "name": "lab",
    "extension": "oms-agent-linux",
    "effect": "auditIfNotExists",
    "scope": ["/subscriptions/11112222-3333-4444-5555-666677778888"],
    "notScopes": [],
    "includeManaged": False,
    "rule": {"field": "location", "equals": "westeurope"},
    "existenceCondition": {"allOf": [{"field": "name", "equals": "x"}]},
    "parameters": {"env": "lab"},
    "settings": {"workspaceId": "{OMS_WORKSPACE_ID}"},
    "protectedSettings": {"workspaceKey": "{OMS_WORKSPACE_KEY}"},
    "supportTable": "2017-04",
    "exemptions": [{"scope": "/", "category": "Waiver", "expiresOn": "2027-01-01", "reason": "x"}],
    "waits": {"agent-ready": {"every": ["1m"], "giveUpAfter": "1h"}},
    "settleDelay": "5m",
    "workspaces": [{"name": "a", "when": {"field": "location", "equals": "x"}, "settings": {}}],
    "brake": {"maxInstallsPerHour": 100, "stopAfterFailures": 5},
    "azurePolicy": ["/providers/Microsoft.Authorization/policyDefinitions/x"],
    "reconnect": True,
}
OVERRIDES: dict[str, Any] = {
    "images": [{"match": "a:b:c", "distribution": "ubuntu", "version": "22.04", "architecture": "x86_64"}]
}
ENTRY = yaml.safe_load((ROOT / "onboarding/catalog/linux/oms-agent-linux.yaml").read_text(encoding="utf-8"))


def variants(value: Any) -> Iterator[Any]:
    """The value with something wrong in each of its places, one at a time; with an unknown key in each mapping."""
    if isinstance(value, dict):
        yield from ({**value, key: 1} for key in ("unknwon", "a\nb"))
        for key, inner in value.items():
            yield {k: v for k, v in value.items() if k != key}
            yield from ({**value, key: other} for other in (*WRONG, *variants(inner)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from ([*value[:index], other, *value[index + 1 :]] for other in (*WRONG, *variants(inner)))


def check(problem: str, file: str) -> None:
    found = FORM.fullmatch(problem)
    assert found, problem
    place = found["place"]
    assert re.fullmatch(rf"{re.escape(file)}(?::[1-9]\d*(?:: .+)?)?", place), problem
    assert not BAD_PROBLEM.search(found["problem"].split("'")[0]), problem
    assert not BAD_FIX.search(found["fix"]), problem
    assert len(problem) < 2000
    assert "\n" not in problem


def test_every_error_of_a_policy_has_the_form_and_a_line(tmp_path: Path) -> None:
    """Lines too: each place in a file is that of the nearest thing that is there."""
    catalogue = load_catalogue()
    seen = set()
    for variant in (*WRONG, *variants(POLICY)):
        (tmp_path / "p.json").write_text(json.dumps(variant, indent=1), encoding="utf-8")
        policies, problems = load_policies(tmp_path, catalogue)
        if not policies.policies:
            problem, none_left = problems
            check(problem, "p.json")
            assert "(app setting ONBOARDING_POLICIES); " in none_left
            assert isinstance(variant, dict) is bool(re.search(r" \(p\.json:\d", problem)), problem
            seen.add(problem)
    assert len(seen) > 100


def test_every_error_of_an_override_has_the_form_and_a_line(tmp_path: Path) -> None:
    seen = set()
    for variant in (*WRONG, *variants(OVERRIDES)):
        (tmp_path / "image-overrides.yaml").write_text(yaml.safe_dump(variant), encoding="utf-8")
        _, problems = load_overrides(tmp_path)
        for problem in problems:
            check(problem, "image-overrides.yaml")
            seen.add(problem)
    assert len(seen) > 20


def test_every_error_of_a_catalogue_entry_has_the_form_and_a_line(tmp_path: Path) -> None:
    """Every third variant: the entry has many keys, and most of them are alike."""
    entry = {
        **ENTRY,
        "name": "own",
        "type": "Own",
        "supportTables": {"a": {"date": "d", "source": "s", "versions": {"ubuntu": ["22.04"]}}},
    }
    entry["defaultSupportTable"] = "a"
    entry["errors"] = {"editions": [{"date": "d", "source": "s", "codes": [{"exitCode": 7, "cause": "unknown"}]}]}
    (tmp_path / "extensions").mkdir()
    seen = set()
    for variant in (*WRONG[::3], *list(variants(entry))[::3]):
        (tmp_path / "extensions/own.json").write_text(json.dumps(variant, indent=1, default=str), encoding="utf-8")
        for problem in load_used_catalogue(tmp_path).problems:
            check(problem, "extensions/own.json")
            seen.add(problem)
    assert len(seen) > 50


def test_the_line_of_an_unknown_key_is_that_of_the_key(tmp_path: Path) -> None:
    text = "name: lab\nextension: oms-agent-linux\nwaits:\n  agent-ready:\n    every: [1m]\n    give.up: 1h\n"
    (tmp_path / "p.yaml").write_text(text, encoding="utf-8")
    _, (problem, _) = load_policies(tmp_path, load_catalogue())
    assert problem.startswith("unknown key 'give.up' in a schedule (p.yaml:6: waits.agent-ready.give.up); known keys:")


@given(
    text=st.text(max_size=40) | st.sampled_from(["a: [1, {b: 2}]", "{", "? [a]\n: b", "a: &a {b: *a}", "\ud800"]),
    path=st.text(),
)
def test_looking_for_a_line_never_raises(text: str, path: str) -> None:
    for place in (path, f"a[{path}]", "a[99999999999]", "a[1].b", f"a.{path}.b", "a[²]"):
        error = ConfigurationError(f"p.yaml: {place}", "x is not y", "write y")
        found = with_line(error, "p.yaml", text)
        assert found.place in (error.place, *(f"p.yaml:{line}: {place}" for line in range(1, 50)))
        assert (found.problem, found.fix) == (error.problem, error.fix)


def test_without_a_line_the_file_is_named_alone() -> None:
    error = ConfigurationError("p.yaml: a.b", "x is not y", "write y")
    assert str(with_line(error, "p.yaml", "a: [")) == "x is not y (p.yaml: a.b); write y"
    assert with_line(error, "q.yaml", "a: 1") is error
