"""The JSON Schemas that editors use: up to date, true of every file that ships, and of what the pages show."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from onboarding.cli.main import main
from onboarding.cli.policy.cases import Case, CasesFile
from onboarding.cli.policy.schema import KINDS
from onboarding.domain.image.overrides import OverrideEntry, OverrideFile
from onboarding.domain.typed_file import FileMapping, json_schema, keys_of
from onboarding.export.policy_schema import policy_schema
from onboarding.loading.package_data import managed_kinds
from onboarding.loading.policy_folder import load_catalogue_of, load_policies, policy_files
from simulator.storm.targets import MORE, copy_policies

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"^ *```yaml\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)]
FOLDERS = [ROOT / "policies", *sorted(path for path in (ROOT / "samples/policies").iterdir() if path.is_dir())]


def errors_in(schema: dict[str, Any], data: object) -> list[str]:
    as_json = json.loads(json.dumps(data, default=str))  # YAML has dates, JSON has texts
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(as_json)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_schema_is_current_and_is_one(kind: str) -> None:
    file = ROOT / KINDS[kind][0]
    assert main(["policy", "schema", "--kind", kind, "--check", str(file)]) == 0
    jsonschema.Draft7Validator.check_schema(json.loads(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_that_is_not_current_is_written(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    assert main(["policy", "schema", "--kind", kind, "--check", str(file)]) == 1
    assert main(["policy", "schema", "--kind", kind, str(file)]) == 0
    assert file.read_text(encoding="utf-8") == (ROOT / KINDS[kind][0]).read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_policy_that_ships_is_valid_for_the_schema_and_for_the_product(folder: Path, tmp_path: Path) -> None:
    if folder == MORE:  # it is used together with the folder `storm`
        folder = copy_policies(tmp_path / "policies")
    catalogue = load_catalogue_of(folder)
    schema = policy_schema(catalogue.entries, managed_kinds())
    files = policy_files(folder)
    assert files
    for file in files:
        assert not errors_in(schema, yaml.safe_load(file.read_text(encoding="utf-8"))), file
    policies, problems = load_policies(folder, catalogue.entries)
    assert (len(policies.policies), problems) == (len(files), ())


@pytest.mark.parametrize(("key", "kind"), [("images", OverrideFile), ("cases", CasesFile)])
def test_the_examples_of_the_page_are_valid(key: str, kind: type[FileMapping]) -> None:
    examples = [example for example in EXAMPLES if key in example]
    assert examples
    for example in examples:
        assert not errors_in(json_schema(kind), example)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (OverrideFile, {"images": [{"match": "a", "distribution": "plan9"}]}),
        (OverrideFile, {"images": [{"match": "a", "distribution": "ubuntu", "version": 22.04}]}),
        (OverrideFile, {"images": [{"distribution": "ubuntu"}]}),
        (OverrideFile, {"images": [{"match": "a", "believeIdentifer": True}]}),
        (CasesFile, {"policy": "p.yaml", "cases": []}),
        (CasesFile, {"policy": "p.yaml", "cases": [{"vm": {}}]}),
        (CasesFile, {"policy": "p.yaml", "cases": [{"vm": 5, "expect": {}}]}),
        (CasesFile, {"policy": "p.yaml", "cases": [{"vm": {}, "expect": {"seleted": True}}]}),
    ],
)
def test_a_schema_marks_what_would_be_refused(kind: type[FileMapping], wrong: dict[str, Any]) -> None:
    assert errors_in(json_schema(kind), wrong)


def test_every_key_of_overrides_and_cases_is_on_a_page() -> None:
    images = (ROOT / "docs" / "supported-images.md").read_text(encoding="utf-8")
    keys = {key for kind in (OverrideFile, OverrideEntry) for key in keys_of(kind)}
    assert not sorted(key for key in keys if key not in images)
    section = PAGE.split("### Test policies")[1].split("\n## ")[0]
    keys = {key for kind in (CasesFile, Case) for key in keys_of(kind)}
    assert not sorted(key for key in keys if not re.search(rf"\b{key}\b", section))


READ_ALL = """
import msgspec, pkgutil, importlib, onboarding
from onboarding.domain.typed_file import FileMapping, from_file
for module in pkgutil.walk_packages(onboarding.__path__, "onboarding."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

def kinds(kind):
    for each in kind.__subclasses__():
        yield each
        yield from kinds(each)

found = list(kinds(FileMapping))
for kind in found:
    for data in ({}, {"x": 1}, {field.encode_name: [1] for field in msgspec.structs.fields(kind)}):
        try:
            msgspec.convert(data, kind, dec_hook=from_file)
        except msgspec.ValidationError:
            pass
print(len(found))
"""


def test_no_type_of_a_file_makes_msgspec_write_outside_of_its_memory() -> None:
    """msgspec 0.22 does for a text with a pattern in a union with a list; a debugging allocator ends the process."""
    environment = {**os.environ, "PYTHONMALLOC": "debug", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", READ_ALL], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 8
