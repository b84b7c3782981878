"""Attacks by an agent whose calls begin on the event loop's thread: each ends as elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sandbox import Limits, Sandbox
from sandbox.errors import Reason, SandboxError
from sandbox.testing import AGENTS, agent, wat
from sandbox.testing import ATTACKS as AT_FIRST

LOG = '(import "caxton" "log" (func $log (param i32 i32 i32)))'
NOW = '(import "caxton" "now" (func $now (result i64)))'
FIRST = "(if (i32.eqz (local.get $n)) (then (return (i64.const 0))))"
"""An empty message is harmless: the first call of a guest is made in a thread."""
DEEPER = "(call $r (i32.add (local.get 0) (i32.const 1)))"
DEEP = "(call $r (i32.const 0)) (i64.const 0)"
COUNT = (
    "(loop $l (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))"
    "(br_if $l (i32.lt_u (i32.load (i32.const 8)) (i32.const 400000))))"
)

ATTACKS: dict[str, tuple[str, Reason]] = {
    "a loop": (agent(f"{FIRST} (loop $l (br $l)) (i64.const 0)"), Reason.TIMEOUT),
    "a loop of host calls": (
        agent(f"{FIRST} (loop $l (drop (call $now)) (br $l)) (i64.const 0)", imports=NOW),
        Reason.TIMEOUT,
    ),
    "recursion": (
        agent(f"{FIRST} {DEEP}", extra=f"(func $r (param i32) {DEEPER})"),
        Reason.TRAP,
    ),
    "recursion with a host call on each level": (
        agent(
            f"{FIRST} {DEEP}",
            imports=NOW,
            extra=f"(func $r (param i32) (drop (call $now)) {DEEPER})",
        ),
        Reason.TRAP,
    ),
    "recursion with a log line on each level": (
        agent(
            f"{FIRST} {DEEP}",
            imports=LOG,
            extra="(func $r (param i32)"
            f"(call $log (i32.const 1) (i32.const 0) (i32.const 8)) {DEEPER})",
        ),
        Reason.TRAP,
    ),
    "a trap after it gave way": (agent(f"{FIRST} {COUNT} (unreachable)"), Reason.TRAP),
    "a pointer of its own making": (
        agent(
            f"{FIRST} (call $log (i32.const 1) (i32.const -4) (i32.const 100)) (i64.const 0)",
            imports=LOG,
        ),
        Reason.BAD_POINTER,
    ),
}


def frames_left() -> int:
    """How deep the interpreter lets this thread go from here."""

    def deeper(level: int) -> int:
        try:
            return deeper(level + 1)
        except RecursionError:
            return level

    return deeper(0)


@pytest.mark.parametrize("name", ATTACKS)
async def test_it_ends_as_in_a_thread(name: str, tmp_path: Path) -> None:
    """With the right error, in time; the interpreter's count of frames holds, and others go on."""
    text, reason = ATTACKS[name]
    # A stack of 1 MiB is the largest there is; the rest is for the deadline alone to end.
    wall_ms = 300 if reason is Reason.TIMEOUT else 20_000
    limits = Limits(wall_ms=wall_ms, fuel=10**11, stack_bytes=1 << 20)
    async with Sandbox(tmp_path) as box:
        prepared = await box.load(wat(text))
        bystander = await (await box.load(wat(AGENTS["echo"]))).open()
        left = set()
        for _ in range(3):
            guest = await prepared.open(limits)
            await guest.call(b"")
            started = time.monotonic()
            with pytest.raises(SandboxError) as raised:
                await guest.call(b"attack")
            assert raised.value.reason is reason
            assert time.monotonic() - started < wall_ms / 1000 + 5
            with pytest.raises(SandboxError) as raised:
                await guest.call(b"")
            assert raised.value.reason is Reason.INSTANCE_DEAD
            assert guest._instance._slices is not None
            await guest.close()
            left.add(frames_left())
            assert await bystander.call(b"still here") == b"still here"
        assert len(left) == 1
        await bystander.close()


@pytest.mark.parametrize("name", AT_FIRST)
async def test_attacks_of_the_first_call_end_as_in_a_thread(sandbox: Sandbox, name: str) -> None:
    """Also where nothing was called before."""
    text, reason = AT_FIRST[name]
    limits = Limits(fuel=20_000_000, wall_ms=20_000)
    guest = await sandbox.open_agent(await sandbox.prepare(wat(text)), limits)
    guest._instance._away = 0
    with pytest.raises(SandboxError) as stopped:
        await guest.call(b"x")
    assert stopped.value.reason is reason
    assert guest._instance._slices is not None
    await guest.close()
