"""Change windows: when what is on a machine may be changed, by the clock on the wall of a time zone.

A window is open while that clock shows a time in it, on one of its days; over midnight, the day is that of its
beginning. So an hour that daylight saving skips opens nothing, and a window in the hour that it repeats is open twice.
Azure's tags and the policy file say the same window in two forms.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

import msgspec
from msgspec import Meta, field

from onboarding.domain.errors import ConfigurationError, as_written
from onboarding.domain.masking import mask
from onboarding.domain.resource_id import share_of
from onboarding.domain.typed_file import FileMapping, Refused, read_as

_MINUTES_A_DAY = 24 * 60
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_HORIZON = 22  # days; a weekly window that daylight saving skips opens in the week after
_SPREAD_AT_MOST = timedelta(minutes=30)
_CLOCK = re.compile(r"(?P<hour>[01]\d|2[0-4]):(?P<minute>[0-5]\d)")
_ZONE = re.compile(r"[A-Za-z0-9_+/-]{1,64}")
_LONGEST_TAG = 256  # what Azure allows
_TAG = re.compile(
    r"(?:(?P<days>daily|[a-z]{3}(?:-[a-z]{3})?(?:\s*,\s*[a-z]{3}(?:-[a-z]{3})?)*)\s+)?"
    r"(?P<from>\d\d:\d\d)\s*-\s*(?P<to>\d\d:\d\d)(?:\s+(?P<zone>\S+))?",
    re.IGNORECASE,
)
TAG_FORM = "sat,sun 02:00-06:00 Europe/Berlin"


class Day(StrEnum):
    """A day of the week, on which a window begins."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


_DAYS = tuple(Day)


class ClockTime(int):
    """Minutes after midnight, written as `"02:00"`; `"24:00"` is the end of the day."""

    __slots__ = ()
    file_schema: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$"}

    @classmethod
    def from_file(cls, value: object) -> Self:
        match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
        minutes = int(match["hour"]) * 60 + int(match["minute"]) if match else -1
        if not 0 <= minutes <= _MINUTES_A_DAY:
            quotes = " in quotes" if isinstance(value, int) else ""  # YAML reads 22:00 as a number
            problem = f"{as_written(value)} is not a time of day"
            raise ConfigurationError("", problem, f'write hours and minutes{quotes}, such as "02:00"')
        return cls(minutes)

    def __str__(self) -> str:
        return f"{self // 60:02}:{self % 60:02}"


class Zone(str):
    """The name of a time zone, as the IANA database spells it."""

    __slots__ = ()
    file_schema: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": rf"^{_ZONE.pattern}$"}

    @classmethod
    def from_file(cls, value: object) -> Self:
        name = value if isinstance(value, str) else ""
        if not _ZONE.fullmatch(name) or _clock_of(name) is None:
            if _ZONE.fullmatch(name) and _clock_of("Europe/London") is None:
                problem = f"the time zone {as_written(name)} cannot be read: this Python has no time zones"
                raise ConfigurationError("", problem, "install the package tzdata, or write UTC")
            problem = f"{as_written(value)} is not a time zone"
            raise ConfigurationError("", problem, "write UTC or a name such as Europe/Berlin")
        return cls(name)

    @property
    def clock(self) -> tzinfo:
        return _clock_of(self) or UTC  # it was there when the name was read


class ChangeWindow(FileMapping, frozen=True):
    """A time of the week in which changes may begin."""

    what: ClassVar[str] = "a change window"

    begin: Annotated[ClockTime, Meta(description="When it opens, by the clock of its zone, in quotes.")] = field(
        name="from"
    )
    end: Annotated[
        ClockTime, Meta(description="When it closes; on the day after, if that is not later than `from`.")
    ] = field(name="to")
    days: Annotated[
        Annotated[tuple[Annotated[Day, Meta(extra={"one": "day", "many": "days"})], ...], Meta(min_length=1)],
        Meta(description="The days on which it opens; every day without any."),
    ] = _DAYS
    zone: Annotated[Zone, Meta(description="Its time zone, such as Europe/Berlin; UTC without one.")] = field(
        default_factory=lambda: Zone("UTC")
    )

    def __post_init__(self) -> None:
        if self.begin == self.end or self.begin == _MINUTES_A_DAY:
            problem = f"the window from {self.begin} to {self.end} has no beginning or no end"
            raise Refused("", problem, 'write two times, such as from: "00:00" and to: "24:00" for the whole day')

    def is_open(self, now: datetime) -> bool:
        """Whether a change may begin. `now` is UTC."""
        local = now.astimezone(self.zone.clock)
        minute = local.hour * 60 + local.minute
        today = _DAYS[local.weekday()] in self.days
        if self.begin < self.end:
            return today and self.begin <= minute < self.end
        return (today and minute >= self.begin) or (_DAYS[local.weekday() - 1] in self.days and minute < self.end)

    def openings(self, after: datetime) -> Iterator[datetime]:
        """The moments (UTC) within three weeks at which it may open: its beginnings, and where the clock is put
        forward or back."""
        clock, first = self.zone.clock, after.astimezone(self.zone.clock).date()
        for number in range(-1, _HORIZON):
            day = first + number * _DAY
            at = datetime.combine(day, time(self.begin // 60, self.begin % 60), clock)
            yield from (at.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
            if (shift := _shift(day, clock)) is not None:
                yield shift

    @property
    def spread(self) -> timedelta:
        """The first part of the window, over which the changes of a fleet begin."""
        length = (self.end - self.begin) % _MINUTES_A_DAY or _MINUTES_A_DAY
        return min(length * _MINUTE / 4, _SPREAD_AT_MOST)

    def __str__(self) -> str:
        days = "daily" if set(self.days) == set(_DAYS) else ",".join(self.days)
        return f"{days} {self.begin}-{self.end} {self.zone}"


class ChangeWindows(tuple[ChangeWindow, ...]):
    """One window or several: a change may begin while any of them is open."""

    __slots__ = ()

    def is_open(self, now: datetime) -> bool:
        return any(window.is_open(now) for window in self)

    def next_opening(self, now: datetime) -> datetime:
        """The first moment from now on at which one is open (UTC)."""
        if self.is_open(now):
            return now
        openings = sorted(moment for window in self for moment in window.openings(now))
        return next((m for m in openings if m > now and self.is_open(m)), now + _HORIZON * _DAY)

    def turn_of(self, key: str, now: datetime) -> datetime:
        """The moment in the next window at which the machine of that key has its turn, so that not all come at once
        (UTC). It stays the same until the window opens."""
        opening = self.next_opening(now)
        spread = min((window.spread for window in self if window.is_open(opening)), default=_MINUTE)
        turn = opening + share_of(spread, key)
        return turn if self.is_open(turn) else opening

    def __str__(self) -> str:
        return "; ".join(map(str, self))


def read_tag(text: str) -> ChangeWindows:
    """The windows of a tag: `sat,sun 02:00-06:00 Europe/Berlin`, several with `;` between them, or the JSON of a policy
    file. Raises ConfigurationError."""
    text = text.strip()
    try:
        if len(text) > _LONGEST_TAG or not text.isprintable():
            raise ConfigurationError(
                "", "it has more than 256 characters, or some that cannot be printed", "shorten it"
            )
        if text.startswith(("{", "[")):
            return _from_json(text)
        return ChangeWindows(_from_line(part.strip()) for part in text.split(";"))
    except ConfigurationError as error:
        problem = f"{as_written(mask(text))} is not a change window: {error.problem}"
        raise ConfigurationError("", problem, f"{error.fix}; a window is written as in {TAG_FORM}") from None


def _from_json(text: str) -> ChangeWindows:
    try:
        raw = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise ConfigurationError("", "it is not valid JSON", "write one object or a list of them") from None
    windows: Any = tuple[ChangeWindow, ...]
    if isinstance(raw, list) and raw:
        return ChangeWindows(read_as(raw, windows, ""))
    return ChangeWindows((read_as(raw, ChangeWindow, ""),))


def _from_line(text: str) -> ChangeWindow:
    match = _TAG.fullmatch(text)
    if match is None:
        problem = f"{as_written(text)} is not days, two times and a time zone"
        raise ConfigurationError("", problem, "leave out no more than the days and the time zone")
    parts = {"from": match["from"], "to": match["to"], "days": _days(match["days"]), "zone": match["zone"] or "UTC"}
    return read_as(parts, ChangeWindow, "")


def _days(text: str | None) -> tuple[Day, ...]:
    """The days of `mon-fri,sun`, in the order of the week; `fri-mon` goes over its end."""
    if text is None or text.lower() == "daily":
        return _DAYS
    found = set[Day]()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        begin, end = _place(first), _place(last or first)
        found.update(_DAYS[(begin + number) % 7] for number in range((end - begin) % 7 + 1))
    return tuple(day for day in _DAYS if day in found)


def _place(text: str) -> int:
    try:
        return _DAYS.index(Day(text.lower()))
    except ValueError:
        raise ConfigurationError("", f"{as_written(text)} is not a day", f"write {', '.join(_DAYS)}") from None


def _shift(day: date, clock: tzinfo) -> datetime | None:
    """The moment (UTC) at which the clock is put forward or back on that day of UTC; None if it is not."""
    low = datetime.combine(day, time(), UTC)
    high, before = low + _DAY, low.astimezone(clock).utcoffset()
    if high.astimezone(clock).utcoffset() == before:
        return None
    while high - low > _MINUTE:
        middle = low + (high - low) // (2 * _MINUTE) * _MINUTE
        low, high = (middle, high) if middle.astimezone(clock).utcoffset() == before else (low, middle)
    return high


def _clock_of(name: str) -> tzinfo | None:
    """The time zone of that name, from the tables of the system or of the package tzdata; None without one. They are
    read once and kept: reference data, as the package's own."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # most processes have no window

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError; a folder's name is an OSError
        return None
