"""`onboard replay`: post events to a functions host as Event Grid does, one request each; each dead letter once.
With `--poison`, put messages of the poison queue back on their queue.

Exit codes: 0 the host accepted all, 1 it refused at least one, 2 bad input, or no host listens.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from onboarding.application import notifications
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import MAX_LIST, BadInput, Commands, read_text
from onboarding.cli.operations.replay_dead_letters import requeue_poison, send_dead_letters
from onboarding.cli.operations.replay_input import Event, Schema, read_events
from onboarding.cli.output import FORMERLY_LINES, Form, add_output, open_records
from onboarding.domain.errors import as_written
from onboarding.domain.json_access import printable

_DOOR = "/runtime/webhooks/eventgrid"
_HOST = "http://localhost:7071"
_FUNCTION = "on_resource_event"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TIMEOUT_S = 30  # the timeout of Event Grid


def add(commands: Commands) -> None:
    parser = add_command(commands, "replay")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", help="events or dead letters: one, an array or JSON Lines; - is stdin")
    what.add_argument(
        "--dead-letter", metavar="FOLDER", help="send the dead letters of a folder; sent files move to sent/"
    )
    what.add_argument("--poison", action="store_true", help="put messages of the poison queue back on their queue")
    parser.add_argument("--to", metavar="URL", default=_HOST, help="the functions host (default: %(default)s)")
    parser.add_argument("--function", metavar="NAME", default=_FUNCTION, help="the function (default: %(default)s)")
    parser.add_argument(
        "--schema",
        choices=[s.value for s in Schema],
        default="keep",
        help="convert events to this schema (default: keep)",
    )
    add_output(parser, formerly=FORMERLY_LINES)
    add_settings(parser)
    parser.set_defaults(run=run)


class Delivery(Struct, frozen=True):
    """One event that was sent, and the response of the host."""

    event: Event

    status: int
    """The HTTP status; 0: the host did not answer in time."""

    message: str
    """The body of the response, or why the host sent no response."""

    @property
    def taken(self) -> bool:
        """Whether Event Grid would count the event as delivered."""
        return 200 <= self.status <= 204


def run(args: argparse.Namespace) -> int:
    if args.poison:
        if args.output is not Form.TABLE:
            problem = f"--output {args.output} is not available for replay --poison"
            raise BadInput("--output", problem, "use table")
        return requeue_poison(environment_of(args))
    url = delivery_url(args.to, args.function)
    records = None if args.output is Form.TABLE else open_records(args.output, _COLUMNS, encode=json.dumps, flush=True)
    taken = refused = 0
    for delivery in _deliver(args, partial(_send, url)):
        if records is None:
            _show_text(delivery)
        else:
            records.write(_fields(delivery))
        taken, refused = taken + delivery.taken, refused + (not delivery.taken)
    if records is not None:
        records.end()
    else:
        print(f"\n{taken + refused} sent to {_origin(url)}: {taken} accepted, {refused} refused")
    return 1 if refused else 0


def _deliver(args: argparse.Namespace, send: Callable[[Sequence[Event]], Iterable[Delivery]]) -> Iterable[Delivery]:
    schema = Schema(args.schema)
    if args.dead_letter:
        return send_dead_letters(args.dead_letter, schema, send, lambda delivery: delivery.taken)
    return send(list(read_events(read_text(args.file, MAX_LIST), args.file, schema)))


def delivery_url(host: str, function: str) -> str:
    """The URL at which the host takes the events of a function; a key in the query of the URL is kept."""
    parts = urlsplit(host)
    if parts.scheme not in ("http", "https") or not _names_a_host(parts):
        raise BadInput("--to", f"{as_written(host)} is not the URL of a host", f"give one such as {_HOST}")
    path = parts.path.rstrip("/").removesuffix(_DOOR) + _DOOR
    query = {"functionName": function} | dict(parse_qsl(parts.query))
    return urlunsplit((parts.scheme, parts.netloc, path, urlencode(query), ""))


def _send(url: str, read: Iterable[Event]) -> Iterable[Delivery]:
    from urllib.request import ProxyHandler, build_opener

    opener = build_opener(ProxyHandler({})) if urlsplit(url).hostname in _LOOPBACK else build_opener()
    for event in read:
        status, message = _post(opener.open, url, event)
        yield Delivery(event, status, message)


def _post(send: Callable[..., Any], url: str, event: Event) -> tuple[int, str]:
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import Request

    try:
        with send(Request(url, _body(event), _headers(event), method="POST"), timeout=_TIMEOUT_S) as response:
            return response.status, response.read().decode(errors="replace")
    except HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except TimeoutError:
        return 0, f"the host did not answer in {_TIMEOUT_S} s"
    except (URLError, HTTPException, OSError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise BadInput(
            "--to",
            f"no host answers at {_origin(url)}: {reason}",
            "start one with `func start`, or with `python -m simulator.host --port 7071`, or give its URL",
        ) from None


def _body(event: Event) -> bytes:
    """One object for a CloudEvent, an array of one in the Event Grid schema."""
    return json.dumps(event.value if event.is_cloud_event else [event.value]).encode()


def _headers(event: Event) -> dict[str, str]:
    kind = "application/cloudevents+json" if event.is_cloud_event else "application/json"
    return {"Content-Type": f"{kind}; charset=utf-8", "aeg-event-type": "Notification"}


def _show_text(delivery: Delivery) -> None:
    print(f"{delivery.status or '---'}  {printable(_read_as(delivery.event))}")
    if delivery.message.strip():
        print("     " + "\n     ".join(printable(line) for line in delivery.message.strip().splitlines()))


_COLUMNS = ("line", "id", "status", "message", "readAs")


def _fields(delivery: Delivery) -> dict[str, Any]:
    fields = {"line": delivery.event.line, "id": delivery.event.value.get("id"), "status": delivery.status}
    return fields | {"message": delivery.message, "readAs": _read_as(delivery.event)}


def _read_as(event: Event) -> str:
    """How the function reads the event: the notification and its VM, or why the event is ignored."""
    match notifications.parse(json.dumps(event.value), datetime.now(UTC)):
        case notifications.Ignored(reason):
            return f"Ignored: {reason}"
        case notifications.ExtensionWritten(extension) | notifications.ExtensionDeleted(extension) as found:
            vm = extension.vm
            return f"{type(found).__name__} {vm.resource_group}/{vm.name}/{extension.name}"
        case found:
            return f"{type(found).__name__} {found.vm.resource_group}/{found.vm.name}"


def _names_a_host(parts: SplitResult) -> bool:
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _origin(url: str) -> str:
    """The host without user, path and query, which may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
