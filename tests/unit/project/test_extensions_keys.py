"""The page on extensions explains every key of a catalogue entry, and its examples are entries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from onboarding.cli.command_list import EXTENSION_ACTIONS
from onboarding.domain.catalog.entry_file import EntryFile, Needs, Retirement
from onboarding.domain.catalog.setting_schema import SettingSchema
from onboarding.domain.failures.error_table import _EDITION_KEYS, _SECTION_KEYS
from tests.reference import parse_entry

PAGE = (Path(__file__).parents[3] / "docs" / "extensions.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"^ *```yaml\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)]
ENTRIES = [example for example in EXAMPLES if "publisher" in example]


def test_every_key_of_an_entry_is_on_the_page() -> None:
    kinds = (EntryFile, Needs, Retirement, SettingSchema)
    keys = [field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)]
    assert not [key for key in (*keys, *_SECTION_KEYS, *_EDITION_KEYS) if f"`{key}`" not in PAGE]


def test_every_action_is_on_the_page() -> None:
    assert not [name for name in EXTENSION_ACTIONS if f"`onboard extension {name}" not in PAGE]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["name"]))
def test_every_example_is_an_entry(entry: dict[str, Any]) -> None:
    assert parse_entry(entry, "docs/extensions.md").name == entry["name"]


def test_the_example_of_an_error_table_is_one() -> None:
    (errors,) = [example["errors"] for example in EXAMPLES if "errors" in example]
    entry = parse_entry({**ENTRIES[0], "errors": errors}, "docs/extensions.md")
    assert len(ENTRIES) == 2
    assert [edition.date for edition in entry.errors.editions] == ["2026-01-15"]
