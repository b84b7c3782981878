"""Python agents: what handle may return, loading, and errors with their place."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caxton.agents.behaviour import Outgoing
from caxton.agents.definition import AgentDefinition, AgentLimits
from caxton.agents.python_agent import Agent, PythonBehaviour, Reply, load_class
from caxton.errors import AgentFileInvalid, Timeout, ValidationError
from caxton.message import Message, Performative

Ask = Callable[..., Message]
INFORM = Performative.INFORM


def behaviour_of(answer: Callable[..., Any], **limits: Any) -> PythonBehaviour:
    class Made(Agent):
        def handle(self, message: Message, context: Any) -> Any:
            return answer(message, context)

    definition = AgentDefinition("Made", python="x:Made", limits=AgentLimits(**limits))
    return PythonBehaviour(definition, Made)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, ()),
        ("yes", (Outgoing(INFORM, b"yes"),)),
        (b"\x00", (Outgoing(INFORM, b"\x00"),)),
        ({"a": 1}, (Outgoing(INFORM, b'{"a":1}'),)),
        ([1, 2], (Outgoing(INFORM, b"[1,2]"),)),
        ([], (Outgoing(INFORM, b"[]"),)),
        (Reply("refuse", "no"), (Outgoing(Performative.REFUSE, b"no"),)),
        (Reply(Performative.AGREE, {"b": 2}), (Outgoing(Performative.AGREE, b'{"b":2}'),)),
        (Outgoing(INFORM, b"x", capability="c"), (Outgoing(INFORM, b"x", capability="c"),)),
        (
            [Reply("agree"), Outgoing(INFORM, b"x")],
            (Outgoing(Performative.AGREE, b""), Outgoing(INFORM, b"x")),
        ),
    ],
)
async def test_what_handle_returns_is_sent(
    ask: Ask, context: Any, returned: Any, expected: Any
) -> None:
    """Sync and async handlers may return the same things."""

    async def later(message: Message, context: Any) -> Any:
        return returned

    for answer in (lambda message, context: returned, later):
        behaviour = behaviour_of(answer)
        await behaviour.start()
        result = behaviour.handle(ask(), context)
        assert tuple(result if isinstance(result, tuple) else await result) == expected
        await behaviour.close()


@pytest.mark.parametrize(
    ("returned", "error"), [(object(), TypeError), (Reply("shout", ""), ValidationError)]
)
async def test_other_returns_are_errors(
    ask: Ask, context: Any, returned: Any, error: type[Exception]
) -> None:
    """What cannot be sent raises where it was returned."""
    behaviour = behaviour_of(lambda message, context: returned)
    await behaviour.start()
    with pytest.raises(error):
        behaviour.handle(ask(), context)


async def test_an_async_handler_has_a_deadline(ask: Ask, context: Any) -> None:
    """A handler that hangs ends with a Timeout; its own TimeoutError stays its own."""

    async def hang(message: Message, context: Any) -> None:
        await asyncio.Event().wait()

    behaviour = behaviour_of(hang, response_timeout_ms=1)
    await behaviour.start()
    result = behaviour.handle(ask(), context)
    assert not isinstance(result, tuple)
    with pytest.raises(Timeout, match="no answer within 1 ms"):
        await result

    async def own(message: Message, context: Any) -> None:
        raise TimeoutError("mine")

    behaviour = behaviour_of(own)
    await behaviour.start()
    result = behaviour.handle(ask(), context)
    assert not isinstance(result, tuple)
    with pytest.raises(TimeoutError, match="mine"):
        await result


async def test_start_and_stop_are_called_once(ask: Ask, context: Any) -> None:
    """Plain or async, with the definition in place; before start nothing is handled."""
    seen: list[str] = []

    class Plain(Agent):
        def on_start(self) -> None:
            seen.append(f"start {self.definition.name}")

        def on_stop(self) -> None:
            seen.append("stop")

        def handle(self, message: Message, context: Any) -> None:
            seen.append(message.text)

    class Later(Plain):
        async def on_start(self) -> None:  # type: ignore[override]  # both are allowed
            seen.append("later start")

        async def on_stop(self) -> None:  # type: ignore[override]  # likewise
            seen.append("later stop")

    for kind in (Plain, Later):
        behaviour = PythonBehaviour(AgentDefinition("Ab"), kind)
        with pytest.raises(RuntimeError, match="not started"):
            behaviour.handle(ask(), context)
        await behaviour.start()
        await behaviour.start()
        assert behaviour.handle(ask("hi"), context) == ()
        await behaviour.close()
    assert seen == ["start Ab", "hi", "stop", "later start", "hi", "later stop"]


async def test_defaults_do_nothing_at_start_and_stop() -> None:
    """Only `handle` must be written; a class need not even derive from Agent."""

    class Bare:
        def handle(self, message: Message, context: Any) -> None: ...

    behaviour = PythonBehaviour(AgentDefinition("Ab"), Bare)
    await behaviour.start()
    await behaviour.close()
    with pytest.raises(TypeError, match="abstract"):
        Agent()  # type: ignore[abstract]  # what the test is about


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    """An edit within the same second with the same size takes effect; no byte code is left."""
    file = tmp_path / "echo.py"
    for word in ("one", "two"):
        file.write_text(f"class Echo:\n    word = '{word}'\n    def handle(self, m, c): ...\n")
        found, own = load_class("echo:Echo", tmp_path, "Echo.md")
        assert getattr(found, "word") == word  # noqa: B009
        assert own is not None
        assert own.startswith("caxton_agent_")
        assert sys.modules.pop(own).__file__ == str(file)
    assert "echo" not in sys.modules
    assert not (tmp_path / "__pycache__").exists()


async def test_a_closed_version_leaves_no_module(tmp_path: Path) -> None:
    """Reloading for days does not fill memory with old modules."""
    (tmp_path / "a.py").write_text("class A:\n    def handle(self, m, c): ...\n")
    found, own = load_class("a:A", tmp_path, "A.md")
    assert own in sys.modules
    behaviour = PythonBehaviour(AgentDefinition("Ab"), found, own)
    await behaviour.start()
    await behaviour.close()
    assert own not in sys.modules


def test_modules_that_are_installed_are_found(tmp_path: Path) -> None:
    """Without a file beside it, a module is imported as usual; dotted paths name sub-folders."""
    found, own = load_class("caxton.agents.python_agent:PythonBehaviour", tmp_path, "x.md")
    assert (found, own) == (PythonBehaviour, None)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "b.py").write_text("class B:\n    def handle(self, m, c): ...\n")
    found, own = load_class("lib.b:B", tmp_path, "x.md")
    assert found.__name__ == "B"
    sys.modules.pop(str(own))


@pytest.mark.parametrize(
    ("source", "file", "line", "rule"),
    [
        ("x = 1\ndef f(:\n", "a.py", 2, "Python syntax"),
        ("x = 1\n\nraise ValueError('no')\n", "a.py", 3, "ValueError: no"),
        ("import sys\nsys.exit(3)\n", "a.py", 2, "SystemExit"),
        ("import json\njson.loads('{')\n", "a.py", 2, "JSONDecodeError"),
        ("x = '\0'\n", "a.py", 1, "null bytes"),
        ("#" * 5_000_000, "a.py", 1, "at most 4,194,304"),
        ("class B: ...\n", "A.md", 1, "no class `A`"),
        ("A = 3\n", "A.md", 1, "no class `A`"),
        ("from caxton import Agent\nclass A(Agent): ...\n", "A.md", 1, "does not define handle"),
    ],
)
def test_a_broken_module_names_file_and_line(
    tmp_path: Path, source: str, file: str, line: int, rule: str
) -> None:
    """What is wrong with the code is one error, and nothing of it stays."""
    (tmp_path / "a.py").write_text(source)
    before = set(sys.modules)
    with pytest.raises(AgentFileInvalid) as broken:
        load_class("a:A", tmp_path, "A.md")
    assert (broken.value.fields["file"], broken.value.fields["line"]) == (file, line)
    assert rule in str(broken.value)
    assert not [name for name in set(sys.modules) - before if name.startswith("caxton_agent")]


@pytest.mark.parametrize(
    ("target", "rule"),
    [("absent_module_x:A", "no `absent_module_x.py` beside"), ("json.nope:A", "json/nope.py")],
)
def test_a_missing_module_is_named(tmp_path: Path, target: str, rule: str) -> None:
    """Neither a file nor a module."""
    with pytest.raises(AgentFileInvalid, match=rule):
        load_class(target, tmp_path, "A.md")


@pytest.mark.parametrize("source", ["import absent_other_x", "raise ValueError('no')"])
def test_an_installed_module_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """It is found, and its own fault is told."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "broken_agent_module.py").write_text(source)
    monkeypatch.syspath_prepend(str(library))
    with pytest.raises(AgentFileInvalid, match="does not import"):
        load_class("broken_agent_module:A", tmp_path, "A.md")
