"""What the command line says: the one place that writes.

Data goes to stdout, talk to stderr. On a terminal there is colour and tables fit its width; in a
pipe there is neither. With ``--json`` errors are problem objects (RFC 9457) on stderr.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar

import msgspec
import orjson

from caxton.cli.columns import GAP, Cell, Column, clean, lay_out
from caxton.errors import CaxtonError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["FORMATS", "Output", "describe", "problem"]

T = TypeVar("T")

FORMATS: Final = ("table", "json", "jsonl", "yaml", "name")

STYLES: Final = {
    "title": "bold",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
    "dim": "dim",
    "name": "bold cyan",
}
"""The few styles there are. Each also has a word next to it: colour never carries a meaning."""

LEAST_WIDTH = 40


def describe(error: CaxtonError) -> tuple[str, str, str]:
    """An error as what happened, why, and what to do next."""
    why = (type(error).__doc__ or error.title).strip().splitlines()[0]
    return error.detail, why, error.remedy


def problem(error: CaxtonError) -> dict[str, Any]:
    """An error as a problem object with the members that the REST API uses."""
    body: dict[str, Any] = {
        "type": f"/docs/errors#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "retryable": error.retryable,
        "remedy": error.remedy,
    }
    listed = getattr(error, "errors", None)
    fields = {key: value for key, value in error.fields.items() if key not in body}
    body["fields"] = msgspec.to_builtins(fields, enc_hook=str)
    if isinstance(listed, tuple):
        body["errors"] = [
            {"detail": one.detail, **msgspec.to_builtins(one.fields, enc_hook=str)}
            for one in listed
            if isinstance(one, CaxtonError)
        ]
    return body


@dataclass
class Output:
    """How this invocation writes.

    Args:
        format: one of ``FORMATS``.
        quiet: no talk, only data and errors.
        color: False writes no escape sequence at all.
    """

    format: str = "table"
    quiet: bool = False
    color: bool = True
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)

    # --- data --------------------------------------------------------------------------------

    @property
    def structured(self) -> bool:
        """Whether programs read this."""
        return self.format in ("json", "jsonl", "yaml")

    @property
    def width(self) -> int | None:
        """Characters of a line on a terminal, at least 40; None in a pipe."""
        if not self.stdout.isatty():
            return None
        return max(LEAST_WIDTH, self.console().width)

    def console(self, *, talk: bool = False) -> Console:
        """A rich console on stdout, or on stderr for ``talk``."""
        from rich.console import Console
        from rich.theme import Theme

        stream = self.stderr if talk else self.stdout
        plain = not self.color or "NO_COLOR" in os.environ or not stream.isatty()
        return Console(
            file=stream,
            color_system=None if plain else "auto",
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
            theme=Theme(STYLES),
        )

    def text(self, text: str) -> None:
        """A line of data. On a terminal, what it would obey is taken out line by line."""
        if self.stdout.isatty():
            text = "\n".join(clean(line) for line in text.split("\n"))
        self.stdout.write(text if text.endswith("\n") else f"{text}\n")
        self.stdout.flush()

    def value(self, value: object) -> None:
        """One value in the structured format asked for."""
        plain = msgspec.to_builtins(value, enc_hook=str)
        if self.format == "yaml":
            self._yaml(plain)
        elif self.format == "jsonl":
            self.stdout.write(f"{orjson.dumps(plain).decode()}\n")
        else:
            self.stdout.write(f"{orjson.dumps(plain, option=orjson.OPT_INDENT_2).decode()}\n")
        self.stdout.flush()

    def _yaml(self, plain: object) -> None:
        from ruamel.yaml import YAML

        writer = YAML(typ="safe", pure=True)
        writer.default_flow_style = False
        writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
        writer.dump(plain, self.stdout)

    def items(
        self,
        rows: Sequence[T],
        columns: Sequence[Column[T]],
        *,
        name: Callable[[T], str],
        below: Callable[[T], str] = lambda _: "",
        empty: str = "",
        next_page_token: str = "",
    ) -> None:
        """A list: a table for people, ``{"items": [...]}`` or one line each for programs.

        Args:
            rows: what to list.
            columns: of the table.
            name: what ``-o name`` prints.
            below: a line to show under a row on a terminal, where columns are cut; empty for none.
            empty: what to say when there is nothing to list.
            next_page_token: where the next page starts.
        """
        if self.format == "jsonl":
            for row in rows:
                self.value(row)
        elif self.structured:
            self.value({"items": rows, "next_page_token": next_page_token})
        elif self.format == "name":
            for row in rows:
                self.text(name(row))
        elif not rows:
            self.talk(empty)
        else:
            lines = lay_out(columns, rows, self.width)
            self._line(lines[0])
            for row, cells in zip(rows, lines[1:], strict=True):
                self._line(cells)
                note = clean(below(row))
                if note and self.width is not None:
                    self._line(((f"{GAP}{note}", "fail"),))

    def table(self, rows: Sequence[T], columns: Sequence[Column[T]]) -> None:
        """A table for people, as a part of something larger."""
        for cells in lay_out(columns, rows, self.width):
            self._line(cells)

    def line(self, *cells: Cell) -> None:
        """A line made of styled pieces."""
        self._line(tuple((clean(text), style) for text, style in cells), gap="")

    def _line(self, cells: Sequence[Cell], gap: str = GAP) -> None:
        if not self.stdout.isatty():
            self.stdout.write(gap.join(text for text, _ in cells).rstrip() + "\n")
            return
        from rich.text import Text

        line = Text(gap).join([Text(text, style) for text, style in cells])
        line.rstrip()
        self.console().print(line)

    def render(self, renderable: RenderableType) -> None:
        """Something rich draws, such as a tree."""
        console = self.console()
        if self.width is None:
            console.width = 1_000
        with console.capture() as captured:
            console.print(renderable, soft_wrap=False)
        for line in captured.get().splitlines():
            self.stdout.write(f"{line.rstrip()}\n")
        self.stdout.flush()

    # --- talk --------------------------------------------------------------------------------

    def talk(self, text: str, style: str = "dim") -> None:
        """A line for people, on stderr; nothing with ``--quiet``."""
        if not text or self.quiet:
            return
        if self.stderr.isatty():
            self.console(talk=True).print(clean(text), style=style)
        else:
            self.notice(clean(text))

    def notice(self, text: str) -> None:
        """Text on stderr as it is, such as help after a wrong command line."""
        self.stderr.write(f"{text}\n")
        self.stderr.flush()

    @contextlib.contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """A spinner on stderr while something takes long; one line elsewhere, none for programs.

        Yields a function that changes the text.
        """
        if self.quiet or self.structured or not self.stderr.isatty():
            if not self.structured:
                self.talk(text)
            yield lambda _: None
            return
        with self.console(talk=True).status(text) as status:
            yield status.update

    def error(self, error: CaxtonError) -> None:
        """Say what happened, why and what to do, in three lines that end with the code."""
        if self.structured:
            self.problem(problem(error))
            return
        what, why, remedy = describe(error)
        self.failure(what, why, remedy, error.code)

    def failure(self, what: str, why: str, remedy: str, code: str) -> None:
        """The three lines of an error."""
        if not self.stderr.isatty():
            lines = (f"error: {clean(what)}", f"  why:  {clean(why)}")
            self.notice("\n".join((*lines, f"  next: {clean(remedy)} ({code})")))
            return
        from rich.text import Text

        console = self.console(talk=True)
        console.print(Text("error: ", "fail") + Text(clean(what), "not bold"))
        console.print(Text("  why:  ", "dim") + Text(clean(why)))
        console.print(Text("  next: ", "dim") + Text(f"{clean(remedy)} ({code})"))

    def problem(self, body: object) -> None:
        """A problem object on stderr."""
        self.stderr.write(f"{orjson.dumps(body).decode()}\n")
        self.stderr.flush()

    def raw(self, data: bytes) -> None:
        """Bytes as they are, for content that is not text."""
        self.stdout.flush()
        self.stdout.buffer.write(data)
        self.stdout.buffer.flush()

    def stream(self, values: Iterable[T], show: Callable[[T], None]) -> None:
        """Values as they come: one JSON line each for programs, else as ``show`` does it."""
        lines = Output("jsonl", self.quiet, self.color, self.stdout, self.stderr)
        for value in values:
            if self.structured:
                lines.value(value)
            else:
                show(value)
