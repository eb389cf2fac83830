"""Error rules as data: what is refused, in which order they decide, and that the data says what the sources say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.failure_rules import Cause, Diagnosis, FailureClass
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import parse_errors, read_report
from tests.shared_samples import SAMPLES

DOCUMENT = SAMPLES.parent / "oms-extension-for-linux.md"
ERROR_PAGE = Path(__file__).parents[3] / "docs" / "errors.md"

WRONG: list[tuple[Any, str]] = [
    ([], "an empty list is not a mapping (errors); write"),
    ({"codes": []}, "unknown key 'codes' in 'errors' (errors.codes); known keys: advice, editions"),
    ({"advice": {"boredom": "x"}}, "unknown cause 'boredom' (errors.advice); known causes: unsupported-os"),
    ({"advice": {"timeout": 3}}, "3 is not a text (errors.advice.timeout); add"),
    ({"texts": ["x"]}, "'x' is not a mapping (errors.texts[0]); write"),
    ({"texts": [{"cause": "timeout"}]}, "this rule has no condition (errors.texts[0]); add one of code"),
    (
        {"texts": [{"text": "x", "cause": "boredom"}]},
        "unknown cause 'boredom' (errors.texts[0].cause); known causes: unsupported-os",
    ),
    (
        {"texts": [{"text": "x", "cause": "timeout", "class": "soon"}]},
        "unknown class 'soon' (errors.texts[0].class); known classes:",
    ),
    ({"texts": [{"text": "(", "cause": "timeout"}]}, "'(' is not a regular expression: missing )"),
    ({"texts": [{"text": 7, "cause": "timeout"}]}, "7 is not a regular expression (errors.texts[0].text); write"),
    (
        {"texts": [{"text": "x", "cause": "timeout", "meaning": ""}]},
        "missing key 'meaning' (errors.texts[0].meaning); add",
    ),
    (
        {"texts": [{"text": "x", "cause": "unknown", "class": "transient"}]},
        "missing key 'maxAttempts' (errors.texts[0].maxAttempts); write a whole number",
    ),
    (
        {"texts": [{"text": "x", "cause": "timeout", "why": "y"}]},
        "unknown key 'why' in 'errors.texts[0]' (errors.texts[0].why); known keys:",
    ),
    (
        {"editions": [{"date": "2020-01-01", "handlerVersion": "new"}]},
        "'new' is not a version (errors.editions[0].handlerVersion); write",
    ),
    (
        {"editions": [{"codes": [{"exitCode": "5", "cause": "timeout"}]}]},
        "'5' is not a number (errors.editions[0].codes[0].exitCode); write",
    ),
]


@pytest.mark.parametrize(("section", "problem"), WRONG)
def test_a_slip_in_the_data_is_named_with_its_place(section: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        parse_errors(section)


def find(section: Any, text: str) -> Diagnosis:
    evidence = Evidence.from_text(text)
    return parse_errors(section).find(evidence, read_report(evidence))


def code(number: int, meaning: str, **more: Any) -> dict[str, Any]:
    return {"exitCode": number, "cause": "unknown", "meaning": meaning, **more}


def test_an_empty_section_has_the_shared_rules_and_every_cause() -> None:
    table = parse_errors(None)
    assert set(table.causes) == set(Cause)
    assert find({}, "No space left on device").cause is Cause.LOW_DISK_SPACE


def test_an_extensions_own_words_beat_the_shared_ones_and_both_beat_its_numbers() -> None:
    section = {
        "texts": [{"text": "our disk is full", "cause": "bad-configuration"}],
        "editions": [{"date": "2020", "codes": [code(7, "seven")]}],
    }
    assert find(section, "exit code 7: our disk is full").cause is Cause.BAD_CONFIGURATION
    assert find(section, "exit code 7: the disk is full").cause is Cause.LOW_DISK_SPACE
    assert find(section, "exit code 7").meaning == "seven"


def test_the_newest_edition_that_knows_a_code_decides() -> None:
    editions = [
        {"date": "2017-01-01", "codes": [code(7, "old"), code(8, "only old")]},
        {"date": "2019-01-01", "handlerVersion": "2.0", "codes": [code(7, "new"), code(9, "only new")]},
    ]
    handler = "[A.B.C-{}] Install,failed,{},x"
    assert find({"editions": editions}, handler.format("2.1.0", 7)).meaning == "new"
    assert find({"editions": editions}, "exit code 7").meaning == "new"
    assert find({"editions": editions}, handler.format("1.9.0", 7)).meaning == "old"
    assert find({"editions": editions}, handler.format("2.1.0", 8)).meaning == "only old"
    assert find({"editions": editions}, handler.format("1.9.0", 9)).meaning == "only new"


def test_an_extensions_advice_takes_the_place_of_a_causes_and_of_no_exacter_one() -> None:
    section = {
        "advice": {"low-disk-space": "Free 9 GB.", "timeout": "Wait."},
        "texts": [
            {"text": "too full", "cause": "low-disk-space"},
            {"text": "full", "cause": "timeout", "advice": "Now."},
        ],
    }
    said = ("No space left on device", "it is too full", "full", "Timeout(300): x", "Could not get lock")
    advice = [find(section, text).advice for text in said]
    assert advice[:4] == ["Free 9 GB.", "Free 9 GB.", "Now.", "Wait."]
    assert advice[4] == parse_errors({}).causes[Cause.PACKAGE_MANAGER_LOCKED].advice
    assert find({}, "No space left on device").advice != "Free 9 GB."


def test_an_operation_that_the_failure_does_not_name_is_no_hindrance() -> None:
    section = {"editions": [{"codes": [code(7, "enable", operation="enable"), code(7, "other")]}]}
    assert find(section, "Enable failed with exit code 7").meaning == "enable"
    assert find(section, "Install failed with exit code 7").meaning == "other"
    assert find(section, "exit code 7").meaning == "enable"


def test_only_transient_causes_have_a_number_of_tries_and_all_of_them_do() -> None:
    for table in (parse_errors({}), *(entry.errors for entry in load_catalogue().values())):
        for diagnosis in (*table.causes.values(), *(rule.diagnosis for rule in table.rules)):
            assert (diagnosis.max_attempts is not None) == (diagnosis.kind is FailureClass.TRANSIENT)


BASE = (2, 3, 4, 5, 6, 10, 11, 20, 21, 22, 23, 30, 51, 60, 61, 62, 63)


def base_edition() -> dict[int, Diagnosis]:
    rules = load_catalogue()["oms-agent-linux"].errors.rules
    return {min(r.exit_codes): r.diagnosis for r in rules if r.place.startswith("errors.editions[0]")}


def test_the_base_edition_has_the_codes_of_the_extensions_document() -> None:
    assert tuple(base_edition()) == BASE


@pytest.mark.skipif(not DOCUMENT.is_file(), reason="the extension's document is not beside this checkout")
def test_the_base_edition_says_what_the_extensions_document_says() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|([^|]*)\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    edition = base_edition()
    assert [int(number) for number, _, _ in rows] == list(edition)
    for number, meaning, action in rows:
        diagnosis = edition[int(number)]
        assert diagnosis.meaning == meaning.strip()
        if action.strip():
            assert diagnosis.advice == re.sub(r"\[([^]]+)\]\(([^)]+)\)", r"\1 (\2)", action.strip())


def test_the_page_on_errors_says_of_each_cause_what_the_data_says() -> None:
    page = ERROR_PAGE.read_text(encoding="utf-8")
    for cause, diagnosis in parse_errors({}).causes.items():
        section = f"### {cause}\n\n{diagnosis.meaning}\n\n**What to do:** {diagnosis.advice}\n"
        assert section in page, f"docs/errors.md: put this in:\n\n{section}"
        assert f"| [{cause}](#{cause}) | {diagnosis.kind} |" in page


def test_the_page_on_errors_lists_every_exit_code() -> None:
    page = ERROR_PAGE.read_text(encoding="utf-8")
    rules = [rule for entry in load_catalogue().values() for rule in entry.errors.rules]
    for rule in rules:
        for number in rule.exit_codes if rule.place.startswith("errors.editions") else ():
            operation = next(iter(rule.operations), "any")
            diagnosis = rf"{rule.diagnosis.cause} \| {re.escape(rule.diagnosis.meaning)}"
            row = rf"^\| {number} \| {operation} \| [\d-]+ \| {diagnosis} \|$"
            assert re.search(row, page, re.MULTILINE), f"docs/errors.md: no row for exit code {number}"
