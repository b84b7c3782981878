"""Tables as plain text: columns that fit the width they get.

On a terminal, columns are first cut down to their least width, then the least important ones are
left out. In a pipe nothing is cut and nothing is left out, so that ``awk`` and ``grep`` see all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Cell", "Column", "clean", "first_sentence", "lay_out", "shorten"]

T = TypeVar("T")

Cell = tuple[str, str]
"""Text and the name of its style; an empty name is the normal style."""

GAP = "  "

READABLE = 20
"""Characters more than its brief form that a long form must get to be worth showing cut."""


def clean(text: str) -> str:
    """``text`` without anything a terminal would obey: control characters become ``?``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\n\t" else "?" for c in text)


def shorten(text: str, width: int) -> str:
    """``text`` cut to ``width`` characters, its end replaced by ``~`` when it was longer."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "~"


def first_sentence(text: str) -> str:
    """The first sentence of a description, without its end: what fits a line of a list."""
    return text.partition("\n")[0].partition(". ")[0].removesuffix(".")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column of a table of ``T``."""

    title: str
    value: Callable[[T], str]
    style: Callable[[T], str] | None = None
    right: bool = False
    """Numbers stand at the right."""
    least: int = 0
    """May be cut to this width; 0 means never cut."""
    drop: int = 0
    """Left out when there is no room, the highest first; 0 means never."""
    brief: Callable[[T], str] | None = None
    """A shorter form of the value, for when there is little room."""


def lay_out(
    columns: Sequence[Column[T]], rows: Sequence[T], width: int | None
) -> list[tuple[Cell, ...]]:
    """The lines of a table, the titles first; each line a tuple of cells already padded.

    Args:
        columns: from left to right.
        rows: one line each.
        width: characters of a line; None for as much as it needs.
    """
    shown = list(columns)
    texts = {id(column): [clean(column.value(row)) for row in rows] for column in shown}
    widths = {id(column): _widest(column.title, texts[id(column)]) for column in shown}
    if width is not None:
        _fit(shown, rows, texts, widths, width)
    lines: list[tuple[Cell, ...]] = [
        tuple((_pad(column, column.title, widths), "title") for column in shown)
    ]
    for number, row in enumerate(rows):
        lines.append(
            tuple(
                (
                    _pad(column, texts[id(column)][number], widths),
                    column.style(row) if column.style else "",
                )
                for column in shown
            )
        )
    return lines


def _widest(title: str, texts: Sequence[str]) -> int:
    return max(len(title), *(len(text) for text in texts)) if texts else len(title)


def _pad(column: Column[T], text: str, widths: dict[int, int]) -> str:
    width = widths[id(column)]
    text = shorten(text, width)
    return text.rjust(width) if column.right else text.ljust(width)


def _fit(
    shown: list[Column[T]],
    rows: Sequence[T],
    texts: dict[int, list[str]],
    widths: dict[int, int],
    width: int,
) -> None:
    """Make room: brief forms, then cuts, then whole columns. Long forms use what is left."""

    def over() -> int:
        used = sum(widths[id(column)] for column in shown)
        return used + len(GAP) * (len(shown) - 1) - width

    for column in shown:
        if column.brief is not None and over() > 0:
            texts[id(column)] = [clean(column.brief(row)) for row in rows]
            widths[id(column)] = _widest(column.title, texts[id(column)])
    _make_fit(shown, widths, over)
    for column in sorted(shown, key=lambda c: c.least > 0):
        if column.brief is not None and over() < 0:
            _restore(column, rows, texts, widths, -over())


def _make_fit(shown: list[Column[T]], widths: dict[int, int], over: Callable[[], int]) -> None:
    while over() > 0:
        cuttable = [c for c in shown if c.least and widths[id(c)] > c.least]
        room = sum(widths[id(c)] - c.least for c in cuttable)
        droppable = [c for c in shown if c.drop]
        if room < over() and droppable:
            shown.remove(max(droppable, key=lambda c: c.drop))
            continue
        if not cuttable:
            return
        widest = max(cuttable, key=lambda c: widths[id(c)] - c.least)
        widths[id(widest)] -= 1


def _restore(
    column: Column[T],
    rows: Sequence[T],
    texts: dict[int, list[str]],
    widths: dict[int, int],
    spare: int,
) -> None:
    """Give a column its long form back: whole, or cut when enough of it can be read."""
    full = [clean(column.value(row)) for row in rows]
    wanted = _widest(column.title, full)
    room = widths[id(column)] + spare
    if wanted <= room or (column.least and spare >= READABLE):
        texts[id(column)] = full
        widths[id(column)] = min(wanted, room)
