"""`onboard open`: open the page of the app in a browser, or print its address.

The address is that of --app, else of the setting WEBSITE_HOSTNAME, else of a host on this machine. Exit codes: 0 the
address was printed, and opened where that was asked for; 1 no browser could be opened; 2 bad input.
"""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Mapping
from urllib.parse import urlsplit

from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, Commands
from onboarding.domain.errors import as_written

_LAPTOP = "http://localhost:7071"
_HOSTNAME = "WEBSITE_HOSTNAME"
_PAGE = "/api/ui"


def add(commands: Commands) -> None:
    parser = add_command(commands, "open")
    parser.add_argument(
        "--app", metavar="URL", default="", help=f"the function app (default: the setting {_HOSTNAME}, else {_LAPTOP})"
    )
    parser.add_argument("--print", action="store_true", help="only print the address")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    address = page_address(args.app, environment_of(args))
    print(address)
    if args.print or not sys.stdout.isatty():
        return 0
    return 0 if webbrowser.open_new_tab(address) else 1


def page_address(app: str, environment: Mapping[str, str]) -> str:
    """The address of the page. Raises BadInput."""
    host = environment.get(_HOSTNAME, "").strip()
    scheme = "http" if host.startswith(("localhost", "127.0.0.1")) else "https"
    given = app or (f"{scheme}://{host}" if host else _LAPTOP)
    try:
        parts = urlsplit(given)
        named = parts.scheme in ("http", "https") and parts.hostname is not None and not (parts.query or parts.fragment)
    except ValueError:
        named = False
    if not named:
        problem = f"{as_written(given)} is not the URL of a function app"
        raise BadInput("--app", problem, "give one such as https://NAME.azurewebsites.net")
    return f"{given.rstrip('/').removesuffix(_PAGE)}{_PAGE}"
