"""The demo's fleet on real parts – the functions host, Azurite, the simulated ARM and Event Grid – with proxies in
front of ARM and of the queue.

The recording holds, for each machine, its requests to ARM with api-version and body, and all entities of the table;
also the shapes of queue messages, the requests about no machine, and the output of `onboard status`. It leaves out what
differs between runs: times, ids of events and writes, and how often a read or an entry was repeated.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import unescape

from simulator.azurite import connection_string
from simulator.demo.fleet import CROWDED, make_fleet
from simulator.demo.ledger import Ledger
from simulator.demo.run import FAULTS, POLICIES
from simulator.demo.scene import Scene
from simulator.eventgrid import EventSchema, Faults
from simulator.laptop import FUNCTION, SUBSCRIPTIONS, CloudOptions, Laptop, Workspace, forget_settings
from simulator.tls import certificates_in
from tests.fault.kill_proxy import KillPoint, KillProxy, Step
from tests.flow.world import WORKSPACE_ID, WORKSPACE_KEY
from tests.recording.commands import run_command
from tests.recording.wire import json_line, timeless, without_prose, write

_SETTINGS = {
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:01",
    "SWEEP_SCHEDULE": "*/20 * * * * *",
}
_WORKSPACE = Workspace(WORKSPACE_ID, WORKSPACE_KEY)
_MACHINE = re.compile(r"/virtualmachines/([^/?]+)", re.IGNORECASE)
_MESSAGE = re.compile(r"<MessageText>(.*)</MessageText>")
_GROUP = re.compile(r"\brg-\w+", re.IGNORECASE)  # events differ in upper and lower case, and the first one counts
_TRY = re.compile(r"(try-\d+-)\d{14}")  # the value that makes ARM run a handler again: the attempt and its time
_TIMEOUT_S = 180.0


@dataclass
class RequestRecorder(KillPoint):
    """A kill point that records all requests and never kills the host."""

    vm: str = ""
    step: Step = field(default_factory=lambda: Step("", ""))
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    messages: set[str] = field(default_factory=set)

    def matches(self, service: str, method: str, text: str) -> bool:
        path, brace, rest = text.partition("{")
        if service == "queue":
            for each in _MESSAGE.findall(text):
                message = json.loads(unescape(each))
                self.messages.add(json_line({"keys": sorted(message), "reason": message.get("reason")}))
        else:
            body = without_prose(json.loads(brace + rest)) if brace else None
            machine = found[1].lower() if (found := _MACHINE.search(path)) else ""
            request = json_line({"method": method, "path": path, "body": body})
            self.requests[machine, _same(request)] += 1
        return False


async def demo(folder: Path, vms: int, seed: int) -> None:
    forget_settings(os.environ)
    scene = Scene(make_fleet(vms, seed, tuple(SUBSCRIPTIONS)))
    recorder = RequestRecorder()
    cloud_options = CloudOptions(seed=seed, faults=Faults(duplicate=0.15, jitter=20.0), observe=scene.observe)
    async with Laptop(cloud_options) as laptop:
        laptop.workspace = _WORKSPACE
        laptop.arm.faults.load(FAULTS)
        certificates = certificates_in(laptop.endpoints.ca_file.parent)
        async with KillProxy(lambda: 0, [recorder], certificates.client_context()) as wire:
            endpoints = {**laptop.azurite.endpoints}
            endpoints["queue"] = await wire.forward("queue", endpoints["queue"])
            arm = await wire.forward("arm", laptop.endpoints.arm, certificates.server_context())
            settings = {**_SETTINGS, "AzureWebJobsStorage": connection_string(endpoints), "ARM_ENDPOINT": arm}
            host = await laptop.start_host(POLICIES, settings)
            await laptop.subscribe(host.event_grid_endpoint(FUNCTION), {CROWDED: EventSchema.EVENT_GRID})
            async with Ledger(laptop.azurite.connection_string) as ledger:
                await _play(laptop, scene, ledger)
                await asyncio.to_thread(host.stop)
                entities = [timeless(each) for each in await ledger.everything()]
        values = laptop.host_environment(POLICIES, {})
        (folder / "settings.json").write_text(json.dumps({"Values": values}))
        status = [await asyncio.to_thread(run_command, folder, *each) for each in _status(scene)]
        (folder / "settings.json").unlink()
    by_machine = {("".join(str(each["RowKey"]).split("|")[2:3]), _same(json_line(each))) for each in entities}
    requests = [key for key, count in recorder.requests.items() for _ in range(count if '"PUT"' in key[1] else 1)]
    _write(folder / "demo" / "entities.jsonl", by_machine)
    _write(folder / "demo" / "requests.jsonl", requests)
    _write(folder / "demo" / "messages.jsonl", (("", each) for each in recorder.messages))
    _write(folder / "demo" / "status.jsonl", (("", _same(each)) for each in status))


def _same(text: str) -> str:
    return _TRY.sub(r"\1…", _GROUP.sub(lambda group: group[0].lower(), text))


def _write(file: Path, lines: Iterable[tuple[str, str]]) -> None:
    write(file, [each for _, each in sorted(lines)])


def _status(scene: Scene) -> list[list[str]]:
    one = scene.fleet[0].spec.name
    arguments = [["--json"], ["--totals"], ["--json", "--vm", one], ["--json", "--history", "--vm", one]]
    return [["status", *each, "--settings", "{folder}/settings.json"] for each in arguments]


async def _play(laptop: Laptop, scene: Scene, ledger: Ledger) -> None:
    """Wait until every row is final, every outcome is published, and a sweep has run."""
    playing = asyncio.create_task(scene.play(laptop.arm, laptop.clock))
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        rows = await ledger.of(scene.extensions)
        quiet = playing.done() and not laptop.grid.in_flight
        arrived = {(str(event["subject"]).lower(), event["data"]["Outcome"]) for event in laptop.topic.events}
        final = {(vm, row.outcome) for vm, row in rows.items() if row.final}
        if quiet and len(final) == len(scene.fleet) and final <= arrived:
            return await asyncio.sleep(25)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(final)} rows are final, and there are {len(scene.fleet)} machines")
        await asyncio.sleep(0.25)
