"""Configuration agents: turns, tools, bounds and failures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from caxton.agents.agent_file import parse_agent_file
from caxton.agents.behaviour import Outgoing, ToolResult
from caxton.agents.config_agent import ConfigBehaviour, answer_act
from caxton.errors import ValidationError
from caxton.llm.provider import Provider, ProviderSettings, make_provider
from caxton.message import Message, Performative, make_message
from caxton.tools.catalog import ToolCatalog
from caxton.types import new_id

CALL = {"tool": "csv_parser", "arguments": {"path": "data/x.csv", "operation": "count"}}
OTHER = {"tool": "csv_parser", "arguments": {"path": "data/y.csv", "operation": "count"}}

Ask = Callable[..., Message]


class Agent:
    """A behaviour with a scripted model."""

    def __init__(self, runner: Any, steps: Sequence[Any], front: str = "", **options: Any) -> None:
        text = f"---\nname: Analyst\ntools: [csv_parser, nope]\n{front}\n---\nYou analyse."
        self.definition = parse_agent_file(text.encode(), "a.md").definition
        self.providers: dict[str, Provider] = {}
        self.steps = {"scripted": list(steps)}
        self.behaviour = ConfigBehaviour(
            self.definition, self.provider, ToolCatalog.builtin(), runner, **options
        )

    def provider(self, name: str | None) -> Provider:
        name = name or "scripted"
        if name not in self.providers:
            settings = ProviderSettings(options={"steps": self.steps.get(name, ["other"])})
            kind = name if name in ("rules", "absent") else "scripted"
            self.providers[name] = make_provider(kind, settings)
        return self.providers[name]

    @property
    def requests(self) -> list[Any]:
        found: list[Any] = getattr(self.providers["scripted"], "requests")  # noqa: B009
        return found

    async def answer(self, message: Message, context: Any) -> Outgoing:
        result = self.behaviour.handle(message, context)
        sent = result if isinstance(result, tuple) else await result
        assert len(sent) == 1
        return sent[0]


def reason(out: Outgoing) -> dict[str, Any]:
    assert out.performative is Performative.FAILURE
    body: dict[str, Any] = json.loads(out.content)
    assert {"code", "reason", "title", "detail", "remedy", "retryable", "message_id"} == body.keys()
    return body


async def test_a_turn_calls_a_tool_and_answers(runner: Any, context: Any, ask: Ask) -> None:
    """Model, tool, model: the result of the tool reaches the model, its text the sender."""
    agent = Agent(
        runner,
        [CALL, "it is {result}"],
        "permissions: {files: {data: ro}}\nlimits: {tool_timeout: 2s}",
    )
    await agent.behaviour.start()
    out = await agent.answer(ask(), context)
    assert out == Outgoing(Performative.INFORM, b'it is {"value": 42.5}')
    assert runner.calls == [("csv_parser", CALL["arguments"], {"files": {"data": "ro"}}, 2_000)]
    first, second = agent.requests
    assert [one.role for one in first.messages] == ["system", "user"]
    assert first.messages[0].content == "You analyse."
    assert [tool.name for tool in first.tools] == ["csv_parser"]
    assert [one.role for one in second.messages] == ["system", "user", "assistant", "tool"]
    await agent.behaviour.close()


async def test_history_comes_before_the_question(runner: Any, context: Any, ask: Ask) -> None:
    """Own messages are the assistant's, others the user's; what does not fit is left out."""
    agent = Agent(runner, ["ok"], "conversation: {context_tokens: 20}")
    context.past = [
        ask("x" * 400),
        ask("short"),
        make_message("inform", sender=context.agent_id, receiver=b"c" * 16, content="mine"),
        ask(""),
    ]
    await agent.answer(ask("now"), context)
    told = [(one.role, one.content) for one in agent.requests[0].messages[1:]]
    assert told == [("user", "short"), ("assistant", "mine"), ("user", "now")]
    agent = Agent(runner, ["ok"], "conversation: {context_tokens: 0}")
    await agent.answer(ask("now"), context)
    assert len(agent.requests[0].messages) == 2


async def test_a_template_makes_the_prompt(runner: Any, context: Any, ask: Ask) -> None:
    """Parameters and keys of the message are its variables; a missing one is told to the sender."""
    front = "user_prompt_template: 'In {{ tone }}: {{ topic }}'\nparameters: {tone: verse}"
    agent = Agent(runner, ["ok"], front)
    await agent.answer(ask('{"topic": "rain"}'), context)
    assert agent.requests[0].messages[-1].content == "In verse: rain"
    body = reason(await agent.answer(ask("no json"), context))
    assert body["code"] == "PROMPT_TEMPLATE_INVALID"
    assert "topic" in body["detail"]


@pytest.mark.parametrize("act", ["inform", "failure", "not-understood", "confirm", "heartbeat"])
async def test_acts_that_ask_nothing_get_no_answer(
    runner: Any, context: Any, ask: Ask, act: str
) -> None:
    """Two agents cannot thank each other for ever."""
    agent = Agent(runner, ["ok"])
    assert agent.behaviour.handle(ask("x", act), context) == ()


@pytest.mark.parametrize(("act", "reply"), [("cfp", "propose"), ("query-if", "inform")])
async def test_the_act_of_the_answer_follows_the_question(
    runner: Any, context: Any, ask: Ask, act: str, reply: str
) -> None:
    """A call for proposals gets a proposal, all else an INFORM."""
    out = await Agent(runner, ["ok"]).answer(ask("x", act), context)
    assert out.performative.value == reply


async def test_an_empty_message_is_not_understood(runner: Any, context: Any, ask: Ask) -> None:
    """No model is asked about nothing."""
    agent = Agent(runner, ["ok"])
    out = await agent.answer(ask(" \n"), context)
    assert out.performative is Performative.NOT_UNDERSTOOD
    assert agent.providers == {}


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"tool": "csv_parser", "arguments": {"operation": "mean"}}, "'path' is a required"),
        ({"tool": "csv_parser", "arguments": {"path": "a", "limit": 0}}, "limit: 0 is less"),
        ({"tool": "csv_parser", "arguments": "{oops"}, "not JSON"),
        ({"tool": "csv_parser", "arguments": "[1]"}, "must be a JSON object"),
        ({"tool": "nope", "arguments": {}}, "may not be called; there is csv_parser"),
    ],
)
async def test_a_wrong_call_is_told_to_the_model(
    runner: Any, context: Any, ask: Ask, step: dict[str, Any], told: str
) -> None:
    """A call outside the allow-list or the schema does not run; the model may do better."""
    agent = Agent(runner, [step, "sorry"])
    assert (await agent.answer(ask(), context)).content == b"sorry"
    assert runner.calls == []
    assert told in json.loads(agent.requests[1].messages[-1].content)["error"]["message"]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (
            ToolResult(False, "boom", "out_of_fuel"),
            '{"error": {"code": "out_of_fuel", "message": "boom"}}',
        ),
        (
            ToolResult(False, "", ""),
            '{"error": {"code": "failed", "message": "the tool said nothing"}}',
        ),
        (ToolResult(False, '{"error":{"code":"x"}}', "exit"), '{"error":{"code":"x"}}'),
    ],
)
async def test_a_failing_tool_is_a_result(
    runner: Any, context: Any, ask: Ask, result: ToolResult, told: str
) -> None:
    """The model is told what went wrong, in one form."""
    runner.answer = lambda _: result
    agent = Agent(runner, [CALL, "sorry"])
    await agent.answer(ask(), context)
    assert agent.requests[1].messages[-1].content == told


async def test_calls_of_one_answer_run_beside_each_other(
    runner: Any, context: Any, ask: Ask
) -> None:
    """Independent calls wait for each other's start only; equal ones run once."""
    both = asyncio.Barrier(2)

    async def wait(arguments: dict[str, Any]) -> ToolResult:
        await both.wait()
        return ToolResult(True, arguments["path"])

    runner.answer = wait
    agent = Agent(runner, [{"tools": [CALL, OTHER, CALL]}, "ok"])
    async with asyncio.timeout(5):
        await agent.answer(ask(), context)
    results = [one.content for one in agent.requests[1].messages if one.role == "tool"]
    assert results == ["data/x.csv", "data/y.csv", "data/x.csv"]
    assert len(runner.calls) == 2


async def test_too_many_calls_in_one_answer_are_refused(
    runner: Any, context: Any, ask: Ask
) -> None:
    """Sixteen run; the others are told so."""
    calls = [{"tool": "csv_parser", "arguments": {"path": f"{n}.csv"}} for n in range(18)]
    agent = Agent(runner, [{"tools": calls}, "ok"])
    await agent.answer(ask(), context)
    assert len(runner.calls) == 16
    assert "at most 16" in agent.requests[1].messages[-1].content


async def test_the_loop_guard_stops_repetition(runner: Any, context: Any, ask: Ask) -> None:
    """The same tool with the same arguments again ends the turn, in any spelling of the JSON."""
    again = {"tool": "csv_parser", "arguments": '{"operation":"count",  "path":"data/x.csv"}'}
    body = reason(await Agent(runner, [CALL, again]).answer(ask(), context))
    assert body["code"] == "TURN_STOPPED"
    assert "again with the same arguments" in body["detail"]
    assert len(runner.calls) == 1


async def test_rounds_are_bounded(runner: Any, context: Any, ask: Ask) -> None:
    """A model that goes on asking for tools is stopped after ten rounds."""
    steps = [{"tool": "csv_parser", "arguments": {"path": f"{n}.csv"}} for n in range(12)]
    body = reason(await Agent(runner, steps).answer(ask(), context))
    assert "10 rounds" in body["detail"]
    assert len(runner.calls) == 10


@pytest.mark.parametrize(
    ("budget", "code", "calls"),
    [
        ("{llm_calls: 1}", "BUDGET_SPENT", 1),
        ("{tool_calls: 0}", "BUDGET_SPENT", 0),
        ("{tokens: 1}", "BUDGET_SPENT", 1),
    ],
)
async def test_a_budget_stops_before_the_call(
    runner: Any, context: Any, ask: Ask, budget: str, code: str, calls: int
) -> None:
    """The call that would go over the budget is not made."""
    body = reason(await Agent(runner, [CALL, "x"], f"budget: {budget}").answer(ask(), context))
    assert (body["code"], len(runner.calls)) == (code, calls)


async def test_turns_of_a_conversation_are_bounded(runner: Any, context: Any, ask: Ask) -> None:
    """`max_turns` holds for one conversation."""
    agent = Agent(runner, ["ok"], "conversation: {max_turns: 1}")
    message = ask()
    assert (await agent.answer(message, context)).content == b"ok"
    assert reason(await agent.answer(message, context))["code"] == "BUDGET_SPENT"


async def test_a_failing_model_is_a_failure(runner: Any, context: Any, ask: Ask) -> None:
    """The sender is told why; an empty answer is no answer."""
    body = reason(await Agent(runner, [{"fail": "auth"}]).answer(ask(), context))
    assert (body["code"], body["retryable"]) == ("MODEL_UNAVAILABLE", True)
    body = reason(await Agent(runner, [{"text": " "}]).answer(ask(), context))
    assert "empty answer" in body["detail"]


async def test_providers_fall_back_in_order(runner: Any, context: Any, ask: Ask) -> None:
    """The next provider is asked, for its own model, when one fails."""
    agent = Agent(runner, [{"fail": "server"}], "llm: {model: big, fallback: [second/small]}")
    agent.steps["second"] = ["from {question}"]
    out = await agent.answer(ask("two"), context)
    assert out.content == b"from two"
    assert agent.requests[0].model == "big"
    assert getattr(agent.providers["second"], "requests")[0].model == "small"  # noqa: B009


async def test_a_provider_that_is_not_installed_fails_the_start(runner: Any) -> None:
    """What the file names must exist before the version serves."""
    agent = Agent(runner, [], "llm: {provider: absent}")
    with pytest.raises(ValidationError, match="absent"):
        await agent.behaviour.start()


async def test_a_turn_has_a_deadline(runner: Any, context: Any, ask: Ask) -> None:
    """A tool that never ends, and a sender that no longer waits, both end the turn."""

    async def never(_: dict[str, Any]) -> ToolResult:
        await asyncio.Event().wait()
        raise AssertionError

    runner.answer = never
    agent = Agent(runner, [CALL], now_ms=lambda: 1_000)
    body = reason(await agent.answer(ask(reply_by=1_005), context))
    assert body["code"] == "TIMEOUT"
    assert "no answer within 5 ms" in body["detail"]


async def test_an_answer_marked_as_failed_is_a_failure(runner: Any, context: Any, ask: Ask) -> None:
    """The rules say when a tool could not answer, and that becomes a FAILURE."""
    runner.answer = lambda _: ToolResult(False, '{"error":{"message":"no such file"}}', "exit")
    agent = Agent(runner, [], "llm: {provider: rules}")
    out = await agent.answer(ask("mean of price in data/x.csv"), context)
    assert out.performative is Performative.FAILURE
    assert b"no such file" in out.content


async def test_without_a_prompt_there_is_no_system_message(
    runner: Any, context: Any, ask: Ask
) -> None:
    """An empty body is not sent."""
    agent = Agent(runner, ["ok"], "system_prompt: ' '")
    await agent.answer(ask(), context)
    assert [one.role for one in agent.requests[0].messages] == ["user"]


async def test_schema_mode_asks_for_json(runner: Any, context: Any, ask: Ask) -> None:
    """Tools become a JSON schema, calls and results plain messages."""
    steps = [json.dumps(CALL), '{"tool": "none", "text": "done"}']
    agent = Agent(runner, steps, "llm: {tool_mode: schema}")
    assert (await agent.answer(ask(), context)).content == b"done"
    first, second = agent.requests
    assert first.tools == ()
    assert first.json_schema["oneOf"][0]["properties"]["tool"] == {"const": "csv_parser"}
    assert "csv_parser" in first.messages[1].content
    assert second.messages[-2].role == "assistant"
    assert second.messages[-1].content.startswith("Result of csv_parser: ")
    assert len(runner.calls) == 1


@pytest.mark.parametrize(
    "text",
    [
        'I call:\n```json\n{"name": "csv_parser", "arguments": {"path": "a.csv"}}\n```',
        'So {"a": 1} {"function": {"name": "csv_parser", "arguments": "{\\"path\\":\\"a.csv\\"}"}}',
        '{"tool": "csv_parser", "parameters": {"path": "a.csv"}} there',
    ],
)
async def test_repair_mode_finds_calls_in_text(
    runner: Any, context: Any, ask: Ask, text: str
) -> None:
    """A known tool named in JSON inside the text is a call."""
    agent = Agent(runner, [text, "done"], "llm: {tool_mode: repair}")
    assert (await agent.answer(ask(), context)).content == b"done"
    assert runner.calls[0][1] == {"path": "a.csv"}


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("repair", "no { call } here"),
        ("repair", '{"name": "unknown", "arguments": {}}'),
        ("schema", "not JSON"),
        ("schema", '{"tool": "unknown"}'),
        ("native", '{"tool": "csv_parser", "arguments": {"path": "a.csv"}}'),
    ],
)
async def test_other_text_is_the_answer(
    runner: Any, context: Any, ask: Ask, mode: str, text: str
) -> None:
    """What is no call of a known tool is what the sender gets."""
    agent = Agent(runner, [text], f"llm: {{tool_mode: {mode}}}")
    assert (await agent.answer(ask(), context)).content == text.encode()
    assert runner.calls == []


async def test_a_provider_without_schemas_is_asked_natively(
    runner: Any, context: Any, ask: Ask
) -> None:
    """The mode is for models that need it; the rules know tools as they are."""
    agent = Agent(runner, [], "llm: {provider: rules, tool_mode: schema}")
    out = await agent.answer(ask("mean of price in data/x.csv"), context)
    assert b"is 42.5" in out.content
    assert len(runner.calls) == 1


@pytest.mark.parametrize(
    ("asked", "protocol", "text", "act", "rest"),
    [
        ("cfp", None, "I would do it for 5.", "propose", "I would do it for 5."),
        ("cfp", None, "REFUSE\nToo much to do.", "refuse", "Too much to do."),
        ("cfp", None, "Refusers are welcome.", "propose", "Refusers are welcome."),
        ("propose", "negotiation", "**ACCEPT**: fair enough", "accept-proposal", "fair enough"),
        ("propose", "negotiation", "Accept_Proposal", "accept-proposal", "Accept_Proposal"),
        ("propose", "negotiation", "Reject. Too dear.", "reject-proposal", "Too dear."),
        ("propose", "negotiation", "PROPOSE\n4 instead", "propose", "4 instead"),
        ("propose", "negotiation", "4 instead?", "propose", "4 instead?"),
        ("propose", None, "Hm.", "inform", "Hm."),
        ("request", None, "Accept: yes", "inform", "Accept: yes"),
    ],
)  # fmt: skip
def test_the_act_of_an_answer(
    asked: str, protocol: str | None, text: str, act: str, rest: str
) -> None:
    """By its first word where several acts are possible; the word is no part of the answer."""
    message = make_message(
        asked, sender=new_id(), receiver=new_id(), content=b"5?", protocol=protocol
    )
    assert answer_act(message, text) == (Performative(act), rest)
