"""`onboard extension test`: install an extension on a simulated VM of its operating system, from nothing to the end of
the row, and show the request that was sent, with secrets hidden, and the row.

It runs the function app as it is deployed, against the simulator of this project and without Azure, so it needs a
checkout. Exit codes: 0 the row ended as `Installed`, 1 it did not, 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

import onboarding
from onboarding.cli.catalog.trial_request import Trial, prepare_trial
from onboarding.cli.command_list import EXTENSION_ACTIONS, add_command
from onboarding.cli.io import CommandFailed, Commands, as_json, counted
from onboarding.cli.output import Form, add_output
from onboarding.cli.policy.policy_input import policy_folder, read_source
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry, parse_entry
from onboarding.domain.json_access import printable
from onboarding.domain.masking import mask
from onboarding.domain.policy.policy import Policy
from onboarding.domain.secret import Secret
from onboarding.loading.package_data import reference_data
from onboarding.loading.policy_extensions import known_extension
from onboarding.loading.policy_folder import EXTENSIONS, extension_files, load_catalogue_of, load_policies

_ROOT = Path(onboarding.__file__).resolve().parent.parent
_INSTALLED = "Installed"
_SHOWN = ("Outcome", "Cause", "ErrorCode", "Reason", "Advice", "WaitingFor", "ExtensionName", "ExtensionVersion")


def add(actions: Commands) -> None:
    parser = add_command(actions, "test", EXTENSION_ACTIONS)
    parser.add_argument("entry", metavar="NAME|FILE", help="the name of an extension, or a file of one")
    what = (
        "a setting of the extension, public or protected, over those of the first policy that uses it; a.b=VALUE for"
        " one inside an object; may be repeated. Secrets that are not given are made up"
    )
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help=what)
    add_output(parser, (Form.TABLE, Form.JSON))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if not (_ROOT / "simulator" / "__main__.py").is_file():
        fix = "run it in a checkout of the project, after `make setup`"
        raise CommandFailed(f"the simulator is not beside the package in {_ROOT}; {fix}")
    with TemporaryDirectory(prefix="extension-trial-") as temporary:
        folder = Path(temporary)
        entry, used_by, trial = _prepare(args, folder)
        for value in trial.secrets:
            Secret(value)  # registers it, so that whatever is printed masks it
        if args.output is Form.TABLE:
            print(printable(f"{entry.name} on a simulated {entry.os_type} VM, {trial.image}"))
            if used_by:
                print(printable(f"with the settings of the policy {used_by.name}"))
            if trial.made_up:
                print(printable(f"made up: {', '.join(trial.made_up)}"), flush=True)
        result = _simulated(folder, entry, trial)
    if args.output is Form.JSON:
        policy = used_by.name if used_by else None
        whole = {"extension": entry.name, "image": trial.image, "policy": policy, "madeUp": trial.made_up, **result}
        print(mask(as_json(whole, indent=2)))
    else:
        _show(result)
    return 0 if (result["row"] or {}).get("Outcome") == _INSTALLED else 1


def _prepare(args: argparse.Namespace, folder: Path) -> tuple[CatalogueEntry, Policy | None, Trial]:
    """Make `folder` the policy folder of the trial, with the entry and the own entries beside it. Gives the entry, the
    policy whose settings are taken, if there is one, and what is tried."""
    path = Path(args.entry)
    name, place = args.entry, ""
    if os.path.isfile(path):
        source = read_source(str(path))
        with source.problems_named():
            name = parse_entry(source.data, source.name, reference_data()).name
        own = path.absolute().parent.parent
        files = extension_files(own)
        if path.absolute() not in files:
            own, files = folder, [path]  # it is not in a policy folder
    else:
        own = Path(policy_folder(os.environ))
        place = f"policy folder {own}"
        files = extension_files(own)
    (folder / EXTENSIONS).mkdir()
    for file in files:
        shutil.copy(file, folder / EXTENSIONS)
    catalogue = load_catalogue_of(folder)
    entry = known_extension(name, place, catalogue.entries, catalogue.unusable)
    policies, _ = load_policies(own, catalogue.entries, catalogue.unusable)
    using = [each for each in policies.policies if name in each.extensions and not each.removes]
    used_by = using[0] if using else None
    trial = prepare_trial(entry, args.setting, catalogue.entries, used_by, os.environ)
    (folder / "trial.yaml").write_text(yaml.safe_dump(dict(trial.policy)), "utf-8")
    return entry, used_by, trial


def _simulated(folder: Path, entry: CatalogueEntry, trial: Trial) -> dict[str, Any]:
    """What the simulator says in the end. The secrets reach it by its standard input, which nobody else can read."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    given = {"policies": str(folder), "extension": entry.name, "settings": dict(trial.app_settings), "vm": trial.vm}
    done = subprocess.run(
        [sys.executable, "-m", "simulator", "trial"],
        input=json.dumps(given),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(f"the simulator did not start: {mask(done.stderr.strip()) or 'it said nothing'}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _show(result: Mapping[str, Any]) -> None:
    lines = []
    if result["sent"]:
        name = (result["row"] or {}).get("ExtensionName", "")
        lines += ["", f"PUT …/virtualMachines/…/extensions/{name}", as_json(result["sent"], indent=2)]
    requests = [f"  {each['method']} {_short(each['path'])} -> {each['status']}" for each in result["requests"]]
    lines += ["", f"{counted(len(requests), 'request')} to Azure Resource Manager:", *requests, ""]
    row = result["row"]
    if row is None:
        lines += ["no row was written", *result["problems"]]
    else:
        lines += [f"{name}: {row[name]}" for name in _SHOWN if row.get(name)]
    lines.append(f"took {result['seconds']} s")
    print("\n".join(printable(mask(line), lines=True) for line in lines))


def _short(path: str) -> str:
    """The path from the machine's name on."""
    _, found, rest = path.partition("/virtualMachines/")
    return f"…/virtualMachines/{rest}" if found else path
