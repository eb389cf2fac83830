"""Template deployments: validated as a whole, put in the order of dependencies, reported as by ARM."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.arm import HandlerRun, Machine
from tests.simulator.conftest import KEY, OMS, WORKSPACE, Reply, Scene

GROUP = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg-fleet"
DEPLOYMENT = f"{GROUP}/providers/Microsoft.Resources/deployments/agent"
EXTENSION: dict[str, Any] = {
    "type": "Microsoft.Compute/virtualMachines/extensions",
    "name": "[concat(parameters('vmName'), '/OMSExtension')]",
    "apiVersion": "2015-06-15",
    "location": "[resourceGroup().location]",
    "properties": {
        **OMS,
        "typeHandlerVersion": "1.3",
        "settings": {"workspaceId": WORKSPACE},
        "protectedSettings": {"workspaceKey": "[parameters('workspaceKey')]"},
    },
}
PARAMETERS = {"vmName": {"type": "string", "defaultValue": "web-1"}, "workspaceKey": {"type": "secureString"}}
MACHINE: dict[str, Any] = {
    "type": "Microsoft.Compute/virtualMachines",
    "name": "[parameters('vmName')]",
    "apiVersion": "2024-07-01",
    "location": "westeurope",
    "properties": {"storageProfile": {"imageReference": {"publisher": "Canonical", "offer": "u", "sku": "16.04-LTS"}}},
}


def template(*resources: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    given = {"workspaceKey": KEY, **parameters}
    values = {name: {"value": value} for name, value in given.items()}
    body = {"parameters": PARAMETERS, "resources": list(resources)}
    return {"properties": {"mode": "Incremental", "template": body, "parameters": values}}


async def deploy(scene: Scene, *resources: dict[str, Any], **parameters: Any) -> Reply:
    return await scene.call("PUT", DEPLOYMENT, template(*resources, **parameters), version="2024-11-01")


async def ended(scene: Scene) -> dict[str, Any]:
    for _ in range(40):
        await scene.clock.advance(30)
        found = await scene.call("GET", DEPLOYMENT)
        properties: dict[str, Any] = found.body["properties"]
        if properties["provisioningState"] in ("Succeeded", "Failed"):
            assert KEY not in str(found.body)
            return properties
    raise AssertionError("it goes on and on")


async def test_an_extension_is_put_on_an_existing_vm(scene: Scene) -> None:
    machine = scene.add()
    accepted = await deploy(scene, EXTENSION)
    assert (accepted.status, accepted.body["properties"]["provisioningState"]) == (201, "Accepted")
    assert (await scene.poll(accepted)).body["status"] == "Accepted"
    assert (await ended(scene))["provisioningState"] == "Succeeded"
    extension = machine.extensions["omsextension"]
    assert extension.protected_settings == {"workspaceKey": KEY}
    assert extension.properties["settings"] == {"workspaceId": WORKSPACE}
    assert (await scene.poll(accepted)).body == {"status": "Succeeded"}


async def test_resources_come_after_those_that_they_depend_on(scene: Scene) -> None:
    scene.arm.machines.add_group(GROUP.split("/")[2], "rg-fleet", "westeurope")
    nested = {**EXTENSION, "type": "extensions", "name": "OMSExtension"}
    nested["dependsOn"] = ["[concat('Microsoft.Compute/virtualMachines/', parameters('vmName'))]"]
    await deploy(scene, {**MACHINE, "resources": [nested]}, vmName="new-1")
    properties = await ended(scene)
    ids = [item["id"] for item in properties["outputResources"]]
    machine = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/new-1"
    assert ids == [machine, f"{machine}/extensions/OMSExtension"]
    names = [event["data"]["operationName"] for event in scene.events]
    assert names == ["Microsoft.Compute/virtualMachines/write", "Microsoft.Compute/virtualMachines/extensions/write"]


@pytest.mark.parametrize("dependency", ["[parameters('vmName')]", f"{GROUP}/providers/{{vm}}", "{vm}"])
async def test_a_dependency_may_be_written_in_three_ways(scene: Scene, dependency: str) -> None:
    scene.arm.machines.add_group(GROUP.split("/")[2], "rg-fleet", "westeurope")
    first = {**EXTENSION, "dependsOn": [dependency.format(vm="Microsoft.Compute/virtualMachines/new-1")]}
    assert (await deploy(scene, first, MACHINE, vmName="new-1")).status == 201
    assert len((await ended(scene))["outputResources"]) == 2


async def test_a_failed_deployment_has_the_error_of_its_resource(scene: Scene) -> None:
    scene.add(runs=(HandlerRun(exit_code=51),))
    await deploy(scene, EXTENSION)
    error = (await ended(scene))["error"]
    assert error["code"] == "DeploymentFailed"
    assert error["details"][0]["code"] == "VMExtensionHandlerNonTransientError"


async def test_a_refusal_ends_the_deployment(scene: Scene) -> None:
    scene.add(allow_extension_operations=False)
    await deploy(scene, EXTENSION)
    assert (await ended(scene))["error"]["details"][0]["code"] == "OperationNotAllowed"


def changed(**members: Any) -> dict[str, Any]:
    return {**EXTENSION, **members}


@pytest.mark.parametrize(
    ("resource", "says"),
    [
        (changed(dependsOn=["Microsoft.Compute/virtualMachines/web-1"]), "is not defined in the template"),
        (changed(name="[concat(parameters('nobody'), '/x')]"), "'nobody' is not found"),
        (changed(name="OMSExtension"), "incorrect segment lengths"),
        (changed(name="[guid('x')]"), "'guid' is not valid"),
        (changed(name="[concat('a'"), "is not closed"),
        (changed(name="[concat('a'))]"), "Unable to parse"),
        (changed(type="Microsoft.Web/sites", name="x"), "is not simulated"),
        (changed(apiVersion=""), "apiVersion"),
        (changed(location="[resourceGroup().nothing]"), "'nothing' doesn't exist"),
    ],
)
async def test_a_bad_template_is_refused_at_once(scene: Scene, resource: Any, says: str) -> None:
    scene.add()
    reply = await deploy(scene, resource)
    assert (reply.status, reply.code) == (400, "InvalidTemplate")
    assert says in reply.message
    assert not scene.events


@pytest.mark.parametrize("parameters", [{"workspaceKey": None}, {"stranger": "x"}])
async def test_parameters_are_checked(scene: Scene, parameters: dict[str, Any]) -> None:
    scene.add()
    body = template(EXTENSION, **parameters)
    if parameters == {"workspaceKey": None}:
        del body["properties"]["parameters"]["workspaceKey"]
    reply = await scene.call("PUT", DEPLOYMENT, body)
    assert (reply.status, reply.code) == (400, "InvalidTemplate")
    assert next(iter(parameters)) in reply.message


async def test_a_circular_dependency_is_found(scene: Scene) -> None:
    scene.add()
    resource = changed(dependsOn=["Microsoft.Compute/virtualMachines/web-1/extensions/OMSExtension"])
    assert "Circular" in (await deploy(scene, resource)).message


async def test_an_unknown_group_and_an_unknown_deployment_are_404(scene: Scene) -> None:
    scene.add()
    missing = await scene.call("PUT", DEPLOYMENT.replace("rg-fleet", "nowhere"), template(EXTENSION))
    assert missing.code == "ResourceGroupNotFound"
    assert (await scene.call("GET", DEPLOYMENT)).code == "DeploymentNotFound"


async def test_a_vm_answers_for_itself(scene: Scene) -> None:
    machine: Machine = scene.add()
    await deploy(scene, changed(location="northeurope"))
    assert (await ended(scene))["error"]["details"][0]["code"] == "InvalidResourceLocation"
    assert not machine.extensions
