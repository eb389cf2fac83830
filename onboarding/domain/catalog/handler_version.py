"""Versions of handlers: which of two is lower, and which one a request names so that nothing is downgraded.

A request names `major.minor`; a guest agent reports the full version that runs, such as 1.41.0.3. Only these two
numbers are compared, as numbers: 1.9 is lower than 1.10. Any other text counts as unknown.
"""

from __future__ import annotations

import re

_VERSION = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?(?:\.\d{1,9}){0,4}", re.ASCII)


def major_minor(version: str) -> tuple[int, int] | None:
    """The two numbers; None for any other text, such as an empty one. Without a minor number it is 0."""
    found = _VERSION.fullmatch(version.strip())
    return None if found is None else (int(found[1]), int(found[2] or 0))


def is_lower(version: str, other: str) -> bool:
    """Whether the version is lower than the other; False if one of them is unknown."""
    here, there = major_minor(version), major_minor(other)
    return here is not None and there is not None and here < there


def version_to_request(wanted: str, requested: str, running: str, *, minor_upgrades: bool) -> str:
    """The version that a request for an installed extension names: what is `wanted`, but never a lower one than was
    `requested` before, nor than the one that is `running`, if Azure does not choose a newer minor version by itself.
    Without a `wanted` one, none is named."""
    if not wanted:
        return ""
    highest = requested if is_lower(wanted, requested) else wanted
    numbers, runs = major_minor(highest), major_minor(running)
    if numbers is None or runs is None or runs <= numbers or (minor_upgrades and runs[0] == numbers[0]):
        return highest
    return f"{runs[0]}.{runs[1]}"
