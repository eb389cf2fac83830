"""Build the zip that Azure runs: the app with its packages, compiled, and nothing else.

The packages are those of requirements.txt, for Linux x86-64 whatever this machine is. The byte code is not checked
against its source: in Azure the package is read-only and its files get new dates, so checked byte code would count as
stale and be compiled again at each start. The same sources make the same zip. Beside it are its SHA-256 and a bill of
materials.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bill_of_materials

ROOT = Path(__file__).resolve().parents[1]
DEPLOYED = ("function_app.py", "host.json", "requirements.txt", "onboarding", "policies")
PACKAGES = Path(".python_packages/lib/site-packages")  # the worker imports from here
_TAKES = (3, 13)
# Wheels for the oldest glibc that Functions runs on. Pip does not derive the older tags from one tag.
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_TARGET = ("Linux", "x86_64")
_LEFT_OUT = ("__pycache__", ".*", "*.pyc", "*.pyo")
_DATED = (1980, 1, 1, 0, 0, 0)  # the earliest date in a zip
_FILE_MODE = 0o100644 << 16


class PackageFailed(Exception):
    """The package could not be built, or does not load; the text says what to do."""


def build(project: Path, site_packages: Path | None, output: Path) -> dict[str, Any]:
    """Build the package and load it. `site_packages` has the packages already; without it, pip downloads them."""
    if sys.version_info[:2] != _TAKES:
        raise PackageFailed(
            f"byte code must be that of Python {_TAKES[0]}.{_TAKES[1]}; this is {sys.version.split()[0]}"
        )
    with TemporaryDirectory(prefix="package-") as made:
        folder = Path(made)
        for name in DEPLOYED:
            _copy(project / name, folder / name)
        if site_packages is None:
            _install(project / "requirements.txt", folder / PACKAGES)
        else:
            _copy(site_packages, folder / PACKAGES)
        shutil.rmtree(folder / PACKAGES / "bin", ignore_errors=True)  # scripts that contain this machine's paths
        _compile(folder)
        loaded = _load(folder) if (platform.system(), platform.machine()) == _TARGET else {}
        files = sorted(_files(folder))
        output.parent.mkdir(parents=True, exist_ok=True)
        _zip(folder, files, output)
    content = output.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    output.with_suffix(".zip.sha256").write_text(f"{sha256}  {output.name}\n", "utf-8")
    bill = bill_of_materials.write(output, sha256, _version(project))
    built = {"package": _near(output), "bytes": len(content), "files": len(files), "bill": _near(bill)}
    return {**built, "sha256": sha256, **loaded}


def _version(project: Path) -> str:
    with (project / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise PackageFailed(f"{source} is not there")
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    else:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*_LEFT_OUT))


def _install(requirements: Path, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    command += ["--no-compile", "--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={_TAKES[0]}.{_TAKES[1]}", *(f"--platform={name}" for name in _PLATFORMS)]
    done = subprocess.run([*command, f"--target={target}", f"--requirement={requirements}"], check=False)
    if done.returncode:
        raise PackageFailed(f"pip could not get what {requirements.name} pins; what it said is above")


def _compile(folder: Path) -> None:
    """Paths in the byte code are those within the package; sets come in the same order each time."""
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", "-s"]
    done = subprocess.run([*command, str(folder), str(folder)], env={**os.environ, "PYTHONHASHSEED": "0"}, check=False)
    if done.returncode:
        raise PackageFailed("a file of the package could not be compiled; what Python said is above")


def _load(folder: Path) -> dict[str, Any]:
    """Load all of the app with nothing but the package and the standard library."""
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("load_package.py"))]
    done = subprocess.run([*command, str(folder), str(folder / PACKAGES)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackageFailed(f"the package does not load:\n{done.stderr}")
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def _files(folder: Path) -> Iterator[Path]:
    return (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _zip(folder: Path, files: list[Path], output: Path) -> None:
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.as_posix(), _DATED)
            entry.external_attr, entry.compress_type = _FILE_MODE, zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever this runs
            archive.writestr(entry, (folder / path).read_bytes())


def _near(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="package", description="Build the zip that Azure runs.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "vm-onboarding.zip", metavar="FILE")
    parser.add_argument(
        "--site-packages", type=Path, metavar="FOLDER", help="use the packages in this folder, and download nothing"
    )
    parser.add_argument("--json", action="store_true", help="what was built, as JSON on standard output")
    return parser


def main() -> int:
    args = _arguments().parse_args()
    try:
        built = build(ROOT, args.site_packages, args.output)
    except (PackageFailed, OSError) as failed:
        print(f"package: {failed}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(built))
        return 0
    print(f"{built['package']}: {built['bytes'] / 1e6:.1f} MB, {built['files']:,} files, sha256 {built['sha256']}")
    print(f"bill of materials: {built['bill']}")
    if "functions" in built:
        print(f"loads with its own packages in {built['seconds']:.2f} s: {', '.join(built['functions'])}")
    else:
        print(f"not loaded here: it is for {' '.join(_TARGET)}, and this is {platform.system()} {platform.machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
