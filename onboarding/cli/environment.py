"""The app settings that a command works with: the process's environment, and over it those of a file."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping

from onboarding.cli.io import BadInput
from onboarding.cli.policy_input import read_text


def add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--settings", metavar="FILE", help="local.settings.json to use over the environment")


def environment_of(args: argparse.Namespace) -> Mapping[str, str]:
    return {**os.environ, **(read_settings_file(args.settings) if args.settings else {})}


def read_settings_file(path: str) -> dict[str, str]:
    """The `Values` of a file in the format of Core Tools."""
    try:
        raw = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: is no JSON ({error}); give a local.settings.json") from None
    values = raw.get("Values") if isinstance(raw, Mapping) else None
    if not isinstance(values, Mapping) or not all(isinstance(value, str) for value in values.values()):
        raise BadInput(f'{path}: has no "Values" that are texts; give a local.settings.json')
    if raw.get("IsEncrypted"):
        raise BadInput(f"{path}: is encrypted; decrypt it with `func settings decrypt`")
    return dict(values)
