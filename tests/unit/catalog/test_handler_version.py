"""Which of two versions is lower, and which one a request names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.catalog.handler_version import is_lower, major_minor, version_to_request

numbers = st.integers(min_value=0, max_value=999_999)
versions = st.tuples(numbers, numbers)
more_numbers = st.lists(numbers, max_size=3)


def text(version: tuple[int, int], more: list[int] | None = None) -> str:
    return ".".join(map(str, (*version, *(more or []))))


@given(versions, versions, more_numbers, more_numbers)
def test_versions_are_ordered_by_their_first_two_numbers(
    one: tuple[int, int], other: tuple[int, int], more: list[int], rest: list[int]
) -> None:
    assert is_lower(text(one, more), text(other, rest)) is (one < other)


@given(versions, versions, versions, more_numbers, st.booleans())
def test_a_request_never_names_less_than_what_is_there(
    wanted: tuple[int, int], requested: tuple[int, int], runs: tuple[int, int], more: list[int], minor: bool
) -> None:
    running = text(runs, more)
    named = version_to_request(text(wanted), text(requested), running, minor_upgrades=minor)
    found = major_minor(named)
    assert found is not None
    assert found >= max(wanted, requested)
    # With minor upgrades Azure installs the newest minor version of the major one that is named.
    assert found[0] >= runs[0] if minor else found >= runs
    assert found in (wanted, requested, runs)


@given(st.text(max_size=30), versions)
def test_a_text_that_is_no_version_is_neither_lower_nor_higher(unknown: str, version: tuple[int, int]) -> None:
    if major_minor(unknown) is None:
        assert not is_lower(unknown, text(version))
        assert not is_lower(text(version), unknown)
        assert version_to_request(text(version), unknown, unknown, minor_upgrades=False) == text(version)


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("1.9", (1, 9)),
        ("1.41.0.3", (1, 41)),
        ("2", (2, 0)),
        (" 1.10 ", (1, 10)),
        ("", None),
        ("latest", None),
        ("1.x", None),
        ("-1.2", None),
        ("1.2.3.4.5.6.7", None),
        ("٣.١", None),
    ],
)
def test_a_version_is_read_or_unknown(version: str, found: tuple[int, int] | None) -> None:
    assert major_minor(version) == found


def test_without_a_wanted_version_none_is_named() -> None:
    assert version_to_request("", "1.3", "1.4.5", minor_upgrades=True) == ""
