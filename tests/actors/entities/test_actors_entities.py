"""Laws of a region: entities come with a message, go when idle, and lose nothing on the way."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from typing import Any

import pykka
import pytest
from actors_support import Bench, Boom, cell_of, until

from actors import (
    Actor,
    ActorSystem,
    AskFromLoop,
    AskTimeout,
    BlockingActor,
    EntityUnavailable,
    MailboxSpec,
    RestartPolicy,
)
from actors.entities.address import Entity
from actors.entities.entities import Entities
from actors.entities.options import EntityOptions


class World:
    """What outlives incarnations: what was handled and saved."""

    def __init__(self) -> None:
        self.handled: list[tuple[str, Any]] = []
        self.saved: dict[str, list[Any]] = defaultdict(list)
        self.starts: list[str] = []
        self.stops: list[str] = []
        self.live: dict[str, Any] = {}
        self.region: Entities | None = None

    def of(self, entity_id: str) -> list[Any]:
        return [message for key, message in self.handled if key == entity_id]


class Cart(Actor):
    """Keeps what it is told, over passivation."""

    def __init__(self, world: World, entity_id: str) -> None:
        super().__init__()
        self.world = world
        self.entity_id = entity_id
        self.items: list[Any] = []

    def on_start(self) -> None:
        assert self.entity_id not in self.world.live, "two incarnations at once"
        self.world.live[self.entity_id] = self
        self.world.starts.append(self.entity_id)
        self.items = list(self.world.saved[self.entity_id])

    def on_stop(self) -> None:
        del self.world.live[self.entity_id]
        self.world.stops.append(self.entity_id)
        self.world.saved[self.entity_id] = self.items

    def on_receive(self, message: Any) -> Any:
        self.world.handled.append((self.entity_id, message))
        if message == "boom":
            self.world.live.pop(self.entity_id, None)
            raise Boom("on purpose")
        if message == "items":
            return list(self.items)
        if message == "later":
            self.reply = self.defer_reply()
            return None
        if message == "stop":
            self.stop()
            return None
        if message == "tell more":
            assert self.world.region is not None
            self.world.region.passivate(self.entity_id)
        self.items.append(message)
        return None


def region(bench: Bench, world: World, **options: Any) -> Entities:
    """A region of carts."""
    made = Entities(
        bench.system, "carts", lambda key: (Cart, (world, key), {}), EntityOptions(**options)
    )
    world.region = made
    return made


def test_the_first_message_makes_the_actor() -> None:
    bench, world = Bench(throughput=8), World()
    carts = region(bench, world)
    cart = carts.ref("7")
    assert cart.path == "/bench/carts/7"
    assert cart == carts.ref("7")
    assert len({cart, carts.ref("7"), carts.ref("8")}) == 2
    assert "7" not in carts
    cart.tell("apple")
    cart.tell("pear")
    bench.dispatcher.run()
    assert "7" in carts
    assert world.of("7") == ["apple", "pear"]
    asked = cart.ask("items", block=False)
    bench.dispatcher.run()
    assert asked.get(timeout=0) == ["apple", "pear"]
    assert world.starts == ["7"]
    assert carts.counters().opened == 1


def test_an_idle_one_goes_and_comes_back_with_its_next_message() -> None:
    bench, world = Bench(throughput=8), World()
    carts = region(bench, world)
    cart = carts.ref("7")
    cart.tell("apple")
    bench.dispatcher.run()
    bench.dispatcher.advance(119)
    assert "7" in carts, "not idle long enough"
    bench.dispatcher.advance(3)
    assert "7" not in carts
    assert len(carts) == 0, "nothing is kept of it"
    assert world.stops == ["7"]
    assert carts.counters().passivated == {"idle": 1}
    assert bench.clock.timers == 0, "an empty region has no timer"
    asked = cart.ask("items", block=False)
    bench.dispatcher.run()
    assert asked.get(timeout=0) == ["apple"]
    assert world.starts == ["7", "7"]


def test_who_is_used_is_not_idle() -> None:
    bench, world = Bench(throughput=8), World()
    carts = region(bench, world, idle_s=16.0)
    for _ in range(50):
        carts.ref("used").tell("x")
        bench.dispatcher.advance(1)
    carts.ref("other").tell("x")
    for _ in range(40):
        carts.ref("used").tell("x")
        bench.dispatcher.advance(1)
    assert "used" in carts
    assert "other" not in carts
    assert world.starts == ["used", "other"]


@pytest.mark.parametrize("idle_s", [0.5, 3.0, 120.0, 5_000.0])
def test_the_idle_time_is_exact_to_two_ticks(idle_s: float) -> None:
    bench, world = Bench(throughput=8), World()
    options = EntityOptions(idle_s=idle_s)
    carts = region(bench, world, idle_s=idle_s)
    carts.ref("a").tell("x")
    bench.dispatcher.run()
    bench.dispatcher.advance(idle_s * 0.31)
    carts.ref("a").tell("x")
    bench.dispatcher.advance(idle_s * 0.999)
    assert "a" in carts
    bench.dispatcher.advance(idle_s * 0.001 + 2 * options.tick)
    assert "a" not in carts


def test_messages_that_come_meanwhile_go_to_the_next_incarnation_in_order() -> None:
    """While it passivates, and what is behind the stop in its mailbox."""
    bench, world = Bench(), World()
    carts = region(bench, world)
    cart = carts.ref("7")
    for number in range(5):
        cart.tell(number)
    while "7" not in carts:
        bench.dispatcher.step()
    cart.passivate()
    for number in range(5, 10):
        cart.tell(number)
        bench.dispatcher.step()
    for number in range(10, 15):
        cart.tell(number)
    bench.dispatcher.run()
    assert world.of("7") == list(range(15))
    assert world.starts == ["7", "7"]
    assert world.saved["7"] == list(range(len(world.saved["7"])))
    assert bench.letters == []
    assert carts.counters().held == 0


async def test_an_asynchronous_end_holds_messages() -> None:
    """``on_stop`` may take its time; asks that come meanwhile are answered by the next one."""
    gate = asyncio.Event()
    seen: list[Any] = []

    class Slow(Actor):
        async def on_stop(self) -> None:
            await gate.wait()
            seen.append("saved")

        async def on_receive(self, message: Any) -> Any:
            seen.append(message)
            return message

    system = ActorSystem("t")
    slow = Entities(system, "slow", lambda _: (Slow, (), {}))
    ref = slow.ref("a")
    assert await ref.ask(1, block=False) == 1
    ref.passivate()
    await until(lambda: slow.counters().closing == 1)
    ref.tell(2)
    asked = ref.ask(3, block=False)
    await asyncio.sleep(0)
    assert seen == [1]
    assert slow.counters().held == 2
    gate.set()
    assert await asked == 3
    assert seen == [1, "saved", 2, 3]
    assert await slow.close(5)
    assert await system.stop(5)
    assert system.dead_letters.count == 0


def test_beyond_the_active_limit_the_least_recently_used_go() -> None:
    bench, world = Bench(throughput=8), World()
    carts = region(bench, world, active_limit=10)
    for number in range(10):
        carts.ref(str(number)).tell("x")
    bench.dispatcher.run()
    bench.dispatcher.advance(2)
    for number in (0, 3):
        carts.ref(str(number)).tell("y")
    bench.dispatcher.run()
    for number in range(10, 14):
        carts.ref(str(number)).tell("x")
    bench.dispatcher.run()
    assert world.stops == ["1", "2", "4", "5"]
    assert carts.counters().passivated == {"limit": 4}
    assert carts.counters().active == 10


def test_a_hot_entity_stays_under_a_flood_of_new_ones() -> None:
    """Also within one tick, in which only the first use moves an entity."""
    bench, world = Bench(throughput=64), World()
    carts = region(bench, world, active_limit=64)
    for number in range(1_000):
        carts.ref("hot").tell("x")
        carts.ref(f"new-{number}").tell("x")
        bench.dispatcher.run()
    assert world.starts.count("hot") == 1
    assert len(world.of("hot")) == 1_000


def test_a_busy_one_is_not_idle() -> None:
    """One that somebody waits for, and one with something put aside."""
    bench, world = Bench(throughput=8), World()
    carts = region(bench, world, idle_s=16.0)
    asked = carts.ref("7").ask("later", block=False, timeout=None)
    bench.dispatcher.run()
    bench.dispatcher.advance(100)
    assert "7" in carts
    world.live["7"].reply.reply("at last")
    assert asked.get(timeout=0) == "at last"
    bench.dispatcher.advance(40)
    assert "7" not in carts

    class Aside(Actor):
        def on_receive(self, message: Any) -> None:
            if message == "go on":
                self.unstash_all()
            else:
                self.stash()

    aside = Entities(bench.system, "aside", lambda _: (Aside, (), {}), EntityOptions(idle_s=16.0))
    aside.ref("a").tell("x")
    bench.dispatcher.advance(100)
    assert "a" in aside
    assert cell_of(bench.system.cells()[0].ref)._extras.stash


async def test_one_in_a_long_handler_is_not_idle() -> None:
    gate = asyncio.Event()

    class Long(Actor):
        async def on_receive(self, message: Any) -> str:
            await gate.wait()
            return "done"

    system = ActorSystem("t")
    region = Entities(system, "long", lambda _: (Long, (), {}), EntityOptions(idle_s=0.002))
    asked = region.ref("a").ask("x", block=False)
    await until(lambda: "a" in region)
    await asyncio.sleep(0.05)
    assert "a" in region
    gate.set()
    assert await asked == "done"
    await until(lambda: len(region) == 0)
    assert await system.stop(5)


def test_memory_pressure_sheds_until_it_is_low() -> None:
    bench, world = Bench(throughput=64), World()
    share = 0.5
    carts = region(bench, world, memory=lambda: share, shed_batch=10, idle_s=None)
    for number in range(100):
        carts.ref(f"{number:02}").tell("x")
    bench.dispatcher.run()
    bench.dispatcher.advance(3)
    assert len(carts) == 100
    share = 0.81
    bench.dispatcher.advance(2)
    assert len(carts) == 80
    assert world.stops == [f"{number:02}" for number in range(20)]
    share = 0.78
    bench.dispatcher.advance(1)
    assert len(carts) == 70, "between the marks it goes on"
    share = 0.74
    bench.dispatcher.advance(5)
    assert len(carts) == 70
    share = 0.79
    bench.dispatcher.advance(5)
    assert len(carts) == 70, "between the marks it does not begin"
    assert carts.counters().passivated == {"memory": 30}


def test_a_reading_of_memory_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    bench, world = Bench(throughput=8), World()

    def reading() -> float:
        raise OSError("no /proc")

    carts = region(bench, world, memory=reading, idle_s=16.0)
    carts.ref("7").tell("x")
    bench.dispatcher.advance(30)
    assert "7" not in carts
    assert "no /proc" in caplog.text


def test_an_entity_may_wish_to_go() -> None:
    bench, seen = Bench(throughput=8), []

    class Brief(Entity):
        def on_receive(self, message: Any) -> None:
            seen.append((message, id(self)))
            if message == "last":
                self.passivate()

        def on_stop(self) -> None:
            seen.append(("stopped", id(self)))

    brief: Entities = Entities(bench.system, "brief", lambda key: (Brief, (brief.ref(key),), {}))
    for message in ("first", "last", "behind"):
        brief.ref("a").tell(message)
    bench.dispatcher.run()
    assert [what for what, _ in seen] == ["first", "last", "behind", "stopped"]
    assert brief.counters().passivated == {"wish": 1}
    brief.ref("nobody").passivate()
    bench.dispatcher.run()
    assert brief.counters().opened == 1


def test_one_that_stops_itself_comes_back() -> None:
    bench, world = Bench(throughput=8), World()
    carts = region(bench, world)
    for message in ("a", "stop", "b", "c"):
        carts.ref("7").tell(message)
    bench.dispatcher.run()
    assert world.of("7") == ["a", "stop", "b", "c"]
    carts.ref("7").tell("d")
    bench.dispatcher.run()
    assert world.starts == ["7", "7"]
    assert carts.counters().ended == 1


def test_one_that_failed_for_good_comes_back_with_what_waited() -> None:
    """The poison message is a dead letter; the others are handled, in their order."""
    bench, world = Bench(throughput=8), World()
    carts = region(bench, world)
    for message in (1, "boom", 2, "boom", "boom", "boom", "boom", 3):
        carts.ref("7").tell(message)
    asked = carts.ref("7").ask("items", block=False)
    bench.dispatcher.run()
    assert [m for m in world.of("7") if m != "boom"] == [1, 2, 3, "items"]
    assert asked.get(timeout=0) == [3]
    assert bench.dead() == ["boom"] * 5
    assert carts.counters().failed == 5
    assert carts.counters().opened == 6


def test_a_restart_policy_is_the_entitys_own() -> None:
    bench, world = Bench(throughput=8), World()
    policy = RestartPolicy(min_backoff_s=1.0, max_backoff_s=1.0, random_factor=0.0, intensity=1)
    carts = region(bench, world, restart=policy)
    carts.ref("7").tell("boom")
    bench.dispatcher.run()
    bench.dispatcher.advance(2)
    assert carts.counters().opened == 1
    assert world.starts == ["7", "7"]
    carts.ref("7").tell("boom")
    bench.dispatcher.run()
    assert carts.counters().failed == 1
    carts.ref("7").tell("x")
    bench.dispatcher.run()
    assert carts.counters().opened == 2


@pytest.mark.parametrize("where", ["factory", "constructor", "on_start"])
def test_one_that_cannot_start_answers_with_an_error(where: str) -> None:
    bench = Bench(throughput=8)
    healthy = False

    class Fragile(Actor):
        def __init__(self) -> None:
            super().__init__()
            if where == "constructor" and not healthy:
                raise Boom(where)

        def on_start(self) -> None:
            if where == "on_start" and not healthy:
                raise Boom(where)

        def on_receive(self, message: Any) -> Any:
            return message

    def factory(entity_id: str) -> Any:
        if where == "factory" and not healthy:
            raise Boom(where)
        return Fragile, (), {}

    fragile = Entities(bench.system, "fragile", factory)
    fragile.ref("a").tell("told")
    asked = fragile.ref("a").ask("asked", block=False)
    bench.dispatcher.run()
    with pytest.raises(EntityUnavailable, match="start_failed"):
        asked.get(timeout=0)
    assert [(x.envelope.message, x.reason) for x in bench.letters] == [
        ("told", "start_failed"),
        ("asked", "start_failed"),
    ]
    assert fragile.counters().start_failed == 1
    assert len(fragile) == 0
    healthy = True
    asked = fragile.ref("a").ask("again", block=False)
    bench.dispatcher.run()
    assert asked.get(timeout=0) == "again"


async def test_one_whose_asynchronous_start_fails_answers_with_an_error() -> None:
    class Fragile(Actor):
        async def on_start(self) -> None:
            await asyncio.sleep(0)
            raise Boom("no database")

    system = ActorSystem("t")
    fragile = Entities(system, "fragile", lambda _: (Fragile, (), {}))
    with pytest.raises(EntityUnavailable, match="start_failed"):
        await fragile.ref("a").ask("x", block=False)
    assert fragile.counters().failed == 1
    assert len(fragile) == 0
    assert await system.stop(5)


def test_one_that_never_takes_a_message_is_given_up() -> None:
    """It stops itself in its ``on_start``: no endless circle."""
    bench = Bench(throughput=8)

    class Shy(Actor):
        def on_start(self) -> None:
            self.stop()

    shy = Entities(bench.system, "shy", lambda _: (Shy, (), {}))
    asked = shy.ref("a").ask("x", block=False)
    bench.dispatcher.run(limit=1_000)
    with pytest.raises(EntityUnavailable):
        asked.get(timeout=0)
    assert shy.counters().opened == 3


def test_the_buffer_is_bounded() -> None:
    bench, world = Bench(throughput=8), World()
    carts = region(bench, world, buffer_limit=3)
    for number in range(5):
        carts.ref("7").tell(number)
    asked = carts.ref("8").ask("x", block=False)
    bench.dispatcher.run()
    assert world.handled == [("7", 0), ("7", 1), ("7", 2)]
    with pytest.raises(EntityUnavailable, match="entity_buffer_full"):
        asked.get(timeout=0)
    assert bench.dead() == [3, 4, "x"]
    assert bench.system.dead_letters.by_reason == {"entity_buffer_full": 3}
    assert carts.counters().refused == 3
    assert carts.counters().held == 0


def test_what_was_held_finds_room_in_a_small_mailbox() -> None:
    """The mailbox's bound is for messages to an entity in memory."""
    bench, world = Bench(throughput=8), World()
    carts = region(bench, world, mailbox=MailboxSpec(capacity=2))
    for number in range(50):
        carts.ref("7").tell(number)
    bench.dispatcher.run()
    assert world.of("7") == list(range(50))
    for number in range(5):
        carts.ref("7").tell(number)
    bench.dispatcher.run()
    assert bench.system.dead_letters.by_reason == {"mailbox_full": 3}


async def test_one_that_does_not_stop_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Actor):
        async def on_stop(self) -> None:
            await asyncio.Event().wait()

        def on_receive(self, message: Any) -> Any:
            return message

    system = ActorSystem("t")
    options = EntityOptions(stop_timeout_s=0.02, tick_s=0.005)
    stuck = Entities(system, "stuck", lambda _: (Stuck, (), {}), options)
    assert await stuck.ref("a").ask(1, block=False) == 1
    stuck.ref("a").passivate()
    await until(lambda: stuck.counters().closing == 1)
    asked = stuck.ref("a").ask(2, block=False)
    assert await asked == 2, "the next incarnation"
    assert stuck.counters().killed == 1
    assert "see what its on_stop waits for" in caplog.text
    assert not await stuck.close(0.01)
    assert await system.stop(5)


async def test_close_lets_what_was_told_be_handled() -> None:
    world = World()
    system = ActorSystem("t")
    carts = Entities(system, "carts", lambda key: (Cart, (world, key), {}))
    for number in range(1_000):
        carts.ref(str(number % 50)).tell(number)
    assert await carts.close(5)
    assert len(world.handled) == 1_000
    assert len(world.stops) == 50
    asked = carts.ref("7").ask("x", block=False)
    with pytest.raises(EntityUnavailable, match="entity_closed"):
        await asked
    assert system.dead_letters.by_reason == {"entity_closed": 1}
    assert await carts.close(5), "once more"
    assert await system.stop(5)


async def test_a_stopping_system_ends_it() -> None:
    """What cannot be handled any more is a dead letter, not an endless circle."""
    world = World()
    system = ActorSystem("t")
    carts = Entities(system, "carts", lambda key: (Cart, (world, key), {}))
    carts.ref("7").tell("x")
    await until(lambda: "7" in carts)
    assert await system.stop(5)
    carts.ref("7").tell("y")
    carts.ref("8").tell("z")
    await until(lambda: len(carts) == 0)
    assert world.stops == ["7"]
    assert system.dead_letters.by_reason == {"stopped": 2}


async def test_an_ask_has_a_deadline_also_while_it_is_held() -> None:
    gate = asyncio.Event()

    class Slow(Actor):
        async def on_start(self) -> None:
            await gate.wait()

        def on_receive(self, message: Any) -> Any:
            return message

    system = ActorSystem("t")
    slow = Entities(system, "slow", lambda _: (Slow, (), {}))
    with pytest.raises(AskTimeout) as caught:
        await slow.ref("a").ask("x", block=False, timeout=0.02)
    assert caught.value.path == "/t/slow/a"
    with pytest.raises(AskFromLoop):
        slow.ref("a").ask("x")
    gate.set()
    assert await slow.ref("a").ask("y", block=False) == "y"
    assert await asyncio.to_thread(slow.ref("a").ask, "z") == "z"
    assert await system.stop(5)


@pytest.mark.parametrize("blocking", [False, True])
async def test_many_threads_lose_nothing_and_keep_their_order(blocking: bool) -> None:
    """Threads send while the entities come and go all the time."""
    handled: dict[str, list[tuple[int, int]]] = defaultdict(list)
    live: set[str] = set()
    kind: type[Actor] = BlockingActor if blocking else Actor

    class Counter(kind):  # type: ignore[misc,valid-type]
        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

        def on_start(self) -> None:
            assert self.key not in live
            live.add(self.key)

        def on_stop(self) -> None:
            live.remove(self.key)

        def on_receive(self, message: Any) -> None:
            handled[self.key].append(message)
            pace.release()

    pace = threading.Semaphore(50)  # so that all of it does not wait for one incarnation
    system = ActorSystem("t")
    options = EntityOptions(active_limit=4, mailbox=MailboxSpec(capacity=100_000))
    region = Entities(system, "counters", lambda key: (Counter, (key,), {}), options)
    keys = [f"k{number}" for number in range(12)]
    each = 400

    def send(sender: int) -> None:
        for number in range(each):
            key = keys[(number * 7 + sender) % len(keys)]
            region.ref(key).tell((sender, number))
            if number % 5 == 0:
                region.passivate(key)
            pace.acquire(timeout=10)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    await until(lambda: sum(map(len, handled.values())) >= 4 * each, timeout_s=30)
    for thread in threads:
        thread.join()
    assert await region.close(10)
    assert await system.stop(5)
    assert sum(map(len, handled.values())) == 4 * each
    assert system.dead_letters.count == 0
    for key, messages in handled.items():
        for sender in range(4):
            numbers = [number for who, number in messages if who == sender]
            assert numbers == sorted(set(numbers)), key
    assert region.counters().opened > len(keys)


def test_slots_are_taken_and_given_back() -> None:
    """What waited for a slot's entities goes with it, in order; the rest goes elsewhere."""
    bench, world, away = Bench(), World(), []
    carts = Entities(
        bench.system,
        "carts",
        lambda key: (Cart, (world, key), {}),
        slot_of=lambda key: int(key) % 2,
        elsewhere=lambda key, envelope: away.append((key, envelope.message)),
    )
    carts.ref("1").tell("not here")
    assert away == [("1", "not here")]
    carts.accept(0)
    carts.accept(1)
    for number in range(10):
        carts.ref("1").tell(number)
        carts.ref("2").tell(number)
    while not world.of("1") or not world.of("2"):
        bench.dispatcher.step()
    moved: list[Any] = []
    carts.release(1, moved.extend)
    carts.ref("1").tell("behind")
    carts.ref("3").tell("elsewhere")
    bench.dispatcher.run()
    assert world.of("1") + [envelope.message for _, envelope in moved] == [*range(10), "behind"]
    assert "1" not in carts
    assert "2" in carts
    assert world.stops == ["1"]
    assert away[1:] == [("3", "elsewhere")]
    carts.ref("1").tell("gone")
    assert away[2:] == [("1", "gone")]
    carts.kill()
    assert world.of("2") == list(range(10))
    bench.dispatcher.run()
    assert len(carts) == 0
    assert world.stops == ["1"], "killed ones run no on_stop"


def test_options_are_checked() -> None:
    for wrong in (
        {"idle_s": 0.0},
        {"active_limit": 0},
        {"memory_high": 1.1},
        {"memory_low": 0.9},
        {"shed_batch": 0},
        {"buffer_limit": 0},
        {"stop_timeout_s": 0.0},
        {"tick_s": 0.0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            EntityOptions(**wrong)  # type: ignore[arg-type]
    bench = Bench()
    with pytest.raises(ValueError, match="elsewhere"):
        Entities(bench.system, "x", lambda _: (Cart, (), {}), slot_of=lambda _: 0)
    assert pykka.ActorRegistry.get_all() == []
