"""What the bench measures, and what it makes of raw times."""

from __future__ import annotations

import math
from urllib.parse import parse_qs, urlsplit

import pytest

from bench.measures import percentile, round_trips
from bench.programs.page import PATHS
from onboarding.web.view_list import VIEWS
from onboarding.web.views.machines import FILTERS


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


def test_there_is_no_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 0.5))


@pytest.mark.parametrize(
    ("requests", "trips"),
    [
        ([], 0),
        ([(0.0, 1.0), (2.0, 3.0)], 2),
        ([(2.0, 3.0), (0.0, 1.0)], 2),
        ([(0.0, 1.0), (0.5, 2.0), (1.5, 3.0)], 1),
        ([(0.0, 3.0), (1.0, 2.0), (2.5, 4.0)], 1),
        ([(0.0, 1.0), (1.0, 2.0)], 2),
    ],
)
def test_requests_side_by_side_are_one_way(requests: list[tuple[float, float]], trips: int) -> None:
    assert round_trips(requests) == trips


def test_each_view_and_each_filter_of_the_page_is_measured() -> None:
    paths = [urlsplit(each) for each in PATHS.values()]
    assert {each.path.removeprefix("/").removesuffix(".csv").removesuffix(".json") for each in paths} == set(VIEWS)
    assert {name for each in paths if each.path == "/machines" for name in parse_qs(each.query)} == set(FILTERS)
