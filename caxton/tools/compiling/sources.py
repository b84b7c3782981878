"""What is in a tool's folder: its language, its files, and the shape of module they make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from caxton.errors import ToolInvalid

__all__ = ["LANGUAGES", "Language", "Shape", "Sources", "find_sources"]

SOURCE_BYTES: Final = 4 * 1024 * 1024
"""Largest source file that is looked into."""

FILES: Final = 500
"""Most source files of a tool."""


class Shape(StrEnum):
    """What the module will be."""

    COMMAND = "command"
    """A WASI command: JSON on standard input and output."""
    AGENT = "agent"
    """A module of the agent ABI: it exports ``alloc`` and ``handle_message``."""
    COMPONENT = "component"
    """A component of the world ``caxton:tool``."""


class Language(StrEnum):
    """A language that ``caxton tool`` knows."""

    C = "c"
    RUST = "rust"
    GO = "go"
    JS = "js"
    PYTHON = "python"
    ASSEMBLYSCRIPT = "assemblyscript"
    WAT = "wat"


@dataclass(frozen=True, slots=True)
class _Rule:
    """How sources of a language are told: the end of their names, and the first to look for."""

    ends: str
    firsts: tuple[str, ...]
    shapes: tuple[Shape, ...]


LANGUAGES: Final = {
    Language.C: _Rule(".c", ("main.c",), (Shape.COMMAND, Shape.AGENT)),
    Language.RUST: _Rule(".rs", ("src/main.rs", "src/lib.rs"), (Shape.COMMAND, Shape.AGENT)),
    Language.GO: _Rule(".go", ("main.go",), (Shape.COMMAND, Shape.AGENT)),
    Language.JS: _Rule(".js", ("tool.js",), (Shape.COMPONENT,)),
    Language.PYTHON: _Rule(".py", ("app.py",), (Shape.COMPONENT,)),
    Language.ASSEMBLYSCRIPT: _Rule(".ts", ("tool.ts",), (Shape.AGENT,)),
    Language.WAT: _Rule(".wat", (), (Shape.AGENT, Shape.COMMAND)),
}
"""In the order in which they are looked for."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What will be built."""

    name: str
    folder: Path
    language: Language
    main: Path
    """The file that the compiler is given first."""
    files: tuple[Path, ...]
    """All files of the language directly in the folder of ``main``."""
    shape: Shape

    @property
    def module(self) -> Path:
        """Where the module belongs."""
        return self.folder / f"{self.name}.wasm"


def find_sources(folder: Path) -> Sources:
    """Look into a tool's folder.

    Raises:
        ToolInvalid: there is no source, or sources of more than one language.
    """
    folder = folder.resolve()
    name = folder.name
    if not folder.is_dir():
        raise ToolInvalid(tool=name, reason=f"{folder} is no folder")
    found = {language: main for language in LANGUAGES if (main := _main(folder, language))}
    if not found:
        ends = ", ".join(f"*{rule.ends}" for rule in LANGUAGES.values())
        raise ToolInvalid(tool=name, reason=f"no source in {folder}; one of {ends} is needed")
    if len(found) > 1:
        names = ", ".join(main.name for main in found.values())
        raise ToolInvalid(
            tool=name, reason=f"sources of more than one language ({names}); keep one of them"
        )
    ((language, main),) = found.items()
    files = tuple(sorted(main.parent.glob(f"*{LANGUAGES[language].ends}")))[:FILES]
    return Sources(name, folder, language, main, files, _shape(language, files))


def _main(folder: Path, language: Language) -> Path | None:
    rule = LANGUAGES[language]
    for first in (f"{folder.name}{rule.ends}", *rule.firsts):
        if (folder / first).is_file():
            return folder / first
    found = sorted(path for path in folder.glob(f"*{rule.ends}") if path.is_file())
    return found[0] if found else None


def _shape(language: Language, files: tuple[Path, ...]) -> Shape:
    """An agent names its function ``handle_message``; nothing else does."""
    shapes = LANGUAGES[language].shapes
    if len(shapes) == 1:
        return shapes[0]
    for path in files:
        with path.open("rb") as file:
            if b"handle_message" in file.read(SOURCE_BYTES):
                return Shape.AGENT
    return Shape.COMMAND
