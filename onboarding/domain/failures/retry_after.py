"""Reads how long a refusal asks to wait: from headers, from words, or from the end of a throttling window."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.lazy_pattern import Pattern

_NUMBER = re.compile(r"\s*(\d{1,9}(?:\.\d{1,6})?)\s*")
_IN_WORDS = Pattern(r"\b(?:after|in)\s+['\"‘’]?(\d{1,9})['\"‘’]?\s*(second|minute)s?\b", re.IGNORECASE)
_END_TIME = Pattern(r"\\?[\"']endTime\\?[\"']\s*:\s*\\?[\"']([0-9T:.+Z-]{10,40})\\?[\"']", re.IGNORECASE)
_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms")


def read_retry_after(evidence: Evidence, now: datetime) -> float | None:
    """The longest wait that anything in the evidence asks for, in seconds; None if nothing does."""
    return max(_waits(evidence, now), default=None)


def _waits(evidence: Evidence, now: datetime) -> Iterator[float]:
    header = evidence.headers.get("retry-after", "")
    if number := _NUMBER.fullmatch(header):
        yield float(number[1])
    elif moment := _http_date(header):
        yield _seconds_until(moment, now)
    for name in _MILLISECONDS:
        if number := _NUMBER.fullmatch(evidence.headers.get(name, "")):
            yield float(number[1]) / 1000
    for words in _IN_WORDS.finditer(evidence.text):
        yield float(words[1]) * (60 if words[2].lower() == "minute" else 1)
    for end in _END_TIME.finditer(evidence.text):
        if moment := _iso_date(end[1]):
            yield _seconds_until(moment, now)


def _seconds_until(moment: datetime, now: datetime) -> float:
    return max(0.0, (moment - now).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _iso_date(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
