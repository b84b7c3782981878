"""WASM agents: JSON in, JSON or text out, and death by trap."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from caxton.agents.definition import AgentDefinition, AgentLimits, Permissions
from caxton.agents.wasm_agent import WasmBehaviour
from caxton.config import Config
from caxton.errors import AgentFileInvalid, ValidationError
from caxton.message import Message, Performative
from caxton.storage.agent_state import StateWriter
from caxton.types import format_id
from sandbox import Limits, Questions, Reason, Sandbox, SandboxBusy, SandboxError
from sandbox.engine import GuestReply
from sandbox.testing import AGENTS, ATTACKS, agent, reply, wat

Ask = Callable[..., Message]


@pytest.fixture(scope="module")
def folder(cache_dir: Path) -> Path:
    return cache_dir


@pytest.fixture
async def box(folder: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(folder, workers=1) as sandbox:
        yield sandbox


def behaviour(box: Sandbox, path: Path, **limits: Any) -> WasmBehaviour:
    definition = AgentDefinition("Ab", wasm=path.name, limits=AgentLimits(**limits))
    return WasmBehaviour(definition, path, lambda: box, "Ab.md", Config())


class FakeGuest:
    """Replies with what the test says."""

    def __init__(self, data: bytes, sent: tuple[bytes, ...] = ()) -> None:
        self.reply = GuestReply(data, sent, (), 0, 1, 0.1)
        self.heard: list[bytes] = []

    async def exchange(self, data: bytes) -> GuestReply:
        self.heard.append(data)
        return self.reply

    async def close(self) -> None: ...


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., tuple[WasmBehaviour, FakeGuest]]:
    def make(data: bytes, *sent: bytes) -> tuple[WasmBehaviour, FakeGuest]:
        path = tmp_path / "x.wasm"
        path.write_bytes(b"x")
        made = behaviour(None, path)  # type: ignore[arg-type]  # the guest is put in by hand
        guest = FakeGuest(data, sent)
        made._guest = guest  # type: ignore[assignment]  # stands in for a guest
        return made, guest

    return make


async def test_the_example_counts(box: Sandbox, examples: Path, ask: Ask, context: Any) -> None:
    """The shipped agent keeps its count between messages, also over a digit's end."""
    path = examples / "agents" / "counter.wasm"
    agent = behaviour(box, path, fuel=1_000_000, memory_bytes=1 << 20)
    await agent.start()
    await agent.start()
    for number in range(1, 12):
        (out,) = await agent.handle(ask("x" * 1_000 * number), context)
        assert out.performative is Performative.INFORM
        assert out.content == f"messages so far: {number}".encode()
    await agent.close()
    await agent.close()
    with pytest.raises(RuntimeError, match="not started"):
        await agent.handle(ask(), context)


def test_the_example_is_built_from_its_source(examples: Path) -> None:
    """The committed module is what its text gives."""
    folder = examples / "agents"
    assert wat((folder / "counter.wat").read_text()) == (folder / "counter.wasm").read_bytes()


async def test_a_guest_hears_the_message_as_json(ask: Ask, context: Any, fake: Any) -> None:
    """With the sender's name and the delivery count."""
    agent, guest = fake(b"plain text")
    (out,) = await agent.handle(ask("hi"), context)
    heard = json.loads(guest.heard[0])
    assert (heard["content"], heard["sender_name"], heard["delivery_count"]) == ("hi", "client", 1)
    assert (out.performative, out.content) == (Performative.INFORM, b"plain text")


@pytest.mark.parametrize(
    ("data", "act", "content"),
    [
        (b'{"performative":"REFUSE","content":"no"}', "refuse", b"no"),
        (b'{"performative":"agree"}', "agree", b""),
        (b'{"performative":"inform","content":{"a":1}}', "inform", b'{"a":1}'),
        (b'{"a":1}', "inform", b'{"a":1}'),
        (b"{broken", "inform", b"{broken"),
        (b"\xff", "inform", b"\xff"),
    ],
)
async def test_what_a_guest_replies(
    ask: Ask, context: Any, fake: Any, data: bytes, act: str, content: bytes
) -> None:
    """A JSON object with an act is a message; anything else is an INFORM."""
    agent, _ = fake(data)
    (out,) = await agent.handle(ask(), context)
    assert (out.performative.value, out.content) == (act, content)


async def test_what_a_guest_sends(ask: Ask, context: Any, fake: Any) -> None:
    """Messages to others, by id or capability; an empty reply is none."""
    to = format_id(b"r" * 16)
    first = json.dumps({"receiver": to, "content": "a", "new_conversation": True})
    second = json.dumps({"capability": "c", "performative": "request", "protocol": "p"})
    agent, _ = fake(b"", first.encode(), second.encode())
    one, two = await agent.handle(ask(), context)
    assert (one.receiver, one.content, one.new_conversation) == (b"r" * 16, b"a", True)
    assert (two.capability, two.performative, two.protocol) == ("c", Performative.REQUEST, "p")


@pytest.mark.parametrize(
    "sent",
    [b"text", b"[]", b"{}", b'{"receiver":"x"}', b'{"capability":"c","odd":1}',
     b'{"capability":" "}', b'{"capability":"c","performative":"shout"}',
     b'{"capability":"c","protocol":""}'],
)  # fmt: skip
async def test_what_no_message_is_raises(ask: Ask, context: Any, fake: Any, sent: bytes) -> None:
    """A guest that sends nonsense has failed on this message."""
    agent, _ = fake(b"", sent)
    with pytest.raises(ValidationError):
        await agent.handle(ask(), context)


async def test_a_trap_propagates(box: Sandbox, tmp_path: Path, ask: Ask, context: Any) -> None:
    """The error reaches the actor, which starts a fresh instance."""
    path = tmp_path / "bad.wasm"
    path.write_bytes(wat(ATTACKS["unreachable"][0]))
    agent = behaviour(box, path)
    await agent.start()
    for reason in (Reason.TRAP, Reason.INSTANCE_DEAD):
        with pytest.raises(SandboxError) as stopped:
            await agent.handle(ask(), context)
        assert stopped.value.reason is reason
    await agent.close()


@pytest.mark.parametrize("data", [b"", b"\0asm\x01\0\0\0", b"no module"])
async def test_a_refused_module_names_the_file(box: Sandbox, tmp_path: Path, data: bytes) -> None:
    """What the sandbox refuses is an error of the agent file."""
    path = tmp_path / "bad.wasm"
    path.write_bytes(data)
    with pytest.raises(AgentFileInvalid, match=r"Ab.md:1:1 `wasm`"):
        await behaviour(box, path).start()


async def test_limits_and_size_are_checked(
    box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that is absent or too large is refused; a full sandbox is not its fault."""
    with pytest.raises(AgentFileInvalid, match="there is no file"):
        behaviour(box, tmp_path / "absent.wasm")
    path = tmp_path / "echo.wasm"
    path.write_bytes(wat(AGENTS["echo"]))
    agent = behaviour(box, path, response_timeout_ms=3_600_000)
    assert agent._limits() == Limits(wall_ms=600_000)
    monkeypatch.setattr("sandbox.facade.GUESTS", 0)
    with pytest.raises(SandboxBusy):
        await agent.start()
    monkeypatch.setattr("caxton.agents.wasm_agent.MAX_MODULE", 3)
    with pytest.raises(AgentFileInvalid, match="at most 3"):
        await agent.start()


KEEPER = agent(
    # Counts under the key "n", in one byte; logs what it was given; "!" writes and then traps.
    """(local $got i32)
    (call $log (i32.const 2) (local.get $p) (local.get $n))
    (if (i32.eq (call $get (i32.const 16) (i32.const 1)) (i32.const 1))
      (then (drop (call $take (i32.const 8) (i32.const 1)))))
    (i32.store8 (i32.const 8) (i32.add (i32.load8_u (i32.const 8)) (i32.const 1)))
    (drop (call $put (i32.const 16) (i32.const 1) (i32.const 8) (i32.const 1)))
    (if (i32.gt_u (local.get $n) (i32.const 4000)) (then (unreachable)))"""
    + reply("(i32.const 8)", "(i32.const 1)"),
    imports='(import "caxton" "log" (func $log (param i32 i32 i32)))'
    '(import "caxton" "kv_get" (func $get (param i32 i32) (result i32)))'
    '(import "caxton" "kv_put" (func $put (param i32 i32 i32 i32) (result i32)))'
    '(import "caxton" "take" (func $take (param i32 i32) (result i32)))',
    extra='(data (i32.const 16) "n")',
)
"""Keeps its count in the key-value store, and traps on long messages after having written."""


async def test_what_it_keeps_outlives_it(
    tmp_path: Path, folder: Path, ask: Ask, context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A count under a key goes on in a fresh instance; a call that traps has written nothing."""
    path = tmp_path / "keeper.wasm"
    path.write_bytes(wat(KEEPER))
    state = StateWriter(tmp_path / "state", disk=False, map_bytes=1 << 26)
    definition = AgentDefinition("Keeper", wasm=path.name, permissions=Permissions(kv=True))
    async with Sandbox(folder, workers=1, questions=Questions(state)) as box:

        async def fresh() -> WasmBehaviour:
            made = WasmBehaviour(definition, path, lambda: box, "Keeper.md", Config(), state)
            await made.start()
            return made

        with caplog.at_level("WARNING", "caxton.agents.guest"):
            for number in (1, 2):
                agent_ = await fresh()
                (out,) = await agent_.handle(ask("hi"), context)
                assert out.content == bytes([number])
                with pytest.raises(SandboxError):
                    await agent_.handle(ask("x" * 5_000), context)
                await agent_.close()
        assert state.get("agent/keeper", b"n") == b"\x02"
        assert "Keeper: " in caplog.text
    await state.close()


async def test_a_message_that_comes_again_is_answered_as_before(
    tmp_path: Path, folder: Path, ask: Ask, context: Any
) -> None:
    """Its writes were kept, its answer may have been lost: both are as they were the first time."""
    path = tmp_path / "keeper.wasm"
    path.write_bytes(wat(KEEPER))
    state = StateWriter(tmp_path / "state", disk=False, map_bytes=1 << 26)
    definition = AgentDefinition("Keeper", wasm=path.name, permissions=Permissions(kv=True))
    async with Sandbox(folder, workers=1, questions=Questions(state)) as box:
        made = WasmBehaviour(definition, path, lambda: box, "Keeper.md", Config(), state)
        await made.start()
        message = ask("hi")
        first = await made.handle(message, context)
        context.delivery_count = 2
        assert await made.handle(message, context) == first
        (fresh,) = await made.handle(ask("hi"), context)
        assert (first[0].content, fresh.content) == (b"\x01", b"\x02")
        await made.close()
    await state.close()


async def test_without_permission_nothing_is_kept(
    tmp_path: Path, folder: Path, ask: Ask, context: Any
) -> None:
    """The guest is told so, and the store stays empty."""
    path = tmp_path / "keeper.wasm"
    path.write_bytes(wat(KEEPER))
    state = StateWriter(tmp_path / "state", disk=False, map_bytes=1 << 26)
    async with Sandbox(folder, workers=1, questions=Questions(state)) as box:
        definition = AgentDefinition("Keeper", wasm=path.name)
        made = WasmBehaviour(definition, path, lambda: box, "Keeper.md", Config(), state)
        await made.start()
        for _ in range(2):
            await made.handle(ask("hi"), context)
        assert state.keys("agent/keeper", b"") == []
        await made.close()
    await state.close()
