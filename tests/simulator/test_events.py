"""Events: raised when an operation has ended, in Azure's form."""

from __future__ import annotations

import re

import pytest

from simulator.arm import PERSON, Guest, HandlerRun, Power, VmSpec
from simulator.eventgrid.faults import Faults, Oracle
from tests.simulator.conftest import Scene

COMPUTE = "Microsoft.Compute/virtualMachines"
ENVELOPE = {"subject", "eventType", "eventTime", "id", "data", "dataVersion", "metadataVersion", "topic"}
DATA = {
    *("authorization", "claims", "correlationId", "resourceProvider", "resourceUri", "operationName", "status"),
    *("subscriptionId", "tenantId"),
}


async def test_creating_a_vm_raises_one_write_event_when_it_is_done_and_not_before(scene: Scene) -> None:
    machine = scene.arm.create_vm(VmSpec(name="web-1", group="Rg-Web"))
    await scene.clock.advance(10)
    assert scene.events == []
    await scene.clock.advance(200)
    (event,) = scene.events
    assert set(event) == ENVELOPE
    assert set(event["data"]) == DATA
    assert event["eventType"] == "Microsoft.Resources.ResourceWriteSuccess"
    assert event["subject"].lower() == machine.id.lower()
    assert event["data"]["resourceUri"] == event["subject"]
    assert event["data"]["operationName"] == f"{COMPUTE}/write"
    assert event["data"]["status"] == "Succeeded"
    assert event["topic"] == f"/subscriptions/{machine.subscription}"
    assert (event["dataVersion"], event["metadataVersion"]) == ("2", "1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", event["eventTime"])


async def test_an_update_carries_the_http_request_and_a_creation_does_not(scene: Scene) -> None:
    machine = scene.add()
    await scene.put_oms(machine)
    await scene.clock.advance(1_000)
    await scene.put_oms(machine)
    await scene.clock.advance(1_000)
    created, updated = (event["data"] for event in scene.events)
    assert "httpRequest" not in created
    request = updated["httpRequest"]
    assert (request["method"], set(request)) == ("PUT", {"clientRequestId", "clientIpAddress", "method", "url"})
    assert created["operationName"] == f"{COMPUTE}/extensions/write"


async def test_a_failed_install_raises_a_failure_event_without_a_reason(scene: Scene) -> None:
    machine = scene.add(runs=(HandlerRun(exit_code=51),))
    await scene.put_oms(machine)
    await scene.clock.advance(1_000)
    (event,) = scene.events
    assert (event["eventType"], event["data"]["status"]) == ("Microsoft.Resources.ResourceWriteFailure", "Failed")
    assert "51" not in event["data"]["status"]
    assert "error" not in event["data"]


async def test_actions_have_their_verb_only_in_the_subject(scene: Scene) -> None:
    machine = scene.add(power=Power.STOPPED)
    scene.arm.start_vm(machine.id)
    await scene.clock.advance(300)
    scene.arm.power_off_vm(machine.id)
    await scene.clock.advance(300)
    start, stop = scene.events
    assert start["eventType"] == "Microsoft.Resources.ResourceActionSuccess"
    assert start["subject"] == start["data"]["resourceUri"] + "/start"
    assert stop["data"]["operationName"] == f"{COMPUTE}/powerOff/action"


async def test_deletes_raise_delete_events(scene: Scene) -> None:
    machine = scene.add()
    await scene.put_oms(machine)
    await scene.clock.advance(1_000)
    await scene.call("DELETE", f"{machine.id}/extensions/OMSExtension")
    await scene.clock.advance(200)
    scene.arm.delete_vm(machine.id)
    await scene.clock.advance(300)
    operations = [(e["eventType"].rpartition(".")[2], e["data"]["operationName"]) for e in scene.events[1:]]
    assert operations == [
        ("ResourceDeleteSuccess", f"{COMPUTE}/extensions/delete"),
        ("ResourceDeleteSuccess", f"{COMPUTE}/delete"),
    ]


async def test_ids_are_unique_and_the_group_is_spelled_in_more_than_one_way(scene: Scene) -> None:
    for number in range(30):
        scene.arm.create_vm(VmSpec(name=f"web-{number}", group="Rg-Web", guest=Guest()))
    await scene.clock.advance(300)
    assert len({event["id"] for event in scene.events}) == 30
    assert len({event["data"]["correlationId"] for event in scene.events}) == 30
    assert {event["subject"].split("/")[4] for event in scene.events} == {"Rg-Web", "RG-WEB", "rg-web"}


async def test_claims_of_people_have_the_values_that_must_never_leak(scene: Scene) -> None:
    scene.arm.create_vm(VmSpec(name="web-1"))
    await scene.clock.advance(300)
    assert PERSON.items() <= scene.events[0]["data"]["claims"].items()


async def test_a_stopped_simulator_raises_nothing_more(scene: Scene) -> None:
    scene.arm.create_vm(VmSpec(name="web-1"))
    await scene.arm.stop()
    await scene.clock.advance(300)
    assert scene.events == []


def test_all_events_of_an_operation_can_be_lost() -> None:
    oracle = Oracle(Faults(unheard=("Microsoft.Insights/*",)), seed=1)
    association, vm, strange = (
        {"eventType": "x", "subject": "/s", "data": {"operationName": name}}
        for name in (
            "microsoft.insights/DataCollectionRuleAssociations/delete",
            "Microsoft.Compute/virtualMachines/write",
            "",
        )
    )
    assert {oracle.fate("all", association).delays for _ in range(20)} == {()}
    assert [len(oracle.fate("all", event).delays) for event in (vm, strange, {"subject": "/s"})] == [1, 1, 1]
    with pytest.raises(ValueError, match="unheard: not a fault"):
        Faults.parse({"unheard": 1})
