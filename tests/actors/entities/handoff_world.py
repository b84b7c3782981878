"""A cluster without processes: nodes, links and time that move when a test says so."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from actors.entities.coordinator import Coordinator
from actors.entities.handoff import (
    COORDINATOR,
    HandoffOptions,
    Payloads,
    Report,
    View,
)
from actors.entities.ring import slot_of
from actors.entities.shard import Shard


class Node:
    """A node: its shard, its host of entities with mailboxes, its transport."""

    def __init__(self, world: World, name: str, incarnation: int, *, proxy: bool) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.paused = False
        self.slots: set[int] = set()
        self.rounds: dict[int, int] = {}
        self.mail: dict[str, deque[Any]] = {}
        """Entities in memory, and what waits for them."""
        self.stopping: dict[int, Callable[[Payloads], None]] = {}
        self.shard = Shard(name, incarnation, self, self, world.options, proxy=proxy, now=world.now)

    # --- transport -------------------------------------------------------------------------------

    def send(self, node: str, message: Any) -> None:
        assert self.alive
        if isinstance(message, Report):
            assert node == COORDINATOR
            self.world.control.append((self.name, COORDINATOR, message))
        else:
            assert node != self.name
            self.world.data[self.name, node].append(message)

    # --- host ------------------------------------------------------------------------------------

    def accept(self, slot: int, round_: int) -> None:
        assert slot not in self.slots
        assert slot not in self.stopping
        for other in self.world.running():
            assert other is self or slot not in other.slots | other.stopping.keys(), "two owners"
        assert round_ > self.world.rounds[slot], "rounds only grow"
        self.world.rounds[slot] = round_
        self.slots.add(slot)

    def deliver(self, entity_id: str, payload: Any) -> None:
        assert self.alive
        assert slot_of(entity_id, self.world.options.slots) in self.slots
        self.mail.setdefault(entity_id, deque()).append(payload)

    def stop(self, slot: int, done: Callable[[Payloads], None]) -> None:
        self.slots.remove(slot)
        self.stopping[slot] = done

    def kill(self, slot: int) -> None:
        self.world.kills += 1
        self.slots.discard(slot)
        left = self.take(slot)
        done = self.stopping.pop(slot, None)
        if done is not None:
            done(left)
        else:
            self.world.lost.extend(payload for _, payload in left)

    def refuse(self, entity_id: str, payload: Any, reason: str) -> None:
        self.world.refused.append((payload, reason))

    def take(self, slot: int) -> Payloads:
        found = []
        for entity_id in list(self.mail):
            if slot_of(entity_id, self.world.options.slots) == slot:
                found += [(entity_id, payload) for payload in self.mail.pop(entity_id)]
        return tuple(found)

    def handle(self, entity_id: str) -> None:
        """One entity handles one message."""
        assert self.alive
        assert not self.paused
        for other in self.world.running():
            assert other is self or entity_id not in other.mail, "an entity lives twice"
        self.world.handled.append((entity_id, self.mail[entity_id].popleft()))

    def stopped(self, slot: int) -> None:
        """The entities of a slot have ended."""
        self.stopping.pop(slot)(self.take(slot))


class World:
    """The cluster."""

    def __init__(self, options: HandoffOptions) -> None:
        self.options = options
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.control: list[tuple[str, str, Any]] = []
        self.data: dict[tuple[str, str], deque[Any]] = defaultdict(deque)
        self.handled: list[tuple[str, Any]] = []
        self.refused: list[tuple[Any, str]] = []
        self.lost: list[Any] = []
        self.rounds: dict[int, int] = defaultdict(int)
        self.kills = 0
        self.cut: set[str] = set()
        """Nodes that the coordinator does not hear, nor they it."""
        self.sent: list[tuple[str, Any]] = []
        self.downs = 0
        self._incarnations = 0
        self._numbers: dict[tuple[str, str], int] = defaultdict(int)
        self.term = 1
        self.coordinator = Coordinator(self, options, now=0.0)

    def send(self, node: str, message: Any) -> None:
        """The coordinator's transport."""
        assert isinstance(message, View)
        self.control.append((COORDINATOR, node, message))

    def running(self) -> list[Node]:
        """Nodes whose code runs."""
        return [node for node in self.nodes.values() if node.alive and not node.paused]

    # --- what may happen -------------------------------------------------------------------------

    def join(self, name: str, *, proxy: bool = False) -> None:
        self._incarnations += 1_000
        for pair in list(self.data):
            if pair[1] == name:
                del self.data[pair]
        self.nodes[name] = Node(self, name, self._incarnations, proxy=proxy)
        self.nodes[name].shard.tick(self.now)

    def crash(self, name: str, *, told: bool) -> None:
        """A node dies; with ``told`` the coordinator is told at once, else its lease runs out."""
        self.nodes.pop(name).alive = False
        self.downs += 1
        if told:
            self.coordinator.node_down(name, self.now)

    def restart_coordinator(self) -> None:
        self.term += 1
        self.downs += 1
        self.coordinator = Coordinator(self, self.options, now=self.now, term=self.term)

    def tell(self, name: str, entity_id: str) -> None:
        """A sender of a node tells an entity something; its number is part of the message."""
        self._numbers[name, entity_id] += 1
        payload = (name, entity_id, self._numbers[name, entity_id])
        self.sent.append((entity_id, payload))
        self.nodes[name].shard.route(entity_id, payload)

    def carry(self, pair: tuple[str, str]) -> None:
        """The next data message of a link arrives."""
        message = self.data[pair].popleft()
        node = self.nodes.get(pair[1])
        if node is not None:
            node.shard.receive(pair[0], message, self.now)

    def carry_control(self, place: int, *, again: bool = False, drop: bool = False) -> None:
        """A control message arrives, out of any order."""
        sender, name, message = self.control[place]
        if not again:
            del self.control[place]
        if drop or sender in self.cut or name in self.cut:
            return
        if name == COORDINATOR:
            self.coordinator.receive(message, self.now)
        elif name in self.nodes and not self.nodes[name].paused:
            self.nodes[name].shard.receive(sender, message, self.now)

    def links(self) -> list[tuple[str, str]]:
        """Links with something to carry to a node that runs."""
        return [
            pair
            for pair, waits in self.data.items()
            if waits and not (pair[1] in self.nodes and self.nodes[pair[1]].paused)
        ]

    def wait(self, seconds: float) -> None:
        """Time passes; at most the grace at once, and nodes see it before the coordinator does."""
        self.now += seconds
        for node in self.running():
            node.shard.tick(self.now)
        self.coordinator.tick(self.now)

    # --- the end ---------------------------------------------------------------------------------

    def work(self) -> bool:
        """Everything that can happen without time happens; False when there was nothing."""
        busy = False
        while self.control:
            busy = True
            self.carry_control(0)
        for pair in self.links():
            busy = True
            while self.data[pair]:
                self.carry(pair)
        for node in self.running():
            for slot in list(node.stopping):
                busy = True
                node.stopped(slot)
            for entity_id in list(node.mail):
                while node.mail.get(entity_id):
                    busy = True
                    node.handle(entity_id)
        return busy

    def settle(self) -> None:
        """Let everything come to an end, without further faults."""
        self.cut.clear()
        for node in self.nodes.values():
            if node.paused:
                node.paused = False
                node.shard.tick(self.now)
        for last in [False] * 25 + [True]:
            for _ in range(200):
                if not self.work():
                    break
            else:
                raise AssertionError("it never rests")
            if last:
                return
            self.wait(self.options.lease_s / 4)

    def check(self) -> None:
        """The laws that hold whatever happened."""
        assert len({payload for _, payload in self.handled}) == len(self.handled), "handled twice"
        last: dict[tuple[str, str], int] = defaultdict(int)
        for _, (sender, entity_id, number) in self.handled:
            assert number > last[sender, entity_id], "out of order"
            last[sender, entity_id] = number

    def check_nothing_lost(self) -> None:
        """The law that holds as long as no node goes down."""
        assert sorted(self.handled) == sorted(self.sent)
        assert self.refused == []
        assert self.lost == []
        assert self.kills == 0
        for node in self.nodes.values():
            counts = node.shard.counts
            assert (counts.lost, counts.forced, counts.leases_lost) == (0, 0, 0)

    def check_balanced(self) -> None:
        """All slots have an owner, and each owner knows."""
        owners = self.coordinator.owners()
        members = self.coordinator.members
        if not members or (len(members) < self.options.min_nodes and not any(owners)):
            return
        assert set(owners) <= members
        assert self.coordinator.moving == 0
        for node in self.running():
            if node.shard.status == "member":
                assert node.slots == {s for s, owner in enumerate(owners) if owner == node.name}
                assert node.shard.counts.owned == len(node.slots)
                assert node.shard.counts.held == 0
                assert tuple(map(node.shard.owner_of, range(len(owners)))) == owners
