from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from monitor_views import AGENTS, ManualClock, agent, conversation, process, shard, snapshot

from caxton.monitor.quantities import (
    count_text,
    duration_text,
    latency_text,
    rate_text,
    size_text,
    sparkline,
)
from caxton.monitor.screen import Screen
from caxton.monitor.state import SORTS, MonitorState
from caxton.views import Event


def feed(state: MonitorState, clock: ManualClock, seconds: float, **changes: object) -> None:
    clock.now += seconds
    state.feed(snapshot(**changes))


def test_rates_are_differences_over_time() -> None:
    """Two snapshots make a rate; one alone makes none."""
    clock = ManualClock()
    state = MonitorState(clock)
    feed(state, clock, 0, shards=(shard(0, accepted=100), shard(1, accepted=50)))
    assert state.picture().flows[0].rate is None
    feed(state, clock, 2, shards=(shard(0, accepted=300), shard(1, accepted=50)))
    flow = state.picture().flows[0]
    assert flow.rate == 100.0
    assert flow.history == (100.0, 100.0)
    assert flow.total == 350


def test_snapshots_within_a_second_are_added_up() -> None:
    """Faster snapshots do not make the rate jump: a cell is a whole second."""
    clock = ManualClock()
    state = MonitorState(clock)
    for total in (0, 10, 20, 30, 40):
        feed(state, clock, 0.25, shards=(shard(0, accepted=total),))
    assert state.picture().flows[0].rate == 40.0
    assert state.picture().flows[0].history == (40.0,)


def test_a_counter_that_fell_was_restarted() -> None:
    """After a restart of a shard its whole new total counts, never a negative rate."""
    clock = ManualClock()
    state = MonitorState(clock)
    feed(state, clock, 0, shards=(shard(0, accepted=1_000),))
    feed(state, clock, 1, shards=(shard(0, accepted=30),))
    assert state.picture().flows[0].rate == 30.0


def test_another_node_starts_the_rates_anew() -> None:
    """Totals of a restarted node are not compared with those of the life before."""
    clock = ManualClock()
    state = MonitorState(clock)
    feed(state, clock, 0, shards=(shard(0, accepted=10),))
    feed(state, clock, 1, shards=(shard(0, accepted=900),), started_at="later")
    assert state.picture().flows[0].rate == 0.0


def test_history_holds_sixty_seconds() -> None:
    """However long it runs, the trend is one minute."""
    clock = ManualClock()
    state = MonitorState(clock)
    for total in range(100):
        feed(state, clock, 1, shards=(shard(0, accepted=total),))
    assert len(state.picture().flows[0].history) == 60


def test_processor_time_becomes_percent() -> None:
    """Half a second of processor time in one second is 50 percent."""
    clock = ManualClock()
    state = MonitorState(clock)
    feed(state, clock, 0, processes=(process("shard-0", 1, cpu_seconds=1.0),))
    assert state.picture().processes[0].cpu_percent is None
    feed(state, clock, 1, processes=(process("shard-0", 1, cpu_seconds=1.5),))
    assert state.picture().processes[0].cpu_percent == 50.0


def test_agents_are_ranked_by_trouble() -> None:
    """Failed first, then failed reloads, then full mailboxes, then the others by load."""
    clock = ManualClock()
    state = MonitorState(clock)
    feed(state, clock, 0)
    rows = state.picture().agents
    assert [row.view.name for row in rows] == ["writer", "billing", "scraper", "analyst"]
    assert [row.trouble for row in rows] == ["failed", "reload failed", "mailbox filling", ""]


def test_a_growing_mailbox_and_new_errors_are_trouble() -> None:
    """A mailbox that grows three times in a row, failures of late and other states are named."""
    clock = ManualClock()
    state = MonitorState(clock)
    for step in range(5):
        agents = (
            agent("growing", mailbox=step * 10),
            agent("failing", failed=step * 2),
            agent("ending", state="draining"),
            agent("fine", mailbox_limit=0, mailbox=1),
        )
        feed(state, clock, 1, agents_=agents)
    named = {row.view.name: row.trouble for row in state.picture().agents}
    assert named == {
        "growing": "mailbox growing", "failing": "errors", "ending": "draining", "fine": "",
    }  # fmt: skip
    feed(state, clock, 1, agents_=(agent("fine"),))
    assert [row.view.name for row in state.picture().agents] == ["fine"]


def test_agents_can_be_sorted_otherwise() -> None:
    """Each order puts its own first, and names break ties."""
    clock = ManualClock()
    state = MonitorState(clock)
    feed(state, clock, 0)
    feed(state, clock, 1, agents_=(agent("analyst", handled=400, mailbox=12), *AGENTS[1:]))
    first = {sort: state.picture(sort).agents[0].view.name for sort in SORTS}
    assert first == {
        "trouble": "writer", "name": "analyst", "mailbox": "scraper", "rate": "analyst",
        "failed": "writer",
    }  # fmt: skip


def test_an_event_told_twice_is_shown_once() -> None:
    """After a reconnection the node tells again what it still holds."""
    state = MonitorState(ManualClock())
    for number in (1, 2, 1, 2, 3):
        state.add_event(Event(number, "", "agent.loaded", "billing", "x"))
    assert [event.id for event in state.picture().events] == [3, 2, 1]


def test_a_filter_keeps_what_has_the_text() -> None:
    """Agents, conversations and events are filtered by the same text, in any case."""
    clock = ManualClock()
    state = MonitorState(clock)
    feed(state, clock, 0)
    state.add_event(Event(1, "", "agent.loaded", "billing", "x"))
    state.add_event(Event(2, "", "agent.loaded", "writer", "x"))
    picture = state.picture("trouble", "BILL")
    assert [row.view.name for row in picture.agents] == ["billing"]
    assert [event.subject for event in picture.events] == ["billing"]
    assert picture.conversations == ()
    assert picture.agents_total == 4


def test_a_lost_node_keeps_its_last_picture() -> None:
    """The age grows while the node is gone, and it is connected again with the next snapshot."""
    clock = ManualClock()
    state = MonitorState(clock)
    assert not state.connected
    assert state.picture().node is None
    feed(state, clock, 0)
    state.lost("")
    clock.now += 7
    picture = state.picture()
    assert (picture.connected, picture.age_s, picture.reason) == (False, 7.0, "no answer")
    assert picture.node is not None
    feed(state, clock, 0)
    assert state.connected


def test_latencies_are_those_of_the_slowest_shard() -> None:
    """A slow shard is not hidden by fast ones; without shards there is nothing."""
    clock = ManualClock()
    state = MonitorState(clock)
    feed(state, clock, 0, shards=(shard(0), shard(1, routing_p99_us=90_000, routing_p50_us=10)))
    assert state.picture().routing_us == (400, 90_000)
    feed(state, clock, 1, shards=())
    assert state.picture().routing_us == (0, 0)


def test_processes_that_are_not_ready_come_first() -> None:
    """With many shards the one that restarts is on the screen."""
    clock = ManualClock()
    state = MonitorState(clock)
    feed(state, clock, 0)
    assert state.picture().processes[0].view.name == "shard-1"


@given(st.lists(st.tuples(st.floats(0.01, 5), st.integers(0, 10_000)), max_size=40))
def test_rates_are_never_negative(steps: list[tuple[float, int]]) -> None:
    """Whatever totals come at whatever times, no rate is below zero."""
    clock = ManualClock()
    state = MonitorState(clock)
    for seconds, total in steps:
        feed(state, clock, seconds, shards=(shard(0, accepted=total, handled=total),))
    for flow in state.picture().flows:
        assert flow.rate is None or flow.rate >= 0
        assert len(flow.history) <= 60
        assert all(value >= 0 for value in flow.history)


def test_keys_change_the_screen() -> None:
    """Digits choose a view, s the order, / types a filter, q ends."""
    screen = Screen()
    for key, view in (
        ("2", "agents"),
        ("3", "conversations"),
        ("4", "processes"),
        ("1", "overview"),
    ):
        screen.press(key)
        assert screen.view == view
    for sort in (*SORTS[1:], SORTS[0]):
        screen.press("s")
        assert screen.sort == sort
    for key in ("down", "j", "page_down", "up", "k"):
        screen.press(key)
    assert screen.offset == 10
    screen.press("page_up")
    assert screen.offset == 0
    screen.press("down")
    screen.press("home")
    assert screen.offset == 0
    screen.press("resize")
    screen.press("q")
    assert screen.done


def test_a_filter_is_typed() -> None:
    """While typing, letters are text; enter keeps it, escape clears it."""
    screen = Screen()
    for key in ("/", "q", "s", "x", "backspace", "resize", "enter"):
        screen.press(key)
    assert (screen.matching, screen.typing, screen.done) == ("qs", False, False)
    screen.press("escape")
    assert screen.matching == ""
    for key in ("/", "a", "escape"):
        screen.press(key)
    assert (screen.matching, screen.typing) == ("", False)
    screen.press("/")
    for _ in range(100):
        screen.press("y")
    assert len(screen.matching) == 60


def test_quantities_are_short() -> None:
    """Numbers in few characters, with their unit."""
    assert [duration_text(ms) for ms in (900, 59_000, 61_000, 7_980_000, 270_000_000)] == [
        "0 s", "59 s", "1m01s", "2h13m", "3d03h",
    ]  # fmt: skip
    assert [latency_text(us) for us in (0, 20, 400, 38_000, 9_100_000)] == [
        "-", "<0.1 ms", "0.4 ms", "38 ms", "9.1 s",
    ]  # fmt: skip
    assert [size_text(b) for b in (512, 2_048, 48 << 20, 5 << 30, 3 << 40, 9_999 << 40)] == [
        "512 B", "2.0 KiB", "48 MiB", "5.0 GiB", "3.0 TiB", "9999 TiB",
    ]  # fmt: skip
    assert [count_text(n) for n in (0, 1_204, 1_200_000, 2_100_000_000)] == [
        "0", "1,204", "1.2M", "2.1G",
    ]  # fmt: skip
    assert [rate_text(r) for r in (0, 0.5, 1_204.0)] == ["0/s", "0.5/s", "1,204/s"]


def test_sparklines_scale_to_the_highest() -> None:
    """The newest value is at the right; without values the line is empty."""
    assert sparkline([0, 5, 10], 5, unicode=True) == "  ▁▄█"
    assert sparkline([0, 5, 10], 3, unicode=False) == "_~#"
    assert sparkline([], 4, unicode=True) == "    "
    assert sparkline([0, 0], 2, unicode=False) == "__"
    assert sparkline([1], 0, unicode=True) == ""
    assert len(sparkline(list(range(60)), 12, unicode=True)) == 12


def test_conversations_carry_their_pending() -> None:
    """The picture has the conversations as they came."""
    clock = ManualClock()
    state = MonitorState(clock)
    feed(state, clock, 0, conversations_=(conversation(7, pending=1),))
    assert state.picture().conversations[0].pending == 1
