"""The function app, as a host indexes it: nothing can fail at import, whatever is set."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import azure.functions as func
import pytest

import function_app
from onboarding.application.messages import encode
from onboarding.application.ports import ScheduledCheck
from onboarding.concurrency import remaining
from onboarding.domain.resource_id import VmId

LIST = """
import json, function_app
print(json.dumps({f.get_function_name(): f.get_trigger().type for f in function_app.app.get_functions()}))
"""


@pytest.mark.parametrize(
    "environment",
    [{}, {"AZURE_CLOUD": "x", "ARM_ENDPOINT": "https://[", "AzureWebJobsStorage": "x", "ONBOARDING_POLICIES": "/none"}],
    ids=["empty", "nonsense"],
)
def test_it_imports_and_lists_its_functions(environment: dict[str, str]) -> None:
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIST], cwd=root, env=environment, capture_output=True, text=True
    )
    assert run.stderr == ""
    functions = json.loads(run.stdout)
    assert {
        "on_resource_event": "eventGridTrigger",
        "on_deferral": "queueTrigger",
        "sweep": "timerTrigger",
        "get_health": "httpTrigger",
    }.items() <= functions.items()


class Recorded:
    """A worker whose line notes how much time it was given."""

    def __init__(self) -> None:
        self.given: list[float] = []
        self.application = self
        self.dispatcher = self

    async def handle(self, notification: object) -> None:
        self.given.append(remaining())

    async def handle_message(self, message: object) -> None:
        self.given.append(remaining())


async def test_each_event_and_each_check_ends_before_event_grid_delivers_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = Recorded()
    monkeypatch.setattr(function_app, "worker", recorded)
    functions = {f.get_function_name(): f.get_user_function() for f in function_app.app.get_functions()}
    vm = VmId("00000000-0000-4000-8000-000000000001", "rg", "vm")
    event = {
        "id": "1",
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "subject": str(vm),
        "eventTime": "2026-11-20T10:00:00Z",
        "topic": f"/subscriptions/{vm.subscription}",
        "data": {
            "operationName": "Microsoft.Compute/virtualMachines/write",
            "resourceUri": str(vm),
            "resourceProvider": "Microsoft.Compute",
            "status": "Succeeded",
            "subscriptionId": vm.subscription,
        },
    }
    check = ScheduledCheck(vm, datetime(2026, 11, 20, tzinfo=UTC))

    await functions["on_resource_event"](json.dumps(event))
    await functions["on_deferral"](func.QueueMessage(body=encode(check).encode()))

    assert len(recorded.given) == 2
    assert all(20 < seconds <= 25 for seconds in recorded.given)
