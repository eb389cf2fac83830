"""The logic of conditions: what is left of a rule for VMs, whether one condition implies another, and what a condition
asks beyond another.

All of it is careful: a condition that is not understood stays as it is, and `implies` says yes only where every machine
that meets the one meets the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from onboarding.domain.policy.conditions import (
    NOT_GIVEN,
    ConditionError,
    Resource,
    Undecided,
    compile_condition,
    compile_template,
)
from onboarding.domain.policy.conditions.expression_syntax import is_expression
from onboarding.domain.policy.conditions.values import fold

VIRTUAL_MACHINE: Final = "Microsoft.Compute/virtualMachines"
_VM: Final = Resource({"type": VIRTUAL_MACHINE})
# Functions whose value is not the same for every machine.
_OF_THE_MACHINE: Final = re.compile(
    r"\b(field|resourcegroup|subscription|policy|utcnow|current|claims|ipRangeContains)\s*\(", re.IGNORECASE
)
_PARAMETER: Final = re.compile(r"parameters\(\s*'([^']*)'\s*\)", re.IGNORECASE)

type Reduced = bool | Mapping[str, Any]
"""`True` for every VM, `False` for none, else a condition of `allOf`, `anyOf`, `not` and leaves."""

type Choose = Callable[[Mapping[str, Any]], bool]
"""Says yes to some leaves."""


def bound(source: Any, values: Mapping[str, Any]) -> Any:
    """The JSON value with the parameters' values in the place of their names. An expression about the machine stays
    one; one with a parameter that has no value stays as it is."""
    if isinstance(source, str):
        return _bound_text(source, values)
    if isinstance(source, Mapping):
        return {key: bound(value, values) for key, value in source.items()}
    return [bound(item, values) for item in source] if isinstance(source, list) else source


def unbound_parameters(source: Any) -> tuple[str, ...]:
    """The names of the parameters that expressions in a JSON value still have."""
    text = json.dumps(source, ensure_ascii=False)
    return tuple(dict.fromkeys(found[1] for found in _PARAMETER.finditer(text)))


def reduced(source: Any, drop: Choose = lambda leaf: False, *, inverted: bool = False) -> Reduced:
    """What is left of a bound condition for VMs, without the leaves to `drop`: so it holds for more VMs, never for
    fewer. `inverted`: the condition stands inside a `not`."""
    kind, key = _kind(source)
    if kind in ("allof", "anyof"):
        parts = source[key] if isinstance(source[key], list) else []
        word = "allOf" if kind == "allof" else "anyOf"
        return joined(word, [reduced(part, drop, inverted=inverted) for part in parts])
    if kind == "not":
        return negated(reduced(source[key], drop, inverted=not inverted))
    if drop(source):
        return not inverted
    known = _known(source)
    return source if known is None else known


def joined(word: str, parts: list[Reduced]) -> Reduced:
    """`allOf` or `anyOf` of conditions."""
    decisive = word == "anyOf"
    kept: list[Mapping[str, Any]] = []
    for part in parts:
        if isinstance(part, bool):
            if part is decisive:
                return decisive
        elif set(part) == {word}:
            kept += [each for each in part[word] if each not in kept]
        elif part not in kept:
            kept.append(part)
    if not kept:
        return not decisive
    return kept[0] if len(kept) == 1 else {word: kept}


def negated(part: Reduced) -> Reduced:
    if isinstance(part, bool):
        return not part
    return part["not"] if set(part) == {"not"} else {"not": part}


def conjuncts(part: Reduced) -> list[Reduced]:
    return list(part["allOf"]) if not isinstance(part, bool) and set(part) == {"allOf"} else [part]


def implies(one: Reduced, other: Reduced) -> bool:
    """Whether every machine that meets `one` meets `other`, as far as their words show it."""
    if isinstance(other, bool) or isinstance(one, bool):
        return other is True or one is False
    if one == other:
        return True
    if set(other) == {"allOf"}:
        return all(implies(one, part) for part in other["allOf"])
    if set(one) == {"anyOf"}:
        return all(implies(part, other) for part in one["anyOf"])
    if set(other) == {"anyOf"} and any(implies(one, part) for part in other["anyOf"]):
        return True
    if set(one) == {"allOf"}:
        return any(implies(part, other) for part in one["allOf"])
    if set(one) == {"not"} and set(other) == {"not"}:
        return implies(other["not"], one["not"])
    return _leaf_implies(one, other)


def beyond(one: Reduced, other: Reduced) -> Reduced:
    """What `other` asks of the machines of `one`: the parts of it that `one` does not imply."""
    return joined("allOf", [part for part in conjuncts(other) if not implies(one, part)])


def leaves(source: Any) -> list[Mapping[str, Any]]:
    """The conditions without parts, those inside `not` too."""
    kind, key = _kind(source)
    if kind in ("allof", "anyof"):
        return [leaf for part in source[key] for leaf in leaves(part)]
    if kind == "not":
        return leaves(source[key])
    return [source] if isinstance(source, Mapping) else []


def field_of(leaf: Mapping[str, Any]) -> str:
    """The field that a leaf is about, in lower case; empty for another leaf."""
    return next((fold(str(value)) for key, value in leaf.items() if fold(str(key)) == "field"), "")


def replaced(source: Any, change: Callable[[Mapping[str, Any], bool], Any], *, inverted: bool = False) -> Any:
    """The condition with each leaf replaced by what `change` makes of it and of whether it stands inside a `not`."""
    kind, key = _kind(source)
    if kind in ("allof", "anyof"):
        return {key: [replaced(part, change, inverted=inverted) for part in source[key]]}
    if kind == "not":
        return {key: replaced(source[key], change, inverted=not inverted)}
    return change(source, inverted)


def holds(source: Reduced, body: Mapping[str, Any]) -> bool | None:
    """Whether a bound condition holds for a machine; None where that is undecided."""
    if isinstance(source, bool):
        return source
    try:
        missing = dict.fromkeys(unbound_parameters(source), NOT_GIVEN)
        evaluation = compile_condition(source, missing).evaluate(Resource(body))
    except ConditionError:
        return None
    return evaluation.matched if evaluation.decided else None


def _kind(source: Any) -> tuple[str, str]:
    if isinstance(source, Mapping) and len(source) == 1:
        key = next(iter(source))
        if fold(str(key)) in ("allof", "anyof", "not"):
            return fold(str(key)), key
    return "", ""


def _known(leaf: Any) -> bool | None:
    """What a leaf is for every VM; None where it depends on the machine."""
    if not isinstance(leaf, Mapping):
        return None
    words = {fold(str(key)): value for key, value in leaf.items()}
    if words.get("in") == []:
        return False
    if words.get("notin") == []:
        return True
    about_type = fold(str(words.get("field"))) == "type"
    if not about_type and "value" not in words:
        return None
    if _OF_THE_MACHINE.search(json.dumps(leaf)):
        return None
    try:
        evaluation = compile_condition(leaf, {}).evaluate(_VM)
    except ConditionError:
        return None
    return evaluation.matched if evaluation.decided else None


def _bound_text(source: str, values: Mapping[str, Any]) -> Any:
    if not is_expression(source) or not _PARAMETER.search(source):
        return source
    known = {fold(name): value for name, value in values.items()}
    try:
        template = compile_template(source, values, "rule")
        if template.value.constant:
            value = template.of(_VM)
            return f"[{value}" if isinstance(value, str) and value.startswith("[") and value.endswith("]") else value
    except (ConditionError, Undecided):
        pass
    return _PARAMETER.sub(lambda found: _literal(known.get(fold(found[1]), NOT_GIVEN), found[0]), source)


def _literal(value: Any, otherwise: str) -> str:
    if isinstance(value, bool):
        return "true()" if value else "false()"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value) if isinstance(value, int) else otherwise


def _leaf_implies(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Leaves about one field: the values that the one allows are all allowed by the other."""
    name, its = _comparison(one)
    other_name, others = _comparison(other)
    if not name or name != other_name:
        return False
    operator, value = its
    allowed = value if operator == "in" and isinstance(value, list) else [value] if operator == "equals" else None
    if allowed is None:
        return its == others or (operator == "like" and others[0] == "like" and _like_implies(value, others[1]))
    return bool(allowed) and all(isinstance(each, str) and _allows(others, each) for each in allowed)


def _comparison(leaf: Mapping[str, Any]) -> tuple[str, tuple[str, Any]]:
    words = {fold(str(key)): value for key, value in leaf.items()}
    name = words.pop("field", None)
    if not isinstance(name, str) or len(words) != 1 or is_expression(name):
        return "", ("", None)
    operator, value = next(iter(words.items()))
    texts = value if isinstance(value, list) else [value]
    if any(isinstance(each, str) and is_expression(each) for each in texts):
        return "", ("", None)
    return fold(name), (operator, value)


def _allows(comparison: tuple[str, Any], value: str) -> bool:
    condition = {"value": value, comparison[0]: comparison[1]}
    try:
        evaluation = compile_condition(condition, {}).evaluate(_VM)
    except ConditionError:
        return False
    return evaluation.decided and evaluation.matched


def _like_implies(pattern: Any, other: Any) -> bool:
    """`7-raw*` implies `7*`."""
    if not isinstance(pattern, str) or not isinstance(other, str) or not other.endswith("*") or "*" in other[:-1]:
        return False
    return fold(pattern).startswith(fold(other[:-1]))
