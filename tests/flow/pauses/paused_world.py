"""What the tests of pauses share: hosts with one clock, a person who pauses and resumes, and when requests went out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from onboarding.application.pause_requests import PauseRequests
from onboarding.application.ports import ArmAnswer, ReconcileRequest
from onboarding.domain.limits.pause import Pause
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.steps.step import ArmRequest
from onboarding.domain.resource_id import VmId
from tests.flow.world import OMS, POLICY, ArmInMemory, World

PER_MINUTE = 400


class RecordingArm(ArmInMemory):
    """Notes when each write went out."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[datetime, str]] = []  # times and paths
        self.after_read: Callable[[], Awaitable[None]] | None = None

    async def read_machine(self, vm: VmId, *, to_install: bool = False) -> ArmAnswer:
        answer = await super().read_machine(vm, to_install=to_install)
        if self.after_read is not None:
            await self.after_read()
        return answer

    async def send(self, vm: VmId, request: ArmRequest) -> bool:
        self.sent.append((self.clock(), request.path.lower()))
        return await super().send(vm, request)


class Hosts:
    """Hosts of one function app, which share all but their memory, and a person with a command line."""

    def __init__(self, number: int, policies: list[dict[str, Any]] | None = None, **settings: Any) -> None:
        self.arm = RecordingArm()
        first = World(policies or [POLICY], arm=self.arm, **settings)
        self.worlds = [first, *(first.with_policies(first.policies) for _ in range(number - 1))]
        for each in self.worlds[1:]:
            each.app_settings = first.app_settings
        self.world = first
        self.arm.clock = lambda: first.now
        self.person = PauseRequests(first.pauses, lambda: first.now)

    def move(self, time: datetime | timedelta) -> None:
        now = time if isinstance(time, datetime) else self.world.now + time
        for each in self.worlds:
            each.now = max(each.now, now)

    async def pause(self, **scope: Any) -> Pause:
        pause = Pause(reason="change freeze", since=self.world.now, **scope)
        await self.person.begin(pause)
        return pause

    async def resume(self, subscription: str = "", policy: str = "") -> int:
        """End a pause as the command does; returns the number of machines that were made due."""
        ended = await self.person.end((subscription, policy))
        ledger, queue = self.world.ledger, self.world.schedule_queue
        return await self.person.make_due(ended, ledger, queue, per_minute=PER_MINUTE)

    async def run_requests(self) -> Sequence[ReconcileRequest]:
        """Handle the reconcile requests that are on the queue, each when it is due, by the hosts in turn."""
        waiting = self.world.schedule_queue.reconcile_requests
        requests = sorted(waiting, key=lambda each: each.due)
        waiting.clear()
        for number, request in enumerate(requests):
            self.move(request.due)
            await self.worlds[number % len(self.worlds)].dispatcher.handle_message(request)
        return requests

    async def run_check(self, vm: VmId) -> None:
        """Run the check that the machine waits for, when it is due."""
        due = self.world.ledger.machines[vm.key].row.next_attempt_at
        checks = self.world.schedule_queue.checks
        check = next(each for each in checks if each.vm == vm and each.due == due)
        checks.remove(check)
        self.move(check.due)
        await self.world.dispatcher.check(check)

    async def finish_installs(self, vms: Sequence[VmId]) -> None:
        for vm in vms:
            if self.world.row(vm).outcome is Outcome.REQUESTED:
                await self.world.finish_install(vm, OMS)

    def writes(self, vm: VmId | None = None) -> list[str]:
        return [path for _, path in self.arm.sent if vm is None or path.startswith(vm.key)]
