"""`python -I -S load_package.py FOLDER SITE_PACKAGES`: load an unpacked package without other packages; prints JSON.

Every module of the app is imported. The exit code is 1 if one comes from elsewhere, or has no unchecked byte code.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

_UNCHECKED = (1).to_bytes(4, "little")  # PEP 552: the hash is not compared


def _astray(folder: Path) -> Iterator[str]:
    """Modules that are neither the package's nor the standard library's, and those without their byte code."""
    library = Path(sysconfig.get_path("stdlib"))
    for name, module in sorted(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        origin = Path(getattr(module, "__file__", None) or folder)
        if name == "__main__" or spec is None:
            continue
        if not origin.is_relative_to(folder):
            if not origin.is_relative_to(library):
                yield f"{name} comes from {origin}"
        elif origin.suffix == ".py" and Path(spec.cached).read_bytes()[4:8] != _UNCHECKED:
            yield f"{name} has no byte code that is taken unchecked"


def main() -> int:
    folder, packages = (Path(argument).resolve() for argument in sys.argv[1:])
    sys.path[:0] = [str(folder), str(packages)]
    sys.dont_write_bytecode = True
    began = time.perf_counter()
    app = importlib.import_module("function_app").app
    functions = [function.get_function_name() for function in app.get_functions()]
    seconds = time.perf_counter() - began
    importlib.import_module("azure_functions_runtime")
    product = importlib.import_module("onboarding")
    for module in pkgutil.walk_packages(product.__path__, "onboarding."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    if astray := list(_astray(folder)):
        print("\n".join(astray), file=sys.stderr)
        return 1
    print(json.dumps({"functions": functions, "seconds": round(seconds, 3)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
