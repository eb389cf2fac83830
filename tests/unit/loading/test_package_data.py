"""The data that ships with the package: each part is read when it is needed, and once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from onboarding.loading import package_data
from onboarding.loading.package_data import reference_data

ROOT = Path(__file__).resolve().parents[3]
AT_START = """
import json
from onboarding.app import read_configuration
from onboarding.loading import package_data

configuration = read_configuration({"ONBOARDING_POLICIES": "policies"})
parts = ("image_grammar", "windows_releases", "shared_errors", "handler_names", "managed_kinds")
read = [name for name in parts if getattr(package_data, name).cache_info().currsize]
print(json.dumps([len(configuration.rules.policies.policies), read]))
"""


def test_a_process_that_has_met_no_machine_and_no_failure_has_not_read_what_it_would_need_for_them() -> None:
    done = subprocess.run([sys.executable, "-c", AT_START], cwd=ROOT, capture_output=True, text=True, check=True)
    policies, read = json.loads(done.stdout)
    assert policies
    assert read == ["managed_kinds"]


def test_every_part_is_the_same_value_each_time() -> None:
    reference = reference_data()
    for part in (reference.grammar, reference.windows, reference.errors, reference.handlers, reference.managed):
        assert part() is part()


def test_the_parts_are_those_of_the_package() -> None:
    reference = reference_data()
    assert reference.grammar() is package_data.image_grammar()
    assert reference.windows() is package_data.windows_releases()
    assert reference.errors() is package_data.shared_errors()
    assert reference.handlers() is package_data.handler_names()
    assert reference.managed() is package_data.managed_kinds()
