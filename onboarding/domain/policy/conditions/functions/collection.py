"""Template functions on arrays and objects, several of which take strings as well (ARM template reference, array and
object functions). Wrong arguments raise built-in exceptions; the caller turns them into an undecided condition.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from onboarding.domain.policy.conditions.values import MISSING, fold, property_of


def same(left: Any, right: Any) -> bool:
    """Equality inside functions: case-sensitive, and true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def length(value: Any) -> int:
    if isinstance(value, (str, list, tuple, Mapping)):
        return len(value)
    raise TypeError("a string, an array or an object is needed")


def empty(value: Any) -> bool:
    return value is None or length(value) == 0


def contains(container: Any, item: Any) -> bool:
    """A substring, an array's item, or an object's key (keys without case)."""
    if isinstance(container, str):
        return str(item) in container
    if isinstance(container, Mapping):
        return property_of(container, item) is not MISSING
    if isinstance(container, (list, tuple)):
        return any(same(member, item) for member in container)
    raise TypeError("a string, an array or an object is needed")


def first(value: Any) -> Any:
    return _end_of(value, slice(0, 1))


def last(value: Any) -> Any:
    return _end_of(value, slice(-1, None))


def _end_of(value: Any, part: slice) -> Any:
    """The part of the value; an empty string for an empty string, null for an empty array."""
    if isinstance(value, str):
        return value[part]
    if isinstance(value, (list, tuple)):
        return next(iter(value[part]), None)
    raise TypeError("a string or an array is needed")


def take(value: Any, count: Any) -> Any:
    return _sequence(value)[: max(0, count)]


def skip(value: Any, count: Any) -> Any:
    return _sequence(value)[max(0, count) :]


def _sequence(value: Any) -> Any:
    if isinstance(value, (str, list, tuple)):
        return value
    raise TypeError("a string or an array is needed")


def union(*values: Any) -> Any:
    """Arrays: every item once, in order of appearance. Objects: merged deeply, the last one wins."""
    if all(isinstance(value, Mapping) for value in values):
        merged: dict[str, Any] = {}
        for value in values:
            merged = _merged(merged, value)
        return merged
    found: list[Any] = []
    seen: set[Any] = set()
    for value in values:
        for item in _array(value):
            key = _key(item)
            if key not in seen:
                seen.add(key)
                found.append(item)
    return found


def _key(item: Any) -> Any:
    """A hashable key, equal for items that are `same`."""
    if isinstance(item, (list, tuple, Mapping)):
        return ("json", json.dumps(item, sort_keys=True, default=str))
    return ("truth", item) if isinstance(item, bool) else item


def _merged(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(left)
    names = {fold(name): name for name in left}
    for name, value in right.items():
        name = names.get(fold(name), name)
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(old, value) if both and isinstance(old, Mapping) else value
    return merged


def intersection(head: Any, *others: Any) -> Any:
    if isinstance(head, Mapping):
        folded = [_folded(other) for other in others]
        return {k: v for k, v in head.items() if all(same(other.get(fold(str(k)), MISSING), v) for other in folded)}
    known = [set(map(_key, _array(other))) for other in others]
    return union([item for item in _array(head) if all(_key(item) in keys for keys in known)])


def _folded(value: Any) -> Mapping[str, Any]:
    return {fold(str(key)): inner for key, inner in value.items()} if isinstance(value, Mapping) else {}


def _array(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return value
    raise TypeError("an array is needed")


def create_object(*pairs: Any) -> dict[str, Any]:
    if len(pairs) % 2:
        raise ValueError("a key is without a value")
    if not all(isinstance(key, str) for key in pairs[::2]):
        raise TypeError("keys are strings")
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def items(value: Any) -> list[dict[str, Any]]:
    return [{"key": key, "value": value[key]} for key in sorted(value, key=fold)]


def number_range(start: Any, count: Any) -> list[int]:
    if count < 0 or count > 10000:
        raise ValueError("the count is outside 0 to 10000")
    return list(range(start, start + count))


def try_get(value: Any, *path: Any) -> Any:
    """The value at the end of the keys and indexes; null if a step is missing."""
    for step in path:
        if isinstance(value, (list, tuple)) and isinstance(step, int):
            value = value[step] if 0 <= step < len(value) else None
        else:
            value = property_of(value, step)
        if value is MISSING or value is None:
            return None
    return value


def index_from_end(value: Any, position: Any) -> Any:
    if not 1 <= position <= len(_array(value)):
        raise LookupError("the array is shorter")
    return value[-position]


def try_index_from_end(value: Any, position: Any) -> Any:
    return value[-position] if isinstance(value, (list, tuple)) and 1 <= position <= len(value) else None


def flatten(value: Any) -> list[Any]:
    return [item for inner in _array(value) for item in _array(inner)]


def as_array(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


def shallow_merge(objects: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for each in _array(objects):
        merged |= each
    return merged


def coalesce(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


COLLECTION_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "array": as_array,
    "coalesce": coalesce,
    "contains": contains,
    "createArray": lambda *values: list(values),
    "createObject": create_object,
    "empty": empty,
    "first": first,
    "flatten": flatten,
    "indexFromEnd": index_from_end,
    "intersection": intersection,
    "items": items,
    "last": last,
    "length": length,
    "objectKeys": lambda value: sorted(value, key=fold),
    "range": number_range,
    "shallowMerge": shallow_merge,
    "skip": skip,
    "take": take,
    "tryGet": try_get,
    "tryIndexFromEnd": try_index_from_end,
    "union": union,
}
