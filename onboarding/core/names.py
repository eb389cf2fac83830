"""What to say of a name that is not known: which are, and which of them was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MOST = 50


def use_one_of(known: Iterable[str], given: object = "") -> str:
    """The fix for a name that is none of these."""
    names = list(known)
    if not names:
        return "there is none that can be used"
    listed = ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
    close = did_you_mean(names, given)
    return f"use one of {listed}{f'; did you mean {close}?' if close else ''}"


def did_you_mean(known: Iterable[str], given: object) -> str:
    """The known name that is nearest to the given one, upper and lower case alike; empty if none is near."""
    by_folded = {name.strip('"').lower(): name for name in known}
    # What is far longer than any name is none, and takes its time to be compared.
    close = get_close_matches(str(given)[:100].lower(), by_folded, n=1)
    return by_folded[close[0]] if close else ""
