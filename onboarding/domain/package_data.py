"""The data that ships with the pure part, as it is written in its files."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml


def read_data(path: str) -> Any:
    """What a YAML file holds; `path` begins at this package, as `data/arm_errors.yaml`."""
    text = files("onboarding.domain").joinpath(path).read_text(encoding="utf-8")
    # The loader in Python takes ten times as long, which every new process would wait for.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
