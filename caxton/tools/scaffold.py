"""``caxton tool new``: a folder with a whole small tool, from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from caxton.errors import ToolInvalid
from caxton.tools.compiling.sources import Language
from caxton.tools.tool_files import check_name

__all__ = ["scaffold", "template_files"]

TEMPLATES: Final = Path(__file__).parent / "templates"
SHARED: Final = TEMPLATES / "shared"

ABOUT: Final = {
    Language.WAT: "Gives back its arguments as `echo`.",
}
"""What a template does; the others count."""
COUNTS: Final = "Counts the words and the characters of a text."

SELF_DESCRIBED: Final = frozenset({Language.JS, Language.PYTHON})
"""Their source holds the description, so that there is no second one in ``tool.json``."""


def template_files(language: Language) -> dict[str, Path]:
    """The templates of a language by their path in the new folder, without ``.in``."""
    found: dict[str, Path] = {}
    for root in (SHARED, TEMPLATES / language.value):
        for path in sorted(root.rglob("*")):
            if path.is_file():
                found[str(path.relative_to(root)).removesuffix(".in")] = path
    if language in SELF_DESCRIBED:
        del found["tool.json"]
    return found


def scaffold(name: str, language: Language, into: Path) -> list[Path]:
    """Write the folder ``into / name``; returns its files.

    Raises:
        ToolInvalid: the name is not allowed, the folder is not empty, or cannot be written.
    """
    check_name(name)
    folder = into / name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ToolInvalid(
            tool=name, reason=f"{folder} is there already; give another name, or --into"
        )
    values = {
        "{{name}}": name,
        "{{description}}": ABOUT.get(language, COUNTS),
        "{{path}}": str(folder),
    }
    written = []
    try:
        for relative, template in template_files(language).items():
            text = template.read_text()
            for mark, value in values.items():
                text = text.replace(mark, value)
            target = folder / relative.replace("NAME", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            written.append(target)
    except OSError as error:
        raise ToolInvalid(tool=name, reason=f"{folder}: {error.strerror}") from error
    return written
