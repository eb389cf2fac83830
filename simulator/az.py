"""How the Azure CLI uses the laptop's cloud: the environment of its commands, and a file that a shell can source.

The CLI itself is unchanged. It gets a configuration of its own beside the certificates of the run, so that nobody's
real logins are touched, and it sends nothing to anybody else.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from simulator.arm import Endpoints
from simulator.arm.entra.directory import ServicePrincipal
from simulator.arm.http.metadata import CLOUD_NAME

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_NOWHERE = "http://127.0.0.1:9"  # the port of the discard protocol, where nothing listens


def az_environment(endpoints: Endpoints) -> dict[str, str]:
    """The variables with which `az` trusts this cloud, keeps its files apart, and reaches nothing but this machine.

    MSAL would ask Microsoft's own servers whether an authority is genuine, unless instance discovery is off. Its daily
    look for a newer version cannot be turned off; it ends at a proxy that is not there.
    """
    return {
        "AZURE_CONFIG_DIR": str(endpoints.ca_file.with_name("az")),
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        "AZURE_CORE_ONLY_SHOW_ERRORS": "yes",
        "AZURE_CORE_LOGIN_EXPERIENCE_V2": "off",
        "AZURE_CORE_SURVEY_MESSAGE": "no",
        "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
        "REQUESTS_CA_BUNDLE": str(endpoints.ca_file),
        **dict.fromkeys(PROXIES, _NOWHERE),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1"),
        "IDENTITY_ENDPOINT": endpoints.identity,
        "IDENTITY_HEADER": endpoints.identity_header,
    }


def login_commands(arm: str, operator: ServicePrincipal, tenant: str) -> Sequence[Sequence[str]]:
    """The arguments of the commands that register the cloud and sign in; `arm` is its address."""
    principal = ("--username", operator.client_id, "--password", operator.secret, "--tenant", tenant)
    return (
        ("cloud", "register", "--name", CLOUD_NAME, "--endpoint-resource-manager", arm),
        ("cloud", "set", "--name", CLOUD_NAME),
        ("login", "--service-principal", *principal, "--output", "none"),
    )


def write_az_file(file: Path, environment: Mapping[str, str], commands: Sequence[Sequence[str]], az: Path) -> None:
    """Write the file to source. It has a secret, so only its owner may read it. `az` is a folder that may have the
    command; a shell that has another one in its path uses that.

    The command becomes a function with its own environment, so that nothing else in that shell changes.
    """
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    lines = ["# Source this file: `az` then uses the cloud on this laptop, in this shell only."]
    lines.append(f"command -v az >/dev/null || PATH={shlex.quote(str(az))}:$PATH")
    lines.append(f'az() {{ env {variables} az "$@"; }}')
    lines.append("az account show --output none 2>/dev/null || {")
    lines.append(f"  rm -rf {shlex.quote(environment['AZURE_CONFIG_DIR'])} &&")
    lines.append(" &&\n".join(f"  {shlex.join(('az', *command))}" for command in commands))
    lines.append("}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text("\n".join(lines) + "\n", "utf-8")
