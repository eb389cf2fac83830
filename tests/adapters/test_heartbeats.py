"""The adapter of Log Analytics: the real SDK over TLS, against a workspace whose heartbeats the simulator knows."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.azure.arm.arm_requests import ArmRequests
from onboarding.azure.heartbeats import HeartbeatAdapter, query
from onboarding.azure.http_connections import USER_AGENT, Connections
from onboarding.concurrency import deadline
from onboarding.domain.errors import HeartbeatError
from onboarding.domain.failures.evidence import TOKEN_UNAVAILABLE, Evidence
from onboarding.settings import CLOUDS, read_settings
from simulator.arm import Cut, ExtensionSpec, FaultRule, Role, VmSpec
from simulator.arm.http.faults import read_rule_file
from simulator.arm.logs.question import read_question
from simulator.laptop import ROOT, forget_settings
from tests.adapters.conftest import SUBSCRIPTIONS, Azure
from tests.roles import HEARTBEATS

GROUP = f"/subscriptions/{SUBSCRIPTIONS[0]}/resourceGroups/rg-monitor/providers"
RULE = f"{GROUP}/Microsoft.Insights/dataCollectionRules/dcr"
TARGET = f"{GROUP}/Microsoft.OperationalInsights/workspaces/log"
WORKSPACE = "11111111-2222-4333-8444-555555555555"
OLD = ExtensionSpec(
    name="OMS",
    publisher="Microsoft.EnterpriseCloud.Monitoring",
    type="OmsAgentForLinux",
    version="1.3",
    settings={"workspaceId": WORKSPACE},
)
NEW = ExtensionSpec(name="AMA", publisher="Microsoft.Azure.Monitor", type="AzureMonitorLinuxAgent", version="1.36")
SCOPE = CLOUDS["AzurePublicCloud"].logs_scope


@dataclass
class Logs:
    azure: Azure
    adapter: HeartbeatAdapter
    since: datetime

    def add(self, name: str, *extensions: ExtensionSpec) -> str:
        """A VM whose agents send to the workspace; returns its id."""
        identity = {"type": "SystemAssigned"}
        vm = self.azure.arm.add_vm(VmSpec(name=name, identity=identity, extensions=extensions)).id
        self.azure.arm.associate_as_other_deployer(vm, "ours", RULE)
        return vm

    async def refusal(self) -> Evidence:
        with pytest.raises(HeartbeatError) as raised:
            await self.adapter.newest(WORKSPACE, since=self.since)
        return raised.value.evidence

    @property
    def queries(self) -> int:
        return self.azure.arm.requests.count(kind="logs-query")


@pytest.fixture
async def logs(azure: Azure) -> AsyncIterator[Logs]:
    azure.arm.insights.workspaces.add(TARGET, WORKSPACE)
    azure.arm.insights.resources.add_rule(RULE, workspace=TARGET)
    connections = Connections(azure.tls)
    requests = ArmRequests(azure.credential, azure.endpoints.logs, SCOPE, azure.clock.now, connections=connections)
    yield Logs(azure, HeartbeatAdapter(requests), azure.clock.now() - timedelta(hours=1))
    await requests.close()


async def test_one_query_tells_the_newest_heartbeat_of_every_machine_by_agent(logs: Logs) -> None:
    began = logs.azure.clock.now()
    both, old, _ = logs.add("Web-1", OLD, NEW), logs.add("web-2", OLD), logs.add("web-3")
    await logs.azure.clock.advance(250)
    sent = began + timedelta(seconds=120)
    assert await logs.adapter.newest(WORKSPACE.upper(), since=logs.since) == {
        both.lower(): {"Azure Monitor Agent": sent, "Direct Agent": sent},
        old.lower(): {"Direct Agent": sent},
    }
    assert logs.queries == 1


async def test_one_query_tells_the_heartbeats_of_chosen_machines_alone(logs: Logs) -> None:
    first, second, _ = (logs.add(f"web-{number}", NEW) for number in range(3))
    await logs.azure.clock.advance(250)
    found = await logs.adapter.newest(WORKSPACE, [first.upper(), second], since=logs.since)
    assert set(found) == {first.lower(), second.lower()}
    assert await logs.adapter.newest(WORKSPACE, [f"{first}-none"], since=logs.since) == {}
    assert await logs.adapter.newest(WORKSPACE, [first], since=logs.azure.clock.now()) == {}
    assert logs.queries == 3


async def test_a_time_is_in_utc_whatever_zone_asks(logs: Logs) -> None:
    vm = logs.add("web-1", NEW)
    await logs.azure.clock.advance(250)
    india = timezone(timedelta(hours=5, minutes=30))
    found = await logs.adapter.newest(WORKSPACE, [vm], since=logs.since.astimezone(india))
    assert found[vm.lower()]["Azure Monitor Agent"].tzinfo is UTC


async def test_the_request_has_our_agent_and_an_id_and_a_token_for_log_analytics(logs: Logs) -> None:
    await logs.adapter.newest(WORKSPACE, since=logs.since)
    (request,) = logs.azure.arm.requests.select(kind="logs-query")
    assert (request.user_agent, request.status) == (USER_AGENT, 200)
    assert request.client_request_id
    assert logs.azure.arm.tokens.accepts(logs.azure.credential.tokens[0], "https://api.loganalytics.io")


FAULTS = list(read_rule_file(ROOT / "samples" / "faults" / "heartbeats.yaml"))


@pytest.mark.parametrize(
    ("rule", "status", "code"),
    [
        (FAULTS[0], 429, "ThrottledError"),
        (FAULTS[1], 403, "InsufficientAccessError"),
        (FAULTS[2], 404, "PathNotFoundError"),
        (FAULTS[3], 200, "PartialError"),
        (FAULTS[4], 504, "GatewayTimeout"),
        (FAULTS[5], 502, ""),
        (FAULTS[6], None, "ServiceRequestError"),
        (FAULTS[7], None, "HttpResponseError"),
        (FaultRule(kind="logs-query", status=200, body="[]"), None, "DecodeError"),
        (FaultRule(kind="logs-query", status=200, body={}), None, "DecodeError"),
        (FaultRule(kind="logs-query", status=200, body={"tables": []}), None, "DecodeError"),
        (
            FaultRule(kind="logs-query", status=200, body={"tables": [{"columns": [], "rows": [[]]}]}),
            None,
            "DecodeError",
        ),
        (FaultRule(kind="logs-query", status=500, body=""), 500, ""),
    ],
)
async def test_every_failure_is_an_error_and_never_an_answer_without_heartbeats(
    logs: Logs, rule: FaultRule, status: int | None, code: str
) -> None:
    logs.add("web-1", NEW)
    await logs.azure.clock.advance(250)
    logs.azure.arm.faults.add(rule)
    evidence = await logs.refusal()
    assert (evidence.http_status, evidence.code) == (status, code)


async def test_a_row_with_a_broken_time_is_an_error(logs: Logs) -> None:
    columns = [{"name": name, "type": "string"} for name in ("Machine", "Category")]
    time = {"name": "TimeGenerated", "type": "datetime"}
    table = {"name": "PrimaryResult", "columns": [*columns, time], "rows": [["/vm", "Direct Agent", "yesterday"]]}
    logs.azure.arm.faults.add(FaultRule(kind="logs-query", status=200, body={"tables": [table]}))
    assert (await logs.refusal()).code == "DecodeError"


async def test_a_computer_outside_of_azure_is_left_out(logs: Logs) -> None:
    columns = [{"name": name, "type": "string"} for name in ("Machine", "Category")]
    time = {"name": "TimeGenerated", "type": "datetime"}
    rows = [["", "Direct Agent", "2026-11-20T10:00:00Z"], ["/VM", "Direct Agent", "2026-11-20T10:00:00.1234567Z"]]
    table = {"name": "PrimaryResult", "columns": [*columns, time], "rows": rows}
    logs.azure.arm.faults.add(FaultRule(kind="logs-query", status=200, body={"tables": [table]}))
    found = await logs.adapter.newest(WORKSPACE, since=logs.since)
    assert found == {"/vm": {"Direct Agent": datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)}}


async def test_the_role_of_the_deployment_is_enough(logs: Logs) -> None:
    ours, needed = logs.azure.arm.options.principal_id, logs.azure.arm.scopes.needed
    logs.azure.arm.scopes.assign(ours, TARGET, HEARTBEATS)
    assert await logs.adapter.newest(WORKSPACE, since=logs.since) == {}
    assert needed.of(ours)
    assert needed.missing([HEARTBEATS], ours) == set()


async def test_a_role_that_may_not_read_the_table_is_refused(logs: Logs) -> None:
    ours, of_workspaces = logs.azure.arm.options.principal_id, "Microsoft.OperationalInsights/workspaces"
    logs.azure.arm.scopes.assign(ours, TARGET, Role((f"{of_workspaces}/query/read",)))
    evidence = await logs.refusal()
    assert (evidence.http_status, evidence.code) == (400, "BadArgumentError")
    assert evidence.inner_code == "SemanticError"


async def test_after_too_many_requests_none_is_sent_until_the_time_that_the_service_named(logs: Logs) -> None:
    logs.azure.arm.faults.add(FAULTS[0])
    assert (await logs.refusal()).http_status == 429
    await logs.azure.clock.advance(8)
    held = await logs.refusal()
    assert (held.http_status, held.headers["retry-after"]) == (429, "1.000")
    assert logs.queries == 1
    await logs.azure.clock.advance(1)
    assert await logs.adapter.newest(WORKSPACE, since=logs.since) == {}


async def test_without_a_token_nothing_is_sent(logs: Logs) -> None:
    logs.azure.credential.failure = OSError("the endpoint timed out")
    assert (await logs.refusal()).code == TOKEN_UNAVAILABLE
    assert logs.queries == 0


async def test_a_query_ends_with_the_deadline_of_its_event(logs: Logs) -> None:
    logs.azure.arm.faults.add(FaultRule(kind="logs-query", delay=1_000, cut=Cut.RESET))
    with deadline(0.5):
        evidence = await logs.refusal()
    assert "Timeout" in evidence.code
    await logs.azure.clock.advance(1_001)
    logs.azure.arm.faults.clear()
    elapsed = 0.0
    with deadline(10, lambda: elapsed):
        elapsed = 9.9  # what is left is reserved for storage
        assert "Timeout" in (await logs.refusal()).code
    assert logs.queries == 1


@given(
    machines=st.lists(st.text(min_size=1), max_size=4),
    since=st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_the_query_keeps_every_id_and_the_time_whatever_characters_they_have(
    machines: list[str], since: datetime
) -> None:
    question_read = read_question(query(machines, since))
    assert question_read.since == since
    assert question_read.machines == (frozenset(each.lower() for each in machines) if machines else None)


@pytest.mark.parametrize(
    ("cloud", "endpoint"),
    [
        ("AzurePublicCloud", "https://api.loganalytics.io"),
        ("AzureUSGovernment", "https://api.loganalytics.us"),
        ("AzureChinaCloud", "https://api.loganalytics.azure.cn"),
    ],
)
def test_each_cloud_has_its_endpoint_and_its_scope(cloud: str, endpoint: str) -> None:
    storage = {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "AZURE_CLOUD": cloud}
    settings = read_settings(storage)
    assert (settings.logs_endpoint, settings.cloud.logs_scope) == (endpoint, f"{endpoint}/.default")
    elsewhere = read_settings({**storage, "LOG_ANALYTICS_ENDPOINT": "https://localhost:8443/"})
    assert (elsewhere.logs_endpoint, elsewhere.cloud.logs_scope) == ("https://localhost:8443", f"{endpoint}/.default")


LOADED = """
import json, os, sys
from onboarding.app import Worker

Worker(os.environ).application
print(json.dumps([name for name in sys.modules if name.startswith(("azure.monitor", "onboarding.azure.heartbeats"))]))
"""


def test_the_package_is_not_loaded_before_the_first_question() -> None:
    own = dict(os.environ)
    forget_settings(own)
    own["AzureWebJobsStorage"] = "UseDevelopmentStorage=true"
    done = subprocess.run([sys.executable, "-c", LOADED], env=own, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == ["onboarding.azure.heartbeats"]


PROGRAM = """
import asyncio, os
from datetime import UTC, datetime
from onboarding.app import open_ports, read_configuration

async def main():
    async with open_ports(read_configuration(os.environ)) as ports:
        found = await ports.heartbeats.newest(os.environ["WORKSPACE"], since=datetime(2020, 1, 1, tzinfo=UTC))
        print({machine: list(agents) for machine, agents in found.items()})

asyncio.run(main())
"""


async def test_settings_alone_lead_the_product_to_the_workspace(logs: Logs) -> None:
    """The composition root, the real credential of a managed identity, and Log Analytics' own audience."""
    vm = logs.add("web-1", NEW)
    await logs.azure.clock.advance(250)
    own = dict(os.environ)
    forget_settings(own)
    own |= {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "WORKSPACE": WORKSPACE}
    own |= logs.azure.endpoints.environment()
    command = [sys.executable, "-c", PROGRAM]
    done = await asyncio.to_thread(
        subprocess.run, command, env=own, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str({vm.lower(): ["Azure Monitor Agent"]})]
