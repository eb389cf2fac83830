"""The app settings that a command works with: the process's environment, and over it those of a file."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from onboarding.cli.io import BadInput, read_text


def add_settings(parser: argparse.ArgumentParser) -> None:
    what = "local.settings.json whose values are used; they win over variables of the same names in the environment"
    parser.add_argument("--settings", metavar="FILE", help=what)


def environment_of(args: argparse.Namespace) -> Mapping[str, str]:
    """The settings. Those of a file become the process's own, before the libraries are loaded that look there: for the
    identity to use, for certificate authorities, for proxies."""
    if args.settings:
        for name, value in read_settings_file(args.settings).items():
            try:
                os.environ[name] = value
            except (ValueError, OSError):
                raise BadInput(f"{args.settings}: {name!r} is no name or value of a setting; remove it") from None
    return dict(os.environ)


@contextmanager
def own_environment() -> Iterator[None]:
    """What becomes part of the process's environment in here is gone afterwards."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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
