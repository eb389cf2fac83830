"""`python -m simulator trial`: one VM and the policies of a folder, from the VM's creation to the end of its row.

Standard input has one JSON object: `policies` (the folder), `extension` (whose row it is about), `settings` (app
settings by name), and `vm`: `image` (of four parts), `osType`, `guest` (`name` and `version` of what runs), `identity`
(as in ARM's body), `extensions` that are on it already (`name`, `publisher`, `type`, `version`). Standard output gets
one: the final `row` (null if nobody wrote one), the `requests` that were sent, the extension's body as `sent`, with
protected values hidden, the host's `problems`, and `seconds`. Exit code 1 only if something could not be started.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from simulator.arm import Guest, Machine, VmSpec
from simulator.arm.compute.spec import ExtensionSpec
from simulator.demo.ledger import Ledger, Row
from simulator.laptop import SUBSCRIPTIONS, CloudOptions, Laptop, forget_settings
from simulator.roles import assign_shipped_roles

_SCALE = 3000.0  # an install of minutes takes a moment
_PATIENCE = 60.0
_LONG_WAIT = timedelta(seconds=30)  # a row that is checked so late is at rest,
_STILL = 5.0  # if nothing has changed it for so long: while a request is under way, the row waits long, too
_POLL = 0.05


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    forget_settings(os.environ)
    json.dump(asyncio.run(_try(json.load(sys.stdin))), sys.stdout)
    return 0


async def _try(given: Mapping[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    policies = Path(given["policies"])
    async with Laptop(CloudOptions(scale=_SCALE)) as laptop, Ledger(laptop.azurite.connection_string) as ledger:
        assign_shipped_roles(laptop.arm, SUBSCRIPTIONS)
        host = await laptop.start_host(policies, given["settings"])
        spec = _spec(given["vm"])
        laptop.arm.identities.add_all((spec.identity or {}).get("userAssignedIdentities", {}))
        machine = laptop.arm.create_vm(spec)
        row = await _row(ledger, machine, given["extension"])
        async with ClientSession() as session, session.get(f"{host.url}/api/health") as answer:
            problems = (await answer.json())["problems"]
        return {
            "row": row.as_json() if row else None,
            "requests": [
                {"method": each.method, "path": each.path, "status": each.status}
                for each in laptop.arm.requests.select(vm=machine.id, principal=laptop.arm.options.principal_id)
            ],
            "sent": _sent(machine, row),
            "problems": problems,
            "seconds": round(time.monotonic() - began, 1),
        }


def _spec(vm: Mapping[str, Any]) -> VmSpec:
    return VmSpec(
        name=vm["name"],
        image=vm["image"],
        os_type=vm["osType"],
        guest=Guest(os_name=vm["guest"]["name"], os_version=vm["guest"]["version"], agent_delay=0),
        identity=vm["identity"],
        extensions=tuple(ExtensionSpec(**each) for each in vm["extensions"]),
    )


async def _row(ledger: Ledger, machine: Machine, extension: str) -> Row | None:
    """The VM's row of the extension once it is at rest; None if nobody wrote one within the patience."""
    deadline = time.monotonic() + _PATIENCE
    found, since = None, time.monotonic()
    while time.monotonic() < deadline:
        row = next((each for each in await ledger.rows() if _is_of(each, machine, extension)), None)
        if row and row.final:
            return row
        if row != found:
            found, since = row, time.monotonic()
        if found and _waits_long(found) and time.monotonic() - since > _STILL:
            return found
        await asyncio.sleep(_POLL)
    return found


def _is_of(row: Row, machine: Machine, extension: str) -> bool:
    return row.vm == machine.id.lower() and row.extension == extension


def _waits_long(row: Row) -> bool:
    return row.next_attempt_at is not None and row.next_attempt_at - datetime.now(UTC) > _LONG_WAIT


def _sent(machine: Machine, row: Row | None) -> dict[str, Any] | None:
    """The body of the extension as it was sent; protected values are never shown."""
    found = machine.extensions.get(row.text("ExtensionName").lower()) if row else None
    if found is None:
        return None
    protected = {"protectedSettings": _hidden(found.protected_settings)} if found.protected_settings else {}
    return {"location": found.location, "properties": {**found.properties, **protected}}


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _hidden(each) for name, each in value.items()}
    return [_hidden(each) for each in value] if isinstance(value, list) else "***"
