"""Readers of foreign texts take time in proportion to the text, whatever is in it.

A quadratic reader takes many seconds to hours for these texts, a linear one a part of a second. They are read in a
process of their own, since a regular expression cannot be interrupted: a timer of its processor time ends it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.handler_log import read_output

# What a quadratic reader takes falls with the square of the length: 200,000 characters would ask for 75 seconds.
_LENGTH = 40_000
_TIMEOUT_S = 3
_READ = """
import json
import signal
import sys
from datetime import UTC, datetime
from onboarding.cli.failures.diagnose_input import read_evidence
from onboarding.domain.failures.console_text import unwrapped, without_decoration
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.classification import classify
from onboarding.domain.failures.handler_log import diagnose_lines, read_output
from onboarding.domain.failures.retry_after import read_retry_after
from tests.reference import parse_errors, read_report

errors = parse_errors({})
length, patience = int(sys.argv[1]), float(sys.argv[2])
for line in sys.stdin:
    signal.setitimer(signal.ITIMER_PROF, patience)
    head, part, tail = json.loads(line)
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
    classify(Evidence(message=short), errors, now)
    list(diagnose_lines(short, errors, now))
    print("read", flush=True)
"""


class Readers:
    """The process that reads; one is enough for all texts, as long as it lives."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, head: str, part: str, tail: str) -> str:
        """What it says when it has read the text, or how it ended."""
        if self._process is None:
            command = [sys.executable, "-c", _READ, str(_LENGTH), str(_TIMEOUT_S)]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([head, part, tail]) + "\n")
        self._process.stdin.flush()
        if (said := self._process.stdout.readline().rstrip()) == "read":
            return said
        return f"{said}\n{self.end()}"

    def end(self) -> str:
        process, self._process = self._process, None
        if process is None:
            return ""
        said, _ = process.communicate()
        return f"{said[-2000:]}\nexit code {process.returncode}"


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    readers = Readers()
    yield readers
    readers.end()


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
def test_a_reader_goes_through_a_text_once(readers: Readers, head: str, part: str, tail: str) -> None:
    assert readers.read(head, part, tail) == "read"


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
