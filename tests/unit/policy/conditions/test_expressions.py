"""The template language: syntax, functions, and what is refused when a rule is loaded."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from onboarding.domain.policy.conditions import NOT_GIVEN, ConditionError, Context, compile_condition
from tests.unit.policy.conditions.bodies import VM, evaluate, holds, value_of

PARAMETERS = {"text": "Abc", "list": ["a", "b"], "empty": [], "object": {"Key": {"inner": 1}}, "flag": True, "n": 7}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("plain", "plain"),
        ("[[escaped]", "[escaped]"),
        ("[not closed", "[not closed"),
        ("['it''s']", "it's"),
        ("[ -12 ]", -12),
        ("[parameters('TEXT')]", "Abc"),
        ("[parameters('object').key.inner]", 1),
        ("[parameters('object')['Key']['inner']]", 1),
        ("[parameters('list')[1]]", "b"),
        ("[parameters('object').?none]", None),
        ("[concat('a', parameters('n'), 'b')]", "a7b"),
        ("[concat(parameters('list'), createArray('c'))]", ["a", "b", "c"]),
        ("[empty(parameters('empty'))]", True),
        ("[empty('')]", True),
        ("[replace('a.b.c', '.', '-')]", "a-b-c"),
        ("[if(equals(parameters('n'), 7), 'yes', 'no')]", "yes"),
        ("[if(equals('A', 'a'), 'yes', 'no')]", "no"),
        ("[if(false(), substring('a', 5), 'safe')]", "safe"),
        ("[and(true(), not(false()))]", True),
        ("[or(false(), equals(1, 2))]", False),
        ("[contains('abc', 'b')]", True),
        ("[contains(parameters('object'), 'KEY')]", True),
        ("[contains(parameters('list'), 'A')]", False),
        ("[length('abc')]", 3),
        ("[length(parameters('object'))]", 1),
        ("[toLower('ABC')]", "abc"),
        ("[toUpper('abc')]", "ABC"),
        ("[split('a,b;c', createArray(',', ';'))]", ["a", "b", "c"]),
        ("[split('a,b', ',')]", ["a", "b"]),
        ("[join(parameters('list'), '-')]", "a-b"),
        ("[first('abc')]", "a"),
        ("[last(parameters('list'))]", "b"),
        ("[first(parameters('empty'))]", None),
        ("[union(parameters('list'), createArray('b', 'c'))]", ["a", "b", "c"]),
        ("[intersection(parameters('list'), createArray('b', 'c'))]", ["b"]),
        ("[union(createObject('a', 1), createObject('A', 2, 'b', 3))]", {"a": 2, "b": 3}),
        ("[take('abcdef', 3)]", "abc"),
        ("[skip(parameters('list'), 1)]", ["b"]),
        ("[substring('abcdef', 1, 2)]", "bc"),
        ("[startsWith('Linux', 'lin')]", True),
        ("[endsWith('Linux', 'UX')]", True),
        ("[indexOf('abcABC', 'C')]", 2),
        ("[lastIndexOf('abcABC', 'c')]", 5),
        ("[trim('  a ')]", "a"),
        ("[padLeft('7', 3, '0')]", "007"),
        ("[format('{0}-{1:D3} {{x}}', 'a', 7)]", "a-007 {x}"),
        ("[string(parameters('object'))]", '{"Key":{"inner":1}}'),
        ("[base64('abc')]", "YWJj"),
        ("[base64ToString('YWJj')]", "abc"),
        ("[json('{\"a\": [1]}').a[0]]", 1),
        ("[uriComponent('a b/c')]", "a%20b%2Fc"),
        ("[int('12')]", 12),
        ("[bool('True')]", True),
        ("[add(mul(2, 3), sub(7, div(9, 2)))]", 9),
        ("[mod(-7, 3)]", -1),
        ("[max(createArray(1, 5, 3))]", 5),
        ("[min(4, 2)]", 2),
        ("[range(2, 3)]", [2, 3, 4]),
        ("[less('B', 'a')]", True),
        ("[greaterOrEquals(3, 3)]", True),
        ("[coalesce(null(), 'x')]", "x"),
        ("[tryGet(parameters('object'), 'Key', 'none')]", None),
        ("[items(createObject('b', 2, 'a', 1))[0].key]", "a"),
        ("[indexFromEnd(parameters('list'), 1)]", "b"),
        ("[addDays('2025-01-31T10:00:00Z', 1)]", "2025-02-01T10:00:00.0000000Z"),
        ("[ipRangeContains('10.0.0.0/8', '10.1.2.0/24')]", True),
        ("[ipRangeContains('10.0.0.0-10.0.0.9', '10.0.0.10')]", False),
        ("[ipRangeContains('2001:0DB8::/110', '2001:0DB8::3:FFFE')]", True),
        ("[parseCidr('10.0.0.0/24').lastUsable]", "10.0.0.254"),
        ("[cidrSubnet('10.0.0.0/16', 24, 3)]", "10.0.3.0/24"),
        ("[field('name')]", "vm-1"),
        ("[field('tags').env]", "Prod"),
        ("[resourceGroup().name]", "rg-1"),
        ("[subscription().subscriptionId]", "sub-1"),
        ("[concat(resourceGroup().id, '/x')]", "/subscriptions/sub-1/resourceGroups/rg-1/x"),
        ("[utcNow()]", "1970-01-01T00:00:00.0000000Z"),
    ],
)
def test_value(expression: str, value: Any) -> None:
    assert value_of(expression, parameters=PARAMETERS) == value


def test_guids_depend_on_their_arguments_alone() -> None:
    first = value_of("[guid('a', 'b')]")
    assert first == value_of("[guid('a', 'b')]") != value_of("[guid('a')]")
    assert UUID(first).version == 5


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("[substring('a', 0, 3)]", "substring('a', 0, 3) has no value"),
        ("[parameters('object').none]", "has no 'none'"),
        ("[parameters('list')[9]]", "has no 9"),
        ("[div(1, 0)]", "div(1, 0) has no value"),
        ("[ipRangeContains('10.0.0.0/8', '::1')]", "mixed"),
        ("[parameters('later')]", "parameter 'later' has neither a value nor a default"),
        ("[uniqueString('a')]", "only Azure"),
        ("[if('x', 1, 2)]", "true or false is needed"),
    ],
)
def test_a_failing_function_leaves_the_condition_undecided(expression: str, reason: str) -> None:
    evaluation = evaluate({"value": expression, "equals": "x"}, parameters=PARAMETERS | {"later": NOT_GIVEN})
    assert not evaluation.matched
    assert reason in evaluation.problem


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("[concatt('a')]", "unknown function 'concatt'"),
        ("[reference('x').y]", "'reference' is not available in policy rules"),
        ("[listKeys('x', 'y')]", "'listKeys' is not available in policy rules"),
        ("[parameters('txt')]", "unknown parameter 'txt'; known parameters: text"),
        ("[parameters()]", "parameters() is called with 0 arguments; give it 1"),
        ("[toLower('a', 'b')]", "toLower() is called with 2 arguments: "),
        ("[current()]", "current() is used outside of a count; use it in the 'where' of a count"),
        ("[field('Microsoft.Compute/imageOfer')]", "unknown alias"),
        ("[concat('a']", "the expression ends too early, in '[concat('a']'; add ')'"),
        ("[concat('a'))]", "unexpected ')'"),
        ("[concat]", "'concat' at position 1 is not a value, in '[concat]'; call the function: concat(…)"),
        ("['a' 'b']", "unexpected"),
        ("[#]", "unexpected"),
        ("[]", "the expression ends too early, in '[]'; add an expression"),
    ],
)
def test_what_is_wrong_with_an_expression_is_named_when_it_is_loaded(expression: str, message: str) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition({"allOf": [{"value": expression, "equals": "x"}]}, PARAMETERS, "policyRule.if")
    assert caught.value.place == "policyRule.if.allOf[0].value"
    assert message in caught.value.message


def test_a_branch_that_decides_wins_over_one_that_cannot() -> None:
    unknown = {"value": "[parameters('later')]", "equals": "x"}
    parameters = {"later": NOT_GIVEN}
    no, yes = {"field": "name", "equals": "other"}, {"field": "name", "equals": "vm-1"}
    decided: list[tuple[dict[str, Any], bool]] = [({"allOf": [unknown, no]}, False), ({"anyOf": [unknown, yes]}, True)]
    for rule, matched in decided:
        evaluation = evaluate(rule, parameters=parameters)
        assert (evaluation.matched, evaluation.decided) == (matched, True)
    undecided: list[dict[str, Any]] = [{"allOf": [unknown, yes]}, {"anyOf": [unknown, no]}, {"not": unknown}]
    for rule in undecided:
        evaluation = evaluate(rule, parameters=parameters)
        assert (evaluation.matched, evaluation.decided) == (False, False)
        assert evaluation.tree.matched is None


def test_the_context_answers_what_the_resource_cannot() -> None:
    context = Context(
        resource_group={"tags": {"team": "core"}, "location": "westus"}, request={"identity": {"idtyp": "app"}}
    )
    assert value_of("[resourceGroup().tags['team']]", context) == "core"
    assert value_of("[resourceGroup().tags['none']]", context) is None
    assert value_of("[requestContext().identity.idtyp]", context) == "app"
    assert value_of("[greater(requestContext().apiVersion, '2018-10-01')]") is True


NOBODY_KNOWS = [
    ("resourceGroup().tags.env", "resourceGroup().tags", "resourceGroup"),
    ("resourceGroup().tags['env']", "resourceGroup().tags", "resourceGroup"),
    ("RESOURCEGROUP()['TAGS'].env", "resourceGroup().TAGS", "resourceGroup"),
    ("resourceGroup().?tags.?env", "resourceGroup().tags", "resourceGroup"),
    ("tryGet(resourceGroup(), 'tags', 'env')", "resourceGroup().tags", "resourceGroup"),
    ("coalesce(resourceGroup().tags.env, 'x')", "resourceGroup().tags", "resourceGroup"),
    ("toLower(resourceGroup().location)", "resourceGroup().location", "resourceGroup"),
    ("if(contains(resourceGroup(), 'tags'), 'a', 'b')", "resourceGroup().tags", "resourceGroup"),
    ("resourceGroup()[concat('managed', 'By')]", "resourceGroup().managedBy", "resourceGroup"),
    ("resourceGroup().properties.provisioningState", "resourceGroup().properties", "resourceGroup"),
    ("string(resourceGroup())", "resourceGroup()", "resourceGroup"),
    ("string(createArray(policy()))", "policy()", ""),
    ("items(resourceGroup())", "resourceGroup()", "resourceGroup"),
    ("length(resourceGroup())", "resourceGroup()", "resourceGroup"),
    ("empty(resourceGroup())", "resourceGroup()", "resourceGroup"),
    ("union(resourceGroup(), createObject('a', 'b'))", "resourceGroup()", "resourceGroup"),
    ("subscription().displayName", "subscription().displayName", "subscription"),
    ("subscription().tags.env", "subscription().tags", "subscription"),
    ("subscription().tenantId", "subscription().tenantId", "subscription"),
    ("policy().assignmentId", "policy().assignmentId", ""),
    ("policy().definitionReferenceId", "policy().definitionReferenceId", ""),
    ("last(split(policy().setDefinitionId, '/'))", "policy().setDefinitionId", ""),
    ("requestContext().identity.appid", "requestContext().identity", ""),
    ("requestContext().identity", "requestContext().identity", ""),
]
OPERATORS_ON_TEXT: list[dict[str, Any]] = [
    {"equals": "lab"},
    {"notEquals": "lab"},
    {"in": ["lab"]},
    {"notIn": ["lab"]},
    {"like": "*lab*"},
    {"notLike": "*lab*"},
    {"match": "lab"},
    {"notMatch": "lab"},
    {"contains": "lab"},
    {"notContains": "lab"},
    {"containsKey": "lab"},
    {"notContainsKey": "lab"},
    {"exists": True},
    {"exists": False},
    {"equals": None},
    {"notEquals": ""},
    {"less": "lab"},
    {"greaterOrEquals": "lab"},
]


@pytest.mark.parametrize(("expression", "names", "unread"), NOBODY_KNOWS)
def test_what_nobody_knows_is_never_null(expression: str, names: str, unread: str) -> None:
    """Whatever the operator, and on either side: neither the condition nor its opposite holds."""
    conditions: list[dict[str, Any]] = [{"value": f"[{expression}]", **operator} for operator in OPERATORS_ON_TEXT]
    conditions += [{"field": "name", word: f"[{expression}]"} for word in ("equals", "notEquals", "notLike", "notIn")]
    conditions.append({"count": {"value": ["a"], "where": {"value": f"[{expression}]", "equals": "a"}}, "less": 1})
    for condition in conditions:
        for source in (condition, {"not": condition}, {"not": {"not": condition}}, {"allOf": [condition]}):
            evaluation = evaluate(source)
            assert (evaluation.matched, evaluation.tree.matched, evaluation.unread) == (False, None, unread), source
            assert f"{names} is not known" in evaluation.problem


def test_what_nobody_knows_matters_only_where_it_decides() -> None:
    unknown = {"value": "[resourceGroup().tags.env]", "notEquals": "lab"}
    no, yes = {"field": "name", "equals": "other"}, {"field": "name", "equals": "vm-1"}
    for first, second in ((0, 1), (1, 0)):
        assert holds({"anyOf": [[unknown, yes][first], [unknown, yes][second]]})
        assert not holds({"allOf": [[unknown, no][first], [unknown, no][second]]})
        assert holds({"not": {"allOf": [[unknown, no][first], [unknown, no][second]]}})
    known = "equals(field('name'), 'vm-1')"
    unknown_name = "equals(subscription().displayName, 'x')"
    assert value_of(f"[or({unknown_name}, {known})]") is True
    assert value_of(f"[and({unknown_name}, not({known}))]") is False
    assert value_of(f"[if({known}, 'yes', subscription().displayName)]") == "yes"
    assert not evaluate({"value": f"[and({unknown_name}, {known})]", "equals": False}).decided


def test_of_two_missing_values_the_one_that_can_be_read_is_named() -> None:
    never, unread = (
        {"value": f"[{each}]", "equals": "x"} for each in ("policy().assignmentId", "resourceGroup().location")
    )
    for parts in ([never, unread], [unread, never]):
        assert evaluate({"allOf": parts}).unread == evaluate({"anyOf": parts}).unread == "resourceGroup"


def test_a_resource_without_an_id_has_no_group_that_could_be_read() -> None:
    body = {key: value for key, value in VM.items() if key != "id"}
    for expression in (
        "resourceGroup().name",
        "resourceGroup().id",
        "subscription().subscriptionId",
        "resourceGroup().tags",
    ):
        evaluation = evaluate({"value": f"[{expression}]", "notEquals": "x"}, body)
        assert (evaluation.matched, evaluation.decided, evaluation.unread) == (False, False, "")


def test_an_explanation_shows_what_is_known_of_a_group() -> None:
    tree = evaluate({"value": "[resourceGroup()]", "exists": True}).tree
    assert (tree.matched, tree.as_dict()["actual"]) == (True, "{id, name, …}")
    unread = evaluate({"value": "[resourceGroup().tags.env]", "equals": "x"}).tree
    assert unread.as_dict()["actual"] == "(unknown)"


def test_expressions_stand_anywhere_in_the_right_side() -> None:
    assert holds({"field": "name", "in": ["[concat('vm', '-1')]", "other"]})
    assert holds({"field": "name", "like": "[concat(field('name'), '*')]"})
