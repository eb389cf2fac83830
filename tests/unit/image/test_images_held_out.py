"""Names as people write them: half of the list developed the grammar, the other half measures it."""

from __future__ import annotations

from copy import replace
from pathlib import Path

import pytest

from onboarding.domain.catalog.support_table import Verdict, judge
from onboarding.domain.image.os_identification import OsRelease
from onboarding.domain.image.os_release import OsSource, os_type_of
from onboarding.domain.machine.machine_facts import ImageKind, ImageReference, read_facts, read_image
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import identify

_FOLDER = Path(__file__).parent / "image_names"
_TABLES = tuple(load_catalogue()["oms-agent-linux"].support_table(name) for name in ("2017-04", "2023-11"))
_NO_VM = read_facts({})
_GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute"

type Case = tuple[str, str, str | None]


def _cases(name: str) -> list[Case]:
    lines = (_FOLDER / name).read_text(encoding="utf-8").splitlines()
    split = (line.rsplit(" ", 2) for line in lines if not line.startswith("#"))
    return [(image, distribution, None if version == "None" else version) for image, distribution, version in split]


DEVELOPED, HELD_OUT = _cases("developed.txt"), _cases("held_out.txt")
# What the grammar leaves open although a person could tell: service pack 0, a codename that is one of ROS too, and
# codenames with something glued to them.
_OPEN_VERSION = {"contoso:base:sles120", "contoso:base:ros-kinetic-xenial"}
_OPEN = {"corp:base:focal64-gold", "corp:base:jammyjellyfish"}


def _release(image: str) -> OsRelease:
    if image.startswith("/"):
        reference = read_image({"id": f"{_GROUP}{image}"})
    else:
        publisher, offer, sku = image.split(":")
        reference = ImageReference(publisher, offer, sku, kind=ImageKind.MARKETPLACE)
    return identify(replace(_NO_VM, image=reference))


halves = pytest.mark.parametrize("cases", [DEVELOPED, HELD_OUT], ids=["developed", "held out"])


@halves
def test_names_are_read_as_a_careful_person_reads_them(cases: list[Case]) -> None:
    misread = []
    for image, *label in cases:
        distribution, version = ("unknown", None) if image in _OPEN else label
        wanted = (distribution, None if image in _OPEN_VERSION else version)
        release = _release(image)
        if (release.distribution, release.version) != wanted:
            misread.append(f"{image} is {wanted}, and is read as {(release.distribution, release.version)}")
    assert not misread, "\n".join(misread)


@halves
def test_no_name_is_supported_that_does_not_surely_tell_so(cases: list[Case]) -> None:
    wrong = []
    for image, distribution, version in cases:
        release = _release(image)
        label = OsRelease(distribution, version, None, os_type_of(distribution), OsSource.IMAGE, "the label")
        for table in _TABLES:
            if judge(release, table).verdict is Verdict.SUPPORTED:
                if judge(label, table).verdict is not Verdict.SUPPORTED:
                    wrong.append(f"{image}: {distribution} {version} is not supported by {table.name}")
                if image.startswith("/"):
                    wrong.append(f"{image}: the name of an own image is free text")
    assert not wrong, "\n".join(wrong)
