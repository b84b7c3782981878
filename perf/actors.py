"""Claims about the actor runtime: tells, asks, actors at rest, other processes, restarts.

Each measurement runs in a process alone; the figure shown is the median of ``--repeats`` of them.
Peers do the same work in the same run. Marks are for 2 quiet cores; the stretch is in brackets.
``--peers all`` installs the peers into a temporary environment, ``installed`` runs those that
``--peers-python`` or this interpreter has, ``none`` only pykka and plain asyncio.
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

from actors_plan import COLUMNS, PEERS, UVLOOP, Mark, Measurement, own_plan, peer_plan, uvloop_plan
from harness import machine, options, show

LONGEST_S = 120
"""A measurement that takes longer hangs."""
RATIO = Mark("ratio", 4)


class Runner:
    """Runs measurements in child processes and keeps what was found and missed."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.rows: list[dict[str, Any]] = []
        self.figures: dict[str, Any] = {}
        self.marks: list[dict[str, Any]] = []

    def once(self, one: Measurement, python: str = sys.executable) -> dict[str, float] | None:
        """What one run finds; None when it cannot run."""
        code = (
            f"import sys, json; sys.path[:0] = {[str(HERE.parent), str(HERE)]!r}; "
            f"import {one.module} as m; "
            f"print('RESULT', json.dumps(m.{one.name}(**json.loads(sys.argv[1]))))"
        )
        try:
            done = subprocess.run(
                [python, "-c", code, json.dumps(one.arguments)],
                capture_output=True, text=True, timeout=LONGEST_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            print(f"{one.key}: not done within {LONGEST_S} s", file=sys.stderr)
            return None
        lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        if done.returncode or not lines:
            print(f"{one.key}: {done.stderr.strip()[-500:]}", file=sys.stderr)
            return None
        found: dict[str, float] = json.loads(lines[-1].removeprefix("RESULT "))
        return found

    def run(self, one: Measurement, python: str = sys.executable) -> None:
        """Measure, and keep the median of each figure."""
        self.add(one, [self.once(one, python) for _ in range(self.repeats)])

    def run_in_turns(self, first: Measurement, second: Measurement, times: int) -> None:
        """Measure two things by turns, and how many times the second the first does.

        A ratio of neighbours in time: what else the machine does is the same for both.
        """
        pairs = [(self.once(first), self.once(second)) for _ in range(times)]
        self.add(first, [one for one, _ in pairs])
        self.add(second, [one for _, one in pairs])
        good = [(a, b) for a, b in pairs if a is not None and b is not None]
        ratios = None
        if len(good) == times:
            ratios = {
                "ratio": statistics.median(a["per_s"] / b["per_s"] for a, b in good),
                "cpu_ratio": statistics.median(b["cpu_us"] / a["cpu_us"] for a, b in good),
            }
        self.figures["tells_ratio_to_pykka"] = ratios
        self.mark("tells, times those of pykka", RATIO, ratios)

    def add(self, one: Measurement, runs: list[dict[str, float] | None]) -> None:
        """Keep a figure; one of its runs failed when one of ``runs`` is None."""
        whole = [run for run in runs if run is not None]
        found = None
        if len(whole) == len(runs):
            found = {key: statistics.median(run[key] for run in whole) for key in whole[0]}
        self.figures[one.key] = found
        reached = "failed" if found is None else ""
        if one.mark is not None:
            reached = self.mark(f"{one.what}: {one.mark.field}", one.mark, found)
        self.rows.append(row(one, found, "" if one.mark is None else str(one.mark), reached))

    def mark(self, what: str, mark: Mark, found: dict[str, float] | None) -> str:
        """Keep whether a mark was reached. A measurement that failed has not reached it."""
        value = None if found is None else found[mark.field]
        reached = mark.reached(value)
        self.marks.append({"figure": what, "mark": str(mark), "is": value, "reached": reached})
        return reached

    def absent(self, what: str, who: str, why: str) -> None:
        """Show what did not run."""
        self.figures.setdefault("absent", {})[who] = why
        self.rows.append(row(Measurement(what, "", "", {}, who=who), None, "", why))


def row(
    one: Measurement, found: dict[str, float] | None, mark: str, reached: str
) -> dict[str, Any]:
    """One line of the table."""
    shown: dict[str, Any] = {"figure": one.what, "of": one.who}
    for name in COLUMNS:
        value = None if found is None else found.get(name)
        shown[name] = "-" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
    return {**shown, "mark": mark, "reached": reached}


def has(python: str, package: str) -> bool:
    """Whether an interpreter has a package."""
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def peers(runner: Runner, quick: bool, python: str) -> None:
    """The peers that are no dependency, and our own figures on uvloop."""
    for one, package in PEERS:
        if has(python, package):
            runner.run(one, python)
        else:
            runner.absent(one.what, one.who, f"{package} is not installed")
    if all(has(python, package) for package in ("uvloop", *UVLOOP)):
        for one in uvloop_plan(quick):
            runner.run(one, python)
    else:
        runner.absent("tells, asks, other processes", "actors on uvloop", "uvloop is not installed")


def install() -> tuple[Path, str]:
    """An environment with the peers, as far as they install."""
    folder = Path(tempfile.mkdtemp(prefix="actors-peers-"))
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    for package in ("uvloop", *UVLOOP, *(package.replace("_", "-") for _, package in PEERS)):
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", package],
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        if done.returncode:
            print(f"{package} did not install: {done.stderr.strip()[-300:]}", file=sys.stderr)
    return folder, python


def claims(runner: Runner) -> list[str]:
    """What the figures say of the marks."""
    lines = []
    ratios = runner.figures["tells_ratio_to_pykka"]
    if ratios is not None:
        lines.append(
            f"tells are {ratios['ratio']:.1f} times those of pykka's ThreadingActor, "
            f"for {1 / ratios['cpu_ratio']:.2f} of its CPU time (mark: {RATIO})"
        )
    missed = [one for one in runner.marks if one["reached"] == "NO"]
    lines.append(f"{len(runner.marks) - len(missed)} of {len(runner.marks)} marks reached")
    for one in missed:
        value = "not known" if one["is"] is None else f"{one['is']:,.2f}"
        lines.append(f"missed: {one['figure']} is {value}, {one['mark']} wanted")
    return lines


def main() -> int:
    """Measure and print."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--peers", choices=("all", "installed", "none"), default="installed",
                        help="which peers run beside pykka and asyncio")  # fmt: skip
    parser.add_argument("--install-peers", action="store_true", help="the same as --peers all")
    parser.add_argument("--peers-python", default=sys.executable,
                        help="interpreter of an environment that has them")  # fmt: skip
    arguments = parser.parse_args()
    quick = arguments.quick
    runner = Runner(1 if quick else arguments.repeats)
    first, *own = own_plan(quick)
    second, *others = peer_plan(quick)
    runner.run_in_turns(first, second, max(3, runner.repeats))
    for one in (*own, *others):
        runner.run(one)
    if quick or arguments.peers == "none":
        for one, _ in PEERS:
            runner.absent(one.what, one.who, "not asked for")
    elif arguments.install_peers or arguments.peers == "all":
        folder, python = install()
        try:
            peers(runner, quick, python)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    else:
        peers(runner, quick, arguments.peers_python)
    if arguments.json:
        print(json.dumps({"benchmark": "actors", "machine": machine(), "figures": runner.figures,
                          "marks": runner.marks}))  # fmt: skip
        return 0
    show("actor runtime", runner.rows, arguments, claims=claims(runner))
    return 0


if __name__ == "__main__":
    sys.exit(main())
