"""A recorded storm is the same each time, and another seed gives another storm; so two commits can be compared."""

from __future__ import annotations

from tests.recording.storm import storm


def test_a_storm_is_repeatable() -> None:
    recorded = storm(seed=3, vms=12, hours=12)
    assert storm(seed=3, vms=12, hours=12) == recorded
    assert storm(seed=4, vms=12, hours=12) != recorded
    for what in ("GET", "PUT", "rows", "message", "entity", "outcome event"):
        assert any(f'"what": "{what}"' in line for line in recorded), what
