"""Claim: a node with a long past is in service in seconds.

A node is filled with messages in many conversations and stopped, or its shards and tools are
killed. Then it is started again on the same data folder; the time is from the start of the node to
the answer to its first request. Every message must still be in the journal then.

Goal: 1,000,000 journaled messages and 100,000 conversations, serving in under 5 s.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
# The package `actors` before this folder, which has a benchmark of that name.
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if one != str(HERE)), str(HERE)]

from harness import options, repeat, scratch, show
from route_load import Load, agents_folder

from caxton import Config, Node

SIZE = 200
"""Bytes of content."""
ANSWERS = """---
name: answers
python: answers:Answers
capabilities: [answers]
---
Says it again.
"""
CODE = """
from caxton import Agent


class Answers(Agent):
    def handle(self, message, context):
        return message.text
"""


def config(root: Path, count: int) -> Config:
    """The node of this benchmark."""
    return Config(
        agents=root / "agents", data=root / "data", shards=2, durability="process", watch=False,
        storage_keep_messages=2 * count,
    )  # fmt: skip


async def measure(count: int, conversations: int, *, killed: bool) -> dict[str, Any]:
    """Fill, end, start again."""
    root = scratch("start")
    agents_folder(root)
    (root / "agents" / "answers.md").write_text(ANSWERS)
    (root / "agents" / "answers.py").write_text(CODE)
    settings = config(root, count)
    try:
        async with Node(settings) as node:
            load = Load(node, SIZE, conversations=conversations)
            filled = await load.flat_out(count)
            while sum(one.handled for one in (await node.status()).shards) < count:
                await asyncio.sleep(0.05)
            if killed:
                for child in psutil.Process().children():
                    if child.cmdline()[0].startswith("caxton "):
                        child.kill()
        started = time.perf_counter()
        async with Node(settings) as node:
            ready = time.perf_counter() - started
            answer = await node.request("here?", to="answers")
            served = time.perf_counter() - started
            kept = sum(one.journal_messages for one in (await node.status()).shards)
        if answer.text != "here?" or kept < count:
            raise SystemExit(f"{kept:,} of {count:,} messages are kept")
        return {
            "ended by": "SIGKILL" if killed else "stop",
            "messages": count,
            "conversations": conversations,
            "filled in s": filled,
            "ready after s": ready,
            "first answer after s": served,
        }
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--messages", type=int, default=0)
    given = parser.parse_args()
    count = given.messages or (50_000 if given.quick else 1_000_000)
    repeats = 1 if given.quick else given.repeats
    rows = [
        repeat(repeats, partial(run, count, max(100, count // 10), killed))
        for killed in (False, True)
    ]
    show("start", rows, given, claims=["goal: serving in < 5 s"])


def run(count: int, conversations: int, killed: bool) -> dict[str, Any]:
    """One measurement."""
    return asyncio.run(measure(count, conversations, killed=killed))


if __name__ == "__main__":
    main()
