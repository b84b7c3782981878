"""Claims about the actor runtime: tells, asks, actors at rest, other processes, restarts.

Each measurement runs in a process alone; the figure shown is the median of ``--repeats`` of them.
Peers do the same work in the same run. Marks are for 2 quiet cores; the stretch is in brackets.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# The package `actors` before this folder, which has a benchmark of that name.
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if one != str(HERE)), str(HERE)]

from harness import machine, options, show

PEERS = {
    "xoscar": ("xoscar", "xoscar_tells", 20_000),
    "Thespian (simple base)": ("thespian", "thespian_tells", 20_000),
    "Ray": ("ray", "ray_tells", 5_000),
    "autogen-core": ("autogen-core", "autogen_tells", 5_000),
}
"""Shown name: package, function, messages."""


LONGEST_S = 120
"""A measurement that takes longer hangs."""


class Runner:
    """Runs measurements in child processes."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats

    def run(
        self, module: str, name: str, python: str = sys.executable, **arguments: Any
    ) -> dict[str, float] | None:
        """The median of each figure; None when the measurement cannot run."""
        code = (
            f"import sys, json; sys.path[:0] = {[str(HERE.parent), str(HERE)]!r}; "
            f"import {module} as m; "
            f"print('RESULT', json.dumps(m.{name}(**json.loads(sys.argv[1]))))"
        )
        runs = []
        for _ in range(self.repeats):
            try:
                done = subprocess.run(
                    [python, "-c", code, json.dumps(arguments)],
                    capture_output=True, text=True, timeout=LONGEST_S, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                print(f"{name}: not done within {LONGEST_S} s", file=sys.stderr)
                return None
            lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            if done.returncode or not lines:
                print(f"{name}: {done.stderr.strip()[-500:]}", file=sys.stderr)
                return None
            runs.append(json.loads(lines[-1].removeprefix("RESULT ")))
        return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def row(what: str, who: str, found: dict[str, float] | None, mark: str = "", *,
        good: bool | None = None) -> dict[str, Any]:  # fmt: skip
    """One line of the table."""
    shown: dict[str, Any] = {"figure": what, "of": who}
    for name in ("per_s", "cpu_us", "p50_us", "p99_us", "us", "bytes", "rss_bytes",
                 "p50_ms", "p99_ms"):  # fmt: skip
        value = None if found is None else found.get(name)
        shown[name] = "-" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
    shown["mark"] = mark
    shown["reached"] = "" if good is None else "yes" if good else "NO"
    return shown


def _at_least(limit: float) -> Any:
    return lambda found: found["per_s"] >= limit


def _at_most(name: str, limit: float) -> Any:
    return lambda found: found[name] <= limit


def own(runner: Runner, quick: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Our figures, with the marks they have."""
    size = 0.2 if quick else 1.0
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}

    many = 20_000 if quick else 100_000
    times = 100 if quick else 1_000
    plan: list[tuple[str, str, str, Any, str, dict[str, Any]]] = [
        ("tells to 100 actors", "tells", ">= 500,000/s", _at_least(500_000), "tells",
         {"count": int(1_000_000 * size)}),
        ("tells from another thread", "tells_from_thread", "", None, "tells_from_thread",
         {"count": int(500_000 * size)}),
        ("ask, 1 outstanding", "ask_1", "", None, "ask",
         {"count": int(50_000 * size), "outstanding": 1}),
        ("ask, 1,000 outstanding", "ask_1000", ">= 100,000/s [200,000]", _at_least(100_000), "ask",
         {"count": int(200_000 * size), "outstanding": 1_000}),
        (f"{many:,} idle actors", "spawn", "", None, "spawn",
         {"count": many, "supervised": False}),
        (f"{many:,} supervised actors", "spawn_supervised", "<= 20 us [10]", _at_most("us", 20),
         "spawn", {"count": many, "supervised": True}),
        ("bytes of a supervised actor", "bytes_supervised", "<= 2,000 bytes [1,300]",
         _at_most("bytes", 2_000), "spawn_bytes", {"count": many, "supervised": True}),
        *(
            (f"to another process, batches of {batch:,}", f"remote_{batch}",
             ">= 300,000/s" if batch == 100 else "", _at_least(300_000) if batch == 100 else None,
             "remote", {"count": int((200_000 if batch < 100 else 500_000) * size), "batch": batch})
            for batch in (1, 10, 100, 1_000)
        ),
        ("failed actor back in service", "restart", "< 1 ms", _at_most("p50_ms", 1), "restart",
         {"times": times, "supervised": False}),
        ("failed actor back, by its supervisor", "restart_supervised", "< 1 ms",
         _at_most("p50_ms", 1), "restart", {"times": times, "supervised": True}),
        ("killed process back", "killed_process", "< 1,000 ms [300]", _at_most("p50_ms", 1_000),
         "killed_process", {"times": 3 if quick else 10}),
    ]  # fmt: skip
    for what, key, mark, test, name, arguments in plan:
        found = figures[key] = runner.run("actors_measures", name, **arguments)
        good = None if found is None or test is None else bool(test(found))
        rows.append(row(what, "actors", found, mark, good=good))
    return rows, figures


def peers(
    runner: Runner, quick: bool, wanted: str, python: str | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What others do with the same work."""
    size = 0.2 if quick else 1.0
    module = "actors_peers"
    figures: dict[str, Any] = {}
    rows = []
    for what, who, key, name, arguments in (
        ("tells to 100 actors", "pykka ThreadingActor", "pykka_tells", "pykka_tells",
         {"count": int(200_000 * size)}),
        ("ask, 1 outstanding", "pykka ThreadingActor", "pykka_ask_1", "pykka_ask",
         {"count": int(20_000 * size), "outstanding": 1}),
        ("ask, 1,000 outstanding", "pykka ThreadingActor", "pykka_ask_1000", "pykka_ask",
         {"count": int(20_000 * size), "outstanding": 1_000}),
        ("idle actors (1,000)", "pykka ThreadingActor", "pykka_spawn", "pykka_spawn",
         {"count": 1_000}),
        ("tells to 100 actors", "asyncio Task + Queue", "asyncio_tells", "asyncio_tells",
         {"count": int(500_000 * size)}),
        ("ask, 1,000 outstanding", "asyncio Task + Queue", "asyncio_ask_1000", "asyncio_ask",
         {"count": int(200_000 * size), "outstanding": 1_000}),
        ("idle actors (20,000)", "asyncio Task + Queue", "asyncio_spawn", "asyncio_spawn",
         {"count": 20_000}),
    ):  # fmt: skip
        found = figures[key] = runner.run(module, name, **arguments)
        rows.append(row(what, who, found))
    if wanted == "none" or quick:
        return rows, figures
    for who, (package, name, count) in PEERS.items():
        found = None
        if python is not None:
            found = figures[name] = Runner(1).run(module, name, python=python, count=count)
        shown = row("tells", who, found)
        if found is None:
            shown["mark"] = f"{package} is not installed here, or failed"
        rows.append(shown)
    return rows, figures


def install(packages: list[str]) -> tuple[Path, str]:
    """An environment with the peers, as far as they install."""
    folder = Path(tempfile.mkdtemp(prefix="actors-peers-"))
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    for package in packages:
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", package],
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        if done.returncode:
            print(f"{package} did not install: {done.stderr.strip()[-300:]}", file=sys.stderr)
    return folder, python


def main() -> int:
    """Measure and print."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--peers", choices=("all", "none"), default="all",
                        help="whether the peers outside the standard environment run")  # fmt: skip
    parser.add_argument("--install-peers", action="store_true",
                        help="install them into a temporary environment first")  # fmt: skip
    parser.add_argument("--peers-python", help="interpreter of an environment that has them")
    arguments = parser.parse_args()
    runner = Runner(1 if arguments.quick else arguments.repeats)
    folder, python = None, arguments.peers_python
    if arguments.install_peers:
        folder, python = install([package for package, _, _ in PEERS.values()])
    try:
        rows, figures = own(runner, arguments.quick)
        others, more = peers(runner, arguments.quick, arguments.peers, python)
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    figures |= more
    claims = []
    if figures["tells"] and figures["pykka_tells"]:
        ratio = figures["tells"]["per_s"] / figures["pykka_tells"]["per_s"]
        figures["tells_ratio_to_pykka"] = ratio
        claims.append(f"tells are {ratio:.1f} times those of pykka's ThreadingActor (mark: 4)")
    if arguments.json:
        print(json.dumps({"benchmark": "actors", "machine": machine(), "figures": figures}))
        return 0
    show("actor runtime", rows + others, as_json=False, claims=claims)
    return 0


if __name__ == "__main__":
    sys.exit(main())
