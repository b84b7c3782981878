from __future__ import annotations

import io
from pathlib import Path

import pytest
from monitor_views import ManualClock, agent, conversation, node, process, shard, snapshot
from rich.console import Console
from rich.theme import Theme

from caxton.cli.output import STYLES
from caxton.monitor.state import MonitorState, Snapshot
from caxton.monitor.views import Screen, draw_frame, share
from caxton.views import Event, MemoryView

FRAMES = Path(__file__).parent / "frames"


def a_state(clock: ManualClock) -> MonitorState:
    state = MonitorState(clock)
    for second in range(12):
        total = second * second * 10
        state.feed(
            snapshot(
                shards=(shard(0, accepted=total, handled=total, pending=57), shard(1)),
                processes=(
                    process("supervisor", 100),
                    process("shard-0", 101, cpu_seconds=second * 0.5),
                    process("shard-1", 102, state="restarting", restarts=3),
                ),
            )
        )
        clock.now += 1
    clock.now -= 1
    state.add_event(Event(1, "2026-01-02T10:40:31.000Z", "process.restarted", "shard-1", "pid 102"))
    state.add_event(
        Event(
            2, "2026-01-02T10:40:58.000Z", "agent.reload_failed", "billing",
            "billing.md:7:3 `tool`: unknown key, did you mean `tools`? running 2.0.1",
        )
    )  # fmt: skip
    state.add_event(Event(3, "2026-01-02T10:41:02.000Z", "agent.reloaded", "analyst", "in 18 ms"))
    return state


def text_of(
    state: MonitorState, screen: Screen, width: int, height: int | None, unicode: bool = True
) -> str:
    console = Console(
        file=io.StringIO(), width=width, record=True, theme=Theme(STYLES), color_system=None
    )
    picture = state.picture(screen.sort, screen.matching)
    console.print(draw_frame(picture, screen, width=width, height=height, unicode=unicode))
    return "\n".join(line.rstrip() for line in console.export_text().splitlines()) + "\n"


@pytest.mark.parametrize("view", ["overview", "agents", "conversations", "processes"])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (110, 30), (140, 40)])
def test_frames_are_as_drawn_before(view: str, width: int, height: int) -> None:
    """Each view at each size is the frame in tests/caxton/monitor/frames."""
    frame = text_of(a_state(ManualClock()), Screen(view=view), width, height)
    golden = FRAMES / f"{view}-{width}.txt"
    assert frame == golden.read_text()
    lines = frame.splitlines()
    assert len(lines) == height
    assert max(len(line) for line in lines) <= width


def test_a_plain_frame_is_ascii() -> None:
    """Without Unicode every character of a frame is ASCII."""
    frame = text_of(a_state(ManualClock()), Screen(), 80, 24, unicode=False)
    assert frame.isascii()
    assert frame == (FRAMES / "overview-80-ascii.txt").read_text()


def test_a_failed_reload_is_on_the_first_screen() -> None:
    """At 80×24 the place of the error is with the agent and among the events."""
    frame = text_of(a_state(ManualClock()), Screen(), 80, 24)
    assert "FAILED 7:3" in frame
    assert "billing.md:7:3" in frame


def test_the_memory_is_in_the_header_where_there_is_room() -> None:
    """Once it was asked for anything; what is wrong with it is a line of its own at each size."""

    def drawn(memory: MemoryView, width: int) -> list[str]:
        state = MonitorState(ManualClock())
        state.feed(snapshot(memory=memory))
        return text_of(state, Screen(), width, 24).splitlines()

    assert "memory" not in drawn(MemoryView(), 140)[0]
    full = MemoryView(open=True, entities=1_234, unembedded=5, note="words only: it is away")
    assert "memory 1,234 (5 wait for vectors)" in drawn(full, 140)[0]
    for width in (80, 110, 140):
        lines = drawn(full, width)
        assert lines[1] == "memory: words only: it is away"
        assert len(lines) == 24
    well = drawn(MemoryView(open=True, entities=3), 110)
    assert "memory 3  disk" in well[0]
    assert not well[1].startswith("memory:")


def test_wider_frames_show_more() -> None:
    """Columns are added at 110 and 140, none is taken away."""
    titles = [
        set(next(line for line in text_of(a_state(ManualClock()), Screen(), width, 30).splitlines()
                 if line.startswith("AGENT")).split())
        for width in (80, 110, 140)
    ]  # fmt: skip
    assert titles[0] < titles[1] <= titles[2]


def test_a_lost_node_shows_its_last_picture_with_its_age() -> None:
    """The header says how old the picture is and why, and the rest is dim."""
    clock = ManualClock()
    state = a_state(clock)
    state.lost("connection refused")
    clock.now += 3
    frame = text_of(state, Screen(), 80, 24)
    assert "RECONNECTING  this is 3 s old: connection refused" in frame.splitlines()[0]
    assert "analyst" in frame
    console = Console(file=io.StringIO(), width=80, force_terminal=True, theme=Theme(STYLES))
    console.print(draw_frame(state.picture(), Screen(), width=80, height=24))
    assert "\x1b[2m" in console.file.getvalue()  # type: ignore[attr-defined]


def test_before_the_first_snapshot_the_frame_says_so() -> None:
    """A monitor that never reached its node says what it waits for."""
    state = MonitorState(ManualClock())
    state.lost("nobody there")
    frame = text_of(state, Screen(), 80, 24)
    assert "NOT CONNECTED" in frame
    assert "waiting for the node: nobody there" in frame


def test_warnings_of_the_node_are_shown() -> None:
    """Two warnings at most stand below the header."""
    clock = ManualClock()
    state = MonitorState(clock)
    state.feed(Snapshot(node(warnings=("one", "two", "three")), ()))
    frame = text_of(state, Screen(), 80, 24)
    assert "warning: one\nwarning: two\n" in frame
    assert "three" not in frame
    assert len(frame.splitlines()) == 24
    assert "nothing yet" in frame


def test_the_filter_is_shown_while_typed_and_after() -> None:
    """The last line is the filter as it is typed; afterwards it stays visible."""
    screen = Screen(matching="bill", typing=True)
    assert "filter: bill_" in text_of(a_state(ManualClock()), screen, 80, 24)
    screen.press("enter")
    frame = text_of(a_state(ManualClock()), screen, 110, 24)
    assert "/ bill" in frame.splitlines()[-1]
    assert "1 of 4" in frame


def test_a_long_table_scrolls_to_its_end_and_no_further() -> None:
    """The title says which rows are seen; scrolling stops at the last."""
    state = MonitorState(ManualClock())
    agents = tuple(agent(f"agent-{number:03d}") for number in range(100))
    state.feed(Snapshot(node(), agents, tuple(conversation(n) for n in range(3))))
    screen = Screen(view="agents", sort="name", offset=5)
    frame = text_of(state, screen, 80, 24)
    assert "6 to 25 of 100" in frame
    screen.offset = 1_000
    frame = text_of(state, screen, 80, 24)
    assert "81 to 100 of 100" in frame
    assert screen.offset == 80


def test_without_a_height_all_is_shown() -> None:
    """One printed picture is as long as it needs to be."""
    frame = text_of(a_state(ManualClock()), Screen(), 100, None)
    assert "shard-1" in frame
    assert "agent.reloaded" in frame
    assert text_of(a_state(ManualClock()), Screen(view="conversations"), 100, None)


def test_what_agents_say_commands_no_terminal() -> None:
    """Control characters in events and names are replaced."""
    state = a_state(ManualClock())
    state.add_event(Event(4, "", "agent.said\x1b[2J", "x\x07", "y\x9b"))
    assert "\x1b" not in text_of(state, Screen(), 140, 40)


@pytest.mark.parametrize(
    ("room", "wants", "floors", "given"),
    [
        (12, (3, 4, 9), (3, 4, 3), [3, 4, 5]),
        (12, (9, 9, 9), (3, 4, 3), [4, 5, 3]),
        (4, (9, 9, 9), (3, 4, 3), [1, 1, 2]),
        (30, (1, 2, 3), (3, 4, 3), [1, 2, 3]),
    ],
)
def test_lines_are_shared(
    room: int, wants: tuple[int, ...], floors: tuple[int, ...], given: list[int]
) -> None:
    """Floors come first, then each in turn; never more than there is or is wanted."""
    assert share(room, wants, floors) == given
    assert sum(share(room, wants, floors)) <= room
