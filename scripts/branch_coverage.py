"""Say how many branches of the measured code the tests took, and fail where they are too few.

`coverage report --fail-under` counts lines and branches together; lines are many and easily reached, so that it would
hide branches that nobody takes. Exit codes: 0 enough; 1 too few.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

LEAST = 95.0


def main(report: Mapping[str, Any], least: float = LEAST) -> int:
    """`report` is what `coverage json` writes."""
    totals = report["totals"]
    taken, there = totals["covered_branches"], totals["num_branches"]
    share = 100 * taken / there if there else 0.0  # nothing was measured: a gate that then opens is no gate
    enough = share >= least
    for path, file in () if enough else report["files"].items():
        if missed := [f"{start}->{end if end > 0 else 'exit'}" for start, end in file["missing_branches"]]:
            print(f"{path}: {', '.join(missed)}")
    print(f"{taken} of {there} branches were taken: {share:.1f} %, at least {least:g} % are asked for")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main(json.load(sys.stdin)))
