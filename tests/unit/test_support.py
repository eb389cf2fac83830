"""Support tables and what they say of a release."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.check import Checker
from onboarding.core.errors import ConfigurationError
from onboarding.core.facts import OsType
from onboarding.core.release import Distribution, OsRelease, Witness, os_type_of
from onboarding.core.support import SupportTable, Verdict, judge, parse_table
from onboarding.files import load_catalogue

ENTRY = load_catalogue()["oms-agent-linux"]
OLD = ENTRY.support_table("2017-04")
LAST = ENTRY.support_table("2023-11")


def _release(distribution: str, version: str | None = None, architecture: str | None = None) -> OsRelease:
    return OsRelease(distribution, version, architecture, os_type_of(distribution), Witness.IMAGE, "the image says so")


def test_the_documents_table_is_the_default() -> None:
    assert ENTRY.support_table("") == OLD


@pytest.mark.parametrize(
    ("release", "old", "last"),
    [
        (_release("centos", "7.9"), "supported", "supported"),
        (_release("centos", "5"), "supported", "unsupported"),
        (_release("centos", "8.5"), "unsupported", "supported"),
        (_release("rhel", "7"), "supported", "supported"),
        (_release("rhel", "9.4"), "unsupported", "supported"),
        (_release("oracle", "6.10"), "supported", "unsupported"),
        (_release("debian", "7"), "supported", "unsupported"),
        (_release("debian", "8.11"), "supported", "supported"),
        (_release("ubuntu", "12.04"), "supported", "unsupported"),
        (_release("ubuntu", "15.10"), "supported", "unsupported"),
        (_release("ubuntu", "14.10"), "unsupported", "unsupported"),
        (_release("ubuntu", "22.04"), "unsupported", "supported"),
        (_release("ubuntu", "15"), "unknown", "unsupported"),
        (_release("ubuntu", "16.04.3"), "supported", "supported"),
        (_release("sles", "12.5"), "supported", "supported"),
        (_release("sles", "15.3"), "unsupported", "supported"),
        (_release("opensuse", "15.2"), "unsupported", "supported"),
        (_release("almalinux", None), "unsupported", "unknown"),
        (_release("ubuntu", None), "unknown", "unknown"),
        (_release("freebsd", "12.1"), "unsupported", "unsupported"),
        (_release("other", None), "unsupported", "unsupported"),
        (_release("unknown", None), "unknown", "unknown"),
        (_release("windows", "10.0.17763"), "unsupported", "unsupported"),
        (_release("centos", "7.9", "arm64"), "unsupported", "unsupported"),
        (_release("centos", None, "arm64"), "unsupported", "unsupported"),
        (_release("centos", "7.9", "x86_64"), "supported", "supported"),
        (_release("centos", "70"), "unsupported", "unsupported"),
    ],
)
def test_a_release_is_judged_by_the_tables_date(release: OsRelease, old: str, last: str) -> None:
    assert (judge(release, OLD).verdict, judge(release, LAST).verdict) == (old, last)


def test_the_reason_is_a_sentence_with_witness_release_table_and_date() -> None:
    judgement = Checker(OLD).check("OpenLogic:CentOS:7_9-gen2").judgement
    assert judgement.row == "centos 7"
    assert judgement.table == "2017-04"
    assert judgement.reason == (
        "The marketplace image OpenLogic:CentOS:7_9-gen2 tells CentOS 7.9, "
        "which table 2017-04 (2017-04-26) names in row centos 7"
    )


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("MicrosoftWindowsServer:WindowsServer:2019-Datacenter", "Windows"),
        ("OpenLogic:CentOS:7_9-arm64", "no row for arm64"),
        ("Canonical:UbuntuServer:18.04-LTS", "no row for Ubuntu 18.04"),
        ("fortinet:a:b", "would settle it"),
    ],
)
def test_the_reason_says_why_not(item: str, said: str) -> None:
    judgement = Checker(OLD).check(item).judgement
    assert said in judgement.reason
    assert "2017-04-26" in judgement.reason


def test_a_windows_vm_is_never_supported_whatever_its_name() -> None:
    release = OsRelease("centos", "7.9", "x86_64", OsType.WINDOWS, Witness.IMAGE, "the image says so")
    assert judge(release, OLD).verdict is Verdict.UNSUPPORTED


def test_a_row_can_hold_for_one_architecture() -> None:
    raw = _table(versions={"ubuntu": {"x86_64": ["16.04", "18.04"], "arm64": ["18.04"]}, "rocky": {"arm64": ["9"]}})
    table = parse_table("x", raw)
    verdicts = {
        judge(_release(name, version, architecture), table).verdict
        for name, version, architecture in (("ubuntu", "18.04", "arm64"), ("ubuntu", "16.04", None))
    }
    assert verdicts == {Verdict.SUPPORTED}
    assert judge(_release("ubuntu", "16.04", "arm64"), table).verdict is Verdict.UNSUPPORTED
    assert judge(_release("rocky", "9.1"), table).verdict is Verdict.UNKNOWN


versions = st.none() | st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}", fullmatch=True) | st.text(max_size=8)


@given(
    st.sampled_from(list(Distribution)) | st.text(max_size=8),
    versions,
    st.sampled_from([None, "x86_64", "arm64"]),
    st.sampled_from([OLD, LAST]),
)
def test_supported_means_that_a_row_names_it(
    distribution: str, version: str | None, architecture: str | None, table: SupportTable
) -> None:
    judgement = judge(_release(distribution, version, architecture), table)
    assert (judgement.verdict is Verdict.SUPPORTED) == _named(table, distribution, version, architecture)


def _named(table: SupportTable, distribution: str, version: str | None, architecture: str | None) -> bool:
    """The rule in other words: equal numbers, as many as the row has."""
    numbers = (version or "").split(".")
    return any(
        row.distribution == distribution
        and row.version.split(".") == numbers[: row.version.count(".") + 1]
        and (architecture or "x86_64") in row.architectures
        for row in table.rows
    )


@given(st.text(max_size=25), st.text(max_size=40), st.text(max_size=40))
def test_no_name_is_supported_without_a_row(publisher: str, offer: str, sku: str) -> None:
    answer = Checker(OLD).check({"publisher": publisher, "offer": offer, "sku": sku})
    release = answer.release
    assert not answer.supported or _named(OLD, release.distribution, release.version, release.architecture)


def _table(**changes: Any) -> dict[str, Any]:
    return {"date": "2020-01-01", "source": "a test", "versions": {"ubuntu": ["16.04"]}, **changes}


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (_table(date=None), "supportTables.x.date: is missing"),
        (_table(source=""), "supportTables.x.source: is missing"),
        (_table(versions={}), "supportTables.x.versions: is missing"),
        (_table(versions={"plan9": ["1"]}), "versions.plan9: names no distribution"),
        (_table(versions={"rhel": [8.1]}), "versions.rhel: is no list of texts"),
        (_table(versions={"rhel": "8"}), "versions.rhel: is no list of texts"),
        (_table(versions={"rhel": {"z80": ["8"]}}), "has the architecture 'z80'"),
        (_table(architectures=["z80"]), "has the architecture 'z80'"),
        ([], "supportTables.x: is no mapping"),
    ],
)
def test_a_wrong_table_is_named(raw: Any, place: str) -> None:
    with pytest.raises(ConfigurationError, match=place):
        parse_table("x", raw)
