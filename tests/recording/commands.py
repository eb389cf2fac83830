"""The JSON output of the commands for fixed input files, without texts for people."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import yaml

from onboarding.cli.main import main
from simulator.demo.fleet import make_fleet
from simulator.laptop import ROOT, SUBSCRIPTIONS
from tests.flow.walk import ENDS, REFUSALS
from tests.recording.wire import json_line, timeless, without_prose, wordless, write

_URNS = [
    *("Canonical:UbuntuServer:16.04-LTS", "Canonical:0001-com-ubuntu-server-jammy:22_04-lts", "RedHat:RHEL:7.9"),
    *("OpenLogic:CentOS:6.8", "SUSE:sles-15-sp3:gen2", "MicrosoftWindowsServer:WindowsServer:2019-Datacenter"),
    *("contoso:appliance:1", "Debian:debian-10:10", "Oracle:Oracle-Linux:ol79"),
]
_DEFINITION = {
    "mode": "Indexed",
    "parameters": {"skip": {"type": "String", "defaultValue": "skip"}},
    "policyRule": {
        "if": {
            "allOf": [
                {"field": "type", "equals": "Microsoft.Compute/virtualMachines"},
                {"field": "Microsoft.Compute/virtualMachines/storageProfile.osDisk.osType", "like": "Linux*"},
                {"field": "tags['onboarding']", "notEquals": "[parameters('skip')]"},
                {"field": "Microsoft.Compute/imagePublisher", "in": ["Canonical", "OpenLogic", "RedHat"]},
                {"value": "[toLower(field('location'))]", "notIn": ["eastus"]},
            ]
        },
        "then": {"effect": "auditIfNotExists"},
    },
}
_BROKEN = "name: broken\nextension: nothing\nrule: {field: nowhere, equalz: 1}\nwaits: {agent: {every: [1x]}}\n"
_FIRST, _THEN = "policies", "samples/policies/storm"


def commands(folder: Path) -> None:
    fleet = [member.spec for member in make_fleet(60, 7, tuple(SUBSCRIPTIONS))]
    (folder / "vms.json").write_text(json.dumps([{"id": each.id, "name": each.name, **each.body()} for each in fleet]))
    (folder / "definition.json").write_text(json.dumps(_DEFINITION))
    (folder / "broken.yaml").write_text(_BROKEN)
    texts = [words for _, words in ENDS.values() if words]
    texts += [json.dumps({"error": {"code": each.code, "message": each.message}}) for each in REFUSALS.values()]
    vms, definition = ["--vm", "{folder}/vms.json"], ["--definition", "{folder}/definition.json"]
    arguments = [
        *[["check", *[part for urn in _URNS for part in ("--image", urn)], *each] for each in ([], ["--why"])],
        ["check", "samples/images.jsonl"],
        ["check", "{folder}/vms.json"],
        *[["diagnose", text] for text in ["Non-zero exit code: 51", "nothing that is known", *texts]],
        *[["errors"], ["errors", "51"]],
        *[["policy", what, *definition, *vms] for what in ("evaluate", "explain")],
        *[["policy", "explain", "--policies", each, *vms] for each in (_FIRST, _THEN)],
        ["policy", "plan", "--policies", _FIRST, "--all", "--vm-list", "{folder}/vms.json"],
        ["policy", "plan", "--policies", _THEN, "--against", _FIRST, "--vm-list", "{folder}/vms.json"],
        ["policy", "validate", _FIRST, _THEN, "samples/policies/demo"],
        ["policy", "validate", "{folder}/definition.json", "{folder}/broken.yaml"],
    ]
    lines = [run_command(folder, *each, "--format", "json") for each in arguments]
    lines += [
        run_command(folder, "policy", "import", "{folder}/definition.json"),
        run_command(folder, "policy", "schema", "--check"),
    ]
    lines += [run_command(folder, "template", "--placement", each) for each in ("nested", "root")]
    write(folder / "commands.jsonl", lines)
    for name in ("vms.json", "definition.json", "broken.yaml"):
        (folder / name).unlink()


def run_command(folder: Path, *arguments: str) -> str:
    """Run a command; returns its arguments, exit code and output as JSON. `{folder}` in the arguments is the folder."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
        try:
            code: Any = main([each.replace("{folder}", str(folder)) for each in arguments])
        except SystemExit as ended:
            code = ended.code
    text = out.getvalue().replace(str(folder), "{folder}").replace(str(ROOT), "{root}")
    return json_line({"asked": list(arguments), "code": code, "output": [_shown(each) for each in _read(text)]})


def _read(text: str) -> list[Any]:
    """Read one document, or one on each line."""
    try:
        return [json.loads(text)]
    except ValueError:
        pass
    try:
        return [json.loads(each) for each in text.splitlines()]
    except ValueError:
        return [yaml.safe_load(text)]


def _shown(value: Any) -> Any:
    is_row = isinstance(value, dict) and "EventId" in value
    return without_prose(wordless(timeless(value) if is_row else value))
