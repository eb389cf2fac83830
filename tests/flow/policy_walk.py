"""Walks, as in `tests.flow.walk`, over the policies of all effects: installs and removals, with change windows, limits
and `onlyAfter`, on machines that are older than the policies too. A person requests, removes and pauses; policies are
deployed while rows are open.

ARM here knows what every host's policies allow, so each write is judged at the moment at which it is sent.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from onboarding.application.notifications import EventRef, VmWritten
from onboarding.application.ports import RowVersions, RowWrite
from onboarding.domain.errors import ArmError, StorageError
from onboarding.domain.failures.classification import Cause, ExtensionState, read_extension_state
from onboarding.domain.limits.pause import Pause
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.steps.step import ArmRequest
from onboarding.domain.resource_id import VmId
from onboarding.logging import bound_keys
from tests.flow.walk import (
    NAMES,
    OURS,
    REFUSALS,
    VM,
    Defect,
    Died,
    Step,
    StrictArm,
    StrictLedger,
    Turns,
    Walk,
    defect_of,
    draw,
)
from tests.flow.world import CATALOGUE, OMS, POLICY, SECOND, SECOND_POLICY, START, World, extension, vm_body

RULE = POLICY["rule"]
AGES = {"new": timedelta(), "old": timedelta(days=30)}
_SEND_S = timedelta(seconds=5)  # for how long a worker uses the pauses that it has read

_WINDOW = {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "02:00", "to": "06:00", "zone": "UTC"}
_RETIRE = {"name": "retire-oms", "effect": "removeIfExists", "extension": OMS, "rule": RULE}
_AFTER = {"policy": "inventory", "for": "2h", "proof": "arm"}
_ENFORCE = {"existing": "enforce"}
SHAPES: dict[str, list[dict[str, Any]]] = {
    "install": [POLICY, SECOND_POLICY],
    "install, enforced": [{**POLICY, **_ENFORCE}, {**SECOND_POLICY, **_ENFORCE}],
    "install in a window": [
        {**POLICY, "changeWindow": _WINDOW, **_ENFORCE},
        {**SECOND_POLICY, "changeWindow": _WINDOW},
    ],
    "install, limited": [{**POLICY, "brake": {"maxInstallsPerHour": 1}, **_ENFORCE}, SECOND_POLICY],
    "removal": [_RETIRE, SECOND_POLICY],
    "removal after": [{**_RETIRE, "onlyAfter": _AFTER}, SECOND_POLICY],
    "removal after, enforced": [{**_RETIRE, "onlyAfter": _AFTER, **_ENFORCE}, {**SECOND_POLICY, **_ENFORCE}],
    "removal after in a window": [
        {**_RETIRE, "onlyAfter": _AFTER, "changeWindow": _WINDOW, **_ENFORCE},
        {**SECOND_POLICY, "changeWindow": _WINDOW, **_ENFORCE},
    ],
    "removal after another name": [
        {**_RETIRE, "onlyAfter": {**_AFTER, "policy": "stock"}, **_ENFORCE},
        {**SECOND_POLICY, "name": "stock", **_ENFORCE},
    ],
    "removal and install": [POLICY, {**_RETIRE, "onlyAfter": _AFTER, **_ENFORCE}, SECOND_POLICY],
    "removal of both": [_RETIRE, {**_RETIRE, "name": "retire-inventory", "extension": SECOND.name, **_ENFORCE}],
    "one policy": [{**POLICY, **_ENFORCE}],
}


class PolicyArm(StrictArm):
    """Also removes extensions, and judges each write by what the policies of all hosts and a person allow."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(turns)
        self.hosts: Sequence[World] = ()
        self.taken_up: set[tuple[str, str]] = set()  # by a person: machines and extensions
        self.enforced: set[str] = set()  # the extensions for which a policy was in force that spares no machine
        self.removed_by_person: set[str] = set()  # the extensions
        self.brought: set[str] = set()  # the extensions that we brought and that have not succeeded yet
        self.policies_paused: dict[str, datetime] = {}  # since when, by name
        self.satisfied: dict[str, tuple[str, str, datetime]] = {}  # what rows said: machine, policy, since
        self.accepted: list[str] = []  # the client-request-ids of the writes that ARM took
        self.removal_faults: list[str] = []

    async def send(self, vm: VmId, request: ArmRequest) -> bool:
        if self.machine is not None:
            self._judge(request)
        if request.method == "DELETE":
            await self._delete(vm, request.path.rpartition("/")[2])
            return False
        return await super().send(vm, request)

    async def _put_extension(self, vm: VmId, name: str, body: Any) -> None:
        sent = len(self.request_ids)
        absent = self.machine is not None and name not in self._there()
        try:
            await super()._put_extension(vm, name, body)
        finally:
            if len(self.request_ids) > sent and self.machine is not None:
                self.accepted.append(self.request_ids[-1])
                if absent:
                    self.brought.add(name)

    async def _delete(self, vm: VmId, name: str) -> None:
        await self._turns.pass_on()
        fault = self.put_faults.pop(0) if self.put_faults else ""
        if fault == "dies before":
            raise Died
        if self.clock() < self.unanswered.get(name, self.clock()):
            raise Defect(f"DELETE {name} again, less than 4 minutes after one that nobody answered")
        if fault == "no answer":
            self.unanswered[name] = self.clock() + timedelta(minutes=4)
        if fault in REFUSALS:
            raise ArmError(REFUSALS[fault])
        if self.machine is None:
            raise Defect(f"DELETE {name} for a machine that is gone")
        hangs = self.writing() == [name] and self.found(next(e for e in OURS if NAMES[e] == name)) is not None
        if not hangs and (busy := self._busy()):
            raise Defect(f"DELETE {name} while {busy}")
        if name not in self._there():
            raise Defect(f"DELETE {name}, which is not there")
        self.ours.add(name)
        self._delete_extension(vm, name)
        self.accepted.append(bound_keys().client_request_id)
        await self._turns.pass_on()
        if fault == "dies after":
            raise Died
        if fault == "no answer, done":
            raise ArmError(REFUSALS["no answer"])

    def _there(self) -> list[str]:
        return [each["name"] for each in (self.machine or {}).get("resources", [])]

    def _judge(self, request: ArmRequest) -> None:
        name = request.path.rpartition("/")[2]
        which = next(each for each in OURS if NAMES[each] == name or CATALOGUE[each].type == name)
        what, now = f"{request.method} {name}", self.clock()
        removes = request.method == "DELETE"
        if self.paused_since is not None and now - self.paused_since > _SEND_S:
            raise Defect(f"{what}, which is paused since {self.paused_since}")
        deciding = [policy for host in self.hosts if (policy := self.deciding(host, which)) is not None]
        if removes and which in self.removed_by_person:
            self._judge_window(what, name, deciding, removes)
            return
        deciding = [policy for policy in deciding if policy.removes is removes]
        if not deciding:
            raise Defect(f"{what}, and no policy wants that")
        paused = [self.policies_paused.get(policy.name) for policy in deciding]
        if all(since is not None and now - since > _SEND_S for since in paused):
            raise Defect(f"{what}, whose policy is paused")
        vm, old = self.judged()
        spares = all(policy.spares_existing for policy in deciding)
        taken_up = which in self.enforced or not self.taken_up.isdisjoint({(vm, which), ("", which)})
        if old and spares and not taken_up:
            raise Defect(f"{what} on an existing machine that nobody has taken up")
        self._judge_window(what, name, deciding, removes)
        if removes and all(not self._is_after(policy, vm, now) for policy in deciding):
            raise Defect(f"{what} before the policy that it comes after was satisfied long enough")

    def _judge_window(self, what: str, name: str, deciding: Sequence[Policy], removes: bool) -> None:
        changes = removes or (name in self._there() and name not in self.brought)
        closed = [bool(p.change_windows) and not p.change_windows.is_open(self.clock()) for p in deciding]
        if changes and deciding and all(closed):
            raise Defect(f"{what} outside of the change window")

    def _is_after(self, policy: Policy, vm: str, now: datetime) -> bool:
        rule = policy.only_after
        if rule is None:
            return True
        there = self.found(SECOND.name)
        if there is None or read_extension_state(there) is not ExtensionState.SUCCEEDED:
            return False
        known, by, since = self.satisfied.get(SECOND.name, ("", "", now))
        return (known, by) == (vm, rule.policy) and now - since >= timedelta(seconds=rule.wait)

    def judged(self) -> tuple[str, bool]:
        """The machine's VmId, and whether it is older than all policies."""
        assert self.machine is not None
        facts = read_facts(self.machine)
        return facts.vm_id, facts.time_created is not None and START - facts.time_created > timedelta(days=1)

    @staticmethod
    def deciding(host: World, which: str) -> Policy | None:
        policies = sorted(host.parsed, key=lambda policy: not policy.removes)
        return next((policy for policy in policies if policy.extension == which), None)


class PolicyLedger(StrictLedger):
    """Notes since when the rows have said that a policy is satisfied, whatever their columns say."""

    def __init__(self, turns: Turns, arm: PolicyArm) -> None:
        super().__init__(turns, arm)
        self._policy_arm = arm
        self._before: dict[str, tuple[str, str, datetime]] = {}  # before the last write

    async def commit(
        self, machine: MachineRow, version: str | None, entries: Sequence[RowWrite], trigger: EventRef, **options: Any
    ) -> RowVersions:
        try:
            return await super().commit(machine, version, entries, trigger, **options)
        finally:  # it may be written although there was no answer
            self._note([entry for entry in entries if self._has(entry.row)])

    def _has(self, row: Row) -> bool:
        stored = self.rows.get((VM.key, row.extension))
        return stored is not None and stored.row.to_properties() == row.to_properties()

    async def undo(self, *given: Any, **options: Any) -> None:
        await super().undo(*given, **options)
        self._policy_arm.satisfied = self._before

    def _note(self, entries: Sequence[RowWrite]) -> None:
        arm = self._policy_arm
        self._before = dict(arm.satisfied)
        for row in (entry.row for entry in entries):
            known = arm.satisfied.get(row.extension)
            unread = row.outcome is Outcome.WAITING and row.error_code != ""
            if unread and known is not None and known[:2] == (row.vm_id, row.policy):
                continue  # what could not be read stops no clock
            if not row.outcome.present:
                arm.satisfied.pop(row.extension, None)
            elif known is None or known[:2] != (row.vm_id, row.policy):
                arm.satisfied[row.extension] = row.vm_id, row.policy, arm.clock()

    def _check_truth(self, row: Row) -> None:
        super()._check_truth(row)
        if row.outcome is Outcome.REMOVED and self._policy_arm.found(row.extension) is not None:
            raise Defect(f"{row.extension} Removed, and ARM shows it")


class PolicyWalk(Walk):
    """A walk whose hosts begin with the policies of two shapes."""

    arm: PolicyArm

    def __init__(self, first: str, second: str) -> None:
        super().__init__([SHAPES[first], SHAPES[second]], PolicyArm, PolicyLedger)
        self.arm.hosts = self.hosts
        self._note_enforced()

    def _note_enforced(self) -> None:
        policies = [policy for host in self.hosts for policy in host.parsed]
        self.arm.enforced |= {policy.extension for policy in policies if not policy.spares_existing}

    # -- steps

    async def do_deploy(self, shape: str, host: int) -> None:
        """A host starts with other policies."""
        self.hosts[host].policies = SHAPES[shape]
        self.restart(host)
        self._note_enforced()

    async def do_replace(self, age: str, there: Sequence[str], published: bool) -> None:
        """Another machine gets the name, with these extensions on it."""
        self.vms += 1
        self.arm.ours.clear()
        self.arm.unanswered.clear()
        self.arm.brought.clear()
        self.arm.removed_by_person.clear()
        created = self.now - AGES[age] if age == "new" else START - AGES[age]
        self.arm.machines[VM.key] = vm_body(vm_id=f"other-{self.vms}", created=created)
        for which in there:
            entry = CATALOGUE[which]
            handler = {"publisher": entry.publisher, "type": entry.type, "typeHandlerVersion": entry.version}
            self.arm.set_extension(VM, extension(NAMES[which], "Succeeded", **handler))
        self.publish(VmWritten(VM, self.trigger(), created=True), published)

    async def do_delete(self, published: bool) -> None:
        await super().do_delete(published)
        self.arm.brought.clear()
        self.arm.removed_by_person.clear()

    def end(self, which: str, how: str, published: bool) -> None:
        super().end(which, how, published)
        there = self.arm.found(which) if self.arm.machine is not None else None
        if there is None or read_extension_state(there) is ExtensionState.SUCCEEDED:
            self.arm.brought.discard(NAMES[which])

    async def do_ask(self, policy: str, host: int) -> None:
        named = [each for each in self.hosts[host].parsed if each.name == policy]
        self._take_up(named[0].extension if named else "")
        self.move(self.now + timedelta(milliseconds=1))
        await super().do_ask(policy, host)

    async def do_request(self, removal: bool | None, which: str, policy: str, host: int) -> None:
        """A person installs, removes or retries an extension, or what a policy says."""
        request = OperatorRequest(policy=policy, extension=which, removal=removal)
        self.move(self.now + timedelta(milliseconds=1))  # two commands have two moments
        named = [each for each in self.hosts[host].parsed if each.name == policy]
        if which or named or not policy:
            self._take_up(which or (named[0].extension if named else ""))
        if removal is True and which:
            self.arm.removed_by_person.add(which)
        try:
            await self.hosts[host].requests.handle(VM, request)
        except ArmError:
            pass
        except (StorageError, Died) as error:
            self.unsure = True
            if isinstance(error, Died):
                self.restart(host)

    def _take_up(self, which: str) -> None:
        """Nobody knows which machine of the name a person means, where none is there to be read."""
        vm = self.arm.machine["properties"]["vmId"] if self.arm.machine is not None else ""
        self.arm.taken_up |= {(vm, each) for each in ([which] if which else OURS)}

    async def do_pause_policy(self, policy: str) -> None:
        await self.person.begin(Pause(reason="a walk", since=self.now, policy=policy))
        self.arm.policies_paused.setdefault(policy, self.now)

    async def do_resume(self, dies: bool) -> None:
        self.arm.policies_paused.clear()
        await super().do_resume(dies)

    # -- the end

    def at_rest(self) -> bool:
        """A removal may wait for a policy that is never satisfied, and is checked daily."""
        waiting = [row for row in self.rows().values() if not row.outcome.final]
        due = any(each.due <= self.now for each in self.queue.pending)
        return not due and bool(waiting) and all(self._waits_for_ever(row) for row in waiting)

    def _waits_for_ever(self, row: Row) -> bool:
        policy = self.arm.deciding(self.hosts[0], row.extension)
        if row.waiting_for is not WaitingFor.ONLY_AFTER or policy is None or policy.only_after is None:
            return False
        other = self.rows().get(SECOND.name)
        satisfied = other is not None and other.outcome.present and other.policy == policy.only_after.policy
        due = row.next_attempt_at is None or row.next_attempt_at > self.now
        return not satisfied and due and (other is None or other.outcome.final)

    def check_end(self) -> None:
        if self.arm.machine is None:
            super().check_end()
            return
        lines = {change.client_request_id for change in self.ledger.changes_by_key.values()}
        if lost := [each for each in self.arm.accepted if each not in lines]:
            raise Defect(f"no line of history for {lost}")
        if self.arm.machine["tags"] != {}:
            return
        vm, _ = self.arm.judged()
        for which in OURS:
            policy = self.arm.deciding(self.hosts[0], which)
            if policy is not None:
                self._check_target(which, policy, vm)

    def _check_target(self, which: str, policy: Policy, vm: str) -> None:
        row, there = self.rows().get(which), self.arm.found(which)
        installed = there is not None and read_extension_state(there) is ExtensionState.SUCCEEDED
        if row is None:
            if installed == policy.removes:
                raise Defect(f"nothing is known of {which}")
            return
        what = f"{which} is {row.outcome} for {row.waiting_for} at the end ({row.reason}), and ARM says {there}"
        earlier = row.vm_id not in ("", vm)
        nothing_to_do = policy.removes and there is None and row.outcome in (Outcome.GONE, Outcome.OUT_OF_SCOPE)
        if earlier and not (nothing_to_do and row.outcome is Outcome.GONE):
            raise Defect(f"{which} speaks of another machine: {row.outcome}")
        known = nothing_to_do or (row.outcome is Outcome.FAILED and row.error_code != "")
        known |= row.outcome is Outcome.AUDITED and policy.spares_existing and row.cause == Cause.EXISTING_MACHINE
        if known or (not row.outcome.final and self._waits_for_ever(row)):
            return
        if policy.removes:
            true = row.outcome is Outcome.REMOVED and there is None
        else:
            true = installed == row.outcome.present and (installed or which in self.arm.removed_by_person)
        if not (row.outcome.final and true):
            raise Defect(what)


# -- walks at random


def drawn(seed: int) -> tuple[str, str, list[Step]]:
    """The shapes of the two hosts, and the steps."""
    dice = random.Random(f"policies {seed}")
    first = dice.choice(list(SHAPES))
    second = first if dice.random() < 0.7 else dice.choice(list(SHAPES))
    steps = draw(seed, dice.randrange(8, 40))
    for _ in range(dice.randrange(2, 12)):
        at = dice.randrange(len(steps) + 1)
        steps[at:at] = _extra(dice)
    if dice.random() < 0.8:
        there = tuple(each for each in OURS if dice.random() < 0.5)
        steps.insert(0, ("replace", dice.choice(list(AGES)), there, dice.random() < 0.7))
    return first, second, steps


def _extra(dice: random.Random) -> list[Step]:
    host = int(dice.random() < 0.3)
    which = dice.choice(OURS)
    names = ["", "", *sorted({policy["name"] for shape in SHAPES.values() for policy in shape})]
    match dice.choice(
        ["request", "remove", "pause", "pause policy", "deploy", "replace", "pass", "pass", "war", "power", "sweep"]
    ):
        case "request":
            return [("request", dice.choice([None, False]), "", dice.choice(names), host)]
        case "remove":
            named = which if dice.random() < 0.7 else ""
            return [("request", True, named, "" if named else "retire-oms", host)]
        case "pause":
            return [("pause", dice.choice([0, 0, 3, 90, 3000])), ("pass", 0.2)]
        case "pause policy":
            return [("pause_policy", dice.choice(names[2:])), ("pass", 0.2)]
        case "deploy":
            return [("deploy", dice.choice(list(SHAPES)), host), ("pass", dice.choice([1, 20]))]
        case "replace":
            there = tuple(each for each in OURS if dice.random() < 0.5)
            return [("replace", dice.choice(list(AGES)), there, dice.random() < 0.5)]
        case "war":
            kind: Step = ("other_writes", which, dice.randrange(3), True, True)
            if dice.random() < 0.5:
                kind = ("other_removes", which, True)
            return [kind, ("deliver", 0, host), ("ends", which, "well", True), ("deliver", 0, host)]
        case "power":
            return [("power", dice.choice(["running", "deallocated"]), True), ("event", "updated", 0, host)]
        case "sweep":
            return [("pass", 30), ("sweep", host), ("next", host)]
        case _:
            return [("pass", dice.choice([130, 700, 1500, 10000])), ("next", host), ("resume", False)][
                : dice.randrange(1, 4)
            ]


def policy_defect(first: str, second: str, steps: Iterable[Step]) -> str:
    """What is wrong after that walk; empty if nothing is."""

    return defect_of(lambda: PolicyWalk(first, second), steps)
