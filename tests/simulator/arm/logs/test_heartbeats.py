"""The query API of Log Analytics with the SDK's own client: rows, refusals, throttling, faults."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import AzureError, HttpResponseError
from azure.monitor.query import LogsQueryPartialResult, LogsQueryResult
from azure.monitor.query.aio import LogsQueryClient

from simulator.arm import ExtensionSpec, Machine, Role, Workspace
from simulator.arm.http.faults import read_rule_file
from simulator.laptop import ROOT
from tests.simulator.conftest import OMS, WORKSPACE, Credential, MakeScene, Scene

GROUP = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg-monitor/providers"
RULE = f"{GROUP}/Microsoft.Insights/dataCollectionRules/dcr"
TARGET = f"{GROUP}/Microsoft.OperationalInsights/workspaces/log"
OLD = ExtensionSpec(name="OMS", version="1.3", settings={"workspaceId": WORKSPACE}, **OMS)
NEW = ExtensionSpec(name="AMA", publisher="Microsoft.Azure.Monitor", type="AzureMonitorLinuxAgent", version="1.36")
OURS = "9c2f7c1e-0000-4000-8000-0000000000aa"


def workspace(scene: Scene) -> Workspace:
    found = scene.arm.insights.workspaces.add(TARGET, WORKSPACE)
    scene.arm.insights.resources.add_rule(RULE, workspace=TARGET)
    return found


def add(scene: Scene, name: str, *extensions: ExtensionSpec) -> Machine:
    machine = scene.add(name, identity={"type": "SystemAssigned"}, extensions=extensions)
    scene.arm.associate_as_other_deployer(machine.id, "ours", RULE)
    return machine


def question(since: datetime, *machines: str) -> str:
    named = ", ".join(f'"{each}"' for each in machines)
    return (
        f"Heartbeat\n| where TimeGenerated > datetime({since:%Y-%m-%dT%H:%M:%S.%fZ})\n"
        + (f"| where _ResourceId in~ ({named})\n" if machines else "")
        + "| summarize TimeGenerated = max(TimeGenerated) by Machine = tolower(_ResourceId), Category"
    )


async def ask(
    scene: Scene, text: str, guid: str = WORKSPACE, audience: str = "https://api.loganalytics.io", **options: Any
) -> LogsQueryResult | LogsQueryPartialResult:
    client = LogsQueryClient(
        Credential(scene.arm),
        endpoint=scene.endpoints.logs,
        audience=audience,
        connection_verify=str(scene.endpoints.ca_file),
        retry_total=0,
    )
    async with client:
        return await client.query_workspace(guid, text, timespan=options.pop("timespan", None))


async def rows(scene: Scene, text: str) -> dict[tuple[str, str], datetime]:
    result = await ask(scene, text)
    assert isinstance(result, LogsQueryResult)
    return {(row["Machine"], row["Category"]): row["TimeGenerated"] for row in result.tables[0].rows}


async def refusal(scene: Scene, text: str, **options: Any) -> tuple[int | None, str]:
    with pytest.raises(HttpResponseError) as caught:
        await ask(scene, text, **options)
    response: Any = caught.value.response
    return caught.value.status_code, str(response.json()["error"]["code"])


async def test_each_agent_has_a_row_a_minute_that_is_seen_some_minutes_later(scene: Scene) -> None:
    workspace(scene)
    began = scene.clock.now()
    both, old, bare = add(scene, "web-1", OLD, NEW), add(scene, "web-2", OLD), add(scene, "web-3")
    text = question(began - timedelta(hours=1))
    assert await rows(scene, text) == {}
    await scene.clock.advance(119)
    assert await rows(scene, text) == {}
    await scene.clock.advance(150)  # 269 s: the rows up to 149 s are seen
    found = await rows(scene, text)
    assert set(found) == {(both.key, "Azure Monitor Agent"), (both.key, "Direct Agent"), (old.key, "Direct Agent")}
    assert set(found.values()) == {began + timedelta(seconds=120)}
    assert set(await rows(scene, question(began, both.id.upper(), bare.id))) == {
        (both.key, "Azure Monitor Agent"),
        (both.key, "Direct Agent"),
    }
    assert await rows(scene, question(began + timedelta(seconds=120))) == {}


async def test_the_rows_end_with_the_agent_and_stay_after_the_machine(scene: Scene) -> None:
    workspace(scene)
    began = scene.clock.now()
    machine = add(scene, "web-1", OLD)
    await scene.clock.advance(300)
    scene.arm.block_network(machine.id)
    await scene.clock.advance(6_000)
    scene.arm.delete_vm(machine.id)
    await scene.clock.advance(600)
    found = await rows(scene, question(began))
    assert found == {(machine.key, "Direct Agent"): began + timedelta(seconds=300)}


async def test_rows_go_to_the_workspace_of_the_rule_or_of_the_settings_alone(scene: Scene) -> None:
    workspace(scene)
    other = scene.arm.insights.workspaces.add(f"{TARGET}-2")
    machine = add(scene, "web-1", OLD)
    scene.arm.insights.resources.add_rule(f"{RULE}-2", workspace=other.id)
    scene.arm.associate_as_other_deployer(add(scene, "web-2", NEW).id, "second", f"{RULE}-2")
    await scene.clock.advance(300)
    since = scene.clock.now() - timedelta(hours=1)
    assert {key[0] for key in await rows(scene, question(since))} == {machine.key, f"{machine.key[:-1]}2"}
    result = await ask(scene, question(since), guid=other.guid)
    assert isinstance(result, LogsQueryResult)
    assert [row["Machine"] for row in result.tables[0].rows] == [f"{machine.key[:-1]}2"]


@pytest.mark.parametrize(
    "text",
    [
        "Heartbeat",
        "Heartbeat | take 5",
        question(datetime(2026, 1, 1)).replace("Category", "Computer"),  # noqa: DTZ001
        question(datetime(2026, 1, 1)) + "\n| take 1",  # noqa: DTZ001
        question(datetime(2026, 1, 1)).replace("Heartbeat", "Syslog"),  # noqa: DTZ001
        question(datetime(2026, 1, 1), 'a"b'),  # noqa: DTZ001
        "",
    ],
)
async def test_any_other_query_is_refused_as_malformed(scene: Scene, text: str) -> None:
    workspace(scene)
    assert await refusal(scene, text) == (400, "BadArgumentError")


async def test_a_timespan_is_not_simulated_and_not_ignored(scene: Scene) -> None:
    workspace(scene)
    text = question(scene.clock.now())
    assert await refusal(scene, text, timespan=timedelta(hours=1)) == (400, "BadArgumentError")


async def test_unknown_workspaces_and_tokens_for_other_services_are_refused(scene: Scene) -> None:
    workspace(scene)
    text = question(scene.clock.now())
    for guid in ("22222222-2222-4333-8444-555555555555", "log"):
        assert await refusal(scene, text, guid=guid) == (404, "PathNotFoundError")
    audience = "https://management.azure.com"
    assert await refusal(scene, text, audience=audience) == (403, "InvalidAuthenticationToken")
    url = f"{scene.endpoints.logs}/v1/workspaces/{WORKSPACE}/query"
    async with scene.session.post(url, json={"query": text}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (401, "AuthenticationFailed")


async def test_a_role_needs_the_query_and_the_table(scene: Scene) -> None:
    workspace(scene)
    text = question(scene.clock.now())
    of_workspaces = "Microsoft.OperationalInsights/workspaces"
    scene.arm.scopes.assign(OURS, TARGET, Role((f"{of_workspaces}/read",)))
    assert await refusal(scene, text) == (403, "InsufficientAccessError")
    scene.arm.scopes.assign(OURS, TARGET, Role((f"{of_workspaces}/query/read",)))
    assert await refusal(scene, text) == (400, "BadArgumentError")
    scene.arm.scopes.assign(OURS, TARGET, Role((f"{of_workspaces}/query/Heartbeat/read",)))
    assert await rows(scene, text) == {}
    assert scene.arm.scopes.needed.of(OURS) == {
        f"{of_workspaces}/query/read",
        f"{of_workspaces}/query/Heartbeat/read",
    }


async def test_more_than_two_hundred_queries_in_half_a_minute_are_too_many(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene()
    workspace(scene)
    text = question(scene.clock.now())
    for _ in range(200):
        assert await rows(scene, text) == {}
    with pytest.raises(HttpResponseError) as caught:
        await ask(scene, text)
    response: Any = caught.value.response
    assert (response.status_code, response.headers["Retry-After"]) == (429, "30")
    await scene.clock.advance(30)
    assert await rows(scene, text) == {}
    assert scene.arm.requests.count(kind="logs-query", principal=OURS) == 202


async def test_the_sample_faults_are_what_the_client_sees(scene: Scene) -> None:
    workspace(scene)
    found = []
    for rule in read_rule_file(ROOT / "samples" / "faults" / "heartbeats.yaml"):
        scene.arm.faults.clear()
        scene.arm.faults.add(rule)
        try:
            result = await ask(scene, question(scene.clock.now()))
        except (AzureError, ValueError) as error:
            status = getattr(error, "status_code", None)
            found.append(str(status) if status and status >= 400 else "unreadable")
        else:
            assert isinstance(result, LogsQueryPartialResult)
            found.append(str(result.partial_error and result.partial_error.code))
    assert found == [
        *("429", "403", "404", "PartialError", "504"),
        *("unreadable", "unreadable", "unreadable"),  # the client reads even a proxy's page as JSON
    ]
