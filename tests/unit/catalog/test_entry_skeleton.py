"""The first text of an entry and of its policy: whatever an installed extension shows, both are valid and fit."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.policy.policy_settings import settings_errors
from onboarding.domain.policy.rule import compile_rule
from onboarding.export.entry_skeleton import NewEntry, entry_text, policy_text
from tests.reference import parse_entry, parse_policy

TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", "yes", "no", "null", "~", "1", "1e3", "a: b", "# x", "a\nb", "token"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
LINE = st.text(min_size=1, max_size=8)


@given(
    settings=st.dictionaries(TEXTS, VALUES, max_size=4),
    protected=st.lists(TEXTS, max_size=2, unique=True),
    publisher=LINE,
    type_=LINE,
    system=st.sampled_from(["linux", "windows"]),
    upgrade=st.sampled_from([None, True, False]),
)
def test_the_entry_is_valid_and_the_policy_fits_it(
    settings: dict[str, Any], protected: list[str], publisher: str, type_: str, system: str, upgrade: bool | None
) -> None:
    new = NewEntry(
        name="made",
        publisher=publisher,
        type=type_,
        os=system,
        resource_name="Made",
        automatic_upgrade=upgrade,
        minor_upgrade=upgrade is not False,
        settings=settings,
        protected=protected,
        machine={"yes": "machine.name"},
    )
    text = entry_text(new, "x.json")
    entry = parse_entry(yaml.safe_load(text), "made.yaml")
    assert (entry.publisher, entry.type, entry.enable_automatic_upgrade) == (publisher, type_, upgrade)
    assert set(entry.settings.properties or {}) == set(settings)
    assert list(entry.protected_settings.required) == protected
    policy = yaml.safe_load(policy_text(new, "y.json"))
    assert [str(error) for error in settings_errors(entry, policy)] == []
    parse_policy(policy, "made.yaml", compile_rule)
