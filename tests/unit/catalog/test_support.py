"""Support tables and what they say of a release."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.catalog.support_table import SupportTable, Verdict, judge
from onboarding.domain.errors import ConfigurationError
from onboarding.domain.image.os_release import Distribution, OsRelease, OsSource, os_type_of
from onboarding.domain.machine.machine_facts import OsType
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import checker, parse_table
from tests.windows_entry import windows_entry

ENTRY = load_catalogue()["oms-agent-linux"]
OLD = ENTRY.support_table("2017-04")
LAST = ENTRY.support_table("2023-11")
GOOD = "Canonical:UbuntuServer:16.04-LTS"


def _release(distribution: str, version: str | None = None, architecture: str | None = None) -> OsRelease:
    return OsRelease(distribution, version, architecture, os_type_of(distribution), OsSource.IMAGE, "the image says so")


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


def test_the_reason_is_a_sentence_with_source_release_table_and_date() -> None:
    judgement = checker(OLD).check("OpenLogic:CentOS:7_9-gen2").judgement
    assert judgement.row == "centos 7"
    assert judgement.table == "2017-04"
    assert judgement.reason == (
        "The marketplace image OpenLogic:CentOS:7_9-gen2 says CentOS 7.9, "
        "which table 2017-04 (2017-04-26) lists in row centos 7"
    )


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("MicrosoftWindowsServer:WindowsServer:2019-Datacenter", "Windows"),
        ("OpenLogic:CentOS:7_9-arm64", "no row for arm64"),
        ("Canonical:UbuntuServer:18.04-LTS", "no row for Ubuntu 18.04"),
        ("fortinet:a:b", "to identify the OS, use"),
    ],
)
def test_the_reason_says_why_not(item: str, said: str) -> None:
    judgement = checker(OLD).check(item).judgement
    assert said in judgement.reason
    assert "2017-04-26" in judgement.reason


def test_a_windows_vm_is_never_supported_whatever_its_name() -> None:
    release = OsRelease("centos", "7.9", "x86_64", OsType.WINDOWS, OsSource.IMAGE, "the image says so")
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
    answer = checker(OLD).check({"imageReference": {"publisher": publisher, "offer": offer, "sku": sku}})
    release = answer.release
    assert not answer.supported or _named(OLD, release.distribution, release.version, release.architecture)


WINDOWS = windows_entry()
LEAST, LISTED = WINDOWS.support_table("2026-01"), WINDOWS.support_table("listed")
SERVER = "MicrosoftWindowsServer:WindowsServer:"


@pytest.mark.parametrize(
    ("item", "least", "listed"),
    [
        (f"{SERVER}2008-R2-SP1", "unsupported", "unsupported"),
        (f"{SERVER}2012-Datacenter", "unsupported", "unsupported"),
        (f"{SERVER}2012-R2-Datacenter-smalldisk-g2", "supported", "unsupported"),
        (f"{SERVER}2016-datacenter-server-core", "supported", "supported"),
        (f"{SERVER}2019-datacenter-gensecond", "supported", "supported"),
        (f"{SERVER}2022-datacenter-azure-edition-core", "supported", "supported"),
        (f"{SERVER}2025-datacenter", "supported", "unsupported"),
        (f"{SERVER}Datacenter-Core-1709-smalldisk", "supported", "supported"),
        (f"{SERVER}23h2-datacenter-core", "supported", "unsupported"),
        (f"{SERVER}2016-Nano-Server", "unknown", "unknown"),
        ("MicrosoftSQLServer:sql2019-ws2022:enterprise", "supported", "supported"),
        ("MicrosoftSQLServer:SQL2016-WS2012:Standard", "unsupported", "unsupported"),
        ("MicrosoftWindowsDesktop:windows-10:win10-21h2-pro", "supported", "unsupported"),
        ("MicrosoftWindowsDesktop:windows-11:win11-23h2-pro", "supported", "unsupported"),
        ("MicrosoftWindowsDesktop:windows-11:win11-22h2-pro", "unsupported", "unsupported"),
        ("MicrosoftVisualStudio:visualstudio2022:vs-2022-comm-latest-win11-n-gen2", "unknown", "unsupported"),
        ("MicrosoftSharePoint:MicrosoftSharePointServer:2019", "unknown", "unknown"),
        ({"osName": "Windows Server 2019 Datacenter", "osVersion": "10.0.17763.1"}, "supported", "supported"),
        ({"osName": "Windows Server 2012 Datacenter", "osVersion": "6.2.9200"}, "unsupported", "unsupported"),
        ({"osName": "Windows", "osVersion": "10.0.17763"}, "unknown", "unknown"),
        (GOOD, "unsupported", "unsupported"),
        ("fortinet:a:b", "unknown", "unknown"),
    ],
)
def test_a_windows_table_judges_windows(item: Any, least: str, listed: str) -> None:
    assert (checker(LEAST).check(item).judgement.verdict, checker(LISTED).check(item).judgement.verdict) == (
        least,
        listed,
    )


def test_the_reason_names_the_release_and_the_row_of_windows() -> None:
    judgement = checker(LEAST).check(f"{SERVER}2019-Datacenter").judgement
    assert (judgement.row, judgement.reason) == (
        "windows >= Server 2012 R2",
        f"The marketplace image {SERVER}2019-Datacenter says Windows Server 2019, "
        "which table 2026-01 (2026-01-15) lists in row windows >= Server 2012 R2",
    )
    assert "no row for Windows Server 2012" in checker(LEAST).check(f"{SERVER}2012-Datacenter").judgement.reason
    assert "must give the version" in checker(LEAST).check("p:o:windows").judgement.reason


@pytest.mark.parametrize(
    "table", [LEAST, LISTED, WINDOWS.support_table("any"), windows_entry(supportTables=None).support_table("")]
)
def test_the_other_os_type_never_fits(table: SupportTable) -> None:
    judgement = checker(table).check(GOOD).judgement
    assert judgement.verdict is Verdict.UNSUPPORTED
    assert "says Ubuntu 16.04: Linux, and" in judgement.reason
    assert judgement.reason.endswith("is for Windows")


@pytest.mark.parametrize("image", ["golden", "xenial-golden", "win2019-golden"])
@pytest.mark.parametrize("tables", [None, {"x": {"date": "2026-01-15", "source": "s", "versions": "any"}}])
@pytest.mark.parametrize(
    ("os_type", "body", "verdict"),
    [
        ("Linux", {"osType": "Linux"}, "supported"),
        ("Windows", {"osType": "Windows"}, "supported"),
        ("Linux", {"osType": "Windows"}, "unsupported"),
        ("Windows", {"osType": "Linux"}, "unsupported"),
        ("Linux", {}, "unknown"),
        ("Windows", {}, "unknown"),
    ],
)
def test_without_a_table_and_with_any_the_os_type_decides(
    tables: dict[str, Any] | None, os_type: str, body: dict[str, str], verdict: str, image: str
) -> None:
    table = windows_entry(osType=os_type, supportTables=tables, logs=[]).support_table("")
    vm = {"properties": {"storageProfile": {"osDisk": body, "imageReference": {"id": f"/x/images/{image}"}}}}
    judgement = checker(table).check(vm).judgement
    assert judgement.verdict == verdict
    assert (judgement.row == f"any {os_type}") is (verdict == "supported")
    listed = windows_entry().support_table("") if os_type == "Windows" else OLD
    if verdict == "supported":
        assert checker(listed).check(vm).judgement.verdict is Verdict.UNKNOWN, "with a table it stays unknown"


@pytest.mark.parametrize(
    ("versions", "release", "verdict"),
    [
        ({"ubuntu": ">= 18.04"}, ("ubuntu", "16.04"), "unsupported"),
        ({"ubuntu": ">= 18.04"}, ("ubuntu", "18.04"), "supported"),
        ({"ubuntu": [">= 18.04"]}, ("ubuntu", "18.10"), "supported"),
        ({"ubuntu": ["14.04", ">= 18.04"]}, ("ubuntu", "14.04"), "supported"),
        ({"ubuntu": ">=18.04"}, ("ubuntu", "26.04"), "supported"),
        ({"ubuntu": ">= 18.04"}, ("ubuntu", "100.04"), "supported"),
        ({"ubuntu": ">= 18.04"}, ("ubuntu", None), "unknown"),
        ({"ubuntu": ">= 18.04"}, ("ubuntu", "rolling"), "unknown"),
        ({"ubuntu": ">= 18.04"}, ("debian", "12"), "unsupported"),
        ({"ubuntu": ">= 18.04"}, ("unknown", None), "unknown"),
        ({"rhel": ">= 8.2"}, ("rhel", "8"), "unknown"),
        ({"rhel": ">= 8.2"}, ("rhel", "8.10"), "supported"),
        ({"rhel": ">= 8.2"}, ("rhel", "7"), "unsupported"),
        ({"rhel": ">= 8.2"}, ("rhel", "9"), "supported"),
        ({"rhel": ">= 8.0"}, ("rhel", "8"), "supported"),
        ({"sles": ">= 12.3"}, ("sles", "12.5"), "supported"),
        ({"debian": "any"}, ("debian", None), "supported"),
        ({"debian": ["any"]}, ("debian", "5"), "supported"),
        ({"debian": {"x86_64": "any"}}, ("debian", "5"), "supported"),
        ({"debian": {"x86_64": ">= 9"}}, ("debian", "8"), "unsupported"),
        ({"debian": "any"}, ("ubuntu", "22.04"), "unsupported"),
    ],
)
def test_a_row_may_say_at_least_or_any(versions: dict[str, Any], release: tuple[str, str | None], verdict: str) -> None:
    assert judge(_release(*release), parse_table("x", _table(versions=versions))).verdict == verdict


@pytest.mark.parametrize(
    ("versions", "release", "verdict"),
    [
        ("any", "", "supported"),
        (">= 2016", "", "unknown"),
        (">= 2016", "Server 1709", "supported"),
        (">= 2016", "Server 2012 R2", "unsupported"),
        (">= 2016", "11", "unsupported"),
        (">= 10 1809", "10", "unknown"),
        (">= 10 1809", "10 1607", "unsupported"),
        (">= 10 1809", "11 21H2", "supported"),
        (["10"], "10 1607", "supported"),
        (["10"], "11", "unsupported"),
        (["11 23H2"], "11", "unknown"),
        (["2012"], "Server 2012 R2", "unsupported"),
        (["Windows Server 2012R2"], "Server 2012 R2", "supported"),
    ],
)
def test_rows_of_windows(versions: Any, release: str, verdict: str) -> None:
    table = parse_table("x", _table(versions={"windows": versions}), OsType.WINDOWS)
    os_release = OsRelease(
        "windows", "10.0.17763", None, OsType.WINDOWS, OsSource.IMAGE, "the image says so", product=release
    )
    assert judge(os_release, table).verdict == verdict


@pytest.mark.parametrize(
    ("raw", "release", "verdict"),
    [
        ({"conditions": {"sles": {"12": "with a contract"}}}, ("sles", "12.5"), "unknown"),
        ({"conditions": {"sles": {"12": "with a contract"}}}, ("sles", "15"), "supported"),
        ({"conditions": {"sles": {"12": "with a contract"}}}, ("ubuntu", "12.04"), "unsupported"),
        ({"conditions": {"sles": {"12": "with a contract"}}}, ("sles", "12.5", "arm64"), "unsupported"),
        ({"conditions": {"sles": {">= 15": "with a contract"}}}, ("sles", "15.3"), "unknown"),
        ({"conditions": None}, ("sles", "12.5"), "supported"),
    ],
)
def test_a_row_with_a_condition_supports_nothing_by_itself(
    raw: dict[str, Any], release: tuple[str, ...], verdict: str
) -> None:
    judgement = judge(_release(*release), parse_table("x", _table(versions={"sles": ["12", ">= 15"]}, **raw)))
    assert judgement.verdict == verdict
    assert ("only with a contract" in judgement.reason) is (verdict == "unknown")


least_versions = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}", fullmatch=True)


@given(versions, least_versions)
def test_at_least_means_that_numbers_are_as_high(version: str | None, least: str) -> None:
    """The rule in other words: an answer is certain if it holds for all numbers that the version does not have."""
    verdict = judge(_release("ubuntu", version), parse_table("x", _table(versions={"ubuntu": f">= {least}"}))).verdict
    if version is None or not re.fullmatch(r"[0-9]+(\.[0-9]+)*", version):
        assert verdict is Verdict.UNKNOWN
        return
    have, wanted = ([int(number) for number in each.split(".")] for each in (version, least))
    lowest, highest = have + [0] * 3, have + [10**9] * 3
    expected = Verdict.SUPPORTED if lowest >= wanted else Verdict.UNKNOWN if highest >= wanted else Verdict.UNSUPPORTED
    assert verdict is expected


def _table(**changes: Any) -> dict[str, Any]:
    return {"date": "2020-01-01", "source": "a test", "versions": {"ubuntu": ["16.04"]}, **changes}


Z80 = "unknown architecture 'z80' (supportTables.x.versions.rhel.z80); known architectures: arm64, x86_64"


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (_table(date=None), "key 'date' has no value (supportTables.x.date); write a text"),
        (_table(source=""), "key 'source' is empty (supportTables.x.source); write"),
        (_table(versions={}), "key 'versions' is empty (supportTables.x.versions); write"),
        (
            _table(versions={"plan9": ["1"]}),
            "unknown distribution 'plan9' (supportTables.x.versions.plan9); known distributions: ubuntu",
        ),
        (
            _table(versions={"rhel": [8.1]}),
            "8.1 is not a text (supportTables.x.versions.rhel[0]); write versions in quotes",
        ),
        (_table(versions={"rhel": "8"}), "'8' is not a list (supportTables.x.versions.rhel); write versions in quotes"),
        (_table(versions={"rhel": {"z80": ["8"]}}), Z80),
        (_table(architectures=["z80"]), Z80.replace("versions.rhel.z80", "architectures[0]")),
        ([], "an empty list is not a support table (supportTables.x); write a mapping"),
        (
            _table(architecture=["arm64"]),
            "unknown key 'architecture' in a support table (supportTables.x.architecture); ",
        ),
        ({"date": "d", "versions": "any"}, "missing key 'source' in a support table (supportTables.x.source); add"),
        (_table(versions="all"), "'all' is not a mapping (supportTables.x.versions); write"),
        (
            _table(versions="any", architectures=["arm64"]),
            "has no effect where versions is any (supportTables.x.architectures); remove",
        ),
        (
            _table(versions={"rhel": [">= eight"]}),
            "'>= eight' is not a lowest version (supportTables.x.versions.rhel); write",
        ),
        (_table(versions={"rhel": ">="}), "'>=' is not a lowest version (supportTables.x.versions.rhel); write"),
        (_table(conditions=["x"]), "a list is not a mapping (supportTables.x.conditions); write"),
        (_table(conditions={"ubuntu": ["x"]}), "a list is not a mapping (supportTables.x.conditions.ubuntu); write"),
        (
            _table(conditions={"ubuntu": {16.04: "with x"}}),
            "the key 16.04 is not a text (supportTables.x.conditions.ubuntu.16.04); put it in quotes",
        ),
        (
            _table(conditions={"ubuntu": {"16.04": " "}}),
            "an empty condition for 'ubuntu' '16.04' (supportTables.x.conditions.ubuntu); write",
        ),
        (
            _table(conditions={"ubuntu": {"18.04": "with x"}}),
            "a condition for 'ubuntu' '18.04', which versions does not list (supportTables.x.conditions.ubuntu); write",
        ),
        (
            _table(conditions={"plan9": {"1": "with x"}}),
            "a condition for 'plan9' '1', which versions does not list (supportTables.x.conditions.plan9); write",
        ),
        (
            _table(versions={"windows": ["2019"]}),
            "'windows' is not Linux (supportTables.x.versions.windows); known distributions: ubuntu",
        ),
    ],
)
def test_a_wrong_table_is_named(raw: Any, place: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(place)):
        parse_table("x", raw)


@pytest.mark.parametrize(
    ("versions", "says"),
    [
        (
            {"ubuntu": ["22.04"]},
            "'ubuntu' is not Windows (supportTables.x.versions.ubuntu); known distributions: windows",
        ),
        (
            {"windows": ["2018"]},
            "unknown release '2018' of Windows (supportTables.x.versions.windows); known releases: Server 2008, "
            "Server 2008 R2",
        ),
        (
            {"windows": ">= 2018"},
            "unknown release '2018' of Windows (supportTables.x.versions.windows); known releases:",
        ),
    ],
)
def test_a_wrong_table_of_windows_is_named(versions: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        parse_table("x", _table(versions=versions), OsType.WINDOWS)
