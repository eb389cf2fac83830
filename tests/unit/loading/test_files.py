"""The policy folder: what is loaded, and what is named and left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onboarding.domain.image.overrides import NO_OVERRIDES
from onboarding.loading.policy_folder import OVERRIDES, load_catalogue, load_overrides, load_policies

CATALOGUE = load_catalogue()
POLICY = "name: p\nextension: oms-agent-linux\n"


def _load(folder: Path) -> tuple[list[str], tuple[str, ...]]:
    policies, problems = load_policies(folder, CATALOGUE)
    return [policy.name for policy in policies.policies], problems


def _write(folder: Path, name: str, text: str = "") -> None:
    (folder / name).write_text(text or POLICY.replace("name: p", f"name: {name.partition('.')[0]}"), encoding="utf-8")


def test_the_shipped_policies_load() -> None:
    names, problems = _load(Path(__file__).parents[3] / "policies")
    assert names == ["azure-monitor", "linux-monitoring"]
    assert problems == ()


def test_policies_come_in_the_order_of_their_files(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "C.YAML", "README.md", "notes.txt", OVERRIDES):
        _write(tmp_path, name)
    _write(tmp_path, "d.json", '{\n\t"name": "d",\n\t"extension": "oms-agent-linux"\n}')
    _write(tmp_path, "e.json", '\ufeff{"name": "e", "extension": "oms-agent-linux"}')
    assert _load(tmp_path) == (["C", "a", "b", "d", "e"], ())


@pytest.mark.parametrize(
    ("file", "text", "says", "place"),
    [
        ("p.yaml", "name: x\nextension: [oms", "the text is not YAML: ", "p.yaml:2"),
        ("p.yaml", "name: x\n\textension: oms", "the text is not YAML: ", "p.yaml:2"),
        ("p.yaml", "name: x\n? [a]\n: b", "the text is not YAML: found unhashable key", "p.yaml:2"),
        (
            "p.yaml",
            "name: x\nrule: !!python/object:os.system x",
            "the text is not YAML: could not determine a constructor",
            "p.yaml:2",
        ),
        (
            "p.yaml",
            "name: x\nexemptions:\n- {expiresOn: 2027-13-45}",
            "the text is not YAML: '2027-13-45' cannot be read",
            "p.yaml:3",
        ),
        ("p.yaml", "name: !!int x", "the text is not YAML: 'x' cannot be read", "p.yaml:1"),
        ("p.yaml", "name: !!bool x", "the text is not YAML: 'x' cannot be read", "p.yaml:1"),
        ("p.yaml", "name: !!timestamp x", "the text is not YAML: 'x' cannot be read", "p.yaml:1"),
        ("p.yaml", "name: a\0b", "the text is not YAML: unacceptable character", "p.yaml"),
        ("p.yaml", "# nothing", "null is not a policy", "p.yaml"),
        ("p.yaml", POLICY + "rule: &a {not: *a}", "the alias '*a' is inside of what it names", "p.yaml:3"),
        ("p.json", '{\n"name": "x",\n}', "the text is not JSON: ", "p.json:2"),
        ("p.json", "[" * 100_000, "the text is nested more than 100 deep", "p.json"),
        ("p.json", "[" * 200 + "]" * 200, "the text is nested more than 100 deep", "p.json"),
        (
            "p.yaml",
            POLICY + f"rule: {{value: '[add({'9' * 5000}, 1)]', equals: 1}}",
            "the number at position 5 has more than 300 digits",
            "p.yaml:3: rule.value",
        ),
        (
            "p.yaml",
            POLICY + f"rule: {{value: {'9' * 5000}, equals: 1}}",
            "the text is not YAML: a number has more than 300",
            "p.yaml:3",
        ),
        (
            "p.yaml",
            POLICY + 'rule: {value: "[' + "toLower(" * 60 + "field('tags')" + f"{'.a' * 60})" * 60 + ']", equals: a}',
            "the condition is nested too deeply",
            "p.yaml:3: rule",
        ),
        ("p.json", "9" * 5000, "the text has a number with too many digits", "p.json:1"),
        ("p.yaml", POLICY + "rule: {feild: location}", "this condition has only 'feild'", "p.yaml:3: rule"),
        (
            "p.yaml",
            POLICY.replace("oms-agent-linux", "omsagent"),
            "unknown extension 'omsagent'",
            "p.yaml:2: extension",
        ),
        (
            "p.yaml",
            POLICY + "supportTable: 2019-01",
            "oms-agent-linux has no support table '2019-01'",
            "p.yaml:3: supportTable",
        ),
    ],
)
def test_a_bad_file_is_named_and_the_others_load(tmp_path: Path, file: str, text: str, says: str, place: str) -> None:
    _write(tmp_path, file, text)
    _write(tmp_path, "good.yaml")
    names, (problem,) = _load(tmp_path)
    assert names == ["good"]
    assert problem.startswith(says)
    assert re.search(rf" \({re.escape(place)}\); \S", problem), problem
    assert "\n" not in problem


def test_a_file_that_is_no_text_or_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.yaml").mkdir()
    _write(tmp_path, "good.yaml")
    names, problems = _load(tmp_path)
    assert names == ["good"]
    assert problems == (
        "the text is not UTF-16 at byte 2 (a.yaml); save it as UTF-8",
        "the file cannot be read: Is a directory (b.yaml); put a file there that can be read",
    )


def test_an_error_in_a_policy_names_file_and_line(tmp_path: Path) -> None:
    _write(
        tmp_path,
        "p.yaml",
        "name: p\nextension: oms-agent-linux\nnotScopes:\n  - /subscriptions/1\n  - /subscriptions/\n",
    )
    _, (problem, _) = _load(tmp_path)
    assert problem.startswith("'/subscriptions/' is not a scope: it has an empty part after '/subscriptions/' (")
    assert "(p.yaml:5: notScopes[1]); write /subscriptions/<id>" in problem


def test_a_scope_that_was_left_empty_is_not_everything(tmp_path: Path) -> None:
    _write(tmp_path, "p.yaml", "name: p\nextension: oms-agent-linux\nscope:\n")
    _, (problem, _) = _load(tmp_path)
    assert problem.startswith("key 'scope' has no value (p.yaml:3: scope); write /subscriptions/<id>")
    assert problem.endswith(", or leave the key out")


def test_an_exemption_of_nothing_is_not_one_of_everything(tmp_path: Path) -> None:
    for scope in ("/subscriptions/", "''", "~"):
        text = f"name: p\nextension: oms-agent-linux\nexemptions:\n  - scope: {scope}\n    reason: moved\n"
        _write(tmp_path, "p.yaml", text)
        _, (problem, _) = _load(tmp_path)
        assert problem.startswith(
            "key 'scope' has no value" if scope == "~" else f"'{scope.strip("'")}' is not a scope"
        )
        assert " (p.yaml:4: exemptions[0].scope); write /subscriptions/<id>" in problem


def test_a_folder_without_a_policy_is_a_problem(tmp_path: Path) -> None:
    names, (problem,) = _load(tmp_path)
    assert names == []
    assert "no VM is onboarded (app setting ONBOARDING_POLICIES); name a folder" in problem


def test_a_missing_folder_is_a_problem(tmp_path: Path) -> None:
    names, (problem,) = _load(tmp_path / "polices")
    assert names == []
    assert "polices' is not a folder (app setting ONBOARDING_POLICIES); name a folder" in problem


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.sampled_from(["p.yaml", "p.json"]))
def test_no_text_takes_the_other_files_down(tmp_path: Path, text: str, name: str) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    (tmp_path / name).write_bytes(text.encode(errors="surrogatepass"))
    _write(tmp_path, "good.yaml")
    assert "good" in _load(tmp_path)[0]


@pytest.mark.parametrize("text", ["images: [", "images: 5", "- x", "images: [{match: 2027-13-45}]", "images: &a [*a]"])
def test_bad_overrides_are_named_and_teach_nothing(tmp_path: Path, text: str) -> None:
    _write(tmp_path, OVERRIDES, text)
    overrides, (problem,) = load_overrides(tmp_path)
    assert overrides is NO_OVERRIDES
    assert re.search(rf" \({re.escape(OVERRIDES)}(:1)?(: images)?\); \S", problem)


def test_overrides_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / OVERRIDES).write_bytes(b"\xff\xfe\x00")
    assert load_overrides(tmp_path) == (
        NO_OVERRIDES,
        (f"the text is not UTF-16 at byte 2 ({OVERRIDES}); save it as UTF-8",),
    )


def test_no_overrides_are_no_problem(tmp_path: Path) -> None:
    assert load_overrides(tmp_path) == (NO_OVERRIDES, ())
