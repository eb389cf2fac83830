"""The functions of the template language: the values of the ARM template reference, and arguments that have none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.policy.conditions.bodies import evaluate, value_of

PARAMETERS: dict[str, Any] = {
    "list": ["one", "two", "three"],
    "flags": [True, 1, "true"],
    "object": {"b": 2, "A": {"inner": [10, 20]}},
    "half": 2.5,
    "none": None,
    "many": [str(number) for number in range(65)],
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        # Strings
        ("[string(true())]", "True"),
        ("[string(false())]", "False"),
        ("[string(parameters('half'))]", "2.5"),
        ("[string(parameters('list'))]", '["one","two","three"]'),
        ("[concat('a', null(), 'b')]", "ab"),
        ("[join(createArray('a', null(), 1), ';')]", "a;;1"),
        ("[replace('abc', '', 'x')]", "abc"),
        ("[split('a.b', createArray())]", ["a.b"]),
        ("[substring('abc', 1)]", "bc"),
        ("[padLeft(12, 5)]", "   12"),
        ("[base64ToJson(base64('{\"a\": 1}')).a]", 1),
        ("[dataUri('Hello')]", "data:text/plain;charset=utf8;base64,SGVsbG8="),
        ("[dataUriToString('data:;base64,SGVsbG8sIFdvcmxkIQ==')]", "Hello, World!"),
        ("[dataUriToString('data:,a%20b')]", "a b"),
        ("[bool(0)]", False),
        ("[bool(7)]", True),
        ("[bool('FALSE')]", False),
        (
            "[uri('http://contoso.com/resources', 'nested/deploy.json')]",
            "http://contoso.com/resources/nested/deploy.json",
        ),
        ("[uri('http://contoso.com/resources/', 'deploy.json')]", "http://contoso.com/resources/deploy.json"),
        ("[uriComponentToString('a%20b%2Fc')]", "a b/c"),
        # Arrays and objects
        ("[array('a')]", ["a"]),
        ("[array(parameters('list'))]", ["one", "two", "three"]),
        ("[length(parameters('list'))]", 3),
        ("[last('abc')]", "c"),
        ("[take(parameters('list'), 2)]", ["one", "two"]),
        ("[take('abc', -1)]", ""),
        ("[skip('abc', 2)]", "c"),
        ("[contains(parameters('flags'), false())]", False),
        ("[contains(createArray(1), true())]", False),
        ("[union(parameters('flags'), createArray(true(), 1))]", [True, 1, "true"]),
        ("[union(createArray(createObject('a', 1)), createArray(createObject('a', 1)))]", [{"a": 1}]),
        (
            "[union(parameters('object'), createObject('a', createObject('x', 1)))]",
            {"b": 2, "A": {"inner": [10, 20], "x": 1}},
        ),
        ("[intersection(parameters('object'), createObject('B', 2, 'a', 'other'))]", {"b": 2}),
        ("[intersection(parameters('object'), 'text')]", {}),
        ("[objectKeys(parameters('object'))]", ["A", "b"]),
        ("[tryGet(parameters('object'), 'a', 'inner', 1)]", 20),
        ("[tryGet(parameters('object'), 'a', 'inner', 2)]", None),
        ("[tryIndexFromEnd(parameters('list'), 3)]", "one"),
        ("[tryIndexFromEnd(parameters('list'), 4)]", None),
        ("[flatten(createArray(createArray(1, 2), createArray(3)))]", [1, 2, 3]),
        ("[shallowMerge(createArray(createObject('a', 1), createObject('a', 2, 'b', 3)))]", {"a": 2, "b": 3}),
        ("[coalesce(null(), parameters('none'))]", None),
        # Numbers and truth
        ("[int(parameters('half'))]", 2),
        ("[int(' 12 ')]", 12),
        ("[float('2.5')]", 2.5),
        ("[div(-7, 2)]", -3),
        ("[less('a', 'B')]", False),
        ("[lessOrEquals(2, 2)]", True),
        ("[greater(parameters('half'), 2)]", True),
        ("[equals(true(), 1)]", False),
        # Addresses and dates
        ("[ipRangeContains('10.0.0.0/8', '10.255.255.255')]", True),
        ("[parseCidr('10.144.0.0/20').firstUsable]", "10.144.0.1"),
        ("[parseCidr('10.144.0.0/31').firstUsable]", "10.144.0.0"),
        ("[parseCidr('fdad:3236:5555::/48').broadcast]", None),
        ("[cidrSubnet('fdad:3236:5555::/48', 52, 1)]", "fdad:3236:5555:1000::/52"),
        ("[cidrHost('10.144.0.0/24', 4)]", "10.144.0.5"),
        ("[addDays('2025-03-01T00:00:00+02:00', -1)]", "2025-02-27T22:00:00.0000000Z"),
    ],
)
def test_value(expression: str, value: Any) -> None:
    assert value_of(expression, parameters=PARAMETERS) == value
    assert type(value_of(expression, parameters=PARAMETERS)) is type(value)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("[toLower(1)]", "a string is needed, not int"),
        ("[concat('a', parameters('list'))]", "strings and arrays cannot be mixed"),
        ("[join('abc', ',')]", "an array is needed"),
        ("[split('a', parameters('many'))]", "more than 64 delimiters"),
        ("[substring('abc', 2, 2)]", "outside the string"),
        ("[substring('abc', -1, 2)]", "outside the string"),
        ("[padLeft('a', 100000000)]", "the width is too large"),
        ("[base64ToString('%')]", "has no value"),
        ("[dataUriToString('Hello')]", "not a data URI"),
        ("[bool('yes')]", "neither true nor false"),
        ("[format('{1}', 'a')]", "has no value"),
        ("[length(1)]", "a string, an array or an object is needed"),
        ("[contains(1, 1)]", "a string, an array or an object is needed"),
        ("[first(1)]", "a string or an array is needed"),
        ("[take(parameters('object'), 1)]", "a string or an array is needed"),
        ("[union(parameters('list'), 'a')]", "an array is needed"),
        ("[createObject('a')]", "a key is without a value"),
        ("[createObject(1, 2)]", "keys are strings"),
        ("[range(1, -1)]", "outside 0 to 10000"),
        ("[range(1, 10001)]", "outside 0 to 10000"),
        ("[indexFromEnd(parameters('list'), 0)]", "the array is shorter"),
        ("[indexFromEnd(parameters('list'), 4)]", "the array is shorter"),
        ("[flatten(parameters('list'))]", "an array is needed"),
        ("[shallowMerge(parameters('object'))]", "an array is needed"),
        ("[add(true(), 1)]", "an integer is needed"),
        ("[mul(parameters('half'), 2)]", "an integer is needed"),
        ("[not(1)]", "true or false is needed"),
        ("[mod(1, 0)]", "has no value"),
        ("[int('1.5')]", "has no value"),
        ("[float('nan')]", "not a finite number"),
        ("[less(1, 'a')]", "two numbers or two strings are needed"),
        ("[greater(true(), false())]", "two numbers or two strings are needed"),
        ("[ipRangeContains('', '10.0.0.1')]", "an address range is needed"),
        ("[ipRangeContains(10, '10.0.0.1')]", "an address range is needed"),
        ("[ipRangeContains('10.0.0.9-10.0.0.1', '10.0.0.1')]", "is not a range"),
        ("[ipRangeContains('10.0.0.1-::1', '10.0.0.1')]", "is not a range"),
        ("[cidrSubnet('10.0.0.0/16', 8, 0)]", "no such subnet"),
        ("[cidrSubnet('10.0.0.0/16', 17, 2)]", "no such subnet"),
        ("[addDays('2025-01-01', true())]", "a whole number of days is needed"),
        ("[addDays('some day', 1)]", "has no value"),
    ],
)
def test_arguments_without_a_value_leave_the_condition_undecided_and_its_opposite_too(
    expression: str, reason: str
) -> None:
    condition = {"value": expression, "exists": True}
    for source in (condition, {"not": condition}):
        evaluation = evaluate(source, parameters=PARAMETERS)
        assert (evaluation.matched, evaluation.decided) == (False, False)
        assert reason in evaluation.problem
