"""The option `--around FILE`: resource groups and subscriptions for commands that do not read them from Azure.

A file holds the output of `az group list` or `az account list`, or a list of ARM, as an array or as JSON Lines. Groups
and subscriptions that are in no file stay unknown.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Iterable, Mapping
from copy import replace
from typing import Any

from msgspec import Struct, field

from onboarding.cli.images.check_input import read_list_items
from onboarding.cli.io import MAX_LIST, BadInput, line_of, read_text, shown
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


class KnownContainers(Struct, frozen=True):
    """The groups and subscriptions of the files."""

    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Their bodies, by id in lower case."""

    def of(self, vm: VmId) -> ResourceContainers:
        around = UNREAD
        for what in (GROUP, SUBSCRIPTION):
            if found := self.known.get(id_of(what, vm).lower()):
                around = around.having(what, found)
        return around

    def facts(self, facts: MachineFacts) -> MachineFacts:
        return replace(facts, around=self.of(facts.id))


def add_container_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--around",
        metavar="FILE",
        action="append",
        default=[],
        help="output of `az group list` or `az account list`, for rules that need it; may be given several times",
    )


def read_container_files(paths: Iterable[str]) -> KnownContainers:
    """The groups and subscriptions of the files. Raises BadInput."""
    known: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        for item in read_list_items(io.StringIO(read_text(path, MAX_LIST)), shown(path)):
            id_, fields = _parse_container(item.value, line_of(path, item.line))
            known[id_] = fields
    return KnownContainers(known)


def _parse_container(body: Any, place: str) -> tuple[str, Mapping[str, Any]]:
    """The id in lower case, and the known fields."""
    id_ = str(body.get("id", "")).lower() if isinstance(body, Mapping) else ""
    if _GROUP_ID.fullmatch(id_):
        return id_, read_properties(GROUP, body, whole=False)
    subscription = _SUBSCRIPTION_ID.fullmatch(id_)
    if subscription is None:
        fix = "give what `az group list` or `az account list` prints, as JSON"
        raise BadInput(place, "the item is neither a resource group nor a subscription", fix)
    key = f"/subscriptions/{subscription[1]}"
    # The CLI calls the display name `name`, and the GUID `id`.
    fields = {"displayName": body.get("name"), **body, "id": key, "subscriptionId": subscription[1]}
    return key, read_properties(SUBSCRIPTION, fields, whole=False)
