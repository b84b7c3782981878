"""Agents in this process: the facade's inline level."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from sandbox import (
    Grants,
    InvalidSetting,
    Limits,
    Reason,
    Sandbox,
    SandboxBusy,
    SandboxError,
)
from sandbox.guest_threads import GuestThreads
from sandbox.inline import AT_ONCE, TURN_S, InlineGuest, LoopTurn
from sandbox.questions import Questions
from sandbox.testing import AGENTS, ATTACKS, COMMANDS, OPENING_ATTACKS, agent, reply, wat


async def test_an_agent_answers_and_keeps_state(sandbox: Sandbox) -> None:
    """Calls follow each other on one instance."""
    guest = await sandbox.open_agent(await sandbox.prepare(wat(AGENTS["counter"])))
    assert [(await guest.call(b"x"))[0] for _ in range(3)] == [1, 2, 3]
    await guest.close()
    await guest.close()
    with pytest.raises(SandboxError) as dead:
        await guest.call(b"x")
    assert dead.value.reason is Reason.INSTANCE_DEAD


@pytest.mark.parametrize("name", ATTACKS)
async def test_attacks_end_with_their_reason(sandbox: Sandbox, name: str) -> None:
    """Every attack is stopped for the right reason, and harms no other guest."""
    echo = await sandbox.open_agent(await sandbox.prepare(wat(AGENTS["echo"])))
    text, reason = ATTACKS[name]
    limits = Limits(fuel=20_000_000, wall_ms=20_000)
    guest = await sandbox.open_agent(await sandbox.prepare(wat(text)), limits)
    with pytest.raises(SandboxError) as stopped:
        await guest.call(b"x")
    assert stopped.value.reason is reason
    assert await echo.call(b"alive") == b"alive"


@pytest.mark.parametrize("name", OPENING_ATTACKS)
async def test_attacks_while_opening_end_with_their_reason(sandbox: Sandbox, name: str) -> None:
    """Limits hold while an agent opens."""
    text, reason = OPENING_ATTACKS[name]
    with pytest.raises(SandboxError) as stopped:
        await sandbox.open_agent(
            await sandbox.prepare(wat(text)), Limits(fuel=20_000_000, wall_ms=20_000)
        )
    assert stopped.value.reason is reason


async def test_the_loop_runs_on_during_a_call(sandbox: Sandbox) -> None:
    """A guest that spins blocks its thread, not the event loop."""
    text = ATTACKS["infinite loop"][0]
    guest = await sandbox.open_agent(
        await sandbox.prepare(wat(text)), Limits(fuel=10**12, wall_ms=200)
    )
    call = asyncio.create_task(guest.call(b"x"))
    turns = 0
    while not call.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 10
    with pytest.raises(SandboxError) as stopped:
        await call
    assert stopped.value.reason is Reason.TIMEOUT


async def test_a_caller_that_gives_up_leaves_the_guest_to_its_deadline(sandbox: Sandbox) -> None:
    """Cancelling ends the wait; the guest is busy until its own end, then dead."""
    text = ATTACKS["infinite loop"][0]
    guest = await sandbox.open_agent(
        await sandbox.prepare(wat(text)), Limits(fuel=10**12, wall_ms=300)
    )
    call = asyncio.create_task(guest.call(b"x"))
    lock = guest._instance._busy  # type: ignore[attr-defined]  # of the wasmtime engine
    while not lock.locked():
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(SandboxError) as busy:
        await guest.call(b"x")
    assert busy.value.reason is Reason.HOST_ERROR
    async with asyncio.timeout(10):
        while lock.locked():
            await asyncio.sleep(0.005)
    with pytest.raises(SandboxError) as dead:
        await guest.call(b"x")
    assert dead.value.reason is Reason.INSTANCE_DEAD
    assert call.cancelled()


async def test_only_agents_without_grants_open(sandbox: Sandbox) -> None:
    """A command is no agent, and an agent has no way to use a grant."""
    command = await sandbox.prepare(wat(COMMANDS["cat"]))
    with pytest.raises(SandboxError) as wrong:
        await sandbox.open_agent(command)
    assert wrong.value.details["kind"] == "wasi-command"
    echo = await sandbox.prepare(wat(AGENTS["echo"]))
    with pytest.raises(InvalidSetting, match="grants"):
        await sandbox.open_agent(echo, grants=Grants(env=(("A", "1"),)))


async def test_live_agents_are_bounded(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """One over the limit is refused; closing one makes room."""
    monkeypatch.setattr("sandbox.facade.GUESTS", 1)
    echo = await sandbox.prepare(wat(AGENTS["echo"]))
    guest = await sandbox.open_agent(echo)
    with pytest.raises(SandboxBusy):
        await sandbox.open_agent(echo)
    await guest.close()
    await sandbox.open_agent(echo)


async def test_a_closed_sandbox_opens_and_calls_nothing(cache_dir: Path) -> None:
    """After close, guests are dead and no new one opens."""
    async with Sandbox(cache_dir) as box:
        echo = await box.prepare(wat(AGENTS["echo"]))
        guest = await box.open_agent(echo)
    with pytest.raises(SandboxError) as dead:
        await guest.call(b"x")
    assert dead.value.reason is Reason.INSTANCE_DEAD
    await guest.close()
    with pytest.raises(SandboxError, match="closed"):
        await box.open_agent(echo)


ASKS = agent(
    "(drop (call $get (i32.const 64) (i32.const 1)))"
    " (block $ends (br_if $ends (i32.eqz (local.get $n))) (loop $again (br $again)))"
    + reply("(i32.const 0)", "(i32.const 0)"),
    imports='(import "caxton" "kv_get" (func $get (param i32 i32) (result i32)))',
)
"""Asks for a key, and turns for ever when its message is not empty."""


class Threads:
    """Keys of which each question is remembered by the thread it came on."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def get(self, _namespace: str, _key: bytes) -> bytes | None:
        """Nothing is there."""
        self.seen.append(threading.get_ident())
        return None

    def keys(self, _namespace: str, _prefix: bytes) -> list[bytes]:
        """Nothing is there."""
        return []


async def test_quick_calls_run_on_the_loop_and_others_leave_it(cache_dir: Path) -> None:
    """The host's functions are asked on its thread; what turns for ever is stopped on another."""
    keys, here = Threads(), threading.get_ident()
    async with Sandbox(cache_dir, questions=Questions(keys)) as box:
        module = await box.prepare(wat(ASKS))
        guest = await box.open_agent(module, Limits(wall_ms=100, fuel=10**12), Grants(kv="a"))
        for _ in range(4):
            await guest.call(b"")
        first = keys.seen.pop(0)
        assert first != here
        assert keys.seen == [here] * 3
        with pytest.raises(SandboxError) as stopped:
            await guest.call(b"x")
        assert stopped.value.reason is Reason.TIMEOUT
        assert keys.seen == [here] * 4


async def test_guests_leave_time_to_others_on_the_loop(sandbox: Sandbox) -> None:
    """Callers that never wait for anything else take turns with the rest of the program."""
    module = await sandbox.prepare(wat(AGENTS["echo"]))
    guests = [await sandbox.open_agent(module) for _ in range(20)]
    calls = 0

    async def caller(guest: object) -> None:
        nonlocal calls
        assert isinstance(guest, InlineGuest)
        for _ in range(200):
            assert await guest.call(b"hello") == b"hello"
            calls += 1

    callers = asyncio.gather(*(caller(guest) for guest in guests))
    between: list[int] = []
    while not callers.done():
        before = calls
        await asyncio.sleep(0)
        between.append(calls - before)
    await callers
    assert calls == sum(between) == 4_000
    assert len(between) > 10


async def test_a_turn_that_is_used_up_is_waited_for_in_order() -> None:
    """Some in each turn, the first ones first; who gives up is left out."""
    turn, went = LoopTurn(), list[int]()
    await turn.wait()
    turn.used(TURN_S)

    async def call(number: int) -> None:
        await turn.wait()
        went.append(number)
        turn.used(TURN_S)

    tasks = [asyncio.create_task(call(number)) for number in range(3 * AT_ONCE)]
    await asyncio.sleep(0)
    assert went == [0]
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert went == [0, *range(2, 3 * AT_ONCE)]
    await asyncio.sleep(0)
    await turn.wait()


async def test_a_call_that_cannot_go_on_is_ended(sandbox: Sandbox) -> None:
    """The threads were closed in that very moment: the guest is dead, and says why."""
    text = ATTACKS["infinite loop"][0]
    guest = await sandbox.open_agent(await sandbox.prepare(wat(text)), Limits(fuel=10**12))
    closing = GuestThreads(1)
    closing.close()
    closing._closed = False
    guest._threads = closing  # type: ignore[union-attr]  # it lives in this process
    guest._instance._away = 0  # type: ignore[union-attr]  # as after a first call
    closing.call = _refuses  # type: ignore[method-assign]
    with pytest.raises(SandboxError, match="closed"):
        await guest.call(b"x")
    closing._closed = True
    assert guest._instance._dead == "its call was abandoned"  # type: ignore[union-attr]


def _refuses(*_given: object) -> asyncio.Future[object]:
    raise RuntimeError("the guest threads are closed")
