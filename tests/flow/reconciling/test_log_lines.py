"""The log lines of machines: each has the same keys, the level says whose trouble it is, and requests have ids that a
redelivery repeats."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onboarding.application.notifications import PolicyStateChanged
from onboarding.application.ports import ScheduledCheck
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.failures.evidence import TOKEN_UNAVAILABLE, Evidence
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.request_id import request_id
from onboarding.domain.resource_id import VmId
from onboarding.logging import Keys, configure
from tests.flow.world import OMS, POLICY, START, WORKSPACE_KEY, LedgerInMemory, World, extension, vm_id

ROOT = Path(__file__).parents[3]
NO_ANSWER = Evidence(code="ServiceResponseTimeoutError", message=f"no answer to {{'workspaceKey': '{WORKSPACE_KEY}'}}")
FORBIDDEN = Evidence(http_status=403, code="AuthorizationFailed", message=f"no right, key {WORKSPACE_KEY}")
NO_TOKEN = Evidence(code=TOKEN_UNAVAILABLE, message="the identity gave no token")
THROTTLED = Evidence(http_status=429, code="TooManyRequests", message="slow down", headers={"retry-after": "60"})
GALLERY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/gold/images/base"
KEYS = {"text", *Keys.__struct_fields__}
# Lines about no machine: the sweep as a whole, and policies.
OF_NO_MACHINE = {
    "Ignored: %s",
    "sweep: %s",
    "sweep: it took so long that another sweep has begun",
    "sweep: Resource Graph did not answer (%s); reading ARM's lists",
    "the management groups of policies could not be read: %s",
    "policy %s has changed, or is new: %s",
    "when the policies were first seen could not be stored: %s",
    # An event of the queue before it is known which machine it is about, or when its handling has failed.
    "a message of the events' queue is no event, and is stored with the undeliverable ones",
    "an event failed, and is tried again in %s: %s",
    "an event failed for a day, and is stored with the undeliverable ones: %s",
    "%s",  # a group of a policy that could not be resolved; a policy that was stopped is below
}


@pytest.fixture(autouse=True)
def _as_json(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level("DEBUG", "onboarding")
    configure({"ONBOARDING_LOG": "json"})
    yield
    configure({})


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines so far, each with its level; none is seen twice."""
    found = [
        {**json.loads(record.getMessage()), "level": record.levelname}
        for record in caplog.records
        if record.name.startswith("onboarding")
    ]
    caplog.clear()
    return found


class Unwritable(LedgerInMemory):
    """A table that fails when a test says so: at the result of a request or after an outcome was published."""

    lost = False
    results_fail = False
    marks_fail = False

    async def commit(self, *args: Any, **options: Any) -> Any:
        if self.results_fail and args[2][0].row.outcome is Outcome.REQUESTED:
            raise StorageError("the table could not be reached")
        if self.lost:
            self.lost = False
            raise LostRace("lost")
        return await super().commit(*args, **options)

    async def mark_published(self, row: Row) -> None:
        if self.marks_fail:
            raise StorageError("the table could not be reached")
        await super().mark_published(row)


async def everything_happens() -> None:
    """Reach each log line of a machine at least once."""
    limit = {"brake": {"stopAfterFailures": 1}}
    ledger = Unwritable()
    world = World(ledger=ledger)
    ledger.lost = ledger.marks_fail = True
    vm = world.add("new")
    await world.created(vm)
    await world.dispatcher.check(ScheduledCheck(vm, START + timedelta(days=9)))
    await world.dispatcher.handle(PolicyStateChanged(vm, world.trigger(), compliant=True, definition_id="d"))
    await world.installed(vm)
    ledger.results_fail = True
    await world.created(world.add("unrecorded"))
    ledger.results_fail = ledger.marks_fail = False
    await world.created(world.add("own-image", image={"id": f"{GALLERY}/versions/1.0.0"}))
    world.arm.install_errors = [FORBIDDEN]
    first = world.add("first")
    await world.created(first)
    world.now += timedelta(minutes=10)
    await world.run_latest_check()
    await world.installed(first)
    await failing_handler(World([{**POLICY, **limit}]))
    limited = World([{**POLICY, **limit}])
    limited.rollouts.write = refuse  # type: ignore[method-assign]
    await failing_handler(limited)


async def refuse(*_: Any, **__: Any) -> str:
    raise StorageError("the table could not be reached")


async def failing_handler(world: World, name: str = "failing") -> VmId:
    vm = world.add(name)
    await world.created(vm)
    text = f"Enable failed with exit code 51. key {WORKSPACE_KEY}"
    world.arm.set_extension(vm, extension(state="Failed"), text, "ProvisioningState/failed/51")
    await world.extension_written(vm, succeeded=False)
    return vm


def templates() -> set[str]:
    """The texts of all log lines that the application may write."""
    found = set()
    for path in (ROOT / "onboarding" / "application").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in (each for each in ast.walk(tree) if isinstance(each, ast.Call)):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            owner = ast.unparse(node.func).partition(".")[0]
            if name in ("debug", "info", "warning", "error") and owner in ("_log", "log"):
                found |= {each.value for each in node.args if isinstance(each, ast.Constant)}
        found |= {
            node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "text"
            and isinstance(node.value, ast.Constant)
            and "%s" in str(node.value.value)
        }
    return {str(each) for each in found}


async def test_every_line_of_a_machine_has_the_keys(caplog: pytest.LogCaptureFixture) -> None:
    await everything_happens()
    found = lines(caplog)
    of_machines = [line for line in found if not line["text"].startswith(("sweep", "policy "))]
    assert {frozenset(line) for line in found} == {frozenset({*KEYS, "level"})}
    for line in of_machines:
        assert line["machine"].startswith("/subscriptions/"), line
        assert line["event_id"], line
    texts = [line["text"] for line in found]
    wanted = {each for each in templates() - OF_NO_MACHINE if each != "%s %s"}
    assert len(wanted) >= 8
    for template in wanted:
        pattern = re.compile(".*".join(re.escape(part) for part in template.split("%s")), re.DOTALL)
        assert any(pattern.fullmatch(text) for text in texts), template
    assert not any(WORKSPACE_KEY[:20] in str(line) for line in found)


async def test_the_line_of_an_outcome_says_all_of_it(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    vm = world.add()
    await world.created(vm, trigger := world.trigger())
    world.now += timedelta(seconds=100)
    await world.installed(vm)
    requested, installed = [line for line in lines(caplog) if line["level"] != "DEBUG"]
    same = {"machine": str(vm), "policy": POLICY["name"], "target": OMS, "step": "extension", "level": "INFO"}
    (sent,) = world.arm.request_ids
    assert requested == {
        **same,
        "text": "Requested, ARM accepted the request (policy linux-monitoring selects it, and the OS supports it)",
        "event_id": trigger.id,
        "correlation_id": "correlation",
        "outcome": "Requested",
        "ms": None,
        "client_request_id": sent,
    }
    assert installed == {
        **same,
        "text": "Installed, the handler reports success",
        "event_id": "event-2",
        "correlation_id": "correlation",
        "outcome": "Installed",
        "ms": 100_000,
        "client_request_id": sent,
    }


async def test_the_level_says_whose_trouble_it_is(caplog: pytest.LogCaptureFixture) -> None:
    async def levels(what: str) -> set[str]:
        return {line["level"] for line in lines(caplog) if line["outcome"] and line["level"] != "DEBUG"} or {what}

    world = World()
    await world.created(world.add("stopped", power="deallocated"))
    assert await levels("none") == {"INFO"}
    world.arm.install_errors = [THROTTLED]
    await world.created(world.add("throttled"))
    assert await levels("none") == {"INFO"}
    world.arm.install_errors = [Evidence(http_status=500, code="InternalServerError", message="try later")]
    await world.created(world.add("refused"))
    assert await levels("none") == {"WARNING"}
    await failing_handler(world)
    assert await levels("none") == {"INFO", "WARNING"}  # requested, then failed
    world.arm.read_errors = [NO_TOKEN]
    await world.created(world.add("without-token"))
    assert await levels("none") == {"ERROR"}
    unset = World(app_settings={})
    await unset.created(unset.add("unset"))
    assert unset.row(vm_id("unset")).cause == "bad-configuration"
    assert await levels("none") == {"ERROR"}


async def test_a_breaker_is_our_trouble_and_a_machine_that_waits_for_it_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.arm.install_errors = [FORBIDDEN]
    await world.created(world.add("first"))
    await world.created(world.add("second"))
    opened, *rows = [line for line in lines(caplog) if line["level"] not in ("DEBUG", "INFO")]
    assert (opened["level"], opened["outcome"]) == ("ERROR", None)
    assert [(line["level"], line["outcome"]) for line in rows] == [("WARNING", "Waiting")] * 2


async def test_a_redelivered_event_sends_its_request_with_the_same_id() -> None:
    sent = []
    for deliveries in (1, 2):
        world = World()
        vm, trigger = world.add(), world.trigger()
        for _ in range(deliveries - 1):
            world.schedule_queue.reachable = False
            with pytest.raises(StorageError):
                await world.created(vm, trigger)
            world.ledger.rows.clear()
            world.ledger.machines.clear()  # as if the claim had not been written either
            world.schedule_queue.reachable = True
        await world.created(vm, trigger)
        sent += world.arm.request_ids
    assert sent == [request_id(trigger.id, str(vm), f"extension/{OMS}/1")] * 2


async def test_an_attempt_without_an_answer_is_sent_again_with_its_id_and_the_next_has_another() -> None:
    world = World()
    vm = world.add()
    world.arm.install_errors = [NO_ANSWER] * 2
    await world.created(vm)
    for _ in range(2):
        await world.advance(vm)
    first, again, second = world.arm.request_ids
    assert first == again != second
    assert world.row(vm).client_request_id == second
    assert world.row(vm).attempt == 2


async def test_the_history_names_the_request(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    vm = world.add(power="deallocated")
    await world.created(vm)
    world.add()
    await world.started(vm)
    await world.installed(vm)
    history = {row.outcome: row.to_properties() for row in world.ledger.log.values()}
    (sent,) = world.arm.request_ids
    assert "ClientRequestId" not in history[Outcome.WAITING]
    assert history[Outcome.REQUESTED]["ClientRequestId"] == history[Outcome.INSTALLED]["ClientRequestId"] == sent


async def test_a_new_episode_does_not_name_the_request_of_the_last() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    await world.installed(vm)
    machine = world.arm.machines[vm.key]
    machine["resources"] = []
    machine["properties"]["instanceView"]["statuses"][1]["code"] = "PowerState/deallocated"
    await world.extension_deleted(vm)
    row = world.row(vm)
    assert (row.waiting_for, row.client_request_id) == (WaitingFor.VM_RUNNING, "")


async def test_a_persons_request_has_an_id_and_lines_with_its_event(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    vm = world.add()
    rows = await world.requests.handle(vm, OperatorRequest())
    event = rows[OMS].event_id
    assert event.startswith("request.")
    assert {line["event_id"] for line in lines(caplog)} == {event}
    assert world.arm.request_ids == [request_id(event, str(vm), f"extension/{OMS}/1")]
