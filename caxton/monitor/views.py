"""Frames: a picture and the user's choices, drawn as lines for a terminal of a given size.

Works from 80×24 up; with 110 and 140 columns the tables show more. Without Unicode the lines are
ASCII, without colour nothing is lost: every state is also a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from rich.console import Group
from rich.text import Text

from caxton.cli.columns import GAP, Column, clean, lay_out, shorten
from caxton.monitor.quantities import (
    count_text,
    duration_text,
    latency_text,
    rate_text,
    sparkline,
)
from caxton.monitor.screen import VIEWS, Screen
from caxton.monitor.state import Flow, Picture
from caxton.monitor.tables import AGENTS, CONVERSATIONS, PROCESSES
from caxton.views import Event

__all__ = ["Screen", "draw_frame", "share"]

T = TypeVar("T")

FLOW_LINES = 4
LEAST_HEIGHT = 10


def share(room: int, wants: Sequence[int], floors: Sequence[int]) -> list[int]:
    """Divide ``room`` lines: each part gets its floor first, then lines in turn up to its want."""
    given = [min(want, floor) for want, floor in zip(wants, floors, strict=True)]
    while sum(given) > room:
        given[given.index(max(given))] -= 1
    left = room - sum(given)
    while left > 0 and any(g < w for g, w in zip(given, wants, strict=True)):
        for index, want in enumerate(wants):
            if left > 0 and given[index] < want:
                given[index] += 1
                left -= 1
    return given


def draw_frame(
    picture: Picture, screen: Screen, *, width: int, height: int | None, unicode: bool = True
) -> Group:
    """One frame.

    Args:
        picture: what to show.
        screen: how the user wants it.
        width: columns of the terminal.
        height: lines of the terminal; None for as many as it needs.
        unicode: False draws with ASCII alone.
    """
    frame = _Frame(picture, screen, width, unicode)
    room = None if height is None else max(LEAST_HEIGHT, height)
    lines = frame.lines(room)
    if not picture.connected:
        for line in lines[1:-1]:
            line.stylize("dim")
    for line in lines:
        line.truncate(width)
    return Group(*lines)


class _Frame:
    def __init__(self, picture: Picture, screen: Screen, width: int, unicode: bool) -> None:
        self.picture = picture
        self.screen = screen
        self.width = width
        self.unicode = unicode

    def lines(self, height: int | None) -> list[Text]:
        """The whole frame: header, warnings, the view's parts, the keys."""
        top = [self._header(), *self._warnings()]
        room = None if height is None else height - len(top) - 1
        if self.picture.node is None:
            waiting = f"waiting for the node: {clean(self.picture.reason)}"
            body = [Text(waiting)]
        elif self.screen.view == "agents":
            body = self._long("agents", AGENTS, self.picture.agents, room)
        elif self.screen.view == "conversations":
            body = self._long("conversations", CONVERSATIONS, self.picture.conversations, room)
        elif self.screen.view == "processes":
            body = self._long("processes", PROCESSES, self.picture.processes, room)
        else:
            body = self._overview(room)
        if room is not None:
            body = body[:room] + [Text("") for _ in range(room - len(body))]
        return [*top, *body, self._footer()]

    # --- first and last line -----------------------------------------------------------------

    def _header(self) -> Text:
        picture, node = self.picture, self.picture.node
        if node is None:
            return Text.assemble(("caxton monitor", "title"), ("  NOT CONNECTED", "warn"))
        if not picture.connected:
            return Text.assemble(
                (f"caxton {clean(node.version)}", "title"),
                ("  RECONNECTING", "warn"),
                f"  this is {duration_text(picture.age_s * 1_000)} old: {clean(picture.reason)}",
            )
        ready = sum(1 for row in picture.processes if row.view.state == "ready")
        facts = [
            f"up {duration_text(node.uptime_ms)}",
            f"proc {ready}/{len(picture.processes)}",
            f"agents {count_text(node.agents)}",
            f"conv {count_text(picture.conversations_open)}",
        ]
        line = Text.assemble(
            (f"caxton {clean(node.version)}", "title"),
            (f"  {node.state.upper()}", "ok" if node.state == "ready" else "warn"),
            f"  {'  '.join(facts)}",
        )
        line.append(f"  dead letters {count_text(picture.dead_letters)}",
                    "fail" if picture.dead_letters else "")  # fmt: skip
        if self.width >= 110 and node.memory.open:
            waiting = node.memory.unembedded
            line.append(f"  memory {count_text(node.memory.entities)}")
            if waiting:
                line.append(f" ({count_text(waiting)} wait for vectors)", "warn")
        if self.width >= 110:
            line.append(f"  {node.durability}  {clean(node.provider)}", "dim")
        if self.width >= 140:
            line.append(f"  {clean(node.url)}", "dim")
        return line

    def _warnings(self) -> list[Text]:
        node = self.picture.node
        if node is None:
            return []
        lines = [Text(f"warning: {clean(one)}", "warn") for one in node.warnings[:2]]
        if node.memory.note:
            lines.append(Text(f"memory: {clean(node.memory.note)}", "warn"))
        return lines

    def _footer(self) -> Text:
        screen = self.screen
        if screen.typing:
            return Text.assemble(("filter: ", "title"), f"{clean(screen.matching)}_",
                                 ("   enter keep   esc clear", "dim"))  # fmt: skip
        line = Text(" ")
        for number, name in enumerate(VIEWS, 1):
            line.append(f"{number} {name}", "title" if name == screen.view else "dim")
            line.append("  ")
        matching = f"/ {clean(screen.matching)}" if screen.matching else "/ filter"
        line.append(f"q quit  s {screen.sort}  {matching}", "dim")
        return line

    # --- parts -------------------------------------------------------------------------------

    def _rule(self, title: str) -> Text:
        stroke = "─" if self.unicode else "-"
        head = f"{stroke}{stroke} {title} "
        return Text(head + stroke * max(0, self.width - len(head)), "dim")

    def _overview(self, room: int | None) -> list[Text]:
        picture = self.picture
        wants = [len(picture.processes), max(1, len(picture.agents)), max(1, len(picture.events))]
        # Rules and column titles: one of the flow, two of each table, one of the events.
        if room is None:
            counts = [wants[0], min(wants[1], 20), min(wants[2], 12)]
        else:
            counts = share(room - FLOW_LINES - 1 - 5, wants, (3, 4, 3))
        shown = min(counts[1], len(picture.agents))
        return [
            self._rule("flow, 60 s"),
            *self._flows(),
            self._rule(_title("processes", counts[0], len(picture.processes))),
            *self._table(PROCESSES, picture.processes[: counts[0]]),
            self._rule(_title(f"agents by {self.screen.sort}", shown, picture.agents_total)),
            *self._table(AGENTS, picture.agents[: counts[1]]),
            self._rule("events"),
            *(self._events(picture.events[: counts[2]]) or [Text("nothing yet", "dim")]),
        ]

    def _flows(self) -> list[Text]:
        picture = self.picture
        cells = max(10, min(60, self.width - 66))
        routing, ack, commit = picture.routing_us, picture.ack_us, picture.commit_us
        pending, limit = picture.pending
        notes = (
            f"routed  p50 {latency_text(routing[0])}  p99 {latency_text(routing[1])}",
            f"acked  p50 {latency_text(ack[0])}  p99 {latency_text(ack[1])}",
            f"pending {count_text(pending)}/{count_text(limit)}",
        )
        lines = [
            self._flow(flow, cells, note) for flow, note in zip(picture.flows, notes, strict=True)
        ]
        commits = f"commit p50 {latency_text(commit[0])}  p99 {latency_text(commit[1])}"
        return [*lines, Text(f"{'journal':<8}{'':>{21 + cells}}  {commits}")]

    def _flow(self, flow: Flow, cells: int, note: str) -> Text:
        rate = "-" if flow.rate is None else rate_text(flow.rate)
        trend = sparkline(flow.history, cells, unicode=self.unicode)
        bad = flow.name == "failed" and bool(flow.rate)
        return Text.assemble(
            (f"{flow.name:<8}", "fail" if bad else "title"),
            f"{rate:>9}  {trend}{count_text(flow.total):>10}",
            f"  {note}",
        )

    def _table(self, columns: Sequence[Column[T]], rows: Sequence[T]) -> list[Text]:
        return [
            Text(GAP).join([Text(text, style) for text, style in cells])
            for cells in lay_out(columns, rows, self.width)
        ]

    def _events(self, events: Sequence[Event]) -> list[Text]:
        return [self._event(event) for event in events]

    def _event(self, event: Event) -> Text:
        bad = event.type == "dead_letter" or event.type.endswith("failed")
        style = "fail" if bad else "warn" if event.type.startswith("process.") else ""
        line = Text.assemble(
            (event.at[11:19], "dim"),
            (f" {clean(event.type)}", style),
            (f" {clean(event.subject)}", "name"),
            f"  {clean(event.text)}",
        )
        if len(line.plain) > self.width:
            return Text(shorten(line.plain, self.width), style)
        return line

    def _long(
        self, title: str, columns: Sequence[Column[T]], rows: Sequence[T], room: int | None
    ) -> list[Text]:
        """One table that fills the screen and scrolls."""
        fit = len(rows) if room is None else max(1, room - 2)
        self.screen.offset = min(self.screen.offset, max(0, len(rows) - fit))
        first = self.screen.offset
        part = rows[first : first + fit]
        where = f"{first + 1} to {first + len(part)} of {len(rows)}" if rows else "none"
        order = f" by {self.screen.sort}" if title == "agents" else ""
        return [self._rule(f"{title}{order}, {where}"), *self._table(columns, part)]


def _title(name: str, shown: int, total: int) -> str:
    return name if shown >= total else f"{name}, {shown} of {total}"
