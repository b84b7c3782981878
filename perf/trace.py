"""Claim: a message that is not traced costs nothing to speak of; one that is costs some spans.

One shard in this process gets the same frames of messages in rounds, each round under another way
of tracing, turn by turn, so that what the machine does besides hits all of them. A row is the
median over the rounds of the CPU time per message, and of its difference to the round before it
that traced nothing.

Goal: an unsampled message costs less than 0.3 us for it.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# The package `actors` before this folder, which has a benchmark of that name.
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if one != str(HERE)), str(HERE)]

from harness import options, scratch, show
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from caxton.agents.definition import AgentDefinition
from caxton.agents.directory import Directory, client_identity
from caxton.config import Config
from caxton.message import encode, make_message
from caxton.observe.spans import Spans
from caxton.observe.tracing import OFF, Tracing
from caxton.processes.tuning import tune
from caxton.routing.submission import Submission
from caxton.shard import Shard
from caxton.storage.registry import AgentRecord, ReloadRecord
from caxton.types import named_id, new_id

FRAME = 512
ROUND = 8 * FRAME
"""Messages of a round."""
WAYS = {"off": None, "on, 0 % sampled": 0.0, "on, 1 % sampled": 0.01, "on, all sampled": 1.0}


class Nowhere(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: Any) -> SpanExportResult:
        """Forget them."""
        if not all(isinstance(span, ReadableSpan) for span in spans):
            raise TypeError("not a span")
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to end."""


class Sink:
    """An agent that takes messages and says nothing."""

    concurrency = 8

    async def start(self) -> None:
        """Nothing to do."""

    def handle(self, message: Any, context: Any) -> tuple[()]:
        """Handle one message."""
        return ()

    async def close(self) -> None:
        """Nothing to do."""


class Origin:
    """Counts acknowledgements."""

    def __init__(self) -> None:
        self.acks = 0
        self.error: Exception | None = None

    def acked(self, references: Any, *, disk: bool) -> None:
        """Runs of references: first and count."""
        self.acks += sum(references[1::2])

    def refused(self, reference: int, error: Exception) -> None:
        """A benchmark that loses messages measures nothing."""
        self.error = error


async def measure(rounds: int) -> list[dict[str, Any]]:
    """Rounds of every way in turn."""
    root = scratch("trace")
    node_id = new_id()
    directory = Directory(node_id, 1)
    agent = named_id(node_id, "sink")
    definition = AgentDefinition(name="sink", capabilities=("sink",))
    directory.apply([AgentRecord(agent, "sink", 1, "sink.md", definition, "", ReloadRecord())])
    config = Config(agents=root, data=root / "data", shards=0, durability="process")
    nobody: Any = None
    sender = client_identity(node_id)
    conversations = [new_id() for _ in range(1_000)]
    spans = Spans(Nowhere(), version="0", node="perf", process="perf")
    tracings = {
        way: OFF if ratio is None else Tracing(spans, ratio, directory.name)
        for way, ratio in WAYS.items()
    }
    shard = Shard(
        config, 0, directory, nobody, nobody, nobody, lambda record: Sink(), lambda *words: None,
        tracings["on, all sampled"],
    )  # fmt: skip
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    origin, sent = Origin(), 0
    try:
        shard.start_agents()
        await asyncio.sleep(0)
        tune()
        for number in range(rounds + 1):
            for way, tracing in tracings.items():
                raws = [
                    encode(
                        make_message(
                            "inform", sender=sender, receiver=agent, content=b"x" * 100,
                            conversation_id=conversations[n % 1_000],
                        )
                    )
                    for n in range(ROUND)
                ]  # fmt: skip
                shard.router.trace_with(tracing)
                gc.collect()
                started = time.thread_time()
                for first in range(0, ROUND, FRAME):
                    frame = Submission(origin, sent + first, False, raws[first : first + FRAME])
                    shard.submit(frame)
                    await asyncio.sleep(0)
                sent += ROUND
                while origin.acks < sent or shard.router.counters.handled < sent:
                    await asyncio.sleep(0)
                    if origin.error is not None:
                        raise origin.error
                if number:
                    took[way].append((time.thread_time() - started) / ROUND * 1e6)
        return [
            {
                "tracing": way,
                "messages": rounds * ROUND,
                "us/msg": statistics.median(took[way]),
                "more than off": statistics.median(
                    mine - off for mine, off in zip(took[way], took["off"], strict=True)
                ),
            }
            for way in WAYS
        ]
    finally:
        await shard.stop(5)
        spans.close(5)
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    given = options(__doc__ or "").parse_args()
    rows = asyncio.run(measure(5 if given.quick else 40 * given.repeats))
    show("trace", rows, given, claims=["goal: under 0.3 us for an unsampled message"])


if __name__ == "__main__":
    main()
