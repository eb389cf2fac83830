"""`python -m simulator`: the simulated Azure on a laptop: `demo`, `storm` and `trial` with a functions host, `up`
without one.

Ctrl-C and SIGTERM end a command in order: the processes that it started end first.
"""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

_INTERRUPTED = 130
_MOST_SEEDS = 1000


def main() -> int:
    args = _arguments()
    # Imported here, so that help and usage errors do not wait for the SDKs.
    from simulator.azurite import AzuriteMissing
    from simulator.demo.own_policies import NoPolicies
    from simulator.process import StartFailed
    from simulator.storm.versions import NoSuchVersion

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it otherwise
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(args)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (AzuriteMissing, NoPolicies, StartFailed, NoSuchVersion) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    if args.command == "demo":
        from simulator.demo.run import run
    elif args.command == "storm":
        from simulator.storm.run import run
    elif args.command == "trial":
        from simulator.trial import run
    else:
        from simulator.up import run
    return run(args)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Act like Ctrl-C: the event loop cancels its tasks, and each part stops what it started."""
    signal.raise_signal(signal.SIGINT)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulator", description="Azure on a laptop.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="onboard a simulated fleet and check every row of the table")
    demo.add_argument("--vms", type=_positive, default=40, metavar="N", help="size of the fleet (default: 40)")
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="the seed that decides the fleet (default: 1)")
    demo.add_argument("--json", action="store_true", help="print one JSON object; progress goes to standard error")
    demo.add_argument("--policies", metavar="FOLDER", help="onboard the fleet by policies of your own")
    demo.add_argument(
        "--setting",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="an app setting that your policies use; may be repeated",
    )
    demo.add_argument("--picture", metavar="FILE", help="write the end of the demo there as an SVG picture")
    demo.add_argument("--keep", action="store_true", help="leave everything running, and print how to send an event")
    up = commands.add_parser("up", help="start Azurite, ARM and Event Grid for your own host, such as func start")
    up.add_argument("--to", default="http://localhost:7071", metavar="URL", help="the host (default: %(default)s)")
    up.add_argument(
        "--policies",
        default="policies",
        metavar="FOLDER",
        help="the host's policy folder: the extensions of its extensions/ exist in the cloud (default: %(default)s)",
    )
    up.add_argument("--schema", choices=("eventgrid", "cloudevents"), default="eventgrid", help="schema of the events")
    up.add_argument("--vms", type=_positive, default=0, metavar="N", help="create that many VMs once the host answers")
    up.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, other VMs (default: 1)")
    up.add_argument("--write", metavar="FILE", help="write the settings there, as a local.settings.json")
    up.add_argument(
        "--az", default=".run/az.env", metavar="FILE", help="write there what a shell sources to use az (%(default)s)"
    )
    commands.add_parser("trial", help="onboard one VM as `onboard extension test` asks on standard input")
    storm = commands.add_parser("storm", help="let a fleet be onboarded under faults and kills, and check what is left")
    storm.add_argument("--vms", type=_positive, default=200, metavar="N", help="size of the fleet (default: 200)")
    which = storm.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, default=1, metavar="N", help="the seed that decides the storm (default: 1)")
    which.add_argument(
        "--seeds",
        type=_numbers,
        metavar="LIST",
        help="several storms and one table of all of them, such as 1-10 or 1,4,7",
    )
    for name, default, what in (
        ("--faults", 0.2, "requests to ARM that fail"),
        ("--duplicates", 0.1, "events that are delivered twice"),
        ("--lost", 0.05, "events that are never delivered"),
        ("--migrating", 0.33, "VMs that migrate from the old agent to the new one, where the system allows it"),
    ):
        storm.add_argument(name, type=_share, default=default, metavar="SHARE", help=f"{what} (default: {default})")
    for name, default, what in (
        ("--kills", 3, "how often a host is killed"),
        ("--outages", 0, "how often storage is unreachable for some seconds"),
        ("--pauses", 0, "how often a person pauses all writes, and resumes them after half a minute"),
        ("--copies", 2, "how often a duplicated event is delivered"),
    ):
        storm.add_argument(name, type=int, default=default, metavar="N", help=f"{what} (default: {default})")
    storm.add_argument(
        "--extensions",
        type=int,
        choices=(3, 5),
        default=3,
        help="how many extensions a Linux VM may get: the two agents and one of the policy folder's own, or three of "
        "those (default: 3)",
    )
    storm.add_argument(
        "--beside",
        metavar="REF",
        help="a git commit, branch or tag: a host of that version runs at the same time, on the same table and queue",
    )
    storm.add_argument(
        "--at-once",
        type=_positive,
        default=1,
        metavar="N",
        help="how many of several storms run concurrently (default: 1)",
    )
    storm.add_argument("--json", action="store_true", help="print one JSON object; progress goes to standard error")
    args = parser.parse_args()
    if args.command == "storm" and args.extensions != 3 and args.beside is not None:
        storm.error(
            "argument --extensions: 5 is not for --beside, because not every version knows what extensions need"
        )
    return args


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _numbers(text: str) -> tuple[int, ...]:
    """`1-10`, `3` or `1,4,7-9`, each once and in that order."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(last or first) < int(first):
            raise argparse.ArgumentTypeError(f"{part.strip()!r} is not a number or a range such as 1-10")
        if int(last or first) - int(first) >= _MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"{part.strip()!r} is too many storms; {_MOST_SEEDS} are the most")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(numbers))


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be between 0 and 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
