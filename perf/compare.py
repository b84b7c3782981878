"""Find out whether a benchmark got slower: two files that ``--save`` wrote, row by row.

Costs in time are compared by their ratio to the pace of the machine in the same run (``loop ns``),
costs in memory as they are. The exit code is 1 when a row costs more than it may.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PACE = "loop ns"
COSTS = {"server us/msg": True, "us/msg": True, "kB each": False}
"""Columns that are costs, and whether they depend on the pace of the machine."""
COUNTS = ("shards",)
"""Numbers that tell rows from each other."""


Rows = dict[tuple[Any, ...], dict[str, Any]]


def read(file: Path) -> tuple[str, Rows]:
    """The name of a benchmark, and its rows by what tells them from each other."""
    saved = json.loads(file.read_text())
    return saved["benchmark"], {
        tuple(value for name, value in row.items() if isinstance(value, str) or name in COUNTS): row
        for row in saved["rows"]
    }


def ratios(before: Rows, now: Rows) -> list[tuple[str, str, float, float, float]]:
    """Row, column, cost before, cost now, and their ratio at the same pace."""
    found = []
    for key, row in now.items():
        known = before.get(key, {})
        for name, paced in COSTS.items():
            old, new = known.get(name), row.get(name)
            if not old or not new:
                continue
            pace = known[PACE] / row[PACE] if paced else 1.0
            found.append((", ".join(map(str, key)), name, old, new, new / old * pace))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("now", type=Path)
    parser.add_argument(
        "--tolerance", type=float, default=0.3, help="how much more a row may cost, as a share"
    )
    given = parser.parse_args()
    _, before = read(given.before)
    name, now = read(given.now)
    found = ratios(before, now)
    table = Table(title=f"{name}: costs beside {given.before.name}", header_style="bold")
    for title in ("row", "column", "before", "now", "ratio at the same pace", ""):
        table.add_column(title, justify="left" if title in ("row", "column", "") else "right")
    worse = 0
    for row, column, old, new, ratio in found:
        slower = ratio > 1 + given.tolerance
        worse += slower
        table.add_row(row, column, f"{old:,.1f}", f"{new:,.1f}", f"{ratio:.2f}", "worse" * slower)
    Console(width=140).print(table)
    if not found:
        print("no row is in both files", file=sys.stderr)
        return 1
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
