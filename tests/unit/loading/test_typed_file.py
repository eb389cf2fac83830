"""Files that are read into types: every kind of error has the place, the problem in words and the fix."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Meta, ValidationError, field

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.typed_file import FileMapping, Refused, Text, json_schema, keys_of, read_as, read_part
from onboarding.domain.typed_file_errors import joined
from onboarding.loading.policy_folder import with_line
from onboarding.loading.safe_reader import Unreadable, line_of, parse_yaml


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Even(int):
    """A type of ours that is no struct."""

    file_schema: ClassVar[Mapping[str, Any]] = {"type": "integer", "multipleOf": 2}

    @classmethod
    def from_file(cls, value: object) -> Even:
        if isinstance(value, list):
            raise ConfigurationError("[0]", f"{len(value)} items are too many", "write one number")
        if type(value) is not int or value % 2:
            raise ConfigurationError("", f"{value} is not even", "write an even number")
        return cls(value)


class Wheel(FileMapping, frozen=True):
    what: ClassVar[str] = "a wheel"
    size: Annotated[int, Meta(ge=1, extra={"is": "a whole number above 0", "fix": "write a number such as 20"})]
    spoke_count: Even = field(default_factory=Even)
    label: Text = field(default_factory=Text)


class Car(FileMapping, frozen=True):
    what: ClassVar[str] = "the car"
    name: Annotated[str, Meta(min_length=1, description="What it is called.")]
    colour: Annotated[Colour | None, Meta(extra={"one": "colour", "many": "colours"})] = None
    fuel: Literal["petrol", "diesel"] = "petrol"
    doors: int = 5
    fast: bool = False
    price: float = 1.5
    wheels: Annotated[tuple[Wheel, ...], Meta(max_length=50)] = ()
    owners: Annotated[tuple[str, ...], Meta(min_length=1)] = ("nobody",)
    painted: dict[Colour, str] = field(default_factory=dict)
    spare: dict[str, Wheel] = field(default_factory=dict)
    limits: dict[str, dict[Colour, tuple[Even, ...]]] = field(default_factory=dict)
    plates: dict[Annotated[str, Meta(max_length=3, extra={"is": "a country", "fix": "write DE"})], str] = field(
        default_factory=dict
    )
    allowed: bool | str | tuple[str, ...] = True
    one_or_more: str | tuple[Annotated[str, Meta(pattern="^x", extra={"is": "an x", "fix": "write x"})], ...] = ()
    either: Wheel | str | None = None
    anything: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def called(cls, mapping: Mapping[str, Any]) -> str:
        return f"car {mapping['name']}" if isinstance(mapping.get("name"), str) else cls.what

    def __post_init__(self) -> None:
        if self.fast and self.doors > 3:
            raise Refused("doors", f"{self.doors} doors are too many for a fast car", "write 3")


def problem(changes: object) -> str:
    raw = {"name": "Kiwi", **changes} if isinstance(changes, dict) else changes
    with pytest.raises(ConfigurationError) as raised:
        read_as(raw, Car, "car.yaml")
    assert isinstance(raised.value.__cause__, ValidationError)
    return str(raised.value)


def test_a_file_is_read_into_its_type() -> None:
    raw = {"name": "Kiwi", "colour": "red", "wheels": [{"size": 20, "spokeCount": 4, "label": 7}], "fast": False}
    car = read_as(raw, Car, "car.yaml")
    assert (car.colour, car.wheels) == (Colour.RED, (Wheel(20, Even(4), Text("7")),))
    assert keys_of(Wheel) == ("size", "spokeCount", "label")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (5, "5 is not the car (car.yaml); write a mapping with the keys name"),
        (None, "null is not the car (car.yaml); write a mapping with the keys name"),
        ([], "an empty list is not the car (car.yaml); write a mapping with the keys name"),
        ({"name": 5}, "5 is not a text (car.yaml: name); write a text, in quotes if it is a number or a date"),
        ({"name": None}, "key 'name' has no value (car.yaml: name); write a text, in quotes"),
        ({"name": ""}, "key 'name' is empty (car.yaml: name); write a text, in quotes if it is a number or a date"),
        ({"fast": "yes"}, "'yes' is not true or false (car.yaml: fast); write true or false, without quotes"),
        ({"doors": "5"}, "'5' is not a whole number (car.yaml: doors); write a number without quotes"),
        ({"doors": 4.5}, "4.5 is not a whole number (car.yaml: doors); write a number without quotes"),
        ({"price": "5"}, "'5' is not a number (car.yaml: price); write a number without quotes"),
        ({"doors": None}, "key 'doors' has no value (car.yaml: doors); write a number without quotes, or leave the"),
        ({"wheels": {}}, "an empty mapping is not a list (car.yaml: wheels); write `- {size: …, spokeCount: …"),
        ({"owners": "me"}, "'me' is not a list (car.yaml: owners); write `- item` lines"),
        ({"owners": []}, "key 'owners' is empty (car.yaml: owners); write `- item` lines"),
        ({"anything": []}, "an empty list is not a mapping (car.yaml: anything); write `key: value` lines"),
        ({"colour": "gren"}, "unknown colour 'gren' (car.yaml: colour); known colours: red, green; did you mean"),
        ({"colour": 5}, "unknown colour 5 (car.yaml: colour); known colours: red, green"),
        ({"fuel": "disel"}, "unknown value 'disel' (car.yaml: fuel); known values: diesel, petrol; did you mean"),
        ({"nam": 1}, "unknown key 'nam' in car Kiwi (car.yaml: nam); known keys: name, colour, fuel"),
        ({5: 1}, "unknown key 5 in the car (car.yaml: 5); known keys: name, colour"),
        ({date(2027, 1, 1): 1}, "unknown key '2027-01-01' in car Kiwi (car.yaml: 2027-01-01); known keys: name"),
        ({"wheels": [{"size": 1}, 5]}, "5 is not a wheel (car.yaml: wheels[1]); write a mapping with the keys size"),
        ({"wheels": [{}]}, "missing key 'size' in a wheel (car.yaml: wheels[0].size); add `size:` and a whole"),
        ({"wheels": [{"size": 0}]}, "0 is not a whole number above 0 (car.yaml: wheels[0].size); write a number"),
        ({"wheels": [{"size": True}]}, "true is not a whole number above 0 (car.yaml: wheels[0].size); write"),
        ({"wheels": [{"size": 1, "szie": 1}]}, "unknown key 'szie' in a wheel (car.yaml: wheels[0].szie); known"),
        ({"wheels": [{"size": 1, "spokeCount": 3}]}, "3 is not even (car.yaml: wheels[0].spokeCount); write an even"),
        ({"wheels": [{"size": 1, "spokeCount": [1, 2]}]}, "2 items are too many (car.yaml:"),
        ({"wheels": [{"size": 1, "spokeCount": None}]}, "key 'spokeCount' has no value (car.yaml:"),
        ({"wheels": [{"size": 1, "label": []}]}, "an empty list is not a text (car.yaml: wheels[0].label); write a"),
        ({"fast": True}, "5 doors are too many for a fast car (car.yaml: doors); write 3"),
    ],
)
def test_an_error_has_place_problem_and_fix(changes: object, says: str) -> None:
    assert problem(changes).startswith(says)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"painted": {"red": "new", "blue": "old"}}, "unknown key 'blue' (car.yaml: painted.blue); known keys: red,"),
        ({"painted": {"red": "new", 5: "old"}}, "unknown key 5 (car.yaml: painted.5); known keys: red, green"),
        ({"painted": {"red": "new", "green": 5}}, "5 is not a text (car.yaml: painted.green); write"),
        ({"spare": {5: {"size": 1}}}, "the key 5 is not a text (car.yaml: spare.5); put it in quotes"),
        ({"spare": {"a": {"size": 1}, None: {"size": 1}}}, "the key null is not a text (car.yaml: spare.None); put"),
        ({"spare": {"a": {"size": 1}, "b.c": {"size": "1"}}}, "'1' is not a whole number above 0 (car.yaml:"),
        ({"spare": {"a": {"size": 1}, "b": {}, "c": {}}}, "missing key 'size' in a wheel (car.yaml: spare.b.size);"),
        ({"spare": {"a": {"size": 1}, "b": {"x": 1}}}, "unknown key 'x' in a wheel (car.yaml: spare.b.x); known keys:"),
        ({"limits": {"a": {"red": [2]}, "b": {"green": [2, 4], "red": [2, 3]}}}, "3 is not even (car.yaml:"),
        ({"limits": {"a": {"red": [2]}, "b": {"blue": []}}}, "unknown key 'blue' (car.yaml: limits.b.blue); known"),
        ({"plates": {"DE": "x", "Germany": "y"}}, "'Germany' is not a country (car.yaml: plates.Germany); write DE"),
        ({"plates": {"DE": "x", 5: "y"}}, "the key 5 is not a text (car.yaml: plates.5); put it in quotes"),
        ({"anything": {5: 5}}, "the key 5 is not a text (car.yaml: anything.5); put it in quotes"),
    ],
)
def test_the_key_of_a_free_mapping_is_found(changes: object, says: str) -> None:
    assert problem(changes).startswith(says)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"allowed": 5}, "5 is not true or false or a text or a list (car.yaml: allowed); write true or false,"),
        ({"allowed": ["a", 5]}, "5 is not a text (car.yaml: allowed[1]); write a text"),
        ({"oneOrMore": ["x", "y"]}, "'y' is not an x (car.yaml: oneOrMore[1]); write x"),
        ({"oneOrMore": None}, "key 'oneOrMore' has no value (car.yaml: oneOrMore); write "),
        ({"either": 5}, "5 is not a wheel or a text (car.yaml: either); write a mapping"),
        ({"either": {"size": "1"}}, "'1' is not a whole number above 0 (car.yaml: either.size); write"),
    ],
)
def test_what_may_be_several_things(changes: object, says: str) -> None:
    assert problem(changes).startswith(says)


def test_dates_are_texts() -> None:
    raw = {"name": date(2027, 1, 1), "wheels": [{"size": 1, "label": datetime(2027, 1, 1, 8)}]}  # noqa: DTZ001 # as YAML
    car = read_as({**raw, "anything": {date(2026, 1, 1): {date(2027, 1, 1)}}}, Car, "car.yaml")
    assert (car.name, car.wheels[0].label) == ("2027-01-01", "2027-01-01T08:00:00")
    assert car.anything == {"2026-01-01": ["2027-01-01"]}


# Keys and values that look like the texts of the library that checks them.
HOSTILE = [
    "a` - at `$.name",
    "a - at `$.name`",
    "x` - at `key` in `$.spare`",
    "` - at `$.wheels[0]`",
    "$",
    "`",
    "...",
    "[...]",
    "a` - at `$[...].b",
    "a\nb",
    "' - at `$.doors`",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_file_is_taken_for_a_place(text: str) -> None:
    assert problem({text: 1}).startswith("unknown key ")
    assert "(car.yaml: colour); known colours: red" in problem({"colour": text})
    assert "(car.yaml: spare." in problem({"spare": {"fine": {"size": 1}, text: 5}})
    assert problem({"wheels": [{"size": 1, text: 1}]}).startswith("unknown key ")
    assert "in a wheel (car.yaml: wheels[0]" in problem({"wheels": [{"size": 1, text: 1}]})


def test_a_large_mapping_is_searched_fast() -> None:
    """By halves: to try each of 20,000 keys alone would take minutes."""
    many = {f"k{n}": {"size": 1} for n in range(20_000)}
    assert "(car.yaml: spare.k20000.size)" in problem({"spare": {**many, "k20000": {"size": 0}}})


def test_a_value_and_its_secret_are_masked() -> None:
    secret = "S3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3c=="
    assert secret not in problem({"colour": secret}) + problem({secret: 1})


def test_a_part_of_a_file_has_its_path() -> None:
    for raw, place in (({"size": 0}, "a.b.size"), ({5: 5}, "a.b.5"), ({"size": 1, "x": 1}, "a.b.x"), ({}, "a.b.size")):
        with pytest.raises(ConfigurationError) as raised:
            read_part(raw, Wheel, "a.b")
        assert raised.value.place == place
    with pytest.raises(ConfigurationError, match=r"^5 is not a wheel \(a\.b\[1\]\); "):
        read_part([{"size": 1}, 5], tuple[Wheel, ...], "a.b")


@pytest.mark.parametrize(
    ("steps", "place"),
    [
        ((), "f.yaml"),
        (("a", 0, "b"), "f.yaml: a[0].b"),
        ((0,), "f.yaml[0]"),
        (("a", "b.c", "d"), "f.yaml: a.b.c.d"),
    ],
)
def test_a_place_is_joined(steps: tuple[Any, ...], place: str) -> None:
    assert joined("f.yaml", *steps) == place
    assert joined("f.yaml: a", "b", 1) == "f.yaml: a.b[1]"
    assert joined("", "a", "b", 1) == "a.b[1]"


def test_the_schema_comes_out_of_the_type() -> None:
    schema = json_schema(Car)
    assert schema["properties"]["name"] == {"type": "string", "minLength": 1, "description": "What it is called."}
    assert (schema["required"], schema["additionalProperties"]) == (["name"], False)
    assert schema["$defs"]["Wheel"]["properties"]["spokeCount"]["multipleOf"] == 2


yaml_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.dates()
    | st.binary(max_size=2)
    | st.sampled_from([*HOSTILE, *keys_of(Car), *keys_of(Wheel), "red", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*keys_of(Car), *keys_of(Wheel), "red", "blue"])
            | st.text(max_size=4)
            | st.integers()
            | st.none(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(yaml_values)
@example({"name": "x", "spare": {"": {"": 1}}})
@example({"name": "x", "painted": {"red": b"x"}})
def test_any_data_is_a_value_or_one_error_with_a_line(raw: object) -> None:
    text = yaml.safe_dump(raw if not isinstance(raw, dict) else {"name": "x", **raw}, allow_unicode=True)
    try:
        data = parse_yaml(text)
    except Unreadable:
        return  # YAML cannot write every text
    error = error_of(data)
    if error is not None:
        assert error.place == "car.yaml" or error.place.startswith("car.yaml: ")
        assert error.problem
        assert error.fix
        path = error.place.removeprefix("car.yaml").removeprefix(": ")
        assert 1 <= line_of(text, path) <= text.count("\n") + 1
        assert with_line(error, "car.yaml", text).problem == error.problem


def error_of(data: object) -> ConfigurationError | None:
    try:
        assert isinstance(read_as(data, Car, "car.yaml"), Car)
    except ConfigurationError as error:
        return error
    return None
