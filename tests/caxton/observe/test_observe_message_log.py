"""Lines in the log about messages that came to their end."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from caxton.config import Config
from caxton.errors import AgentFailed
from caxton.message import TraceContext, make_message
from caxton.observe import message_log
from caxton.observe.message_log import FIELDS, MessageLog, make_message_log
from caxton.observe.spans import Spans
from caxton.observe.tracing import Tracing
from caxton.types import format_id, new_id

sys.path.insert(0, str(Path(__file__).parents[1] / "routing"))
from engine import Engine, agent_id, reply

TRACE = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)


def lines(folder: Path) -> list[dict[str, Any]]:
    """What is in the log of an engine."""
    file = folder / "data" / "logs" / "caxton.log"
    return [orjson.loads(one) for one in file.read_bytes().splitlines()] if file.exists() else []


def engine_of(folder: Path, **settings: Any) -> Engine:
    def tracing(directory):
        spans = Spans(InMemorySpanExporter(), version="1", node="n", process="p")
        return Tracing(spans, 0.0, directory.name)

    (folder / "data" / "logs").mkdir(parents=True)

    def work(message, _):
        if message.content == b"fail":
            raise AgentFailed(agent="Work", attempts=1, reason="broken")
        return reply("done")

    return Engine(folder, {"Work": work}, tracing=tracing, retry_delay_ms=100, **settings)


async def test_a_line_has_every_field_and_no_content(tmp_path) -> None:
    """With ``all``: the message and its reply."""
    engine = engine_of(tmp_path, log_messages="all")
    asked = engine.message("Work", content="a secret thing")
    engine.submit(asked)
    await engine.settled()
    await engine.stop()
    first, answer = lines(tmp_path)
    assert list(first) == [name for name in FIELDS if name != "code"]
    assert first["level"] == "info"
    assert first["message"] == "handled"
    assert first["message_id"] == format_id(asked.message_id)
    assert first["conversation_id"] == format_id(asked.conversation_id)
    assert first["trace_id"] == asked.message_id.hex()
    assert first["span_id"] == asked.message_id[8:].hex()
    assert first["performative"] == "request"
    assert first["agent"] == "Work"
    assert first["agent_id"] == format_id(agent_id("Work"))
    assert first["process"] == "shard-0"
    assert 0 <= first["routing_time_us"] <= first["took_us"]
    assert first["timestamp"].endswith("+00:00")
    assert answer["sender"] == "Work"
    assert "secret" not in (tmp_path / "data/logs/caxton.log").read_text()


@pytest.mark.parametrize(
    ("which", "level", "wanted"),
    [
        ("none", "info", set()),
        ("failed", "info", {"failed"}),
        ("sampled", "info", {"failed", "traced"}),
        ("all", "info", {"failed", "traced", "plain"}),
        ("all", "warning", {"failed"}),
        ("all", "error", set()),
    ],
)
async def test_which_messages_have_a_line(tmp_path, which, level, wanted) -> None:
    """By the setting, the trace's verdict and the level."""
    engine = engine_of(tmp_path, log_messages=which, log_level=level)
    given = {
        "plain": engine.message("Work"),
        "traced": engine.message("Work", trace_context=TRACE),
        "failed": engine.message(capability="nothing-like-it"),
    }
    engine.submit(*given.values())
    await engine.settled()
    await engine.stop()
    logged = {one["message_id"]: one for one in lines(tmp_path)}
    assert {n for n, one in given.items() if format_id(one.message_id) in logged} == wanted
    if "traced" in wanted:
        assert logged[format_id(given["traced"].message_id)]["trace_id"] == TRACE.trace_id
    if "failed" in wanted:
        failed = logged[format_id(given["failed"].message_id)]
        assert failed["level"] == "warning"
        assert failed["code"] == "NO_CAPABILITY_PROVIDERS"
        assert "agent" not in failed


async def test_lines_that_nobody_writes_are_bounded_and_counted(
    tmp_path, monkeypatch, caplog
) -> None:
    """And one that is written says how many were left out."""
    monkeypatch.setattr(message_log, "BOUND", 3)
    log = made(tmp_path)
    for _ in range(5):
        log.ended(message(), None, 1, 2, 0, None)
    await log.close()
    assert len((tmp_path / "log").read_bytes().splitlines()) == 3
    assert "2 lines about messages were left out" in caplog.text


async def test_a_log_that_cannot_be_written_is_said_and_costs_nothing_else(
    tmp_path, caplog
) -> None:
    """The next lines are tried again."""
    (tmp_path / "log").mkdir()
    log = made(tmp_path)
    log.ended(message(), None, 1, 2, 0, None)
    with caplog.at_level(logging.ERROR):
        await log.close()
    assert "cannot be written" in caplog.text


async def test_a_rotated_file_is_left_alone(tmp_path, monkeypatch) -> None:
    """What comes later goes to a new one; while one write runs the next ones wait."""
    monkeypatch.setattr(message_log, "FLUSH_S", 0.001)
    log = made(tmp_path)
    for number in range(2):
        log.ended(message(), new_id(), 1, 2, 0, None)
        async with asyncio.timeout(5):
            while not (tmp_path / "log").exists():
                await asyncio.sleep(0.001)
        (tmp_path / "log").rename(tmp_path / f"log.{number}")
    await log.close()
    assert [(tmp_path / f"log.{n}").read_bytes().count(b"\n") for n in range(2)] == [1, 1]


def test_there_is_none_when_nothing_would_be_in_it(tmp_path) -> None:
    """No thread, no file."""
    config = Config(data=tmp_path, log_messages="none")
    assert make_message_log(config, new_id(), "shard-0", format_id) is None


def made(folder: Path) -> MessageLog:
    return MessageLog(
        folder / "log", "shard-0", new_id(), format_id, handled=True, all_handled=True
    )


def message():
    return make_message("inform", sender=new_id(), receiver=new_id())
