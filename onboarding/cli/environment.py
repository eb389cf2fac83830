"""The app settings of a command: the environment of the process, overridden by a settings file if one is given."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from onboarding.cli.io import BadInput, line_of, read_text, shown
from onboarding.domain.errors import as_written
from onboarding.loading.safe_reader import Unreadable, parse_json


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
                from onboarding.cli.policy.policy_input import Source

                place = Source(args.settings, read_text(args.settings), None).at(f"Values.{name}")
                problem = f"the name or value of setting {as_written(name)} cannot be used"
                # The error quotes the value, which may be secret.
                raise BadInput(place, problem, "remove it") from None
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
    """The `Values` of a file in the format of Core Tools."""
    # Imported here because it takes long to load, and most commands read no settings file.
    from onboarding.cli.policy.policy_input import Source

    text = read_text(path)
    try:
        raw = parse_json(text)
    except Unreadable as error:
        place = line_of(path, error.line) if error.line else shown(path)
        raise BadInput(place, error.problem, _GIVE_SETTINGS) from error
    source = Source(shown(path), text, raw)
    values = raw.get("Values") if isinstance(raw, Mapping) else None
    if not isinstance(values, Mapping):
        raise BadInput(source.at("Values"), "missing object 'Values'", _GIVE_SETTINGS)
    if raw.get("IsEncrypted"):
        raise BadInput(
            source.at("IsEncrypted"), "the settings are encrypted", "decrypt them with `func settings decrypt`"
        )
    for name, value in values.items():
        if not isinstance(value, str):
            problem = f"the value of setting {as_written(name)} is not a text"
            raise BadInput(source.at(f"Values.{name}"), problem, "put it in quotes")
    return dict(values)


_GIVE_SETTINGS = "give a local.settings.json"
