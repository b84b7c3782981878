"""The YAML of a policy file, as values that know their line and column. Safe and bounded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["PolicyError", "Value", "read_value"]

MAX_CHARACTERS: Final = 256 * 1024
MAX_VALUES: Final = 10_000
MAX_DEPTH: Final = 20
MAX_OPEN: Final = 100
"""Most brackets in a row of open ones; the parser recurses for each."""

_TAG: Final = "tag:yaml.org,2002:"


class PolicyError(ValueError):
    """A policy cannot be used. ``line`` and ``column`` count from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(f"policy, line {line}, column {column}: {message}")
        self.line = line
        self.column = column
        self.message = message


@dataclass(frozen=True, slots=True)
class Value:
    """One value with its place and that of its key, which is its own when it has none.

    ``data`` is None, a bool, a text, a list or a dict of values.

    Numbers are kept as the text they were written as: a version of 1.10 is not 1.1.
    """

    name: str
    data: bool | str | list[Value] | dict[str, Value] | None
    number: bool
    line: int
    column: int
    key: tuple[int, int]

    def error(self, message: str) -> PolicyError:
        """An error at this place; ``message`` follows the value's name."""
        return PolicyError(self.line, self.column, f"{self.name} {message}")

    def mapping(self, known: Collection[str] = ()) -> dict[str, Value]:
        """Its entries; empty for null. With ``known``, other keys are an error."""
        if self.data is None:
            return {}
        if not isinstance(self.data, dict):
            raise self.error("must hold `key: value` lines")
        if known:
            for key, value in self.data.items():
                if key not in known:
                    raise PolicyError(
                        *value.key, f"{value.name} is not known here; known are {', '.join(known)}"
                    )
        return self.data

    def items(self) -> Iterator[Value]:
        """Its items; none for null."""
        if self.data is None:
            return
        if not isinstance(self.data, list):
            raise self.error("must be a list of `- ` lines")
        yield from self.data

    def text(self) -> str:
        """A text that is not empty."""
        if not isinstance(self.data, str) or self.number or not self.data.strip():
            raise self.error("must be a text")
        return self.data

    def words(self) -> list[str]:
        """A list of texts that is not empty."""
        found = [item.text() for item in self.items()]
        if not found:
            raise self.error("must be a list that is not empty")
        return found

    def flag(self) -> bool:
        """``true`` or ``false``."""
        if not isinstance(self.data, bool):
            raise self.error("must be true or false")
        return self.data

    def integer(self) -> int:
        """A whole number."""
        if isinstance(self.data, str) and self.number:
            try:
                return int(self.data.replace("_", ""))
            except ValueError as error:
                raise self.error("must be a whole number") from error
        raise self.error("must be a whole number")


def read_value(text: str) -> Value:
    """The mapping a YAML text is. Raises ``PolicyError``."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(text) > MAX_CHARACTERS:
        raise PolicyError(
            1, 1, f"{len(text)} characters; at most {MAX_CHARACTERS} are allowed in a policy"
        )
    _refuse_brackets(text)
    parser = YAML(typ="safe", pure=True)
    try:
        node = parser.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise PolicyError(line, column, f"not YAML: {error.problem or error.context}") from error
    except (
        YAMLError,
        RecursionError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        AssertionError,
    ) as error:
        # The parser lets some of its own faults out on malformed text.
        raise PolicyError(1, 1, f"not YAML: {type(error).__name__} in the parser") from error
    if node is None:
        raise PolicyError(1, 1, "the policy is empty")
    value = _Reader().read(node, "the policy", 0)
    if not isinstance(value.data, dict):
        raise value.error("must hold `key: value` lines")
    return value


class _Reader:
    """Turns nodes into values; what an alias names counts each time."""

    def __init__(self) -> None:
        self.count = 0

    def read(self, node: Any, name: str, depth: int, key: tuple[int, int] | None = None) -> Value:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self.count += 1
        if self.count > MAX_VALUES:
            raise PolicyError(line, column, f"more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise PolicyError(line, column, f"nested deeper than {MAX_DEPTH} levels")
        tag = str(node.tag)
        kind = tag.removeprefix(_TAG) if tag.startswith(_TAG) else ""
        if kind == "map":
            data: Any = self._mapping(node, depth)
        elif kind == "seq":
            data = [self.read(item, f"{name} item", depth + 1) for item in node.value]
        elif kind == "null":
            data = None
        elif kind == "bool":
            data = node.value.lower() == "true"
        elif kind in ("str", "int", "float", "timestamp"):
            data = node.value
        else:
            raise PolicyError(line, column, f"the tag {tag[:40]} is not allowed")
        number = kind in ("int", "float")
        return Value(name, data, number, line, column, key or (line, column))

    def _mapping(self, node: Any, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for key_node, value_node in node.value:
            line, column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
            if not isinstance(key_node.value, str) or str(key_node.tag) != f"{_TAG}str":
                raise PolicyError(line, column, "a key must be a text")
            key = key_node.value
            if key in found:
                raise PolicyError(line, column, f"{key[:40]} is given twice")
            found[key] = self.read(value_node, key[:40], depth + 1, (line, column))
        return found


def _refuse_brackets(text: str) -> None:
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        for column, character in enumerate(line, 1):
            depth += (character in "[{") - (character in "]}")
            if depth > MAX_OPEN:
                raise PolicyError(number, column, f"more than {MAX_OPEN} brackets are open")
