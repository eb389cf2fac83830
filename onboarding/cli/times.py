"""How every command reads times: a span from now, such as `30m`, `2h` or `7d`, or a time such as `2026-11-20T09:00`,
which is UTC unless it says otherwise. For argparse."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d{1,6})([smhdw])")


def parse_since(text: str) -> datetime:
    """A time, or how long ago it was."""
    return _parse(text, -1)


def parse_until(text: str) -> datetime:
    """A time that is still to come, or how far away it is."""
    time = _parse(text, 1)
    if time <= datetime.now(UTC):
        raise argparse.ArgumentTypeError(f"{text!r} is over; write a time that is still to come")
    return time


def _parse(text: str, direction: int) -> datetime:
    try:
        if (span := _SPAN.fullmatch(text.strip().lower())) is not None:
            number, unit = span.groups()
            return datetime.now(UTC) + direction * timedelta(**{_UNITS[unit]: int(number)})
        time = datetime.fromisoformat(text.strip())
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        problem = f"{text!r} is not a time; write 30m, 2h or 7d, or a time such as 2026-11-20T09:00"
        raise argparse.ArgumentTypeError(problem) from None
