"""The provider seam: finding providers, folding streams, the scripted one."""

from __future__ import annotations

import sys
import types
from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from caxton.errors import ModelUnavailable, ValidationError
from caxton.llm import provider as seam
from caxton.llm.provider import (
    ChatMessage,
    Delta,
    Done,
    ProviderSettings,
    Request,
    ToolCall,
    fold,
    make_provider,
    provider_names,
)
from caxton.llm.scripted import ScriptedProvider

ASKED = Request((ChatMessage("user", "hi"),), question="hi")


@pytest.mark.parametrize("name", ["openai", "rules", "scripted"])
def test_shipped_providers_are_found(name: str) -> None:
    """Also without installed metadata."""
    made = make_provider(name, ProviderSettings())
    assert made.name == name
    assert name in provider_names()


def test_an_unknown_provider_lists_the_known_ones() -> None:
    """The error names the field and what is allowed."""
    with pytest.raises(ValidationError, match=r"llm\.provider.*openai, rules, scripted"):
        make_provider("absent", ProviderSettings())


def test_a_provider_of_another_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its entry point; one that does not import is a typed error."""
    made = types.ModuleType("other_llm")
    made.Provider = lambda settings: ("made", settings)  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "other_llm", made)
    entries = [
        metadata.EntryPoint("other", "other_llm:Provider", seam.GROUP),
        metadata.EntryPoint("broken", "absent_llm:Provider", seam.GROUP),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: entries)
    seam._entries.cache_clear()
    try:
        settings = ProviderSettings(model="m")
        assert make_provider("other", settings) == ("made", settings)
        with pytest.raises(ModelUnavailable, match="does not import"):
            make_provider("broken", settings)
    finally:
        seam._entries.cache_clear()


async def test_folding_needs_an_end() -> None:
    """A stream that ends without Done is a bad response."""

    async def parts(*given: Delta | Done) -> AsyncIterator[Delta | Done]:
        for part in given:
            yield part

    assert await fold(parts(Delta("a"), Done("a"))) == Done("a")
    with pytest.raises(ModelUnavailable, match="bad_response"):
        await fold(parts(Delta("a")))


async def test_a_script_is_said_in_order(tmp_path: Path) -> None:
    """Texts, calls and failures, from a list or a file; the last step repeats."""
    file = tmp_path / "steps.yaml"
    file.write_text(
        "- 'you said {question}'\n- {tool: a, arguments: {x: 1}, usage: 7}\n"
        "- {tools: [{tool: a, arguments: '{'}, {tool: b}], text: so}\n"
        "- {fail: rate}\n- last {result}\n"
    )
    made = ScriptedProvider(ProviderSettings(base_url=f"file://{file}"))
    assert (await fold(made.stream(ASKED))).text == "you said hi"
    done = await fold(made.stream(ASKED))
    assert (done.tool_calls, done.usage.input_tokens) == (
        (ToolCall("call_2_0", "a", '{"x": 1}'),),
        7,
    )
    done = await fold(made.stream(ASKED))
    assert [call.arguments for call in done.tool_calls] == ["{", "{}"]
    assert (done.text, done.finish_reason) == ("so", "tool_calls")
    with pytest.raises(ModelUnavailable, match="rate"):
        await fold(made.stream(ASKED))
    asked = Request((ChatMessage("tool", "42"),))
    for _ in range(2):
        assert (await fold(made.stream(asked))).text == "last 42"
    assert len(made.requests) == 6
    await made.aclose()


async def test_without_steps_the_script_says_so() -> None:
    """The provider can be chosen before a script is written."""
    made = ScriptedProvider(ProviderSettings())
    assert "no steps" in (await fold(made.stream(ASKED))).text


@pytest.mark.parametrize(
    "steps",
    [[], "x", [3], [{}], [{"odd": 1}], [{"fail": "never"}], [{"tools": [{}]}], [{"tools": ["a"]}]],
)
def test_a_wrong_script_is_refused(steps: Any) -> None:
    """When it is loaded, with the step."""
    with pytest.raises(ValidationError, match="steps"):
        ScriptedProvider(ProviderSettings(options={"steps": steps}))


@pytest.mark.parametrize("text", ["a: [", "a: 1", "x" * 1_100_000])
def test_a_wrong_script_file_is_refused(tmp_path: Path, text: str) -> None:
    """Not YAML, no list, too long, not there."""
    file = tmp_path / "steps.yaml"
    file.write_text(text)
    with pytest.raises(ValidationError):
        ScriptedProvider(ProviderSettings(base_url=str(file)))
    with pytest.raises(ValidationError, match="base_url"):
        ScriptedProvider(ProviderSettings(base_url=str(tmp_path / "absent")))
