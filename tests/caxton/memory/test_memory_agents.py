"""Agents with a memory: what their models are told, what is kept, and when there is none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, get_args

import pytest
from memory_services import AGENTS, Desk, open_desk

from caxton.agents.agent_file import parse_agent_file
from caxton.agents.behaviour import Outgoing, ToolResult
from caxton.agents.config_agent import ConfigBehaviour
from caxton.agents.memory_outage import MemoryOutage, Why
from caxton.agents.python_agent import Agent, PythonBehaviour
from caxton.agents.remembering import CONTEXT_CHARACTERS, QUIET_S, WAIT_S
from caxton.errors import MemoryUnavailable, NotAuthorized
from caxton.llm.provider import Provider, ProviderSettings, make_provider
from caxton.memory.client import Memory
from caxton.memory.requests import Search, SearchAnswer
from caxton.message import Message, Performative, make_message
from caxton.tools.catalog import ToolCatalog
from caxton.types import new_id

CLIENT = b"c" * 16
FRONT = "name: own\nmemory: {{enabled: {}, min_similarity: 0, {}}}\n{}"


class FakeContext:
    """A conversation without a past."""

    agent_id = b"m" * 16
    agent_name = "own"
    delivery_count = 1

    async def history(self, limit: int = 50) -> Sequence[Message]:
        return []

    def name_of(self, agent_id: bytes) -> str:
        return "client"


class NoTools:
    """There are no other tools."""

    async def call(self, tool: Any, arguments: Any, **_: Any) -> ToolResult:
        return ToolResult(True, json.dumps({"ran": tool.name}))


class Scripted:
    """A configuration agent with a scripted model and a memory."""

    def __init__(
        self,
        memory: Memory | None,
        steps: Sequence[Any],
        settings: str = "",
        front: str = "",
        enabled: str = "true",
        **options: Any,
    ) -> None:
        text = f"---\n{FRONT.format(enabled, settings, front)}\n---\nYou help."
        definition = parse_agent_file(text.encode(), "a.md").definition
        assert definition is not None
        self.model: Provider = make_provider(
            "scripted", ProviderSettings(options={"steps": list(steps)})
        )
        self.behaviour = ConfigBehaviour(
            definition, lambda _: self.model, ToolCatalog.builtin(), NoTools(), memory, **options
        )

    async def answer(self, message: Message) -> Outgoing:
        result = self.behaviour.handle(message, FakeContext())
        assert not isinstance(result, Sequence)
        sent = await result
        return sent[0]

    @property
    def requests(self) -> list[Any]:
        return list(getattr(self.model, "requests"))  # noqa: B009

    def system(self, number: int = 0) -> str:
        return str(self.requests[number].messages[0].content)


def ask(text: str, **fields: Any) -> Message:
    """A request of the client."""
    return make_message(
        "request", sender=CLIENT, receiver=FakeContext.agent_id, content=text, **fields
    )


def use(name: str, /, **arguments: Any) -> dict[str, Any]:
    """A step of the model that calls a tool."""
    return {"tool": f"memory_{name}", "arguments": arguments}


async def test_the_model_is_told_what_is_remembered(desk: Desk) -> None:
    """In the system prompt, within the agent's own scope."""
    await desk.of("own").store("Mill", "place", ["the mill stands by the river"])
    await desk.of("shares").store("Mill", "place", ["the mill is secret"])
    agent = Scripted(desk, ["ok"])
    await agent.answer(ask("where is the mill?"))
    told = agent.system()
    assert told.startswith("You help.\n\n")
    assert "- Mill (place): the mill stands by the river" in told
    assert "secret" not in told
    await agent.behaviour.close()


async def test_a_template_places_it_itself(desk: Desk) -> None:
    """And then it is not told twice."""
    await desk.of("own").store("Mill", "place", ["by the river"])
    front = "user_prompt_template: 'Known: {{ memory_context }} Asked: {{ request }}'"
    agent = Scripted(desk, ["ok"], front=front)
    await agent.answer(ask("the mill?"))
    assert agent.system() == "You help."
    last = agent.requests[0].messages[-1].content
    assert last == "Known: - Mill (place): by the river Asked: the mill?"
    await agent.behaviour.close()


async def test_limits_of_what_is_told(desk: Desk) -> None:
    """So many entities, so many characters; long ones by their newest observations."""
    for number in range(12):
        await desk.of("own").store(
            f"Mill {number}", "place", [f"mill {i} {'word ' * 100}" for i in range(10)]
        )
    agent = Scripted(desk, ["ok"], "search_limit: 3")
    await agent.answer(ask("mill"))
    assert agent.system().count("\n- Mill") == 3
    assert "mill 9" in agent.system()
    assert "mill 0 " not in agent.system()
    wide = Scripted(desk, ["ok"], "search_limit: 100")
    await wide.answer(ask("mill"))
    assert len(wide.system()) < CONTEXT_CHARACTERS + 200


async def test_answers_are_kept_once(desk: Desk) -> None:
    """A message that comes again adds nothing, though the answer is another one."""
    agent = Scripted(desk, ["it is noon", "it is late", "by bus"], "auto_store: true")
    conversation = new_id()
    first = ask("what time is it?", conversation_id=conversation)
    await agent.answer(first)
    await agent.answer(first)
    await agent.answer(ask("how?", conversation_id=conversation))
    (entity,) = desk.backend.kept.entities.values()
    assert entity.scope.key == "agent:own"
    assert [one.text for one in entity.observations] == [
        "client asked: what time is it?\nown answered: it is noon",
        "client asked: how?\nown answered: by bus",
    ]
    assert len({one.source for one in entity.observations}) == 2
    assert "Notes from your memory" not in agent.system(2)
    later = Scripted(desk, ["as I said"], "auto_store: true")
    await later.answer(ask("what time was it?"))
    assert "it is noon" in later.system()


async def test_failed_turns_are_not_kept(desk: Desk) -> None:
    """Nor is anything where the file does not say so."""
    agent = Scripted(desk, [{"fail": "server"}], "auto_store: true")
    out = await agent.answer(ask("hello"))
    assert out.performative is Performative.FAILURE
    quiet = Scripted(desk, ["fine"])
    await quiet.answer(ask("hello"))
    assert not desk.backend.kept.entities


async def test_a_model_uses_its_memory(desk: Desk) -> None:
    """Stores, relates, searches, opens, forgets; results are JSON, mistakes are told to it."""
    club = {"from": "Ada", "relation": "member_of", "to": "Club"}
    steps = [
        use("store", name="Ada", type="person", observations=["likes tea"]),
        use("store", name="Club", type="group", observations=["meets at noon"]),
        use("relate", **club),
        use("search", query="who likes tea"),
        use("open", names=["ada"]),
        use("relate", **club | {"to": "Nobody"}),
        use("forget", name="Ada", observations=["likes tea"]),
        use("forget", name="Club"),
        "done",
    ]
    agent = Scripted(desk, steps)
    message = ask("remember this")
    out = await agent.answer(message)
    assert out.content == b"done"
    told = [one.content for one in agent.requests[-1].messages if one.role == "tool"]
    results = [json.loads(text) for text in told]
    assert results[0] == {"stored": "Ada", "new": True, "added": 1}
    assert results[2] == {"related": "Ada member_of Club", "new": True}
    assert results[3]["results"][0]["name"] == "Ada"
    assert results[3]["results"][0]["relations"] == ["Ada member_of Club"]
    assert results[4]["entities"][0]["observations"] == ["likes tea"]
    assert results[5]["error"]["code"] == "entity_not_found"
    assert results[6] == {"entities": 0, "observations": 1}
    assert results[7]["entities"] == 1
    (entity,) = desk.backend.kept.entities.values()
    assert entity.entity_name == "Ada"
    assert entity.scope.key == "agent:own"


async def test_tools_are_offered_with_a_memory_only(desk: Desk) -> None:
    """And count in the budget as others do."""
    agent = Scripted(desk, ["ok"])
    await agent.answer(ask("x"))
    names = {one.name for one in agent.requests[0].tools}
    assert names == {
        "memory_search", "memory_store", "memory_relate", "memory_open", "memory_forget",
    }  # fmt: skip
    for other in (Scripted(None, ["ok"]), Scripted(desk, ["ok"], enabled="false")):
        assert other.behaviour._memory is None
        await other.answer(ask("x"))
        assert other.requests[0].tools == ()
    steps = [{"tool": "memory_search", "arguments": {"query": "a"}}, "ok"]
    spent = Scripted(desk, steps, front="budget: {conversation: {tool_calls: 0}}")
    out = await spent.answer(ask("x"))
    assert json.loads(out.content)["code"] == "BUDGET_SPENT"


async def test_without_an_answer_of_the_memory_the_turn_goes_on() -> None:
    """It waits once, not for each message; what is refused makes it wait no time."""
    asked: list[object] = []
    now = 0.0

    async def away(request: object) -> Any:
        asked.append(request)
        raise MemoryUnavailable(backend="test", reason="it is away")

    agent = Scripted(Memory(away), ["a", "b", "c"], "auto_store: true", clock=lambda: now)
    out = await agent.answer(ask("x"))
    assert out.content == b"a"
    assert len(asked) == 1
    assert agent.behaviour._memory is not None
    assert agent.behaviour._memory.missed == 2
    assert (await agent.answer(ask("y"))).content == b"b"
    assert len(asked) == 1
    now += QUIET_S + 1
    assert (await agent.answer(ask("z"))).content == b"c"
    assert len(asked) == 2


async def test_turns_without_the_memory_are_counted_and_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By few reasons, over all agents of a process; the log has one line when it goes away and
    one when it is back."""
    monkeypatch.setattr("caxton.agents.remembering.WAIT_S", 0.02)
    now, outage = 0.0, MemoryOutage()
    failure: Exception | None = MemoryUnavailable(backend="test", reason="it is away")

    async def answer(request: object) -> Any:
        if failure is not None:
            raise failure
        if isinstance(request, Search):
            return SearchAnswer((), 0.0, semantic=False, note="")
        return await asyncio.Event().wait()

    agents = [
        Scripted(Memory(answer), ["a"] * 9, clock=lambda: now, outage=outage) for _ in range(2)
    ]
    for _ in range(2):
        for agent in agents:
            assert (await agent.answer(ask("x"))).content == b"a"
    assert outage.turns == {"failed": 2, "paused": 2}
    assert caplog.text.count("goes on without its memory") == 1
    assert "it is away" in caplog.text

    now, failure = QUIET_S + 1, None
    for agent in agents:
        await agent.answer(ask("x"))
    assert outage.turns.total() == 4
    assert caplog.text.count("the memory answers again; 4 turns went on without it") == 1

    async def never(request: object) -> Any:
        await asyncio.Event().wait()

    slow = Scripted(Memory(never), ["a"], clock=lambda: now, outage=outage)
    await slow.answer(ask("x"))
    assert outage.turns["timeout"] == 1
    assert caplog.text.count("goes on without its memory") == 2

    failure = NotAuthorized(who="the agent", action="read")
    for _ in range(3):
        await agents[0].answer(ask("x"))
    assert outage.turns["refused"] == 3
    assert caplog.text.count("goes on without its memory") == 3
    assert set(outage.turns) <= set(get_args(Why))


async def test_a_slow_memory_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than its share of a turn."""
    monkeypatch.setattr("caxton.agents.remembering.WAIT_S", 0.02)
    assert WAIT_S <= 5

    async def never(request: object) -> Any:
        await asyncio.Event().wait()

    agent = Scripted(Memory(never), ["a"])
    await agent.behaviour.start()
    async with asyncio.timeout(20):
        assert (await agent.answer(ask("x"))).content == b"a"
    await agent.behaviour.close()


async def test_python_agents_have_their_memory() -> None:
    """As ``self.memory``, within their scope; one of their own name stays when they have none."""

    class Notes(Agent):
        async def handle(self, message: Message, context: Any) -> str:
            assert self.memory is not None
            await self.memory.store("Note", "note", [message.text])
            return (await self.memory.search("heron")).results[0].entity.entity_name

    class Own(Agent):
        def __init__(self) -> None:
            self.memory = None

        def handle(self, message: Message, context: Any) -> str:
            return str(self.memory)

    text = b"---\nname: shares\npython: x:Y\nmemory: {enabled: true, scope: workspace}\n---\n"
    definition = parse_agent_file(text, "a.md").definition
    assert definition is not None
    assert definition.memory == AGENTS["shares"]
    async with open_desk(None) as desk:
        behaviour = PythonBehaviour(definition, Notes, None, desk.of("shares"))
        await behaviour.start()
        result = behaviour.handle(ask("a heron"), FakeContext())
        assert not isinstance(result, Sequence)
        assert [one.content for one in await result] == [b"Note"]
        (entity,) = desk.backend.kept.entities.values()
        assert entity.scope.key == "workspace"
        await behaviour.close()
    plain = PythonBehaviour(definition, Own)
    await plain.start()
    sent = plain.handle(ask("x"), FakeContext())
    assert isinstance(sent, Sequence)
    assert sent[0].content == b"None"
    await plain.close()
