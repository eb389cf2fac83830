"""Catalogue entries of the user's own, in the policy folder: what is taken, and what is named and left out."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onboarding.app import Configuration, read_configuration
from onboarding.cli.main import main
from onboarding.domain.errors import ConfigurationError
from onboarding.loading.policy_folder import load_catalogue, load_catalogue_of
from onboarding.web.health import health
from tests.reference import parse_entry

ENTRY: dict[str, Any] = {
    "name": "inventory-agent",
    "publisher": "Contoso.Inventory",
    "type": "InventoryAgentLinux",
    "version": "2.0",
    "resourceName": "InventoryAgent",
    "osType": "Linux",
    "supportTables": {"2026-01": {"date": "2026-01-15", "source": "s", "versions": {"ubuntu": ["22.04"]}}},
    "errors": {"editions": [{"date": "2026-01-15", "source": "s", "codes": [{"exitCode": 7, "cause": "unknown"}]}]},
}
POLICY = {"name": "inventory", "extension": "inventory-agent"}
SHIPPED = list(load_catalogue())
OMS = load_catalogue()["oms-agent-linux"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "extensions").mkdir()
    write(tmp_path / "inventory.yaml", POLICY)
    return tmp_path


def write(path: Path, value: object) -> None:
    path.write_text(yaml.safe_dump(value), encoding="utf-8")


def read(folder: Path) -> Configuration:
    return read_configuration({"AzureWebJobsStorage": "UseDevelopmentStorage=true", "ONBOARDING_POLICIES": str(folder)})


def test_a_folder_without_extensions_has_the_shipped_ones(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        catalogue = load_catalogue_of(folder)
        assert (list(catalogue.entries), catalogue.problems) == (SHIPPED, ())


def test_an_own_extension_stands_beside_the_shipped_ones(folder: Path) -> None:
    write(folder / "extensions" / "inventory.yml", ENTRY)
    (folder / "extensions" / "other.json").write_text(json.dumps({**ENTRY, "name": "other", "type": "Other"}))
    (folder / "extensions" / "README.md").write_text("not an entry")
    configuration = read(folder)
    assert configuration.problems == ()
    assert list(configuration.rules.catalogue) == [*SHIPPED, "inventory-agent", "other"]
    assert [policy.extension for policy in configuration.rules.policies.policies] == ["inventory-agent"]


BAD: dict[str, tuple[str, str, str]] = {
    "no YAML": ("name: [", "the text is not YAML: ", "extensions/bad.yaml:1"),
    "no entry": ("just text", "'just text' is not the catalogue entry", "extensions/bad.yaml"),
    "an unknown key": (
        yaml.safe_dump({**ENTRY, "publsher": "x"}),
        "unknown key 'publsher' in the catalogue entry",
        "extensions/bad.yaml:11: publsher",
    ),
    "a table without versions": (
        yaml.safe_dump({**ENTRY, "supportTables": {"a": {"date": "d", "source": "s", "versions": ["ubuntu"]}}}),
        "a list is not a mapping",
        "extensions/bad.yaml:16: supportTables.a.versions",
    ),
    "an invalid name": (
        yaml.safe_dump({**ENTRY, "name": "a/b"}),
        "'a/b' is not the name",
        "extensions/bad.yaml:8: name",
    ),
    "an invalid resource name": (
        yaml.safe_dump({**ENTRY, "resourceName": "a/../b"}),
        "'a/../b' is not the name",
        "extensions/bad.yaml:11: resourceName",
    ),
    "a name that is taken": (
        yaml.safe_dump({**ENTRY, "type": "Other"}),
        "another extension has the name 'inventory-agent'",
        "extensions/bad.yaml:8: name",
    ),
    "a handler that is taken": (
        yaml.safe_dump({**ENTRY, "name": "twin", "publisher": "CONTOSO.inventory"}),
        "CONTOSO.inventory.InventoryAgentLinux is already the handler of the extension 'inventory-agent'",
        "extensions/bad.yaml:19: type",
    ),
    "no UTF-8": ("\udcff", "the text is not UTF-8 at byte 0", "extensions/bad.yaml"),
    "no bottom": ("&a [*a]", "the alias '*a' is inside of what it names", "extensions/bad.yaml:1"),
}


@pytest.mark.parametrize(("text", "says", "place"), BAD.values(), ids=BAD)
def test_a_bad_file_is_left_out_and_named_alone(folder: Path, text: str, says: str, place: str) -> None:
    write(folder / "extensions" / "a.yaml", ENTRY)
    (folder / "extensions" / "bad.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    body = health(read(folder))
    (problem,) = body["problems"]
    assert problem.startswith(says)
    assert f" ({place}); " in problem
    assert [policy["name"] for policy in body["policies"]] == ["inventory"]


def test_a_policy_of_an_extension_that_was_left_out_is_named_too(folder: Path) -> None:
    write(folder / "extensions" / "a.yaml", {**ENTRY, "osType": "BSD"})
    own, policy, _ = read(folder).problems
    assert re.fullmatch(
        r"unknown operating system 'BSD' \(extensions/a\.yaml:\d+: osType\); write Linux or Windows", own
    )
    assert policy.startswith(
        "the catalogue entry of the extension 'inventory-agent' cannot be used (inventory.yaml:1: ex"
    )
    assert policy.endswith(f"); correct this first: {own}")


def test_an_own_extension_replaces_the_shipped_one_of_its_name_and_health_says_so(folder: Path) -> None:
    write(folder / "extensions" / "ours.yaml", {**ENTRY, "name": OMS.name})
    write(folder / "inventory.yaml", {"name": "inventory", "extension": OMS.name, "effect": "auditIfNotExists"})
    configuration = read(folder)
    assert configuration.problems == ()
    assert configuration.rules.catalogue[OMS.name].publisher == ENTRY["publisher"]
    assert health(configuration)["notices"][0] == f"extensions/ours.yaml replaces the shipped extension '{OMS.name}'"


def test_an_own_extension_replaces_the_shipped_one_for_its_handler(folder: Path) -> None:
    write(folder / "extensions" / "ours.yaml", {**ENTRY, "publisher": OMS.publisher.upper(), "type": OMS.type})
    write(folder / "oms.yaml", {"name": "oms", "extension": OMS.name, "effect": "auditIfNotExists"})
    configuration = read(folder)
    assert list(configuration.rules.catalogue) == [*(name for name in SHIPPED if name != OMS.name), "inventory-agent"]
    body = health(configuration)
    assert [policy["name"] for policy in body["policies"]] == ["inventory"]
    replaced = f"extensions/ours.yaml ('inventory-agent') replaces the shipped extension '{OMS.name}'"
    assert body["notices"] == [replaced]
    assert body["problems"] == [
        f"the catalogue entry of the extension '{OMS.name}' cannot be used (oms.yaml:2: extension); correct this first:"
        " 'inventory-agent' has its handler, and replaces it (extensions/ours.yaml); name 'inventory-agent' in"
        f" policies, or give that entry the name '{OMS.name}'"
    ]


def test_a_bad_file_that_was_to_replace_a_shipped_entry_never_lets_that_entry_be_used(folder: Path) -> None:
    write(folder / "extensions" / "ours.yaml", {**ENTRY, "name": OMS.name, "osType": "BSD"})
    write(folder / "oms.yaml", {"name": "oms", "extension": OMS.name})
    write(folder / "inventory.yaml", {"name": "ama", "extension": "azure-monitor-agent-linux"})
    own, policy = (problem for problem in read(folder).problems if "app setting" not in problem)
    assert own.startswith("unknown operating system 'BSD' (extensions/ours.yaml:")
    assert policy.startswith(f"the catalogue entry of the extension '{OMS.name}' cannot be used (oms.yaml:1: ext")
    assert policy.endswith(f"; correct this first: {own}")


def test_two_own_extensions_for_one_handler_never_replace_each_other(folder: Path) -> None:
    write(folder / "extensions" / "a.yaml", {**ENTRY, "name": OMS.name})
    write(folder / "extensions" / "b.yaml", {**ENTRY, "name": OMS.name})
    catalogue = load_catalogue_of(folder)
    (problem,) = catalogue.problems
    assert problem.startswith(f"another extension has the name '{OMS.name}' (extensions/b.yaml:")
    assert catalogue.entries[OMS.name].type == ENTRY["type"]
    assert catalogue.files == {OMS.name: "extensions/a.yaml"}


@pytest.mark.parametrize(
    "text",
    [
        "name: inventory-agent\nosType: [",
        '{\n  "name": "inventory-agent",\n',
        '{"name":"inventory-agent"',
        "# ours\n'name' : \"inventory-agent\"\n\tx: y",
        "",
    ],
)
def test_a_broken_file_says_which_extension_is_missing(folder: Path, text: str) -> None:
    name = "another.json" if text.startswith("{") else "another.yaml" if text else "inventory-agent.yaml"
    (folder / "extensions" / name).write_text(text)
    configuration = read(folder)
    assert list(configuration.rules.unusable) == ["inventory-agent"]
    assert configuration.rules.unusable["inventory-agent"] == configuration.problems[0]
    assert name in configuration.problems[1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode), name=st.sampled_from(["x.yaml", "x.json"])
)
def test_no_file_takes_the_catalogue_down(folder: Path, content: bytes, name: str) -> None:
    for old in (folder / "extensions").iterdir():
        old.unlink()
    (folder / "extensions" / name).write_bytes(content)
    catalogue = load_catalogue_of(folder)
    assert list(catalogue.entries) == SHIPPED
    assert len(catalogue.problems) == 1


def test_the_command_line_knows_own_extensions(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "extensions" / "a.yaml", ENTRY)
    monkeypatch.setenv("ONBOARDING_POLICIES", str(folder))
    urn = "Canonical:0001-com-ubuntu-server-jammy:22_04-lts"
    assert main(["check", "--extension", "inventory-agent", "--image", urn]) == 0
    assert main(["errors", "--extension", "inventory-agent", "7"]) == 0
    assert main(["diagnose", "--extension", "inventory-agent", "Non-zero exit code: 7"]) == 0
    assert main(["policy", "validate", str(folder)]) == 0
    assert "2 files, 0 errors" in capsys.readouterr().out


def test_validate_finds_the_errors_of_own_extensions_with_their_lines(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = yaml.safe_dump(ENTRY, sort_keys=False).replace("osType: Linux", "osType: BSD")
    (folder / "extensions" / "a.yaml").write_text(text)
    assert main(["policy", "validate", str(folder)]) == 1
    assert "unknown operating system 'BSD' (" in (out := capsys.readouterr().out)
    assert "a.yaml:6: osType); write Linux or Windows" in out


def places(value: object, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Each place within a value."""
    yield place
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*place, key))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=2),
    max_leaves=4,
)
FULL = yaml.safe_load((Path(__file__).parents[3] / "onboarding/catalog/linux/oms-agent-linux.yaml").read_text())
PLACES = [place for place in places(FULL) if place]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(PLACES), value=ANYTHING)
def test_whatever_stands_in_an_entry_it_is_read_or_refused_by_name(place: tuple[Any, ...], value: object) -> None:
    raw = copy.deepcopy(FULL)
    inner = raw
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    why = refusal(raw)
    assert not why or re.search(r" \(x\.yaml\b.*\); \S", why, re.DOTALL)


def refusal(raw: object) -> str:
    """Why an entry is refused; empty if it is not."""
    try:
        parse_entry(raw, "x.yaml")
    except ConfigurationError as error:
        return str(error)
    return ""
