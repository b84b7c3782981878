"""From bytes to a module that may be opened often, and the guests it opens as."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sandbox import (
    Grants,
    Kind,
    Level,
    Limits,
    Policy,
    PolicyError,
    Prepared,
    Reason,
    Sandbox,
    SandboxError,
)  # fmt: skip
from sandbox.testing import AGENTS, COMMANDS, REFUSED, command, wat

SAYS_NO = command(
    "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 7))"
    "(drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 16)))"
    "(call $exit (i32.const 9))",
    imports='(import "wasi_snapshot_preview1" "fd_write"'
    " (func $write (param i32 i32 i32 i32) (result i32)))"
    '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))',
    extra='(data (i32.const 64) "no way!")',
)


async def test_an_agent_opens_in_this_process_with_what_it_was_loaded_with(
    sandbox: Sandbox,
) -> None:
    """The limits of ``load`` hold unless ``open`` is given others; guests share nothing."""
    prepared = await sandbox.load(wat(AGENTS["counter"]), limits=Limits(reply_bytes=1))
    assert (prepared.kind, prepared.level) == (Kind.CORE_AGENT, Level.INLINE)
    assert isinstance(prepared, Prepared)
    strict, one, two = [
        await prepared.open(),
        *(await asyncio.gather(prepared.open(Limits()), prepared.open(Limits()))),
    ]
    with pytest.raises(SandboxError) as large:
        await strict.call(b"")
    assert large.value.reason is Reason.REPLY_TOO_LARGE
    assert [(await one.call(b""))[0] for _ in range(2)] == [1, 2]
    assert (await two.call(b""))[0] == 1
    reply = await two.exchange(b"")
    assert (reply.data[0], reply.sent, reply.written) == (2, (), {})
    assert reply.fuel_used > 0


@pytest.mark.process
async def test_a_command_starts_afresh_with_each_call(sandbox: Sandbox) -> None:
    """In a worker, with the limits of a command; calls of one guest may overlap."""
    prepared = await sandbox.load(wat(COMMANDS["cat"]))
    assert (prepared.kind, prepared.level) == (Kind.WASI_COMMAND, Level.PROCESS)
    assert prepared.limits == Limits.for_command()
    guest = await prepared.open(owner="someone")
    inputs = [b"%d" % n for n in range(5)]
    assert await asyncio.gather(*map(guest.call, inputs)) == inputs
    assert (await guest.exchange(b"x")).sent == ()
    await guest.close()
    await guest.close()
    with pytest.raises(SandboxError) as dead:
        await guest.call(b"x")
    assert dead.value.reason is Reason.INSTANCE_DEAD


@pytest.mark.process
async def test_a_command_that_fails_says_so_in_its_own_words(sandbox: Sandbox) -> None:
    """Another exit code than 0 is ``guest_abort`` with the code and what it printed."""
    guest = await (await sandbox.load(wat(SAYS_NO))).open()
    with pytest.raises(SandboxError, match="no way!") as failed:
        await guest.call(b"")
    assert failed.value.reason is Reason.GUEST_ABORT
    assert failed.value.details == {"exit_code": 9, "text": "no way!"}
    silent = await (await sandbox.load(wat(COMMANDS["exit 3"]))).open()
    with pytest.raises(SandboxError, match="said nothing"):
        await silent.call(b"")


@pytest.mark.process
async def test_grants_of_load_and_open_reach_the_guest(sandbox: Sandbox) -> None:
    """Those of ``open`` replace those of ``load``."""
    env = Grants(env=(("A", "1"), ("B", "2")))
    prepared = await sandbox.load(wat(COMMANDS["count env"]), grants=env)
    assert (await (await prepared.open()).call(b""))[0] == 2
    assert (await (await prepared.open(grants=Grants())).call(b""))[0] == 0


async def test_what_is_no_module_does_not_load(sandbox: Sandbox) -> None:
    """The reason of each kind of wrong bytes."""
    for data, reason in REFUSED.values():
        if data[:8] == b"\0asm\x0d\0\x01\0":
            continue
        with pytest.raises(SandboxError) as refused:
            await sandbox.load(data)
        assert refused.value.reason is reason


async def test_a_policy_gives_limits_and_grants(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders below the workspace, variables of this process, and what is given beside wins."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("REGION", "eu")
    policy = Policy.read(
        """
version: "1.0"
permissions:
  storage: {allow: [{uri: "fs://data", access: [read]}]}
  environment: {allow: [{key: REGION}, {key: ABSENT}]}
resources: {wall_ms: 700}
"""
    )
    module = wat(COMMANDS["count env"])
    prepared = await sandbox.load(module, policy, workspace=tmp_path)
    assert prepared.limits.wall_ms == 700
    assert prepared.grants.env == (("REGION", "eu"),)
    assert [one.host for one in prepared.grants.folders] == [(tmp_path / "data").resolve()]
    assert await (await prepared.open()).call(b"") == b"\x01\0\0\0"
    mine = await sandbox.load(module, policy, limits=Limits(), grants=Grants())
    assert (mine.limits, mine.grants) == (Limits(), Grants())
    with pytest.raises(PolicyError, match="data"):
        await sandbox.load(module, policy, workspace=tmp_path / "data")
