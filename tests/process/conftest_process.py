"""Whole nodes as users start them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import uvicorn

ROOT = Path(__file__).resolve().parents[2]
CAXTON = [sys.executable, "-m", "caxton.cli.main"]


def until(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> object:
    """Wait for a condition of another process; fail with ``what`` at the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {timeout_s:.0f} s")
        time.sleep(0.01)


def lives(process: psutil.Process) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class RunningNode:
    """A supervisor that was started as users start it.

    Args:
        folder: of its data and agents.
        arguments: more of its command line.
        prefix: what runs Python.
        environment: more variables.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        prefix: Sequence[str] = (sys.executable,),
        **environment: str,
    ) -> None:
        self.folder = folder
        self.data = folder / "caxton-data"
        self.agents = folder / "examples" / "agents"
        if not self.agents.exists():
            shutil.copytree(ROOT / "examples", folder / "examples")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("CAXTON", "OPENAI"))},
            "COLUMNS": "160",
            **environment,
        }
        self.process = subprocess.Popen(
            [
                *prefix,
                str(ROOT / "scripts" / "supervisor.py"),
                *("--agents", str(self.agents), "--data", str(self.data), "--port", "0"),
                *arguments,
            ],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ready = self._ready()
        self.url = str(self.ready["url"])

    def _ready(self) -> dict[str, object]:
        assert self.process.stderr is not None
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if line.startswith("{") and json.loads(line).get("event") == "ready":
                return dict(json.loads(line))
        raise AssertionError(f"the node did not start: {''.join(seen)}")

    def caxton(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the command line against this node."""
        done = subprocess.run(
            [*CAXTON, "--data", str(self.data), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def family(self) -> list[psutil.Process]:
        """The supervisor's children, theirs included."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 20.0) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        family = self.family() if self.process.poll() is None else []
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        if self.process.stderr is not None:
            self.process.stderr.close()
        _, alive = psutil.wait_procs(family, timeout=15)
        assert alive == []
        return code


@contextlib.contextmanager
def serving_llm(*replies: object) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A chat-completions server on a port of this machine; its URL, and the requests it gets."""
    from stub_llm import StubLlm

    stub = StubLlm(*replies, key="sk-secret-1234")  # type: ignore[arg-type]  # its own replies
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(stub.app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", stub.requests
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., RunningNode]]:
    """Starts nodes in ``tmp_path`` and ends them."""
    nodes: list[RunningNode] = []

    def start(*arguments: str, **environment: str) -> RunningNode:
        node = RunningNode(tmp_path, *arguments, **environment)
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait(10)
        if node.process.stderr is not None:
            node.process.stderr.close()
