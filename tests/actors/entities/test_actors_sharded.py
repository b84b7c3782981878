"""Laws of sharded entities: real systems and entities, over a transport in memory."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from actors_support import Boom, until

from actors import Actor, ActorSystem, AskTimeout, EntityUnavailable
from actors.entities.coordinator import Coordinator
from actors.entities.handoff import COORDINATOR, HandoffOptions, Report
from actors.entities.options import EntityOptions
from actors.entities.parcels import pack, unpack
from actors.entities.sharded import ShardedEntities
from actors.errors import RemoteError
from actors.remote.codec import StructCodec

SLOTS = HandoffOptions(slots=32, move_absolute=8, move_relative=0.25, lease_s=5.0)


class Cluster:
    """Nodes on one loop; what they send is packed, carried and unpacked."""

    def __init__(self, handoff: HandoffOptions = SLOTS) -> None:
        self.handoff = handoff
        self.nodes: dict[str, ShardedEntities] = {}
        self.systems: dict[str, ActorSystem] = {}
        self.saved: dict[str, list[Any]] = defaultdict(list)
        self.live: dict[str, str] = {}
        self.handled: list[tuple[str, str, Any]] = []
        self.codec = StructCodec()
        self.loop = asyncio.get_running_loop()
        self.coordinator = Coordinator(self, handoff, now=self.loop.time())
        self._ticking = self.loop.call_soon(self._tick)

    def _tick(self) -> None:
        self.coordinator.tick(self.loop.time())
        self._ticking = self.loop.call_later(0.1, self._tick)

    def send(self, node: str, message: Any, sender: str = COORDINATOR) -> None:
        refuse = self.nodes[sender].refuse if sender in self.nodes else None
        item = pack(self.codec, message, refuse)  # type: ignore[arg-type]  # a coordinator has none
        if item is not None:
            self.loop.call_soon_threadsafe(self._carry, sender, node, item)

    def _carry(self, sender: str, node: str, item: list[Any]) -> None:
        message = unpack(self.codec, item)
        if node == COORDINATOR:
            assert isinstance(message, Report)
            self.coordinator.receive(message, self.loop.time())
        elif node in self.nodes:
            self.nodes[node].receive(sender, message)

    def join(self, name: str, **options: Any) -> ShardedEntities:
        system = self.systems[name] = ActorSystem(name)
        outer = self

        class Line:
            def send(self, node: str, message: Any) -> None:
                outer.send(node, message, name)

        self.nodes[name] = ShardedEntities(
            system,
            name,
            "counters",
            lambda key: (Counter, (self, name, key), {}),
            Line(),
            EntityOptions(**options),
            handoff=self.handoff,
        )
        return self.nodes[name]

    async def settled(self, *names: str) -> None:
        await until(lambda: self.coordinator.members == set(names), 20)
        await until(lambda: not self.coordinator.moving, 20)
        owners = self.coordinator.owners()
        assert set(owners) == set(names)
        for name in names:
            shard = self.nodes[name].shard
            await until(
                lambda shard=shard: tuple(map(shard.owner_of, range(len(owners)))) == owners
            )  # type: ignore[misc]

    async def end(self) -> None:
        self._ticking.cancel()
        for node in self.nodes.values():
            await node.close(5)
        for system in self.systems.values():
            assert await system.stop(5)


class Counter(Actor):
    """Keeps a list over hand-offs."""

    def __init__(self, cluster: Cluster, node: str, key: str) -> None:
        super().__init__()
        self.cluster = cluster
        self.node = node
        self.key = key
        self.list: list[Any] = []

    def on_start(self) -> None:
        assert self.key not in self.cluster.live, "two owners"
        self.cluster.live[self.key] = self.node
        self.list = self.cluster.saved[self.key]
        assert self.cluster.nodes[self.node].round_of(self.key) > 0

    async def on_stop(self) -> None:  # type: ignore[override]  # as a save would be
        await asyncio.sleep(0)
        self.cluster.saved[self.key] = self.list
        del self.cluster.live[self.key]

    def on_receive(self, message: Any) -> Any:
        self.cluster.handled.append((self.node, self.key, message))
        if message == "boom":
            raise Boom("on purpose")
        if message == "odd":
            return object()
        if message == "list":
            return list(self.list)
        self.list.append(message)
        return message


async def test_messages_find_entities_on_all_nodes() -> None:
    cluster = Cluster()
    one, two = cluster.join("one"), cluster.join("two")
    await cluster.settled("one", "two")
    keys = [f"k{number}" for number in range(40)]
    for number in range(5):
        for key in keys:
            one.ref(key).tell(["one", number])
            two.ref(key).tell(["two", number])
    answers = [await one.ref(key).ask("list", block=False) for key in keys]
    await until(lambda: sum(len(items) for items in cluster.saved.values()) == 400)
    answers = [await two.ref(key).ask("list", block=False) for key in keys]
    for answer in answers:
        for who in ("one", "two"):
            assert [item[1] for item in answer if item[0] == who] == list(range(5))
    assert set(cluster.live.values()) == {"one", "two"}
    assert one.ref("k1").path == "/one/counters/k1"
    await cluster.end()


async def test_senders_keep_their_order_while_nodes_come_and_go() -> None:
    """A stream of tells from every node through joins and leaves: all handled once, in order."""
    cluster = Cluster()
    cluster.join("n1")
    await cluster.settled("n1")
    keys = [f"k{number}" for number in range(30)]
    sent = 0
    going = True

    async def stream() -> None:
        nonlocal sent
        number = 0
        while going:
            for name, node in list(cluster.nodes.items()):
                if name in staying:
                    for key in keys[number % 3 :: 3]:
                        node.ref(key).tell([name, number])
                        sent += 1
            number += 1
            await asyncio.sleep(0.001)

    staying = {"n1", "n2", "n3"}
    task = asyncio.create_task(stream())
    cluster.join("n2")
    await cluster.settled("n1", "n2")
    cluster.join("n3")
    await cluster.settled("n1", "n2", "n3")
    staying.discard("n1")
    assert await cluster.nodes["n1"].leave(20)
    await cluster.settled("n2", "n3")
    cluster.join("n4", active_limit=3)
    await cluster.settled("n2", "n3", "n4")
    for _ in range(3):
        # And back and forth.
        staying.discard("n4")
        assert await cluster.nodes["n4"].leave(20)
        cluster.join("n4", active_limit=3)
        await cluster.settled("n2", "n3", "n4")
    going = False
    await task
    await until(lambda: len(cluster.handled) == sent)
    last: dict[tuple[str, str], int] = defaultdict(lambda: -1)
    for _, key, (name, number) in cluster.handled:
        assert number > last[key, name]
        last[key, name] = number
    assert sum(node.shard.counts.lost for node in cluster.nodes.values()) == 0
    assert cluster.coordinator.moved > 32
    assert {node for node, _, _ in cluster.handled} == {"n1", "n2", "n3", "n4"}
    await cluster.end()
    assert all(system.dead_letters.count == 0 for system in cluster.systems.values())


async def test_asks_are_answered_over_moves() -> None:
    """An ask that waits while its entity moves is answered by the new owner."""
    cluster = Cluster()
    one = cluster.join("one")
    await cluster.settled("one")
    going = True
    answered = 0

    async def asking(number: int) -> None:
        nonlocal answered
        while going:
            assert await one.ref(f"k{number}").ask(answered, block=False) is not None
            answered += 1

    tasks = [asyncio.create_task(asking(number)) for number in range(20)]
    cluster.join("two")
    await cluster.settled("one", "two")
    cluster.join("three")
    await cluster.settled("one", "two", "three")
    going = False
    await asyncio.gather(*tasks)
    assert answered >= 20
    assert await asyncio.to_thread(one.ref("k1").ask, "list")
    await cluster.end()


async def test_errors_come_back_by_name() -> None:
    cluster = Cluster()
    one, two = cluster.join("one"), cluster.join("two")
    await cluster.settled("one", "two")
    slots = {key: one.shard.owner_of(one.shard.slot_of(key)) for key in "abcdefgh"}
    far = next(key for key, owner in slots.items() if owner == "two")
    with pytest.raises(RemoteError, match="on purpose") as caught:
        await one.ref(far).ask("boom", block=False)
    assert caught.value.reason == "Boom"
    with pytest.raises(RemoteError) as caught:
        await one.ref(far).ask("odd", block=False)
    assert caught.value.reason == "bad_answer"
    with pytest.raises(EntityUnavailable, match="not_encodable"):
        await one.ref(far).ask(object(), block=False)
    assert cluster.systems["one"].dead_letters.by_reason == {"not_encodable": 1}
    with pytest.raises(Boom):
        await two.ref(far).ask("boom", block=False)
    await cluster.end()


async def test_a_node_that_is_silent_loses_its_slots() -> None:
    """It kills its entities by itself, before the others get them; then it joins again."""
    cluster = Cluster(HandoffOptions(slots=16, lease_s=0.3, grace_s=0.1))
    one, two = cluster.join("one"), cluster.join("two")
    await cluster.settled("one", "two")
    keys = [f"k{number}" for number in range(30)]
    for key in keys:
        one.ref(key).tell(0)
    await until(lambda: len(cluster.handled) == 30)
    carry = cluster._carry

    def cut(sender: str, node: str, item: list[Any]) -> None:
        if "two" not in (sender, node):
            carry(sender, node, item)

    def killed(key: str) -> bool:
        # No on_stop runs in a killed entity.
        return key not in two.entities

    cluster._carry = cut  # type: ignore[method-assign]
    await until(lambda: two.shard.counts.leases_lost > 0)
    for key, where in list(cluster.live.items()):
        if where == "two":
            await until(lambda key=key: killed(key))  # type: ignore[misc]
            del cluster.live[key]
    await cluster.settled("one")
    assert [await one.ref(key).ask("list", block=False) for key in keys] == [[0]] * 30
    assert two.round_of(keys[0]) == 0
    cluster._carry = carry  # type: ignore[method-assign]
    await cluster.settled("one", "two")
    assert [await two.ref(key).ask("list", block=False) for key in keys] == [[0]] * 30
    await cluster.end()


async def test_without_a_coordinator_asks_end_at_their_deadline() -> None:
    cluster = Cluster()
    cluster._carry = lambda *_: None  # type: ignore[method-assign]
    one = cluster.join("one")
    with pytest.raises(AskTimeout):
        await one.ref("a").ask("x", block=False, timeout=0.02)
    assert not await one.leave(0.02)
    await cluster.end()
