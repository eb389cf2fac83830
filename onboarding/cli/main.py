"""`onboard`: the command line. One module per command; each brings its own arguments and says its exit codes."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from onboarding.cli.io import BadInput

COMMANDS: tuple[str, ...] = ("check", "compare", "diagnose", "document", "errors", "policy", "replay", "status")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code is the process's. 2 means that the input was bad, and says where."""
    parser = argparse.ArgumentParser(prog="onboard", description="Onboarding of Azure VMs, by hand and by eye.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"onboarding.cli.{name}").add(commands)
    args = parser.parse_args(argv)
    try:
        code: int = args.run(args)
    except BadInput as error:
        print(f"onboard {args.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
