"""The simulators' clock: durations scale, timestamps do not, and the manual clock moves only by `advance`."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from simulator.clock import Clock, ManualClock


async def test_a_scaled_clock_shortens_durations_but_not_timestamps() -> None:
    clock = Clock(scale=1_000)
    began, simulated = time.monotonic(), clock.seconds()
    await clock.sleep(20)
    assert time.monotonic() - began < 2
    assert clock.seconds() - simulated >= 19
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=1)


def test_a_scale_must_be_positive() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Clock(0)


async def test_a_manual_clock_runs_timers_in_order_and_lets_one_start_another() -> None:
    clock, ran = ManualClock(), list[str]()

    def first() -> None:
        ran.append("first")
        clock.call_later(15, lambda: ran.append("third"))

    clock.call_later(20, lambda: ran.append("second"))
    clock.call_later(10, first)
    clock.call_later(12, lambda: ran.append("never")).cancel()
    await clock.advance(30)
    assert ran == ["first", "second", "third"]
    assert clock.seconds() == 30


async def test_a_sleep_ends_at_its_time() -> None:
    clock = ManualClock()
    sleeper = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    await clock.advance(4)
    assert not sleeper.done()
    await clock.advance(1)
    assert sleeper.done()
