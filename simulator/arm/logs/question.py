"""Reads the one form of query that is simulated: the newest heartbeat by machine and category, since a moment, of all
machines or of some. Every other text is refused as a malformed query is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime

_STRING = r"\"(?:[^\"\\\n]|\\.)*\""
_QUESTION = re.compile(
    r"Heartbeat\s*"
    r"\|\s*where TimeGenerated > datetime\((?P<since>[-0-9T:.]+Z)\)\s*"
    rf"(?:\|\s*where _ResourceId in~ \((?P<machines>{_STRING}(?:,\s*{_STRING})*)\)\s*)?"
    r"\|\s*summarize TimeGenerated = max\(TimeGenerated\) by Machine = tolower\(_ResourceId\), Category\s*"
)


@dataclass(frozen=True, slots=True)
class Question:
    since: datetime
    machines: frozenset[str] | None
    """Ids in lower case; None: all machines."""


def read_question(text: str) -> Question:
    """Raises ValueError for any other query."""
    match = _QUESTION.fullmatch(text)
    if match is None:
        raise ValueError("another query")
    since = datetime.fromisoformat(match["since"])
    if match["machines"] is None:
        return Question(since, None)
    named = json.loads(f"[{match['machines']}]")
    return Question(since, frozenset(str(each).lower() for each in named))
