from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caxton.cli.commands.stop import lock_holder
from caxton.errors import AddressInUse, ForeignFolder, InternalError, NodeNotReady

HOLDER = """
import fcntl, os, signal, sys
os.makedirs(sys.argv[1] + "/run")
lock = os.open(sys.argv[1] + "/run/node.lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
os.pwrite(lock, f"{os.getpid()}\\n".encode(), 0)
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a process that holds a data folder as a supervisor does."""
    started: list[subprocess.Popen[str]] = []

    def start(temper: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path / "data"), temper],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_stop_without_a_node_is_3(run, tmp_path) -> None:
    """No folder, and a folder that nobody holds, are exit code 3."""
    assert run("stop", "--data", str(tmp_path / "none")).code == 3
    (tmp_path / "old" / "run").mkdir(parents=True)
    (tmp_path / "old" / "run" / "node.lock").write_text(f"{os.getpid()}\n")
    assert run("stop", "--data", str(tmp_path / "old")).code == 3


def test_stop_waits_until_the_process_is_gone(run, tmp_path, holder) -> None:
    """SIGTERM goes to the holder of the lock, and stop returns once it has ended."""
    process = holder("meek")
    done = run("stop", "--data", str(tmp_path / "data"))
    assert done.code == 0
    assert f"stopped the node with pid {process.pid}" in done.err
    process.wait(5)


def test_stop_as_json(run, tmp_path, holder) -> None:
    """Programs get the pid that was stopped."""
    process = holder("meek")
    assert run("stop", "--data", str(tmp_path / "data"), "--json").json == {
        "stopped": True, "pid": process.pid,
    }  # fmt: skip


def test_a_node_that_does_not_end_is_8_and_force_kills_it(run, tmp_path, holder) -> None:
    """Past the time stop gives up with 8; with --force it kills what is left."""
    process = holder("stubborn")
    words = ("stop", "--data", str(tmp_path / "data"), "--timeout", "300ms")
    late = run(*words)
    assert late.code == 8
    assert str(process.pid) in late.err
    assert process.poll() is None
    assert run(*words, "--force").code == 0
    process.wait(5)


def test_a_lock_without_a_pid_is_a_node_that_starts(tmp_path) -> None:
    """Between lock and pid there is nobody to signal yet."""
    (tmp_path / "run").mkdir()
    lock = os.open(tmp_path / "run" / "node.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(NodeNotReady):
            lock_holder(tmp_path)
        os.pwrite(lock, b"4711\n", 0)
        assert lock_holder(tmp_path) == 4711
    finally:
        os.close(lock)
    assert lock_holder(tmp_path) is None


def test_processes_that_vanish_are_no_error() -> None:
    """A supervisor that ended before it could be looked at leaves nothing to wait for."""
    from caxton.cli.commands.stop import _family

    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert _family(process.pid) == []


def test_flags_become_settings(run, monkeypatch, tmp_path) -> None:
    """Each flag of serve is the setting of its name."""
    seen = {}

    def served(config, *, detach: bool) -> int:
        seen.update(config=config, detach=detach)
        return 0

    monkeypatch.setattr("caxton.serve.serve", served)
    done = run(
        "serve", "--agents", "a", "--data", "d", "--shards", "3", "--host", "::1", "--port", "0",
        "--durability", "process", "--detach",
    )  # fmt: skip
    assert done.code == 0
    config = seen["config"]
    assert (config.agents, config.data, config.shards) == (Path("a"), Path("d"), 3)
    assert (config.host, config.port, config.durability) == ("::1", 0, "process")
    assert seen["detach"] is True


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AddressInUse(host="h", port=1), 98),
        (ForeignFolder(data="d", reason="r"), 74),
        (InternalError(reason="r"), 70),
    ],
    ids=["address", "storage", "gave-up"],
)
def test_a_failed_start_has_its_own_codes(error, code: int, run, monkeypatch) -> None:
    """serve ends with 98, 74 or 70, and says why."""

    def served(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr("caxton.serve.serve", served)
    done = run("serve")
    assert done.code == code
    assert error.code in done.err


def test_a_wrong_setting_is_78(run) -> None:
    """A configuration that breaks a rule ends with 78 before anything starts."""
    done = run("serve", "--shards", "99")
    assert done.code == 78
    assert "`shards` (flag)" in done.err
    assert run("serve", "--config", "missing.toml").code == 78


def test_check_starts_nothing(run, tmp_path, monkeypatch) -> None:
    """--check looks at configuration and agent files, and writes nothing."""

    def served(*_: object, **__: object) -> int:
        raise AssertionError("started")

    monkeypatch.setattr("caxton.serve.serve", served)
    assert run("serve", "--check").code == 78
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "good.md").write_text("---\nname: Good\n---\nBe good.\n")
    assert run("serve", "--check").code == 0
    (tmp_path / "agents" / "bad.md").write_text("---\nname: 7\n---\nBe bad.\n")
    done = run("serve", "--check")
    assert done.code == 5
    assert "bad.md:2:" in done.out
    assert not (tmp_path / "caxton-data").exists()
