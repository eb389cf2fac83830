"""What the adapters leave in storage, as the SDK's own clients read it: keys, types, visibility."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import EdmType, EntityProperty

from onboarding.application.ports import RowWrite, ScheduledCheck, SweepState
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.errors import StorageError
from onboarding.domain.failures.classification import Cause
from onboarding.domain.limits.circuit_breaker import CircuitBreaker
from onboarding.domain.limits.rollout_limit import RolloutState
from onboarding.domain.policy.policy_version import PolicyState
from onboarding.domain.reconcile.machine_row import Claim, MachineRow
from onboarding.domain.reconcile.sweep_requests import Mark
from tests.adapters.storage.rows import OMS, TIME, final, new_vm, row_of, rows, trigger, write
from tests.contract.backends import OnAzurite, keys_of
from tests.contract.test_ledger_writes import full_row


async def entities(wire: OnAzurite) -> dict[str, Mapping[str, Any]]:
    """All entities of the table by row key, as the SDK reads them."""
    return {str(entity["RowKey"]): entity async for entity in wire.table.list_entities()}


def kinds(entity: Mapping[str, Any]) -> dict[str, str]:
    """The type of each column but the keys."""
    named = {name: value for name, value in entity.items() if name not in ("PartitionKey", "RowKey")}
    return {
        name: EdmType(value.edm_type).value.removeprefix("Edm.")
        if isinstance(value, EntityProperty)
        else kind_of(value)
        for name, value in named.items()
    }


def kind_of(value: object) -> str:
    if isinstance(value, datetime):
        return "DateTime"
    plain: dict[type, str] = {str: "String", int: "Int32", bytes: "Binary", bool: "Boolean"}
    return plain[type(value)]


async def test_each_entity_has_its_keys_in_lower_case_in_the_partition_of_its_subscription(wire: OnAzurite) -> None:
    vm = new_vm("WEB.01_(Ü)", "Group_(1).2-Ü")
    version = await write(wire.ledger, row_of(vm), trigger("Event-1"), None)
    await write(wire.ledger, final(vm), trigger("event-2"), version)

    found = await entities(wire)

    place = "group_(1).2-ü|web.01_(ü)"
    inverted = 9_999_999_999_999 - int(TIME.timestamp() * 1000)
    assert set(found) == {
        f"vm|{place}|",
        f"vm|{place}|{OMS}",
        f"log|{place}|{OMS}|{inverted}|event-1",
        f"log|{place}|{OMS}|{inverted}|event-2",
        f"due|20261120t1014|vm|{place}|{OMS}",
        f"unpublished|{place}|{OMS}|20261120t091607331820",
    }
    assert {entity["PartitionKey"] for entity in found.values()} == {vm.subscription}
    assert not any(set(key) & set("/\\#?") for key in found)


@pytest.mark.parametrize("name", ["web-01", "WEB-01", "web.01_(new)", "wéb-漢", "a", "x" * 64])
async def test_the_keys_of_any_vm_are_in_lower_case_without_forbidden_characters(wire: OnAzurite, name: str) -> None:
    vm = new_vm(name, "Group_(1).2-ü")
    await write(wire.ledger, row_of(vm), trigger(), None)

    keys = [f"{entity['PartitionKey']}{key}" for key, entity in (await entities(wire)).items()]
    assert len(keys) == 4
    assert all(key == key.lower() and not set(key) & set("/\\#?") for key in keys)


async def test_the_columns_of_a_row_are_of_the_types_that_its_fields_have(wire: OnAzurite) -> None:
    vm = new_vm()
    row = full_row(vm)
    version = await write(wire.ledger, row, trigger(), None)

    entity = await wire.table.get_entity(vm.subscription, keys_of(vm, OMS)["RowKey"])

    columns = row.to_properties()
    expected = {name: "Int64" if type(value) is int else kind_of(value) for name, value in columns.items()}
    assert kinds(entity) == {**expected, "Outcome": "String", "WaitingFor": "String"}
    assert {name: entity[name] for name, kind in kinds(entity).items() if kind == "String"} == {
        name: value for name, value in columns.items() if isinstance(value, str)
    }
    assert entity["EventTime"] == row.event_time
    assert (entity["DurationMs"].value, entity["Attempt"].value) == (row.duration_ms, row.attempt)
    assert entity.metadata["etag"] == version


async def test_empty_columns_are_not_stored(wire: OnAzurite) -> None:
    vm = new_vm()
    await write(wire.ledger, row_of(vm), trigger(), None)

    entity = await wire.table.get_entity(vm.subscription, keys_of(vm, OMS)["RowKey"])

    assert set(entity) == {"PartitionKey", "RowKey", *row_of(vm).to_properties()}
    assert not {"FinishedAt", "ErrorCode", "DurationMs"} & set(entity)


async def test_the_machines_own_row_names_its_claim_and_its_write(wire: OnAzurite) -> None:
    vm = new_vm()
    claim = Claim(target=OMS, step="extension", attempt=2, digest="d", at=TIME, trigger="event-1")
    machine = MachineRow(resource_id=str(vm), vm_id="id", last_read_at=TIME, claim=claim)
    first = await wire.ledger.commit(machine, None, [], trigger())
    before = await wire.table.get_entity(vm.subscription, keys_of(vm, "")["RowKey"])
    await wire.ledger.commit(machine, first.machine, [], trigger())

    entity = await wire.table.get_entity(vm.subscription, keys_of(vm, "")["RowKey"])

    expected = {
        name: "Int64" if type(value) is int else kind_of(value) for name, value in machine.to_properties().items()
    }
    assert kinds(entity) == {**expected, "WriteId": "String"}
    assert entity["WriteId"] != before["WriteId"]


async def test_columns_of_a_newer_version_keep_their_types(wire: OnAzurite) -> None:
    vm = new_vm()
    await write(wire.ledger, row_of(vm), trigger(), None)
    news = {"Mood": "identity: done", "Shoesize": (2**40, "Edm.Int64"), "Since": TIME, "Big": b"\x00\x01"}
    news |= {"Small": 7, "Part": 0.5, "Flag": True, "Double": 7.0}
    for extension in (OMS, ""):
        await wire.add_columns(vm, extension, news)

    known = await wire.ledger.read(vm)
    stored, own = known.targets[OMS], known.machine
    assert own is not None
    entry = RowWrite(row_of(vm, reason="later"), stored.version, rest=stored.rest)
    await wire.ledger.commit(own.row, own.version, [entry], trigger("event-2"), rest=own.rest)

    for extension in (OMS, ""):
        entity = await wire.table.get_entity(vm.subscription, keys_of(vm, extension)["RowKey"])
        assert (entity["Mood"], entity["Big"], entity["Shoesize"].value) == ("identity: done", b"\x00\x01", 2**40)
        assert (entity["Small"], entity["Part"], entity["Flag"]) == (7, 0.5, True)
        assert entity["Since"] == TIME
        assert type(entity["Double"]) is float
    assert (await rows(wire.ledger, vm))[OMS].row.reason == "later"


async def test_without_publishing_the_outbox_stays_empty(wire: OnAzurite) -> None:
    await write(TableLedger(wire.table_client), final(new_vm()), trigger(), None)

    assert {key.partition("|")[0] for key in await entities(wire)} == {"vm", "log"}


async def test_reading_writes_nothing(wire: OnAzurite) -> None:
    await wire.ledger.read(new_vm())

    with pytest.raises(ResourceNotFoundError):
        await entities(wire)


async def test_breakers_counts_policies_and_the_sweep_have_partitions_of_their_own(wire: OnAzurite) -> None:
    subscription, later = new_vm().subscription, TIME + timedelta(hours=1)
    breaker = CircuitBreaker(subscription, "shop-ü", OMS, Cause.NOT_AUTHORIZED, "m", "a", "t", TIME, later, 3, "vm")
    await wire.breakers.write(breaker, None)
    await wire.rollouts.write(RolloutState("Über 50% a/b", TIME, 2**33, 2, TIME, "because"), None)
    await wire.policy_states.write(PolicyState("linux-monitoring", "hash", TIME, {"digest": TIME}), None)
    await wire.sweeps.write(SweepState(TIME, later, "sub", Mark(TIME, "key"), b"12345678" * 10_000), None)

    found = await entities(wire)

    assert {(entity["PartitionKey"], key): kinds(entity) for key, entity in found.items()} == {
        (subscription, f"pause|shop-ü|{OMS}"): {
            **dict.fromkeys(("ResourceGroup", "Extension", "ErrorCode", "ErrorMeaning", "Advice", "Message"), "String"),
            "Since": "DateTime",
            "NextAttemptAt": "DateTime",
            "Attempt": "Int64",
            "Prober": "String",
        },
        ("brake", "über 50- a-b-7ef50ad2"): {
            "Policy": "String",
            "Hour": "DateTime",
            "Installs": "Int64",
            "Failures": "Int64",
            "Because": "String",
            "StoppedAt": "DateTime",
        },
        ("policy", "policy|linux-monitoring"): {
            **dict.fromkeys(("Policy", "Hash", "FirstSeen"), "String"),
            "Since": "DateTime",
        },
        ("sweep", "state"): {
            "HeldUntil": "DateTime",
            "BusyUntil": "DateTime",
            "ResumeAt": "String",
            "OverdueSent": "DateTime",
            "OverdueSentKey": "String",
            "Unanswered0": "Binary",
            "Unanswered1": "Binary",
        },
    }
    assert (found["state"]["Unanswered0"], found["state"]["HeldUntil"]) == (b"12345678" * 8192, TIME)


def count_of_the_version_before(policy: str, installs: int, key: str) -> dict[str, Any]:
    columns = {"Policy": policy, "Hour": TIME, "Installs": (installs, EdmType.INT64), "Failures": (0, EdmType.INT64)}
    return {"PartitionKey": "brake", "RowKey": key, **columns, "Because": ""}


async def test_a_count_of_the_version_before_is_that_of_the_policy_that_it_names(wire: OnAzurite) -> None:
    await wire.table.create_table()
    await wire.table.create_entity(count_of_the_version_before("a/b", 7, "a-b"))

    for name in ("a-b", "A/B", "a#b"):
        assert await wire.rollouts.read(name) is None
        await wire.rollouts.write(RolloutState(name, TIME, 1), None)
    stored = await wire.rollouts.read("a/b")
    assert stored is not None
    assert stored.state == RolloutState("a/b", TIME, 7)
    await wire.rollouts.write(replace(stored.state, installs=8), stored.version, rest=stored.rest)

    found = await entities(wire)
    assert (found["a-b"]["Policy"], found["a-b"]["Installs"].value) == ("a/b", 8), "where that version finds it"
    assert len(found) == 4
    counts = {state.policy: state.installs for state in await wire.rollouts.read_all()}
    assert counts == {"a/b": 8, "a-b": 1, "A/B": 1, "a#b": 1}
    for name in ("a-b", "A/B", "a#b"):
        own = await wire.rollouts.read(name)
        assert own is not None
        assert own.state == RolloutState(name, TIME, 1)


async def test_a_count_that_the_version_before_wrote_beside_ours_counts_once(wire: OnAzurite) -> None:
    await wire.rollouts.write(RolloutState("a/b", TIME, 1), None)
    await wire.table.create_entity(count_of_the_version_before("a/b", 7, "a-b"))

    assert await wire.rollouts.read_all() == (RolloutState("a/b", TIME, 1),)
    stored = await wire.rollouts.read("a/b")
    assert stored is not None
    assert stored.state.installs == 1


async def test_an_unreadable_count_is_an_error_of_its_policy_alone(
    wire: OnAzurite, caplog: pytest.LogCaptureFixture
) -> None:
    await wire.rollouts.write(RolloutState("p", TIME, 1), None)
    await wire.table.create_entity({"PartitionKey": "brake", "RowKey": "newer", "Hour": TIME})

    assert await wire.rollouts.read_all() == (RolloutState("p", TIME, 1),)
    assert "newer cannot be read by this version" in caplog.text
    with pytest.raises(StorageError, match="newer cannot be read by this version"):
        await wire.rollouts.read("newer")


async def test_unknown_columns_of_a_policy_are_kept(wire: OnAzurite) -> None:
    await wire.policy_states.write(PolicyState("p", "a"), None)
    entity = await wire.table.get_entity("policy", "policy|p")
    await wire.table.upsert_entity({**entity, "Noticed": "kept"})
    stored = (await wire.policy_states.read_all())["p"]
    await wire.policy_states.write(PolicyState("p", "b", TIME), stored.version, rest=stored.rest)
    assert (await wire.policy_states.read_all())["p"].state == PolicyState("p", "b", TIME)
    assert (await wire.table.get_entity("policy", "policy|p"))["Noticed"] == "kept"


@pytest.mark.parametrize("text", ["no json", "[]", '{"a": 7}', '{"a": "soon"}', "7"])
async def test_first_seen_times_that_cannot_be_read_count_as_absent(wire: OnAzurite, text: str) -> None:
    await wire.policy_states.write(PolicyState("p", "a"), None)
    entity = await wire.table.get_entity("policy", "policy|p")
    await wire.table.upsert_entity({**entity, "FirstSeen": text})
    assert (await wire.policy_states.read_all())["p"].state == PolicyState("p", "a")


async def test_columns_of_an_unexpected_type_count_as_absent_in_the_sweeps_state(wire: OnAzurite) -> None:
    await wire.table.create_table()
    entity = {"PartitionKey": "sweep", "RowKey": "state", "OverdueSent": "soon", "Unanswered0": 7, "HeldUntil": True}
    entity |= {"PruneNextRound": "soon", "PruneSubscription": 7, "PruneAfter": True}
    await wire.table.upsert_entity(entity)
    assert (await wire.sweeps.read()).state == SweepState()


async def test_an_unreadable_breaker_hides_no_others(wire: OnAzurite) -> None:
    subscription = new_vm().subscription
    breaker = CircuitBreaker(subscription, "*", OMS, Cause.NOT_AUTHORIZED, "m", "a", "t", TIME, TIME)
    await wire.breakers.write(breaker, None)
    await wire.table.create_entity({"PartitionKey": subscription, "RowKey": "pause|newer|x", "ErrorCode": "mood"})

    assert [stored.breaker for stored in await wire.breakers.read(subscription)] == [breaker]


async def test_the_message_is_plain_json_that_never_expires(wire: OnAzurite) -> None:
    vm = new_vm("web.01_(ü)")

    await wire.schedule_queue.schedule(ScheduledCheck(vm, TIME), TIME)

    message = await wire.queue.receive_message()
    assert message is not None
    assert json.loads(message.content) == {"vm": str(vm), "check": "machine", "due": "2026-11-20T09:14:07.331820+00:00"}
    assert message.expires_on is not None
    assert message.expires_on > datetime.now(UTC) + timedelta(days=3650)


async def test_a_message_is_counted_but_not_handed_out_while_it_is_hidden(wire: OnAzurite) -> None:
    await wire.schedule_queue.schedule(ScheduledCheck(new_vm(), TIME + timedelta(hours=1)), TIME)

    assert await wire.queue.receive_message() is None
    assert (await wire.queue.get_queue_properties()).approximate_message_count == 1
