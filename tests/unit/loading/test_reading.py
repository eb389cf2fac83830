"""Files that would crash the process, or never be done, are refused by name; all others are read as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onboarding.loading.safe_reader import (
    MAX_BYTES,
    Unreadable,
    check_depth,
    compose_yaml,
    parse_json,
    parse_yaml,
    read_file,
    without_comments,
)

NINE = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 13)]
ALIASES = "\n".join(["a0: &a0 x", *NINE])
MERGES = ALIASES.replace("&a0 x", "&a0 {k: v}").replace("[", "{<<: [").replace("]", "]}")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[" * 100_000, 1, "nested more than 100 deep"),
        ("{a: " * 100_000, 1, "nested more than 100 deep"),
        ("- " * 100_000, 1, "nested more than 100 deep"),
        ("? " * 100_000, 1, "nested more than 100 deep"),
        ("\n".join(f"{' ' * depth}k:" for depth in range(101)) + " v", 101, "nested more than 100 deep"),
        (ALIASES, 7, "holds more than 100,000 values, aliases counted"),
        (MERGES, 6, "holds more than 100,000 values, aliases counted"),
        ("x: 1\na: &a\n- *a", 3, "the alias '*a' is inside of what it names"),
        ("x: 1\ny: [" + "a," * 200_000 + "]", 2, "holds more than 100,000 values"),
        ("a:\n  " + "9" * 5000, 2, "a number has more than 300 digits"),
        ("a: 0x" + "f" * 5000, 1, "a number has more than 300 digits"),
        ("1" + ":1" * 1_000_000, 1, "a number has more than 300 digits"),
        ("a\n" + "\n".join(f"%TAG !{number}! x" for number in range(100_000)), 0, "lines that begin with %"),
        ("x" * MAX_BYTES + "x", 0, "is larger than 4 MiB"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else None,
)
def test_what_would_take_the_process_down_is_refused(text: str, line: int, says: str) -> None:
    with pytest.raises(Unreadable, match=says.replace("*", r"\*")) as refused:
        parse_yaml(text)
    assert refused.value.line == line
    assert refused.value.fix
    assert compose_yaml(text) is None or "digits" in says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "nested more than 100 deep"),
        ("[" * 101 + "]" * 101, "nested more than 100 deep"),
        ('{"a":' * 101 + "1" + "}" * 101, "nested more than 100 deep"),
        ("9" * 5000, "too many digits"),
        (json.dumps([0] * 100_000), "holds more than 100,000 values"),
        (" " * MAX_BYTES + "1", "is larger than 4 MiB"),
    ],
    ids=lambda value: value[:12],
)
def test_json_has_the_same_bounds(text: str, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        parse_json(text)


def test_a_file_is_read_no_further_than_it_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: \xc3\xa9")
    assert read_file(path) == "name: é"
    with pytest.raises(Unreadable, match="larger than 4 MiB"):
        read_file(Path("/dev/zero"))


def test_what_is_within_the_bounds_is_read() -> None:
    deep: Any = "x"
    for _ in range(99):
        deep = [deep]
    assert parse_yaml("[" * 99 + "x" + "]" * 99) == parse_json(json.dumps(deep)) == deep
    assert parse_yaml("a: &a [x, x]\nb: [*a, *a]") == {
        "a": ["x", "x"],
        "b": [["x", "x"], ["x", "x"]],
    }
    assert parse_yaml("a: &a {k: v}\nb: {<<: *a, l: w}")["b"] == {"k": "v", "l": "w"}
    check_depth([0] * 200_000)


@given(st.text(alphabet="[]{}-?:,&*<a! \n'\"|>%#1", max_size=60))
def test_any_text_is_read_as_yaml_has_it_or_refused(text: str) -> None:
    try:
        read = parse_yaml(text)
    except Unreadable:
        return
    assert repr(read) == repr(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ('{ // all\n"a": "b"}', '{ \n"a": "b"}'),
        ('/* one\ntwo */ ["a"] //', '\n ["a"] '),
        ('["https://x", "/*", "\\" // no", "*/"]', '["https://x", "/*", "\\" // no", "*/"]'),
        ('["a" /* never closed\n]', '["a" \n'),
        ('["never closed // ]', '["never closed // ]'),
        ('"a\\', '"a\\'),
    ],
)
def test_comments_are_taken_out_of_json_and_lines_stay(text: str, bare: str) -> None:
    assert without_comments(text) == bare


@given(st.recursive(st.text(alphabet='/*"\\a\n'), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_has_no_comments_to_take_out(value: Any) -> None:
    text = json.dumps(value, indent=1)
    assert without_comments(text) == text


@pytest.mark.parametrize("part", ['"', '\\"', "/*", "//", "/", '"\\'])
def test_comments_are_looked_for_in_linear_time(part: str) -> None:
    text = part * 200_000  # quadratic, this would take minutes
    assert len(without_comments(text)) <= len(text)
