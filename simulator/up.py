"""`python -m simulator up`: Azurite, ARM and Event Grid for your own functions host, such as `func start`.

Prints the settings for the host, waits until the host answers the handshake of the event subscriptions, and then
creates a fleet if requested. It runs until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from simulator.arm import Guest, VmSpec
from simulator.az import az_environment, login_commands, write_az_file
from simulator.demo.fleet import make_fleet
from simulator.demo.scene import Scene
from simulator.eventgrid import EventSchema, HandshakeFailed
from simulator.laptop import ROOT, SUBSCRIPTIONS, CloudOptions, Laptop, webhook
from simulator.own_handlers import own_handlers

_SAMPLE = ROOT / "local.settings.sample.json"
_SCHEMAS = {"eventgrid": EventSchema.EVENT_GRID, "cloudevents": EventSchema.CLOUD_EVENTS}
_KNOCK = 1.0
DOCUMENTED = VmSpec(name="myVM", group="myResourceGroup", guest=Guest(agent_delay=0))
"""The VM that the commands of the extension's document name."""


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    asyncio.run(_up(args))
    return 0


async def _up(args: argparse.Namespace) -> None:
    scene = Scene(make_fleet(args.vms, args.seed, tuple(SUBSCRIPTIONS)) if args.vms else ())
    cloud_options = CloudOptions(seed=args.seed, observe=scene.observe)
    async with Laptop(cloud_options) as laptop:
        laptop.arm.publish_handlers(partial(own_handlers, Path(args.policies)))
        laptop.arm.add_vm(DOCUMENTED)
        if args.write:
            _write(laptop.connections(), Path(args.write))
        else:
            _show(laptop.connections())
        _write_az_file(laptop, Path(args.az))
        for name in sorted(laptop.connections().keys() & os.environ.keys()):
            print(
                f"{name} is set in this shell and takes precedence over that file: unset it where you start the host."
            )
        print(f"What only the simulator knows: {laptop.endpoints.admin}/machines, /gaps and /actions.")
        print(f"The cloud's clock is {cloud_options.scale:.0f} times as fast as the real one. Ctrl-C stops everything.")
        with suppress(asyncio.CancelledError):  # Ctrl-C is the normal end
            await _serve(laptop, scene, args)


async def _serve(laptop: Laptop, scene: Scene, args: argparse.Namespace) -> None:
    print(f"Waiting for a host at {args.to} …", flush=True)
    await _subscribe(laptop, webhook(args.to), _SCHEMAS[args.schema])
    print("The host answered the handshake and gets the events of every VM from now on.", flush=True)
    await scene.play(laptop.arm, laptop.clock)
    if args.vms:
        print(f"{scene.created} VMs were created.", flush=True)
    await asyncio.Event().wait()


def _show(connections: Mapping[str, str]) -> None:
    print('Azurite, ARM and Event Grid are up. Add these to "Values" in local.settings.json:\n')
    print(",\n".join(f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in connections.items()) + "\n")


def _write(connections: Mapping[str, str], file: Path) -> None:
    """Write the sample's settings, with these values over its own."""
    settings = json.loads(_SAMPLE.read_text("utf-8"))
    settings["Values"] |= connections
    file.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    print(f"Azurite, ARM and Event Grid are up; {file} has their settings, also for `onboard … --settings {file}`.")


def _write_az_file(laptop: Laptop, file: Path) -> None:
    tenant = laptop.arm.options.tenant_id
    commands = login_commands(laptop.endpoints.arm, laptop.operator, tenant)
    write_az_file(file, az_environment(laptop.endpoints), commands, ROOT / ".venv-az" / "bin")
    print(f"For the Azure CLI: `source {file}`, then `az vm list -o table`; {DOCUMENTED.name} is there already.")


async def _subscribe(laptop: Laptop, endpoint: str, schema: EventSchema) -> None:
    """Try again until the host answers and has loaded the function."""
    while True:
        try:
            return await laptop.subscribe(endpoint, dict.fromkeys(SUBSCRIPTIONS, schema))
        except HandshakeFailed:
            await asyncio.sleep(_KNOCK)
