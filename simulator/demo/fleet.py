"""The fleet of the demo, from `fleet.yaml`: what to create, what happens to it, and its expected outcomes.

The same number and seed give the same fleet. The images are real ones; their versions come from samples/images.jsonl.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from simulator.arm import Agent, ExtensionSpec, Guest, HandlerRun, Power, VmSpec

_FILE = Path(__file__).with_name("fleet.yaml")
_IMAGES = Path(__file__).resolve().parents[2] / "samples" / "images.jsonl"
_MANAGED = "managed"
_PLACES = ("westeurope", "northeurope", "eastus")
_GROUPS = ("rg-shop", "rg-data", "rg-ops")

CROWDED = "00000000-0000-4000-8000-000000000003"  # the subscription that ARM throttles


class Story(StrEnum):
    """What happens to a VM besides being created."""

    NONE = ""
    START_LATER = "start-later"
    DELETE_DURING_INSTALL = "delete-during-install"
    OTHER_DEPLOYMENT = "other-deployment"


@dataclass(frozen=True, slots=True)
class Expectation:
    """The outcome that a VM must have."""

    outcome: str
    error: str = ""
    """The row's ErrorCode; empty without an error."""
    calls: int | None = None
    """How many ARM calls the VM takes; None if chance decides."""
    silent: str = ""
    """Why the agent sends nothing although it is installed; empty if its data flows."""


@dataclass(frozen=True, slots=True)
class Member:
    """One VM of the fleet."""

    kind: str
    spec: VmSpec
    story: Story
    expected: Expectation
    extension: str = "oms-agent-linux"
    """The one that its policy wants; for the other one it is out of scope."""

    @property
    def id(self) -> str:
        return self.spec.id.lower()


def make_fleet(size: int, seed: int, subscriptions: Sequence[str], crowded: str = CROWDED) -> tuple[Member, ...]:
    """A fleet of that size, in the order in which its VMs are created; `crowded` is the throttled VMs' subscription."""
    raw = yaml.safe_load(_FILE.read_text("utf-8"))
    chance = random.Random(f"{seed}|fleet")
    versions = _read_versions()
    members: list[Member] = []
    for kind, count in zip(raw["kinds"], _shares([kind["vms"] for kind in raw["kinds"]], size), strict=True):
        images = raw["images"][kind["images"]]
        offset = chance.randrange(len(images))
        for number in range(count):
            image = images[(offset + number) % len(images)]
            name = f"{kind['name']}-{number + 1:0{2 if size <= 300 else 4}}"
            subscription = crowded if kind.get("crowded") else chance.choice(subscriptions)
            place = _Place(name, subscription, chance.choice(_GROUPS), chance.choice(_PLACES))
            members.append(_member(kind, image, place, versions))
    chance.shuffle(members)
    return tuple(members)


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    subscription: str
    group: str
    location: str


def _member(kind: Mapping[str, Any], image: Mapping[str, str], place: _Place, versions: Mapping[str, str]) -> Member:
    os_name, _, os_version = image["system"].rpartition(" ")
    spec = VmSpec(
        name=place.name,
        group=place.group,
        subscription=place.subscription,
        location=place.location,
        image=_reference(image["image"], place, versions),
        tags=kind.get("tags", {}),
        os_type=kind.get("os", "Linux"),
        guest=Guest(
            os_name=os_name,
            os_version=os_version,
            agent=Agent(kind.get("agent", Agent.REPORTS)),
            agent_delay=float(kind.get("agentDelay", 0)),
        ),
        power=Power(kind.get("power", Power.RUNNING)),
        allow_extension_operations=kind.get("allowExtensionOperations", True),
        extensions=tuple(ExtensionSpec(**extension) for extension in kind.get("extensions", ())),
        runs=tuple(HandlerRun(**run) for run in kind.get("runs", ())),
        runs_of="*.OmsAgentForLinux",
    )
    return Member(kind["name"], spec, Story(kind.get("story", "")), Expectation(**kind["expect"]))


def _reference(image: str, place: _Place, versions: Mapping[str, str]) -> dict[str, str]:
    if image == _MANAGED:
        scope = f"/subscriptions/{place.subscription}/resourceGroups/rg-images"
        return {"id": f"{scope}/providers/Microsoft.Compute/images/{place.name}-image"}
    publisher, offer, sku = image.split(":")
    return {"publisher": publisher, "offer": offer, "sku": sku, "version": versions[image]}


def _read_versions() -> dict[str, str]:
    """The version of each sample image, by publisher:offer:sku."""
    rows = map(json.loads, _IMAGES.read_text("utf-8").splitlines())
    return {f"{row['publisher']}:{row['offer']}:{row['sku']}": row["version"] for row in rows}


def _shares(weights: Sequence[int], size: int) -> list[int]:
    """`size` divided by weight (D'Hondt's method), with at least one for each as far as `size` allows."""
    shares = [1 if index < size else 0 for index in range(len(weights))]
    for _ in range(size - sum(shares)):
        shares[max(range(len(weights)), key=lambda index: weights[index] / (shares[index] + 1))] += 1
    return shares
