"""A machine's life as a list of steps, random or written by hand, and the conditions that must hold after each step.

Two hosts share table, queue and ARM. ARM is as strict as the real one: it accepts one write of a machine at a time, and
none while the machine is stopped, written or gone. Storage fails, a process dies, events are lost, late, early, forged
or delivered twice. A walk is plain data, so that a failing one can be reduced to the steps that matter (`shorten`).
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Protocol

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
from onboarding.application.pause_requests import PauseRequests
from onboarding.application.ports import ArmAnswer, MachineRows, Message, RowVersions, RowWrite, ScheduledCheck
from onboarding.domain.errors import ArmError, OnboardingError, StorageError
from onboarding.domain.failures.classification import ExtensionState, read_extension_state
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.json_access import digest
from onboarding.domain.limits.pause import Pause
from onboarding.domain.machine.machine_facts import InstalledExtension, read_facts
from onboarding.domain.reconcile.change import Change
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import ExtensionId, VmId
from tests.flow.world import (
    CATALOGUE,
    OMS,
    POLICY,
    SECOND,
    SECOND_POLICY,
    ArmInMemory,
    LedgerInMemory,
    ScheduleQueueInMemory,
    World,
    extension,
    vm_body,
    vm_id,
)

type Step = tuple[Any, ...]

VM = vm_id()
OURS = (OMS, SECOND.name)
NAMES = {OMS: CATALOGUE[OMS].resource_name, SECOND.name: SECOND.resource_name, "other": "CustomScript"}
WHICH = (*OURS, "other")
# The policies of a host that runs another version of the files.
CHANGED = [{**POLICY, "waits": {"operation": {"every": ["2m", "20m"]}}}, {**SECOND_POLICY, "settleDelay": "2m"}]
VERSIONS = {1: [POLICY, SECOND_POLICY], 2: CHANGED, 3: [POLICY]}  # the policies of the second host
_WRITING = ("creating", "updating", "deleting")

REFUSALS: dict[str, Evidence] = {
    "429": Evidence(http_status=429, code="TooManyRequests", message="slow down", headers={"retry-after": "120"}),
    "429 bare": Evidence(http_status=429, code="TooManyRequests", message="slow down"),
    "429 long": Evidence(http_status=429, code="TooManyRequests", message="slow down", headers={"retry-after": "9000"}),
    "500": Evidence(http_status=500, code="InternalServerError", message="oops"),
    "503": Evidence(http_status=503, code="ServiceUnavailable", headers={"retry-after": "30"}),
    "no answer": Evidence(code="ServiceResponseTimeoutError"),
    "403": Evidence(
        http_status=403,
        code="AuthorizationFailed",
        message="The client 'a' with object id 'b' does not have authorization to perform action 'x' over scope 's'.",
    ),
    "404": Evidence(http_status=404, code="ResourceGroupBeingDeleted", message="The group is being deleted."),
    "404 gone": Evidence(
        http_status=404,
        code="ResourceNotFound",
        message="The Resource 'Microsoft.Compute/virtualMachines/web01' under resource group 'app-rg' was not found.",
    ),
    "409": Evidence(http_status=409, code="Conflict", message="conflict with a concurrent request."),
    "400": Evidence(http_status=400, code="BadRequest", message="The request is not valid."),
    "no token": Evidence(code="TokenUnavailable", message="no token"),
}
ENDS: dict[str, tuple[str, str]] = {  # how a handler ends: its status code and its message
    "well": ("", ""),
    "locked": (
        "ProvisioningState/failed/51",
        "[ExtensionOperationError] Non-zero exit code: 51, omsagent.py\n[stdout]\ndpkg: error: dpkg frontend lock is "
        "locked by another process",
    ),
    "network": (
        "ProvisioningState/failed/55",
        "[ExtensionOperationError] Non-zero exit code: 55, omsagent.py\n[stdout]\ncurl: (6) Could not resolve host",
    ),
    "dependency": ("ProvisioningState/failed/52", "[ExtensionOperationError] Non-zero exit code: 52, omsagent.py"),
    "settings": ("ProvisioningState/failed/11", "[ExtensionOperationError] Non-zero exit code: 11, omsagent.py"),
    "elsewhere": ("ProvisioningState/failed/10", "[stdout]\nMachine is already connected to some other workspace"),
    "unknown": ("ProvisioningState/failed/99", "it broke"),
    "timeout": ("ProvisioningState/transitioning", "Timeout(30) of the handler; terminal error"),
}


class Defect(AssertionError):
    """A condition that must hold does not hold."""


class Died(BaseException):
    """The process dies here."""


class Turns:
    """Lets other tasks run at each call over the network, in an order that depends on a seed of the walk."""

    def __init__(self) -> None:
        self._random: random.Random | None = None

    def shuffle(self, seed: int | None) -> None:
        self._random = random.Random(seed) if seed is not None else None

    async def pass_on(self) -> None:
        for _ in range(self._random.randrange(4) if self._random else 0):
            await asyncio.sleep(0)


class StrictArm(ArmInMemory):
    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns
        self.read_faults: list[str] = []
        self.put_faults: list[str] = []
        self.ours: set[str] = set()  # the names of extensions that we are writing
        self.unanswered: dict[str, datetime] = {}  # until when a request without an answer may still be in flight
        self.paused_since: datetime | None = None  # when a person paused everything; None: nothing is paused

    @property
    def machine(self) -> dict[str, Any] | None:
        return self.machines.get(VM.key)

    def found(self, which: str) -> InstalledExtension | None:
        if self.machine is None:
            return None
        facts = read_facts(copy.deepcopy(self.machine))
        if which == "other":
            return facts.find_extension("Microsoft.Azure.Extensions", "CustomScript")
        return facts.find_extension(CATALOGUE[which].publisher, CATALOGUE[which].type)

    def writing(self) -> list[str]:
        resources = self.machine.get("resources", []) if self.machine else []
        return [r["name"] for r in resources if r["properties"]["provisioningState"].lower() in _WRITING]

    def free(self) -> bool:
        """Whether ARM would accept a write of an extension by another owner."""
        return self.machine is not None and self._busy() == ""

    def _busy(self) -> str:
        assert self.machine is not None
        properties = self.machine["properties"]
        if writing := self.writing():
            return f"{writing[0]} is being written"
        if properties["provisioningState"] != "Succeeded":
            return f"the machine is {properties['provisioningState']}"
        return "" if "running" in str(properties["instanceView"]["statuses"]) else "the machine is stopped"

    async def read_machine(self, vm: VmId, *, to_install: bool = False) -> ArmAnswer:
        await self._turns.pass_on()
        self._fail_read()
        return await super().read_machine(vm, to_install=to_install)

    async def read_extension(self, vm: VmId, name: str) -> ArmAnswer:
        await self._turns.pass_on()
        self._fail_read()
        return await super().read_extension(vm, name)

    def _fail_read(self) -> None:
        if not self.read_faults:
            return
        fault = self.read_faults.pop(0)
        if fault == "dies":
            raise Died
        raise ArmError(REFUSALS[fault])

    async def _put_extension(self, vm: VmId, name: str, body: Mapping[str, Any]) -> None:
        await self._turns.pass_on()
        fault = self.put_faults.pop(0) if self.put_faults else ""
        if self.paused_since is not None and self.clock() - self.paused_since > timedelta(seconds=5):
            raise Defect(f"PUT {name}, which is paused since {self.paused_since}")
        if fault == "dies before":
            raise Died
        if self.clock() < self.unanswered.get(name, self.clock()):
            raise Defect(f"PUT {name} again, less than 4 minutes after one that nobody answered")
        if fault == "no answer":
            self.unanswered[name] = self.clock() + timedelta(minutes=4)
        if fault in REFUSALS:
            raise ArmError(REFUSALS[fault])
        if self.machine is None:
            raise Defect(f"PUT {name} for a machine that is gone")
        if busy := self._busy():
            mine = " by us" if any(each in self.ours for each in self.writing()) else ""
            self.conflicts += bool(mine)
            raise Defect(f"PUT {name} while {busy}{mine}")
        which = next(e for e in OURS if CATALOGUE[e].type == body["properties"]["type"])
        there = self.found(which)
        done = there is not None and read_extension_state(there) is ExtensionState.SUCCEEDED
        if done and there is not None and digest(there.settings) == digest(body["properties"]["settings"]):
            raise Defect(f"PUT {name}, which is there as it was sent")
        self.ours.add(name)
        await super()._put_extension(vm, name, body)
        await self._turns.pass_on()
        if fault == "dies after":
            raise Died
        if fault == "no answer, done":
            raise ArmError(REFUSALS["no answer"])


class StrictLedger(LedgerInMemory):
    """Compares every row with ARM at the moment of its write."""

    def __init__(self, turns: Turns, arm: StrictArm) -> None:
        super().__init__()
        self._turns = turns
        self._arm = arm
        self.faults: list[str] = []
        self.lines = 0

    async def read(self, vm: VmId, *, new: bool = False) -> MachineRows:
        await self._turns.pass_on()
        return await super().read(vm, new=new)

    async def commit(
        self,
        machine: MachineRow,
        version: str | None,
        entries: Sequence[RowWrite],
        trigger: EventRef,
        *,
        again: bool = False,
        rest: Mapping[str, Any] | None = None,
        changes: Sequence[Change] = (),
    ) -> RowVersions:
        await self._turns.pass_on()
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "fails":
            raise StorageError("the table could not be reached")
        if fault == "dies before":
            raise Died
        before = dict(self.rows)
        written = await super().commit(machine, version, entries, trigger, again=again, rest=rest, changes=changes)
        for entry in entries:
            stored = before.get((VM.key, entry.row.extension))
            if stored is None or stored.row.outcome is not entry.row.outcome:
                self._check_truth(entry.row)
            claimed = (
                stored is not None and stored.row.waiting_for is WaitingFor.CLAIM
            )  # a claim has no entry in the history
            idle = stored is not None and not claimed and not entry.row.belongs_in_history(stored.row)
            if idle and entry.history and entry.ended is None:
                raise Defect(f"a line of history that tells nothing new: {entry.row.reason}")
        self.lines += sum(entry.history for entry in entries)
        if fault == "dies after":
            raise Died
        if fault == "no answer":
            raise StorageError("the table did not answer, and has it")
        return written

    def _check_truth(self, row: Row) -> None:
        if row.outcome is Outcome.GONE and self._arm.machine is not None and "unconfirmed" not in row.reason:
            raise Defect(f"{row.extension} Gone, and the machine is there: {row.reason}")
        if row.outcome.present:
            there = self._arm.found(row.extension)
            if there is None or read_extension_state(there) is not ExtensionState.SUCCEEDED:
                raise Defect(f"{row.extension} {row.outcome}, and ARM says {there and there.provisioning_state}")
            if row.outcome is Outcome.INSTALLED and row.sent_digest not in ("", digest(there.settings)):
                raise Defect(f"{row.extension} Installed, with settings that we did not send")


class StrictQueue(ScheduleQueueInMemory):
    """Keeps a message until it was handled without an error."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns
        self.pending: list[Message] = []
        self.faults: list[str] = []

    async def schedule(self, message: Message, now: Any) -> None:
        await self._turns.pass_on()
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "fails":
            raise StorageError("the queue could not be reached")
        if fault == "dies":
            raise Died
        self.pending.append(message)
        if fault == "no answer":
            raise StorageError("the queue did not answer, and has it")
        await super().schedule(message, now)


class Walk:
    """One machine, two hosts, and a list of steps."""

    def __init__(
        self,
        policies: Sequence[list[dict[str, Any]]],
        arm: Callable[[Turns], StrictArm] = StrictArm,
        ledger: Callable[[Turns, Any], StrictLedger] = StrictLedger,
    ) -> None:
        self.turns = Turns()
        self.arm = arm(self.turns)
        self.ledger = ledger(self.turns, self.arm)
        self.queue = StrictQueue(self.turns)
        first = World(policies=policies[0], arm=self.arm, ledger=self.ledger, schedule_queue=self.queue)
        self.hosts = [first, first.with_policies(policies[1])]
        self.undelivered: list[Notification] = []  # true events that are not delivered yet
        self.published: list[Notification] = []
        self.failed_events: list[Notification] = []  # events whose delivery failed
        self.unsure = False  # a person's process died, so that rows may lack their checks
        self.failed_messages: list[Message] = []
        self.person = PauseRequests(first.pauses, lambda: self.now)
        self.numbers = 0
        self.vms = 0
        self.arm.machines[VM.key] = vm_body()
        self._set_clock()

    # -- time and events

    def _set_clock(self) -> None:
        # A World's clock is its own field; ARM's clock is the last one made.
        self.arm.clock = lambda: self.hosts[0].now

    @property
    def now(self) -> Any:
        return self.hosts[0].now

    def move(self, time: Any) -> None:
        for host in self.hosts:
            host.now = max(host.now, time)

    def trigger(self, minutes: float = 0) -> EventRef:
        self.numbers += 1
        return EventRef(f"event-{self.numbers}", self.now + timedelta(minutes=minutes), "c")

    def publish(self, event: Notification, published: bool) -> None:
        if published:
            self.undelivered.append(event)

    # -- steps

    async def step(self, step: Step) -> None:
        name, *rest = step
        await getattr(self, f"do_{name}")(*rest)
        self.check(step)

    async def do_pass(self, minutes: float) -> None:
        self.move(self.now + timedelta(minutes=minutes))

    async def do_ends(self, which: str, how: str, published: bool) -> None:
        self.end(which, how, published)

    def end(self, which: str, how: str, published: bool) -> None:
        name = NAMES[which]
        if self.arm.machine is None or not any(each.lower() == name.lower() for each in self.arm.writing()):
            return
        found = next(r for r in self.arm.machine["resources"] if r["name"] == name)
        code, words = ENDS[how]
        if found["properties"]["provisioningState"] == "Deleting" and not code:
            self.arm.ours.discard(name)
            self.arm.end_removal(VM, name)
            self.publish(ExtensionDeleted(ExtensionId(VM, name), self.trigger()), published)
            return
        state = "Failed" if code else "Succeeded"
        resource = {**found, "properties": {**found["properties"], "provisioningState": state}}
        self.arm.ours.discard(name)
        self.arm.set_extension(VM, resource, words, code)
        self.publish(ExtensionWritten(ExtensionId(VM, name), self.trigger(), not code), published)

    async def do_other_writes(self, which: str, settings: int, done: bool, published: bool) -> None:
        """Another owner writes an extension; `settings` 0 keeps its settings."""
        if not self.arm.free():
            return
        name = NAMES[which]
        handler = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}
        if which != "other":
            entry = CATALOGUE[which]
            handler = {"publisher": entry.publisher, "type": entry.type, "typeHandlerVersion": entry.version}
        state = "Creating" if self.arm.found(which) is None else "Updating"
        there = {"settings": {"theirs": settings}} if settings else {}
        self.arm.set_extension(VM, extension(name, state, **handler, **there))
        if done:
            self.end(which, "well", published)

    async def do_other_removes(self, which: str, published: bool) -> None:
        if not self.arm.free() or self.arm.machine is None or self.arm.found(which) is None:
            return
        name = NAMES[which]
        resources = self.arm.machine["resources"]
        self.arm.machine["resources"] = [each for each in resources if each["name"] != name]
        view = self.arm.machine["properties"]["instanceView"]
        view["extensions"] = [each for each in view.get("extensions", []) if each["name"] != name]
        self.publish(ExtensionDeleted(ExtensionId(VM, name), self.trigger()), published)

    async def do_power(self, state: str, published: bool) -> None:
        if self.arm.machine is None:
            return
        statuses = self.arm.machine["properties"]["instanceView"]["statuses"]
        statuses[1] = {"code": f"PowerState/{state}"}
        if state == "running":
            self.publish(VmStarted(VM, self.trigger()), published)

    async def do_agent(self, ready: bool) -> None:
        if self.arm.machine is not None:
            view = self.arm.machine["properties"]["instanceView"]
            view.pop("vmAgent", None)
            if ready:
                view["vmAgent"] = vm_body()["properties"]["instanceView"]["vmAgent"]

    async def do_state(self, state: str) -> None:
        if self.arm.machine is not None and not self.arm.writing():
            self.arm.machine["properties"]["provisioningState"] = state

    async def do_skip(self, skip: bool, published: bool) -> None:
        """The owner's tag excludes the machine from the policies, or includes it again."""
        if self.arm.machine is not None:
            self.arm.machine["tags"] = {"onboarding": "skip"} if skip else {}
            self.publish(VmWritten(VM, self.trigger(), created=False), published)

    async def do_delete(self, published: bool) -> None:
        if self.arm.machines.pop(VM.key, None) is not None:
            self.arm.ours.clear()
            self.arm.unanswered.clear()
            self.publish(VmDeleted(VM, self.trigger()), published)

    async def do_make(self, published: bool) -> None:
        if self.arm.machine is None:
            self.vms += 1
            self.arm.machines[VM.key] = vm_body(vm_id=f"again-{self.vms}")
            self.publish(VmWritten(VM, self.trigger(), created=True), published)

    async def do_fault(self, where: str, what: str) -> None:
        places = {"read": self.arm.read_faults, "put": self.arm.put_faults}
        places |= {"commit": self.ledger.faults, "schedule": self.queue.faults}
        places[where].append(what)

    async def do_old(self) -> None:
        """The machine row is missing, as in tables of an earlier version; the other rows and their checks exist."""
        if not (self.failed_events or self.failed_messages or self.unsure):
            self.ledger.machines.clear()
            moments = {row.next_attempt_at for row in self.rows().values() if not row.outcome.final}
            self.queue.pending += [ScheduledCheck(VM, due) for due in moments if due]

    async def do_event(self, kind: str, minutes: float, host: int) -> None:
        """Deliver an event at once, whether or not it is true."""
        await self.deliver(self.event(kind, minutes), host)

    def event(self, kind: str, minutes: float) -> Notification:
        trigger = self.trigger(minutes)
        match kind.split():
            case ["created"]:
                return VmWritten(VM, trigger, created=True)
            case ["updated"]:
                return VmWritten(VM, trigger, created=False)
            case ["started"]:
                return VmStarted(VM, trigger)
            case ["deleted"]:
                return VmDeleted(VM, trigger)
            case ["written", which, how]:
                return ExtensionWritten(ExtensionId(VM, NAMES[which]), trigger, how == "well")
            case ["finding"]:
                return PolicyStateChanged(VM, trigger, compliant=False, definition_id="d")
            case ["removed", which]:
                return ExtensionDeleted(ExtensionId(VM, NAMES[which]), trigger)
            case _:
                raise ValueError(kind)

    async def do_deliver(self, at: int, host: int) -> None:
        """Deliver a true event; the order is random."""
        if self.undelivered:
            await self.deliver(self.undelivered.pop(at % len(self.undelivered)), host)

    async def do_duplicate(self, at: int, host: int) -> None:
        """Deliver an event again."""
        if self.published:
            await self.deliver(self.published[at % len(self.published)], host)

    async def do_redeliver(self, at: int, host: int) -> None:
        if self.failed_events:
            await self.deliver(self.failed_events[at % len(self.failed_events)], host)

    async def deliver(self, event: Notification, host: int) -> None:
        if event not in self.published:
            self.published.append(event)
        if await self.survives(self.hosts[host].dispatcher.handle(event), host):
            self.failed_events = [each for each in self.failed_events if each != event]
        elif event not in self.failed_events:
            self.failed_events.append(event)

    async def do_check(self, at: int, host: int, twice: bool) -> None:
        """Handle a message that is due."""
        due = [each for each in self.queue.pending if each.due <= self.now]
        if due:
            await self.handle_message(due[at % len(due)], host, twice)

    async def do_next(self, host: int) -> None:
        """Move the clock to the earliest message, and handle it."""
        if self.queue.pending:
            message = min(self.queue.pending, key=lambda each: each.due)
            self.move(message.due)
            await self.handle_message(message, host)

    async def handle_message(self, message: Message, host: int, twice: bool = False) -> None:
        if message not in self.queue.pending:
            return
        if not twice:
            self.queue.pending.remove(message)
        if await self.survives(self.hosts[host].dispatcher.handle_message(message), host):
            self.failed_messages = [each for each in self.failed_messages if each != message]
        else:
            self.failed_messages.append(message)
            if not twice:
                self.queue.pending.append(message)

    async def survives(self, work: Awaitable[None], host: int) -> bool:
        """Whether the work ended without an error that causes a redelivery."""
        try:
            await work
        except (StorageError, Died) as error:
            if isinstance(error, Died):
                self.restart(host)
            return False
        return True

    def restart(self, host: int) -> None:
        """Restart a host; its memory is lost."""
        self.hosts[host].__post_init__()
        self._set_clock()

    async def do_sweep(self, host: int) -> None:
        try:
            await self.hosts[host].sweep.run()
        except (StorageError, Died):
            self.restart(host)

    async def do_ask(self, policy: str, host: int) -> None:
        try:
            await self.hosts[host].requests.handle(VM, OperatorRequest(policy=policy))
        except ArmError:
            pass
        except (StorageError, Died) as error:
            self.unsure = True  # nobody repeats a person's command; the sweep continues with its rows
            if isinstance(error, Died):
                self.restart(host)

    async def do_pause(self, minutes: float) -> None:
        """A person pauses everything, for so long, or until they resume it (0)."""
        until = self.now + timedelta(minutes=minutes) if minutes else None
        await self.person.begin(Pause(reason="a walk", since=self.now, until=until))
        self.arm.paused_since = self.now if until is None else None  # what ends by itself may be over at any step

    async def do_resume(self, dies: bool) -> None:
        """The person resumes it; the command may die before it makes any machine due."""
        ended = await self.person.end(None)
        self.arm.paused_since = None
        if not dies and ended:
            with suppress(StorageError, Died):
                await self.person.make_due(ended, self.ledger, self.queue, per_minute=400)

    async def do_both(self, one: Step, other: Step, seed: int) -> None:
        """Run two steps of the hosts concurrently."""
        self.turns.shuffle(seed)
        try:
            jobs = [getattr(self, f"do_{name}")(*rest) for name, *rest in (one, other)]
            for result in await asyncio.gather(*jobs, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result
        finally:
            self.turns.shuffle(None)

    # -- what must hold

    def rows(self) -> dict[str, Row]:
        return {e: s.row for (key, e), s in self.ledger.rows.items() if key == VM.key}

    def check(self, step: Step) -> None:
        self.unsure = self.unsure and not self.has_all_checks()
        if self.failed_events or self.failed_messages or self.unsure:
            return
        if missing := self.without_check():
            raise Defect(f"after {step}: no check for {missing}")

    def has_all_checks(self) -> bool:
        return not self.without_check()

    def without_check(self) -> list[str]:
        """The open rows without a scheduled check at their moment or before, which the machine waits for."""
        waiting = [row for row in self.rows().values() if not row.outcome.final]
        moments = [row.next_attempt_at for row in waiting if row.next_attempt_at]
        machine = self.ledger.machines.get(VM.key)
        awaited = {min(moments, default=None), machine.row.next_attempt_at if machine else None}
        checks = [m.due for m in self.queue.pending if isinstance(m, ScheduledCheck) and m.due in awaited]
        first = min(checks, default=None)
        return [
            f"{row.extension}: {row.outcome} {row.waiting_for} {row.next_attempt_at}"
            for row in waiting
            if first is None or row.next_attempt_at is None or first > row.next_attempt_at
        ]

    # -- the end

    async def finish(self) -> None:
        """End all faults: now the stored state must be enough to bring every row to a true end."""
        for faults in (self.arm.read_faults, self.arm.put_faults, self.ledger.faults, self.queue.faults):
            faults.clear()
        if self.arm.machine is not None:
            await self.do_state("Succeeded")
            self.arm.machine["properties"]["provisioningState"] = "Succeeded"
            await self.do_power("running", True)
            await self.do_agent(True)
        self.undelivered.clear()
        await self.do_resume(dies=False)
        self.move(self.now + timedelta(seconds=6))
        for event in list(self.failed_events):
            await self.deliver(event, 0)
        self.check(("failed events",))
        await self.play()
        for _ in range(3):
            self.move(self.now + timedelta(hours=7))
            await self.do_sweep(0)
            await self.play()
        self.check(("end",))
        self.check_end()

    async def play(self) -> None:
        for _ in range(400):
            if self.arm.writing():
                self.move(self.now + timedelta(minutes=2))
                for which in WHICH:
                    self.end(which, "well", published=False)
            if not self.queue.pending or self.at_rest():
                return
            await self.do_next(0)
            self.check(("next", 0))
        raise Defect(f"it does not end: {[(r.extension, r.outcome, r.reason) for r in self.rows().values()]}")

    def at_rest(self) -> bool:
        """Whether all open rows wait for what does not happen in this walk."""
        return False

    def check_end(self) -> None:
        rows = self.rows()
        if self.arm.machine is None:
            wrong = [f"{r.extension} {r.outcome}" for r in rows.values() if r.outcome is not Outcome.GONE]
            if wrong:
                raise Defect(f"the machine is gone, and the table says {wrong}")
            return
        skipped = self.arm.machine["tags"] != {}
        vm = self.arm.machine["properties"]["vmId"]
        for which in OURS:
            row, there = rows.get(which), self.arm.found(which)
            installed = there is not None and read_extension_state(there) is ExtensionState.SUCCEEDED
            if row is None:
                if installed or skipped:
                    continue
                raise Defect(f"nothing is known of {which}")
            if not row.outcome.final:
                raise Defect(f"{which} is {row.outcome} for {row.waiting_for} at the end: {row.reason}")
            if row.vm_id not in ("", vm) and not skipped:
                raise Defect(f"{which} speaks of another machine")
            if skipped:
                continue
            if installed != row.outcome.present:
                said = there.provisioning_state if there else "absent"
                if row.outcome is Outcome.FAILED and row.error_code and not installed:
                    continue
                raise Defect(f"{which} is {row.outcome} ({row.reason}), and ARM says {said}")


# -- walks at random


def draw(seed: int, length: int = 40) -> list[Step]:
    """Draw a walk. Half of the walks begin like most machines, and many steps are ordinary ones."""
    dice = random.Random(seed)
    steps: list[Step] = [("event", "created", 0, 0)] if dice.random() < 0.6 else []
    calm = dice.random()  # the share of ordinary steps in this walk
    while len(steps) < length:
        steps.append(_troubled(dice) if dice.random() > 0.3 + calm / 2 else _ordinary(dice))
    return steps


def _ordinary(dice: random.Random) -> Step:
    kind = dice.choice(["ends", "ends", "deliver", "deliver", "next", "check", "pass", "redeliver", "both", "updated"])
    match kind:
        case "ends":
            return ("ends", dice.choice(WHICH), dice.choice(["well", "well", *ENDS]), dice.random() < 0.8)
        case "both":
            return ("both", _host_step(dice), _host_step(dice), dice.randrange(1000))
        case "pass":
            return ("pass", dice.choice([0.1, 1, 4, 5, 10, 60, 300, 1500]))
        case "updated":
            return ("event", dice.choice(["created", "updated"]), 0, _host(dice))
        case _:
            return _host_step(dice, kind)


def _host(dice: random.Random) -> int:
    return dice.randrange(2)


def _host_step(dice: random.Random, kind: str = "") -> Step:
    kind = kind or dice.choice(["deliver", "duplicate", "redeliver", "check", "check", "next", "ask", "event", "event"])
    match kind:
        case "deliver" | "duplicate" | "redeliver":
            return (kind, dice.randrange(20), _host(dice))
        case "check":
            return ("check", dice.randrange(20), _host(dice), dice.random() < 0.2)
        case "next":
            return ("next", _host(dice))
        case "ask":
            return ("ask", dice.choice(["", POLICY["name"], SECOND_POLICY["name"]]), _host(dice))
        case _:
            return _event(dice)


def _event(dice: random.Random) -> Step:
    kinds = ["created", "updated", "started", "deleted", "finding"]
    kinds += [f"written {which} {how}" for which in WHICH for how in ("well", "badly")]
    kinds += [f"removed {which}" for which in WHICH]
    return ("event", dice.choice(kinds), dice.choice([0, 0, 0, -1, -30, -400, 2, 200]), _host(dice))


def _troubled(dice: random.Random) -> Step:
    published = dice.random() < 0.6
    kind = dice.choice(
        [
            "other",
            "other",
            "removes",
            "power",
            "state",
            "delete",
            "make",
            "skip",
            "agent",
            "sweep",
            "ask",
            "event",
            "old",
        ]
        + ["fault"] * 6
    )
    match kind:
        case "other":
            which = dice.choice(WHICH)
            return ("other_writes", which, dice.randrange(3), dice.random() < 0.5, published)
        case "removes":
            return ("other_removes", dice.choice(OURS), published)
        case "power":
            return ("power", dice.choice(["running", "running", "deallocated"]), published)
        case "state":
            return ("state", dice.choice(["Succeeded", "Succeeded", "Updating", "Deleting"]))
        case "skip":
            return ("skip", dice.random() < 0.4, published)
        case "old":
            return ("old",) if dice.random() < 0.3 else ("sweep", _host(dice))
        case "agent":
            return ("agent", dice.random() < 0.6)
        case "delete" | "make":
            return (kind if dice.random() < 0.5 else "make", published)
        case "sweep":
            return ("sweep", _host(dice))
        case "fault":
            return _fault(dice)
        case _:
            return _host_step(dice, kind)


def _fault(dice: random.Random) -> Step:
    where = dice.choice(["read", "put", "put", "commit", "commit", "schedule", "schedule"])
    whats = {
        "read": [*[each for each in REFUSALS if each != "404 gone"], "dies"],
        "put": [*REFUSALS, "dies before", "dies after", "no answer, done", "no answer, done"],
        "commit": ["fails", "dies before", "dies after", "no answer"],
        "schedule": ["fails", "dies", "no answer"],
    }
    return ("fault", where, dice.choice(whats[where]))


def defect(steps: Iterable[Step], versions: int = 1) -> str:
    """What is wrong after that walk; empty if nothing is. `versions` is the key of the second host's policies."""

    return defect_of(lambda: Walk([VERSIONS[1], VERSIONS[versions]]), steps)


class Walking[S](Protocol):
    """A machine's life in steps."""

    async def step(self, step: S, /) -> None: ...

    async def finish(self) -> None: ...


def defect_of[S](begin: Callable[[], Walking[S]], steps: Iterable[S]) -> str:
    """What is wrong after that walk; empty if nothing is."""

    async def run() -> str:
        walk = begin()
        try:
            for step in steps:
                await walk.step(step)
            await walk.finish()
        except Defect as found:
            return str(found)
        except (OnboardingError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    return asyncio.run(run())


def shorten(steps: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """The walk without the steps that are not needed for its failure."""
    size = max(1, len(steps) // 2)
    while size:
        at = 0
        while at < len(steps):
            shorter = steps[:at] + steps[at + size :]
            if fails(shorter):
                steps = shorter
            else:
                at += size
        size //= 2
    return steps
