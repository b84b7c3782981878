"""Front matter: the part of an agent file before its body, as plain values with their places.

YAML 1.2 between ``---`` lines or TOML between ``+++`` lines. Nothing here knows what the keys mean.
"""

from __future__ import annotations

import re
from typing import Final

from caxton.agents.places import FrontMatter, FrontMatterError

__all__ = ["read_front_matter"]

MAX_BYTES: Final = 64 * 1024
"""Longest front matter; a body may be longer."""

TEXT_KEYS: Final = frozenset({"description", "initialPrompt", "when_to_use", "argument-hint"})
"""Keys whose value may be taken as raw text when the file is not strict YAML."""


def read_front_matter(text: str) -> FrontMatter:
    """Split a file's text and read its front matter.

    Raises:
        FrontMatterError: there is none, or it cannot be read, also not leniently.
    """
    first, _, rest = text.partition("\n")
    fence = first.rstrip()
    if fence not in ("---", "+++"):
        raise FrontMatterError((1, 1), "the file must begin with `---` (YAML) or `+++` (TOML)")
    end = re.search(rf"^{re.escape(fence)}[ \t]*$", rest, re.MULTILINE)
    if end is None:
        raise FrontMatterError((1, 1), f"the front matter is not closed by a `{fence}` line")
    front = rest[: end.start()]
    body = rest[end.end() :].removeprefix("\n")
    if len(front) > MAX_BYTES:
        raise FrontMatterError(
            (1, 1), f"front matter of {len(front):,} characters; at most {MAX_BYTES:,} allowed"
        )
    if fence == "+++":
        from caxton.agents.toml_reader import read_toml

        return read_toml(front, body)
    found = _read_plain(front, body)
    if found is not None:
        return found
    from caxton.agents.yaml_reader import read_yaml

    try:
        return read_yaml(front, body, 2)
    except FrontMatterError as error:
        found = _read_lines(front, body, error)
        if found is None:
            raise
        return found


# --- the plain subset of YAML --------------------------------------------------------------------

_WORD = r"[A-Za-z][A-Za-z0-9_.-]*"
_PLAIN = re.compile(
    r"(?P<key>[A-Za-z_][A-Za-z0-9_-]*):(?: +(?:"
    r"(?P<text>[A-Za-z](?:[A-Za-z0-9_.,;!?()/%&*+='’-]| (?! |#|$))*)"
    rf"|\[ *(?P<list>{_WORD}(?: *, *{_WORD})*)? *\]"
    r"|(?P<version>[0-9]+\.[0-9]+\.[0-9]+)))?"
)
_ITEM = re.compile(rf"  (?: )*- (?P<item>{_WORD})")
_NOT_TEXT = frozenset({"true", "True", "TRUE", "false", "False", "FALSE", "null", "Null", "NULL"})


def _read_plain(front: str, body: str) -> FrontMatter | None:
    """Read keys with plain text and lists of words, which is most files; None when there is more.

    The full parser takes a millisecond a file, this a fiftieth of it, with the same outcome.
    """
    found = FrontMatter({}, body)
    open_list: list[str] | None = None
    key, indent = "", 0
    for number, line in enumerate(front.split("\n"), 2):
        if not line:
            continue
        item = _ITEM.fullmatch(line)
        if item is not None and open_list is not None:
            word = item["item"]
            start = item.start("item")
            if word in _NOT_TEXT or (open_list and start != indent):
                return None
            indent = start
            found.keys[key, len(open_list)] = found.values[key, len(open_list)] = (
                number,
                start + 1,
            )
            if not open_list:
                found.values[key,] = (number, line.index("-") + 1)
            open_list.append(word)
            continue
        if open_list == []:
            return None
        match = _PLAIN.fullmatch(line)
        if match is None or match["key"] in found.data or match["key"] in _NOT_TEXT:
            return None
        key, open_list = match["key"], None
        found.keys[key,] = (number, 1)
        if match["text"] or match["version"]:
            value = match["text"] or match["version"]
            if value in _NOT_TEXT:
                return None
            found.data[key] = value
            found.values[key,] = (number, line.index(value, len(key) + 1) + 1)
        elif line.endswith("]"):
            words = _words(found, key, line, match, number)
            if words is None:
                return None
            found.data[key] = words
        else:
            found.data[key] = open_list = []
    if open_list == [] or not found.data:
        return None
    return found


def _words(
    found: FrontMatter, key: str, line: str, match: re.Match[str], number: int
) -> list[str] | None:
    found.values[key,] = (number, line.index("[") + 1)
    at = match.start("list")
    words: list[str] = []
    for part in (match["list"] or "").split(","):
        word = part.strip()
        if word in _NOT_TEXT:
            return None
        if word:
            place = (number, at + part.index(word) + 1)
            found.keys[key, len(words)] = found.values[key, len(words)] = place
            words.append(word)
        at += len(part) + 1
    return words


# --- not quite YAML ------------------------------------------------------------------------------

_TOP = re.compile(r"(?P<key>[A-Za-z_][A-Za-z0-9_-]*):(?:[ \t]+(?P<raw>\S.*))?[ \t]*")


def _read_lines(front: str, body: str, error: FrontMatterError) -> FrontMatter | None:
    """Read key by key what is not strict YAML as a whole, and text keys as raw text.

    Sub-agent files in the wild hold descriptions with ``: `` in them, which no quotes protect.
    None when more than a text is broken: then the first error is the better answer.
    """
    blocks: list[tuple[int, str, list[str]]] = []
    for number, line in enumerate(front.split("\n"), 2):
        top = _TOP.fullmatch(line)
        if top is not None:
            blocks.append((number, top["key"], [line]))
        elif blocks:
            blocks[-1][2].append(line)
        elif line.strip() and not line.startswith("#"):
            return None
    from caxton.agents.yaml_reader import read_yaml

    found = FrontMatter({}, body, lenient=error)
    for number, key, lines in blocks:
        if key in found.data:
            return None
        try:
            part = read_yaml("\n".join(lines), "", number)
        except FrontMatterError:
            if not _take_raw(found, number, key, lines):
                return None
            continue
        found.data.update(part.data)
        found.keys.update(part.keys)
        found.values.update(part.values)
    return found if "name" in found.data else None


def _take_raw(found: FrontMatter, number: int, key: str, lines: list[str]) -> bool:
    raw = " ".join(line.strip() for line in lines)[len(key) + 1 :].strip()
    if key not in TEXT_KEYS or not raw or raw[0] in "[{|>&*!%@`":
        return False
    if len(raw) > 1 and raw[0] == raw[-1] and raw[0] in "\"'":
        raw = raw[1:-1]
    found.data[key] = raw
    found.keys[key,] = (number, 1)
    found.values[key,] = (number, len(lines[0]) - len(lines[0][len(key) + 1 :].lstrip()) + 1)
    return True
