"""The simulated Azure on a laptop, started and stopped together: Azurite, ARM, Event Grid, a topic for outcome events,
and on request the functions host with the product.

All ports are free ones, all files are in a folder of this run. Everything that is started here is stopped here, also
after an error.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import sys
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from simulator import arm, eventgrid
from simulator.azurite import Azurite
from simulator.clock import Clock
from simulator.eventgrid import CustomTopic, EventFilter, EventGrid, EventSchema, Faults, Subscription
from simulator.eventgrid.schema import Event
from simulator.host_process import FunctionsHost
from simulator.own_handlers import own_handlers
from simulator.tls import certificates_in

ROOT = Path(__file__).resolve().parent.parent
FUNCTION = "on_resource_event"

# One Azure subscription whose events come in the Event Grid schema, one with CloudEvents.
SUBSCRIPTIONS = {
    "00000000-0000-4000-8000-000000000001": EventSchema.EVENT_GRID,
    "00000000-0000-4000-8000-000000000002": EventSchema.CLOUD_EVENTS,
}

_MONITOR = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg-monitor/providers"
_STARTED_WITHIN = 60.0
_SWEEPS, _BETWEEN_SWEEPS = 40, 1.0  # tries, seconds: another run may be under way, or was cut off some seconds ago
_SETTINGS = (
    "ONBOARDING_",
    "OMS_",
    "OUTCOME_",
    "SWEEP_",
    "AZURE_",
    "IDENTITY_",
    "LOG_ANALYTICS_",
    "AzureWebJobs",
    "AzureFunctionsJobHost__",
)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace of this run: a random GUID, a random key of the real length, and the resource that rules name."""

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    key: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(64)).decode(), repr=False)
    resource: str = f"{_MONITOR}/Microsoft.OperationalInsights/workspaces/log"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudOptions:
    """How the simulated cloud behaves."""

    scale: float = 60.0
    """How many simulated seconds pass in one real second."""
    seed: int = 0
    faults: Faults = field(default_factory=Faults)
    """The faults of Event Grid."""
    storage: Path | None = None
    """The folder for Azurite's data; None: in memory."""
    observe: Callable[[Event], object] = lambda event: None
    """Called with each event of ARM before it is published."""
    options: arm.Options = field(default_factory=lambda: arm.Options(subscriptions=tuple(SUBSCRIPTIONS)))


class Laptop:
    """Use as `async with Laptop(scenery) as laptop`; then `await laptop.start_host(…)` for the functions host."""

    def __init__(self, cloud_options: CloudOptions | None = None) -> None:
        self.cloud_options = cloud_options or CloudOptions()
        self.workspace = Workspace()
        self.topic_key = secrets.token_urlsafe(32)
        self.clock = Clock(self.cloud_options.scale)
        self.azurite = Azurite(self.cloud_options.storage)
        options = eventgrid.Options(faults=self.cloud_options.faults)
        self.grid = EventGrid(self.clock, self.cloud_options.seed, options)
        self.topic = CustomTopic(self.topic_key)
        self.arm = arm.ArmSimulator(
            self.clock, seed=self.cloud_options.seed, publish=self._publish, options=self.cloud_options.options
        )
        self.arm.insights.workspaces.add(self.workspace.resource, self.workspace.id)
        self.operator = self.arm.directory.add("operator")
        """The person at the keyboard: the principal of `az`, another than the function app's."""
        self.endpoints: arm.Endpoints
        self._ending = AsyncExitStack()

    async def start_host(self, policies: Path, settings: Mapping[str, str] | None = None) -> FunctionsHost:
        """Run the product under our functions host, and subscribe it to the events of every VM. The extensions of the
        folder `extensions/` in `policies` exist from then on."""
        self.arm.publish_handlers(partial(own_handlers, policies))
        host = FunctionsHost(ROOT, self.host_environment(policies, settings or {}))
        self._ending.push_async_callback(asyncio.to_thread, host.stop)
        host.start()
        await asyncio.to_thread(host.wait_ready, _STARTED_WITHIN)
        await self.subscribe(host.event_grid_endpoint(FUNCTION), SUBSCRIPTIONS)
        return host

    def host_environment(self, policies: Path, settings: Mapping[str, str]) -> dict[str, str]:
        """The settings of a host that runs the product on this laptop."""
        return {
            **self.connections(),
            "NO_PROXY": "localhost,127.0.0.1",
            "ONBOARDING_POLICIES": str(policies),
            "OMS_WORKSPACE_ID": self.workspace.id,
            "OMS_WORKSPACE_KEY": self.workspace.key,
            **settings,
        }

    def secrets(self) -> dict[str, str]:
        """Values that must not be found anywhere: keys, and the personal data in every event of ARM."""
        person = {f"event's {name.rpartition('/')[2]}": value for name, value in arm.PERSON.items()}
        return {
            "workspace key": self.workspace.key,
            "topic key": self.topic_key,
            "identity header": self.endpoints.identity_header,
            "operator's secret": self.operator.secret,
            **person,
        }

    async def subscribe(self, endpoint: str, schemas: Mapping[str, EventSchema]) -> None:
        """Make an event subscription for each Azure subscription; raises HandshakeFailed if nothing answers."""
        for subscription, schema in schemas.items():
            of_it = EventFilter(subject_begins_with=f"/subscriptions/{subscription}/")
            await self.grid.subscribe(Subscription(f"onboarding-{subscription}", endpoint, schema, of_it))

    def connections(self) -> dict[str, str]:
        """The settings with which the product uses this laptop instead of Azure."""
        return {
            "AzureWebJobsStorage": self.azurite.connection_string,
            **self.endpoints.environment(),
            "OUTCOME_TOPIC_ENDPOINT": self.topic.endpoint,
            "OUTCOME_TOPIC_KEY": self.topic_key,
        }

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._ending.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ending.aclose()

    async def _start(self) -> None:
        ending = self._ending
        folder = Path(ending.enter_context(TemporaryDirectory(prefix="vm-onboarding-")))
        ending.push_async_callback(asyncio.to_thread, self.azurite.stop)
        self.azurite.start()
        await ending.enter_async_context(self.grid)
        ending.push_async_callback(self.arm.stop)
        self.endpoints = await self.arm.start(folder)
        ending.push_async_callback(self.topic.close)
        await self.topic.start(certificates_in(folder).server_context())
        await asyncio.to_thread(self.azurite.wait_ready, _STARTED_WITHIN)

    def _publish(self, event: Event) -> None:
        self.cloud_options.observe(event)
        self.grid.publish(event)


def webhook(host: str) -> str:
    """The endpoint for the product's events, on the host at that address."""
    return f"{host.rstrip('/')}/runtime/webhooks/eventgrid?{urlencode({'functionName': FUNCTION})}"


def forget_settings(environment: MutableMapping[str, str]) -> None:
    """Remove settings of a real deployment from the environment, so that the laptop never uses that deployment."""
    for name in [name for name in environment if name.startswith(_SETTINGS)]:
        del environment[name]


async def run_command(environment: Mapping[str, str], *arguments: str, may_end_with: int = 0) -> str:
    """Run a command of the product as a person does, and return its output. Raises RuntimeError if it fails."""
    own = dict(os.environ)
    forget_settings(own)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "onboarding", *arguments),
        cwd=ROOT,
        env={**own, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode not in (0, may_end_with):
        raise RuntimeError(f"onboard {' '.join(arguments)} ended with {process.returncode}: {errors.decode()}")
    return output.decode()


async def sweep_by_hand(environment: Mapping[str, str]) -> bool:
    """A person sweeps once, which counts the rows. Returns False if other runs are under way all the time."""
    for _ in range(_SWEEPS):
        summary = json.loads(await run_command(environment, "sweep", "-o", "json", may_end_with=1))["summary"]
        if not summary["held"] and not summary["busy"]:
            return True
        await asyncio.sleep(_BETWEEN_SWEEPS)
    return False
