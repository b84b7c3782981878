"""Entities over real processes: nodes join, leave and die under a stream of messages."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from actors_support import until

from actors import Actor, ActorSystem, ProcessSpec, ProcessSupervisor, RestartPolicy
from actors.entities.cluster import CoordinatorNode, EntityNode, _Lines
from actors.entities.handoff import Deliver, HandoffOptions, HandOver, Mark
from actors.entities.sharded import Parcel
from actors.remote import RemoteNode
from actors.remote.codec import StructCodec

TOKEN = b"secret"
HANDOFF = HandoffOptions(slots=48, move_absolute=12, move_relative=0.25, lease_s=5.0)
KEYS = [f"k{number}" for number in range(60)]


class Ledger(Actor):
    """A list that is on disk while the entity is not in memory."""

    def __init__(self, folder: Path, node: str, key: str) -> None:
        super().__init__()
        self.file = folder / f"{key}.json"
        self.node = node
        self.items: list[Any] = []

    def on_start(self) -> None:
        if self.file.exists():
            self.items = json.loads(self.file.read_text())

    def on_stop(self) -> None:
        self.file.write_text(json.dumps(self.items))

    def on_receive(self, message: Any) -> Any:
        if message == "list":
            return [self.node, self.items]
        self.items.append(message)
        return None


def connect(node: RemoteNode, me: str, folder: Path, names: list[str]) -> None:
    """Each pair of nodes has one link: the smaller name connects."""
    for name in names:
        if me < name:
            node.connect(name, folder / name)


async def shard(control: Any, folder: Path, names: list[str]) -> None:
    """A process that has entities."""
    me = control.name
    system = ActorSystem(me)
    node = RemoteNode(system, me, TOKEN, grace_s=1.0)
    await node.listen(folder / me)
    connect(node, me, folder, names)
    entities = EntityNode(
        node,
        "ledgers",
        lambda key: (Ledger, (folder, me, key), {}),
        coordinator="a-hub",
        handoff=HANDOFF,
    )
    leaving = asyncio.Event()
    control.on_word = lambda *_: leaving.set()
    control.ready()
    drained = asyncio.create_task(control.wait_drain())
    asked = asyncio.create_task(leaving.wait())
    await asyncio.wait((drained, asked), return_when=asyncio.FIRST_COMPLETED)
    if leaving.is_set():
        left = await entities.leave(20)
        control.tell("left", left, system.dead_letters.count)
        await drained
    else:
        await entities.close(5)
    asked.cancel()
    await node.close()
    await system.stop(5)


class Hub:
    """The parent: coordinator, and a sender without entities."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[Any] = []
        self.names = ["s1", "s2", "s3", "s4"]
        self.system = ActorSystem("hub")
        self.remote = RemoteNode(self.system, "a-hub", TOKEN, grace_s=1.0)
        connect(self.remote, "a-hub", folder, self.names)
        self.node = CoordinatorNode(self.remote, "ledgers", handoff=HANDOFF)
        self.entities = EntityNode(
            self.remote,
            "ledgers",
            lambda _: (Ledger, (folder, "a-hub", ""), {}),
            coordinator="a-hub",
            handoff=HANDOFF,
            proxy=True,
        )
        self.processes = ProcessSupervisor(
            "test",
            on_event=self._event,
            on_tell=lambda name, words: self.told.append((name, words)),
        )

    def _event(self, kind: str, name: str, _text: str) -> None:
        if kind == "exited":
            self.node.node_down(name)

    async def start(self, *names: str) -> None:
        policy = RestartPolicy(min_backoff_s=0.0, max_backoff_s=0.0)
        await self.processes.start(
            [ProcessSpec(name, shard, (self.folder, self.names), restart=policy) for name in names]
        )

    async def settled(self, *names: str) -> None:
        coordinator = self.node.coordinator
        await until(lambda: set(coordinator.owners()) == set(names), 30)
        shard = self.entities.sharded.shard
        await until(
            lambda: tuple(map(shard.owner_of, range(HANDOFF.slots))) == coordinator.owners(), 30
        )

    async def lists(self) -> dict[str, Any]:
        asked = [self.entities.ref(key).ask("list", block=False, timeout=20) for key in KEYS]
        return dict(zip(KEYS, [await one for one in asked], strict=True))


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    made = Hub(tmp_path)
    yield made
    await made.processes.stop(10)
    await made.entities.close(5)
    made.node.close()
    await made.remote.close()
    await made.system.stop(5)


@pytest.mark.process
async def test_processes_come_and_go_and_nothing_is_lost(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    await hub.start("s1", "s2")
    await hub.settled("s1", "s2")
    going = True
    sent = 0

    async def stream() -> None:
        nonlocal sent
        while going:
            for key in KEYS:
                hub.entities.ref(key).tell(sent)
            sent += 1
            await asyncio.sleep(0.002)

    task = asyncio.create_task(stream())
    await hub.start("s3")
    await hub.settled("s1", "s2", "s3")
    assert hub.processes.send("s1", "leave", None)
    await hub.settled("s2", "s3")
    await until(lambda: hub.told, 20)
    going = False
    await task
    lists = await hub.lists()
    assert sent > 10
    assert {node for node, _ in lists.values()} == {"s2", "s3"}
    for key in KEYS:
        assert lists[key][1] == list(range(sent)), key
    assert hub.told == [("s1", ("left", True, 0))]
    assert hub.system.dead_letters.count == 0

    # One dies without a word: its slots go on elsewhere, and come back with its replacement.
    pid = next(child.pid for child in hub.processes.children() if child.name == "s2")
    os.kill(pid, signal.SIGKILL)
    await until(lambda: "s2" not in hub.node.coordinator.members)
    await hub.settled("s2", "s3")
    lists = await hub.lists()
    assert {node for node, _ in lists.values()} == {"s2", "s3"}
    for _, items in lists.values():
        assert items == list(range(len(items))), "what was saved last is there"


async def test_what_finds_its_inlet_closed_is_refused(tmp_path: Path) -> None:
    """A line to its own process loses nothing without a word."""
    system = ActorSystem("t")
    remote = RemoteNode(system, "me", TOKEN)
    await remote.listen(tmp_path / "me")
    lines = _Lines(remote, "ledgers", "node", None)
    inlet = remote.exported("node:ledgers")
    assert inlet is not None
    await inlet.stop(block=False)
    refused: list[Any] = []
    first, second = Parcel("first"), Parcel("second")
    for message in (Deliver(1, 2, "k1", first), HandOver(1, 2, (("k2", second),)), Mark(1, 2)):
        lines.send("me", "node", StructCodec(), message, lambda *words: refused.append(words))
    assert refused == [("k1", first, "stopped"), ("k2", second, "stopped")]
    await remote.close()
    assert await system.stop(5)
