"""TOML front matter, within limits, with the place of each key."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from caxton.agents.places import MAX_DEPTH, MAX_VALUES, FrontMatter, FrontMatterError, Key

__all__ = ["read_toml"]

_TOML_ERROR = re.compile(r"(?P<what>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|.*)\)")
_TOML_TABLE = re.compile(r"\s*\[+\s*(?P<name>[A-Za-z0-9_.\"' -]+?)\s*\]+\s*(?:#.*)?")
_TOML_KEY = re.compile(r"(?P<pad>\s*)(?P<key>[A-Za-z0-9_.\"'-]+)(?P<eq>\s*=\s*)")


def read_toml(front: str, body: str) -> FrontMatter:
    """Read a TOML document that begins at line 2 of the file.

    Raises:
        FrontMatterError: it is not TOML, or over a limit.
    """
    try:
        data = tomllib.loads(front)
    except tomllib.TOMLDecodeError as error:
        match = _TOML_ERROR.fullmatch(str(error))
        line = int(match["line"]) if match and match["line"] else front.count("\n")
        column = int(match["column"]) if match and match["column"] else 1
        what = match["what"] if match else str(error)
        raise FrontMatterError((line + 1, column), f"not TOML: {what}") from error
    except (RecursionError, ValueError) as error:
        raise FrontMatterError((2, 1), "not TOML: nested too deep or a number too long") from error
    found = FrontMatter({}, body)
    found.data = _plain(data, 0, [0])
    _toml_places(front, found)
    return found


def _plain(value: Any, depth: int, count: list[int]) -> Any:
    """TOML values without dates, within the limits."""
    count[0] += 1
    if depth > MAX_DEPTH or count[0] > MAX_VALUES:
        raise FrontMatterError((2, 1), f"more than {MAX_DEPTH} levels or {MAX_VALUES:,} values")
    if isinstance(value, dict):
        return {key: _plain(item, depth + 1, count) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1, count) for item in value]
    return value if isinstance(value, str | int | float | bool) else str(value)


def _toml_places(front: str, found: FrontMatter) -> None:
    """Find keys by their lines: the TOML reader of Python keeps no places."""
    table: Key = ()
    for number, line in enumerate(front.split("\n"), 2):
        head = _TOML_TABLE.fullmatch(line)
        if head is not None:
            table = _dotted(head["name"])
            found.keys.setdefault(table, (number, line.index("[") + 1))
            continue
        match = _TOML_KEY.match(line)
        if match is not None:
            path = (*table, *_dotted(match["key"]))
            found.keys.setdefault(path, (number, len(match["pad"]) + 1))
            found.values.setdefault(path, (number, match.end() + 1))


def _dotted(name: str) -> Key:
    return tuple(part.strip(" \"'") for part in name.split("."))
