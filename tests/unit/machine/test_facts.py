"""VM bodies as ARM returns them, in all their forms, and what is read from them."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.machine.machine_facts import (
    AgentState,
    ImageKind,
    InstalledExtension,
    OsType,
    Plan,
    PowerState,
    Status,
    read_facts,
    read_image,
    read_plan,
)
from onboarding.domain.resource_id import VmId
from tests.shared_samples import needs_samples, read_lines

GROUP = "/subscriptions/s/resourceGroups/extensions-rg"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/web01"
GALLERY_IMAGE = f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0"
OMS = "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux"


@needs_samples
@pytest.mark.parametrize("sample", read_lines("vm_models.jsonl"), ids=lambda sample: str(sample["case"]))
def test_recorded_bodies(sample: dict[str, Any]) -> None:
    facts, expected = read_facts(sample["body"]), sample["expect"]
    assert facts.os_type == expected["os_type"]
    assert facts.image.kind == expected["image_kind"]
    assert facts.power == expected["power"]
    assert facts.agent == expected["agent"]
    assert facts.extension_operations_allowed is expected["extension_ops_allowed"]
    assert facts.provision_vm_agent is expected["provision_vm_agent"]
    assert sorted(e.name for e in facts.extensions) == sorted(expected["extension_names"])
    assert sorted(facts.handlers) == sorted(expected["handlers_visible"])
    assert str(facts.id).lower() == sample["body"]["id"].lower()


def _body(**properties: Any) -> dict[str, Any]:
    return {"id": VM, "location": "westeurope", "properties": properties}


def _with_view(**view: Any) -> dict[str, Any]:
    return _body(instanceView=view)


@pytest.mark.parametrize(
    ("reference", "kind", "id_"),
    [
        ({"publisher": "canonical", "offer": "ubuntuserver", "sku": "16.04-LTS"}, ImageKind.MARKETPLACE, ""),
        ({"id": f"{GROUP}/providers/Microsoft.Compute/images/x"}, ImageKind.MANAGED_IMAGE, None),
        ({"id": "/subscriptions/s/resourceGroups/galleries/providers/x/images/x"}, ImageKind.MANAGED_IMAGE, None),
        ({"id": GALLERY_IMAGE, "exactVersion": "1.0.0"}, ImageKind.GALLERY, None),
        ({"id": GALLERY_IMAGE.upper()}, ImageKind.GALLERY, None),
        ({"id": GALLERY_IMAGE.removesuffix("/versions/1.0.0")}, ImageKind.GALLERY, None),
        (
            {"sharedGalleryImageId": "/SharedGalleries/0-G/Images/i/Versions/1.0.0", "exactVersion": "1.0.0"},
            ImageKind.SHARED_GALLERY,
            "/SharedGalleries/0-G/Images/i/Versions/1.0.0",
        ),
        ({"id": "/SharedGalleries/0-G/Images/i/Versions/1.0.0"}, ImageKind.SHARED_GALLERY, None),
        (
            {"communityGalleryImageId": "/CommunityGalleries/g/Images/i/Versions/latest", "exactVersion": "1.0.0"},
            ImageKind.COMMUNITY_GALLERY,
            "/CommunityGalleries/g/Images/i/Versions/latest",
        ),
        ({"id": "/CommunityGalleries/g/Images/i/Versions/1.0.0"}, ImageKind.COMMUNITY_GALLERY, None),
        ({}, ImageKind.NONE, ""),
        (None, ImageKind.NONE, ""),
        ("Canonical:UbuntuServer:16.04-LTS:latest", ImageKind.NONE, ""),
        ({"sku": "16.04-LTS", "id": None}, ImageKind.NONE, ""),
    ],
)
def test_every_form_of_an_image_reference(reference: Any, kind: ImageKind, id_: str | None) -> None:
    image = read_image(reference)
    assert image.kind is kind
    assert image.id == (reference["id"] if id_ is None else id_)


def test_the_exact_version_is_kept_next_to_the_requested_one() -> None:
    image = read_image({"publisher": "p", "offer": "o", "sku": "s", "version": "latest", "exactVersion": "16.4.2"})
    assert (image.version, image.exact_version) == ("latest", "16.4.2")


def test_an_attached_disk_has_neither_image_nor_profile() -> None:
    facts = read_facts(_body(storageProfile={"osDisk": {"osType": "Linux", "createOption": "Attach"}}))
    assert (facts.os_type, facts.image.kind) == (OsType.LINUX, ImageKind.NONE)
    assert facts.provision_vm_agent is None
    assert facts.extension_operations_allowed is None


@pytest.mark.parametrize(
    ("os_disk", "profile", "os_type"),
    [
        ({"osType": "Linux"}, {}, OsType.LINUX),
        ({"osType": "LINUX", "createOption": "fromImage"}, {}, OsType.LINUX),
        ({"osType": "windows"}, {"linuxConfiguration": {"a": 1}}, OsType.WINDOWS),
        ({}, {"linuxConfiguration": {"disablePasswordAuthentication": True}}, OsType.LINUX),
        ({}, {"windowsConfiguration": {"provisionVMAgent": True}}, OsType.WINDOWS),
        ({}, {}, OsType.UNKNOWN),
        ({"osType": "Plan 9"}, {"linuxConfiguration": {"a": 1}}, OsType.UNKNOWN),
        ("disk", None, OsType.UNKNOWN),
    ],
)
def test_the_os_type_is_the_disks_or_the_profiles(os_disk: Any, profile: Any, os_type: OsType) -> None:
    assert read_facts(_body(storageProfile={"osDisk": os_disk}, osProfile=profile)).os_type is os_type


@pytest.mark.parametrize(
    ("codes", "power"),
    [
        (["ProvisioningState/succeeded", "PowerState/running"], PowerState.RUNNING),
        (["PowerState/deallocated", "ProvisioningState/succeeded"], PowerState.DEALLOCATED),
        (["powerstate/Stopped"], PowerState.STOPPED),
        (["ProvisioningState/updating"], PowerState.UNKNOWN),
        (["PowerState/melting"], PowerState.UNKNOWN),
        (["PowerState/"], PowerState.UNKNOWN),
        ([], PowerState.UNKNOWN),
    ],
)
def test_the_power_state_is_found_by_its_prefix(codes: list[str], power: PowerState) -> None:
    assert read_facts(_with_view(statuses=[{"code": code} for code in codes])).power is power


READY = {"code": "ProvisioningState/succeeded", "displayStatus": "Ready"}
SILENT = {"code": "ProvisioningState/Unavailable", "level": "Warning", "displayStatus": "Not Ready"}


@pytest.mark.parametrize(
    ("body", "agent"),
    [
        (_body(), AgentState.NOT_EXPANDED),
        (_body(instanceView=None), AgentState.NOT_EXPANDED),
        (_with_view(), AgentState.ABSENT),
        (_with_view(vmAgent={}), AgentState.ABSENT),
        (_with_view(vmAgent={"vmAgentVersion": "Unknown", "statuses": [SILENT]}), AgentState.NOT_READY),
        (_with_view(vmAgent={"vmAgentVersion": "2.2"}), AgentState.NOT_READY),
        (_with_view(vmAgent={"statuses": [READY]}), AgentState.READY),
        (_with_view(vmAgent={"statuses": [{"displayStatus": "ready"}]}), AgentState.READY),
        (_with_view(vmAgent={"statuses": [{"code": "provisioningState/Succeeded"}]}), AgentState.READY),
    ],
)
def test_the_agents_state(body: dict[str, Any], agent: AgentState) -> None:
    assert read_facts(body).agent is agent


def test_what_the_guest_reports() -> None:
    statuses = [{"code": "ProvisioningState/succeeded/osProvisioningInProgress"}, {"code": "PowerState/running"}]
    facts = read_facts(_with_view(osName="ubuntu", osVersion="18.04", statuses=statuses))
    assert (facts.guest_os_name, facts.guest_os_version, facts.os_provisioning) == ("ubuntu", "18.04", True)


def _resource(name: str = "web01/OMSExtension", **properties: Any) -> dict[str, Any]:
    return {"id": f"{VM}/extensions/{name.rpartition('/')[2]}", "name": name, "properties": properties}


def test_an_extension_and_its_instance_view_are_one() -> None:
    status = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "x", "message": "done"}
    seen = {"name": "omsEXTENSION", "type": OMS, "typeHandlerVersion": "1.14.19", "statuses": [status]}
    own = _resource(
        publisher="Microsoft.EnterpriseCloud.Monitoring",
        type="OmsAgentForLinux",
        typeHandlerVersion="1.3",
        provisioningState="Succeeded",
        settings={"workspaceId": "w"},
    )
    facts = read_facts({**_with_view(extensions=[seen]), "resources": [own]})
    assert facts.extensions == (
        InstalledExtension(
            name="OMSExtension",
            publisher="Microsoft.EnterpriseCloud.Monitoring",
            type="OmsAgentForLinux",
            version="1.3",
            handler_version="1.14.19",
            provisioning_state="Succeeded",
            settings={"workspaceId": "w"},
            statuses=(Status("ProvisioningState/succeeded", "Info", "x", "done"),),
        ),
    )
    assert facts.find_extension("MICROSOFT.enterprisecloud.monitoring", "omsagentforlinux") == facts.extensions[0]
    assert facts.find_extension("Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent") is None


def test_an_extension_read_on_its_own_brings_its_view_along() -> None:
    view = {"type": OMS, "typeHandlerVersion": "1.14.19", "statuses": [{"code": "ProvisioningState/failed/10"}]}
    (found,) = read_facts({**_body(), "resources": [_resource(instanceView=view)]}).extensions
    assert (found.publisher, found.type) == ("Microsoft.EnterpriseCloud.Monitoring", "OmsAgentForLinux")
    assert found.handler_version == "1.14.19"
    assert found.statuses[0].code == "ProvisioningState/failed/10"


def test_what_the_agent_alone_knows_of_is_there_too() -> None:
    (found,) = read_facts(_with_view(extensions=[{"name": "OMSExtension", "type": OMS}, {"type": OMS}, {}])).extensions
    assert (found.name, found.type, found.provisioning_state) == ("OMSExtension", "OmsAgentForLinux", "")


def test_a_shrunk_view_tells_just_a_name() -> None:
    own = _resource(publisher="P", type="T", provisioningState="Succeeded")
    (found,) = read_facts({**_with_view(extensions=[{"name": "OMSExtension"}]), "resources": [own]}).extensions
    assert (found.publisher, found.type, found.handler_version, found.statuses) == ("P", "T", "", ())


def test_lists_give_extensions_by_id_alone() -> None:
    (found,) = read_facts({**_body(), "resources": [{"id": f"{VM}/extensions/CustomScript/"}]}).extensions
    assert found == InstalledExtension("CustomScript")


@pytest.mark.parametrize(
    ("resource", "counts"),
    [
        ({"name": "x", "type": "Microsoft.Compute/virtualMachines/extensions"}, True),
        ({"name": "x", "type": "extensions"}, True),
        ({"name": "x", "type": "Microsoft.Compute/VirtualMachines/Extensions"}, True),
        ({"name": "x", "type": "Microsoft.Compute/virtualMachines/runCommands"}, False),
        ({"name": "x", "id": f"{VM}/runCommands/x"}, False),  # the group's name has the word in it
        ({"name": "x"}, False),
        ("x", False),
    ],
)
def test_not_every_resource_is_an_extension(resource: Any, counts: bool) -> None:
    assert bool(read_facts({**_body(), "resources": [resource]}).extensions) is counts


def test_handlers_are_listed_once_whichever_source_names_them() -> None:
    agent = {"extensionHandlers": [{"type": OMS}, {"type": OMS.upper()}, {"typeHandlerVersion": "1"}]}
    facts = read_facts(_with_view(vmAgent=agent, extensions=[{"name": "a", "type": OMS}, {"name": "b", "type": "P.T"}]))
    assert facts.handlers == (OMS, "P.T")


def test_the_rest_of_a_body() -> None:
    body = {
        **_body(vmId="v", provisioningState="Creating", timeCreated="2026-11-20T10:00:00.1234567+00:00"),
        "tags": {"a": "b", "n": 5},
        "plan": {"name": "n", "publisher": "p", "product": "q"},
        "managedBy": "/m",
    }
    body["properties"]["virtualMachineScaleSet"] = {"id": "/set"}
    facts = read_facts(body)
    assert facts.id == VmId("s", "extensions-rg", "web01")
    assert (facts.vm_id, facts.location, facts.provisioning_state) == ("v", "westeurope", "Creating")
    assert facts.tags == {"a": "b", "n": ""}
    assert facts.plan == Plan("p", "q", "n")
    assert facts.time_created == datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)
    assert (facts.managed_by, facts.scale_set) == ("/m", "/set")
    assert facts.body is body


@pytest.mark.parametrize("time", [None, "", "yesterday", "2026-11-20T10:00:00", 5])
def test_a_time_without_a_zone_is_none(time: object) -> None:
    assert read_facts(_body(timeCreated=time)).time_created is None


@pytest.mark.parametrize("plan", [None, {}, [], "x"])
def test_no_plan(plan: object) -> None:
    assert read_plan(plan) is None


def test_an_extensions_id_is_not_a_vms() -> None:
    assert read_facts({"id": f"{VM}/extensions/x"}).id == VmId("", "", "")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_no_json_value_makes_reading_raise(value: object) -> None:
    read_facts(value)
    read_image(value)
    read_plan(value)


FULL: dict[str, Any] = {
    "id": VM,
    "location": "westeurope",
    "tags": {"a": "b"},
    "plan": {"name": "n"},
    "managedBy": "",
    "resources": [_resource(publisher="p", settings={}, instanceView={"statuses": [READY]})],
    "properties": {
        "vmId": "v",
        "timeCreated": "2026-11-20T10:00:00Z",
        "provisioningState": "Succeeded",
        "virtualMachineScaleSet": {"id": "x"},
        "storageProfile": {"imageReference": {"id": "x"}, "osDisk": {"osType": "Linux"}},
        "osProfile": {"allowExtensionOperations": True, "linuxConfiguration": {"provisionVMAgent": True}},
        "instanceView": {
            "osName": "ubuntu",
            "osVersion": "16.04",
            "statuses": [READY],
            "vmAgent": {"statuses": [READY], "extensionHandlers": [{"type": OMS}]},
            "extensions": [{"name": "OMSExtension", "type": OMS, "statuses": [READY]}],
        },
    },
}


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


@given(st.integers(min_value=0), json_values)
def test_no_part_of_an_odd_type_makes_reading_raise(which: int, value: object) -> None:
    body = copy.deepcopy(FULL)
    places = _places(body)
    container, key = places[which % len(places)]
    container[key] = value
    read_facts(body)
