"""Agents in workers of their own, and commands whose questions nobody answers."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from sandbox_processes import children, gone, until

from sandbox import (
    FolderGrant,
    Grants,
    Kind,
    Level,
    Limits,
    ProcessGuest,
    Questions,
    Reason,
    Sandbox,
    SandboxBusy,
    SandboxError,
)
from sandbox.grant_events import OnGrant
from sandbox.services.request import HostRequest, Refusal, ServiceError
from sandbox.testing import AGENTS, agent, command, reply, wat

pytestmark = pytest.mark.process

WASI_YIELD = '(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))'
WASI_OPEN = (
    '(import "wasi_snapshot_preview1" "path_open" (func $open'
    " (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))"
)
HTTP = '(import "caxton" "http" (func $http (param i32 i32) (result i32)))'
TAKE = '(import "caxton" "take" (func $take (param i32 i32) (result i32)))'

COUNTER = agent(
    "(drop (call $yield))"
    "(i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))"
    + reply("(i32.const 8)", "(i32.const 4)"),
    imports=WASI_YIELD,
)
"""Counts its calls; imports WASI."""

ASKING = agent(
    "(i32.store (i32.const 8) (call $http (local.get $p) (local.get $n)))"
    "(i32.store (i32.const 12) (call $take (i32.const 16) (i32.const 4096)))"
    + reply("(i32.const 8)", "(i32.add (i32.const 8) (i32.load (i32.const 12)))"),
    imports=HTTP + TAKE,
)
"""Asks with its message; replies with the result, the length taken and the answer."""

LOOP = agent("(loop $again (br $again)) (i64.const 0)", imports=WASI_YIELD)

BLOCKED = agent(
    # Opens "pipe" in a folder of the first grant: blocks where neither fuel nor epoch reaches.
    "(drop (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 10) (i32.const 0)"
    " (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 128))) (i64.const 0)",
    imports=WASI_OPEN,
    extra='(data (i32.const 64) "inner/pipe")',
)


class Web:
    """Answers ``http``: echoes, refuses, or never."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.grants: list[Grants] = []

    async def answer(self, request: HostRequest, _on_grant: OnGrant) -> bytes | None:
        """See ``Answerer``."""
        self.bodies.append(request.body)
        self.grants.append(request.grants)
        if request.body == b"never":
            await asyncio.Event().wait()
        if request.body == b"refused":
            raise ServiceError(Refusal.NOT_GRANTED, "no host is granted")
        return b"answer to " + request.body


def parts(data: bytes) -> tuple[int, bytes]:
    """Result and answer out of what ``ASKING`` replies."""
    return int.from_bytes(data[:4], "little", signed=True), data[8:]


async def opened(box: Sandbox, text: str, limits: Limits | None = None,
                 grants: Grants | None = None) -> ProcessGuest:  # fmt: skip
    """An agent that lives in its own worker."""
    guest = await box.open_agent(await box.prepare(wat(text)), limits, grants)
    assert isinstance(guest, ProcessGuest)
    return guest


async def test_an_agent_that_imports_wasi_lives_in_its_own_worker(sandbox: Sandbox) -> None:
    """It keeps its memory from call to call, in another process; closing ends that."""
    module = await sandbox.prepare(wat(COUNTER))
    assert (module.kind, module.level) == (Kind.CORE_AGENT, Level.PROCESS)
    first, second = await asyncio.gather(*(opened(sandbox, COUNTER) for _ in range(2)))
    assert len({first.pid, second.pid, os.getpid()}) == 3
    assert [(await first.call(b""))[0] for _ in range(3)] == [1, 2, 3]
    assert (await second.call(b""))[0] == 1
    for guest in (first, second):
        await guest.close()
        await guest.close()
        assert gone(guest.pid)
        with pytest.raises(SandboxError) as dead:
            await guest.call(b"")
        assert dead.value.reason is Reason.INSTANCE_DEAD
    assert not [line for line in children() if "sandbox.worker" in line]


async def test_its_questions_are_answered_by_the_host(cache_dir: Path) -> None:
    """An answer is taken; a refusal is -2 with its code; the grants stay with the host."""
    web, grants = Web(), Grants(kv="space")
    async with Sandbox(cache_dir, questions=Questions(answerer=web)) as box:
        guest = await opened(box, ASKING, grants=grants)
        assert parts(await guest.call(b"one")) == (len(b"answer to one"), b"answer to one")
        result, told = parts(await guest.call(b"refused"))
        assert result == -2
        assert b'"not_granted"' in told
        assert parts(await guest.call(b"two"))[1] == b"answer to two"
        environ = Path(f"/proc/{guest.pid}/environ").read_bytes()
    assert web.bodies == [b"one", b"refused", b"two"]
    assert web.grants == [grants] * 3
    assert b"space" not in environ
    assert gone(guest.pid)


async def test_a_question_nobody_answers_ends_at_the_deadline(cache_dir: Path) -> None:
    """An agent and a command blocked in a host call: ended in time, and others go on."""
    asks = command(
        "(i32.store (i32.const 0) (i32.const 64)) (loop $again (drop (call $http (i32.const 64)"
        " (i32.const 5))) (br $again))",
        imports=HTTP,
        extra='(data (i32.const 64) "never")',
    )  # fmt: skip
    limits = Limits(wall_ms=300, fuel=10**10)
    async with Sandbox(cache_dir, workers=1, questions=Questions(answerer=Web())) as box:
        guest = await opened(box, ASKING, limits)
        await box.start()
        module = await box.prepare(wat(asks))
        for call in (guest.call(b"never"), box.run_command(module, limits=limits)):
            started = time.monotonic()
            try:
                got = await call
            except SandboxError as error:
                assert error.reason is Reason.TIMEOUT  # noqa: PT017 - either end is right
            else:
                # Its host said that time is up, and it ended in its grace.
                assert isinstance(got, bytes)
                assert b'"timeout"' in got
            assert time.monotonic() - started < 10
        again = await opened(box, ASKING)
        assert parts(await again.call(b"on"))[1] == b"answer to on"


@pytest.mark.parametrize("text", [LOOP, BLOCKED], ids=["loop", "blocked"])
async def test_one_that_does_not_end_is_ended(sandbox: Sandbox, tmp_path: Path, text: str) -> None:
    """By the engine or by killing its worker; afterwards it is dead and its process is gone."""
    (tmp_path / "inner").mkdir()
    os.mkfifo(tmp_path / "inner" / "pipe")
    grants = Grants(folders=(FolderGrant(tmp_path, "data"),))
    guest = await opened(sandbox, text, Limits(fuel=10**12, wall_ms=150), grants)
    with pytest.raises(SandboxError) as ended:
        await guest.call(b"x")
    assert ended.value.reason is Reason.TIMEOUT
    assert gone(guest.pid)
    with pytest.raises(SandboxError) as dead:
        await guest.call(b"x")
    assert (dead.value.reason, dead.value.details["cause"]) == (Reason.INSTANCE_DEAD, "timeout")


async def test_a_cancelled_call_ends_the_agent(sandbox: Sandbox) -> None:
    """No guest runs on for a caller that left."""
    guest = await opened(sandbox, LOOP, Limits(fuel=10**12, wall_ms=60_000))
    call = asyncio.create_task(guest.call(b"x"))
    await until(lambda: guest._busy)
    with pytest.raises(SandboxError, match="in a call"):
        await guest.call(b"x")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: gone(guest.pid))


async def test_a_worker_killed_from_outside_is_named(sandbox: Sandbox) -> None:
    """The call in flight gets ``killed``, later ones ``instance_dead``."""
    guest = await opened(sandbox, LOOP, Limits(fuel=10**12, wall_ms=60_000))
    call = asyncio.create_task(guest.call(b"x"))
    await until(lambda: guest._busy)
    os.kill(guest.pid, signal.SIGKILL)
    with pytest.raises(SandboxError) as killed:
        await call
    assert killed.value.reason is Reason.KILLED
    with pytest.raises(SandboxError) as dead:
        await guest.call(b"x")
    assert dead.value.reason is Reason.INSTANCE_DEAD


async def test_an_error_of_size_leaves_it_alive(sandbox: Sandbox) -> None:
    """A message or reply too large is no fault of the instance."""
    limits = Limits(message_bytes=8, reply_bytes=4)
    guest = await opened(sandbox, COUNTER.replace("(i32.const 4)", "(local.get $n)", 1), limits)
    with pytest.raises(SandboxError) as large:
        await guest.call(b"nine bytes")
    assert large.value.reason is Reason.MESSAGE_TOO_LARGE
    echo = await opened(sandbox, AGENTS["echo"].replace("(module", f"(module {WASI_YIELD}", 1),
                        limits)  # fmt: skip
    with pytest.raises(SandboxError) as over:
        await echo.call(b"fives")
    assert over.value.reason is Reason.REPLY_TOO_LARGE
    assert await echo.call(b"four") == b"four"


async def test_one_that_cannot_be_opened_leaves_no_process(sandbox: Sandbox) -> None:
    """A trap in its initialiser, more memory than its limit: the error of the guest, no worker."""
    trap = agent("(i64.const 0)", imports=WASI_YIELD,
                 extra='(func (export "_initialize") (unreachable))')  # fmt: skip
    with pytest.raises(SandboxError) as trapped:
        await opened(sandbox, trap)
    assert trapped.value.reason is Reason.TRAP
    with pytest.raises(SandboxError) as large:
        await opened(sandbox, agent("(i64.const 0)", imports=WASI_YIELD, pages=1024))
    assert large.value.reason is Reason.MODULE_TOO_LARGE
    assert not [line for line in children() if "sandbox.worker" in line]


async def test_own_workers_are_bounded(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """One over the limit is refused; one that closed or died makes room."""
    monkeypatch.setattr("sandbox.facade.OWN_WORKERS", 1)
    guest = await opened(sandbox, LOOP, Limits(fuel=10**12, wall_ms=100))
    with pytest.raises(SandboxBusy):
        await opened(sandbox, COUNTER)
    with pytest.raises(SandboxError):
        await guest.call(b"x")
    assert (await (await opened(sandbox, COUNTER)).call(b""))[0] == 1


async def test_closing_the_sandbox_ends_them_all(cache_dir: Path) -> None:
    """Open and in a call: no process is left."""
    async with Sandbox(cache_dir) as box:
        guests = [await opened(box, text, Limits(fuel=10**12, wall_ms=60_000))
                  for text in (COUNTER, LOOP)]  # fmt: skip
        call = asyncio.create_task(guests[1].call(b"x"))
        await until(lambda: guests[1]._busy)
    assert all(gone(guest.pid) for guest in guests)
    with pytest.raises(SandboxError) as ended:
        await call
    assert ended.value.reason in {Reason.KILLED, Reason.INSTANCE_DEAD}
