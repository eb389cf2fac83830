"""Forms of requests that the Azure CLI sends and that a stricter server would refuse or misread."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.arm.http.errors import ArmError
from simulator.arm.templates.relaxed_json import read_relaxed_json
from tests.simulator.arm.test_deployments import DEPLOYMENT, EXTENSION, ended, template
from tests.simulator.conftest import AUDIENCE, Scene


async def test_an_update_without_the_image_keeps_it(scene: Scene) -> None:
    """`az vm update` reads the VM, takes the image out, and puts the rest."""
    machine = scene.add()
    body = (await scene.call("GET", machine.id)).body
    image = body["properties"]["storageProfile"].pop("imageReference")
    assert (await scene.call("PUT", machine.id, body | {"tags": {"x": "y"}})).status == 200
    await scene.clock.advance(60)
    after = (await scene.call("GET", machine.id)).body
    assert after["properties"]["storageProfile"]["imageReference"] == image
    assert after["tags"] == {"x": "y"}


async def test_another_image_is_refused(scene: Scene) -> None:
    machine = scene.add()
    body = (await scene.call("GET", machine.id)).body
    body["properties"]["storageProfile"]["imageReference"]["sku"] = "22_04-lts"
    reply = await scene.call("PUT", machine.id, body)
    assert (reply.status, reply.code) == (409, "PropertyChangeNotAllowed")


async def test_empty_parts_of_a_path_count_as_absent(scene: Scene) -> None:
    machine = scene.add()
    path = machine.id.replace("Microsoft.Compute/", "Microsoft.Compute//")
    assert (await scene.call("GET", path)).body["id"] == machine.id


def test_what_json_does_not_allow_is_read_in_a_deployment() -> None:
    text = """{ // of a person
        template: {'it\\'s': "two
lines // no comment", "b": [1, -2.5e3, true, null,], /* c */ $schema: 'a "b"', },
    }"""
    template = {"it's": "two\nlines // no comment", "b": [1, -2500.0, True, None], "$schema": 'a "b"'}
    assert read_relaxed_json(text.encode()) == {"template": template}


@pytest.mark.parametrize("text", ["[]", "{", '{"a": /}', '{"properties": []}', "{a b: 1}"])
def test_what_no_reader_understands_is_refused(text: str) -> None:
    with pytest.raises(ArmError) as caught:
        read_relaxed_json(text.encode())
    assert (caught.value.status, caught.value.code) == (400, "InvalidRequestContent")


async def test_a_template_is_sent_as_its_file_has_it(scene: Scene) -> None:
    machine = scene.add()
    body = template(EXTENSION)
    written = json.dumps(body["properties"].pop("template"), indent=2)
    text = f"{json.dumps(body)[:-2]}, template:// as written\n{written}}}}}"
    checked = await scene.call("POST", f"{DEPLOYMENT}/validate", text=text)
    assert checked.status == 200, checked.body
    resource = f"{machine.id}/extensions/OMSExtension"
    assert checked.body["properties"]["validatedResources"] == [{"id": resource}]
    assert (await scene.call("GET", DEPLOYMENT)).code == "DeploymentNotFound"
    assert (await scene.call("PUT", DEPLOYMENT, text=text)).status == 201
    assert (await ended(scene))["provisioningState"] == "Succeeded"


async def test_a_deployment_is_listed_with_its_operations(scene: Scene) -> None:
    machine = scene.add()
    await scene.call("PUT", DEPLOYMENT, template(EXTENSION))
    properties = await ended(scene)
    assert {"timestamp", "duration", "correlationId", "mode", "providers", "dependencies"} <= properties.keys()
    found = (await scene.call("GET", DEPLOYMENT.removesuffix("/agent"))).body["value"]
    assert [each["name"] for each in found] == ["agent"]
    for path in (f"{DEPLOYMENT}/operations", f"{DEPLOYMENT.replace('/providers/Microsoft.Resources', '')}/operations"):
        (operation,) = (await scene.call("GET", path)).body["value"]
        target: dict[str, Any] = operation["properties"]["targetResource"]
        assert target == {
            "id": f"{machine.id}/extensions/OMSExtension",
            "resourceType": "Microsoft.Compute/virtualMachines/extensions",
            "resourceName": "web-1/OMSExtension",
        }
        assert operation["properties"]["provisioningState"] == "Succeeded"


async def test_a_deployment_needs_the_rights_of_its_resources(scene: Scene) -> None:
    machine = scene.add()
    scope = machine.id.partition("/providers/")[0]
    scene.arm.scopes.grant("narrow", scope, "Microsoft.Resources/deployments/*")
    header = {"Authorization": f"Bearer {scene.arm.tokens.issue(AUDIENCE, 'narrow').value}"}
    assert (await scene.call("PUT", DEPLOYMENT, template(EXTENSION), headers=header)).status == 201
    (detail,) = (await ended(scene))["error"]["details"]
    assert detail["code"] == "AuthorizationFailed"
    assert "'Microsoft.Compute/virtualMachines/extensions/write'" in detail["message"]
    assert not machine.extensions


async def test_a_lock_stops_a_deployment_too(scene: Scene) -> None:
    machine = scene.add()
    scene.arm.scopes.lock(machine.id)
    await scene.call("PUT", DEPLOYMENT, template(EXTENSION))
    (detail,) = (await ended(scene))["error"]["details"]
    assert detail["code"] == "ScopeLocked"


async def test_a_deployment_associates_a_vm(scene: Scene) -> None:
    machine = scene.add()
    rule = machine.id.partition("/providers/")[0] + "/providers/Microsoft.Insights/dataCollectionRules/rule"
    scene.arm.insights.resources.add_rule(rule)
    association = {
        "type": "Microsoft.Compute/virtualMachines/providers/dataCollectionRuleAssociations",
        "name": "[concat(parameters('vmName'), '/Microsoft.Insights/one')]",
        "apiVersion": "2022-06-01",
        "properties": {"dataCollectionRuleId": rule},
    }
    await scene.call("PUT", DEPLOYMENT, template(association))
    assert (await ended(scene))["provisioningState"] == "Succeeded"
    (found,) = scene.arm.insights.associations.of_machine(machine)
    assert (found.name, found.linked) == ("one", rule)
