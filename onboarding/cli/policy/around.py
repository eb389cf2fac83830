"""`--around FILE`, once or several times: what a command without a cloud may know of VMs' groups and subscriptions.

The file holds what `az group list`, `az account list` or ARM's own lists print, in one array or as JSON Lines. What is
not in it stays unknown.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Iterable, Mapping
from copy import replace
from typing import Any

from msgspec import Struct, field

from onboarding.cli.images.check_input import read_listed
from onboarding.cli.io import MAX_LIST, BadInput, read_text, shown
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.machine.resource_containers import (
    GROUP,
    SUBSCRIPTION,
    UNREAD,
    ResourceContainers,
    id_of,
    read_properties,
)
from onboarding.domain.resource_id import VmId

_GROUP_ID = re.compile(r"/subscriptions/[^/]+/resourcegroups/[^/]+")
_SUBSCRIPTION_ID = re.compile(r"(?:/subscriptions/)?([-0-9a-f]{36})")


class Around(Struct, frozen=True):
    """What the file tells, by id in lower case."""

    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, vm: VmId) -> ResourceContainers:
        around = UNREAD
        for what in (GROUP, SUBSCRIPTION):
            if found := self.known.get(id_of(what, vm).lower()):
                around = around.having(what, found)
        return around

    def facts(self, facts: MachineFacts) -> MachineFacts:
        return replace(facts, around=self.of(facts.id))


def add_around(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--around",
        metavar="FILE",
        action="append",
        default=[],
        help="resource groups and subscriptions that rules ask for (`az group list`, `az account list`)",
    )


def read_around(paths: Iterable[str]) -> Around:
    """What the files tell; without one, nothing. Raises BadInput."""
    known: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        for item in read_listed(io.StringIO(read_text(path, MAX_LIST)), shown(path)):
            id_, told = _named(item.value, f"{shown(path)}, line {item.line}")
            known[id_] = told
    return Around(known)


def _named(body: Any, place: str) -> tuple[str, Mapping[str, Any]]:
    """The id in lower case, and what is known."""
    id_ = str(body.get("id", "")).lower() if isinstance(body, Mapping) else ""
    if _GROUP_ID.fullmatch(id_):
        return id_, read_properties(GROUP, body, whole=False)
    subscription = _SUBSCRIPTION_ID.fullmatch(id_)
    if subscription is None:
        raise BadInput(
            f"{place}: is neither a resource group nor a subscription;"
            " give what `az group list` or `az account list` prints, as JSON"
        )
    key = f"/subscriptions/{subscription[1]}"
    # The CLI calls the display name `name`, and the GUID `id`.
    told = {"displayName": body.get("name"), **body, "id": key, "subscriptionId": subscription[1]}
    return key, read_properties(SUBSCRIPTION, told, whole=False)
