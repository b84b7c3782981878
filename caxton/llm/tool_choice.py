"""Choosing a tool and its arguments by rules: bags of words and the tool's JSON Schema.

Deterministic and without a model. It finds paths, numbers, quoted texts, words of an enum and their
synonyms, and what stands behind ``of``, ``by`` or ``per``. It understands nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from caxton.tools.catalog import ToolSpec

__all__ = ["Choice", "choose_tool"]

THRESHOLD: Final = 3.0
MAX_QUESTION: Final = 5_000
"""Characters that are looked at."""

SYNONYMS: Final[Mapping[str, str]] = {
    "average": "mean", "avg": "mean", "averages": "mean", "means": "mean",
    "total": "sum", "totals": "sum", "add": "sum", "sums": "sum",
    "maximum": "max", "highest": "max", "largest": "max", "biggest": "max", "greatest": "max",
    "minimum": "min", "lowest": "min", "smallest": "min", "least": "min", "cheapest": "min",
    "middle": "median", "how many": "count", "number of": "count", "counts": "count",
    "distinct": "unique", "different": "unique",
    "first": "head", "preview": "head", "show": "head", "top": "head",
    "columns": "describe", "summary": "describe", "summarise": "describe", "summarize": "describe",
    "overview": "describe", "grouped": "group", "search": "find", "lookup": "find",
    "delete": "remove", "create": "add",
}  # fmt: skip
"""Other words for the words of an enum."""

_STOP_WORDS = """
    a all an and any are as at be by can column columns do does each file for from give group has
    have how i in is it its line lines many me much number of on or per please record records row
    rows show tell that the their there this to us value values was what which who with you your
"""
STOP: Final = frozenset(_STOP_WORDS.split())

HINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "column": ("column", "field", "of"),
    "field": ("field", "of"),
    "group_by": ("grouped by", "group by", "for each", "per", "by"),
    "limit": ("limit", "first", "top", "at most"),
    "count": ("first", "top"),
    "city": ("in", "for", "at"),
    "location": ("in", "for", "at"),
    "delimiter": ("delimiter", "separated by"),
    "to": ("to",),
    "from": ("from",),
}
"""Words that stand before the value of a property."""

WHOLE: Final = frozenset(
    {"text", "query", "input", "message", "question", "expression", "prompt", "content"}
)
"""Properties that take the whole message when nothing else is found."""

_PATH = re.compile(
    r"(?<![\w.~-])/?(?:[\w.~-]{1,100}/){0,20}(?:[\w.~-]{1,100}\.[A-Za-z][A-Za-z0-9]{0,4}(?!\w)|"
    r"(?<=/)[\w.~-]{1,100})"
)
_QUOTED = re.compile(
    r"\"([^\"\n]{1,200})\"|'([^'\n]{1,200})'(?!\w)|`([^`\n]{1,200})`|“([^”\n]{1,200})”"
)
_NUMBER = re.compile(r"(?<![\w./-])-?\d+(?:\.\d+)?(?![\w/]|\.\d)")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{0,190}\w")
_WORD = r"[A-Za-z_][\w-]*"


@dataclass(frozen=True, slots=True)
class Choice:
    """A tool that fits a message."""

    tool: ToolSpec
    arguments: dict[str, Any]
    missing: tuple[str, ...] = ()
    """Required arguments that the message does not hold."""


def choose_tool(question: str, tools: Sequence[ToolSpec]) -> Choice | None:
    """The tool that fits ``question`` best, with its arguments; None when none fits."""
    question = question[:MAX_QUESTION]
    given = _json_object(question)
    if given:
        for tool in tools:
            properties = _properties(tool)
            if given.keys() <= properties.keys():
                return Choice(tool, given, _missing(tool, given))
        return None
    ranked = sorted(
        ((_score(question, tool), -index, tool) for index, tool in enumerate(tools)),
        key=lambda row: row[:2],
        reverse=True,
    )
    if not ranked or ranked[0][0] < THRESHOLD:
        return None
    tool = ranked[0][2]
    arguments = _Filler(question).fill(_properties(tool), _required(tool))
    return Choice(tool, arguments, _missing(tool, arguments))


def _json_object(text: str) -> dict[str, Any] | None:
    if text.lstrip()[:1] != "{":
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _properties(tool: ToolSpec) -> dict[str, Any]:
    properties = tool.input_schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _required(tool: ToolSpec) -> tuple[str, ...]:
    return tuple(tool.input_schema.get("required") or ())


def _missing(tool: ToolSpec, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in _required(tool) if name not in arguments)


def _bag(text: str) -> set[str]:
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower()
    words = re.findall(r"[a-z]+|\d+", spaced)
    return {_stem(word) for word in words if word not in STOP}


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _score(question: str, tool: ToolSpec) -> float:
    asked = _bag(question)
    asked |= {_stem(found) for word, found in SYNONYMS.items() if _at(question, word) is not None}
    properties = _properties(tool)
    enums = {
        _stem(str(value).lower())
        for schema in properties.values()
        if isinstance(schema, dict)
        for value in schema.get("enum") or ()
    }
    score = 3.0 * len(asked & _bag(tool.name)) + 2.0 * len(asked & enums)
    named = _bag(" ".join(properties)) - enums
    score += 1.5 * len(asked & named)
    score += 1.0 * len(asked & (_bag(tool.description) - enums - named - _bag(tool.name)))
    if _PATH.search(question) and any(_is_path(name) for name in properties):
        score += 2.0
    return score


def _is_path(name: str) -> bool:
    return bool({"path", "file", "filename", "folder"} & set(name.lower().split("_")))


def _at(text: str, word: str) -> re.Match[str] | None:
    return re.search(rf"(?<![\w./-]){re.escape(word)}(?![\w/-]|\.\w)", text, re.IGNORECASE)


@dataclass(slots=True)
class _Filler:
    """Fills arguments from one message; what one argument took, the next does not take."""

    question: str
    taken: set[str] = field(default_factory=set)
    behind: str = ""
    """What follows the word that chose an enum: ``price`` in ``average price``."""

    def fill(self, properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        order = sorted(properties, key=lambda name: self._rank(name, properties[name]))
        for name in order:
            schema = properties[name]
            value = self._value(name, schema if isinstance(schema, dict) else {})
            if value is None and name in required:
                value = self._last_resort(name, schema if isinstance(schema, dict) else {})
            if value is not None:
                found[name] = value
                self.taken.add(str(value))
        for name, schema in properties.items():
            # `mean of price by region` fills group_by; with no other operation, that is `group`.
            if name not in found and isinstance(schema, dict):
                begins = [str(one) for one in schema.get("enum") or ()]
                near = [one for one in begins if any(k.startswith(f"{one}_") for k in found)]
                if near:
                    found[name] = near[0]
        return {name: found[name] for name in properties if name in found}

    def _rank(self, name: str, schema: Any) -> int:
        """Certain things first: paths, enums, then what hints point to."""
        if _is_path(name):
            return 0
        if isinstance(schema, dict) and schema.get("enum"):
            return 1
        return 2 if name in HINTS and name != "column" else 3

    def _value(self, name: str, schema: Mapping[str, Any]) -> Any:
        if schema.get("enum"):
            return self._enum(schema["enum"])
        kind = schema.get("type")
        if kind in ("integer", "number"):
            return self._number(name, kind)
        if kind not in ("string", None):
            return None
        if _is_path(name):
            return self._path()
        if schema.get("format") == "email" or "email" in name:
            email = _EMAIL.search(self.question)
            return email[0] if email else None
        return self._hinted(name) or self._follower(name)

    def _path(self) -> str | None:
        for match in _PATH.finditer(self.question):
            if match[0] not in self.taken and not _EMAIL.search(match[0]):
                return match[0]
        return None

    def _enum(self, options: Sequence[Any]) -> Any:
        best: tuple[int, Any] | None = None
        for option in options:
            words = [str(option)] + [word for word, for_ in SYNONYMS.items() if for_ == option]
            for word in words:
                match = _at(self.question, word)
                if match is not None and (best is None or match.start() < best[0]):
                    best = (match.start(), option)
                    self.behind = self.question[match.end() :]
        return best[1] if best else None

    def _number(self, name: str, kind: str) -> int | float | None:
        for hint in HINTS.get(name, (name.replace("_", " "),)):
            match = re.search(
                rf"\b{re.escape(hint)}\b\s*[:=]?\s*(-?\d+(?:\.\d+)?)", self.question, re.IGNORECASE
            )
            if match:
                return _numeric(match[1], kind)
        return None

    def _hinted(self, name: str) -> str | None:
        for hint in (name, *HINTS.get(name, (name.replace("_", " "),))):
            pattern = rf"\b{re.escape(hint)}\b\s*(?:[:=]\s*)?(?:the |all |column |field )*"
            for match in re.finditer(pattern, self.question, re.IGNORECASE):
                value = self._named(self.question[match.end() :])
                if value is not None:
                    return value
        return None

    def _follower(self, name: str) -> str | None:
        if name not in ("column", "field") or not self.behind:
            return None
        return self._named(re.sub(r"^\s*(?:(?:of|for|the|all)\s+)*", "", self.behind))

    def _named(self, text: str) -> str | None:
        """The name or quoted text that ``text`` begins with."""
        quoted = _QUOTED.match(text)
        if quoted:
            value = next(group for group in quoted.groups() if group)
            return None if value in self.taken else value
        match = re.match(_WORD, text)
        if match is None or match[0].lower() in STOP or match[0] in self.taken:
            return None
        if match[0].lower() in SYNONYMS or text[match.end() : match.end() + 1] in ("/", "."):
            beyond = text[match.end() :]
            if beyond[:1] == "/" or re.match(r"\.\w", beyond) or match[0].lower() in SYNONYMS:
                return None
        return match[0]

    def _last_resort(self, name: str, schema: Mapping[str, Any]) -> Any:
        """A required argument: the first quoted text or number that is left, or the whole."""
        kind = schema.get("type")
        if kind in ("integer", "number"):
            for match in _NUMBER.finditer(self.question):
                if match[0] not in self.taken:
                    return _numeric(match[0], kind)
            return None
        if kind != "string" or schema.get("enum") or _is_path(name):
            return None
        for match in _QUOTED.finditer(self.question):
            value = next(group for group in match.groups() if group)
            if value not in self.taken:
                return value
        return self.question.strip() if name in WHOLE else None


def _numeric(text: str, kind: str) -> int | float | None:
    if kind == "integer":
        return int(text) if "." not in text else None
    return float(text)
