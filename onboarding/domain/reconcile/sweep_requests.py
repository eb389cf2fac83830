"""Which reconciliations sweeps requested without a result so far, so that not every run requests the same ones.

A request has its result when the VM's rows change, so its key covers the rows: a VM that drifts again after it was
reconciled is requested at once. A request without a result is repeated after a first interval, in case its message was
lost, and from then on after a longer one.

The memory is kept between runs and bounded: eight bytes for each request (a hash, and the second from which it may be
repeated), and a request that the inventory no longer calls for is dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from msgspec import Struct

from onboarding.domain.reconcile.drift import Finding, RowSummary
from onboarding.domain.resource_id import VmId

MOST = 65_536  # half a megabyte, of the one that an entity of a table may have
_RECORD = struct.Struct(">II")
_LATEST = 2**32 - 1


class Unanswered:
    """The memory of one run. `first` and `later` are the intervals after which a request is repeated."""

    def __init__(self, stored: bytes, now: datetime, first: timedelta, later: timedelta) -> None:
        """Of stored bytes that end in the middle of a record, the whole records are read."""
        self._now = _second(now)
        self._first, self._later = (max(1, round(interval.total_seconds())) for interval in (first, later))
        whole = stored[: len(stored) - len(stored) % _RECORD.size]
        # A request that no sweep repeated long after it was due has its result.
        self._again: dict[int, int] = {
            key: at for key, at in _RECORD.iter_unpack(whole) if at + self._first > self._now
        }

    def __contains__(self, key: int) -> bool:
        """Whether it was requested before."""
        return key in self._again

    def pending(self, key: int) -> bool:
        """Whether it was requested, and it is too early to repeat it."""
        return self._again.get(key, 0) > self._now

    @property
    def full(self) -> bool:
        return len(self._again) >= MOST

    def remember(self, keys: Iterable[int]) -> None:
        """They were requested just now."""
        for key in keys:
            interval = self._later if key in self._again else self._first
            self._again[key] = min(self._now + interval, _LATEST)

    def to_bytes(self) -> bytes:
        return b"".join(_RECORD.pack(key, at) for key, at in self._again.items())


def request_key(vm: VmId, finding: Finding, vm_id: str, summaries: Iterable[RowSummary]) -> int:
    """A key for a request and what was known about the VM when it was made. If two share a key, which four bytes make
    rare, one of them waits for the other's interval."""
    known = sorted(f"{each.extension}|{each.outcome}|{each.since}|{each.policy_hash}" for each in summaries)
    text = "|".join((vm.key, finding.reason, vm_id, *known))
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=4).digest())


def _second(moment: datetime) -> int:
    return min(max(int(moment.astimezone(UTC).timestamp()), 0), _LATEST)


_TICK = timedelta(microseconds=1)


class Mark(Struct, frozen=True, order=True):
    """How far overdue checks were sent: all moments before `moment` (UTC), and at `moment` the rows up to `key`."""

    moment: datetime
    key: str = ""


def last_moment(due: datetime, before: datetime, first: timedelta, later: timedelta) -> datetime:
    """The last moment before that time at which a check that was due at `due` is to be sent; at the earliest `due`."""
    late = before - due - _TICK
    if late >= later:
        return due + later * (late // later)
    return due + first if late >= first else due
