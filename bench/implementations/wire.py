"""The requests that onboarding a VM needs, as they are sent over the wire."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from bench.workload import EXTENSION_NAME, GROUP, SUBSCRIPTION, VM_ID, vm_path
from simulator.azurite import ACCOUNT, KEY

_KEY = base64.b64decode(KEY)
BATCH, CHANGESET = "batch_bench", "changeset_bench"
COMPUTE = "api-version=2026-04-01"

EXTENSION: dict[str, Any] = {
    "location": "westeurope",
    "properties": {
        "publisher": "Microsoft.EnterpriseCloud.Monitoring",
        "type": "OmsAgentForLinux",
        "typeHandlerVersion": "1.0",
        "autoUpgradeMinorVersion": True,
        "settings": {"workspaceId": os.environ.get("OMS_WORKSPACE_ID", "")},
        "protectedSettings": {"workspaceKey": os.environ.get("OMS_WORKSPACE_KEY", "")},
    },
}


def endpoint(service: str) -> str:
    """The address of a storage service, from the connection string."""
    parts = dict(part.split("=", 1) for part in os.environ["AzureWebJobsStorage"].split(";") if part)
    return parts[f"{service}Endpoint"]


def row(name: str, key: str) -> dict[str, Any]:
    """An entity of the size of the product's rows."""
    now = datetime.now(UTC).isoformat()
    texts = {
        "ResourceId": vm_path(name),
        "VmName": name,
        "VmId": VM_ID,
        "ResourceGroup": GROUP,
        "Location": "westeurope",
        "Outcome": "Requested",
        "Reason": "ARM accepted the request; the handler is at work",
        "WaitingFor": "install",
        "ImagePublisher": "OpenLogic",
        "ImageOffer": "CentOS",
        "ImageSku": "7_9-gen2",
        "ImageVersion": "7.9.2021020401",
        "Distribution": "centos",
        "OsVersion": "7.9",
        "Architecture": "x64",
        "Witness": "marketplace image",
        "Verdict": "supported",
        "SupportTable": "2017-04",
        "Extension": "oms-agent-linux",
        "ExtensionName": EXTENSION_NAME,
        "ExtensionVersion": "1.0",
        "Policy": "linux-monitoring",
        "Effect": "deployIfNotExists",
        "EventId": f"event-{name}",
        "CorrelationId": f"correlation-{name}",
    }
    times = dict.fromkeys(("NextAttemptAt", "WaitingSince", "EventTime", "RequestedAt"), now)
    typed = {f"{n}@odata.type": "Edm.DateTime" for n in times}
    return {"PartitionKey": SUBSCRIPTION, "RowKey": key, "Attempt": 1, **texts, **times, **typed}


def keys(name: str) -> tuple[str, str]:
    """The row keys of a VM's current row and of its line of history."""
    head = f"{GROUP}|{name}|oms-agent-linux"
    return f"vm|{head}", f"log|{head}|8236000000000|event-{name}"


def signed_for_tables(path: str) -> dict[str, str]:
    date = format_datetime(datetime.now(UTC), usegmt=True)
    signature = _sign(f"{date}\n/{ACCOUNT}{path}")
    return {
        "Authorization": f"SharedKeyLite {ACCOUNT}:{signature}",
        "x-ms-date": date,
        "x-ms-version": "2019-02-02",
        "Accept": "application/json;odata=minimalmetadata",
        "Content-Type": "application/json",
        "Prefer": "return-no-content",
    }


def signed_for_queues(method: str, path: str) -> dict[str, str]:
    date = format_datetime(datetime.now(UTC), usegmt=True)
    own = f"x-ms-date:{date}\nx-ms-version:2019-02-02"
    signature = _sign(f"{method}\n\napplication/xml\n\n{own}\n/{ACCOUNT}{path}")
    return {
        "Authorization": f"SharedKeyLite {ACCOUNT}:{signature}",
        "x-ms-date": date,
        "x-ms-version": "2019-02-02",
        "Content-Type": "application/xml",
    }


def entity_path(key: str) -> str:
    """The quoted URL path of one entity."""
    partition, row_key = quote(SUBSCRIPTION), quote(key)
    return f"/{ACCOUNT}/onboarding(PartitionKey='{partition}',RowKey='{row_key}')"


def message(name: str) -> bytes:
    check = json.dumps({"vm": vm_path(name), "extension": "oms-agent-linux", "due": datetime.now(UTC).isoformat()})
    return f"<QueueMessage><MessageText>{check.replace('"', '&quot;')}</MessageText></QueueMessage>".encode()


def transaction(endpoint: str, name: str, current: str, history: str) -> bytes:
    """One transaction: replace the current row, and add a line of history."""
    writes = (("PUT", entity_path(current), current), ("POST", f"/{ACCOUNT}/onboarding", history))
    parts = "".join(
        f"--{CHANGESET}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        f"{method} {endpoint}{path} HTTP/1.1\r\nContent-Type: application/json\r\n"
        "Accept: application/json;odata=minimalmetadata\r\nPrefer: return-no-content\r\nDataServiceVersion: 3.0\r\n\r\n"
        f"{json.dumps(row(name, key))}\r\n"
        for method, path, key in writes
    )
    head = f"--{BATCH}\r\nContent-Type: multipart/mixed; boundary={CHANGESET}\r\n\r\n"
    return f"{head}{parts}--{CHANGESET}--\r\n--{BATCH}--\r\n".encode()


def _sign(text: str) -> str:
    return base64.b64encode(hmac.new(_KEY, text.encode(), hashlib.sha256).digest()).decode()
