"""Where the labelled samples are, beside the checkout. A user has none, and tests that need them are skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "samples"

needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the labelled samples are not beside this checkout")


def read_lines(name: str) -> list[dict[str, Any]]:
    """Every object of a JSON Lines sample; empty where the samples are absent."""
    path = SAMPLES / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
