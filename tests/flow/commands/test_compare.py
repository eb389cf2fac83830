"""`onboard compare`: two ways to identify an OS are counted against labels, from files to the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onboarding.cli.main import main
from tests.shared_samples import SAMPLES, needs_samples

DEFINITION = {
    "properties": {
        "policyRule": {
            "if": {
                "allOf": [
                    {"field": "Microsoft.Compute/imagePublisher", "equals": "Canonical"},
                    {"field": "Microsoft.Compute/imageSKU", "like": "1*LTS"},
                ]
            },
            "then": {"effect": "audit"},
        }
    }
}
LABELS = [
    ("Canonical", "UbuntuServer", "16.04-LTS", "ubuntu", "16.04"),
    ("Canonical", "UbuntuServer", "18.04-LTS", "ubuntu", "18.04"),
    ("OpenLogic", "CentOS", "7.5", "centos", "7.5"),
    ("SUSE", "SLES", "15", "sles", "15"),
    ("fortinet", "fortigate", "fg-vm", "unknown", None),
]


def _files(tmp_path: Path, labels: list[Any]) -> list[str]:
    images, definition = tmp_path / "images.jsonl", tmp_path / "rule.json"
    images.write_text("\n".join(map(json.dumps, labels)))
    definition.write_text(json.dumps(DEFINITION))
    return [str(images), "--definition", str(definition)]


def _labels() -> list[dict[str, str | None]]:
    keys = ("publisher", "offer", "sku", "distro", "os_version")
    return [dict(zip(keys, label, strict=True)) for label in LABELS]


def _section(out: str, table: str) -> dict[str, str]:
    section = out.split(f"against table {table}")[1].split("### ")[0]
    rows = (line.strip("| ").split(" | ", 1) for line in section.splitlines() if line.startswith("| "))
    return {row[0]: row[1] for row in rows if len(row) == 2}


def test_both_methods_are_counted_against_each_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *_files(tmp_path, _labels())]) == 0
    out = capsys.readouterr().out
    old = _section(out, "2017-04")
    assert old["supported: installed (right)"] == "2 | 1"
    assert old["supported: not installed (wrong)"] == "0 | 1"
    assert old["not supported: not installed (right)"] == "2 | 1"
    assert old["not supported: installed (wrong)"] == "0 | 1"
    assert old["not known from the name: no answer (right)"] == "1 | 0"
    assert _section(out, "2023-11")["supported: installed (right)"] == "4 | 2"
    assert "`rule.json` wrongly installs on 1, such as `Canonical:UbuntuServer:18.04-LTS`." in out


def test_the_page_is_filled_and_then_current(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin: comparison -->\n<!-- end: comparison -->\nafter\n")
    arguments = ["compare", *_files(tmp_path, _labels()), "--page", str(page)]
    assert main([*arguments, "--check"]) == 1
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    assert page.read_text().startswith("before\n<!-- begin: comparison -->\n### 5 images")


@pytest.mark.parametrize(
    ("labels", "message"),
    [([{"publisher": "x"}], "images.jsonl:1); add both keys"), ([*_labels(), 7], "7 has no publisher and distro (")],
)
def test_an_image_without_a_label_is_named(
    labels: list[Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *_files(tmp_path, labels)]) == 2
    assert message in capsys.readouterr().err


@needs_samples
def test_the_page_of_the_documentation_is_current() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "comparison.md"
    definition = SAMPLES / "policies" / "LogAnalyticsExtension_Linux_VM_DINE.json"
    arguments = [str(SAMPLES / "images.jsonl"), "--definition", str(definition)]
    arguments += ["--parameters", '{"logAnalytics": "w"}', "--page", str(page), "--check"]
    assert main(["compare", *arguments]) == 0
