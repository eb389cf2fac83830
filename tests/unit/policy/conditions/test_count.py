"""`count`, with the documentation's own examples carried over to the disks of a VM."""

from __future__ import annotations

from typing import Any

import pytest

from onboarding.domain.policy.conditions import NOT_GIVEN, ConditionError, compile_condition, render
from tests.unit.policy.conditions.bodies import VM, evaluate, holds

DISKS = "Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*]"
SECRETS = "Microsoft.Compute/virtualMachines/osProfile.secrets[*]"
NESTED = VM | {
    "properties": VM["properties"]
    | {
        "osProfile": {
            "secrets": [
                {
                    "sourceVault": {"id": "a"},
                    "vaultCertificates": [{"certificateStore": "1"}, {"certificateStore": "2"}],
                },
                {
                    "sourceVault": {"id": "b"},
                    "vaultCertificates": [{"certificateStore": "3"}, {"certificateStore": "4"}],
                },
            ]
        }
    }
}


def where(field: str, **operator: Any) -> dict[str, Any]:
    return {"field": field, **operator}


@pytest.mark.parametrize(
    ("count", "number"),
    [
        ({"field": DISKS}, 3),
        ({"field": SECRETS}, 0),
        ({"field": "Microsoft.Compute/virtualMachineScaleSets/extensions[*]"}, 0),
        ({"field": DISKS, "where": where(f"{DISKS}.caching", equals="ReadOnly")}, 1),
        ({"field": DISKS, "where": where(f"{DISKS}.caching", exists=False)}, 1),
        ({"field": DISKS, "where": where("tags.env", equals="prod")}, 3),
        (
            {
                "field": DISKS,
                "where": {"allOf": [where(f"{DISKS}.diskSizeGB", greater=100), where(f"{DISKS}.lun", less=2)]},
            },
            1,
        ),
        ({"field": DISKS, "where": {"value": f"[current('{DISKS}').diskSizeGB]", "greater": 150}}, 2),
        ({"field": DISKS, "where": {"value": f"[current('{DISKS}.lun')]", "equals": 0}}, 1),
        ({"field": DISKS, "where": {"value": "[current().lun]", "equals": 2}}, 1),
        ({"field": DISKS, "where": {"value": f"[first(field('{DISKS}.lun'))]", "equals": 1}}, 1),
        ({"field": DISKS, "where": where(f"{DISKS}.lun", equals=f"[field('{DISKS}.lun')]")}, 0),
        ({"value": ["vm-*", "x-*"], "name": "pattern", "where": where("name", like="[current('pattern')]")}, 1),
        ({"value": ["vm-*", "x-*"], "where": where("name", like="[current()]")}, 1),
        ({"value": "[parameters('names')]"}, 2),
    ],
)
def test_count(count: dict[str, Any], number: int) -> None:
    assert holds({"count": count, "equals": number}, names=["a", "b"])


def test_members_of_nested_arrays_are_counted_together_and_one_by_one() -> None:
    certificates = f"{SECRETS}.vaultCertificates[*]"
    assert holds({"count": {"field": certificates}, "greaterOrEquals": 4}, NESTED)
    inner = {
        "count": {"field": certificates, "where": where(f"{certificates}.certificateStore", equals=3)},
        "greater": 0,
    }
    outer = {"allOf": [where(f"{SECRETS}.sourceVault.id", equals="b"), inner]}
    assert holds({"count": {"field": SECRETS, "where": outer}, "equals": 1}, NESTED)
    seen = {
        "allOf": [where(f"{SECRETS}.sourceVault.id", equals="a"), where(f"{certificates}.certificateStore", like="*")]
    }
    assert holds({"count": {"field": certificates, "where": seen}, "equals": 2}, NESTED)


def test_a_list_is_counted_inside_another() -> None:
    sizes = {
        "value": [100, 300],
        "name": "size",
        "where": {"value": "[current('size')]", "equals": f"[current('{DISKS}.diskSizeGB')]"},
    }
    assert holds({"count": {"field": DISKS, "where": {"count": sizes, "equals": 1}}, "equals": 2})


@pytest.mark.parametrize(
    ("count", "message"),
    [
        ({"field": DISKS[:-3]}, "is not an array alias"),
        ({"field": "Microsoft.Compute/none[*]"}, "unknown alias"),
        ({}, "neither 'field' nor 'value' (rule.count); give it exactly one"),
        ({"field": DISKS, "value": []}, "both 'field' and 'value' (rule.count); give it exactly one"),
        (
            {"field": DISKS, "wher": {}},
            "unknown key 'wher' in 'count' (rule.count); known keys: field, value, name, where; did you mean 'where'?",
        ),
        (
            {"field": DISKS, "where": {"value": "[current('x')]", "equals": 1}},
            "current('x') names no count around it (rule.count.where.value); known counts:",
        ),
        ("x", "'x' is not a count (rule.count); write an object"),
    ],
)
def test_what_is_wrong_with_a_count_is_named(count: Any, message: str) -> None:
    with pytest.raises(ConditionError, match=r" \(rule\.count.*\); \S") as caught:
        compile_condition({"count": count, "equals": 1})
    assert message in str(caught.value)


def test_an_array_may_be_named_by_a_parameter_that_gets_its_value_later() -> None:
    named = "[concat('Microsoft.Compute/virtualMachines/storageProfile.', parameters('array'))]"
    rule = {"count": {"field": named, "where": {"value": "[current().lun]", "less": 2}}, "equals": 2}
    assert holds(rule, array="dataDisks[*]")
    assert "neither a value nor a default" in evaluate(rule, parameters={"array": NOT_GIVEN}).problem
    of_each = {"count": {"field": "[if(equals(field('name'), 'vm-1'), 'nowhere[*]', 'x')]"}, "equals": 0}
    assert "unknown alias" in evaluate(of_each).problem


def test_a_count_is_explained_member_by_member() -> None:
    rule = {"count": {"field": DISKS, "where": where(f"{DISKS}.lun", equals=1)}, "greater": 1}
    tree = evaluate(rule).tree
    assert (tree.matched, tree.actual) == (False, 1)
    assert [child.matched for child in tree.children] == [False, True, False]
    assert render(tree).startswith("✗ count of")


def test_counting_what_is_no_list_is_undecided() -> None:
    evaluation = evaluate({"count": {"value": "[field('name')]"}, "equals": 1})
    assert not evaluation.decided
    assert evaluation.tree.matched is None
