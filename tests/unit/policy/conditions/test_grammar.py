"""The shape of conditions: logic, and errors that name the place and the fix."""

from __future__ import annotations

from typing import Any

import pytest

from onboarding.domain.policy.conditions import ConditionError, compile_condition, decisive, render
from onboarding.domain.policy.conditions.compiler import condition_errors
from tests.unit.policy.conditions.bodies import evaluate, holds

YES, NO = {"field": "name", "equals": "vm-1"}, {"field": "name", "equals": "vm-2"}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"allOf": [YES, YES]}, True),
        ({"allOf": [YES, NO]}, False),
        ({"allOf": []}, True),
        ({"anyOf": [NO, YES]}, True),
        ({"anyOf": [NO, NO]}, False),
        ({"anyOf": []}, False),
        ({"not": NO}, True),
        ({"not": {"anyOf": [NO, {"allOf": [YES, {"not": YES}]}]}}, True),
    ],
)
def test_logic(rule: dict[str, Any], expected: bool) -> None:
    assert holds(rule) is expected


@pytest.mark.parametrize(
    ("rule", "place", "message"),
    [
        ({"field": "name", "equal": "x"}, "rule", "unknown operator 'equal'; known operators: equals, "),
        ({"field": "name"}, "rule", "this condition has no operator; give it exactly one operator"),
        (
            {"field": "name", "equals": 1, "like": "x"},
            "rule",
            "has 2 operators: equals, like; give it exactly one operator",
        ),
        ({"allof": [YES], "field": "name"}, "rule", "this condition has 'allof' and 'field'; keep one of them"),
        ({"allOf": [YES], "equals": "x"}, "rule", "'allOf' has 'equals' beside it; write 'allOf' alone"),
        ({"allOf": YES}, "rule.allOf", " is not a list of conditions; write `- {field"),
        ({"anyOf": [YES, "x"]}, "rule.anyOf[1]", "'x' is not a condition; write an object"),
        (
            {"source": "action", "like": "x"},
            "rule",
            "has only 'source', 'like'; add one of allOf, anyOf, not, field, value, count",
        ),
        ({"anyof_": []}, "rule", "did you mean 'anyOf'?"),
        ({}, "rule", "this condition is empty; add one of allOf"),
        ({"field": 3, "equals": 3}, "rule.field", "3 is not the name of a field; write a text"),
        (
            {"field": "name", "exists": "maybe"},
            "rule.exists",
            "'maybe' is not true or false; give 'exists' true or false",
        ),
        ({"field": "name", "in": "vm-1"}, "rule.in", "'vm-1' is not a list; give 'in' a list"),
        ({"field": "name", "like": ["x"]}, "rule.like", "is not a text or a number; give 'like' a text or a number"),
        ({"not": {"allOf": [NO, {"field": "nam", "like": "x"}]}}, "rule.not.allOf[1].field", "unknown field 'nam'"),
    ],
)
def test_errors_name_the_place_and_the_fix(rule: Any, place: str, message: str) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition(rule)
    assert caught.value.place == place
    assert message in caught.value.message


def test_every_error_is_found_at_once() -> None:
    rule = {
        "allOf": [YES, {"field": "nam", "like": "x"}, {"not": {"anyOf": [{"field": "name", "lik": "x"}, {"x": 1}]}}]
    }
    places = [error.place for error in condition_errors(rule, {}, "rule")]
    assert places == ["rule.allOf[1].field", "rule.allOf[2].not.anyOf[0]", "rule.allOf[2].not.anyOf[1]"]
    assert condition_errors({"allOf": [YES, NO]}, {}, "rule") == ()


def test_the_tree_shows_ticks_crosses_and_values() -> None:
    tree = evaluate({"allOf": [YES, {"anyOf": [NO, {"not": YES}]}]}).tree
    assert render(tree).splitlines() == [
        "✗ allOf",
        "  ✓ name equals 'vm-1': 'vm-1'",
        "  ✗ anyOf",
        "    ✗ name equals 'vm-2': 'vm-1'",
        "    ✗ not",
        "      ✓ name equals 'vm-1': 'vm-1'",
    ]
    assert tree.as_dict()["children"][0] == {
        "text": "name equals 'vm-1'",
        "matched": True,
        "expected": "vm-1",
        "actual": "vm-1",
    }


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        ({"allOf": [YES, NO, NO]}, ("✗ name equals 'vm-2': 'vm-1'",)),
        ({"anyOf": [NO, YES]}, ("✓ name equals 'vm-1': 'vm-1'",)),
        ({"not": YES}, ("not (✓ name equals 'vm-1': 'vm-1')",)),
        (
            {"anyOf": [NO, {"allOf": [YES, NO]}]},
            ("✗ none of 2 alternatives; nearest: ✗ name equals 'vm-2': 'vm-1'",),
        ),
        ({"field": "kind", "exists": True}, ("✗ kind exists true: (missing)",)),
    ],
)
def test_the_lines_that_decided(rule: dict[str, Any], lines: tuple[str, ...]) -> None:
    assert decisive(evaluate(rule).tree) == lines


def test_many_lines_are_cut() -> None:
    rule = {"allOf": [{"field": "name", "notEquals": f"x{number}"} for number in range(9)]}
    assert decisive(evaluate(rule).tree)[-1] == "… and 4 more"
