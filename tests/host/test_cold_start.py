"""What a worker loads, and how the garbage collector treats it: an ignored event must not wait for SDKs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from simulator.laptop import ROOT, forget_settings

DISK = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg/providers/Microsoft.Compute/disks/data"
EVENT = json.dumps(
    {
        "id": "event-1",
        "topic": DISK.partition("/resourceGroups")[0],
        "subject": DISK,
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": "2026-11-20T10:00:00Z",
        "dataVersion": "2",
        "metadataVersion": "1",
        "data": {"resourceUri": DISK, "operationName": "Microsoft.Compute/disks/write", "status": "Succeeded"},
    }
)
SCRIPT = """
import asyncio, json, pathlib, sys
from simulator.host.messages import TypedData
from simulator.host.worker import load

async def main():
    worker = await load(pathlib.Path.cwd())
    data = TypedData(json=sys.stdin.read())
    result = await worker.run(worker.functions["on_resource_event"], "1", data, {"data": data})
    print(json.dumps([result.succeeded, result.message, sorted(sys.modules)]))

asyncio.run(main())
"""

STORAGE = (
    "DefaultEndpointsProtocol=https;AccountName=account;AccountKey=c2VjcmV0IGtleQ==;EndpointSuffix=core.windows.net"
)
LOADED = """
import gc, json, os, sys
from onboarding.app import Worker

Worker(os.environ).application
state = {"enabled": gc.isenabled(), "frozen": gc.get_freeze_count(), "tracked": len(gc.get_objects())}
print(json.dumps(state | {"modules": sorted(sys.modules)}))
"""


def loaded() -> dict[str, Any]:
    own = dict(os.environ)
    forget_settings(own)
    own |= {"AzureWebJobsStorage": STORAGE}
    done = subprocess.run([sys.executable, "-c", LOADED], env=own, cwd=ROOT, capture_output=True, text=True, check=True)
    state: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return state


def test_the_application_needs_no_sdk_of_storage() -> None:
    modules = loaded()["modules"]
    assert "onboarding.azure.storage.table_client" in modules
    assert [name for name in modules if name.startswith(("azure.data", "azure.storage", "azure.mgmt.compute"))] == []


def test_the_collector_is_on_after_the_sdks_were_loaded_and_leaves_them_alone() -> None:
    state = loaded()
    assert state["enabled"]
    assert state["frozen"] > 100 * state["tracked"]


FAILED = """
import gc, json
from onboarding.domain.errors import StorageError
from onboarding.app import Worker

worker = Worker({})
for _ in range(2):
    try:
        worker.application
    except StorageError:
        print(json.dumps({"enabled": gc.isenabled(), "left_alone": gc.get_freeze_count()}))
"""


def test_garbage_of_failed_loads_is_collected() -> None:
    own = dict(os.environ)
    forget_settings(own)
    done = subprocess.run([sys.executable, "-c", FAILED], env=own, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"enabled": True, "left_alone": 0}] * 2


def test_an_ignored_event_loads_no_sdk_of_azure() -> None:
    own = dict(os.environ)
    forget_settings(own)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=EVENT, env=own, cwd=ROOT, capture_output=True, text=True, check=True
    )
    succeeded, message, modules = json.loads(done.stdout.splitlines()[-1])
    assert succeeded, message
    assert "onboarding.application.notifications" in modules
    for sdk in ("azure.mgmt.compute", "azure.identity", "azure.data.tables", "azure.core", "aiohttp"):
        assert sdk not in modules
