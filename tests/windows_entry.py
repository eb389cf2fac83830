"""A catalogue entry for Windows, and a policy for it, as a user would write them."""

from __future__ import annotations

from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from tests.reference import parse_entry

ENTRY: dict[str, Any] = {
    "name": "monitoring-agent-windows",
    "displayName": "Monitoring agent for Windows",
    "publisher": "Microsoft.EnterpriseCloud.Monitoring",
    "type": "MicrosoftMonitoringAgent",
    "version": "1.0",
    "resourceName": "MonitoringAgent",
    "osType": "Windows",
    "settings": {"workspaceId": {"required": True, "format": "guid", "destination": True}},
    "protectedSettings": {"workspaceKey": {"required": True, "format": "base64"}},
    "logs": [
        r"C:\WindowsAzure\Logs\Plugins\Microsoft.EnterpriseCloud.Monitoring.MicrosoftMonitoringAgent\*\*.log",
        r"C:\Program Files\Monitoring (agent)\agent.log",
    ],
    "supportTables": {
        "2026-01": {
            "date": "2026-01-15",
            "source": "a test",
            "versions": {"windows": [">= 2012 R2", "10", "11 23H2"]},
        },
        "listed": {
            "date": "2026-01-15",
            "source": "a test",
            "versions": {"windows": ["2016", "2019", "2022", "1709"]},
        },
        "any": {"date": "2026-01-15", "source": "a test", "versions": "any"},
    },
    "errors": {
        "editions": [
            {
                "date": "2026-01-15",
                "source": "a test",
                "codes": [
                    {"exitCode": 62, "cause": "package-install-failed", "meaning": "The installer was not found"}
                ],
            }
        ]
    },
}
POLICY: dict[str, Any] = {
    "name": "windows-monitoring",
    "extension": ENTRY["name"],
    "settings": {"workspaceId": "{OMS_WORKSPACE_ID}"},
    "protectedSettings": {"workspaceKey": "{OMS_WORKSPACE_KEY}"},
}


def windows_entry(**changes: Any) -> CatalogueEntry:
    return parse_entry({**ENTRY, **changes}, "extensions/windows.yaml")
