"""Fields that `repr` hides: foreign texts, secrets and whole bodies."""

from __future__ import annotations

import importlib
import pkgutil
from copy import replace
from typing import ClassVar

import pytest

import onboarding
from onboarding.domain.failures.evidence import Detail, Evidence
from onboarding.domain.hidden_fields import HidingStruct

SECRET = "c2VjcmV0LXdvcmtzcGFjZS1rZXk="


class Example(HidingStruct, frozen=True):
    hidden: ClassVar[frozenset[str]] = frozenset({"body"})

    name: str
    body: str = ""


def test_a_hidden_field_is_in_no_repr() -> None:
    value = Example("vm-1", SECRET)
    assert repr(value) == str(value) == "Example(name='vm-1')"
    assert value.__rich_repr__() == [("name", "vm-1")]
    assert SECRET not in repr([replace(value, name="vm-2"), {"key": value}])


def test_a_hidden_field_counts_in_a_comparison() -> None:
    assert Example("vm-1", "a") == Example("vm-1", "a") != Example("vm-1", "b")


def test_a_failure_shows_its_codes_and_not_its_texts() -> None:
    detail = Detail("Inner", SECRET)
    evidence = Evidence(409, "Outer", SECRET, details=(detail,), headers={"x-key": SECRET})
    assert "Outer" in repr(evidence)
    assert "Inner" in repr(evidence)
    assert SECRET not in repr(evidence)


def _classes() -> list[type[HidingStruct]]:
    for module in pkgutil.walk_packages(onboarding.__path__, "onboarding."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return [each for each in HidingStruct.__subclasses__() if each.__module__.startswith("onboarding.")]


@pytest.mark.parametrize("cls", _classes(), ids=lambda cls: cls.__name__)
def test_what_a_class_hides_is_a_field_of_it(cls: type[HidingStruct]) -> None:
    assert cls.hidden
    assert cls.hidden <= set(cls.__struct_fields__)
