"""Configuration agents: what a language model answers, as an agent file describes it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import orjson

from caxton.agents.behaviour import Context, Outgoing, ToolRunner
from caxton.agents.definition import AgentDefinition
from caxton.agents.memory_outage import MemoryOutage
from caxton.agents.memory_tools import HANDLED
from caxton.agents.prompt import TEMPLATES, render, variables
from caxton.agents.remembering import SECTION, Remembering
from caxton.agents.spending import Ledger
from caxton.agents.turn import Turn
from caxton.errors import CaxtonError, Timeout
from caxton.llm.provider import ChatMessage, Provider, Request, estimate_tokens
from caxton.memory.client import Memory
from caxton.message import Message, Performative
from caxton.routing.deadlines import deadline_ms
from caxton.routing.reasons import failure_content
from caxton.tools.catalog import ToolCatalog, ToolSpec
from caxton.types import format_id

__all__ = ["ConfigBehaviour", "answer_act"]

logger = logging.getLogger("caxton.agents.config")

CONCURRENCY: Final = 16
"""Conversations at once: a turn mostly waits for its model."""
RESPONSE_TIMEOUT_MS: Final = 120_000
HISTORY: Final = 50

_PROPOSE: Final = {"propose": Performative.PROPOSE, "counter-proposal": Performative.PROPOSE}
_DECIDE: Final = {
    "accept": Performative.ACCEPT_PROPOSAL,
    "accept-proposal": Performative.ACCEPT_PROPOSAL,
    "reject": Performative.REJECT_PROPOSAL,
    "reject-proposal": Performative.REJECT_PROPOSAL,
}
ACTS: Final = {
    Performative.CFP: {"refuse": Performative.REFUSE} | _PROPOSE,
    Performative.PROPOSE: _DECIDE | _PROPOSE,
}
"""What the first word of an answer stands for, by the act that is answered."""
_FIRST: Final = re.compile(
    r"[\s*_#`]*([a-z]+(?:[-_ ]proposal)?)[\s*_`]*(?:[:.,!\n–—]|$)\s*", re.IGNORECASE
)

_USES_MEMORY: Final = re.compile(r"\bmemory_context\b")

ProviderSource = Callable[[str | None], Provider]
"""Gives a provider by name, or the node's default."""


class ConfigBehaviour:
    """One version of a configuration agent.

    It answers acts that ask for something (the keys of ``TEMPLATES``). An INFORM and other acts
    that ask for nothing are taken note of: they are in the conversation when it is next asked.
    Answering them too would have two such agents talk without end.

    Args:
        definition: what its file says.
        provider: where providers come from.
        catalog: the tools that are installed.
        runner: runs them.
        memory: of the node; None where it has none.
        clock: seconds that only grow.
        now_ms: milliseconds since 1970.
        outage: is told of turns without the memory.
    """

    def __init__(
        self,
        definition: AgentDefinition,
        provider: ProviderSource,
        catalog: ToolCatalog,
        runner: ToolRunner,
        memory: Memory | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] | None = None,
        outage: MemoryOutage | None = None,
    ) -> None:
        self.definition = definition
        self.concurrency = definition.limits.concurrency or CONCURRENCY
        self._provider = provider
        self._catalog = catalog
        self._runner = runner
        self._ledger = Ledger(definition.name, definition.budget, clock)
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._memory: Remembering | None = None
        if memory is not None and definition.memory.enabled:
            self._memory = Remembering(definition, memory, clock, outage)
            self._runner = self._memory.runner(runner)
        self._turn: Turn | None = None
        self._tools: tuple[ToolSpec, ...] = ()
        self._revision = -1
        self._missing: dict[str, str] = {}

    async def start(self) -> None:
        """Find its tools and its model.

        Raises:
            CaxtonError: a provider that its file names is not installed.
        """
        self._ready()
        if self._memory is not None:
            self._memory.start()

    def _ready(self) -> Turn:
        if self._turn is None or self._revision != self._catalog.revision:
            definition = self.definition
            self._find_tools()
            llm = definition.llm
            providers = [(self._provider(llm.provider), llm.model or "")]
            for other in llm.fallback:
                name, _, model = other.partition("/")
                providers.append((self._provider(name), model))
            tools = {tool.name: tool for tool in self._tools}
            self._turn = Turn(definition, providers, tools, self._runner, self._ledger)
        return self._turn

    def _find_tools(self) -> None:
        """The tools of its file that are there now; those of a server come and go with it."""
        name, known = self.definition.name, self._missing
        self._revision = self._catalog.revision
        self._tools, self._missing = self._catalog.available(self.definition.tools)
        if self._memory is not None:
            self._tools = (*self._tools, *self._memory.tools(self._tools))
        for tool, reason in self._missing.items():
            if known.get(tool) != reason:
                logger.warning("%s runs without the tool %s: %s", name, tool, reason)

    def handle(
        self, message: Message, context: Context
    ) -> Sequence[Outgoing] | Awaitable[Sequence[Outgoing]]:
        """Answer a message that asks for something."""
        if message.performative not in TEMPLATES:
            return ()
        return self._answer(message, context)

    async def _answer(self, message: Message, context: Context) -> Sequence[Outgoing]:
        if not message.content.strip():
            body = {"reason": "the message is empty", "message_id": format_id(message.message_id)}
            return (Outgoing(Performative.NOT_UNDERSTOOD, orjson.dumps(body)),)
        limit = self._time_left(message)
        try:
            async with asyncio.timeout(limit / 1_000):
                return await self._take_turn(message, context)
        except TimeoutError:
            return (_failure(message, Timeout(what="answer", timeout_ms=limit)),)
        except CaxtonError as error:
            return (_failure(message, error),)

    def _time_left(self, message: Message) -> int:
        limit = self.definition.limits.response_timeout_ms or RESPONSE_TIMEOUT_MS
        ends = deadline_ms(message)
        if ends:
            limit = min(limit, ends - self._now_ms())
        return max(0, limit)

    async def _take_turn(self, message: Message, context: Context) -> Sequence[Outgoing]:
        turn, definition = self._ready(), self.definition
        conversation = message.conversation_id
        self._ledger.begin_turn(conversation, definition.conversation.max_turns)
        history = await self._history(context)
        question = message.text
        peer = context.name_of(message.sender)
        known = ""
        if self._memory is not None:
            HANDLED.set(format_id(message.message_id))
            known = await self._memory.context(question, message, peer)
        template = definition.user_prompt_template or TEMPLATES[message.performative]
        prompt = render(
            template,
            variables(
                question,
                sender=peer,
                agent=definition.name,
                performative=message.performative,
                history=[(context.name_of(one.sender), one.text) for one in history],
                parameters=definition.parameters,
                memory_context=known,
            ),
        )
        messages = [
            ChatMessage("assistant" if one.sender == context.agent_id else "user", one.text)
            for one in history
        ]
        system = definition.system_prompt
        if known and not _USES_MEMORY.search(template):
            system = f"{system}\n\n{SECTION}\n{known}".strip()
        if system.strip():
            messages.insert(0, ChatMessage("system", system))
        messages.append(ChatMessage("user", prompt))
        request = Request(
            tuple(messages),
            tools=self._tools,
            temperature=definition.llm.temperature,
            max_tokens=definition.llm.max_tokens,
            agent_name=definition.name,
            agent_description=definition.description,
            question=question,
        )
        done = await turn.take(request, conversation)
        if done.failed:
            return (Outgoing(Performative.FAILURE, done.text.encode()),)
        if self._memory is not None:
            await self._memory.keep(message, peer, question, done.text)
        act, text = answer_act(message, done.text)
        return (Outgoing(act, text.encode()),)

    async def _history(self, context: Context) -> list[Message]:
        """Earlier messages that fit into the context, the newest ones."""
        room = self.definition.conversation.context_tokens
        if room <= 0:
            return []
        kept: list[Message] = []
        for one in reversed(await context.history(HISTORY)):
            room -= estimate_tokens([one.text])
            if room < 0:
                break
            if one.content:
                kept.append(one)
        return kept[::-1]

    async def close(self) -> None:
        """Nothing of its own is held; providers are shared."""
        self._turn = None
        if self._memory is not None:
            await self._memory.close()


def answer_act(asked: Message, text: str) -> tuple[Performative, str]:
    """The act of an answer, and its text without the word that says so.

    An answer to a call for proposals is a proposal unless it says that it refuses. One to a
    proposal says whether it accepts; one that says neither is a counter-proposal where a
    protocol is followed, and tells something where none is.
    """
    acts = ACTS.get(asked.performative)
    if acts is None:
        return Performative.INFORM, text
    first = _FIRST.match(text)
    if first is not None:
        act = acts.get(re.sub("[_ ]", "-", first[1].lower()))
        if act is not None:
            return act, text[first.end() :] or text.strip()
    proposes = asked.performative is Performative.CFP or asked.protocol is not None
    return (Performative.PROPOSE if proposes else Performative.INFORM), text


def _failure(message: Message, error: CaxtonError) -> Outgoing:
    """Tell the sender why there is no answer, in the same form as the node does."""
    return Outgoing(Performative.FAILURE, failure_content(error, message.message_id))
