"""The check of settings against their schema: nested values, lists and numbers, with the path of each problem."""

from __future__ import annotations

from datetime import date
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.catalog.setting_schema import (
    SettingSchema,
    destinations,
    problems,
    secret_values,
    with_defaults,
    written,
)
from onboarding.domain.typed_file import read_as

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["site"],
    "properties": {
        "site": {"type": "string", "minLength": 1},
        "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 2},
        "share": {"type": "number", "minimum": 0.5},
        "on": {"type": "boolean"},
        "mode": {"enum": ["none", "all", 1]},
        "code": {"pattern": "^[A-Z]{2}$"},
        "url": {"format": "uri", "destination": True},
        "id": {"format": "guid"},
        "short": {"minLength": 3},
        "inner": {
            "required": ["key"],
            "properties": {
                "key": {"secret": True},
                "list": {"items": {"properties": {"port": {"type": "integer", "default": 80}}}},
                "target": {"type": "string", "destination": True},
            },
        },
        "hidden": {"type": "object", "secret": True},
        "anything": {},
        "open": {"properties": {"a": {"type": "integer"}}, "additionalProperties": True},
        "closed": {"type": "object", "additionalProperties": False},
    },
}


def schema(raw: object) -> SettingSchema:
    return read_as(raw, SettingSchema, "x.yaml")


def found(value: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in problems(schema(SCHEMA), {"site": "x", **value}, ("settings",))]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"count": 9, "share": 0.5, "on": False, "mode": "all", "code": "DE", "url": "https://a.example/x"},
        {"count": 3.0, "mode": 1, "id": "6F680a37-00c6-41c7-a93f-1437e3462574", "short": "abc"},
        {"inner": {"key": "k", "list": [{"port": 8080}, {}], "target": "t"}, "share": 10**400},
        {"hidden": {"a": [1, {"b": None}]}, "anything": [1, "x", {"y": 2.5}], "open": {"a": 1, "b": "x"}},
        {"anything": True, "closed": {}, "count": None},
    ],
)
def test_what_the_schema_takes_has_no_problem(value: dict[str, Any]) -> None:
    assert found(value) == []


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"site": None}, "settings.site is missing"),
        ({"site": " "}, "settings.site must be a text that is not empty"),
        ({"short": "ab "}, "settings.short must have 3 characters or more"),
        ({"count": "2"}, "settings.count must be a whole number, not a string"),
        ({"count": True}, "settings.count must be a whole number, not a string"),
        ({"count": 2.5}, "settings.count must be a whole number, not a string"),
        ({"count": 0}, "settings.count must be 1 or more"),
        ({"count": 10}, "settings.count must be 9 or less"),
        ({"share": "1"}, "settings.share must be a number, not a string"),
        ({"share": float("nan")}, "settings.share must be a number, not a string"),
        ({"on": "true"}, "settings.on must be the JSON boolean true or false, not a string"),
        ({"mode": "some"}, "settings.mode must be 'none' or 'all' or 1"),
        ({"mode": True}, "settings.mode must be 'none' or 'all' or 1"),
        ({"code": "de"}, "settings.code must match '^[A-Z]{2}$'"),
        ({"url": "a b"}, "settings.url must be a URI such as https://vault.example/secrets/web"),
        ({"id": "x"}, "settings.id must be a GUID such as 6f680a37-00c6-41c7-a93f-1437e3462574"),
        ({"inner": {}}, "settings.inner.key is missing"),
        ({"inner": []}, "settings.inner must be an object with names and values"),
        ({"inner": {"key": 1, "list": {}}}, "settings.inner.list must be a list"),
        ({"inner": {"key": 1, "list": [{}, {"port": "x"}]}}, "settings.inner.list[1].port must be a whole number, not"),
        ({"inner": {"key": 1, "kye": 2}}, "settings.inner.kye is unknown"),
        ({"open": {"a": "x"}}, "settings.open.a must be a whole number, not a string"),
        ({"closed": {"a": 1}}, "settings.closed.a is unknown"),
        ({"anything": date(2027, 1, 1)}, "settings.anything must be a value that JSON has"),
        ({"anything": {5: 1}}, "settings.anything.5 must have a name that is a text"),
        ({"anything": [None]}, "settings.anything[0] must be a value that JSON has"),
    ],
)
def test_each_problem_has_its_path(value: dict[str, Any], problem: str) -> None:
    (one,) = found(value)
    assert one.startswith(problem)


def test_of_a_text_that_gets_its_value_later_only_the_type_counts() -> None:
    value = {"site": "{S}", "id": "{I}", "code": "{C}", "count": "{N}", "inner": {"key": "k", "list": ["{L}"]}}
    open_ones = [str(each) for each in problems(schema(SCHEMA), value, (), lambda text: text.startswith("{"))]
    assert open_ones == [
        "count must be a whole number, not a string",
        "inner.list[0] must be an object with names and values",
    ]


def test_no_problem_quotes_a_value() -> None:
    secret = "sesame-of-the-tests"
    every = dict.fromkeys(SCHEMA["properties"], secret)
    assert secret not in " ".join(found({**every, "inner": {"key": "k", "list": [secret], "target": [secret]}}))


def test_secrets_are_found_at_every_depth_and_inherited() -> None:
    value = {"site": "s", "inner": {"key": "k", "target": "t"}, "hidden": {"a": ["x", {"b": 5}], "c": None}}
    assert dict(secret_values(schema(SCHEMA), value, secret=False)) == {
        ("inner", "key"): "k",
        ("hidden", "a", 0): "x",
        ("hidden", "a", 1, "b"): 5,
    }
    spared = schema({"properties": {"a": {"secret": False}, "b": {"properties": {"c": {}}}}})
    of_protected = secret_values(spared, {"a": 1, "b": {"c": 2}, "d": 3}, secret=True)
    assert [written(path) for path, _ in of_protected] == ["b.c", "d"]


def test_defaults_fill_what_is_left_out_and_nothing_else() -> None:
    assert with_defaults(schema(SCHEMA), {"site": "x"}) == {"site": "x", "count": 2}
    given_ = {"site": "x", "count": 7, "inner": {"key": "k", "list": [{}, {"port": 1}]}}
    assert with_defaults(schema(SCHEMA), given_) == {
        "site": "x",
        "count": 7,
        "inner": {"key": "k", "list": [{"port": 80}, {"port": 1}]},
    }
    assert with_defaults(schema(SCHEMA), {"count": None}) == {"count": 2}


def test_destinations_are_found_at_every_depth() -> None:
    assert list(destinations(schema(SCHEMA))) == [("url",), ("inner", "target")]


JSON = st.recursive(
    st.booleans() | st.integers(-20, 20) | st.sampled_from(["", "a", "DE", "none", "abc"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "key", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
LEAVES: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "integer", "minimum": -3},
    {"type": "number", "maximum": 4},
    {"type": "boolean"},
    {"enum": ["none", 1, True]},
    {"type": "string", "pattern": "^[A-Z]"},
    {"type": "array"},
    {"type": "object"},
]
NESTED = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: (
        st.builds(lambda each: {"type": "array", "items": each}, inner)
        | st.builds(
            lambda a, b, needed: {
                "type": "object",
                "properties": {"a": a, "b": b},
                "required": needed,
                "additionalProperties": False,
            },
            inner,
            inner,
            st.sampled_from([[], ["a"], ["a", "b"]]),
        )
    ),
    max_leaves=4,
)


@given(raw=NESTED, value=JSON)
def test_the_check_agrees_with_the_reference_of_json_schema(raw: dict[str, Any], value: Any) -> None:
    valid = jsonschema.Draft202012Validator(raw).is_valid(value)
    assert (not list(problems(schema(raw), value, ()))) is valid
    assert schema(msgspec.to_builtins(schema(raw))) == schema(raw)
