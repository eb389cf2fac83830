"""Catalogue entries as users would write them, after extensions of Azure: nested settings, lists, numbers."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml

CERTIFICATE = "https://vault.example/secrets/web"
_CERTIFICATES: dict[str, Any] = {
    "type": "object",
    "required": ["observedCertificates"],
    "properties": {
        "pollingIntervalInS": {"type": "string", "pattern": "^[0-9]+$", "default": "3600"},
        "requireInitialSync": {"type": "boolean"},
        "certificateStoreLocation": {"type": "string"},
        "observedCertificates": {"type": "array", "items": {"type": "string", "format": "uri"}},
        "retries": {"type": "integer", "minimum": 1, "maximum": 9},
    },
}
_KEY_VAULT: dict[str, Any] = {
    "publisher": "Microsoft.Azure.KeyVault",
    "version": "3.0",
    "enableAutomaticUpgrade": True,
    "needs": {"identity": "named"},
    "settings": {
        "type": "object",
        "required": ["secretsManagementSettings"],
        "properties": {
            "secretsManagementSettings": _CERTIFICATES,
            "authenticationSettings": {
                "type": "object",
                "properties": {
                    "msiEndpoint": {"type": "string", "format": "uri"},
                    "msiClientId": {"type": "string", "format": "guid"},
                },
                "default": {
                    "msiEndpoint": "http://169.254.169.254/metadata/identity",
                    "msiClientId": "{identity.clientId}",
                },
            },
        },
    },
}
KEY_VAULT_LINUX: dict[str, Any] = {
    **_KEY_VAULT,
    "name": "key-vault-linux",
    "type": "KeyVaultForLinux",
    "resourceName": "KeyVaultForLinux",
    "os": "linux",
}
KEY_VAULT_WINDOWS: dict[str, Any] = {
    **_KEY_VAULT,
    "name": "key-vault-windows",
    "type": "KeyVaultForWindows",
    "resourceName": "KeyVaultForWindows",
    "os": "windows",
}
CUSTOM_SCRIPT: dict[str, Any] = {
    "name": "custom-script-linux",
    "publisher": "Microsoft.Azure.Extensions",
    "type": "CustomScript",
    "version": "2.1",
    "resourceName": "CustomScript",
    "os": "linux",
    "machines": ["vm", "scaleSet"],
    "settings": {
        "type": "object",
        "properties": {
            "fileUris": {"type": "array", "items": {"type": "string", "format": "uri"}},
            "timestamp": {"type": "integer"},
            "skipDos2Unix": {"type": "boolean"},
        },
    },
    "protectedSettings": {
        "type": "object",
        "required": ["commandToExecute"],
        "properties": {
            "commandToExecute": {"type": "string", "minLength": 1},
            "storageAccount": {
                "type": "object",
                "required": ["name", "key"],
                "properties": {"name": {"type": "string", "secret": False}, "key": {"type": "string"}},
            },
            "managedIdentity": {"type": "object", "properties": {"clientId": {"type": "string"}}},
        },
    },
}
# An entry that ships, with nested settings and a default that takes the identity of the machine.
AZURE_MONITOR: dict[str, Any] = yaml.safe_load(
    (files("onboarding") / "catalog" / "linux" / "azure-monitor-agent-linux.yaml").read_text(encoding="utf-8")
)
ENTRIES = (KEY_VAULT_LINUX, KEY_VAULT_WINDOWS, CUSTOM_SCRIPT)

_CERTIFICATES_OF_WEB = {"observedCertificates": [CERTIFICATE], "retries": 3}
POLICIES: tuple[dict[str, Any], ...] = (
    *(
        {
            "name": name,
            "extension": name,
            "rule": {"field": "tags['wants']", "equals": "certificates"},
            "settings": {"secretsManagementSettings": _CERTIFICATES_OF_WEB},
        }
        for name in ("key-vault-linux", "key-vault-windows")
    ),
    {
        "name": "script",
        "extension": "custom-script-linux",
        "rule": {"field": "tags['wants']", "equals": "script"},
        "settings": {"fileUris": ["https://files.example/{machine.location}/setup.sh"], "timestamp": 123456789},
        "protectedSettings": {
            "commandToExecute": "sh setup.sh {machine.id} {SETUP_TOKEN}",
            "storageAccount": {"name": "files", "key": "{STORAGE_KEY}"},
            "managedIdentity": {"clientId": "{identity.clientId}"},
        },
    },
    {
        "name": "monitor",
        "extension": AZURE_MONITOR["name"],
        "rule": {"field": "tags['wants']", "equals": "monitor"},
        "settings": {"proxy": {"mode": "application", "address": "http://proxy.example:3128"}},
        "protectedSettings": {"proxy": {"username": "{PROXY_USER}", "password": "{PROXY_PASSWORD}"}},
    },
)
APP_SETTINGS = {
    "SETUP_TOKEN": "sesame-of-the-setup-0123456789",
    "STORAGE_KEY": "c2VzYW1lIG9mIHRoZSBzdG9yYWdlIGFjY291bnQ=",
    "PROXY_USER": "proxy-user-of-the-tests",
    "PROXY_PASSWORD": "sesame-of-the-proxy-0123456789",
}
