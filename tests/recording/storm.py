"""A storm with a fixed clock and fixed names: machines, owners, faults and kills drawn from a seed, over ports in
memory.

The recording holds, in order: each request to ARM with its body, each write of rows, messages, circuit breakers,
rollout states, sweeps and policy states, each outcome event, and the events of the storm. The same code gives the same
bytes. Each random number depends on a machine and on a counter of that machine, so that a difference stays with the
machine where it began.

The recording leaves out texts for people, secrets, reads, and how the adapters write requests and keys (the demo
records that).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from onboarding.application.messages import encode
from onboarding.application.notifications import (
    EventRef,
    ExtensionDeleted,
    ExtensionWritten,
    Notification,
    PolicyStateChanged,
    VmDeleted,
    VmStarted,
    VmWritten,
)
from onboarding.application.ports import ArmAnswer, Message, RowVersions, RowWrite, StoredRow, SweepState
from onboarding.azure.outcome_topic import outcome_event
from onboarding.azure.storage.stores.breaker_store import TableBreakerStore
from onboarding.azure.storage.stores.policy_version_store import TablePolicyStates
from onboarding.azure.storage.stores.rollout_store import TableRolloutStore
from onboarding.azure.storage.stores.sweep_store import TableSweeps
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.errors import ArmError, StorageError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.limits.circuit_breaker import CircuitBreaker
from onboarding.domain.limits.rollout_limit import RolloutState
from onboarding.domain.policy.policy_version import PolicyState
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Row
from onboarding.domain.resource_id import ExtensionId, VmId
from tests.flow import world
from tests.flow.walk import ENDS, REFUSALS, Died
from tests.recording.wire import json_line, without_prose

_SECOND_SUBSCRIPTION = "99992222-3333-4444-5555-666677778888"
_GROUPS = {"rg-a": "prod", "rg-b": "prod", "rg-c": "test", "rg-lab": "lab"}
_NOT_LAB = {"value": "[resourceGroup().tags.env]", "notEquals": "lab"}
_POLICIES = [
    {**world.POLICY, "brake": {"maxInstallsPerHour": 12, "stopAfterFailures": 4}},
    {**world.SECOND_POLICY, "settleDelay": "2m", "rule": {"allOf": [world.POLICY["rule"], _NOT_LAB]}},
]
_IMAGES: list[dict[str, Any]] = [
    *[{"image": world.XENIAL}] * 6,
    *[{"image": world.BIONIC}] * 3,
    {"image": {"publisher": "RedHat", "offer": "RHEL", "sku": "7.9", "version": "latest"}},
    {"image": {"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts"}},
    {"image": {"publisher": "contoso", "offer": "appliance", "sku": "1"}, "osName": "ubuntu", "osVersion": "18.04"},
    {"image": {"publisher": "contoso", "offer": "appliance", "sku": "2"}},
    {
        "image": {
            "id": f"/subscriptions/{world.SUBSCRIPTION}/resourceGroups/i/providers/Microsoft.Compute/images/golden"
        }
    },
    {"image": {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2019"}, "os_type": "Windows"},
]
_STOPPED = Evidence(http_status=409, code="OperationNotAllowed", message="The VM is not running.")
_READ = [*[each for each in REFUSALS if each != "404 gone"], "dies"]
_PUT = [*REFUSALS, "dies before", "dies after", "no answer, done"]
_STORE = ["fails", "dies before", "dies after", "no answer"]
_BAD_HOURS = (2, 9)
_OTHER = "CustomScript"
_HANDLER = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}


class Recording:
    """The recorded lines, and the random numbers. It also takes the place of the table for stores that write single
    entities."""

    def __init__(self, seed: int) -> None:
        self.lines: list[str] = []
        self.now = world.START
        self._seed = seed
        self._drawn: Counter[str] = Counter()

    def record(self, what: str, **fields: Any) -> None:
        self.lines.append(json_line(without_prose({"at": self.now, "what": what, **fields})))

    def dice(self, about: str) -> random.Random:
        self._drawn[about] += 1
        return random.Random(f"{self._seed}|{about}|{self._drawn[about]}")

    async def fault(self, about: str, faults: Sequence[str]) -> str:
        """The fault of this call, or ''. Other tasks may run before it returns."""
        dice = self.dice(about)
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
        bad = int((self.now - world.START).total_seconds()) // 3600 in _BAD_HOURS
        return dice.choice(faults) if dice.random() < (0.4 if bad else 0.04) else ""

    async def store(self, about: str) -> Callable[[bool], None]:
        """Returns a function to call before (False) and after (True) a write to storage; it raises the fault of that
        write."""
        fault = await self.fault(about, _STORE)

        def happens(written: bool) -> None:
            if fault and written == (fault in ("dies after", "no answer")):
                self.record("fault", of=about, fault=fault)
                raise Died if fault.startswith("dies") else StorageError(fault)

        return happens

    async def write(self, write: Write) -> str:
        self.record("entity", entity=write.entity)
        return ""

    async def delete(self, keys: Mapping[str, str], _: str) -> None:
        self.record("delete", entity=keys)


class _Recorded:
    def __init__(self, recording: Storm) -> None:
        super().__init__()
        self._recording = recording


class RecordedArm(_Recorded, world.ArmInMemory):
    async def _read(self, path: str) -> None:
        fault = await self._recording.fault(f"GET {path}", _READ)
        self._recording.record("GET", path=path, fault=fault)
        if fault == "dies":
            raise Died
        if fault:
            raise ArmError(REFUSALS[fault])

    async def read_machine(self, vm: VmId, *, to_install: bool = False) -> ArmAnswer:
        await self._read(str(vm))
        return await super().read_machine(vm, to_install=to_install)

    async def read_extension(self, vm: VmId, name: str) -> ArmAnswer:
        await self._read(f"{vm}/extensions/{name}")
        return await super().read_extension(vm, name)

    async def read_image(self, image_id: str) -> Mapping[str, Any]:
        await self._read(image_id)
        return await super().read_image(image_id)

    async def read_scope(self, scope: str) -> Mapping[str, Any]:
        await self._read(scope)
        return await super().read_scope(scope)

    async def list_machines(self, subscription: str) -> AsyncIterator[Mapping[str, Any]]:
        await self._read(f"{subscription}/virtualMachines")
        async for body in super().list_machines(subscription):
            yield body

    async def _put_extension(self, vm: VmId, name: str, body: Mapping[str, Any]) -> None:
        fault = await self._recording.fault(f"PUT {vm}", _PUT)
        self._recording.record("PUT", path=f"{vm}/extensions/{name}", body=body, fault=fault)
        if fault == "dies before":
            raise Died
        if fault in REFUSALS:
            raise ArmError(REFUSALS[fault])
        if "running" not in str(self.machines.get(vm.key)):
            raise ArmError(_STOPPED if vm.key in self.machines else REFUSALS["404 gone"])
        await super()._put_extension(vm, name, body)
        self._recording.accepted(vm, name)
        if fault == "dies after":
            raise Died
        if fault:
            raise ArmError(REFUSALS["no answer"])


class RecordedLedger(_Recorded, world.LedgerInMemory):
    async def commit(
        self,
        machine: MachineRow,
        version: str | None,
        entries: Sequence[RowWrite],
        trigger: EventRef,
        **more: Any,
    ) -> RowVersions:
        happens = await self._recording.store(f"rows of {machine.resource_id}")
        happens(False)
        written = await super().commit(machine, version, entries, trigger, **more)
        rows = [
            {"row": e.row.to_properties(), "history": e.history, "ended": e.ended and e.ended.to_properties()}
            for e in entries
        ]
        own = {
            "machine": machine.to_properties(),
            "event": trigger.id,
            "time": trigger.time,
            "again": more.get("again"),
        }
        self._recording.record("rows", **own, rows=rows)
        happens(True)
        return written

    async def undo(
        self, machine: MachineRow, version: str, extension: str, before: StoredRow | None, at: str, **more: Any
    ) -> None:
        await super().undo(machine, version, extension, before, at, **more)
        restored = before and before.row.to_properties()
        self._recording.record("undo", machine=machine.to_properties(), extension=extension, row=restored)

    async def append(self, row: Row, trigger: EventRef) -> None:
        await super().append(row, trigger)
        self._recording.record("history", row=row.to_properties(), event=trigger.id, time=trigger.time)

    async def mark_published(self, row: Row) -> None:
        await super().mark_published(row)
        self._recording.record("told", path=row.resource_id, extension=row.extension, finished=row.finished_at)


class RecordedQueue(_Recorded, world.ScheduleQueueInMemory):
    async def schedule(self, message: Message, now: datetime) -> None:
        happens = await self._recording.store(f"messages of {message.vm}")
        happens(False)
        self._recording.record("message", text=encode(message))
        self._recording.scheduled(message)
        happens(True)


class RecordedBreakers(_Recorded, world.BreakersInMemory):
    async def write(self, breaker: CircuitBreaker, version: str | None, **more: Any) -> None:
        await super().write(breaker, version, **more)
        await TableBreakerStore(cast(Any, self._recording)).write(breaker, version, **more)

    async def delete(self, breaker: CircuitBreaker, version: str) -> None:
        await super().delete(breaker, version)
        await TableBreakerStore(cast(Any, self._recording)).delete(breaker, version)


class RecordedRollouts(_Recorded, world.RolloutsInMemory):
    async def write(self, state: RolloutState, version: str | None, **more: Any) -> str:
        written = await super().write(state, version, **more)
        await TableRolloutStore(cast(Any, self._recording)).write(state, version, **more)
        return written


class RecordedSweeps(_Recorded, world.SweepsInMemory):
    async def write(self, state: SweepState, version: str | None, **more: Any) -> str:
        written = await super().write(state, version, **more)
        await TableSweeps(cast(Any, self._recording)).write(state, version, **more)
        return written


class RecordedPolicyStates(_Recorded, world.PolicyStatesInMemory):
    async def write(self, state: PolicyState, version: str | None, **more: Any) -> None:
        await super().write(state, version, **more)
        await TablePolicyStates(cast(Any, self._recording)).write(state, version, **more)


class RecordedPublisher(_Recorded, world.PublisherInMemory):
    async def publish(self, row: Row) -> bool:
        taken = self._recording.dice(f"topic {row.resource_id}").random() < 0.9
        event = outcome_event(row)
        self._recording.record(
            "outcome event", id=event.id, type=event.type, subject=event.subject, data=event.data, taken=taken
        )
        return taken


class Storm(Recording):
    """Runs all actions by their time; actions at nearly the same time run concurrently."""

    def __init__(self, seed: int, vms: int, hours: int) -> None:
        super().__init__(seed)
        self._end = world.START + timedelta(hours=hours)
        self._agenda: list[tuple[datetime, int, Callable[[], Awaitable[None]]]] = []
        self._numbers = 0
        self._arm = RecordedArm(self)
        self._world = world.World(
            policies=_POLICIES,
            arm=self._arm,
            ledger=RecordedLedger(self),
            schedule_queue=RecordedQueue(self),
            breakers=RecordedBreakers(self),
            rollouts=RecordedRollouts(self),
            published=RecordedPublisher(self),
            sweeps=RecordedSweeps(self),
            policy_states=RecordedPolicyStates(self),
        )
        subscriptions = (world.SUBSCRIPTION, _SECOND_SUBSCRIPTION)
        self._arm.subscriptions = subscriptions
        for subscription in subscriptions:
            for group, env in _GROUPS.items():
                scope = f"/subscriptions/{subscription}/resourcegroups/{group}"
                self._arm.scopes[scope] = {"id": scope, "name": group, "location": "westeurope", "tags": {"env": env}}
        for number in range(vms):
            dice = self.dice(f"place {number}")
            vm = VmId(dice.choice([*subscriptions, world.SUBSCRIPTION]), dice.choice(list(_GROUPS)), f"vm-{number:03}")
            self._at(dice.uniform(0, 20000), lambda vm=vm: self._make(vm))  # type: ignore[misc]
        for minute in range(10, hours * 60, 10):
            self._at(minute * 60, self._sweep)
        for hour in range(4, hours, 4):
            self._at(hour * 3600 + 30, self._resume)

    async def play(self) -> list[str]:
        while self._agenda and self._agenda[0][0] <= self._end:
            together = [heapq.heappop(self._agenda)]
            until = together[0][0] + timedelta(seconds=1)
            while self._agenda and self._agenda[0][0] <= until and len(together) < 3:
                together.append(heapq.heappop(self._agenda))
            self.now = self._world.now = max(self._world.now, together[-1][0])
            await asyncio.gather(*(action() for _, _, action in together))
        return self.lines

    def _at(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        self._numbers += 1
        time = (self._world.now + timedelta(seconds=seconds)).replace(microsecond=0)
        heapq.heappush(self._agenda, (time, self._numbers, action))

    # -- what the product receives

    def _happened(self, vm: VmId, make: Callable[[EventRef], Notification]) -> None:
        """Deliver an event: late, twice, or not at all."""
        self._numbers += 1
        name = f"event-{self._numbers}"
        event = make(EventRef(name, self._world.now, f"c-{vm.name}"))
        dice = self.dice(f"event {vm}")
        for _ in range(dice.choice([0, 1, 1, 1, 1, 1, 1, 2])):
            self._at(dice.choice([1, 2, 5, 90]), lambda: self._deliver(event, f"{name} {vm}"))

    async def _deliver(self, event: Notification, name: str, tries: int = 0) -> None:
        if not await self._survives(self._world.dispatcher.handle(event), name) and tries < 5:
            self._at(10 * 3**tries, lambda: self._deliver(event, name, tries + 1))

    def scheduled(self, message: Message) -> None:
        for _ in range(self.dice(f"copies {message.vm}").choice([1] * 20 + [2])):
            self._at(max(0.0, (message.due - self._world.now).total_seconds()), lambda: self._take(message))

    async def _take(self, message: Message, tries: int = 0) -> None:
        if await self._survives(self._world.dispatcher.handle_message(message), encode(message)):
            return
        if tries < 4:
            self._at(60, lambda: self._take(message, tries + 1))
        else:
            self._world.poison.messages.append(message)

    async def _sweep(self) -> None:
        fault = await self.fault("GRAPH", _READ[:-1])
        self._world.inventory.errors = [REFUSALS[fault]] if fault else []
        await self._survives(self._world.sweep.run(), f"sweep {fault}")

    async def _resume(self) -> None:
        for policy in _POLICIES:
            if stored := await self._world.rollouts.read(policy["name"]):
                await self._world.rollouts.write(stored.state.recovered(), stored.version)

    async def _ask(self, vm: VmId) -> None:
        await self._survives(self._world.requests.handle(vm, OperatorRequest()), f"ask {vm}")

    async def _survives(self, work: Awaitable[object], name: str) -> bool:
        """Whether the work ended without an error. A process that died has lost its memory."""
        try:
            await work
        except (StorageError, ArmError, Died) as error:
            died = isinstance(error, Died)
            self.record("died" if died else "failed", of=name)
            if died:
                self._world.__post_init__()
            return False
        return True

    # -- what happens to a machine

    async def _make(self, vm: VmId, again: str = "") -> None:
        """Make a machine, and plan what its owner does with it."""
        dice = self.dice(f"make {vm}")
        power = "running" if dice.random() < 0.8 else "deallocated"
        ready = dice.random() < 0.75
        changes = {"power": power, "agent": "ready" if ready else "not_ready", "vm_id": f"id-of-{vm.name}{again}"}
        body = world.vm_body(vm.name, **dice.choice(_IMAGES), **changes)
        self._arm.machines[vm.key] = {**body, "id": str(vm)}
        self._happened(vm, lambda trigger: VmWritten(vm, trigger, created=True))
        if power != "running":
            self._at(dice.uniform(60, 50000), lambda: self._start(vm))
        if not ready and dice.random() < 0.9:
            self._at(dice.uniform(60, 9000), lambda: self._agent(vm))
        if dice.random() < 0.1:  # somebody else onboarded it, perhaps to another workspace
            workspace = dice.choice([world.WORKSPACE_ID, "00000000-0000-4000-8000-000000000000"])
            self._arm.set_extension(vm, world.extension(settings={"workspaceId": workspace}))
        later: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (0.15, lambda: self._other_writes(vm)),
            (0.15, lambda: self._retag(vm)),
            (0.1, lambda: self._delete(vm)),
            (0.1, lambda: self._remove(vm)),
            (0.1, lambda: self._find(vm)),
            (0.1, lambda: self._ask(vm)),
        ]
        for share, action in later:
            if dice.random() < share:
                self._at(dice.choice([5, 100, 400, 4000, 20000]), action)

    async def _start(self, vm: VmId) -> None:
        if machine := self._arm.machines.get(vm.key):
            machine["properties"]["instanceView"]["statuses"][1] = {"code": "PowerState/running"}
            self._happened(vm, lambda trigger: VmStarted(vm, trigger))

    async def _agent(self, vm: VmId) -> None:
        if machine := self._arm.machines.get(vm.key):
            machine["properties"]["instanceView"]["vmAgent"] = world.vm_body()["properties"]["instanceView"]["vmAgent"]

    async def _retag(self, vm: VmId) -> None:
        if machine := self._arm.machines.get(vm.key):
            skipped = bool(machine["tags"])
            machine["tags"] = {} if skipped else {"onboarding": "skip"}
            self._happened(vm, lambda trigger: VmWritten(vm, trigger, created=False))
            if not skipped:
                self._at(7200, lambda: self._retag(vm))

    async def _delete(self, vm: VmId) -> None:
        self._arm.machines.pop(vm.key, None)
        self._happened(vm, lambda trigger: VmDeleted(vm, trigger))
        if self.dice(f"delete {vm}").random() < 0.5:
            self._at(1200, lambda: self._make(vm, "-again"))

    async def _remove(self, vm: VmId) -> None:
        machine = self._arm.machines.get(vm.key, {})
        if found := machine.get("resources"):
            name = found.pop()["name"]
            self._happened(vm, lambda trigger: ExtensionDeleted(ExtensionId(vm, name), trigger))

    async def _find(self, vm: VmId) -> None:
        self._happened(vm, lambda trigger: PolicyStateChanged(vm, trigger, compliant=False, definition_id="d"))

    async def _other_writes(self, vm: VmId) -> None:
        if vm.key in self._arm.machines and "Creating" not in str(self._arm.machines[vm.key]):
            self._arm.set_extension(vm, world.extension(_OTHER, "Creating", **_HANDLER))
            self.accepted(vm, _OTHER)

    def accepted(self, vm: VmId, name: str) -> None:
        dice = self.dice(f"handler {vm}")
        how = "well" if name == _OTHER else dice.choice(["well"] * 20 + list(ENDS))
        self._at(dice.uniform(40, 600), lambda: self._ends(vm, name, how))

    async def _ends(self, vm: VmId, name: str, how: str) -> None:
        resources = self._arm.machines.get(vm.key, {}).get("resources", [])
        found = next((each for each in resources if each["name"] == name), None)
        if found is None:
            return
        code, words = ENDS[how]
        state = "Failed" if code else "Succeeded"
        properties = {**found["properties"], "provisioningState": state}
        self._arm.set_extension(vm, {**found, "properties": properties}, words, code)
        self._happened(vm, lambda trigger: ExtensionWritten(ExtensionId(vm, name), trigger, not code))


def storm(seed: int, vms: int, hours: int = 48) -> list[str]:
    """Run a storm and return its recording, as lines of JSON."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        return asyncio.run(Storm(seed, vms, hours).play())
    finally:
        logging.disable(before)
