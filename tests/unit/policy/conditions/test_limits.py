"""What a condition may cost: where it would take minutes or all the memory, it is undecided, with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.policy.conditions import ConditionError, Resource, compile_condition, decisive
from onboarding.domain.policy.conditions.compiler import condition_errors

BODY = {
    "name": "web01",
    "type": "Microsoft.Compute/virtualMachines",
    "tags": {"short": "a" * 256, "long": "a" * 100_000},
}


def _nested(times: int, begin: str, end: str, inner: str = "field('tags.short')") -> dict[str, Any]:
    return {"value": f"[{begin * times}{inner}{end * times}]", "equals": "x"}


def _counts(depth: int, where: dict[str, Any]) -> dict[str, Any]:
    for level in range(depth):
        where = {"count": {"value": "[range(0, 10000)]", "name": f"n{level}", "where": where}, "equals": -1}
    return where


def _doubled(depth: int) -> dict[str, Any]:
    """Each count looks at a list that holds the list of the count around it nine times."""
    where: dict[str, Any] = {"value": f"[string(current('n{depth - 1}'))]", "equals": "x"}
    for level in reversed(range(depth)):
        before = f"[current('n{level - 1}')]" if level else "[field('tags.short')]"
        where = {"count": {"value": [[before] * 9], "name": f"n{level}", "where": where}, "greater": 0}
    return where


NAME = {"field": "name", "equals": "none"}
LONG = "field('tags.long')"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (_counts(2, NAME), "takes too many steps"),
        (_counts(1, {"field": "tags.long", "contains": "a" * 5000 + "b"}), "takes too many steps"),
        (_counts(1, {"value": "[padLeft(field('name'), 131072)]", "equals": "x"}), "takes too many steps"),
        (_counts(1, {"value": "[current('n0')]", "in": list(range(10_000))}), "takes too many steps"),
        (_counts(1, {"value": "[union(range(0, 9000), range(current('n0'), 9000))]", "equals": 1}), "too many steps"),
        (_nested(40, "replace(", ", 'a', 'aaaaaaaaaa')"), "text is longer than 131,072 characters"),
        (_nested(40, "format('{0}{0}{0}{0}', ", ")"), "text is longer than 131,072 characters"),
        (_nested(1, f"concat({LONG}, ", ")", LONG), "text is longer than 131,072 characters"),
        (_nested(1, "join(range(0, 10000), ", ")", LONG), "text is longer than 131,072 characters"),
        (_nested(9, "base64(", ")", LONG), "text is longer than 131,072 characters"),
        (_nested(1, "createArray(" + f"{LONG}, " * 400, ")", LONG), "more than 32,768 values"),
        (_nested(1, "split(", ", 'a')", LONG), "more than 32,768 values"),
        (_nested(1, "split(field('name'), createArray(" + "'b', " * 65, "))"), "more than 64 delimiters"),
        (_nested(30, "mul(", ", 99999)", "7"), "outside 64 bits"),
        (_doubled(12), "more than 32,768 values"),
        ({"field": "tags.long", "like": "*a?" * 500 + "*b"}, "takes too many steps"),
    ],
)
def test_what_costs_too_much_is_undecided_with_the_reason(source: dict[str, Any], reason: str) -> None:
    evaluation = compile_condition(source).evaluate(Resource(BODY))
    assert not evaluation.matched
    assert reason in evaluation.problem
    assert reason in "; ".join(decisive(evaluation.tree))


def test_another_branch_may_still_decide() -> None:
    large = _nested(40, "replace(", ", 'a', 'aaaaaaaaaa')")
    for source in ({"anyOf": [large, {"field": "name", "equals": "web01"}]}, {"not": {"allOf": [large, NAME]}}):
        evaluation = compile_condition(source).evaluate(Resource(BODY))
        assert (evaluation.matched, evaluation.problem) == (True, "")
        assert evaluation.tree.matched


def test_each_evaluation_has_steps_of_its_own() -> None:
    condition = compile_condition(_counts(1, NAME))
    assert [condition.evaluate(Resource(BODY)).problem for _ in range(20)] == [""] * 20


def test_stars_do_not_try_every_share_of_the_text() -> None:
    evaluation = compile_condition({"field": "tags.short", "like": "*a" * 100 + "*b"}).evaluate(Resource(BODY))
    assert (evaluation.matched, evaluation.problem) == (False, "")


def _like(pattern: str, text: str) -> bool:
    """By the book: every way to share the text among the signs."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_like(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and _like(pattern[1:], text[1:])


@given(st.text(alphabet="ab*?", max_size=7), st.text(alphabet="ab\n", max_size=7))
def test_like_matches_what_it_should(pattern: str, text: str) -> None:
    condition = compile_condition({"field": "name", "like": pattern})
    if text:
        assert condition.evaluate(Resource({"name": text})).matched == _like(pattern, text)


def _flat(union: list[Any], found: list[Any]) -> list[Any]:
    return union + [item for item in found if not any(type(item) is type(u) and item == u for u in union)]


@given(st.lists(st.sampled_from([0, 1, "a", "A", True, False, None]) | st.lists(st.just(1), max_size=2), max_size=6))
def test_union_and_intersection_keep_what_is_the_same_once(items: list[Any]) -> None:
    run_event: list[Any] = []
    for item in items:
        run_event = _flat(run_event, [item])
    for call in ("union(parameters('x'), parameters('x'))", "intersection(parameters('x'), parameters('x'))"):
        source = {"value": f"[equals({call}, parameters('once'))]", "equals": True}
        assert compile_condition(source, {"x": items, "once": run_event}).evaluate(Resource(BODY)).matched


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"value": "[add(" + "9" * 5000 + ", 1)]", "equals": 1}, "has more than 300 digits"),
        ({"value": "[field('tags')" + ".a" * 20_000 + "]", "equals": 1}, "reads more than 64 properties in a row"),
        ({"value": "[" + "toLower(" * 60 + "field('tags')" + f"{'.a' * 60})" * 60 + "]", "equals": 1}, "too deeply"),
    ],
)
def test_what_cannot_be_compiled_is_an_error_with_its_place(source: dict[str, Any], says: str) -> None:
    with pytest.raises(ConditionError, match=says) as error:
        compile_condition(source)
    assert error.value.place.startswith("rule")
    assert says in str(condition_errors(source, {}, "rule")[0])


def test_a_body_of_any_depth_is_decided_or_not() -> None:
    deep: Any = "x"
    for _ in range(50_000):
        deep = [deep]
    body = {"name": "web01", "tags": {"a": deep}}
    condition = compile_condition({"field": "tags.a", "equals": [1]})
    assert not condition.evaluate(Resource(body)).matched
    assert "tags.a" in "; ".join(decisive(condition.evaluate(Resource(body)).tree))
