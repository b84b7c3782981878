"""The load of ``perf/route.py``: messages made as fast as they are sent, and what came of them."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from caxton import Node
from caxton.message import encode, make_message
from caxton.observe.histogram import Histogram
from caxton.types import new_id

__all__ = ["AGENTS", "Collector", "Load", "agents_folder"]

AGENTS = 8
CONVERSATIONS = 1_000
UNDER_WAY = 8_192
BATCH = 512
SETTLE_S = 60.0
AGENT = """---
name: sink-{n}
python: sink:Sink
capabilities: [sink]
---
Takes messages and says nothing.
"""
CODE = """
from caxton import Agent


class Sink(Agent):
    def handle(self, message, context):
        return None
"""


def agents_folder(root: Path) -> Path:
    """A folder with the agents that take the messages."""
    agents = root / "agents"
    agents.mkdir()
    for n in range(AGENTS):
        (agents / f"sink-{n}.md").write_text(AGENT.format(n=n))
    (agents / "sink.py").write_text(CODE)
    return agents


class Load:
    """Submits messages over the links that the gateway uses, and watches their acknowledgements.

    Each message has an id of its own; the rest is made before.

    Args:
        node: runs, with the agents.
        size: bytes of content.
        conversations: among which the messages go round.
    """

    def __init__(self, node: Node, size: int, conversations: int = CONVERSATIONS) -> None:
        self.gateway = gateway = node.gateway
        self.acked = 0
        self.refused = 0
        self.latency_us = Histogram()
        self._numbers = itertools.count()
        self._space = new_id()[:8]
        receivers = [gateway.agent_id(f"sink-{n}") for n in range(AGENTS)]
        self._parts: dict[int, list[tuple[bytes, bytes]]] = {n: [] for n in gateway.ports}
        for n in range(conversations):
            message = make_message(
                "inform",
                sender=gateway.identity,
                receiver=receivers[n % AGENTS],
                content=b"x" * size,
                conversation_id=new_id(),
            )
            before, after = encode(message).split(message.message_id)
            shard = gateway.directory.shard(message.conversation_id)
            self._parts[shard].append((before + self._space, after))

    @property
    def settled(self) -> int:
        """Messages of which the outcome is known."""
        return self.acked + self.refused

    def _messages(self, shard: int) -> Iterator[bytes]:
        numbers = self._numbers
        for before, after in itertools.cycle(self._parts[shard]):
            yield before + next(numbers).to_bytes(8, "big") + after

    async def flat_out(self, count: int = 0, seconds: float = 0.0) -> float:
        """Keep ``UNDER_WAY`` messages under way until so many, or so long; seconds to the last
        acknowledgement."""
        done = asyncio.Event()
        limit = UNDER_WAY // len(self._parts)
        started = time.perf_counter()
        ends = started + (seconds or 1e9)
        left = count or 1 << 62
        flying = 0

        def pump(shard: int, made: Iterator[bytes], under_way: list[int]) -> None:
            nonlocal left, flying
            while left and under_way[0] <= limit - BATCH and time.perf_counter() < ends:
                size = min(BATCH, left)
                left -= size
                flying += size
                under_way[0] += size
                sent = time.perf_counter()

                def settle(index: int, outcome: object, sent: float = sent) -> None:
                    nonlocal flying
                    self._settle(outcome, sent)
                    flying -= 1
                    under_way[0] -= 1
                    if under_way[0] <= limit - BATCH:
                        pump(shard, made, under_way)
                    if not flying:
                        done.set()

                part = list(itertools.islice(made, size))
                self.gateway.ports[shard].submitter.submit(part, settle)

        for shard in self._parts:
            pump(shard, self._messages(shard), [0])
        async with asyncio.timeout(seconds + 300):
            await done.wait()
        return time.perf_counter() - started

    async def open_loop(self, seconds: float, rate: Callable[[float], float]) -> int:
        """Offer ``rate(t)`` messages a second at ``t`` seconds; latency counts from when each was
        due. Returns how many were offered."""
        turns = itertools.cycle(
            [(shard, self._messages(shard)) for shard, parts in self._parts.items() if parts]
        )
        sent, due = 0, 0.0
        started = before = time.perf_counter()
        while before < started + seconds:
            now = time.perf_counter()
            pace = rate(before - started)
            due += (now - before) * pace
            number = int(due) - sent
            batches: dict[int, tuple[list[bytes], list[float]]] = {}
            for n in range(number):
                shard, made = next(turns)
                batch = batches.setdefault(shard, ([], []))
                batch[0].append(next(made))
                batch[1].append(before + n / pace)
            sent += number
            before = now
            for shard, (part, times) in batches.items():

                def settle(index: int, outcome: object, times: list[float] = times) -> None:
                    self._settle(outcome, times[index])

                self.gateway.ports[shard].submitter.submit(part, settle)
            await asyncio.sleep(0.001)
        async with asyncio.timeout(SETTLE_S):
            while self.settled < sent:
                await asyncio.sleep(0.001)
        return sent

    def _settle(self, outcome: object, since: float) -> None:
        self.latency_us.add(int((time.perf_counter() - since) * 1e6))
        if isinstance(outcome, Exception):
            self.refused += 1
        else:
            self.acked += 1


class _Take(BaseHTTPRequestHandler):
    """Takes spans and forgets them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _collect(pipe: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Take)
    pipe.send(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.recv()


class Collector:
    """An OTLP collector that keeps nothing, in a process of its own."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_collect, args=(theirs,), daemon=True)
        self._process.start()
        self.endpoint = f"http://127.0.0.1:{self._pipe.recv()}/v1/traces"

    def close(self) -> None:
        """End it."""
        self._pipe.send(None)
        self._process.join(10)
