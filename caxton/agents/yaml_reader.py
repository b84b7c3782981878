"""YAML 1.2 front matter: the safe subset, within limits, with the place of each value."""

from __future__ import annotations

import re
import threading
from typing import Any, Final

from caxton.agents.places import MAX_DEPTH, MAX_VALUES, FrontMatter, FrontMatterError, Key, Place

__all__ = ["read_yaml"]

MAX_DIGITS: Final = 40
_DIRECTIVE: Final = re.compile(r"^%", re.MULTILINE)
MAX_OPEN: Final = 100
"""Most brackets open at once in the text; the parser is quadratic in them."""

_local = threading.local()


def _composed(text: str) -> Any:
    """The node tree of a YAML text. One parser per thread: making one costs more than using it."""
    parser = getattr(_local, "parser", None)
    if parser is None:
        from ruamel.yaml import YAML

        parser = YAML(typ="safe", pure=True)
        parser.composer.warn_double_anchors = False
    # After an error its state is not to be trusted: it is put back only when all went well.
    _local.parser = None
    node = parser.compose(text)
    _local.parser = parser
    return node


def read_yaml(front: str, body: str, first_line: int) -> FrontMatter:
    """Read a YAML mapping whose first line is line ``first_line`` of the file.

    Raises:
        FrontMatterError: it is not YAML, not a mapping, or over a limit.
    """
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    _refuse_brackets(front, first_line)
    directive = _DIRECTIVE.search(front)
    if directive is not None:
        # `%YAML 1.1` would change what words mean, for this file and the next.
        line = first_line + front.count("\n", 0, directive.start())
        raise FrontMatterError((line, 1), "directives (`%`) are not read")
    try:
        node = _composed(front)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if error.context_mark is not None and "<stream end>" in str(error.problem):
            # What was opened and never closed is the place to look at, not the end.
            mark = error.context_mark
        place = (mark.line + first_line, mark.column + 1) if mark else (first_line, 1)
        raise FrontMatterError(place, f"not YAML: {error.problem or error.context}") from error
    except RecursionError as error:
        raise FrontMatterError(
            (first_line, 1), f"nested too deep; at most {MAX_DEPTH} levels allowed"
        ) from error
    except (YAMLError, ValueError, TypeError, AttributeError, LookupError, AssertionError) as error:
        # The parser lets some of its own faults out on malformed text.
        raise FrontMatterError(
            (first_line, 1), f"not YAML: {type(error).__name__} in the parser"
        ) from error
    reader = _Reader(first_line)
    data = reader.read(node, (), 0) if node is not None else None
    if not isinstance(data, dict):
        raise FrontMatterError((first_line, 1), "the front matter must hold `key: value` lines")
    return FrontMatter(data, body, reader.keys, reader.values)


def _refuse_brackets(front: str, first_line: int) -> None:
    if front.count("[") + front.count("{") <= MAX_OPEN:
        return
    opened = 0
    for character in front:
        if character in "[{":
            opened += 1
            if opened > MAX_OPEN:
                raise FrontMatterError(
                    (first_line, 1), f"nested too deep; at most {MAX_DEPTH} levels allowed"
                )
        elif character in "]}":
            opened -= 1


class _Reader:
    """Turns a node tree into plain values, within the limits."""

    def __init__(self, first_line: int) -> None:
        self.first_line = first_line
        self.keys: dict[Key, Place] = {}
        self.values: dict[Key, Place] = {}
        self.count = 0

    def place(self, node: Any) -> Place:
        mark = node.start_mark
        return (mark.line + self.first_line, mark.column + 1)

    def read(self, node: Any, path: Key, depth: int) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            raise FrontMatterError(
                self.place(node), f"more than {MAX_VALUES:,} values, counted through aliases"
            )
        if depth > MAX_DEPTH:
            raise FrontMatterError(
                self.place(node), f"nested too deep; at most {MAX_DEPTH} levels allowed"
            )
        self.values[path] = self.place(node)
        tag = str(node.tag)
        kind = tag.rpartition(":")[2] if tag.startswith("tag:yaml.org,2002:") else ""
        if isinstance(node.value, str) and kind in _SCALARS:
            return self.scalar(node, kind)
        if isinstance(node.value, list) and kind == "seq":
            items = []
            for index, item in enumerate(node.value):
                self.keys[(*path, index)] = self.place(item)
                items.append(self.read(item, (*path, index), depth + 1))
            return items
        if isinstance(node.value, list) and kind == "map":
            return self.mapping(node, path, depth)
        raise FrontMatterError(self.place(node), f"the tag `{tag[:40]}` is not allowed")

    def mapping(self, node: Any, path: Key, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self.place(key_node)
            tag = str(key_node.tag).rpartition(":")[2]
            if not isinstance(key_node.value, str) or tag not in _SCALARS:
                rule = "merge keys are not read" if tag == "merge" else "a key must be a text"
                raise FrontMatterError(place, rule)
            key = key_node.value
            if key in found:
                first = self.keys[(*path, key)]
                raise FrontMatterError(place, f"key `{key[:40]}` is given again (line {first[0]})")
            self.keys[(*path, key)] = place
            found[key] = self.read(value_node, (*path, key), depth + 1)
        return found

    def scalar(self, node: Any, kind: str) -> Any:
        text = node.value
        if kind in ("str", "timestamp", "value"):
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        digits = text.replace("_", "")
        try:
            if kind == "int" and len(digits) <= MAX_DIGITS:
                return _integer(digits)
            if kind == "float" and len(digits) <= MAX_DIGITS:
                return float(digits.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            return text
        raise FrontMatterError(self.place(node), f"a number of more than {MAX_DIGITS} digits")


_SCALARS = frozenset({"str", "int", "float", "bool", "null", "timestamp", "value"})


def _integer(digits: str) -> int:
    unsigned = digits.lstrip("+-")
    if unsigned[:2].lower() in ("0x", "0o", "0b"):
        return int(digits, 0)
    return int(digits)
