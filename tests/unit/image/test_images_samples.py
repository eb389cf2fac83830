"""The labelled samples: how often names, guest reports and VM bodies are read as their labels say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from onboarding.domain.catalog.support_table import Verdict
from onboarding.domain.machine.machine_facts import MachineFacts, read_facts
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import checker, release_of_guest
from tests.shared_samples import needs_samples, read_lines

CHECKER = checker(load_catalogue()["oms-agent-linux"].support_table("2017-04"))
VERDICTS = {True: Verdict.SUPPORTED, False: Verdict.UNSUPPORTED, None: Verdict.UNKNOWN}
pytestmark = needs_samples


def _agreement(pairs: Sequence[tuple[object, object]]) -> float:
    return sum(answer == label for answer, label in pairs) / len(pairs)


def test_images_agree_with_their_labels() -> None:
    rows = [(row, CHECKER.check(row)) for row in read_lines("images.jsonl")]
    labelled = [
        (answer.judgement.verdict, VERDICTS[row["supported_by_seed"]])
        for row, answer in rows
        if row["supported_by_seed"] is not None
    ]
    wrongly = [row for row, answer in rows if answer.supported and row["supported_by_seed"] is not True]
    releases = [
        ((answer.release.distribution, answer.release.version), (row["distro"], row["os_version"]))
        for row, answer in rows
    ]
    cautious = [(answer.supported, False) for row, answer in rows if row["supported_by_seed"] is None]
    assert wrongly == []
    assert _agreement(labelled) >= 0.99
    assert _agreement(releases) >= 0.985
    assert _agreement(cautious) >= 0.9


def test_guest_reports_agree_with_their_labels() -> None:
    pairs: list[tuple[object, object]] = []
    for row in read_lines("instance_view.jsonl"):
        release = release_of_guest(row["osName"], row["osVersion"])
        verdict = CHECKER.check({"osName": row["osName"], "osVersion": row["osVersion"]}).judgement.verdict
        answer = (release.distribution, release.version, verdict)
        pairs.append((answer, (row["distro"], row["os_version"], VERDICTS[row["supported_by_seed"]])))
    assert _agreement(pairs) >= 0.97


_SEED = {
    "supported": Verdict.SUPPORTED,
    "unsupported": Verdict.UNSUPPORTED,
    "not_linux": Verdict.UNSUPPORTED,
    "unknown": Verdict.UNKNOWN,
}


@pytest.mark.parametrize("row", read_lines("vm_models.jsonl"), ids=lambda row: row["case"])
def test_vm_bodies_are_read_as_their_labels_say(row: dict[str, Any]) -> None:
    facts, expected = read_facts(row["body"]), row["expect"]
    assert _facts_as_label(facts) == {key: expected[key] for key in _facts_as_label(facts)}
    assert CHECKER.check(row["body"]).judgement.verdict is _SEED[expected["seed_2017_matrix"]]


def _facts_as_label(facts: MachineFacts) -> dict[str, object]:
    return {
        "os_type": facts.os_type,
        "image_kind": facts.image.kind,
        "power": facts.power,
        "agent": facts.agent,
        "extension_names": [extension.name for extension in facts.extensions],
    }
