"""The catalogue: the shipped entries, what they send, what they refuse, and what is wrong with a bad file."""

from __future__ import annotations

from typing import Any

import pytest

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry, extension_body
from onboarding.domain.catalog.protected_settings import ProtectedSettings
from onboarding.domain.catalog.setting_schema import NO_SETTINGS
from onboarding.domain.errors import ConfigurationError
from onboarding.domain.machine.machine_facts import OsType
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import parse_entry

ID = "6F680a37-00c6-41c7-a93f-1437e3462574"
KEY = "z4bU3p1/GrnWpQkky4gdabWXAhbWSTz70hm4m2Xt92XI+rSRgE8qVvRhsGo9TXffbrTahyrwv35W0pOqQAU7uQ=="


@pytest.fixture(scope="module")
def oms() -> CatalogueEntry:
    return load_catalogue()["oms-agent-linux"]


def test_the_shipped_catalogue_loads() -> None:
    catalogue = load_catalogue()
    assert all(name == entry.name for name, entry in catalogue.items())
    for entry in catalogue.values():
        tables = (*entry.support_tables.values(), entry.support_table(""))
        assert {table.os_type for table in tables} == {entry.os_type}
        assert entry.os_type in (OsType.LINUX, OsType.WINDOWS)


def test_the_oms_entry_is_the_documents_schema(oms: CatalogueEntry) -> None:
    assert (oms.publisher, oms.type, oms.version) == ("Microsoft.EnterpriseCloud.Monitoring", "OmsAgentForLinux", "1.3")
    assert oms.resource_name == "OMSExtension"
    assert oms.default_support_table == "2017-04"
    assert "2024-08-31" in oms.retired


def test_the_request_is_field_by_field_the_documents(oms: CatalogueEntry) -> None:
    assert extension_body(oms, "westeurope", {"workspaceId": ID}, ProtectedSettings({"workspaceKey": KEY}, [KEY])) == {
        "location": "westeurope",
        "properties": {
            "publisher": "Microsoft.EnterpriseCloud.Monitoring",
            "type": "OmsAgentForLinux",
            "typeHandlerVersion": "1.3",
            "autoUpgradeMinorVersion": True,
            "settings": {"workspaceId": ID},
            "protectedSettings": {"workspaceKey": KEY},
        },
    }


def test_a_forced_run_says_so(oms: CatalogueEntry) -> None:
    assert extension_body(oms, "w", {}, ProtectedSettings({}, []), "try-2")["properties"]["forceUpdateTag"] == "try-2"


def _problems(oms: CatalogueEntry, *, id_: Any = ID, key: str | None = KEY, **more: Any) -> tuple[str, ...]:
    found = oms.problems(
        {"workspaceId": id_, **more.get("public", {})},
        {**({} if key is None else {"workspaceKey": key}), **more.get("protected", {})},
    )
    return tuple(map(str, found))


def test_good_settings_have_no_problem(oms: CatalogueEntry) -> None:
    assert _problems(oms) == ()
    public, protected = {"stopOnMultipleConnections": False}, {"proxy": "user:word@proxy:80"}
    assert _problems(oms, public=public, protected=protected) == ()


@pytest.mark.parametrize(
    "id_", ["", " ", "my-workspace", f"{{{ID}}}", f"{ID}\n", ID[:-1], ID.replace("-", ""), f"{ID}0", 5, True, ["x"]]
)
def test_a_workspace_id_is_a_guid(oms: CatalogueEntry, id_: object) -> None:
    (problem,) = _problems(oms, id_=id_)
    assert problem.startswith("settings.workspaceId must be")


@pytest.mark.parametrize(
    "key",
    [
        "  ",
        KEY[:-1],
        KEY[:-2],
        f"{KEY}=",
        f"{KEY}\n",
        f" {KEY}",
        KEY.replace("/", "_").replace("+", "-"),
        KEY[:10] + "\n" + KEY[10:],
        "not base64!",
        "é" * 8,
        "QUJD=",
        "QUJ=",  # decodes, but its last character holds bits that no encoder writes
    ],
)
def test_a_workspace_key_survives_decoding_and_encoding(oms: CatalogueEntry, key: str) -> None:
    (problem,) = _problems(oms, key=key)
    assert problem.startswith("protectedSettings.workspaceKey must be")
    assert not key.strip() or key.strip() not in problem


def test_an_empty_workspace_key_is_missing(oms: CatalogueEntry) -> None:
    assert _problems(oms, key="") == ("protectedSettings.workspaceKey is missing",)


@pytest.mark.parametrize("value", ["true", "false", "", 1, None])
def test_a_boolean_is_a_boolean(oms: CatalogueEntry, value: object) -> None:
    problems = _problems(oms, public={"stopOnMultipleConnections": value})
    assert bool(problems) is (value is not None)
    assert all("JSON boolean" in problem for problem in problems)


def test_missing_and_unknown_settings_are_all_named(oms: CatalogueEntry) -> None:
    assert [str(problem) for problem in oms.problems({"WorkspaceId": ID}, {"workspacekey": KEY})] == [
        "settings.workspaceId is missing",
        "settings.WorkspaceId is unknown",
        "protectedSettings.workspaceKey is missing",
        "protectedSettings.workspacekey is unknown",
    ]


def test_an_unknown_support_table_is_an_error_that_lists_the_known(oms: CatalogueEntry) -> None:
    with pytest.raises(ConfigurationError, match=r"no support table '2019-01' \(supportTable\); known tables: 2017-04"):
        oms.support_table("2019-01")


ENTRY: dict[str, Any] = {
    "name": "x",
    "publisher": "P",
    "type": "T",
    "version": "1.10",
    "resourceName": "R",
    "osType": "Linux",
    "supportTables": {"2020": {"date": "2020-01-01", "source": "s", "versions": {"ubuntu": ["16.04"]}}},
}


def test_the_least_entry() -> None:
    entry = parse_entry(ENTRY, "x.yaml")
    assert (entry.display_name, entry.version, entry.default_support_table) == ("x", "1.10", "2020")
    assert (entry.settings, entry.protected_settings, entry.retired) == (NO_SETTINGS, NO_SETTINGS, "")


@pytest.mark.parametrize("tables", [{}, {"supportTables": None}, {"supportTables": {}}])
def test_an_entry_may_have_no_table(tables: dict[str, Any]) -> None:
    raw = {**{key: value for key, value in ENTRY.items() if key != "supportTables"}, **tables}
    entry = parse_entry(raw, "x.yaml")
    assert (entry.support_table("").os_type, entry.support_table("").rows) == (OsType.LINUX, ())
    with pytest.raises(ConfigurationError, match=r"x has no support table '2020' \(supportTable\); remove it"):
        entry.support_table("2020")


WINDOWS: dict[str, Any] = {
    **ENTRY,
    "osType": "Windows",
    "supportTables": {"2020": {"date": "2020-01-01", "source": "s", "versions": {"windows": ["2019"]}}},
}


@pytest.mark.parametrize(
    "path",
    [
        "C:\\WindowsAzure\\Logs\\Plugins\\P.T\\*\\CommandExecution.log",
        "C:\\Program Files (x86)\\Agent\\agent.log",
        "d:/agent/*.log",
    ],
)
def test_logs_on_windows_have_a_drive(path: str) -> None:
    assert parse_entry({**WINDOWS, "logs": [path]}, "x.yaml").logs == (path,)


@pytest.mark.parametrize(
    "path", ["/var/log/x", "\\\\server\\x", "C:x", "C:\\a'; iex 'b", "C:\\a\u2019b", "C:\\$env:x", "C:\\`a"]
)
def test_what_is_no_path_on_windows_is_refused(path: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r" is not an absolute path on Windows \(x\.yaml: logs\[0\]\); write paths as 'C:"
    ):
        parse_entry({**WINDOWS, "logs": [path]}, "x.yaml")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"publisher": None},
            "missing key 'publisher' in the catalogue entry (x.yaml: publisher); add `publisher:` and a text",
        ),
        ({"name": 5}, "5 is not the name of an extension (x.yaml: name); use lower-case letters, digits and -"),
        ({"version": 1.10}, "1.1 is not a version (x.yaml: version); write major.minor in quotes"),
        ({"osType": "BSD"}, "unknown operating system 'BSD' (x.yaml: osType); write Linux or Windows"),
        (
            {"frobnicate": 1},
            "unknown key 'frobnicate' in the catalogue entry (x.yaml: frobnicate); known keys: name, displayName",
        ),
        ({5: 1}, "unknown key 5 in the catalogue entry (x.yaml: 5); known keys: name, "),
        ({"supportTables": None, "defaultSupportTable": "2020"}, "'2020' (x.yaml: defaultSupportTable); remove it"),
        ({"osType": "unknown"}, "unknown operating system 'unknown' (x.yaml: osType); write Linux or Windows"),
        (
            {"osType": "Windows"},
            "'ubuntu' is not Windows (x.yaml: supportTables.2020.versions.ubuntu); known distributions: windows",
        ),
        ({"logs": ["C:\\x\\a.log"]}, " is not an absolute path on Linux (x.yaml: logs[0]); write paths as /var/log"),
        ({"logs": ["/var/log/a b"]}, "'/var/log/a b' is not an absolute path on Linux (x.yaml: logs[0]); write"),
        ({"supportTables": ["2020"]}, "a list is not a mapping (x.yaml: supportTables); write"),
        (
            {"supportTables": {"2020": {"versions": {}}}},
            "missing key 'date' in a support table (x.yaml: supportTables.2020.date); add",
        ),
        (
            {"defaultSupportTable": "2021"},
            "unknown support table '2021' (x.yaml: defaultSupportTable); known tables: 2020",
        ),
        ({"settings": ["a"]}, "a list is not a mapping (x.yaml: settings); write"),
        ({"settings": {"a": "string"}}, "'string' is not a setting (x.yaml: settings.a); write"),
        (
            {"settings": {"a": {"typ": "string"}}},
            "unknown key 'typ' in a setting (x.yaml: settings.a.typ); known keys: type",
        ),
        (
            {"settings": {"a": {"type": "number"}}},
            "unknown value 'number' (x.yaml: settings.a.type); known values: boolean, string",
        ),
        (
            {"protectedSettings": {"a": {"format": "hex"}}},
            "unknown value 'hex' (x.yaml: protectedSettings.a.format); known values: base64, guid",
        ),
        ({"retired": {"successor": "y"}}, "missing key 'date' in 'retired' (x.yaml: retired.date); add `date:` and "),
        ({"retired": "2024"}, "'2024' is not 'retired' (x.yaml: retired); write"),
        (
            {"errors": {"frobnicate": 1}},
            "unknown key 'frobnicate' in 'errors' (x.yaml: errors.frobnicate); known keys: advice, editions",
        ),
    ],
)
def test_a_bad_file_is_named_with_the_place(change: dict[Any, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_entry({**ENTRY, **change}, "x.yaml")
    assert raised.value.place.startswith("x.yaml: ")
    assert says in str(raised.value)


@pytest.mark.parametrize("raw", [None, [], "text", 5])
def test_a_file_without_an_entry_is_named(raw: object) -> None:
    with pytest.raises(ConfigurationError, match=r" \(x\.yaml\b.*\); \S"):
        parse_entry(raw, "x.yaml")
