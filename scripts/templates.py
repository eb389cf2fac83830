"""Compile and lint the templates in infra/, and compare what they deploy with the files under version control.

`infra/compiled/` holds templates in ARM's JSON, and beside each file in `infra/profiles/` is its snapshot: every
resource that this profile makes, with all names, conditions and loops resolved. A change of a template shows there what
it changes.

The compiler is the one that BICEP names, `bicep` on the PATH, or that of the Azure CLI. Without one, nothing is
checked; where it is another version than the one that wrote the files, they are not compared; both is said. Exit codes:
0 all is well, or there is no compiler; 1 a template has a fault, or a file is not current.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

INFRA = Path(__file__).resolve().parents[1] / "infra"
# In this order: management-group has the compiled subscription in it.
COMPILED = ("subscription", "main", "management-group", "lighthouse")
# Snapshots have a subscription and a region in their ids; these are nobody's.
_PLACE = ("--subscription-id", "00000000-0000-4000-8000-000000000001", "--location", "westeurope")
_OF_GROUP = ("--management-group-id", "onboarding", "--location", "westeurope")
_DIAGNOSTIC = re.compile(
    r"^(?P<file>.+?)\((?P<at>[\d,]+)\) : (?P<level>Error|Warning|Info) (?P<rule>[\w-]+): (?P<text>.*)$"
)
_AGE = re.compile(r"for '(?P<type>[^']+)'\. '(?P<version>[^']+)' is (?P<days>\d+) days old")


def find_compiler() -> str | None:
    """The path of Bicep's compiler, or None."""
    named = os.environ.get("BICEP", "")
    azure = Path.home() / ".azure" / "bin" / "bicep"
    return shutil.which(named) if named else shutil.which("bicep") or (str(azure) if azure.is_file() else None)


def _run(compiler: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([compiler, *arguments], cwd=INFRA, capture_output=True, text=True, check=False)


def _without_generator(template: Any) -> Any:
    """The template without the compiler's version and hash, which another compiler writes differently."""
    match template:
        case dict():
            return {key: _without_generator(value) for key, value in template.items() if key != "_generator"}
        case list():
            return [_without_generator(each) for each in template]
        case _:
            return template


def _current(file: Path, compiled: str) -> bool:
    return file.is_file() and _without_generator(json.loads(file.read_text())) == _without_generator(
        json.loads(compiled)
    )


@cache
def _written_by() -> str:
    """The version of the compiler that wrote the files."""
    first = json.loads((INFRA / "compiled" / f"{COMPILED[0]}.json").read_text())
    return str(first["metadata"]["_generator"]["version"])


@cache
def _same_version(compiler: str) -> bool:
    """Whether this compiler wrote the files. Another version may write the same templates differently."""
    found = re.search(r"\d+\.\d+\.\d+", _run(compiler, "--version").stdout)
    return found is not None and _written_by().startswith(f"{found[0]}.")


def _compile(compiler: str, name: str, write: bool, ages: dict[str, str]) -> list[str]:
    """What is wrong with a template. `ages` gets the types whose API version is old."""
    faults = []
    done = _run(compiler, "build", f"{name}.bicep", "--stdout")
    for line in done.stderr.splitlines():
        diagnostic = _DIAGNOSTIC.match(line.strip())
        if diagnostic and diagnostic["level"] == "Info" and (age := _AGE.search(diagnostic["text"])):
            ages[age["type"]] = f"{age['type']} {age['version']} ({age['days']} days)"
        elif line.strip():
            faults.append(line.strip().replace(f"{INFRA}{os.sep}", "infra/"))
    if done.returncode:
        return [*faults, f"infra/{name}.bicep does not compile"]
    file = INFRA / "compiled" / f"{name}.json"
    if not _current(file, done.stdout):
        if not write and not _same_version(compiler):
            return faults
        if write:
            file.write_text(done.stdout if done.stdout.endswith("\n") else f"{done.stdout}\n")
        else:
            faults.append(f"infra/compiled/{name}.json is not current; run: make templates")
    return faults


def _snapshot(compiler: str, profile: Path, write: bool) -> list[str]:
    """What is wrong with the snapshot of a profile."""
    place = _OF_GROUP if profile.name.startswith("management-group") else _PLACE
    mode = "overwrite" if write else "validate"
    done = _run(compiler, "snapshot", f"profiles/{profile.name}", "--mode", mode, *place)
    if not done.returncode:
        if write:
            _sort_outputs(profile.with_suffix(".snapshot.json"))
        return []
    output = [line for line in (done.stdout + done.stderr).splitlines() if " : Info " not in line]
    return ["\n".join([f"the snapshot of infra/profiles/{profile.name} is not current; run: make templates", *output])]


def _sort_outputs(snapshot: Path) -> None:
    """The compiler writes outputs in another order each time, which would look like a change."""
    content = json.loads(snapshot.read_text())
    content["outputs"] = dict(sorted(content["outputs"].items()))
    snapshot.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _faults(compiler: str, write: bool, ages: dict[str, str]) -> list[str]:
    """What is wrong with the templates and their files. Each template but the first, and each profile, is compiled
    beside the others."""
    first, *others = COMPILED
    found = _compile(compiler, first, write, ages)
    profiles = sorted(INFRA.glob("profiles/*.bicepparam")) if write or _same_version(compiler) else []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        compiled = [pool.submit(_compile, compiler, name, write, ages) for name in others]
        snapshots = [pool.submit(_snapshot, compiler, profile, write) for profile in profiles]
        for each in (*compiled, *snapshots):
            found += each.result()
    return list(dict.fromkeys(found))


def main() -> int:
    parser = argparse.ArgumentParser(prog="templates", description="Compile the templates in infra/.")
    parser.add_argument(
        "--write", action="store_true", help="format the templates, and write compiled files and snapshots"
    )
    args = parser.parse_args()
    compiler = find_compiler()
    if compiler is None:
        print("templates: skipped, no Bicep compiler found: install bicep, or az bicep, or name one in BICEP")
        return 0
    if args.write:
        _run(compiler, "format", "--pattern", "./**/*.bicep")
    ages: dict[str, str] = {}
    faults = _faults(compiler, args.write, ages)
    if faults:
        print("\n".join(faults))
    elif args.write or _same_version(compiler):
        print("templates: all compile without a warning, and what they deploy is on record")
    else:
        print(
            "templates: all compile without a warning; what they deploy is not compared with the files, which Bicep"
            f" {_written_by()} wrote"
        )
    if ages:
        print(f"API versions older than two years, which is no fault: {', '.join(sorted(ages.values()))}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
