"""The Resource Graph adapter: the real SDK over TLS, against queries that the simulator evaluates."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from onboarding.azure.arm.arm_requests import ArmRequests
from onboarding.azure.arm.resource_graph import GraphAdapter
from onboarding.azure.http_connections import Connections
from onboarding.domain.errors import ArmError
from onboarding.domain.machine.machine_facts import read_facts
from simulator.arm import ArmSimulator, ExtensionSpec, FaultRule, Kind, Options, VmSpec
from simulator.arm.events import Caller
from simulator.clock import ManualClock
from tests.adapters.conftest import SCOPE, SUBSCRIPTIONS, Credential

FIRST, SECOND = SUBSCRIPTIONS
OMS = ExtensionSpec(name="OMSExtension", publisher="Microsoft.EnterpriseCloud.Monitoring", type="OmsAgentForLinux")


@dataclass
class Graph:
    arm: ArmSimulator
    clock: ManualClock
    adapter: GraphAdapter
    slept: list[float]

    async def read(self, *subscriptions: str) -> list[Any]:
        return [body async for body in self.adapter.machines(subscriptions or SUBSCRIPTIONS)]

    @property
    def queries(self) -> int:
        return sum(request.kind is Kind.GRAPH_QUERY for request in self.arm.requests)


type MakeGraph = Callable[..., Any]


@pytest.fixture
async def make_graph() -> AsyncIterator[MakeGraph]:
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> Graph:
            return await stack.enter_async_context(_graph(Options(subscriptions=SUBSCRIPTIONS, **options)))

        yield make


@pytest.fixture
async def graph() -> AsyncIterator[Graph]:
    async with _graph(Options(subscriptions=SUBSCRIPTIONS)) as graph:
        yield graph


@asynccontextmanager
async def _graph(options: Options) -> AsyncIterator[Graph]:
    clock = ManualClock()
    arm = ArmSimulator(clock, options=options)
    endpoints = await arm.start()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await clock.advance(seconds)

    tls = ssl.create_default_context(cafile=str(endpoints.ca_file))
    requests = ArmRequests(Credential(arm), endpoints.arm, SCOPE, clock.now, connections=Connections(tls))
    yield Graph(arm, clock, GraphAdapter(requests, sleep=sleep), slept)
    await requests.close()
    await arm.stop()


async def test_each_vm_comes_once_with_its_extensions(graph: Graph) -> None:
    other = ExtensionSpec(name="custom", publisher="Microsoft.Azure.Extensions", type="CustomScript", version="2.1")
    graph.arm.add_vm(VmSpec(name="both", extensions=(OMS, other), tags={"team": "a"}))
    graph.arm.add_vm(VmSpec(name="none", subscription=SECOND))

    both, none = (read_facts(body) for body in await graph.read())

    assert (both.id.name, none.id.name) == ("both", "none")
    assert [(e.name, e.type, e.provisioning_state) for e in both.extensions] == [
        ("OMSExtension", "OmsAgentForLinux", "Succeeded"),
        ("custom", "CustomScript", "Succeeded"),
    ]
    assert (both.tags, none.extensions) == ({"team": "a"}, ())


async def test_the_body_has_the_properties_of_a_get(graph: Graph) -> None:
    """Policy rules may ask for any alias, so no property may be missing or have another name."""
    machine = graph.arm.add_vm(
        VmSpec(name="web", extensions=(OMS,), plan={"publisher": "p", "product": "o", "name": "n"})
    )
    (body,) = await graph.read()
    facts = read_facts(body)
    assert (facts.vm_id, facts.location, facts.image.offer) == (machine.vm_id, "westeurope", "UbuntuServer")
    assert facts.plan is not None
    assert facts.time_created == machine.created
    assert body["properties"]["hardwareProfile"] == {"vmSize": "Standard_D2s_v3"}


async def test_a_thousand_a_page(graph: Graph) -> None:
    for number in range(2500):
        graph.arm.add_vm(VmSpec(name=f"vm-{number:04}"))

    bodies = await graph.read()

    assert len({body["id"] for body in bodies}) == len(bodies) == 2500
    assert graph.queries == 3


async def test_a_thousand_associations_a_page(graph: Graph) -> None:
    rule = f"/subscriptions/{FIRST}/resourceGroups/m/providers/Microsoft.Insights/dataCollectionRules/linux"
    graph.arm.insights.resources.add_rule(rule)
    machines = [graph.arm.add_vm(VmSpec(name=f"vm-{number:04}")) for number in range(1100)]
    for machine in machines:
        graph.arm.insights.associations.put(
            machine, "ours", {"properties": {"dataCollectionRuleId": rule}}, Caller("somebody")
        )

    found = [each async for each in graph.adapter.associations(SUBSCRIPTIONS)]

    assert {each.machine for each in found} == {machine.id.lower() for machine in machines}
    assert (len(found), graph.queries) == (1100, 2)


async def test_only_the_named_subscriptions_are_read(graph: Graph) -> None:
    graph.arm.add_vm(VmSpec(name="first"))
    graph.arm.add_vm(VmSpec(name="second", subscription=SECOND))
    assert [body["name"] for body in await graph.read(SECOND.upper())] == ["second"]


async def test_the_index_lags(make_graph: MakeGraph) -> None:
    graph = await make_graph(index_lag=120.0)
    await graph.read()
    graph.arm.add_vm(VmSpec(name="young"))
    assert await graph.read() == []
    await graph.clock.advance(120)
    assert len(await graph.read()) == 1


async def test_an_exhausted_quota_is_waited_for(graph: Graph) -> None:
    for _ in range(31):
        await graph.read()
    assert graph.slept == [5.0, 5.0]
    assert {request.status for request in graph.arm.requests} == {200}


async def test_a_throttled_request_is_sent_again_after_the_wait(graph: Graph) -> None:
    graph.arm.add_vm(VmSpec(name="web"))
    graph.arm.faults.add(FaultRule(kind=Kind.GRAPH_QUERY, status=429, headers={"Retry-After": "3"}, nth=(1,)))
    assert len(await graph.read()) == 1
    assert graph.slept == [3.0]


async def test_a_long_wait_is_left_to_the_next_sweep(graph: Graph) -> None:
    graph.arm.faults.add(FaultRule(kind=Kind.GRAPH_QUERY, status=429, headers={"Retry-After": "60"}, nth=(1,)))
    for _ in range(2):
        with pytest.raises(ArmError) as error:
            await graph.read()
        assert error.value.evidence.http_status == 429
    assert (graph.slept, graph.queries) == ([], 1)
    await graph.clock.advance(61)
    assert await graph.read() == []


async def test_the_subscriptions_of_a_group_at_any_depth(make_graph: MakeGraph) -> None:
    graph = await make_graph(management_groups={FIRST: ("Team-1", "Corp"), SECOND: ("Corp",)})
    members = await graph.adapter.members(["corp", "team-1", "nobody"])
    assert members == {"corp": {FIRST, SECOND}, "team-1": {FIRST}}


async def test_subscriptions_that_the_identity_may_not_read_are_left_out(graph: Graph) -> None:
    for name in ("a", "b"):
        graph.arm.add_vm(VmSpec(name="web", group=f"rg-{name}"))
    principal = graph.arm.options.principal_id
    graph.arm.scopes.grant(
        principal, f"/subscriptions/{FIRST}/resourceGroups/rg-b", "Microsoft.Compute/virtualMachines/read"
    )
    assert ["rg-b" in body["id"] for body in await graph.read()] == [True]


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (403, {"error": {"code": "AuthorizationFailed"}}, "AuthorizationFailed"),
        (500, {"error": {"code": "InternalServerError"}}, "InternalServerError"),
        (502, "<html>bad gateway</html>", ""),
        (200, "{}", "DecodeError"),
        (200, '{"data": [5]}', "DecodeError"),
        (200, "no JSON", "DecodeError"),
    ],
)
async def test_every_failure_is_an_arm_error(graph: Graph, status: int, body: object, code: str) -> None:
    fault = FaultRule(kind=Kind.GRAPH_QUERY, status=status, body=body, headers={"Content-Type": "application/json"})
    graph.arm.faults.add(fault)
    with pytest.raises(ArmError) as error:
        await graph.read()
    assert error.value.evidence.code == code


async def test_an_unknown_subscription_is_an_arm_error(graph: Graph) -> None:
    with pytest.raises(ArmError) as error:
        await graph.read("99990000-0000-0000-0000-000000000000")
    assert "NoValidSubscriptionsInQueryRequest" in error.value.evidence.codes


async def test_waiting_is_bounded(graph: Graph) -> None:
    graph.arm.faults.add(FaultRule(kind=Kind.GRAPH_QUERY, status=429, headers={"Retry-After": "1"}))
    with pytest.raises(ArmError):
        await graph.read()
    assert timedelta(seconds=sum(graph.slept)) <= timedelta(seconds=6)
