"""Workers: commands in killable processes. Deadlines, kills, replacement, bounds, no leaks."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from sandbox_processes import ENDLESS, MakeBox, children, gone, until

from sandbox import (
    FolderGrant,
    Grants,
    InvalidSetting,
    Limits,
    Reason,
    Sandbox,
    SandboxBusy,
    SandboxError,
    WorkerPool,
)
from sandbox.testing import AGENTS, COMMAND_ATTACKS, COMMANDS, OPEN_FIFO, wat

pytestmark = pytest.mark.process

LOOP = COMMAND_ATTACKS["infinite loop"][0]


async def test_a_command_reads_and_prints(sandbox: Sandbox) -> None:
    """Input of a megabyte comes out as it went in, and the cost is counted."""
    data = os.urandom(1 << 20)
    got = await sandbox.run_command(await sandbox.prepare(wat(COMMANDS["cat"])), data)
    assert (got.stdout, got.stderr, got.exit_code) == (data, b"", 0)
    assert got.fuel_used > 0
    assert got.wall_ms > 0


@pytest.mark.parametrize("name", COMMAND_ATTACKS)
async def test_attacks_end_with_their_reason(sandbox: Sandbox, name: str) -> None:
    """Every command of the attack corpus is stopped, and the next call works."""
    text, reason = COMMAND_ATTACKS[name]
    wall_ms = 50 if reason is Reason.TIMEOUT else 20_000
    limits = Limits.for_command(fuel=20_000_000, wall_ms=wall_ms)
    with pytest.raises(SandboxError) as stopped:
        await sandbox.run_command(await sandbox.prepare(wat(text)), limits=limits)
    assert stopped.value.reason is reason
    got = await sandbox.run_command(await sandbox.prepare(wat(COMMANDS["exit 3"])))
    assert got.exit_code == 3


async def test_a_trap_replaces_the_worker(sandbox: Sandbox) -> None:
    """After a native fault the process is another one; after a spent budget it is the same."""
    await sandbox.start()
    before = sandbox.pids
    for name, same in (("infinite loop", True), ("unreachable", False)):
        module = await sandbox.prepare(wat(COMMAND_ATTACKS[name][0]))
        with pytest.raises(SandboxError):
            await sandbox.run_command(module, limits=Limits(fuel=1000))
        await sandbox.start()
        assert (sandbox.pids == before) is same


async def test_a_guest_blocked_in_a_file_operation_is_killed(
    make_box: MakeBox, tmp_path: Path
) -> None:
    """Opening a FIFO blocks beyond fuel and epoch: the worker is killed at the deadline."""
    box = make_box(grace_ms=50)
    module = await box.prepare(wat(OPEN_FIFO))
    # Deeper than a grant looks, so that it passes.
    (tmp_path / "inner").mkdir()
    os.mkfifo(tmp_path / "inner" / "pipe")
    grants = Grants(folders=(FolderGrant(tmp_path, "data"),))
    await box.start()
    pid = box.pids[0]
    with pytest.raises(SandboxError) as stopped:
        await box.run_command(module, limits=Limits(wall_ms=100), grants=grants)
    assert stopped.value.reason is Reason.TIMEOUT
    assert stopped.value.details["killed"] == 1
    await until(lambda: gone(pid))
    got = await box.run_command(await box.prepare(wat(COMMANDS["exit 3"])))
    assert got.exit_code == 3


async def test_a_fifo_that_came_later_is_refused_by_the_worker(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The folder is checked again where it is opened."""
    grants = Grants(folders=(FolderGrant(tmp_path, "data"),))
    os.mkfifo(tmp_path / "pipe")
    module = await sandbox.prepare(wat(COMMANDS["exit 3"]))
    with pytest.raises(SandboxError, match="FIFO") as refused:
        await sandbox.run_command(module, grants=grants)
    assert refused.value.reason is Reason.HOST_ERROR


async def test_a_worker_killed_in_a_call_is_named_and_replaced(sandbox: Sandbox) -> None:
    """The call in flight gets ``killed``; the next one a new worker."""
    module = await sandbox.prepare(wat(LOOP))
    await sandbox.start()
    call = asyncio.create_task(sandbox.run_command(module, limits=ENDLESS))
    await until(lambda: bool(sandbox._pool._busy))
    pid = sandbox.pids[0]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SandboxError) as killed:
        await call
    assert killed.value.reason is Reason.KILLED
    assert killed.value.details["pid"] == pid
    got = await sandbox.run_command(await sandbox.prepare(wat(COMMANDS["exit 3"])))
    assert got.exit_code == 3


async def test_a_worker_that_died_idle_is_not_used(sandbox: Sandbox) -> None:
    """A call never gets a process that is known to be dead."""
    await sandbox.start()
    pid = sandbox.pids[0]
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not sandbox._pool._idle[0].alive)
    got = await sandbox.run_command(await sandbox.prepare(wat(COMMANDS["exit 3"])))
    assert got.exit_code == 3


async def test_cancelling_a_call_kills_its_worker(sandbox: Sandbox) -> None:
    """A caller that gives up leaves no guest running."""
    module = await sandbox.prepare(wat(LOOP))
    await sandbox.start()
    pid = sandbox.pids[0]
    call = asyncio.create_task(sandbox.run_command(module, limits=ENDLESS))
    await until(lambda: bool(sandbox._pool._busy))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: gone(pid))


async def test_workers_are_replaced_after_their_calls(make_box: MakeBox) -> None:
    """``calls_per_worker`` bounds what one process accumulates."""
    box = make_box(calls_per_worker=2)
    module = await box.prepare(wat(COMMANDS["exit 3"]))
    seen = set()
    for _ in range(4):
        await box.start()
        seen.add(box.pids)
        await box.run_command(module)
    assert len(seen) == 2


async def test_the_line_is_bounded(make_box: MakeBox) -> None:
    """With no room to wait, a call is refused at once, and says how long the line is."""
    box = make_box(max_waiting=0)
    module = await box.prepare(wat(LOOP))
    await box.start()
    call = asyncio.create_task(box.run_command(module, limits=ENDLESS))
    await until(lambda: bool(box._pool._busy))
    with pytest.raises(SandboxBusy) as refused:
        await box.run_command(module, limits=ENDLESS)
    assert refused.value.details == {"waiting": 0, "limit": 0}
    call.cancel()


async def test_waiting_has_a_deadline(make_box: MakeBox) -> None:
    """A call that gets no worker in ``wait_ms`` is told so."""
    box = make_box(wait_ms=30)
    module = await box.prepare(wat(LOOP))
    await box.start()
    call = asyncio.create_task(box.run_command(module, limits=ENDLESS))
    await until(lambda: bool(box._pool._busy))
    with pytest.raises(SandboxBusy) as refused:
        await box.run_command(module, limits=ENDLESS)
    assert refused.value.details["waited_ms"] == 30
    call.cancel()


async def test_waiting_calls_are_served_in_turn(sandbox: Sandbox) -> None:
    """More calls than workers all get their answer."""
    module = await sandbox.prepare(wat(COMMANDS["cat"]))
    got = await asyncio.gather(*(sandbox.run_command(module, b"%d" % n) for n in range(20)))
    assert [item.stdout for item in got] == [b"%d" % n for n in range(20)]


async def test_a_worker_handed_to_a_caller_that_left_is_not_lost(sandbox: Sandbox) -> None:
    """Cancelling in the moment of the hand-over passes the worker on."""
    pool = sandbox._pool
    await sandbox.start()
    first = await pool._acquire("")
    turn = asyncio.create_task(pool._acquire(""))
    await asyncio.sleep(0)
    assert pool.waiting == 1
    pool._release(first, "", None)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert list(pool._idle) == [first]


async def test_close_ends_everything(make_box: MakeBox) -> None:
    """Running and waiting calls fail, no process is left, later calls are refused."""
    box = make_box(size=2)
    module = await box.prepare(wat(LOOP))
    await box.start()
    pids = box.pids
    assert len(pids) == 2
    calls = [asyncio.create_task(box.run_command(module, limits=ENDLESS)) for _ in range(3)]
    await until(lambda: box._pool.waiting == 1)
    await box.close()
    reasons = [error.reason for error in await asyncio.gather(*calls, return_exceptions=True)]  # type: ignore[union-attr]  # SandboxErrors
    assert sorted(reasons) == sorted([Reason.KILLED, Reason.KILLED, Reason.HOST_ERROR])
    assert all(gone(pid) for pid in pids)
    with pytest.raises(SandboxError, match="closed"):
        await box.run_command(module)


async def test_closing_while_workers_start_leaves_none(make_box: MakeBox) -> None:
    """A start under way is ended too."""
    box = make_box(size=2)
    starting = asyncio.create_task(box.start())
    await asyncio.sleep(0)
    await box.close()
    await asyncio.gather(starting, return_exceptions=True)
    assert not [line for line in children() if "sandbox.worker" in line]


async def test_a_worker_that_cannot_start_says_why(
    make_box: MakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call gets host_error with what the process said."""
    box = make_box()
    module = await box.prepare(wat(COMMANDS["exit 3"]))
    monkeypatch.setattr(
        "sandbox.worker_process.command",
        lambda *_: [sys.executable, "-c", "import sys; sys.exit('no room here')"],
    )
    with pytest.raises(SandboxError, match="no room here") as failed:
        await box.run_command(module)
    assert failed.value.reason is Reason.HOST_ERROR


async def test_an_artifact_that_vanished_is_compiled_again(sandbox: Sandbox) -> None:
    """A call whose artifact was evicted works all the same, at both levels."""
    module = await sandbox.prepare(wat(COMMANDS["exit 3"]))
    module.artifact.unlink()
    assert (await sandbox.run_command(module)).exit_code == 3
    echo = await sandbox.prepare(wat(AGENTS["echo"]))
    echo.artifact.unlink()
    guest = await sandbox.open_agent(echo)
    assert await guest.call(b"x") == b"x"


async def test_what_is_asked_of_the_pool_is_checked(sandbox: Sandbox) -> None:
    """Wrong kind, too much memory, too many arguments, wrong size: refused before any process."""
    agent = await sandbox.prepare(wat(AGENTS["echo"]))
    module = await sandbox.prepare(wat(COMMANDS["exit 3"]))
    with pytest.raises(SandboxError) as wrong:
        await sandbox.run_command(agent)
    assert wrong.value.details["kind"] == "core-agent"
    with pytest.raises(SandboxError) as large:
        await sandbox.run_command(module, args=("x" * 300_000,))
    assert large.value.reason is Reason.MESSAGE_TOO_LARGE
    with pytest.raises(SandboxError) as long:
        await sandbox.run_command(module, b"four", Limits(message_bytes=3))
    assert long.value.details["field"] == "message_bytes"
    with pytest.raises(InvalidSetting, match="args"):
        await sandbox.run_command(module, args=("a\0b",))
    with pytest.raises(InvalidSetting, match="size"):
        WorkerPool(0)
    small = WorkerPool(1, guest_memory_bytes=1 << 20)
    with pytest.raises(InvalidSetting, match="memory_bytes"):
        await small.run_command(module)
    assert sandbox.pids == ()


async def test_memory_stops_at_its_limit(sandbox: Sandbox) -> None:
    """A command that grows without end gets what it may have, and goes on."""
    module = await sandbox.prepare(wat(COMMANDS["grow"]))
    got = await sandbox.run_command(module, limits=Limits(memory_bytes=4 << 20))
    assert int.from_bytes(got.stdout, "little") * 65536 <= 4 << 20


@pytest.mark.parametrize(
    "header",
    [{}, {"reason": "nonsense"}, {"reason": "trap", "message": "", "details": {"reason": 1}},
     {"stdout": "x"}, {"reason": "trap", "message": "", "details": None}],
)  # fmt: skip
async def test_nonsense_from_a_worker_is_an_error(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, header: dict[str, object]
) -> None:
    """A worker taken over by its guest cannot make its parent fail in another way."""
    module = await sandbox.prepare(wat(COMMANDS["exit 3"]))
    await sandbox.start()
    pids = sandbox.pids

    async def exchange(*_: object) -> tuple[dict[str, object], bytes]:
        return header, b""

    monkeypatch.setattr("sandbox.pool.WorkerProcess.exchange", exchange)
    with pytest.raises(SandboxError) as failed:
        await sandbox.run_command(module)
    assert failed.value.reason is Reason.KILLED
    await sandbox.start()
    assert sandbox.pids != pids


async def test_every_waiting_call_hears_that_no_worker_starts(
    make_box: MakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call waits for a worker that will not come."""
    box = make_box()
    module = await box.prepare(wat(COMMANDS["exit 3"]))
    monkeypatch.setattr("sandbox.worker_process.command", lambda *_: [sys.executable, "-c", "pass"])
    calls = [box.run_command(module) for _ in range(3)]
    failed = await asyncio.gather(*calls, return_exceptions=True)
    assert [getattr(error, "reason", None) for error in failed] == [Reason.HOST_ERROR] * 3
