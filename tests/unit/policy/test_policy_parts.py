"""The digest of a policy in two parts, and rows of versions of the product that knew the first alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.policy_digest import joined, parts, same_file, same_version
from tests.reference import parse_entry

ENTRY: dict[str, Any] = {
    "name": "agent",
    "publisher": "Contoso",
    "type": "Agent",
    "version": "1.2",
    "resourceName": "Agent",
    "os": "linux",
    "settings": {"properties": {"level": {"type": "string", "description": "how much", "default": "info"}}},
}


@given(st.text(max_size=20))
def test_a_digest_comes_back_from_its_parts(digest: str) -> None:
    assert joined(*parts(digest)) == digest


@pytest.mark.parametrize(
    ("stored", "same", "file"),
    [
        ("", True, True),
        ("abc", True, True),  # of a version that knew the file alone
        ("abc.1", True, True),
        ("abc.2", False, True),
        ("abd", False, False),
        ("abd.1", False, False),
    ],
)
def test_what_counts_as_the_same_version(stored: str, same: bool, file: bool) -> None:
    assert (same_version(stored, "abc.1"), same_file(stored, "abc.1")) == (same, file)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1.3"},
        {"enableAutomaticUpgrade": True},
        {"autoUpgradeMinorVersion": False},
        {"settings": {"properties": {"level": {"type": "string", "default": "debug"}}}},
        {"supportTables": {"2026": {"date": "2026-01-01", "source": "s", "versions": "any"}}},
    ],
)
def test_what_decides_changes_the_digest_of_an_entry(change: dict[str, Any]) -> None:
    assert parse_entry({**ENTRY, **change}, "e.yaml").digest != parse_entry(ENTRY, "e.yaml").digest


@pytest.mark.parametrize(
    "change",
    [
        {"displayName": "The agent"},
        {"logs": ["/var/log/agent.log"]},
        {"settings": {"properties": {"level": {"type": "string", "description": "other", "default": "info"}}}},
    ],
)
def test_what_is_for_people_does_not(change: dict[str, Any]) -> None:
    assert parse_entry({**ENTRY, **change}, "e.yaml").digest == parse_entry(ENTRY, "e.yaml").digest
