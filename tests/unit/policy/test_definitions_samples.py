"""The sample definitions, unchanged, on the sample VMs and on a VM for every sample image.

The answers are compared with a second reading of the documentation: a direct interpreter of the little grammar that
these definitions use, which shares no code with the product.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any

import pytest

from onboarding.domain.policy.conditions import Resource
from onboarding.domain.policy.definitions.definition import read_definition
from tests.shared_samples import SAMPLES, needs_samples, read_lines

PATHS = sorted((SAMPLES / "policies").glob("*.json")) if SAMPLES.is_dir() else []
EXTENSIONS = "microsoft.compute/virtualmachines/extensions"
IMAGE = {f"microsoft.compute/image{part}": part for part in ("publisher", "offer", "sku", "id")}


def vms() -> list[dict[str, Any]]:
    return [line["body"] for line in read_lines("vm_models.jsonl")] + [
        made(line, number) for number, line in enumerate(read_lines("images.jsonl"))
    ]


def made(image: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A VM of a sample image; every third has the agents, every fourth an identity."""
    publisher, offer, sku, *_ = (*str(image.get("urn", "")).split(":"), "", "", "")
    extensions = [
        ("Microsoft.EnterpriseCloud.Monitoring", "OmsAgentForLinux", "Succeeded"),
        ("Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent", "Succeeded" if number % 2 else "Failed"),
    ]
    return {
        "id": f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v{number}",
        "name": f"v{number}",
        "type": "Microsoft.Compute/virtualMachines",
        "location": ("westeurope", "East US", "nowhere")[number % 3],
        "identity": {"type": "SystemAssigned"} if number % 4 == 0 else None,
        "properties": {
            "storageProfile": {
                "imageReference": {
                    "publisher": publisher or image.get("publisher"),
                    "offer": offer or image.get("offer"),
                    "sku": sku or image.get("sku"),
                },
                "osDisk": {"osType": "Windows" if "windows" in str(image).lower() else "Linux"},
            }
        },
        "resources": [
            {
                "type": "Microsoft.Compute/virtualMachines/extensions",
                "name": type_,
                "properties": {"publisher": owner, "type": type_, "provisioningState": state},
            }
            for owner, type_, state in (extensions if number % 3 == 0 else ())
        ],
    }


class Oracle:
    def __init__(self, parameters: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        self.parameters, self.body = parameters, body

    def field(self, name: str) -> Any:
        key = name.lower()
        type_ = str(self.body.get("type", "")).lower()
        if key == "location":
            return str(self.body["location"]).replace(" ", "").lower()
        if "/" not in key:
            return self.at(key)
        if type_ == EXTENSIONS:
            return self.at(f"properties.{key.removeprefix(EXTENSIONS + '/')}") if key.startswith(EXTENSIONS) else None
        short = key.replace("microsoft.compute/virtualmachines/image", "microsoft.compute/image")
        if short in IMAGE:
            return self.at(f"properties.storageprofile.imagereference.{IMAGE[short]}")
        prefix = "microsoft.compute/virtualmachines/"
        if key.startswith(EXTENSIONS) or not key.startswith(prefix):
            return None
        return self.at(f"properties.{key.removeprefix(prefix)}")

    def at(self, path: str) -> Any:
        def step(value: Any, name: str) -> Any:
            return {k.lower(): v for k, v in value.items()}.get(name) if isinstance(value, dict) else None

        return reduce(step, path.split("."), self.body)

    def value(self, source: Any) -> Any:
        named = re.fullmatch(r"\[(empty\()?parameters\('(\w+)'\)\)?\]", source) if isinstance(source, str) else None
        if named is None:
            return source
        return not self.parameters[named[2]] if named[1] else self.parameters[named[2]]

    def matches(self, rule: Mapping[str, Any]) -> bool:
        if "allOf" in rule:
            return all(self.matches(part) for part in rule["allOf"])
        if "anyOf" in rule:
            return any(self.matches(part) for part in rule["anyOf"])
        if "not" in rule:
            return not self.matches(rule["not"])
        left = self.field(rule["field"]) if "field" in rule else self.value(rule["value"])
        ((operator, source),) = [(k.lower(), v) for k, v in rule.items() if k not in ("field", "value")]
        if operator == "exists":
            return (left is not None) is (str(source).lower() == "true")
        positive = self.holds(left, operator.removeprefix("not"), self.value(source))
        return not positive if operator.startswith("not") else positive

    def holds(self, left: Any, operator: str, right: Any) -> bool:
        if left is None:
            return False
        text = str(left).lower()
        if operator == "in":
            return text in [str(item).lower() for item in right]
        wanted = str(right).lower()
        if operator == "like":
            return fnmatchcase(text, wanted)
        return wanted in text if operator == "contains" else text == wanted


def expected(definition: Mapping[str, Any], parameters: Mapping[str, Any], body: dict[str, Any]) -> tuple[bool, Any]:
    rule = definition["policyRule"]
    applies = Oracle(parameters, body).matches(rule["if"])
    effect = str(Oracle(parameters, body).value(rule["then"]["effect"])).lower()
    details = rule["then"].get("details", {})
    if not applies or effect == "disabled":
        return applies, None
    if effect in ("audit", "deny"):
        return applies, False
    if details["type"].lower() != EXTENSIONS:
        return applies, None
    names = [details["name"].lower()] if "name" in details else None
    found = [
        extension
        for extension in body.get("resources", [])
        if names is None or str(extension.get("name", "")).lower() in names
    ]
    condition = details.get("existenceCondition", {"allOf": []})
    typed = [{**extension, "type": EXTENSIONS} for extension in found]
    return applies, any(Oracle(parameters, extension).matches(condition) for extension in typed)


@needs_samples
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_definition_loads_unchanged_and_decides_as_a_second_reading_does(path: Any) -> None:
    raw = json.loads(path.read_text(encoding="utf-8-sig"))["properties"]
    defaults = {name: spec.get("defaultValue", ["x"]) for name, spec in (raw.get("parameters") or {}).items()}
    enforced = next((v for v in defaults_allowed(raw) if v.lower() != "disabled"), None)
    parameters = defaults | ({"effect": enforced} if enforced else {})
    given = {
        k: v for k, v in parameters.items() if raw["parameters"][k].get("type", "").lower() != "string" or k == "effect"
    }
    text = {
        k: "x" for k, spec in (raw.get("parameters") or {}).items() if k not in given and "defaultValue" not in spec
    }
    bound = read_definition(json.loads(path.read_text(encoding="utf-8-sig"))).bind(given | text)
    wrong = []
    for body in vms():
        answer = bound.evaluate(Resource(body))
        if (answer.applies, answer.compliant) != expected(raw, parameters | text, body):
            wrong.append((body["name"], answer))
    assert wrong == []


def defaults_allowed(raw: Mapping[str, Any]) -> list[str]:
    return list((raw.get("parameters") or {}).get("effect", {}).get("allowedValues", []))
