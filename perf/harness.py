"""What the benchmarks share: options, a table or JSON, the machine's load, a temporary node."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def options(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a short run, for CI")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="the same in a file, for perf/compare.py")
    parser.add_argument("--repeats", type=int, default=3, help="runs whose median is shown")
    return parser


PACE_TURNS = 2_000_000


def pace_ns() -> float:
    """What one turn of a fixed loop of Python takes just now, in nanoseconds.

    Machines differ by a factor of three, and a shared one differs from itself: figures of two runs
    compare by their ratio to this.
    """
    total, started = 0, time.perf_counter()
    for number in range(PACE_TURNS):
        total += number
    return (time.perf_counter() - started) / PACE_TURNS * 1e9


def machine() -> dict[str, Any]:
    """Where and under which load a benchmark ran."""
    return {
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1m": round(os.getloadavg()[0], 2),
        "loop_ns": round(pace_ns(), 1),
    }


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def quantile(values: Sequence[float], q: float) -> float:
    """The value below which the share ``q`` lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def show(
    title: str, rows: list[dict[str, Any]], given: argparse.Namespace, *, claims: list[str]
) -> None:
    """Print rows as a table, or all of it as JSON; save them when that was asked for."""
    where = machine()
    everything = json.dumps({"benchmark": title, "machine": where, "rows": rows}, indent=1)
    if given.save is not None:
        given.save.write_text(everything + "\n")
    if given.json:
        print(everything)
        return
    table = Table(title=title, caption=f"{where}", header_style="bold")
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(f"{v:,.1f}" if isinstance(v, float) else f"{v:,}" if isinstance(v, int)
                        else str(v) for v in row.values()))  # fmt: skip
    console = Console(width=max(200, shutil.get_terminal_size().columns))
    console.print(table)
    for claim in claims:
        console.print(claim)


def scratch(prefix: str) -> Path:
    """A new folder below the temporary folder; the caller removes it."""
    return Path(tempfile.mkdtemp(prefix=f"caxton-{prefix}-"))


def repeat(times: int, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run several times; the median of every number, and of the machine's pace meanwhile."""
    runs = []
    for _ in range(times):
        before = pace_ns()
        runs.append(run() | {"loop ns": (before + pace_ns()) / 2})
    merged = dict(runs[0])
    for name, value in merged.items():
        if isinstance(value, float):
            merged[name] = median([one[name] for one in runs])
        elif isinstance(value, int) and not isinstance(value, bool):
            merged[name] = int(median([one[name] for one in runs]))
    return merged
