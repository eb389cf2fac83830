"""The bench runs under the shipped roles, as demo and storm do: each operation that its runs of the product need is
granted, and nothing is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bench.parts import Parts, run_child, running_parts
from bench.sections.steps import POLICY
from bench.workload import CONFIRMED, WITHOUT
from simulator.roles import association_role, identity_role, machine_role

ROLES = (machine_role(), association_role(), identity_role())
ON_MACHINES = "Microsoft.Compute/virtualMachines"
ON_ASSOCIATIONS = "Microsoft.Insights/dataCollectionRuleAssociations"
INSTALLING = {f"{ON_MACHINES}/read", f"{ON_MACHINES}/extensions/write", f"{ON_MACHINES}/extensions/read"}


@pytest.mark.timeout(120)  # five processes load the product
def test_the_bench_needs_what_the_shipped_roles_grant_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "azure-monitor.yaml").write_text(yaml.safe_dump(POLICY))
    with running_parts() as parts:
        installing = after_events(parts, CONFIRMED)
        three_steps = after_events(parts, WITHOUT, ONBOARDING_POLICIES=str(tmp_path))
        sweeping = after_a_sweep(parts)
        in_a_burst = during_a_burst(parts)
    assert installing == INSTALLING
    assert three_steps == {
        *INSTALLING,
        f"{ON_MACHINES}/write",
        f"{ON_ASSOCIATIONS}/write",
        "Microsoft.Insights/dataCollectionRules/read",  # for the link that the association makes
    }
    assert sweeping == {f"{ON_MACHINES}/read", f"{ON_MACHINES}/extensions/write"}
    assert in_a_burst == INSTALLING
    needed = installing | three_steps | sweeping | in_a_burst
    assert [each for each in needed if not any(role.allows(each) for role in ROLES)] == []


def after_events(parts: Parts, run: str, **settings: str) -> set[str]:
    """The operations that two VMs need until they are onboarded. An event whose request is refused fails the run."""
    parts.empty_storage()
    parts.record(0)
    run_child("bench.implementations", {"name": "product", "run": run, "events": 1}, {**parts.settings, **settings})
    record = parts.record()
    assert len(record["puts"]) == 2  # with the warm-up's
    return set(record["operations"])


def after_a_sweep(parts: Parts) -> set[str]:
    """Those of a sweep that finds one VM without its extension, which is then onboarded."""
    parts.empty_storage()
    run_child("bench.programs.fleet", {"vms": 2}, parts.settings)
    parts.record(0, 2)
    swept = run_child("bench.programs.sweep", {"what": "sweep", "handle": 1}, parts.settings)
    assert swept["handled"] == 1
    record = parts.record()
    assert len(record["puts"]) == 1
    return set(record["operations"])


def during_a_burst(parts: Parts) -> set[str]:
    parts.empty_storage()
    played = run_child("bench.programs.burst", {"vms": 3, "within": 1}, parts.settings)
    assert (played["whole"], played["refused"]) == (3, 0)
    return set(played["operations"])
