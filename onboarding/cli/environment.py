"""The app settings of a command: the environment of the process, overridden by a settings file if one is given."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from onboarding.cli.io import BadInput, read_text


def add_settings(parser: argparse.ArgumentParser) -> None:
    what = "a local.settings.json; its values override environment variables of the same name"
    parser.add_argument("--settings", metavar="FILE", help=what)


def environment_of(args: argparse.Namespace) -> Mapping[str, str]:
    """The settings. Those of a file become environment variables of the process before libraries are loaded that read
    the environment: for the identity, for certificate authorities, for proxies."""
    if args.settings:
        for name, value in read_settings_file(args.settings).items():
            try:
                os.environ[name] = value
            except (ValueError, OSError):
                raise BadInput(f"{args.settings}: {name!r} is no name or value of a setting; remove it") from None
    return dict(os.environ)


@contextmanager
def restored_environment() -> Iterator[None]:
    """Restores the environment of the process at the end of the block."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def read_settings_file(path: str) -> dict[str, str]:
    """The `Values` of a local.settings.json, the file format of Azure Functions Core Tools."""
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
