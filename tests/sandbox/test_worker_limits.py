"""A worker process has hard limits, no environment, and no life without its parent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox_processes import MakeBox, gone, until

from sandbox import FolderGrant, Grants, Sandbox
from sandbox.child_process import command as command_line
from sandbox.child_process import environment
from sandbox.testing import COMMANDS, command, wat

pytestmark = pytest.mark.process


async def test_workers_see_nothing_of_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the worker nor its guest has the host's variables."""
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    await sandbox.start()
    environ = Path(f"/proc/{sandbox.pids[0]}/environ").read_bytes()
    assert b"SECRET_TOKEN" not in environ
    names = {item.split(b"=")[0] for item in environ.split(b"\0") if item}
    assert names <= {b"PYTHONPATH", b"LD_LIBRARY_PATH"}
    module = await sandbox.prepare(wat(COMMANDS["count env"]))
    assert (await sandbox.run_command(module)).stdout == bytes(4)
    granted = await sandbox.run_command(module, grants=Grants(env=(("A", "1"), ("B", "2"))))
    assert granted.stdout[0] == 2


async def test_a_worker_dies_with_its_parent(tmp_path: Path) -> None:
    """When the parent is killed in the middle of a call, no worker is left."""
    code = f"""
import asyncio
from pathlib import Path
from sandbox import Limits, Sandbox
from sandbox.testing import COMMAND_ATTACKS, wat

async def main():
    box = Sandbox(Path({str(tmp_path / "cache")!r}), workers=1)
    module = await box.prepare(wat(COMMAND_ATTACKS["infinite loop"][0]))
    await box.start()
    call = asyncio.create_task(
        box.run_command(module, limits=Limits(fuel=10**12, wall_ms=60_000))
    )
    while not box._pool._busy:
        await asyncio.sleep(0)
    print(box.pids[0], flush=True)
    await call

asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
        parent.wait(10)
    await until(lambda: gone(worker))


async def test_a_worker_has_hard_limits(sandbox: Sandbox) -> None:
    """Memory, file size, descriptors and core dumps are bounded by the system."""
    await sandbox.start()
    text = Path(f"/proc/{sandbox.pids[0]}/limits").read_text()
    limits = {line[:25].strip(): line[25:].split()[:2] for line in text.splitlines()[1:]}
    assert limits["Max data size"] == [str(768 << 20)] * 2
    assert limits["Max file size"] == [str(64 << 20)] * 2
    assert limits["Max open files"] == ["128"] * 2
    assert limits["Max core file size"] == ["0"] * 2
    status = Path(f"/proc/{sandbox.pids[0]}/status").read_text()
    assert "NoNewPrivs:\t1" in status


async def test_a_guest_cannot_fill_the_disk_with_one_file(
    make_box: MakeBox, tmp_path: Path
) -> None:
    """A granted writable folder takes files up to the pool's size, a read-only one none."""
    text = command(
        # Creates "f" in the first folder, writes one byte beyond 64 MiB, exits with both errnos.
        "(local $made i32) (local.set $made (call $open (i32.const 3) (i32.const 0) (i32.const 64)"
        " (i32.const 1) (i32.const 1) (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 32)))"
        "(i32.store (i32.const 0) (i32.const 128)) (i32.store (i32.const 4) (i32.const 1))"
        "(call $exit (i32.add (local.get $made) (call $pwrite (i32.load (i32.const 32))"
        " (i32.const 0) (i32.const 1) (i64.const 67108864) (i32.const 16))))",
        imports=_import("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32", "open")
        + _import("fd_pwrite", "i32 i32 i32 i64 i32", "pwrite")
        + '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))',
        extra='(data (i32.const 64) "f")',
    )
    box = make_box(file_bytes=64 << 20)
    module = await box.prepare(wat(text))
    for write in (True, False):
        grants = Grants(folders=(FolderGrant(tmp_path, "data", write=write),))
        assert (await box.run_command(module, grants=grants)).exit_code > 0
        made = list(tmp_path.iterdir())
        assert [path.stat().st_size for path in made] == [0] * write
        for path in made:
            path.unlink()


def _import(name: str, params: str, alias: str) -> str:
    return (
        f'(import "wasi_snapshot_preview1" "{name}" (func ${alias} (param {params}) (result i32)))'
    )


async def test_a_child_of_another_parent_ends_at_once() -> None:
    """A worker whose parent is already gone does not start to serve."""
    for module, args in (
        ("sandbox.worker", ["999999999", "99999999", "1"]),
        ("sandbox.compile_child", ["/nowhere", "999999999", "5", "1"]),
    ):
        child = await asyncio.create_subprocess_exec(
            *command_line(module, *args),
            env=environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(child.communicate(), 10)
        assert (child.returncode, out) == (0, b"")
