"""A provider that says what it was told to say: for tests and demonstrations.

Steps are a list, given as ``options["steps"]``, or a YAML file of them, named by ``llm.base_url``.
Each call takes the next step; the last one repeats. A step is a text, or a mapping::

    - text: Hello                      # the answer
    - tool: csv_parser                 # or a tool call, with its arguments
      arguments: {path: data/x.csv}
    - tools: [{tool: a}, {tool: b, arguments: {}}]
    - fail: server                     # or a failure of this kind

``{question}`` in a text is replaced by the message, ``{result}`` by the newest tool result.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from caxton.errors import ValidationError
from caxton.llm.provider import (
    Delta,
    Done,
    FailureKind,
    ProviderSettings,
    Request,
    ToolCall,
    Usage,
    estimate_tokens,
    unavailable,
)

__all__ = ["ScriptedProvider"]

KEYS: Final = frozenset({"text", "tool", "tools", "arguments", "fail", "usage"})
MAX_FILE: Final = 1024 * 1024


class ScriptedProvider:
    """Says its steps in order. ``requests`` keeps what it was asked, newest last."""

    name = "scripted"
    capabilities = frozenset({"stream", "tools", "json_schema"})

    def __init__(self, settings: ProviderSettings) -> None:
        self._steps = [_step(one, index) for index, one in enumerate(_steps(settings))]
        self._at = 0
        self.requests: list[Request] = []

    async def stream(self, request: Request) -> AsyncIterator[Delta | Done]:
        """Say the next step."""
        self.requests.append(request)
        del self.requests[:-1_000]
        step = self._steps[min(self._at, len(self._steps) - 1)]
        self._at += 1
        kind = step.get("fail")
        if kind is not None:
            raise unavailable(self.name, kind, "the script says so")
        results = [one.content for one in request.messages if one.role == "tool"]
        text = str(step.get("text", "")).replace("{question}", request.question)
        text = text.replace("{result}", results[-1] if results else "")
        asked = step.get("tools") or ([step] if "tool" in step else [])
        calls = tuple(
            ToolCall(f"call_{self._at}_{index}", str(one["tool"]), _arguments(one))
            for index, one in enumerate(asked)
        )
        if text:
            yield Delta(text)
        usage = step.get("usage") or estimate_tokens([one.content for one in request.messages])
        yield Done(
            text,
            calls,
            "tool_calls" if calls else "stop",
            Usage(int(usage), estimate_tokens([text]), estimated=True),
            "scripted",
        )

    async def aclose(self) -> None:
        """Nothing is held."""


def _arguments(step: dict[str, Any]) -> str:
    given = step.get("arguments", {})
    return given if isinstance(given, str) else json.dumps(given)


def _steps(settings: ProviderSettings) -> Sequence[Any]:
    file = settings.base_url.removeprefix("file://")
    if not file:
        steps = settings.options.get("steps", ["This is the scripted provider: no steps are set."])
    else:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            data = Path(file).read_bytes()[: MAX_FILE + 1]
            steps = YAML(typ="safe", pure=True).load(data) if len(data) <= MAX_FILE else None
        except (OSError, YAMLError) as error:
            raise ValidationError(
                field="llm.base_url", value=file, allowed=f"a YAML file ({error})"
            ) from error
    if not isinstance(steps, list) or not steps:
        raise ValidationError(
            field="llm.options.steps", value=type(steps).__name__, allowed="a list of steps"
        )
    return steps


def _step(step: Any, index: int) -> dict[str, Any]:
    if isinstance(step, str):
        return {"text": step}
    kinds = get_args(FailureKind)
    if (
        not isinstance(step, dict)
        or not step
        or not KEYS.issuperset(step)
        or step.get("fail", kinds[0]) not in kinds
        or any(not isinstance(one, dict) or "tool" not in one for one in step.get("tools") or ())
    ):
        raise ValidationError(
            field=f"llm.options.steps[{index}]",
            value=step,
            allowed="a text, or a mapping of text, tool, arguments, tools, fail, usage",
        )
    return step
