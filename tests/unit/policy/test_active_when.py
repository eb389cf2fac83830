"""`activeWhen`: the app settings that make a policy active."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.policy.active_when import ActiveWhen
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.typed_file import read_as
from tests.reference import parse_policy


def read(value: Any) -> ActiveWhen:
    return read_as(value, ActiveWhen, "p.yaml: activeWhen")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "it names no app setting"),
        ({"settings": []}, "it names no app setting"),
        ({"settings": "A", "unless": ["B", "A"]}, "the app setting A must be set and must not be set"),
        ({"settings": ["{A}"]}, "'{A}' is not the name of an app setting"),
        ({"unless": 7}, "7 is not the name of an app setting"),
        ({"settings": "A B"}, "write a name such as DATA_COLLECTION_RULE_ID, without braces"),
        ({"setting": "A"}, "unknown key 'setting' in activeWhen"),
        (True, "activeWhen"),
    ],
)
def test_what_says_nothing_is_refused(value: Any, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_policy({"name": "p", "extension": "oms-agent-linux", "activeWhen": value}, "p.yaml", compile_rule)
    assert says in str(refused.value)
    assert "p.yaml" in str(refused.value)


@pytest.mark.parametrize(
    ("value", "settings", "unmet"),
    [
        ({"settings": "A"}, {"A": "x"}, ""),
        ({"settings": "A"}, {"A": " \n"}, "app setting A is not set"),
        ({"settings": ["A", "B", "C"]}, {"B": "x"}, "app settings A and C are not set"),
        ({"unless": "A"}, {}, ""),
        ({"unless": ["A", "B"]}, {"A": "secret", "B": "secret"}, "app settings A and B are set"),
        ({"settings": "A", "unless": "B"}, {"B": "x"}, "app setting A is not set"),
    ],
)
def test_why_it_does_not_hold(value: Any, settings: dict[str, str], unmet: str) -> None:
    assert read(value).unmet(settings) == unmet


NAMES = st.sets(st.sampled_from("ABCD"), max_size=4)


@given(st.sets(st.sampled_from("AB"), min_size=1), st.sets(st.sampled_from("CD")), NAMES)
def test_it_holds_exactly_when_all_are_set_and_none_of_the_others(
    needed: set[str], others: set[str], known: set[str]
) -> None:
    condition = read({"settings": sorted(needed), "unless": sorted(others)})
    unmet = condition.unmet(dict.fromkeys(known, "value"))
    assert bool(unmet) != (needed <= known and not others & known)
    assert "value" not in unmet
