from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from fake_node import FakeNode

from caxton.cli.main import main


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)

    @property
    def problem(self) -> Any:
        return orjson.loads(self.err)


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("CAXTON_", "OPENAI_")) or name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fake() -> Iterator[FakeNode]:
    node = FakeNode()
    yield node
    node.close()


@pytest.fixture
def run(capfdbinary: Any) -> Callable[..., Ran]:
    def call(*words: str) -> Ran:
        code = main(words)
        out, err = capfdbinary.readouterr()
        return Ran(code, out.decode("utf-8", "replace"), err.decode())

    return call


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def encoding(self) -> str:
        return "utf-8"


@pytest.fixture
def run_wide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run as if on a terminal of so many columns."""

    def call(columns: int, *words: str) -> Ran:
        out, err = Terminal(), Terminal()
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(columns))
            patch.setenv("LINES", "24")
            patch.setenv("TERM", "xterm-256color")
            patch.setattr("sys.stdout", out)
            patch.setattr("sys.stderr", err)
            code = main(words)
        return Ran(code, out.getvalue(), err.getvalue())

    return call
