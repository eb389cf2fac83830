"""An update on real parts: another version in the user's own catalogue and another secret, brought by the sweep of a
host that was started with them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import yaml

from simulator import arm
from simulator.arm import Guest, VmSpec
from simulator.demo.ledger import Ledger, Row
from simulator.laptop import SUBSCRIPTIONS, CloudOptions, Laptop

ENTRY: dict[str, Any] = {
    "name": "metrics",
    "publisher": "Contoso.Metrics",
    "type": "MetricsLinux",
    "version": "1.9",
    "resourceName": "Metrics",
    "os": "linux",
    "protectedSettings": {"properties": {"token": {"type": "string"}}},
}
POLICY = {"name": "metrics", "extension": "metrics", "protectedSettings": {"token": "{METRICS_TOKEN}"}}
FIRST, SECOND = "a first token of 2026", "a second token of 2026"
SETTINGS = {"ONBOARDING_DIGEST_KEY": "0123456789abcdef" * 4, "SWEEP_PATIENCE": "1s", "SWEEP_SCHEDULE": "* * * * * *"}
IMAGE = {
    "publisher": "Canonical",
    "offer": "0001-com-ubuntu-server-jammy",
    "sku": "22_04-lts",
    "version": "latest",
}


async def test_a_new_version_and_a_new_secret_reach_what_we_installed(tmp_path: Path) -> None:
    (tmp_path / "extensions").mkdir()
    (tmp_path / "metrics.yaml").write_text(yaml.safe_dump(POLICY))
    write_entry(tmp_path, "1.9")
    options = arm.Options(subscriptions=tuple(SUBSCRIPTIONS), generic_handlers=("contoso.*",))
    async with (
        Laptop(CloudOptions(scale=3000, options=options)) as laptop,
        Ledger(laptop.azurite.connection_string) as ledger,
    ):
        host = await laptop.start_host(tmp_path, {**SETTINGS, "METRICS_TOKEN": FIRST})
        guest = Guest(os_name="ubuntu", os_version="22.04", agent_delay=0)
        machine = laptop.arm.create_vm(VmSpec(name="web", image=IMAGE, guest=guest))
        await until(ledger, "1.9.0")
        await asyncio.to_thread(host.stop)
        write_entry(tmp_path, "1.10")
        await laptop.start_host(tmp_path, {**SETTINGS, "METRICS_TOKEN": SECOND})
        row = await until(ledger, "1.10.0")
        (extension,) = machine.extensions.values()
        assert (extension.handler_version, extension.properties["typeHandlerVersion"]) == ("1.10.0", "1.10")
        assert extension.protected_settings == {"token": SECOND}
        assert '"from":{"version":"1.9"},"to":{"version":"1.10"}' in row["Update"]
        assert "UndoneAt" not in row
        stored = str(await ledger.everything())
        assert not [each for each in (FIRST, SECOND, SETTINGS["ONBOARDING_DIGEST_KEY"]) if each in stored]


def write_entry(folder: Path, version: str) -> None:
    (folder / "extensions" / "metrics.yaml").write_text(yaml.safe_dump({**ENTRY, "version": version}))


async def until(ledger: Ledger, version: str) -> dict[str, Any]:
    """The row, once it says that this version of the extension is installed."""
    deadline = time.monotonic() + 60
    while True:
        rows = [each for each in await ledger.everything() if each["RowKey"].startswith("vm|") and "Outcome" in each]
        found = [each for each in rows if Row(each).outcome == "Installed" and each["ExtensionVersion"] == version]
        if found:
            return dict(found[0])
        assert time.monotonic() < deadline, rows
        await asyncio.sleep(0.1)
