"""A secret that a handler or ARM echoes in any form does not appear in table, queue, outcome events or logs."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from onboarding.application.messages import encode
from onboarding.application.ports import Message
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome
from tests.flow.world import POLICY, WORKSPACE_ID, World, extension, vm_id

# A key that no other test uses, and a proxy whose password has characters that end a word elsewhere.
KEY = base64.b64encode(bytes((17 * place + 91) % 256 for place in range(64))).decode()
PASSWORD = "p@ss W0rd/x%4z"
PROXY = f"http://svc:{PASSWORD}@proxy.contoso.example:8080"
PART = 12


def _wrapped(columns: int) -> Callable[[str], str]:
    return lambda text: "\n".join(text[at : at + columns] for at in range(0, len(text), columns))


def _base64(before: int) -> Callable[[str], str]:
    return lambda text: base64.b64encode(b"u:x"[:before] + text.encode()).decode()


ECHOES: dict[str, Callable[[str], str]] = {
    "plain": str,
    "cut": lambda text: text[:39],
    **{f"wrapped at {columns}": _wrapped(columns) for columns in (32, 39, 64, 76)},
    "with blanks": lambda text: _wrapped(20)(text).replace("\n", " "),
    "hex": lambda text: text.encode().hex(),
    "hex, upper case and wrapped": lambda text: _wrapped(64)(text.encode().hex().upper()),
    **{f"base64, {before} bytes on": _base64(before) for before in range(3)},
    "base64, wrapped": lambda text: _wrapped(76)(base64.b64encode(text.encode()).decode()),
    "URL": lambda text: quote(text, safe=""),
    "JSON": lambda text: json.dumps({"value": _wrapped(32)(text)}),
}


class Watched:
    """A world that checks everything that leaves the process."""

    def __init__(self, logged: pytest.LogCaptureFixture) -> None:
        protected = {"workspaceKey": "{OMS_WORKSPACE_KEY}", "proxy": "{PROXY}"}
        settings = {"OMS_WORKSPACE_ID": WORKSPACE_ID, "OMS_WORKSPACE_KEY": KEY, "PROXY": PROXY}
        self.world = World([{**POLICY, "protectedSettings": protected}], settings)
        self._logged = logged
        logged.set_level(logging.DEBUG)

    def everything(self) -> str:
        world = self.world
        rows = [stored.row for stored in world.ledger.rows.values()]
        written = [row.to_properties() for row in (*rows, *world.ledger.log.values(), *world.published.rows)]
        messages: list[Message] = [*world.schedule_queue.checks, *world.schedule_queue.reconcile_requests]
        queued = [encode(message) for message in messages]
        kept = [stored.breaker.to_properties() for stored in world.breakers.stored.values()]
        shown = [
            repr(each) for each in (rows, world.breakers.stored, world.rollouts.stored, world.schedule_queue.checks)
        ]
        return "\n".join([*map(str, written), *queued, *map(str, kept), *shown, self._logged.text])


def _parts_left(secret: str, echo: Callable[[str], str], text: str) -> list[str]:
    """Parts of the secret, and of its echo, that are still readable, apart from spaces and line breaks."""
    text = "".join(text.replace("\\n", "").split())
    shown = ["".join(each.replace("\\n", "").split()) for each in (secret, echo(secret))]
    return [
        each[at : at + PART] for each in shown for at in range(len(each) - PART + 1) if each[at : at + PART] in text
    ]


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("secret", [KEY, PROXY], ids=["key", "proxy"])
async def test_no_secret_that_a_handler_echoes_is_shown(
    echo: Callable[[str], str], secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(caplog)
    world = watched.world
    vm = world.add()
    await world.created(vm)
    message = f"Install failed with exit code 51. Arguments: {echo(secret)} End of it."
    world.arm.set_extension(vm, extension(state="Failed"), message, "ProvisioningState/failed/51")
    await world.extension_written(vm, succeeded=False)
    assert world.row(vm).outcome is Outcome.FAILED
    assert "End of it." in world.row(vm).message
    assert _parts_left(secret, echo, watched.everything()) == []


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("secret", [KEY, PROXY], ids=["key", "proxy"])
@pytest.mark.parametrize("status", [400, 403, 409, 500])
async def test_no_secret_that_arm_echoes_is_shown(
    status: int, echo: Callable[[str], str], secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(caplog)
    world = watched.world
    vm = world.add()
    error = Evidence(http_status=status, code="InvalidParameter", message=f"The value {echo(secret)} was refused.")
    assert _parts_left(secret, echo, str(ArmError(error))) == []
    world.arm.install_errors = [error]
    await world.created(vm)
    assert "PUT" in world.arm.calls
    assert "was refused." in world.row(vm).message
    world.arm.read_errors = [error]
    await world.created(world.add("web02"))
    assert _parts_left(secret, echo, watched.everything()) == []


async def test_a_password_alone_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(caplog)
    vm = watched.world.add()
    watched.world.arm.install_errors = [Evidence(http_status=400, code="x", message=f"password '{PASSWORD}' refused")]
    await watched.world.created(vm)
    assert watched.world.row(vm).message.endswith("password '***' refused")
    assert PASSWORD not in watched.everything()


async def test_text_without_secrets_stays_readable(caplog: pytest.LogCaptureFixture) -> None:
    world = Watched(caplog).world
    vm = world.add()
    text = f"Workspace {WORKSPACE_ID} of {vm_id()} does not take machines of westeurope."
    world.arm.install_errors = [Evidence(http_status=400, code="x", message=text)]
    await world.created(vm)
    assert text in world.row(vm).message


REFERENCES = [
    "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/s)",
    "@Microsoft.KeyVault(VaultName=v;SecretName=s)",
    "  @microsoft.keyvault(VaultName=v;SecretName=s) \n",
]


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("name", ["OMS_WORKSPACE_ID", "OMS_WORKSPACE_KEY", "PROXY"])
async def test_a_key_vault_reference_that_was_not_resolved_is_never_sent(name: str, reference: str) -> None:
    protected: dict[str, Any] = {
        "workspaceKey": "{OMS_WORKSPACE_KEY}",
        "proxy": "http://svc:{PROXY}@gateway.example:80",
    }
    settings = {"OMS_WORKSPACE_ID": WORKSPACE_ID, "OMS_WORKSPACE_KEY": KEY, "PROXY": "pw", name: reference}
    world = World([{**POLICY, "protectedSettings": protected}], settings)
    vm = world.add()
    await world.created(vm)
    row = world.row(vm)
    assert world.arm.calls == ["GET"]
    assert (row.outcome, row.error_code) == (Outcome.FAILED, "bad-configuration")
    assert f"app setting {name}" in row.reason
    assert "Key Vault Secrets User" in row.reason
    assert "vault.azure.net" not in row.reason


async def test_an_unresolved_workspace_is_not_taken_for_another_one() -> None:
    """The agent is installed already; the workspace of the policy is unknown."""
    settings = {"OMS_WORKSPACE_ID": REFERENCES[0], "OMS_WORKSPACE_KEY": KEY}
    world = World(app_settings=settings)
    vm = world.add()
    world.arm.set_extension(vm, extension(settings={"workspaceId": WORKSPACE_ID}))
    await world.created(vm)
    row = world.row(vm)
    assert (row.outcome, row.error_code) == (Outcome.ALREADY_INSTALLED, "")
