"""The labelled samples, in a folder next to the checkout. Without that folder, tests that need it are skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "samples"

needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the labelled samples are not beside this checkout")


def read_lines(name: str) -> list[dict[str, Any]]:
    """Every object of a JSON Lines sample; empty if the samples are absent."""
    path = SAMPLES / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
