"""The provider seam: one method, ``stream``, and what goes in and comes out.

A provider is found by name in the entry-point group ``caxton.providers``. To add one, implement
``Provider`` in any installed package and name its class there; it is built with
``ProviderSettings``. A call that is not streamed is a ``fold`` of one that is.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib import import_module, metadata
from typing import Any, Final, Literal, Protocol

import msgspec

from caxton.config import Secret
from caxton.errors import ModelUnavailable, ValidationError
from caxton.tools.catalog import ToolSpec

__all__ = [
    "GROUP",
    "ChatMessage",
    "Delta",
    "Done",
    "FailureKind",
    "Provider",
    "ProviderSettings",
    "Request",
    "ToolCall",
    "Usage",
    "fold",
    "make_provider",
    "provider_names",
    "unavailable",
]

GROUP: Final = "caxton.providers"
SHIPPED: Final[Mapping[str, str]] = {
    "openai": "caxton.llm.openai:OpenAIProvider",
    "rules": "caxton.llm.rules:RulesProvider",
    "scripted": "caxton.llm.scripted:ScriptedProvider",
}
"""Used for a source tree that was not installed, where no entry points exist."""

FailureKind = Literal["auth", "rate", "server", "network", "bad_response", "timeout", "request"]
"""Why a model gave no answer. ``auth`` and ``request`` do not pass by waiting."""

RETRYABLE: Final = frozenset({"rate", "server", "network", "timeout"})


class ProviderSettings(msgspec.Struct, frozen=True):
    """What a provider is built with. ``repr`` shows no key."""

    base_url: str = ""
    api_key: str = Secret("")
    model: str = ""
    """Asked for when a request names none."""
    timeout_ms: int = 60_000
    """For one call, from its start to its last token."""
    options: dict[str, Any] = {}
    """What one provider alone understands, such as the steps of ``scripted``."""


class ToolCall(msgspec.Struct, frozen=True):
    """A model asks for a tool."""

    id: str
    name: str
    arguments: str
    """JSON as the model wrote it; it may be wrong."""


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a chat."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    """Of an assistant."""
    tool_call_id: str = ""
    """Of a tool's result: the call that it answers."""
    name: str = ""
    """Of a tool's result: the tool."""


class Request(msgspec.Struct, frozen=True):
    """One call of a model."""

    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    model: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    json_schema: dict[str, Any] | None = None
    """The text must be JSON of this schema."""
    agent_name: str = ""
    agent_description: str = ""
    question: str = ""
    """The message as it came, before any template. The last three are for providers that run
    here; none of them leaves the machine by itself."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    """True when the server said nothing and they were counted by length."""

    @property
    def total(self) -> int:
        """In and out."""
        return self.input_tokens + self.output_tokens


class Delta(msgspec.Struct, frozen=True):
    """A piece of the text."""

    text: str


class Done(msgspec.Struct, frozen=True):
    """The end of a call: everything at once."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    usage: Usage = Usage()
    model: str = ""
    failed: bool = False
    """The text says why there is no answer, and is to be reported as a failure."""


class Provider(Protocol):
    """A language model, or what stands in for one."""

    name: str
    capabilities: frozenset[str]
    """Of ``stream``, ``tools``, ``json_schema``."""

    def stream(self, request: Request) -> AsyncIterator[Delta | Done]:
        """Answer ``request``: deltas, then exactly one ``Done``.

        Raises:
            ModelUnavailable: there is no answer; never after ``Done``.
        """
        ...

    async def aclose(self) -> None:
        """Give connections back."""
        ...


Factory = Callable[[ProviderSettings], Provider]


def unavailable(
    provider: str, kind: FailureKind, reason: str, retry_after_s: float | None = None
) -> ModelUnavailable:
    """The error of a call that gave no answer. ``reason`` must hold no key."""
    error = ModelUnavailable(provider=provider, kind=kind, reason=reason)
    if retry_after_s is not None:
        error.fields["retry_after_ms"] = round(retry_after_s * 1_000)
    return error


@functools.cache
def _entries() -> dict[str, str]:
    found = dict(SHIPPED)
    for entry in metadata.entry_points(group=GROUP):
        found[entry.name] = entry.value
    return found


def provider_names() -> tuple[str, ...]:
    """The providers that are installed."""
    return tuple(sorted(_entries()))


def make_provider(name: str, settings: ProviderSettings) -> Provider:
    """Build the provider called ``name``.

    Raises:
        ValidationError: none is called so.
        ModelUnavailable: its package does not import.
    """
    target = _entries().get(name)
    if target is None:
        raise ValidationError(
            field="llm.provider", value=name, allowed=f"one of {', '.join(provider_names())}"
        )
    module, _, attribute = target.partition(":")
    try:
        factory: Factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise unavailable(name, "request", f"its package does not import: {error}") from error
    return factory(settings)


async def fold(stream: AsyncIterator[Delta | Done], provider: str = "provider") -> Done:
    """The ``Done`` of a stream.

    Raises:
        ModelUnavailable: the stream failed, or ended without one.
    """
    done: Done | None = None
    async for part in stream:
        if isinstance(part, Done):
            done = part
    if done is None:
        raise unavailable(provider, "bad_response", "the stream ended without an answer")
    return done


def estimate_tokens(texts: Sequence[str]) -> int:
    """Tokens of some texts, at about four characters each."""
    return sum(len(text) for text in texts) // 4 + len(texts)
