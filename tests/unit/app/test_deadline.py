"""The time of one event: how much is left, who inherits it, and what is kept for the last steps."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from onboarding.concurrency import deadline, limit, remaining


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_a_deadline_there_is_no_end() -> None:
    assert remaining() == math.inf
    assert limit(8) == 8
    assert limit(None) is None


def test_what_is_left_shrinks_to_nothing_and_not_below() -> None:
    clock = Hands()
    with deadline(25, clock):
        assert remaining() == 25
        clock.now += 20
        assert (remaining(), limit(8), limit(3)) == (5, 5, 3)
        clock.now += 20
        assert remaining() == 0
    assert remaining() == math.inf


def test_a_part_is_kept_for_writing_down_how_it_went() -> None:
    clock = Hands()
    with deadline(25, clock):
        assert remaining(keep_reserve=True) == 20
        clock.now += 21
        assert remaining(keep_reserve=True) == 0
        assert remaining() == 4


def test_of_two_deadlines_the_earlier_one_holds() -> None:
    clock = Hands()
    with deadline(25, clock):
        with deadline(60, clock):
            assert remaining() == 25
        with deadline(5, clock):
            assert remaining() == 5
        assert remaining() == 25


async def test_the_tasks_of_an_event_have_its_deadline_and_others_do_not() -> None:
    clock = Hands()

    async def left() -> float:
        return remaining()

    async def event() -> Sequence[float]:
        with deadline(25, clock):
            return await asyncio.gather(left(), left())

    inside, outside = await asyncio.gather(event(), left())
    assert tuple(inside) == (25, 25)
    assert outside == math.inf
