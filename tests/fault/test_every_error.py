"""Every way in which ARM can refuse a read or a request, with one policy and with two, and no other event. The rows are
true, a row that waits has exactly one scheduled check, and the VM is onboarded when ARM answers again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import CATALOGUE, OMS, SHAPES, START, WORKSPACE_KEY, World, extension
from tests.shared_samples import needs_samples, read_lines

SAMPLES = read_lines("arm_errors.jsonl")
NESTED: dict[str, Any] = {"error": {"code": "Deep", "message": "x"}}
for _ in range(60):
    NESTED = {"error": {"code": "Deep", "message": "x", "details": [NESTED]}}

# status (None: no answer) and body, which no sample has
ODD: dict[str, tuple[int | None, object]] = {
    "no answer": (None, None),
    "nothing": (500, ""),
    "a proxy's page": (502, "<html><head><title>502</title></head><body><h1>Bad Gateway</h1></body></html>"),
    "half an object": (500, '{"error": {"code": "Internal'),
    "a list": (500, [{"code": "InternalServerError"}]),
    "a number": (503, 42),
    "null": (500, None),
    "an error that is text": (500, {"error": "it went wrong"}),
    "an error without words": (500, {"error": {"code": None, "message": None}}),
    "errors within errors": (500, NESTED),
    "bytes that are no text": (500, b"\xff\xfe\x00broken"),
    "a long message": (500, {"error": {"code": "InternalServerError", "message": "x" * 500_000}}),
    "a status that nobody knows": (599, {"error": {"code": "Unheard", "message": "of"}}),
    "a teapot": (418, {"error": {"code": "Teapot", "message": "short and stout"}}),
    "a redirect": (302, ""),
    "a refusal that quotes the key": (500, {"error": {"code": "Echo", "message": f"workspaceKey: {WORKSPACE_KEY}"}}),
}

# The outcomes that a row may have after an error of that class.
MEANS = {
    "transient": {Outcome.WAITING},
    "waiting": {Outcome.WAITING},
    "already_done": {Outcome.WAITING},
    "permanent": {
        Outcome.FAILED,
        Outcome.GONE,
        Outcome.WAITING,
    },  # Waiting: behind an open breaker, if the error is about the whole scope
}


@pytest.fixture(params=SHAPES.values(), ids=tuple(SHAPES))
def world(request: pytest.FixtureRequest) -> World:
    return World(policies=request.param)


@needs_samples
@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["id"] for sample in SAMPLES])
@pytest.mark.parametrize("at", ["read", "request"])
async def test_every_sample(world: World, sample: dict[str, Any], at: str) -> None:
    vm = await refused(world, at, evidence_of(sample))
    classes = {sample["expected_class"], *sample.get("also_acceptable", ())}
    assert world.row(vm).outcome in set().union(*(MEANS[each] for each in classes))
    await assert_well(world, vm)


@needs_samples
@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["id"] for sample in SAMPLES])
async def test_every_sample_as_a_failure_of_the_handler(world: World, sample: dict[str, Any]) -> None:
    vm = world.add()
    await world.created(vm)
    failed = f"{sample['code']}: {sample['message']}"
    world.arm.set_extension(vm, extension(state="Failed"), failed, "ProvisioningState/failed/1")
    await world.extension_written(vm, succeeded=False)
    await assert_explained(world, vm)
    await go_on(world, vm)
    assert [world.row(vm, other).outcome for other in world.extensions[1:]] == [Outcome.INSTALLED] * (
        len(world.extensions) - 1
    )


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("at", ["read", "request"])
async def test_every_odd_answer(world: World, odd: tuple[int | None, object], at: str) -> None:
    vm = await refused(world, at, Evidence.from_body(*odd))
    await assert_well(world, vm)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("at", ["read", "request"])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1", 1),
        ("60", 60),
        (None, 0),
        (format_datetime(START + timedelta(minutes=7), usegmt=True), 420),
        (format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True), 0),
        ("soon", 0),
        ("-5", 0),
        ("999999999", 24 * 3600),
    ],
)
async def test_throttling_is_waited_out_in_full(
    world: World, status: int, at: str, header: str | None, seconds: int
) -> None:
    headers = {} if header is None else {"Retry-After": header}
    vm = await refused(world, at, Evidence.from_body(status, {"error": {"code": "TooManyRequests"}}, headers))
    row = world.row(vm)
    assert (row.outcome, row.attempt) == (Outcome.WAITING, 0)
    assert row.next_attempt_at is not None
    assert row.next_attempt_at >= START + timedelta(seconds=seconds)
    await assert_well(world, vm)


def evidence_of(sample: dict[str, Any]) -> Evidence:
    error = {name: sample[name] for name in ("code", "message", "target") if name in sample}
    return Evidence.from_body(sample["http_status"], {"error": error}, sample.get("headers"))


async def refused(world: World, at: str, evidence: Evidence) -> VmId:
    """Create a VM, and let ARM answer with that error: to the read, or to the request for the first extension."""
    vm = world.add()
    (world.arm.read_errors if at == "read" else world.arm.install_errors).append(evidence)
    await world.created(vm)
    return vm


async def assert_well(world: World, vm: VmId) -> None:
    """Assert that the rows are true, and that both extensions come to their end, whatever the result of the first
    is."""
    await assert_explained(world, vm)
    first = world.row(vm).outcome
    if Outcome.GONE in [world.row(vm, each).outcome for each in world.extensions]:
        await world.created(vm)  # the VM existed all the time: the next event onboards it
    await go_on(world, vm)
    assert world.row(vm).outcome is (Outcome.FAILED if first is Outcome.FAILED else Outcome.INSTALLED)
    assert world.arm.conflicts == 0
    for other in world.extensions[1:]:
        # A failure of the machine fails both extensions; a failure of the first request fails only its extension.
        at_read = first is Outcome.FAILED and "PUT" not in world.arm.calls
        assert world.row(vm, other).outcome is (Outcome.FAILED if at_read else Outcome.INSTALLED)
    for each in world.extensions:
        requests = [body for body in world.arm.bodies if body["properties"]["type"] == CATALOGUE[each].type]
        assert len(requests) <= 2


async def go_on(world: World, vm: VmId) -> None:
    """Advance until every row of the VM is final."""
    for _ in range(30):
        if all(world.row(vm, each).outcome.final for each in world.extensions):
            return
        await world.advance(vm)
    raise AssertionError(f"the VM does not come to its end: {[world.row(vm, each) for each in world.extensions]}")


async def assert_explained(world: World, vm: VmId) -> None:
    next_check = world.ledger.machines[vm.key].row.next_attempt_at
    checks = [check for check in world.schedule_queue.checks if check.due == next_check]
    if next_check is not None:
        assert len(checks) == 1, "the machine has one check"
    for each in world.extensions:
        row = world.row(vm, each)
        if row.outcome.final:
            assert row.next_attempt_at is None
        else:
            assert row.next_attempt_at is not None
            assert next_check is not None
            assert world.now < next_check <= row.next_attempt_at
        assert row.extension == each
        assert _explained(row)
        assert len(repr(row)) < 50_000
    assert WORKSPACE_KEY not in repr(world.ledger.log)


def _explained(row: Row) -> bool:
    """Whether a person who reads the row can understand the problem."""
    if row.outcome in (Outcome.GONE, Outcome.REQUESTED) or row.waiting_for is WaitingFor.INSTALL:
        return bool(row.reason)
    if row.waiting_for is WaitingFor.OPERATION and row.extension != OMS:
        return bool(row.reason)  # it waits for the end of the first extension, which is no error
    return bool(row.reason and row.error_code and row.error_meaning and row.advice)
