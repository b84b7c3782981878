"""What kind of statement an SQL text is, without a parser for each dialect.

The text is cut into tokens: words, quoted names and strings, placeholders and other characters.
Where dialects differ, the reading that refuses more is taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sandbox.services.json_body import bad_request

__all__ = ["Statement", "first_word", "read_statement"]

_TOKEN: Final = re.compile(
    r"""
      (?P<space>   \s+ | --[^\n]* | /\*(?![!+])(?:(?!/\*)(?!\*/).)*\*/ )
    | (?P<string>  '(?:[^'\\]|'')*' )
    | (?P<name>    "(?:[^"\\]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] )
    | (?P<word>    [^\W\d][\w$]* )
    | (?P<number>  \d[\w.]* )
    | (?P<holder>  \? )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)

_CHANGING: Final = frozenset(
    {"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "CREATE", "DROP", "ALTER", "TRUNCATE"}
)
_SAME: Final = {"REPLACE": "INSERT", "VALUES": "SELECT", "TABLE": "SELECT"}
_UNCLEAR: Final = ("$", "#", "\\", "'", '"', "`", "[")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its first word, all kinds it may be of, and its text with named parameters."""

    first: str
    kinds: frozenset[str]
    text: str
    positional: int
    """How many ``?`` it has; in ``text`` they are ``:p0``, ``:p1`` ..."""


def first_word(sql: str) -> str:
    """The word a statement begins with, upper case; empty when it begins with none."""
    for match in _TOKEN.finditer(sql):
        if match.lastgroup != "space":
            return match.group().upper() if match.lastgroup == "word" else ""
    return ""


def read_statement(sql: str) -> Statement:
    """Read one statement. Raises ``ServiceError`` (``bad_request``) for none, several, or a text
    that dialects read differently.
    """
    words: list[str] = []
    parts: list[str] = []
    holders = 0
    ended = False
    for match in _TOKEN.finditer(sql):
        kind, piece = match.lastgroup, match.group()
        if kind == "space":
            parts.append(" ")
            continue
        if piece == ";":
            ended = True
            continue
        if ended:
            raise bad_request("more than one statement; send them one by one")
        if kind == "other" and piece in _UNCLEAR:
            raise bad_request(
                f"the statement has a {piece} outside of quotes, an unfinished quote, or a "
                "backslash in one; pass such text as a parameter"
            )
        if kind == "other" and sql.startswith("/*", match.start()):
            raise bad_request("comments with instructions, inside others or without end")
        if kind == "word":
            words.append(piece.upper())
        if kind in ("string", "name"):
            # SQLAlchemy would take a colon in quotes for a parameter.
            piece = piece.replace(":", "\\:")
        if kind == "holder":
            piece = f":p{holders}"
            holders += 1
        parts.append(piece)
    if not words:
        raise bad_request("sql holds no statement")
    first = _first(words)
    return Statement(first, _kinds(first, words), "".join(parts).strip(), holders)


def _first(words: Sequence[str]) -> str:
    if words[0] == "EXPLAIN":
        rest = [word for word in words[1:] if word not in ("QUERY", "PLAN", "ANALYZE", "VERBOSE")]
        return rest[0] if rest else "EXPLAIN"
    return words[0]


def _kinds(first: str, words: Sequence[str]) -> frozenset[str]:
    found = {_SAME.get(first, first)}
    if first == "WITH":
        found = {"SELECT"}
    if "SELECT" in words:
        found.add("SELECT")
    if first in _CHANGING | {"WITH", "SELECT", "VALUES", "TABLE"}:
        # Common table expressions, ON CONFLICT DO UPDATE, FOR UPDATE; REPLACE is a function too.
        found |= _CHANGING.intersection(words) - {"REPLACE"}
        if "INTO" in words and not found & {"INSERT", "MERGE"}:
            found.add("CREATE")
    return frozenset(found)
