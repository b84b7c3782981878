"""Receivers that are not known: read again, looked for, and told to be missing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from engine import NODE, Engine, agent_id, reply

from caxton.agents.behaviour import Outgoing
from caxton.agents.definition import AgentDefinition
from caxton.agents.directory import UNKNOWN_S, Directory
from caxton.errors import NodeNotReady
from caxton.message import Message
from caxton.routing import discovery as module
from caxton.storage.entries import RouteRecord
from caxton.storage.registry import AgentRecord, ReloadRecord
from caxton.types import new_id

Make = Callable[..., Engine]


def echo(message: Message, context: Any) -> tuple[Outgoing, ...]:
    return reply(message.text)


class Elsewhere:
    """A finder that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answer: asyncio.Future[RouteRecord | None] = asyncio.get_running_loop().create_future()

    async def find(self, agent_id: bytes) -> RouteRecord | None:
        self.asked.append(agent_id)
        return await asyncio.shield(self.answer)


def late(name: str) -> AgentRecord:
    return AgentRecord(
        id=agent_id(name), name=name, revision=1_000, file=f"{name}.md",
        definition=AgentDefinition(name=name, capabilities=(name,)), fingerprint="",
        reload=ReloadRecord(),
    )  # fmt: skip


def join(engine: Engine, name: str) -> None:
    """The agent is registered here from now on."""
    engine.shard.registry_changed([late(name)])


async def test_the_registry_is_read_again_before_a_receiver_is_missing(make_engine: Make) -> None:
    """A notice that comes late costs nobody a FAILURE."""
    engine = make_engine({"known": echo})
    engine.agents["late"] = echo
    engine.shard.directory.refresh = lambda: join(engine, "late")
    engine.submit(engine.message("late", content="x"), wait=True)
    await engine.until(lambda: engine.asker.replies)
    assert engine.asker.replies[0].text == "x"
    await engine.settled()
    assert engine.shard.view().dead_letters == 0


def test_an_id_nobody_knows_is_looked_up_once_a_second() -> None:
    """However many messages name it."""
    now, read = [0.0], [0]
    directory = Directory(new_id(), 1, clock=lambda: now[0])

    def refresh() -> None:
        read[0] += 1

    directory.refresh = refresh
    stranger = new_id()
    assert not any(directory.known(stranger) for _ in range(100))
    assert read == [1]
    now[0] += UNKNOWN_S
    assert not directory.known(stranger)
    assert read == [2]


async def test_messages_wait_in_order_while_their_receiver_is_looked_for(
    make_engine: Make,
) -> None:
    """One search for all of them; when it is found they are handled in order."""
    engine = make_engine({"known": echo})
    engine.agents["late"] = echo
    finder = engine.shard.router.discovery.finder = Elsewhere()
    conversation = new_id()
    for text in "1234":
        engine.submit(engine.message("late", content=text, conversation_id=conversation))
    await engine.until(lambda: len(engine.shard.router.discovery) == 4 and finder.asked)
    assert finder.asked == [agent_id("late")]
    join(engine, "late")
    finder.answer.set_result(RouteRecord(agent_id("late"), NODE, 0, 0, 1))
    await engine.settled()
    told = [text for act, text in engine.texts(conversation) if act == "inform"]
    assert told == list("1234")


@pytest.mark.parametrize("outcome", ["nobody", "error", "late", "other node", "full"])
async def test_a_receiver_that_is_not_found_is_told_once(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """FAILURE and dead letter; the next message does not ask again for a while."""
    engine = make_engine({"known": echo})
    finder = engine.shard.router.discovery.finder = Elsewhere()
    other = new_id()
    if outcome == "nobody":
        finder.answer.set_result(None)
    elif outcome == "error":
        finder.answer.set_exception(NodeNotReady(part="the cluster"))
    elif outcome == "other node":
        finder.answer.set_result(RouteRecord(agent_id("x"), other, 0, 2, 1))
    elif outcome == "full":
        monkeypatch.setattr(module, "WAITING", 0)
    else:
        engine.shard.router.discovery._deadline_s = 0.01
    engine.submit(engine.message("x"), wait=True)
    await engine.until(lambda: len(engine.asker.replies) == 1)
    engine.submit(engine.message("x"), wait=True)
    await engine.until(lambda: len(engine.asker.replies) == 2)
    assert len(finder.asked) == (outcome != "full")
    detail = json.loads(engine.asker.replies[1].content)
    assert detail["code"] == "AGENT_NOT_FOUND"
    assert ("not linked" in detail["detail"]) is (outcome == "other node")
    await engine.settled()
    assert engine.shard.view().dead_letters == 2
    if outcome == "late":
        finder.answer.cancel()


async def test_a_search_outlives_a_crash(make_engine: Make) -> None:
    """What waited for a search is pending, and looked for again."""
    engine = make_engine({"known": echo})
    finder = engine.shard.router.discovery.finder = Elsewhere()
    engine.submit(engine.message("x"))
    await engine.until(lambda: finder.asked)
    await engine.until(lambda: engine.asker.acks)
    engine.shard.router.discovery.close()
    await engine.crash()
    await engine.until(lambda: engine.shard.view().dead_letters == 1)
    finder.answer.cancel()


def test_a_route_may_name_another_node() -> None:
    """It is kept with its hops, and taken back."""
    directory = Directory(new_id(), 1)
    route = RouteRecord(new_id(), new_id(), 3, 2, 1)
    directory.take([route])
    assert directory.routes == {route.agent_id: route}
    directory.take([msgspec.structs.replace(route, removed=True)])
    assert directory.routes == {}
