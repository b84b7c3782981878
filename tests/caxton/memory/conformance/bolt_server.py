"""The Bolt server of the tests: ArcadeDB, from ``scripts/bolt-server``, a stand-in for Neo4j."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["BoltServer", "bolt_server"]

SCRIPT = Path(__file__).resolve().parents[4] / "scripts" / "bolt-server"
READY_S = 110.0
STARTED = b"ArcadeDB Server started in"


@dataclasses.dataclass(frozen=True)
class BoltServer:
    """A server that runs."""

    url: str
    password: str


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


@contextlib.contextmanager
def bolt_server(folder: Path) -> Iterator[BoltServer]:
    """Run one on free ports, with its data in ``folder``, until the block ends."""
    port, web_port = _free_ports(2)
    password = secrets.token_hex(16)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [SCRIPT, "--folder", folder / "data", "--port", str(port), "--web-port",
             str(web_port), "--database", "memory"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            assert process.stdin is not None
            process.stdin.write(password.encode() + b"\n")
            process.stdin.close()
            _await_start(process, folder / "log")
            yield BoltServer(f"bolt://127.0.0.1:{port}", password)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def _await_start(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it says that it has started, databases and all, or tell why it has not."""
    ends = time.monotonic() + READY_S
    while time.monotonic() < ends and process.poll() is None:
        if STARTED in log.read_bytes():
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    raise AssertionError(f"no Bolt server; it said:\n{log.read_text()[-2_000:]}")
