"""Every operator against values of every kind, as the documentation of policy rules has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from onboarding.domain.policy.conditions import Context
from tests.unit.policy.conditions.bodies import evaluate, holds

SIZE = "Microsoft.Compute/virtualMachines/storageProfile.osDisk.diskSizeGB"
ABSENT = "Microsoft.Compute/virtualMachines/licenseType"
NULL = "Microsoft.Compute/virtualMachines/storageProfile.osDisk.encryptionSettings"
PASSWORDLESS = "Microsoft.Compute/virtualMachines/osProfile.linuxConfiguration.disablePasswordAuthentication"


@pytest.mark.parametrize(
    ("field", "operator", "right", "expected"),
    [
        ("name", "equals", "VM-1", True),
        ("name", "equals", "vm-2", False),
        ("name", "like", "VM*", True),
        ("name", "like", "vm", False),
        ("name", "like", "*-1", True),
        ("name", "like", "v*1", True),
        ("name", "like", "vm-?", True),
        ("name", "like", "vm.1", False),
        ("name", "match", "vm-#", True),
        ("name", "match", "VM-#", False),
        ("name", "match", "??-#", True),
        ("name", "match", "??.#", True),
        ("name", "match", "??-?", False),
        ("name", "match", "vm-##", False),
        ("name", "match", "vm-*", False),
        ("name", "matchInsensitively", "VM-#", True),
        ("name", "contains", "M-", True),
        ("name", "contains", "x", False),
        ("name", "in", ["a", "VM-1"], True),
        ("name", "in", [], False),
        ("location", "equals", "West Europe", True),
        ("location", "in", ["East US", "West Europe"], True),
        ("tags", "containsKey", "ENV", True),
        ("tags", "containsKey", "Prod", False),
        ("tags", "exists", "True", True),
        ("identity.userAssignedIdentities", "containsKey", "/A/B", True),
        (SIZE, "equals", "30", True),
        (SIZE, "equals", 30, True),
        (SIZE, "in", ["20", "30"], True),
        (SIZE, "less", 31, True),
        (SIZE, "less", "31", True),
        (SIZE, "lessOrEquals", 30, True),
        (SIZE, "greater", 30, False),
        (SIZE, "greaterOrEquals", 30.0, True),
        (SIZE, "like", "3*", True),
        ("name", "less", "VM-2", True),
        ("name", "greater", "VM-0", True),
        (PASSWORDLESS, "equals", "True", True),
        (PASSWORDLESS, "equals", True, True),
        (PASSWORDLESS, "equals", 1, False),
        (PASSWORDLESS, "equals", "false", False),
        ("tags['empty']", "exists", True, True),
        ("tags['empty']", "equals", "", True),
        (NULL, "exists", False, True),
        (NULL, "equals", "", True),
        (NULL, "less", 3, False),
    ],
)
def test_operator(field: str, operator: str, right: Any, expected: bool) -> None:
    assert holds({"field": field, operator: right}) is expected


@pytest.mark.parametrize(
    ("operator", "right"),
    [("equals", "x"), ("like", "*"), ("match", "."), ("matchInsensitively", "."), ("contains", ""), ("in", ["x", ""])],
)
def test_a_missing_property_fails_the_positive_operator_and_passes_its_negation(operator: str, right: Any) -> None:
    negation = "not" + operator[0].upper() + operator[1:]
    assert not holds({"field": ABSENT, operator: right})
    assert holds({"field": ABSENT, negation: right})


def test_a_missing_property_contains_no_key_and_has_no_order() -> None:
    assert holds({"field": ABSENT, "notContainsKey": "x"})
    assert not holds({"field": ABSENT, "less": 1})
    assert not holds({"field": ABSENT, "greaterOrEquals": 1})
    assert holds({"field": ABSENT, "equals": None})


def test_operators_and_logic_are_spelled_in_any_case() -> None:
    assert holds({"ALLOF": [{"Field": "name", "Like": "VM*"}, {"NOT": {"field": "name", "NOTEQUALS": "vm-1"}}]})


@pytest.mark.parametrize(
    ("left", "right", "before"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T01:00:00+00:00", True),
        ("2024-01-01T12:00:00+02:00", "2024-01-01T11:00:00Z", True),
        ("2024-01-02", "2024-01-01T23:59:59Z", False),
        ("2024-01-01T00:00:00.1234567Z", "2024-01-01T00:00:01Z", True),
    ],
)
def test_dates_compare_as_moments(left: str, right: str, before: bool) -> None:
    assert holds({"value": left, "less": right}) is before


def test_what_has_no_order_cannot_be_decided() -> None:
    evaluation = evaluate({"field": "name", "less": 3})
    assert not evaluation.matched
    assert "cannot be ordered" in evaluation.problem


def test_a_rule_may_ask_for_the_time() -> None:
    rule = {"value": "[addDays('2025-01-01T00:00:00Z', 30)]", "less": "[utcNow()]"}
    assert evaluate(rule, context=Context(now=datetime(2025, 2, 1, tzinfo=UTC))).matched
    assert not evaluate(rule, context=Context(now=datetime(2025, 1, 30, tzinfo=UTC))).matched
