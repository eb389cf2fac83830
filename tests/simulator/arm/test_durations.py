"""Durations: the measured ones, those of a file, and those of single handlers."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from simulator.__main__ import _numbers as numbers
from simulator.arm.compute.durations import Durations, read_ranges
from simulator.arm.options import AMA_HANDLER, OMS_HANDLER
from simulator.storm.storm import DURATIONS

FILE = """
vm-create: [1, 1, 1]
install:
  Some.Agent: [2, 2.0, 2]
"""


def test_a_file_replaces_what_it_names_and_a_handler_may_have_its_own(tmp_path: Path) -> None:
    file = tmp_path / "durations.yaml"
    file.write_text(FILE)
    durations, measured = Durations(7, read_ranges(file)), Durations(7)
    assert durations.draw("vm-create", "a") == 1
    assert durations.draw("install", "a", handler="some.AGENT") == 2
    assert durations.draw("install", "a", handler="Other.Agent") == measured.draw("install", "a")
    assert durations.draw("vm-start", "a") == measured.draw("vm-start", "a")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lunch: [1, 2, 3]", "'lunch' is not a duration; use one of vm-create, "),
        ("vm-create: [1, 2]", r"vm-create: \[1, 2\] is not a range"),
        ("vm-create: [3, 2, 1]", r"\[3, 2, 1\] is not a range"),
        ("vm-create: soon", "'soon' is not a range"),
        ("install: {Some.Agent: [-1, 2, 3]}", r"install Some.Agent: \[-1, 2, 3\] is not a range"),
    ],
)
def test_a_bad_file_is_named_with_the_place(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "durations.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=says):
        read_ranges(file)


def test_the_storm_has_its_own_durations_for_both_handlers() -> None:
    ranges = read_ranges(DURATIONS)
    for handler in (OMS_HANDLER, AMA_HANDLER):
        assert f"install of {handler.lower()}" in ranges
    assert ranges[f"install of {OMS_HANDLER.lower()}"] != ranges[f"install of {AMA_HANDLER.lower()}"]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", (3,)), ("1-3", (1, 2, 3)), ("1,4,7", (1, 4, 7)), ("2, 1-3,2", (2, 1, 3)), ("5-5", (5,))],
)
def test_a_list_of_seeds_is_read(text: str, seeds: tuple[int, ...]) -> None:
    assert numbers(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "-3", "3-1", "1,,2", "1-a", "1.5", "1-9999999999"])
def test_a_bad_list_of_seeds_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        numbers(text)
