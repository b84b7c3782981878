"""Starting and stopping as people do it: detached, refused, interrupted, killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest_process import CAXTON, ROOT, RunningNode, lives, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

Start = Callable[..., RunningNode]


def caxton(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line in a folder of its own."""
    if not (folder / "examples").exists():
        shutil.copytree(ROOT / "examples", folder / "examples")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CAXTON", "OPENAI"))}
    return subprocess.run(
        [*CAXTON, "--data", str(folder / "caxton-data"), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_a_detached_node_gives_the_prompt_back_and_stops_when_told(tmp_path: Path) -> None:
    """It says where it is, goes on by itself, and leaves nothing when it is stopped."""
    started = caxton(tmp_path, "serve", "--agents", "examples/agents", "--port", "0", "--detach")
    assert started.returncode == 0, started.stderr
    announced = json.loads((tmp_path / "caxton-data" / "run" / "node.json").read_text())
    assert announced["url"] in started.stderr
    assert "rules" in started.stderr
    family = psutil.Process(announced["pid"]).children(recursive=True)
    assert caxton(tmp_path, "send", "--to", "Echo", "hi").stdout == "hi\n"
    refused = caxton(tmp_path, "serve", "--agents", "examples/agents", "--port", "0", "--detach")
    assert refused.returncode == 78
    assert str(announced["pid"]) in refused.stderr
    os.kill(announced["pid"], signal.SIGUSR1)
    log = tmp_path / "caxton-data" / "logs" / "caxton.log"
    until(lambda: "/shard-0  ActorSystem" in log.read_text(), "the dump of every process")
    assert "dump of gateway" in log.read_text()
    assert caxton(tmp_path, "stop").returncode == 0
    until(lambda: not any(lives(one) for one in family), "the end of the children")
    assert caxton(tmp_path, "stop").returncode == 3


def test_what_cannot_start_says_why_by_its_exit_code(tmp_path: Path, start_node: Start) -> None:
    """78 for the configuration, 98 for the address, 74 for the folder."""
    missing = caxton(tmp_path, "serve", "--agents", "none", "--port", "0")
    assert missing.returncode == 78
    node = start_node("--shards", "1")
    port = node.url.rpartition(":")[2]
    other = tmp_path / "other"
    other.mkdir()
    taken = caxton(other, "serve", "--agents", "examples/agents", "--port", port)
    assert taken.returncode == 98
    assert port in taken.stderr
    (other / "caxton-data").mkdir(exist_ok=True)
    shutil.rmtree(other / "caxton-data")
    (other / "caxton-data").mkdir()
    (other / "caxton-data" / "photo.jpg").touch()
    foreign = caxton(other, "serve", "--agents", "examples/agents", "--port", "0")
    assert foreign.returncode == 74
    assert node.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_stops_everything(start_node: Start, number: int) -> None:
    """Exit code 0, no process and no socket stays behind."""
    node = start_node("--shards", "2")
    family = node.family()
    assert node.end(number) == 0
    assert not any(lives(one) for one in family)
    assert [one.name for one in (node.data / "run").iterdir()] == ["node.lock"]


def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    """Nothing is left half started."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    process = subprocess.Popen(
        [*CAXTON, "--data", str(tmp_path / "d"), "serve", "--agents", "examples/agents",
         "--port", "0", "--shards", "2"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    until((tmp_path / "d" / "registry").exists, "the beginning of the start")
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert process.stderr is not None
    process.stderr.close()
    until(lambda: not any(lives(one) for one in family), "the end of the children")


def test_the_gateway_comes_back_on_the_same_port(start_node: Start) -> None:
    """Killed, it is restarted; a client that asks again sees a delay and no error."""
    node = start_node("--shards", "1")
    gateway = next(
        one for one in node.family() if one.cmdline() and one.cmdline()[0] == "caxton gateway"
    )
    gateway.kill()
    started = time.monotonic()
    until(
        lambda: caxton(node.folder, "send", "--to", "Echo", "back").stdout == "back\n",
        "an answer after the gateway's restart",
    )
    assert time.monotonic() - started < 20
    assert node.end() == 0


def test_scripts_are_what_they_say() -> None:
    """The supervisor script is the serve command."""
    helped = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "supervisor.py"), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "Start a node on a folder of agent files" in helped.stdout
