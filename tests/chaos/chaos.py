"""A node under load while its processes are killed and stopped; nothing acknowledged may be lost.

Run it for long with ``python tests/chaos/chaos.py --kills 1000``; CI runs the short form. The seed
is printed: the same seed does the same harm in the same order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:] = [str(ROOT), str(HERE), str(ROOT / "tests" / "process"), *sys.path]

from chaos_checker import Handled, Report, check
from chaos_faults import Faults
from chaos_nemesis import Nemesis
from conftest_process import RunningNode, lives

from caxton.api.drafts import draft
from caxton.client import AsyncClient
from caxton.errors import CaxtonError, ConversationNotFound
from caxton.message import DeliveryOptions
from caxton.types import format_id, new_id

__all__ = ["Chaos", "RunningNode", "run"]

AGENTS = 4
AFTERWARDS, AFTERWARDS_S = 500, 60.0
"""Messages that have to be acknowledged after the last harm, and in how many seconds."""
CROWD = 50
"""Conversations of bursts."""
PART = 2_500
"""Messages of a burst in one request."""
OUTLIVE_S = 90.0
"""Longest that a process goes on without its supervisor: its drain, on a busy machine."""
PAUSE_S = 0.01
"""Between two requests of the steady load."""
STANDSTILL_S = 60.0
"""Without anything handled for so long, what is pending is not waited for."""
END = b"end"
FILE = """---
name: Recorder-{n}
capabilities: [recording]
python: recording:Recording
---
Writes down what it handles, and answers.
"""
CODE = """
import os
from pathlib import Path

from caxton import Agent

OUT = os.open(Path(__file__).parent.parent / "handled", os.O_WRONLY)


class Recording(Agent):
    def handle(self, message, context):
        number = message.text.split(maxsplit=1)[0]
        line = f"{message.conversation_id.hex()} {number} {message.message_id.hex()}\\n"
        os.write(OUT, line.encode())
        return "done"
"""
OPTIONS = DeliveryOptions(max_retries=10)


class Reader:
    """What the agents write down, in order, whichever processes they are in.

    It comes by a pipe: the disk that is full in a run is not theirs.

    Args:
        pipe: made new.
    """

    def __init__(self, pipe: Path) -> None:
        os.mkfifo(pipe)
        self.handled: list[Handled] = []
        # Open for writing too, so that it never ends, whoever writes comes and goes.
        self._file = os.open(pipe, os.O_RDWR)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        while not rest.endswith(END):
            *lines, rest = (rest + os.read(self._file, 1 << 16)).split(b"\n")
            for line in lines:
                key, number, message_id = line.decode().split()
                self.handled.append(Handled(key, int(number), message_id))

    def close(self) -> None:
        """Read no more."""
        os.write(self._file, END)
        self._thread.join(10)
        os.close(self._file)


class Chaos:
    """One node, hurt while it works.

    Args:
        folder: of its data and agents.
        shards: router processes.
        durability: ``disk`` or ``process``; both survive every SIGKILL.
        conversations: how many there are at once; each sends one message after the other.
    """

    def __init__(
        self, folder: Path, *, shards: int = 2, durability: str = "process", conversations: int = 64
    ) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
        self._arguments = ("--shards", str(shards), "--durability", durability, "--port", port)
        agents = folder / "examples" / "agents"
        agents.mkdir(parents=True)
        (agents / "recording.py").write_text(CODE)
        for n in range(AGENTS):
            (agents / f"Recorder-{n}.md").write_text(FILE.format(n=n))
        self.faults = Faults(folder / "faults")
        self._reader = Reader(agents.parent / "handled")
        self.node = self._start()
        self._bursts: deque[list[dict[str, Any]]] = deque()
        self._crowd: dict[str, None] = {}
        self._numbers = {format_id(new_id()): 0 for _ in range(conversations)}
        self.sent: dict[str, int] = {}
        self.acknowledged: list[str] = []
        self.refusals = 0

    def _start(self) -> RunningNode:
        return RunningNode(
            self.folder,
            *self._arguments,
            **self.faults.environment,
            CAXTON_STORAGE_KEEP_MESSAGES="100000000",
        )

    def family(self) -> list[psutil.Process]:
        """The supervisor's children."""
        try:
            return self.node.family()
        except psutil.Error:
            return []

    def restart(self) -> None:
        """Kill the supervisor alone: the others have to end by themselves; then start the node."""
        family = self.family()
        self.node.process.kill()
        self.node.process.wait(10)
        if self.node.process.stderr is not None:
            self.node.process.stderr.close()
        deadline = time.monotonic() + OUTLIVE_S
        while left := [one for one in family if lives(one)]:
            if time.monotonic() > deadline:
                names = [f"{one.pid} {one.status()} {' '.join(one.cmdline())[:60]}" for one in left]
                raise AssertionError(f"processes outlive their supervisor: {names}")
            time.sleep(0.02)
        self.node = self._start()

    def burst(self, messages: int, size: int) -> None:
        """Send so many messages at once, in conversations of their own, in no order."""
        bodies = []
        if len(self._crowd) < CROWD:
            self._crowd |= {format_id(new_id()): None for _ in range(CROWD // 5)}
        for key in random.choices(list(self._crowd), k=messages):
            body = self._draft(key, "0 ".ljust(size, "x"))
            self.sent[body["message_id"].replace("-", "")] = 0
            bodies.append(body)
        for first in range(0, messages, PART):
            self._bursts.append(bodies[first : first + PART])

    async def load(self, stop: asyncio.Event) -> None:
        """One message of each conversation after the other, each until it is acknowledged."""
        waiting: dict[str, dict[str, Any]] = {}
        url = self.node.url
        async with AsyncClient(url, timeout=5.0, retry=30.0) as client:
            while not stop.is_set() or waiting:
                for key in self._numbers:
                    if key not in waiting and not stop.is_set():
                        waiting[key] = self._next(key)
                left = await self._send(client, list(waiting.values()))
                waiting = {body["conversation_id"]: body for body in left}
                await asyncio.sleep(PAUSE_S)

    async def load_bursts(self, stop: asyncio.Event) -> None:
        """What ``burst`` asked for, until it is acknowledged."""
        async with AsyncClient(self.node.url, timeout=20.0, retry=30.0) as client:
            while not stop.is_set() or self._bursts:
                if not self._bursts:
                    await asyncio.sleep(0.01)
                    continue
                parts = [self._bursts.popleft() for _ in range(min(4, len(self._bursts)))]
                left = await asyncio.gather(*(self._send(client, part) for part in parts))
                self._bursts.extendleft(part for part in left if part)

    async def _send(self, client: AsyncClient, bodies: list[dict[str, Any]]) -> list[Any]:
        """Send once; what has to be sent again."""
        try:
            outcomes = await client.send_many(bodies)
        except CaxtonError:
            self.refusals += 1
            await asyncio.sleep(0.05)
            return bodies
        left = []
        for body, outcome in zip(bodies, outcomes, strict=True):
            if isinstance(outcome, CaxtonError):
                self.refusals += 1
                left.append(body)
            else:
                self.acknowledged.append(body["message_id"].replace("-", ""))
        return left

    def _draft(self, key: str, text: str) -> dict[str, Any]:
        receiver = f"Recorder-{int(key[-4:], 16) % AGENTS}"
        return draft(text, to=receiver, conversation_id=key, options=OPTIONS)

    def _next(self, key: str) -> dict[str, Any]:
        number = self._numbers[key]
        self._numbers[key] = number + 1
        body = self._draft(key, str(number))
        self.sent[body["message_id"].replace("-", "")] = number
        return body

    def handled(self) -> list[Handled]:
        """What the agents wrote down, in order."""
        return list(self._reader.handled)

    async def answers(self) -> list[str]:
        """What each answer in the conversations answers."""
        found: list[str] = []
        async with AsyncClient(self.node.url, timeout=20.0, retry=20.0) as client:
            for key in self._numbers | self._crowd:
                before = 0
                while True:
                    try:
                        page = await client.conversation(key, before=before)
                    except ConversationNotFound:
                        break  # Nothing was said in it.
                    found += [
                        one.message["in_reply_to"].replace("-", "")
                        for one in page.messages
                        if one.message["performative"] == "inform"
                    ]
                    before = page.before
                    if not before:
                        break
        return found

    async def settled(self) -> int:
        """Wait until everything acknowledged was handled and nothing is pending.

        What was pending when its process died is tried one at a time, so a long queue takes its
        time: this waits as long as something comes of it, and gives what is pending at the end.
        """
        most, deadline = -1, 0.0
        while True:
            done = {one.message_id for one in self.handled()}
            pending = await self._pending()
            if not pending and done.issuperset(self.acknowledged):
                return 0
            if len(done) > most:
                most, deadline = len(done), time.monotonic() + STANDSTILL_S
            if time.monotonic() > deadline:
                return pending
            await asyncio.sleep(0.2)

    async def _pending(self) -> int:
        async with AsyncClient(self.node.url, timeout=10.0, retry=10.0) as client:
            return sum(one.pending for one in (await client.node()).shards)

    async def dead_letters(self) -> int:
        """How many there are: none of these messages has a reason to fail."""
        async with AsyncClient(self.node.url, timeout=10.0, retry=10.0) as client:
            return len(await client.dead_letters())

    def end(self) -> None:
        """Stop the node."""
        with contextlib.suppress(psutil.Error):
            self.node.end()
        self._reader.close()


async def run(
    chaos: Chaos, kills: int, seed: int, pause_s: float
) -> tuple[Report, Nemesis, int, int]:
    """Hurt a node under load until ``kills`` processes were killed; then check what came of it.

    Gives the report, what was done, the dead letters and what was pending at the end.
    """
    nemesis = Nemesis(chaos, seed)
    stop = asyncio.Event()
    async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as load:
        load.create_task(chaos.load(stop))
        load.create_task(chaos.load_bursts(stop))
        try:
            while nemesis.kills < kills:
                await asyncio.to_thread(nemesis.harm, pause_s)
            # However little got through meanwhile: after the last harm the node goes on.
            wanted = len(chaos.acknowledged) + AFTERWARDS
            async with asyncio.timeout(AFTERWARDS_S):
                while len(chaos.acknowledged) < wanted:
                    await asyncio.sleep(0.05)
        finally:
            stop.set()
            limit.reschedule(asyncio.get_running_loop().time() + 120)
    pending = await chaos.settled()
    answers = await chaos.answers()
    dead = await chaos.dead_letters()
    report = check(chaos.sent, chaos.acknowledged, chaos.handled(), answers)
    return report, nemesis, dead, pending


def main() -> int:
    """The long form: one line of figures, and exit code 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--durability", choices=("disk", "process"), default="process")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two harms, most")
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr, flush=True)
    folder = Path(tempfile.mkdtemp(prefix="caxton-chaos-"))
    chaos = Chaos(folder, shards=given.shards, durability=given.durability)
    started = time.monotonic()
    try:
        report, nemesis, dead, pending = asyncio.run(
            run(chaos, given.kills, given.seed, given.pause)
        )
    finally:
        chaos.end()
    figures = {
        "seed": given.seed,
        "seconds": round(time.monotonic() - started),
        "harms": dict(nemesis.done),
        "kills": nemesis.kills,
        "dead_letters": dead,
        "pending": pending,
        "refusals": chaos.refusals,
        "faults": report.faults,
        **{name: value for name, value in asdict(report).items() if isinstance(value, int)},
    }
    print(json.dumps(figures))
    if report.faults or dead:
        print(f"kept for a look: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
