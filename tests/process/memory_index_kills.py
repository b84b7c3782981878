"""Kill the memory's process again and again, mostly while it writes a snapshot of its index or
takes dead places out of it, and look at what is there afterwards.

``python tests/process/memory_index_kills.py --kills 200 --seed 1``. Each round is a process of its
own on the same folder. It looks at what the one before left: everything acknowledged is there, and
nothing else but what was being written; index and store agree; each entity is found by its vector
and by its word. Then it writes until it is killed: by a moment, or at a step of a snapshot or a
compaction.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from caxton.memory.backend import (
    CandidateQuery,
    Change,
    DeleteEntity,
    ModelInfo,
    PutEntity,
    Selection,
    Vectors,
)
from caxton.memory.embedded import holder, keyword_index, roster, snapshot, vector_index
from caxton.memory.embedded.backend import EmbeddedBackend
from caxton.memory.model import Entity, EntityKey, Observation, Scope

DIMENSION = 32
MODEL = ModelInfo("made", DIMENSION, "0" * 64)
WRITERS = 3
NAMES = 60
"""Of each writer."""
FOLLOWING = 5
"""Writes after the first snapshot: fewer than make another one."""
ROUND_S = 60.0
"""Longest time a round may take to get ready."""

State = dict[str, int]
"""Name of an entity to its version."""


def vector(writer: int, name: str, version: int) -> Vectors:
    seed = [writer, int(name), version]
    found = np.random.default_rng(seed).standard_normal((1 + version % 2, DIMENSION))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def entity(writer: int, name: str, version: int) -> Entity:
    texts = (Observation(f"word{writer}x{name}x{version} and more", 0),)
    scope = Scope.of_agent(f"writer{writer}")
    return Entity(scope, name, "thing", texts, version=version)


def change(writer: int, name: str, version: int, after: int) -> Change:
    """From ``version`` to ``after``; 0 is not there."""
    made = entity(writer, name, max(1, after))
    return PutEntity(made, vector(writer, name, after)) if after else DeleteEntity(made.key)


# --- the process that is killed ----------------------------------------------------------------


def small() -> None:
    """Make everything happen all the time."""
    holder.REPLAYABLE, holder.FEW = 40, 0  # type: ignore[misc]
    vector_index.LEAST_DEAD = roster.LEAST_DEAD = keyword_index.LEAST_DEAD = 10  # type: ignore[misc]
    keyword_index.FRESH, keyword_index.SEGMENTS = 60, 2  # type: ignore[misc]


def die_at(steps: int) -> None:
    """Let this process die at the so-manieth step of snapshots and compactions."""
    left = [steps]

    def step() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            step()
            answer = work(*given, **named)
            step()
            return answer

        return run

    for owner, name in (
        (snapshot, "capture"), (snapshot, "write"), (snapshot, "_bytes"), (snapshot, "_flush"),
        (snapshot, "forget_others"), (snapshot.os, "replace"),
        (keyword_index.KeywordIndex, "take"), (vector_index.VectorIndex, "compact"),
        (roster.Roster, "compact"), (holder.Store, "_trim"),
    ):  # fmt: skip
        setattr(owner, name, stepping(getattr(owner, name)))


class Child:
    def __init__(self, folder: Path, seed: int, told: int) -> None:
        self._backend = EmbeddedBackend(
            folder, map_bytes=1 << 30, disk=False, flat_below=30, snapshot_above=20
        )
        self._seed = seed
        self._told = told

    async def lay(self) -> None:
        """Leave a snapshot, a few changes after it, and die."""
        await self._backend.start(MODEL)
        state: State = {}
        for name in map(str, range(NAMES)):
            await self._say(state, name)
        await self._backend.optimize()
        for name in map(str, range(FOLLOWING)):
            await self._say(state, name)
        os.kill(os.getpid(), signal.SIGKILL)

    async def _say(self, state: State, name: str) -> None:
        """Write one entity of the first writer anew."""
        before, number = state.get(name, 0), sum(state.values()) + 1
        self._tell("try", 0, number, {name: before + 1})
        await self._backend.write([change(0, name, before, before + 1)])
        self._tell("ack", 0, number)
        state[name] = before + 1

    def _tell(self, *words: Any) -> None:
        os.write(self._told, json.dumps(words).encode() + b"\n")

    async def run(self) -> None:
        built = holder.built
        made = []

        def build(*given: Any, **named: Any) -> Any:
            made.append(1)
            return built(*given, **named)

        holder.built = build
        await self._backend.start(MODEL)
        holder.built = built
        states: list[State] = [{} for _ in range(WRITERS)]
        faults = [one.what for one in await self._backend.verify()]
        async for row in self._backend.scan(Selection(), vectors=True):
            writer = int(row.entity.scope.owner.removeprefix("writer"))
            name, version = row.entity.entity_name, row.entity.version
            states[writer][name] = version
            expected = vector(writer, name, version).astype(np.float16).astype(np.float32)
            if row.vectors is None or not np.array_equal(row.vectors, expected):
                faults.append(f"{row.entity.key} has other vectors")
        for writer, state in enumerate(states):
            faults += await self._search(writer, state)
        self._tell("ready", states, faults, not made)
        await asyncio.gather(*(self._write(n, state) for n, state in enumerate(states)))

    async def _search(self, writer: int, state: State) -> list[str]:
        faults = []
        names = random.Random(self._seed).sample(sorted(state), min(6, len(state)))
        for name in names:
            version = state[name]
            for text, given in (
                ("", vector(writer, name, version)[-1:]),
                (f"word{writer}x{name}x{version}", None),
            ):
                found = await self._backend.candidates(CandidateQuery(Selection(), 3, text, given))
                key = EntityKey.of(Scope.of_agent(f"writer{writer}"), name)
                if not found or found[0].entity.key != key:
                    faults.append(f"{key} is not found by {text or 'its vector'}")
        return faults

    async def _write(self, writer: int, state: State) -> None:
        """Write operations of one or more changes, one after the other, for ever."""
        rng = random.Random(self._seed * WRITERS + writer)
        number = 0
        while True:
            names = rng.sample(range(NAMES), rng.randint(1, 12))
            wanted = {}
            for name in map(str, names):
                version = state.get(name, 0)
                gone = version and rng.random() < 0.25
                wanted[name] = 0 if gone else version + 1
            number += 1
            self._tell("try", writer, number, wanted)
            await self._backend.write(
                [change(writer, name, state.get(name, 0), after) for name, after in wanted.items()]
            )
            self._tell("ack", writer, number)
            for name, after in wanted.items():
                if after:
                    state[name] = after
                else:
                    state.pop(name)
            if rng.random() < 0.02:
                await self._backend.optimize()


# --- the process that kills ---------------------------------------------------------------------


class Killer:
    """Runs rounds on a folder, and knows what has to be there."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._rng = random.Random(seed)
        self._states: list[State] = [{} for _ in range(WRITERS)]
        self._pending: list[dict[str, int] | None] = [None] * WRITERS
        self.acknowledged = 0
        self.at_steps = 0
        self.from_snapshot = 0

    def lay(self) -> None:
        """A process that leaves a snapshot and dies right after it, and one that starts from it."""
        assert not self.acknowledged
        self._round(0, 0, by_step=True, lays=True)
        assert self.acknowledged == NAMES + FOLLOWING, "it died before its snapshot"
        self._round(1, 0, by_step=False)
        assert self.from_snapshot == 1, "the start after the first snapshot was not from it"

    def round(self, number: int) -> None:
        """One process: looked at, then killed."""
        by_step = self._rng.random() < 0.6
        self._round(number, self._rng.randint(1, 120) if by_step else 0, by_step=by_step)

    def _round(self, number: int, steps: int, *, by_step: bool, lays: bool = False) -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            _live(self._folder, number, steps, writing, lays=lays)
        os.close(writing)
        try:
            self._watch(child, reading, by_step)
        finally:
            os.kill(child, signal.SIGKILL)
            os.close(reading)
            _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"the process ended by itself: {status}"
        assert os.WTERMSIG(status) == signal.SIGKILL

    def _watch(self, child: int, reading: int, by_step: bool) -> None:
        started, ends = time.monotonic(), None
        rest = b""
        ready = False
        while True:
            until = started + ROUND_S if ends is None else ends
            left = until - time.monotonic()
            if left <= 0 or not select.select([reading], [], [], left)[0]:
                # A process that is to die at a step may die before it is ready; not be silent.
                assert ready, f"not ready after {ROUND_S:.0f} s"
                break
            data = os.read(reading, 65_536)
            if not data:
                self.at_steps += by_step
                assert by_step, "the process ended by itself"
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                words = json.loads(line)
                ready = ready or words[0] == "ready"
                self._take(words)
            if ready and ends is None:
                # One that waits for its step gets time to come to it.
                ends = time.monotonic() + (3.0 if by_step else self._rng.uniform(0.01, 0.6))

    def _take(self, words: list[Any]) -> None:
        if words[0] == "ready":
            self._compare(words[1], words[2])
            self.from_snapshot += words[3]
        elif words[0] == "try":
            self._pending[words[1]] = words[3]
        else:
            self._states[words[1]] = _after(self._states[words[1]], self._pending[words[1]])
            self._pending[words[1]] = None
            self.acknowledged += 1

    def _compare(self, found: list[State], faults: list[str]) -> None:
        assert faults == [], faults
        for writer, (state, pending) in enumerate(zip(self._states, self._pending, strict=True)):
            after = _after(state, pending)
            assert found[writer] in (state, after), f"writer {writer}: {found[writer]}"
            self._states[writer], self._pending[writer] = found[writer], None


def _after(state: State, wanted: dict[str, int] | None) -> State:
    return {name: version for name, version in (state | (wanted or {})).items() if version}


def _live(folder: Path, seed: int, steps: int, told: int, *, lays: bool) -> None:
    """What a round's process does; does not return."""
    try:
        small()
        if steps:
            die_at(steps)
        child = Child(folder, seed, told)
        asyncio.run(child.lay() if lays else child.run())
    finally:
        os._exit(70)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        killer = Killer(Path(folder), given.seed)
        killer.lay()
        for number in range(given.kills):
            killer.round(given.seed * 100_000 + number)
            if number % 20 == 19:
                print(f"{number + 1} kills, {killer.acknowledged} operations acknowledged")
        killer.round(given.seed)
        print(
            f"seed {given.seed}: {given.kills + 2} kills, {killer.at_steps} of them at a step of a "
            f"snapshot or compaction, {killer.from_snapshot} starts from a snapshot; "
            f"{killer.acknowledged} operations acknowledged, none lost"
        )


if __name__ == "__main__":
    main()
