"""`python -m bench.programs.page --what cold|warm|migration`: what the page takes over the table of the settings.

`cold` answers one request in this process, which has loaded nothing before: seconds from the import of the function app
to the answer. `warm` answers each view and filter ten times: for each, the median of seconds, and the bytes as sent;
`migration` does so with the view that is empty without a policy that removes an agent. Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Mapping
from typing import Any

MIGRATION = "migration"
PATHS = {
    "overview": "",
    "machines": "/machines",
    "a subscription": "/machines?subscription={subscription}",
    "a group and a name": "/machines?subscription={subscription}&group={group}&name={name}",
    "needs a person": "/machines?attention=1",
    "Undetermined": "/machines?outcome=Undetermined",
    "Waiting": "/machines?outcome=Waiting&outcome=Requested",
    "waits for": "/machines?waitingFor=vm-running",
    "Installed": "/machines?outcome=Installed",
    "Unsupported": "/machines?outcome=Unsupported",
    "a cause": "/machines?cause=timeout",
    "a policy": "/machines?policy=linux-monitoring",
    "a subscription that needs a person": "/machines?subscription={subscription}&attention=1",
    "a policy that needs a person": "/machines?policy=linux-monitoring&attention=1",
    "a policy under way": "/machines?policy=linux-monitoring&outcome=Waiting&outcome=Requested",
    "a cause of an outcome": "/machines?outcome=Failed&cause=timeout&policy=linux-monitoring",
    "a cause that no row has": "/machines?outcome=Failed&cause=extension-operations-disallowed",
    "an extension": "/machines?extension=oms-agent-linux",
    "a group": "/machines?group={group}",
    "a name": "/machines?name={name}",
    "a text of what needs a person": "/machines?attention=1&text=centos",
    "a text": "/machines?text=centos",
    "a text that no row has": "/machines?text=no-such-text",
    "CSV": "/machines.csv?outcome=Installed",
    "JSON": "/machines.json?outcome=Installed",
    "a machine": "/machine?id={id}",
    "causes": "/causes",
    "limits": "/limits",
    "events": "/events",
    "images": "/images",
    "policies": "/policies",
    MIGRATION: "/migration",
}
_ROUNDS = 10


async def _ask(function: Any, path: str) -> tuple[int, int]:
    """The status and the size of an answer, as a browser on this machine gets it."""
    import azure.functions as func

    headers = {"host": "localhost:7071", "accept-encoding": "gzip"}
    request = func.HttpRequest("GET", f"http://localhost:7071/api/ui{path}", headers=headers, body=b"")
    answer = await function(request)
    return answer.status_code, len(answer.get_body())


def _function() -> Any:
    """The page's function, as the host gets it."""
    os.environ["AZURE_FUNCTIONS_ENVIRONMENT"] = "Development"
    import function_app

    return next(f for f in function_app.app.get_functions() if f.get_function_name() == "page").get_user_function()


def _cold() -> dict[str, Any]:
    began = time.perf_counter()
    status, size = asyncio.run(_ask(_function(), ""))
    return {"seconds": time.perf_counter() - began, "status": status, "bytes": size}


async def _warm(paths: Mapping[str, str]) -> dict[str, Any]:
    from bench.programs.fleet import fleet_name
    from bench.workload import GROUP, subscription_of, vm_path
    from bench.workload import SUBSCRIPTION as WRITTEN

    function, measured = _function(), {}
    subscription = subscription_of(0)
    values = {
        "subscription": subscription,
        "group": GROUP,
        "name": fleet_name(4)[:-1],
        "id": vm_path(fleet_name(4)).replace(WRITTEN, subscription),
    }
    for name, template in paths.items():
        path = template.format(**values)
        taken, status, size = [], 0, 0
        await _ask(function, path)
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            status, size = await _ask(function, path)
            taken.append(time.perf_counter() - began)
        measured[name] = {"seconds": statistics.median(taken), "status": status, "bytes": size}
    return measured


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", choices=("cold", "warm", MIGRATION), required=True)
    args = parser.parse_args()
    paths = {name: path for name, path in PATHS.items() if (name == MIGRATION) == (args.what == MIGRATION)}
    print(json.dumps(_cold() if args.what == "cold" else asyncio.run(_warm(paths))))


if __name__ == "__main__":
    main()
