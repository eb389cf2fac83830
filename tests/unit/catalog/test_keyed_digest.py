"""The digest by which changed secrets are recognised: only with a key, and another one for another key."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from onboarding.domain.catalog.protected_settings import SHORTEST_KEY, ProtectedSettings, keyed_digest
from onboarding.settings import read_settings

KEY, OTHER = "k" * SHORTEST_KEY, "o" * SHORTEST_KEY
VALUES: dict[str, Any] = {"proxy": {"password": "correct horse"}, "workspaceKey": "b25l"}


def digest_of(values: dict[str, Any], key: str = KEY) -> str:
    return keyed_digest(ProtectedSettings(values, []), key)


def test_the_same_secrets_have_the_same_digest_in_any_order() -> None:
    assert digest_of(VALUES) == digest_of(dict(reversed(VALUES.items())))
    assert len(digest_of(VALUES)) == 16


def test_another_secret_or_another_key_has_another_digest() -> None:
    changed = {**VALUES, "proxy": {"password": "correct horse battery"}}
    assert len({digest_of(VALUES), digest_of(changed), digest_of(VALUES, OTHER), digest_of({})}) == 4


def test_nobody_finds_a_short_password_by_trying_without_the_key() -> None:
    text = json.dumps(VALUES, sort_keys=True, separators=(",", ":"))
    tried = (hashlib.sha256(each.encode()).hexdigest() for each in (text, f"{text}{'k'}", "correct horse"))
    assert not any(each.startswith(digest_of(VALUES)) for each in tried)


@pytest.mark.parametrize("key", ["", "k", "k" * (SHORTEST_KEY - 1)])
def test_without_a_key_that_protects_it_there_is_none(key: str) -> None:
    assert digest_of(VALUES, key) == ""


def test_a_key_that_is_too_short_is_named_without_its_value() -> None:
    (problem,) = read_settings(
        {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "ONBOARDING_DIGEST_KEY": "secret1"}
    ).problems
    assert "ONBOARDING_DIGEST_KEY" in problem
    assert "fewer than 32 characters" in problem
    assert "secret1" not in problem
