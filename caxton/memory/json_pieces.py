"""Cuts JSON that arrives in pieces into values, without ever holding the whole.

``Lines`` gives the lines of JSON Lines. ``Document`` walks an object: of its members that are
named it gives the elements one by one, of all others the whole value. What a value holds is not
looked at here: only where it ends.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Document", "Lines", "Malformed", "Piece"]

_NESTING: Final = re.compile(rb'["\[\]{}]')
_IN_TEXT: Final = re.compile(rb'["\\]')
_SCALAR_END: Final = re.compile(rb"[\s,\]}]")
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_TRIM: Final = 256 * 1024


class Malformed(Exception):
    """What arrived is no JSON of the expected form.

    Args:
        line: on which line, from 1.
        reason: what is wrong there.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Piece:
    """One value, not yet parsed."""

    member: str
    """Name of the member it is or is an element of; empty for a line."""
    raw: bytes
    line: int
    """On which line it begins, from 1."""
    element: int = 0
    """Which element of its member, from 1; 0 for a whole one."""


class Lines:
    """JSON Lines. Blank lines are passed over.

    Args:
        most: bytes of the longest line.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = bytearray()
        self._line = 0

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The lines that ``data`` completes.

        Raises:
            Malformed: a line is too long.
        """
        if b"\n" not in data:
            self._held += data
            self._check(len(self._held))
            return
        first, *whole, rest = data.split(b"\n")
        self._held += first
        lines = [bytes(self._held), *whole]
        self._held = bytearray(rest)
        for raw in lines:
            self._line += 1
            self._check(len(raw), self._line)
            if raw.strip():
                yield Piece("", raw, self._line)

    def close(self) -> Iterator[Piece]:
        """The last line, where no line feed ends it."""
        raw, self._held = bytes(self._held), bytearray()
        self._line += 1
        if raw.strip():
            yield Piece("", raw, self._line)

    def _check(self, size: int, line: int | None = None) -> None:
        if size > self._most:
            number = self._line + 1 if line is None else line
            raise Malformed(number, f"longer than {self._most:,} bytes")


class Document:
    """One JSON object.

    Args:
        lists: names of members whose elements are given one by one.
        inside: names of members whose members are taken as those of the object itself.
        most: bytes of the longest value.
    """

    def __init__(self, lists: Collection[str], inside: Collection[str], most: int) -> None:
        self._lists = lists
        self._inside = inside
        self._most = most
        self._held = bytearray()
        self._at = 0
        """What lies before it is done with."""
        self._seen = 0
        """Up to here the value that begins at ``_at`` was looked at."""
        self._depth = 0
        self._text = False
        self._line = 1
        self._open: list[str] = []
        """What is open: ``{`` for an object, the member's name for a list."""
        self._member = ""
        self._element = 0
        self._wants = "begin"

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The values that ``data`` completes.

        Raises:
            Malformed: it is not JSON, or a value is too long.
        """
        self._held += data
        while True:
            self._skip_space()
            if self._at >= len(self._held):
                break
            step = self._step()
            if step is None:
                break
            if isinstance(step, Piece):
                yield step
        if self._at > _TRIM or self._at == len(self._held):
            del self._held[: self._at]
            self._seen = max(0, self._seen - self._at)
            self._at = 0

    def close(self) -> None:
        """Nothing more comes.

        Raises:
            Malformed: the object is not complete.
        """
        if self._wants != "nothing":
            line = self._line + self._held.count(b"\n", self._at)
            raise Malformed(line, "it ends in the middle")

    # --- steps -------------------------------------------------------------------------------

    def _skip_space(self) -> None:
        found = _SPACE.match(self._held, self._at)
        if found is not None and found.end() > self._at:
            self._pass(found.end())

    def _pass(self, end: int) -> None:
        self._line += self._held.count(b"\n", self._at, end)
        self._at = self._seen = end

    def _wrong(self, expected: str) -> Malformed:
        got = bytes(self._held[self._at : self._at + 20]).decode("utf-8", "replace")
        return Malformed(self._line, f"{expected} expected, `{got}` found")

    def _step(self) -> Piece | bool | None:
        """One step: a value, True for a mark, None when more has to arrive."""
        mark = self._held[self._at]
        wants = self._wants
        if wants in ("value", "element", "element or end"):
            return self._value(mark)
        if wants in ("member", "member or end"):
            if mark == ord("}") and wants == "member or end":
                return self._leave()
            if mark != ord('"'):
                raise self._wrong("a member's name in quotes")
            return self._name()
        if wants == "colon":
            return self._mark(mark, ":", "value")
        if wants == "more":
            if mark == ord(","):
                self._wants = "member" if self._open[-1] == "{" else "element"
                self._pass(self._at + 1)
                return True
            if mark == (ord("}") if self._open[-1] == "{" else ord("]")):
                return self._leave()
            raise self._wrong("a comma or an end")
        if wants == "begin":
            self._open.append("{")
            return self._mark(mark, "{", "member or end")
        raise self._wrong("nothing more")

    def _mark(self, mark: int, wanted: str, then: str) -> bool:
        if mark != ord(wanted):
            raise self._wrong(f"`{wanted}`")
        self._wants = then
        self._pass(self._at + 1)
        return True

    def _leave(self) -> bool:
        self._open.pop()
        self._wants = "more" if self._open else "nothing"
        self._pass(self._at + 1)
        return True

    def _name(self) -> bool | None:
        end = self._end()
        if end is None:
            return None
        raw = bytes(self._held[self._at + 1 : end - 1])
        self._member = raw.decode("utf-8", "replace")
        self._wants = "colon"
        self._pass(end)
        return True

    def _value(self, mark: int) -> Piece | bool | None:
        wants = self._wants
        if wants == "value" and mark == ord("[") and self._member in self._lists:
            self._open.append(self._member)
            self._element = 0
            self._wants = "element or end"
            self._pass(self._at + 1)
            return True
        if wants == "value" and mark == ord("{") and self._member in self._inside:
            self._open.append("{")
            self._wants = "member or end"
            self._pass(self._at + 1)
            return True
        if wants == "element or end" and mark == ord("]"):
            return self._leave()
        if mark in b",:]}":
            raise self._wrong("a value")
        end = self._end()
        if end is None:
            return None
        in_list = wants != "value"
        self._element += in_list
        name = self._open[-1] if in_list else self._member
        raw = bytes(self._held[self._at : end])
        piece = Piece(name, raw, self._line, self._element if in_list else 0)
        self._wants = "more"
        self._pass(end)
        return piece

    # --- where a value ends ------------------------------------------------------------------

    def _end(self) -> int | None:
        """Where the value that begins at ``_at`` ends; None when that has not arrived.

        Raises:
            Malformed: it is too long.
        """
        end = self._scan()
        if (len(self._held) if end is None else end) - self._at > self._most:
            raise Malformed(self._line, f"a value longer than {self._most:,} bytes")
        return end

    def _scan(self) -> int | None:
        held = self._held
        if self._seen == self._at:
            self._depth, self._text = 0, False
            if held[self._at] not in b'"[{':
                found = _SCALAR_END.search(held, self._at)
                return None if found is None else found.start()
        while True:
            if self._text:
                found = _IN_TEXT.search(held, self._seen)
                if found is None:
                    self._seen = len(held)
                    return None
                if found.group() == b"\\":
                    if found.end() == len(held):
                        self._seen = found.start()
                        return None
                    self._seen = found.end() + 1
                    continue
                self._seen = found.end()
                self._text = False
                if not self._depth:
                    return self._seen
                continue
            found = _NESTING.search(held, self._seen)
            if found is None:
                self._seen = len(held)
                return None
            self._seen = found.end()
            mark = found.group()
            if mark == b'"':
                self._text = True
            elif mark in b"[{":
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    return self._seen
