"""Lists of VMs as tools print them, and texts as editors save them: every command that takes a list gives the same
answer as for the form of ARM, or refuses the list."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onboarding.application.image_check import NotAnImage
from onboarding.cli.main import main
from onboarding.domain.machine.machine_formats import Unrecognised, arm_form, listed, read_vm
from onboarding.loading.policy_folder import load_catalogue
from onboarding.loading.safe_reader import Unreadable, decode
from tests.flow.world import BIONIC, POLICY, extension, vm_body
from tests.reference import checker
from tests.shared_samples import needs_samples, read_lines

TAGS = {"Cost_Center": "42", "OSType": "x"}
WEST = {**vm_body("west", tags=TAGS), "resources": [extension()]}
NEW = vm_body("new", image=BIONIC)
for body in (WEST, NEW):
    del body["properties"]["instanceView"]
FLEET = [WEST, NEW]
SELECTS = {"allOf": [{"field": "tags['Cost_Center']", "equals": "42"}, {"field": "location", "equals": "westeurope"}]}
RULE = {"allOf": [{"field": "type", "equals": "Microsoft.Compute/virtualMachines"}, SELECTS]}


def flat(body: dict[str, Any]) -> dict[str, Any]:
    """The body as az prints it."""
    resources = [
        flat(each) | {"typePropertiesType": each["properties"]["type"], "type": each["type"]}
        for each in body.get("resources", [])
    ]
    own = {key: value for key, value in body.items() if key not in ("properties", "resources")}
    return {**body["properties"], **own, **({"resources": resources} if resources else {})}


def _named(value: Any, spell: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_named(each, spell) for each in value]
    if not isinstance(value, dict):
        return value
    return {spell(k): v if k in ("tags", "settings") else _named(v, spell) for k, v in value.items()}


def powershell(body: dict[str, Any]) -> dict[str, Any]:
    """The body as `Get-AzVM | ConvertTo-Json` prints it."""
    names = {"osProfile": "OSProfile", "typePropertiesType": "VirtualMachineExtensionType", "resources": "Extensions"}
    shaped: dict[str, Any] = _named(flat(body), lambda name: names.get(name, name[:1].upper() + name[1:]))
    shaped["StorageProfile"]["OsDisk"]["OsType"] = 1
    return {"ResourceGroupName": "APP-RG", **shaped, "Identity": None, "Plan": None, "StatusCode": "OK"}


def python(body: dict[str, Any]) -> dict[str, Any]:
    """The body as `as_dict()` of the SDK returns it."""
    shaped: dict[str, Any] = _named(
        flat(body), lambda name: "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    )
    return shaped


def _graph(bodies: list[Any]) -> dict[str, Any]:
    return {"count": len(bodies), "data": bodies, "skip_token": None, "total_records": len(bodies)}


def _row(body: dict[str, Any]) -> dict[str, Any]:
    extended = {"instanceView": {"powerState": {"code": "PowerState/running"}}}
    properties = {**body["properties"], "extended": extended}
    return {**body, "type": body["type"].lower(), "resourceGroup": "app-rg", "properties": properties}


def _table(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    names = ["id", "name", "type", "location", "tags", "properties", "resources"]
    rows = [[body.get(name) for name in names] for body in bodies]
    return {"count": 2, "data": {"columns": [{"name": name} for name in names], "rows": rows}, "totalRecords": 2}


FORMS: dict[str, Callable[[], Any]] = {
    "ARM list": lambda: {"value": FLEET, "nextLink": None},
    "pages": lambda: [{"value": [WEST]}, {"value": [NEW]}],
    "pages of arrays": lambda: [[WEST], [NEW]],
    "Invoke-AzRestMethod": lambda: {"StatusCode": 200, "Content": json.dumps({"value": FLEET}), "Method": "GET"},
    "az": lambda: [flat(body) for body in FLEET],
    "az graph query": lambda: _graph([_row(body) for body in FLEET]),
    "az graph query, older": lambda: [_row(body) for body in FLEET],
    "Resource Graph, table": lambda: _table(FLEET),
    "Search-AzGraph": lambda: {"SkipToken": None, "Data": [{**_row(b), "ResourceId": b["id"]} for b in FLEET]},
    "Get-AzVM": lambda: [powershell(body) for body in FLEET],
    "Windows PowerShell": lambda: {"value": [powershell(body) for body in FLEET], "Count": 2},
    "Get-AzResource": lambda: [
        {"ResourceId": b["id"], **_named({k: v for k, v in b.items() if k != "id"}, lambda name: name.capitalize())}
        | {"Properties": b["properties"], "Resources": b.get("resources")}
        for b in FLEET
    ],
    "Python's SDK": lambda: [python(body) for body in FLEET],
    "body": lambda: [{"body": body} for body in FLEET],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("forms")
    (root / "policies").mkdir()
    (root / "policies" / "p.yaml").write_text(yaml.safe_dump({**POLICY, "rule": RULE}))
    definition = {"properties": {"policyRule": {"if": RULE, "then": {"effect": "audit"}}}}
    (root / "d.json").write_text(json.dumps(definition))
    return root


def list_commands(folder: Path, vms: str) -> list[list[str]]:
    """Every command that takes a list of VMs."""
    policies, definition = str(folder / "policies"), str(folder / "d.json")
    return [
        ["check", vms, "--format", "json"],
        ["policy", "plan", "--vm-list", vms, "--policies", policies, "--format", "json"],
        ["policy", "evaluate", "--vm", vms, "--definition", definition, "--format", "json"],
        ["policy", "explain", "--vm", vms, "--definition", definition, "--format", "json"],
        ["policy", "explain", "--vm", vms, "--policies", policies, "--format", "json"],
    ]


def run_command(command: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[Any]]:
    """The exit code and the answers, without the keys of the input that `check` repeats."""
    code = main(command)
    said = capsys.readouterr().out.replace("microsoft.compute/virtualmachines", "Microsoft.Compute/virtualMachines")
    found = [json.loads(line) for line in said.splitlines()]
    fields = ("distribution", "version", "architecture", "os_type", "verdict", "witness", "reason")
    return code, [{key: each[key] for key in fields} if command[0] == "check" else each for each in found]


@pytest.mark.parametrize("form", FORMS)
def test_a_list_in_the_form_of_any_tool_is_read_like_arms(
    form: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms, others = folder / "arm.json", folder / "other.json"
    arms.write_text(json.dumps(FLEET))
    others.write_text(json.dumps(FORMS[form](), indent=1))
    for ours, theirs in zip(list_commands(folder, str(arms)), list_commands(folder, str(others)), strict=True):
        want = run_command(ours, capsys)
        assert run_command(theirs, capsys) == want
        assert want[0] == (1 if ours[0] == "check" else 0)


@pytest.mark.parametrize("form", FORMS)
def test_a_case_takes_one_vm_in_the_form_of_any_tool(
    form: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (one, other) = listed(FORMS[form]())
    (folder / "one.json").write_text(json.dumps(one))
    (folder / "two.json").write_text(json.dumps(FORMS[form]()))
    cases = folder / "p.cases.yaml"
    expect = [{"selected": True}, {"selected": True}, {"selected": False}]
    vms = ["one.json", one, other]
    listed_cases = [{"name": "x", "vm": vm, "expect": e} for vm, e in zip(vms, expect, strict=True)]
    cases.write_text(json.dumps({"policy": "policies/p.yaml", "cases": listed_cases}))
    assert main(["policy", "test", str(cases)]) == 0
    cases.write_text(json.dumps({"policy": "policies/p.yaml", "cases": [{"vm": "two.json", "expect": {}}]}))
    capsys.readouterr()
    assert main(["policy", "test", str(cases)]) == 2
    output = capsys.readouterr().err
    assert "the file 'two.json' holds several VMs (" in output
    assert ": cases[0].vm); give a file with one VM" in output


def _changed(body: dict[str, Any], *path: str, to: Any) -> dict[str, Any]:
    first, *rest = path
    return {**body, first: _changed(body[first], *rest, to=to) if rest else to}


CUT = "was cut to the text .*; print it again with `ConvertTo-Json -Depth 100`"
REFUSED: dict[str, tuple[Any, str]] = {
    "cut to a type": (_changed(powershell(WEST), "StorageProfile", to="Microsoft.Azure.Models.StorageProfile"), CUT),
    "cut to a type, below": (_changed(powershell(WEST), "StorageProfile", "ImageReference", to="Models.Image"), CUT),
    "cut to a hash table": (_changed(WEST, "properties", "storageProfile", to="@{imageReference=; osDisk=}"), CUT),
    "tags cut": (_changed(powershell(WEST), "Tags", to="System.Collections.Hashtable"), CUT),
    "all cut": ({**WEST, "properties": "@{vmId=1}"}, CUT),
    "properties as a text": (
        {**WEST, "properties": json.dumps(WEST["properties"])},
        "properties holds JSON as a text: .*; give the object itself",
    ),
    "tags as a text": ({**WEST, "tags": '{"env": "x"}'}, "tags holds JSON as a text: .*; give the object itself"),
    "no properties": ({**WEST, "properties": None}, "it has no properties of a VM"),
    "projected": (
        {"count": 1, "data": [{"id": WEST["id"], "imagePublisher": "Canonical"}]},
        "it has no properties of a VM",
    ),
    "queried": ([{"Name": "west", "Image": "UbuntuServer"}], "it has no properties of a VM"),
    "no name": ({"properties": WEST["properties"]}, "the VM has neither id nor name"),
    "status": (
        {"ResourceGroupName": "A", "Name": "west", "OsName": "ubuntu", "Statuses": []},
        "it has no properties of a VM",
    ),
    "error": (
        {"error": {"code": "AuthorizationFailed", "message": "no"}},
        "not a VM but an error of ARM: AuthorizationFailed: no",
    ),
    "template": ({"$schema": "x", "resources": [WEST]}, "not a VM but a template"),
    "text": (["west"], "a text is not a VM"),
    "nothing": ([None], "a null is not a VM"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_items_that_are_not_vms_or_were_cut_are_refused(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value, message = REFUSED[name]
    (folder / "bad.json").write_text(json.dumps(value))
    for command in list_commands(folder, str(folder / "bad.json"))[1:]:
        assert main(command) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "bad.json:1); " in captured.err
        with pytest.raises(Unrecognised, match=message):
            [read_vm(each) for each in listed(value)]
    if message == CUT:
        with pytest.raises(NotAnImage, match=message):
            checker(load_catalogue()["oms-agent-linux"].support_table("")).check(value)


SCALE_SET = "Microsoft.Compute/virtualMachineScaleSets"
OTHERS: dict[str, tuple[str | None, str, str]] = {
    "an instance of a scale set": (f"{SCALE_SET}/virtualMachines", f"{SCALE_SET}/s/virtualMachines/0", SCALE_SET),
    "the same by its id": (None, f"{SCALE_SET}/s/virtualMachines/0", f"{SCALE_SET}/virtualMachines"),
    "Arc": ("Microsoft.HybridCompute/machines", "Microsoft.HybridCompute/machines/m", "Microsoft.HybridCompute"),
    "Arc by its id": (None, "microsoft.hybridcompute/machines/m", "microsoft.hybridcompute/machines"),
    "classic": ("microsoft.classiccompute/virtualmachines", "Microsoft.ClassicCompute/virtualMachines/m", "classic"),
    "an extension": (None, "Microsoft.Compute/virtualMachines/m/extensions/e", "virtualMachines/extensions"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_our_policies_accept_vms_only(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind, path, said = OTHERS[name]
    other = {**WEST, "type": kind, "id": f"/subscriptions/s/resourceGroups/g/providers/{path}"}
    (folder / "other.jsonl").write_text(f"{json.dumps(WEST)}\n{json.dumps(other)}\n")
    _, plan, evaluate, _, explain = list_commands(folder, str(folder / "other.jsonl"))
    for command in (plan, explain):
        assert main(command) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.search(rf"a resource of type .*{said}.* is not a VM \(.*other\.jsonl:2\); give", captured.err)
    assert main(evaluate) == 0  # Azure's own definitions may be about anything


@pytest.mark.parametrize("path", ["Microsoft.Compute/virtualMachines/m", "MICROSOFT.COMPUTE/VIRTUALMACHINES/m"])
def test_a_vm_without_a_type_is_recognised_by_its_id(
    path: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vm = {key: value for key, value in WEST.items() if key != "type"}
    (folder / "typeless.json").write_text(
        json.dumps([{**vm, "id": f"/subscriptions/s/resourceGroups/g/providers/{path}"}])
    )
    for command in list_commands(folder, str(folder / "typeless.json")):
        assert main(command) == 0
        assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"count": 1, "data": FLEET[:1], "skip_token": "x", "total_records": 7}, "holds 1 of 7 records"),
        ({"value": FLEET, "nextLink": "https://management.azure.com/…"}, "is one page of a list that goes on"),
        ({"Data": FLEET, "SkipToken": "x"}, "is one page of a list that goes on"),
        ({"value": FLEET, "nextLink": ""}, ""),
        (_graph(FLEET), ""),
    ],
)
def test_an_incomplete_list_is_reported(
    value: Any, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "page.json").write_text(json.dumps(value))
    for command in list_commands(folder, str(folder / "page.json")):
        main(command)
        err = capsys.readouterr().err
        assert message in err
        assert bool(err) == bool(message)


def test_words_that_dotnet_writes_as_numbers() -> None:
    windows = _changed(powershell(WEST), "StorageProfile", "OsDisk", "OsType", to=0)
    body = arm_form({**windows, "Identity": {"Type": 2, "UserAssignedIdentities": {"/A/B": {"ClientId": "c"}}}})
    assert body["properties"]["storageProfile"]["osDisk"]["osType"] == "Windows"
    assert body["identity"] == {
        "type": "SystemAssigned, UserAssigned",
        "userAssignedIdentities": {"/A/B": {"clientId": "c"}},
    }
    strange = arm_form(_changed(powershell(WEST), "StorageProfile", "OsDisk", "OsType", to=7))
    assert strange["properties"]["storageProfile"]["osDisk"]["osType"] == 7


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "Id", "properties", "Properties", "storage_profile", "value", "data", "Tags", "body"]
            )
            | st.text(max_size=6),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@given(JSON_VALUES)
def test_any_value_is_a_vm_or_is_refused(value: Any) -> None:
    for item in listed(value):
        try:
            body = read_vm(item)
        except Unrecognised:
            continue
        assert isinstance(body["properties"], dict)
        assert body.get("id") or body.get("name")
        assert read_vm(body) == body


# --- texts, as they are saved and piped ---------------------------------------------------------------------------

ENCODINGS = {
    "utf-8": "",
    "utf-8-sig": "",
    "utf-16": "",
    "utf-16-le": "",
    "utf-16-be": "",
    "utf-16-le with a mark": "\ufeff",
    "utf-16-be with a mark": "\ufeff",
    "utf-32": "",
}
_RUN = """
import contextlib, io, json, sys
from onboarding.cli.main import main
for command, given in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(bytes.fromhex(given))))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(command)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def _piped(commands: list[tuple[list[str], bytes]]) -> list[tuple[int, str, str]]:
    """Run commands, each with its standard input."""
    given_ = json.dumps([(command, content.hex()) for command, content in commands])
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", _RUN], input=given_, capture_output=True, text=True, check=True, env=environment
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_every_command_reads_every_encoding_from_files_and_standard_input(folder: Path) -> None:
    text = json.dumps([{**body, "tags": {**TAGS, "ort": "Zürich"}} for body in FLEET], ensure_ascii=False, indent=1)
    commands, files = [], []
    for number, (name, mark) in enumerate(ENCODINGS.items()):
        content = (mark + text.replace("\n", "\r\n")).encode(name.removesuffix(" with a mark"))
        (folder / f"{number}.json").write_bytes(content)
        commands += [(command, content) for command in list_commands(folder, "-")]
        files += [(command, b"") for command in list_commands(folder, str(folder / f"{number}.json"))]
    answers = _piped([*commands, *files])
    first = answers[:5]
    assert [code for code, _, _ in first] == [1, 0, 0, 0, 0]
    for number in range(0, len(answers), 5):
        assert answers[number : number + 5] == first


def test_policies_definitions_settings_and_messages_may_be_in_any_encoding(tmp_path: Path) -> None:
    rule = {"field": "location", "equals": "westeurope"}
    texts = {
        "d.json": json.dumps({"properties": {"policyRule": {"if": rule, "then": {"effect": "audit"}}}}),
        "policies/p.yaml": yaml.safe_dump({**POLICY, "rule": rule}),
        "settings.json": json.dumps({"Values": {"A": "é"}}, ensure_ascii=False),
        "overrides.yaml": 'images: [{match: "a:*", distribution: ubuntu, version: "16.04"}]',
        "page.md": "é\n",
        "message.txt": "Install failed with exit code 52 in Zürich",
    }
    commands = []
    for encoding in (name for name, mark in ENCODINGS.items() if not mark):
        root = tmp_path / encoding
        for name, text in texts.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(text.encode(encoding))
        policies, vm = str(root / "policies"), json.dumps(WEST).encode()
        commands += [
            (["policy", "evaluate", "--definition", str(root / "d.json"), "--vm", "-"], vm),
            (["policy", "validate", policies], b""),
            (["policy", "plan", "--policies", policies, "--settings", str(root / "settings.json")], vm),
            (["check", "--overrides", str(root / "overrides.yaml"), "--image", "a:b:c"], b""),
            (["document", str(root / "page.md"), "--check"], b""),
            (["diagnose", "--format", "json"], "Install failed with exit code 52 in Zürich".encode(encoding)),
            (["diagnose", str(root / "message.txt"), "--format", "json"], b""),
        ]
    for (command, _), (code, out, err) in zip(commands, _piped(commands), strict=True):
        assert (code, err) == (0, ""), command
        if command[1] == "validate":
            assert "0 errors" in out
        if command[0] == "diagnose":
            assert json.loads(out)["exit_code"] == 52


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff\0")))
def test_a_text_is_read_as_it_was_saved(text: str) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert decode(text.encode(encoding)) == text
    for encoding in ("utf-16-le", "utf-16-be"):
        assert decode(f"[{text!a}]".encode(encoding)) == f"[{text!a}]"


@given(st.binary())
def test_bytes_are_a_text_or_are_refused(content: bytes) -> None:
    with contextlib.suppress(Unreadable):
        assert isinstance(decode(content), str)


def test_ids_for_a_command_by_hand_may_be_a_list_in_any_form(folder: Path) -> None:
    ids = [body["id"] for body in FLEET]
    no_more = [json.dumps([{key: id_} for id_ in ids]) for key in ("id", "ResourceId")]
    texts = ["\n".join(ids), json.dumps(ids, indent=1), *no_more, *(json.dumps(form()) for form in FORMS.values())]
    commands = [(["install", "-"], text.encode("utf-16")) for text in texts]
    answers = _piped([*commands, (["install", "-"], json.dumps([{"name": "x"}]).encode())])
    *named, (code, _, err) = [(code, out, err.partition("(")[0]) for code, out, err in answers]
    assert set(named) == {named[0]}
    assert "VM" not in named[0][2]
    assert code == 2
    assert "the item is not a VM: it has no properties of a VM" in err


# --- images in the forms of tables ----------------------------------------------------------------------------------

URNS = ["Canonical:UbuntuServer:16.04-LTS:latest", "OpenLogic:CentOS:7.5:latest"]
ROWS = [urn.split(":") for urn in URNS]


def _columns(heads: str, delimiter: str, quote: str = "") -> str:
    rows = [heads.split(","), *ROWS]
    return "\n".join(delimiter.join(f"{quote}{cell}{quote}" for cell in row) for row in rows) + "\n"


IMAGES = {
    "commas": _columns("Publisher,Offer,Sku,Version", ","),
    "semicolons": _columns("Publisher,Offer,Sku,Version", ";"),
    "tabs": _columns("Publisher,Offer,Sku,Version", "\t"),
    "Export-Csv": "#TYPE Microsoft.Azure.Image\n" + _columns("PublisherName,Offer,Skus,Version", ",", '"'),
    "Excel": "sep=;\n" + _columns("Image Publisher,Image Offer,Image SKU,Image Version", ";"),
    "a notice before": "WARNING: This command is in preview.\n" + _columns("publisher,offer,sku,version", ","),
    "a notice before JSON": "WARNING: Preview.\n" + json.dumps([{"urn": urn} for urn in URNS], indent=1),
    "az, tsv": "".join(f"x64\t{o}\t{p}\t{s}\t{p}:{o}:{s}:{v}\tAlias\t{v}\n" for p, o, s, v in ROWS),
    "urns": "\n".join(URNS),
    "ConvertTo-Json": json.dumps([{"PublisherName": p, "Offer": o, "Skus": s, "Version": v} for p, o, s, v in ROWS]),
    "ImageReference": json.dumps(
        {"value": [{"Publisher": p, "Offer": o, "Sku": s, "Version": v} for p, o, s, v in ROWS], "Count": 2}
    ),
    "StorageProfile": json.dumps(
        [{"ImageReference": {"Publisher": p, "Offer": o, "Sku": s, "Version": v}, "OsDisk": {}} for p, o, s, v in ROWS]
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_in_any_form_are_read(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").write_text(IMAGES[name])
    assert main(["check", str(tmp_path / "images"), "--format", "csv"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == URNS
    assert [row[1:3] for row in rows] == [["ubuntu", "16.04"], ["centos", "7.5"]]


@pytest.mark.parametrize("name", ["semicolons", "Export-Csv", "Excel", "ConvertTo-Json", "ImageReference"])
def test_answers_name_an_image_by_the_same_keys(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").write_text(IMAGES[name])
    assert main(["check", str(tmp_path / "images"), "--format", "json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [":".join(each[key] for key in ("publisher", "offer", "sku")) for each in answers] == [
        urn.rpartition(":")[0] for urn in URNS
    ]


def test_other_columns_of_an_image_may_be_called_as_parts_of_a_vm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").write_text(f"publisher,offer,sku,Tags,plan\n{','.join(ROWS[0][:3])},a=b,none\n")
    assert main(["check", str(tmp_path / "images")]) == 0


TABLE = (
    "Architecture    Offer         Publisher\n--------------  ------------  ---------\nx64  UbuntuServer  Canonical\n"
)
PEOPLE = {
    "table": (TABLE, "a table for people"),
    "box": ("+-----+------+\n| Urn | Name |\n+-----+------+\n", "a table for people"),
    "yaml": ("- architecture: x64\n  offer: UbuntuServer\n", "is YAML"),
    "one in yaml": ("id: /subscriptions/s\nname: west\n", "is YAML"),
    "documents": ("---\n- a: b\n", "is YAML"),
    "Format-List": ("Offer         : UbuntuServer\nPublisher : Canonical\n", "a list for people"),
    "jsonc": ('\x1b[34m[\x1b[39m\n  {\n    \x1b[94m"urn"\x1b[39m: "a:b:c"', "colours for a terminal"),
    "page": ("<!DOCTYPE html><html>", "a web page"),
}


@pytest.mark.parametrize("name", PEOPLE)
def test_forms_for_people_are_refused_as_a_whole(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, message = PEOPLE[name]
    (folder / "people").write_text(text)
    for command in list_commands(folder, str(folder / "people")):
        assert main(command) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert message in captured.err
        assert "-o json" in captured.err


def test_a_line_of_a_table_is_no_urn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in ("x64\tUbuntuServer\tCanonical:16.04 LTS:b", "x64  UbuntuServer  Canonical:UbuntuServer:16.04-LTS"):
        (tmp_path / "images").write_text(f"{line}\n")
        main(["check", str(tmp_path / "images"), "--format", "json"])
        captured = capsys.readouterr()
        assert "supported" not in captured.out
        assert "is not an image" in captured.out + captured.err


# --- what people reported -------------------------------------------------------------------------------------------

FIELD = [
    case
    for name in ("check", "plan", "evaluate")
    for case in read_lines(f"field/{name}.jsonl")
    if case["kind"] in ("D", "I")
]


def _field_command(case: dict[str, Any], folder: Path) -> list[str]:
    for name, value in case.get("files", {}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    vms = str(folder / case.get("vms", "-"))
    return {
        "check": ["check", "-", "--format", "json"],
        "plan": ["policy", "plan", "--vm-list", vms, "--policies", str(folder / "policies"), "--format", "json"],
        "evaluate": [
            "policy",
            "evaluate",
            "--vm",
            vms,
            "--definition",
            str(folder / case.get("definition", "")),
            "--format",
            "json",
        ],
    }[case["door"]]


@needs_samples
@pytest.mark.parametrize("case", FIELD, ids=lambda case: str(case["id"]))
def test_lists_and_encodings_of_the_field(case: dict[str, Any], tmp_path: Path) -> None:
    text = case.get("input", "")
    content = text if isinstance(text, str) else json.dumps(text)
    command = _field_command(case, tmp_path)
    ((code, out, err),) = _piped([(command, content.encode(case.get("encoding", "utf-8")))])
    answers_ = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    (want, *_) = case["want"]  # the first one is the expected result; a refusal would be acceptable too
    if case["door"] == "plan":
        (answer,) = answers_
        decisions = {each["vm"].rpartition("/")[2]: [each["after"]["decision"]] for each in answer["changes"]}
        assert decisions == want["decisions"]
        return
    wanted = want.get("answers") or [want["is"]]
    for answer, expected in zip(answers_, wanted, strict=True):
        other = case["want"][1]["answers"][0] if case["id"] == "tsv" else expected
        assert expected.items() <= answer.items() or other.items() <= answer.items()
