"""What the templates in infra/ deploy, as the files under version control say: their snapshots, one for each profile,
with all names, conditions and loops resolved, and the templates in ARM's JSON. `scripts/templates.py` writes both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
INFRA = ROOT / "infra"
PROFILES = ("public", "restricted", "private")
SUBSCRIPTIONS = {
    "public": "subscription-public",
    "restricted": "subscription-public",
    "private": "subscription-private",
}
APP_PRINCIPAL = "00000000-0000-0000-0000-00000000cccc"  # what the files of subscriptions call the app's principal

type Resource = Mapping[str, Any]


@cache
def snapshot(name: str) -> Sequence[Resource]:
    """The resources of `infra/profiles/<name>.bicepparam`."""
    found: Sequence[Resource] = json.loads((INFRA / "profiles" / f"{name}.snapshot.json").read_text())[
        "predictedResources"
    ]
    return found


@cache
def compiled(name: str) -> Mapping[str, Any]:
    """`infra/<name>.bicep` in ARM's JSON."""
    template: Mapping[str, Any] = json.loads((INFRA / "compiled" / f"{name}.json").read_text())
    return template


def of_type(resources: Sequence[Resource], type_: str) -> list[Resource]:
    return [each for each in resources if each["type"] == type_]


def one(resources: Sequence[Resource], type_: str, ending: str = "") -> Resource:
    """The only resource of the type whose name ends so."""
    (found,) = [each for each in of_type(resources, type_) if each["name"].endswith(ending)]
    return found


def app_settings(profile: str) -> Mapping[str, str]:
    found: Mapping[str, str] = one(snapshot(profile), "Microsoft.Web/sites/config", "/appsettings")["properties"]
    return found


def assignments(resources: Sequence[Resource]) -> set[tuple[str, str, str]]:
    """Who has which role where: the name of the identity (or its principal), the role's GUID, the scope's id."""
    found = set()
    for each in of_type(resources, "Microsoft.Authorization/roleAssignments"):
        properties = each["properties"]
        role = properties["roleDefinitionId"].rpartition("/")[2].rstrip("']")
        found.add((_identity(properties["principalId"]), role, _scope(each["id"])))
    return found


def texts(value: object) -> Iterator[str]:
    """All the texts in a value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (*texts(key), *texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def _identity(principal: str) -> str:
    """`reference('…/userAssignedIdentities/id-app-…', …)` → `id-app`; a topic's own identity → `topic`."""
    named = re.search(r"userAssignedIdentities/(id-[a-z]+)-", principal)
    if named:
        return named[1]
    if "/systemTopics/" in principal:
        return "topic"
    return "id-app" if principal == APP_PRINCIPAL else principal


def _scope(assignment: str) -> str:
    """The id of what the role is assigned on."""
    whole = re.search(r"(?:extensionResourceId\(')?(/[^']+)", assignment)
    assert whole, assignment
    return whole[1].partition("/providers/Microsoft.Authorization/")[0]
