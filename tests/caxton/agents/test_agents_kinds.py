"""From an agent file to the behaviour that serves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caxton.agents.agent_file import parse_agent_file
from caxton.agents.config_agent import ConfigBehaviour
from caxton.agents.kinds import KINDS, Services, make_behaviour
from caxton.agents.python_agent import PythonBehaviour
from caxton.agents.wasm_agent import WasmBehaviour
from caxton.config import Config
from caxton.errors import AgentFileInvalid, ValidationError
from caxton.message import Performative


@pytest.fixture
def services(tmp_path: Path, runner: Any) -> Services:
    return Services(Config(data=tmp_path), runner)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("DataAnalyst", ConfigBehaviour),
        ("Greeter", ConfigBehaviour),
        ("Echo", PythonBehaviour),
        ("Counter", WasmBehaviour),
    ],
)
async def test_each_example_answers(
    services: Services, examples: Path, ask: Any, context: Any, name: str, kind: type[Any]
) -> None:
    """The shipped agents start and answer, with no key and no network."""
    file = examples / "agents" / f"{name}.md"
    definition = parse_agent_file(file.read_bytes(), file.name).definition
    behaviour = make_behaviour(definition, file, services)
    assert isinstance(behaviour, kind)
    await behaviour.start()
    result = behaviour.handle(ask("mean of price in examples/data/sales.csv"), context)
    (out,) = result if isinstance(result, tuple) else await result
    assert out.performative is Performative.INFORM
    assert out.content
    await behaviour.close()
    await services.close()


async def test_an_edited_prompt_shows_in_the_next_answer(
    services: Services, examples: Path, ask: Any, context: Any
) -> None:
    """Also without a language model: who is asked for itself says what its file says now."""
    file = examples / "agents" / "Greeter.md"
    data = file.read_bytes()
    for text in (data, data + b"\nSay ahoy to all.\n"):
        definition = parse_agent_file(text, file.name).definition
        behaviour = make_behaviour(definition, file, services)
        result = behaviour.handle(ask("who are you?", "query-ref"), context)
        assert not isinstance(result, tuple)
        (out,) = await result
        assert b"I am Greeter" in out.content
        assert (b"ahoy" in out.content) == (text is not data)


def test_every_kind_has_a_row() -> None:
    """The table has what a definition can be."""
    assert set(KINDS) == {"config", "python", "wasm"}


def test_code_that_is_not_there_is_refused_when_loaded(services: Services, tmp_path: Path) -> None:
    """Before a version is put into service."""
    for line in ("python: absent_x:A", "wasm: absent.wasm"):
        definition = parse_agent_file(f"---\nname: Ab\n{line}\n---\n".encode(), "a.md").definition
        with pytest.raises(AgentFileInvalid, match="absent"):
            make_behaviour(definition, tmp_path / "a.md", services)


async def test_services_are_shared_and_closed(services: Services) -> None:
    """One provider and one sandbox for all agents of a process."""
    assert services.provider() is services.provider("rules")
    assert services.sandbox() is services.sandbox()
    with pytest.raises(ValidationError, match=r"llm\.provider"):
        services.provider("absent")
    before = services.provider()
    await services.close()
    assert services.provider() is not before
    await services.close()
