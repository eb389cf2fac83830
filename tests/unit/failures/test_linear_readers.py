"""Readers of foreign texts take time in proportion to the text, whatever is in it.

A quadratic reader takes minutes to hours for these texts, a linear one some seconds for all of them together. They are
read in a process of their own, since a regular expression cannot be interrupted.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.handler_log import read_output

_LENGTH = 200_000
_TIMEOUT_S = 90
_READ = """
import sys
from datetime import UTC, datetime
from onboarding.cli.failures.diagnose_input import read_evidence
from onboarding.domain.failures.console_text import unwrapped, without_decoration
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.classification import classify
from onboarding.domain.failures.handler_log import diagnose_lines, read_output
from onboarding.domain.failures.retry_after import read_retry_after
from tests.reference import parse_errors, read_report

head, part, tail = sys.argv[1:4]
length = int(sys.argv[4])
text, short = (head + part * (n // len(part)) + tail for n in (length, length // 10))
now = datetime.now(UTC)
found = (Evidence.from_body(502, text), Evidence.from_text(text), Evidence(message=text), *read_evidence(text, "x"))
for evidence in found:
    read_report(evidence)
    read_retry_after(evidence, now)
read_retry_after(Evidence(headers={"retry-after": text}), now)
read_output(text)
without_decoration(text)
unwrapped(text)
# Hundreds of patterns, each of them linear.
classify(Evidence(message=short), parse_errors({}), now)
list(diagnose_lines(short, parse_errors({}), now))
"""


@pytest.mark.parametrize(
    ("head", "part", "tail"),
    [
        ("", "<script>", ""),
        ("", "<", ""),
        ("", "<style ", ""),
        ("", "<script></x>", ""),
        ("exit code", " ", "!"),
        ("exiting with code", "\n", "!"),
        ("exit status", "\t", "!"),
        ("", "[stdout]\n", ""),
        ("[stderr]", "[stdout]\n", ""),
        ("", "Non-zero exit code: 5 ", "-Enable"),
        ("", "a.b", "-1.2"),
        ("'", "a.", "'"),
        ("Code", " ", "!"),
        ("ERROR:", "\n", "("),
        ("in", " ", "5"),
        ("", '{"', ""),
        ("", "[", ""),
        ("Unit ", "a", "!"),
        ("", "\x1b[1", "!"),
        ("", "│ ", "!"),
        ("", "│ a\n", "!"),
        ("", "> ", "!"),
        ("", "publisher 'a' ", "!"),
        ("publisher '", "a", "!"),
        ("", "type 'a.b' and ", "!"),
        ("", "'a.b.c", "!"),
        ("@{", "Code=", "!"),
        ("", "[{", "statuses"),
        ("statuses: ", '{"a": ', ""),
        ("", "AaBb", ": "),
        ("", "status ", "'"),
        ("", "curl failed with", "!"),
        ("another operation", " ", "!"),
        ("perform action '", "a", "!"),
        ("", "subscription '", "!"),
    ],
)
def test_a_reader_goes_through_a_text_once(head: str, part: str, tail: str) -> None:
    command = [sys.executable, "-c", _READ, head, part, tail, str(_LENGTH)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    assert done.returncode == 0, done.stderr[-2000:]


_PAGES = st.lists(
    st.sampled_from(["<", ">", "<script>", "<Script x", "</script>", "</STYLE>", "<style", "a", "b ", "\n", "<p>"])
)


@given(_PAGES)
def test_a_page_is_read_as_its_reader_sees_it(parts: list[str]) -> None:
    page = "<p>" + "".join(parts)
    hidden = r"<(?:style|script)\b.*?</(?:style|script)>|<[^>]*>"
    seen = " ".join(re.sub(hidden, " ", page, flags=re.IGNORECASE | re.DOTALL).split())
    assert Evidence.from_body(502, page).message == seen


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("Enable succeeded:\n[stdout]\nline\n\n[stderr]\n", "line"),
        ("[stdout]\nquotes [stderr] and [stdout]\nx\n[stderr]\ny", "quotes [stderr] and [stdout]\nx"),
        ("[stderr]\n[stdout]\nx", "[stderr]\n[stdout]\nx"),
        ("no marks", "no marks"),
    ],
)
def test_the_output_of_a_script_is_what_stands_between_its_marks(message: str, text: str) -> None:
    assert read_output(message) == text
