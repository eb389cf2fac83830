"""What holds for every condition and every body, found by generated ones."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.policy.conditions import ConditionError, Resource, compile_condition
from onboarding.domain.policy.conditions.expression_syntax import SyntaxFault, parse
from onboarding.domain.policy.definitions.definition import read_definition

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=6)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "name",
        "type",
        "location",
        "tags",
        "tags['a']",
        "identity.type",
        "Microsoft.Compute/imageOffer",
        "Microsoft.Compute/virtualMachines/storageProfile.osDisk.osType",
        "Microsoft.Compute/virtualMachines/storageProfile.dataDisks[*].lun",
        "Microsoft.Compute/virtualMachines/extensions/type",
    ]
)
TEXT_OPERATORS = ["equals", "like", "match", "matchInsensitively", "contains", "containsKey"]
TEXTS = st.sampled_from(["Linux", "linux*", "#", "a", "", "true", "3"]) | st.text(max_size=5).filter(
    lambda text: not text.startswith("[")
)
# A text that begins with a bracket is an expression, which may be refused.
LISTED = SCALARS.filter(lambda value: not (isinstance(value, str) and value.startswith("[")))
LEAVES = st.one_of(
    st.builds(lambda field, op, right: {"field": field, op: right}, FIELDS, st.sampled_from(TEXT_OPERATORS), TEXTS),
    st.builds(lambda field, right: {"field": field, "in": right}, FIELDS, st.lists(LISTED, max_size=3)),
    st.builds(lambda field, right: {"field": field, "exists": right}, FIELDS, st.booleans()),
    st.builds(lambda field, right: {"field": field, "less": right}, FIELDS, st.integers() | TEXTS),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"allOf": parts}, st.lists(inner, max_size=3)),
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, max_size=3)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=8,
)


def body_of(properties: Any, tags: Any, name: Any) -> dict[str, Any]:
    return {"type": "Microsoft.Compute/virtualMachines", "name": name, "tags": tags, "properties": properties}


DISK = st.fixed_dictionaries({}, optional={"osType": JSON})
PROPERTIES = JSON | st.fixed_dictionaries(
    {},
    optional={
        "storageProfile": JSON
        | st.fixed_dictionaries({}, optional={"imageReference": JSON, "osDisk": DISK, "dataDisks": JSON}),
        "instanceView": JSON,
    },
)
BODIES = st.builds(body_of, PROPERTIES, JSON, JSON) | st.dictionaries(st.text(max_size=4), JSON, max_size=3)


def outcome(condition: dict[str, Any], body: dict[str, Any]) -> bool | None:
    evaluation = compile_condition(condition).evaluate(Resource(body))
    assert evaluation.tree.matched is (evaluation.matched if evaluation.decided else None)
    return evaluation.matched if evaluation.decided else None


def negated(value: bool | None) -> bool | None:
    return None if value is None else not value


@given(CONDITIONS, BODIES)
def test_evaluating_never_raises_and_agrees_with_its_explanation(
    condition: dict[str, Any], body: dict[str, Any]
) -> None:
    assert outcome(condition, body) in (True, False, None)


@given(st.lists(CONDITIONS, max_size=3), BODIES)
def test_de_morgan(parts: list[dict[str, Any]], body: dict[str, Any]) -> None:
    all_not = outcome({"allOf": [{"not": part} for part in parts]}, body)
    assert outcome({"not": {"anyOf": parts}}, body) == all_not
    any_not = outcome({"anyOf": [{"not": part} for part in parts]}, body)
    assert outcome({"not": {"allOf": parts}}, body) == any_not


@given(st.sampled_from([*TEXT_OPERATORS, "in"]), TEXTS, BODIES)
def test_a_negated_operator_is_the_negation_on_a_single_value(operator: str, right: str, body: dict[str, Any]) -> None:
    negation = "not" + operator[0].upper() + operator[1:]
    value: Any = [right] if operator == "in" else right
    for field in ("name", "tags['a']", "Microsoft.Compute/virtualMachines/storageProfile.osDisk.osType"):
        positive = outcome({"field": field, operator: value}, body)
        assert outcome({"field": field, negation: value}, body) == negated(positive)


@given(
    st.sampled_from(["equals", "like", "contains", "matchInsensitively", "containsKey"]),
    st.text("aBc-*", max_size=4),
    st.text("AbC-", max_size=4),
)
def test_case_does_not_matter(operator: str, right: str, name: str) -> None:
    outcomes = [
        outcome({"field": "name", operator: r}, {"name": n})
        for r in (right, right.swapcase())
        for n in (name, name.swapcase())
    ]
    assert len(set(outcomes)) == 1


@given(st.text("abcXYZ019-_. ", max_size=20))
def test_a_word_equals_itself_and_is_like_its_beginning(word: str) -> None:
    assert outcome({"value": word, "equals": word.upper()}, {}) is True
    assert outcome({"value": word, "like": f"{word[:3]}*"}, {}) is True
    assert outcome({"value": word, "match": "." * len(word)}, {}) is True


@given(JSON)
def test_compiling_anything_gives_a_condition_or_an_error(source: Any) -> None:
    with suppress(ConditionError):
        compile_condition(source)


@given(st.text("[]()',.'abc1 -?", max_size=20))
def test_parsing_any_text_gives_a_tree_or_a_fault(text: str) -> None:
    with suppress(SyntaxFault):
        parse(f"[{text}]")


@given(JSON)
def test_reading_anything_as_a_definition_gives_one_or_an_error(raw: Any) -> None:
    with pytest.raises(ConditionError):
        read_definition(raw)
