"""What to do with a demo that was left running: commands to copy, with the real ports, and the settings file with which
`onboard` uses it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from simulator.arm import VmSpec
from simulator.demo.fleet import Member
from simulator.laptop import Laptop, webhook

_IMAGE = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "latest"}
_TOKEN = """python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])'"""


def guide(laptop: Laptop, host: str, fleet: Sequence[Member], policies: Path, more: Mapping[str, str]) -> str:
    """The text. It contains the identity header of this run, which is valid only for this run's simulator. The settings
    for `onboard` are written to a file in the folder of the certificates and deleted with it."""
    neighbour = fleet[0].spec  # whose resource group a new VM can share
    vm = VmSpec(name="mine-01", group=neighbour.group, subscription=neighbour.subscription, image=_IMAGE)
    chosen = _instructive(fleet).spec.id
    settings = _write_settings(laptop, policies, more)
    endpoints, storage = laptop.endpoints, laptop.azurite.endpoints
    return f"""
Everything is still running; Ctrl-C stops it.

  the page         {host}/api/ui
  functions host   {host}   (its state: curl {host}/api/health/details)
  ARM              {endpoints.arm}   (its certificate authority: {endpoints.ca_file})
  storage          table {storage["table"]}, queue {storage["queue"]}
  outcome topic    {laptop.topic.endpoint}

Create a VM; Event Grid then delivers its event:

  TOKEN=$(curl -s '{endpoints.identity}?api-version=2019-08-01&resource=https://management.azure.com' \\
    -H 'X-IDENTITY-HEADER: {endpoints.identity_header}' | {_TOKEN})
  curl -s --cacert {endpoints.ca_file} -X PUT '{endpoints.arm}{vm.id}?api-version=2024-11-01' \\
    -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
    -d '{json.dumps(vm.body())}'

Send an event of your own, or a file of events:

  curl -i '{webhook(host)}' \\
    -H 'Content-Type: application/json' -H 'aeg-event-type: Notification' \\
    -d '{json.dumps([_event(vm)])}'
  .venv/bin/onboard replay FILE --to {host}

By hand, as in docs/by-hand.md; the file has the settings and the login of this run:

  .venv/bin/onboard status --settings {settings}
  .venv/bin/onboard extensions {chosen} --settings {settings}
  .venv/bin/onboard logs {chosen} --settings {settings}
  .venv/bin/onboard retry {chosen} --interval 1 --settings {settings}
  .venv/bin/onboard retry --all --dry-run --settings {settings}
  .venv/bin/onboard install {vm.id} --interval 1 --settings {settings}
  .venv/bin/onboard sweep --dry-run --settings {settings}
"""


def _instructive(fleet: Sequence[Member]) -> Member:
    """A VM with much to show: one whose handler failed, else one that has the extension."""
    for seen in (lambda m: m.spec.runs and m.expected.outcome == "Failed", lambda m: m.expected.outcome == "Installed"):
        if found := next(filter(seen, fleet), None):
            return found
    return fleet[0]


def _write_settings(laptop: Laptop, policies: Path, more: Mapping[str, str]) -> Path:
    file = laptop.endpoints.ca_file.with_name("local.settings.json")
    values = laptop.host_environment(policies, more)
    file.write_text(json.dumps({"IsEncrypted": False, "Values": values}, indent=2) + "\n", "utf-8")
    return file


def _event(vm: VmSpec) -> dict[str, object]:
    """The event of a VM's creation, with only the members that the product needs."""
    return {
        "id": str(uuid.uuid4()),
        "topic": f"/subscriptions/{vm.subscription}",
        "subject": vm.id,
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": datetime.now(UTC).isoformat(),
        "data": {"operationName": "Microsoft.Compute/virtualMachines/write", "resourceUri": vm.id},
        "dataVersion": "2",
        "metadataVersion": "1",
    }
