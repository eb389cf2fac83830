"""Let checkov look at what each profile deploys, and compare its findings with infra/checkov.yaml, which explains them.

It looks at the snapshots, since those have every value resolved, and it does not read Bicep's newer syntax. checkov is
the one that CHECKOV names, or `checkov` on the PATH; without it, nothing is looked at, and this is said. Exit codes:
0 all findings are explained, or there is no checkov; 1 some are not, or an explanation is of no finding.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

INFRA = Path(__file__).resolve().parents[1] / "infra"
_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"

type Finding = tuple[str, str, str]  # the check, the type of the resource, the profile


def findings(checkov: str) -> set[Finding]:
    """What checkov finds in the profiles."""
    with TemporaryDirectory(prefix="scan-") as folder:
        for snapshot in INFRA.glob("profiles/*.snapshot.json"):
            resources = json.loads(snapshot.read_text())["predictedResources"]
            template = {"$schema": _SCHEMA, "contentVersion": "1.0.0.0", "resources": resources}
            (Path(folder) / snapshot.name.replace(".snapshot", "")).write_text(json.dumps(template, indent=1))
        command = [checkov, "-d", folder, "--framework", "arm", "--output", "json", "--quiet", "--skip-download"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        failed = json.loads(done.stdout)["results"]["failed_checks"]
    except (ValueError, KeyError, TypeError):
        raise SystemExit(f"checkov did not run:\n{done.stdout}{done.stderr}") from None
    return {_finding(each) for each in failed}


def _finding(failed: dict[str, Any]) -> Finding:
    """`resource` is the type, a dot and the name."""
    type_ = re.match(r"Microsoft\.\w+(?:/\w+)+", failed["resource"])
    return failed["check_id"], type_[0] if type_ else failed["resource"], Path(failed["file_path"]).stem


def main() -> int:
    named = os.environ.get("CHECKOV", "checkov")
    checkov = shutil.which(named)
    if checkov is None:
        print("checkov: skipped, it is not installed: pip install checkov somewhere, and name it in CHECKOV")
        return 0
    profiles = sorted(each.name.removesuffix(".bicepparam") for each in INFRA.glob("profiles/*.bicepparam"))
    explained = [
        (each["check"], each["type"], profile)
        for each in yaml.safe_load((INFRA / "checkov.yaml").read_text())
        for profile in each.get("profiles", profiles)
    ]
    found = findings(checkov)
    unexplained = sorted(found - set(explained))
    needed = {(check, on) for check, on, _ in found}
    unused = sorted({(check, on) for check, on, _ in explained} - needed)
    for check, on, profile in unexplained:
        print(f"{check} on {on} in the profile {profile}: not explained in infra/checkov.yaml")
    for check, on in unused:
        print(f"{check} on {on}: explained in infra/checkov.yaml, and not found")
    if not unexplained and not unused:
        print(f"checkov: {len(found)} findings, all explained")
    return 1 if unexplained or unused else 0


if __name__ == "__main__":
    sys.exit(main())
