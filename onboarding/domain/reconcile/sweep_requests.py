"""Which visits sweeps asked for and nobody has answered yet, so that the same visit is not asked for in every run.

A visit is answered when the VM's rows change, so the rows are part of what is remembered: a VM that drifts again after
its visit is asked for at once. A visit without an answer is asked for again after a first pause, in case its message
was lost, and from then on after a longer one.

It is kept between runs, and it is bounded: eight bytes for each visit, a hash and the second from which the visit may
be asked for again, and a visit that the inventory no longer calls for is forgotten.
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
    """The memory of one run. `first` and `later` are the pauses before a visit is asked for again."""

    def __init__(self, stored: bytes, now: datetime, first: timedelta, later: timedelta) -> None:
        """Text that is not whole records is read as far as it goes."""
        self._now = _second(now)
        self._first, self._later = (max(1, round(breaker.total_seconds())) for breaker in (first, later))
        whole = stored[: len(stored) - len(stored) % _RECORD.size]
        # Whoever was not found again long after its time was answered.
        self._again: dict[int, int] = {
            key: at for key, at in _RECORD.iter_unpack(whole) if at + self._first > self._now
        }

    def __contains__(self, key: int) -> bool:
        """Whether it was asked for before."""
        return key in self._again

    def pending(self, key: int) -> bool:
        """Whether it was asked for, and it is too early to ask again."""
        return self._again.get(key, 0) > self._now

    @property
    def full(self) -> bool:
        return len(self._again) >= MOST

    def remember(self, keys: Iterable[int]) -> None:
        """They were asked for just now."""
        for key in keys:
            breaker = self._later if key in self._again else self._first
            self._again[key] = min(self._now + breaker, _LATEST)

    def to_bytes(self) -> bytes:
        return b"".join(_RECORD.pack(key, at) for key, at in self._again.items())


def visit_key(vm: VmId, finding: Finding, vm_id: str, summaries: Iterable[RowSummary]) -> int:
    """Names a visit together with what was known of the VM when it was asked for. Where two share a key, which is as
    rare as four bytes make it, one of them waits for the other's pause."""
    known = sorted(f"{each.extension}|{each.outcome}|{each.since}|{each.policy_hash}" for each in summaries)
    text = "|".join((vm.key, finding.reason, vm_id, *known))
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=4).digest())


def _second(moment: datetime) -> int:
    return min(max(int(moment.astimezone(UTC).timestamp()), 0), _LATEST)


_TICK = timedelta(microseconds=1)


class Mark(Struct, frozen=True, order=True):
    """How far looks were sent: all moments before `moment`, and at it those of the rows up to `key`."""

    moment: datetime
    key: str = ""


def last_moment(due: datetime, before: datetime, first: timedelta, later: timedelta) -> datetime:
    """The last moment before that time at which a look that was due then is to be sent; at the least `due` itself."""
    late = before - due - _TICK
    if late >= later:
        return due + later * (late // later)
    return due + first if late >= first else due
