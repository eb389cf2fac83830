"""`python -m simulator.host --app DIR`: run the functions of an app until stopped by a signal.

When the host serves requests, it prints one line of JSON on standard output: `{"url": …, "errors": {function:
reason}}`. Everything else, including the app's `print`, goes to standard error. Exit code 1: the app or its
configuration cannot be loaded, and standard error has the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from simulator.host import logs
from simulator.host.configuration import BadConfiguration, HostOptions, apply_settings, read_host_options
from simulator.host.keys import Keys
from simulator.host.server import CannotListen, Host
from simulator.host.worker import LoadFailed, load

_STORAGE = "AzureWebJobsStorage"
_ENVIRONMENT = "AZURE_FUNCTIONS_ENVIRONMENT"
_DRAIN = 10.0
_LAST_RESORT = 5.0  # seconds after the drain until a host with a blocked loop is ended by force


def main() -> int:
    args = _arguments()
    app = Path(args.app).resolve()
    announce = _reserve_output()
    try:
        if args.settings:
            apply_settings(Path(args.settings), os.environ)
        options = read_host_options(app, os.environ)
    except BadConfiguration as error:
        print(f"host: {error}", file=sys.stderr)
        return 1
    os.environ.setdefault(_ENVIRONMENT, "Development")  # as Core Tools do
    if args.storage:
        os.environ[_STORAGE] = args.storage
    logs.configure(options.log_levels, args.quiet)
    key = (args.key or secrets.token_urlsafe(32)) if args.enable_auth else None
    try:
        asyncio.run(_serve(app, options, args, Keys(key), announce))
    except LoadFailed as error:
        print(f"host: {app} cannot be loaded: {error}", file=sys.stderr)
        return 1
    except CannotListen as error:
        print(f"host: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(
    app: Path, options: HostOptions, args: argparse.Namespace, keys: Keys, announce: Callable[[str], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if args.end_with_parent:
        threading.Thread(target=_watch_parent, args=(loop, stop), daemon=True).start()
    host = Host(await load(app), options, keys, _DRAIN)
    await host.start(args.address, args.port)
    announce(json.dumps({"url": host.url, "errors": host.errors} | ({"key": keys.master} if keys.master else {})))
    try:
        await host.run_until(stop)
    finally:
        await host.stop()


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop when standard input closes, since the parent has ended; if the loop is blocked, end the process."""
    while os.read(0, 4096):  # not sys.stdin: a thread that reads its buffer breaks the shutdown of the interpreter
        pass
    loop.call_soon_threadsafe(stop.set)
    threading.Event().wait(_DRAIN + _LAST_RESORT)
    os._exit(1)


def _reserve_output() -> Callable[[str], None]:
    """Reserve standard output for the ready line; the app's output goes to standard error."""
    output, sys.stdout = sys.stdout, sys.stderr

    def announce(line: str) -> None:
        print(line, file=output, flush=True)

    return announce


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulator.host", description="Run an Azure Functions app.")
    add = parser.add_argument
    add("--app", default=".", metavar="DIR", help="folder of function_app.py and host.json (default: here)")
    add("--port", type=int, default=0, help="port of the host (default: a free one)")
    add("--address", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    add("--storage", metavar="CONNECTION", help="connection string for AzureWebJobsStorage")
    add("--settings", metavar="FILE", help="local.settings.json, whose values become settings")
    add("--enable-auth", action="store_true", help="check keys, which are not checked otherwise")
    add("--key", help="the key with --enable-auth (default: a new one, in the ready line)")
    add("--quiet", action="store_true", help="log warnings and errors only")
    add("--end-with-parent", action="store_true", help="stop when standard input closes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
