"""What to do with a laptop that was left running: commands to copy, with the real ports in them."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

from simulator.arm import VmSpec
from simulator.laptop import Laptop, webhook

_IMAGE = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "latest"}
_TOKEN = """python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])'"""


def guide(laptop: Laptop, host: str, neighbour: VmSpec) -> str:
    """The text; it holds the identity header of this run, which opens this run's simulator and nothing else.
    `neighbour` is a VM that is there, whose resource group a new one can share."""
    vm = VmSpec(name="mine-01", group=neighbour.group, subscription=neighbour.subscription, image=_IMAGE)
    endpoints, storage = laptop.endpoints, laptop.azurite.endpoints
    return f"""
All of it is still running; Ctrl-C ends it.

  functions host   {host}   (its state: curl {host}/api/health)
  ARM              {endpoints.arm}   (its certificate authority: {endpoints.ca_file})
  storage          table {storage["table"]}, queue {storage["queue"]}
  outcome topic    {laptop.topic.endpoint}

Create a VM; its event then comes by Event Grid:

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

Read the table:

  AzureWebJobsStorage='{laptop.azurite.connection_string}' .venv/bin/onboard status
"""


def _event(vm: VmSpec) -> dict[str, object]:
    """The event of a VM's creation, as short as the product needs it."""
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
