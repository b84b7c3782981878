"""Laws of links over real Unix sockets, and over a connection that fails by a seed."""

from __future__ import annotations

import asyncio
import stat
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from actors_support import until

import actors.links.connection
import actors.links.frame
import actors.links.link
from actors import FrameError, Identity, Link, LinkClient, LinkFull, LinkRefused, LinkServer, Window
from actors.links.connection import HELLO_BYTES
from actors.links.endpoint import MAX_SOCKET_PATH
from actors.links.frame import FrameDecoder, encode_frame
from actors.links.hello import CONFIRM, HELLO, PING, PROTOCOL, Hello
from actors.testkit import Faults, FlakyPair

TOKEN = b"a secret of this node"
DATA = 7


class Owner:
    """The owner of links: writes down what it is told."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.life: list[str] = []
        self.before: Callable[[Link, bytes], None] | None = None

    def on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        if self.before is not None:
            self.before(link, payload)
        self.frames.append((kind, payload))

    def on_up(self, link: Link, fresh: bool) -> None:
        self.life.append("new" if fresh else "up")

    def on_down(self, link: Link) -> None:
        self.life.append("down")

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.frames]


class Net:
    """Servers, clients and strangers on one socket path, all closed after the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.near = Owner()
        self.far = Owner()
        self._servers: list[LinkServer] = []
        self._clients: list[LinkClient] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def server(self, epoch: int = 11, name: str = "server", **options: Any) -> LinkServer:
        server = LinkServer(self.path, Identity(name, TOKEN, epoch), self.far, **options)
        await server.start()
        self._servers.append(server)
        return server

    def client(self, epoch: int = 22, peer: str = "server", **options: Any) -> LinkClient:
        identity = Identity("client", options.pop("token", TOKEN), epoch)
        client = LinkClient(self.path, identity, peer, self.near, **options)
        client.start()
        self._clients.append(client)
        return client

    async def pair(self, **options: Any) -> tuple[LinkServer, LinkClient]:
        """A server and a client whose link is up."""
        server = await self.server(**options)
        client = self.client()
        await until(lambda: client.link.up)
        return server, client

    async def stranger(self, *data: bytes) -> asyncio.StreamReader:
        """A connection that says ``data``."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        self._writers.append(writer)
        writer.write(b"".join(data))
        return reader

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        for server in self._servers:
            await server.close()
        for writer in self._writers:
            writer.close()
        links = [client.link for client in self._clients]
        links += [link for server in self._servers for link in server.links.values()]
        await until(lambda: not any(link.up for link in links))
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    """One socket path and who meets there."""
    net = Net(tmp_path / "s")
    yield net
    await net.close()


def hello(**changes: Any) -> bytes:
    """The hello of a stranger that knows the token, but for ``changes``."""
    good = Hello(PROTOCOL, "client", 22, TOKEN, 0, 0, 1, 100, 1_000, 100_000)
    return encode_frame(HELLO, 0, msgspec.msgpack.encode(msgspec.structs.replace(good, **changes)))


async def closed(reader: asyncio.StreamReader) -> bytes:
    """What came before the other side closed, which it must within some seconds."""
    async with asyncio.timeout(5):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


class TestHello:
    """Who may talk."""

    async def test_both_sides_say_hello_and_are_up(self, net: Net) -> None:
        """After the hellos both sides are up and each knows the other as a new process."""
        server, client = await net.pair()
        assert server.links["client"].up
        assert net.near.life == ["new"]
        assert net.far.life == ["new"]
        assert client.link.peer == "server"

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"token": b"wrong"}, "the token is not this node's"),
            ({"token": b""}, "the token is not this node's"),
            ({"protocol": PROTOCOL + 1}, f"protocol {PROTOCOL + 1} spoken, {PROTOCOL} understood"),
            ({"name": "nobody"}, "'nobody' is not expected here"),
        ],
    )
    async def test_a_wrong_hello_is_refused_and_others_are_served(
        self, net: Net, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], reason: str
    ) -> None:
        """A wrong token, version or name closes that connection; the next client is served."""
        server = await net.server(accept=lambda name: name == "client")
        assert await closed(await net.stranger(hello(**changes))) == b""
        assert reason in caplog.text
        assert TOKEN.decode() not in caplog.text
        assert "nobody" not in server.links
        client = net.client()
        client.link.send(DATA, b"after")
        await until(lambda: net.far.payloads == [b"after"])

    @pytest.mark.parametrize(
        "data",
        [
            encode_frame(DATA, 1, b"too early"),
            encode_frame(CONFIRM, 0, msgspec.msgpack.encode(3)),
            encode_frame(HELLO, 0, b"no hello"),
            encode_frame(HELLO, 0, msgspec.msgpack.encode([1, "client", -1])),
            struct.pack(">I", 2**32 - 1),
            struct.pack(">I", 5) + b"xxxxx",
            hello() + hello(),
            hello() + encode_frame(DATA, 5, b"a gap"),
            hello() + encode_frame(CONFIRM, 0, b"\xc1"),
        ],
        ids=[
            "frame before hello",
            "confirm before hello",
            "malformed hello",
            "negative epoch",
            "too long",
            "garbage",
            "second hello",
            "gap",
            "malformed confirm",
        ],
    )
    async def test_what_is_no_conversation_is_closed(self, net: Net, data: bytes) -> None:
        """Garbage, a frame before the hello, a second hello or a gap closes only its connection."""
        await net.server()
        await closed(await net.stranger(data))
        assert net.far.frames == []
        client = net.client()
        client.link.send(DATA, b"after")
        await until(lambda: net.far.payloads == [b"after"])

    async def test_a_silent_stranger_is_closed(
        self, net: Net, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Who says no hello in time is shown out."""
        monkeypatch.setattr(actors.links.connection, "HELLO_TIMEOUT_S", 0.02)
        await net.server()
        assert await closed(await net.stranger()) == b""
        assert "no hello within" in caplog.text

    async def test_the_deadline_of_the_hello_spares_who_said_it(self, net: Net) -> None:
        """A link that is up outlives the hello's deadline."""
        _, client = await net.pair()
        connection = client.link._connection
        assert connection is not None
        connection._no_hello()
        await asyncio.sleep(0)
        assert client.link.up
        assert net.near.life == ["new"]

    async def test_the_client_refuses_a_wrong_server(
        self, net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A client takes no frames from a server of another name, and tries again."""
        server = await net.server(name="impostor")
        client = net.client()
        await until(lambda: caplog.text.count("'impostor' answered, 'server' was meant") >= 2)
        assert not client.link.up
        assert net.near.life == []
        await server.close()

    async def test_a_client_with_a_wrong_token_never_gets_up(
        self, net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A wrong token keeps a client out however often it tries."""
        server = await net.server()
        client = net.client(token=b"guess")
        await until(lambda: caplog.text.count("the token is not") >= 2)
        assert not client.link.up
        assert server.links == {}

    async def test_the_client_refuses_a_second_hello(self, net: Net) -> None:
        """A server that says hello twice on one connection is not believed."""
        server, client = await net.pair()
        server.links["client"]._say_hello()
        await until(lambda: "down" in net.near.life)
        await until(lambda: client.link.up)

    async def test_only_this_user_may_open_the_socket(self, net: Net) -> None:
        """The socket's mode is 0600 and it is removed on close."""
        server = await net.server()
        assert stat.S_IMODE(net.path.stat().st_mode) == 0o600
        await server.close()
        assert not net.path.exists()

    async def test_a_stale_socket_is_replaced(self, net: Net) -> None:
        """A socket file that a killed server left does not keep the next one from starting."""
        net.path.touch()
        await net.pair()

    async def test_a_too_long_path_is_refused(self, tmp_path: Path) -> None:
        """A path that no socket can have is refused with its length by server and client."""
        path = tmp_path / ("x" * MAX_SOCKET_PATH)
        identity = Identity("a", TOKEN)
        with pytest.raises(LinkRefused, match=f"at most {MAX_SOCKET_PATH} allowed"):
            await LinkServer(path, identity, Owner()).start()
        with pytest.raises(LinkRefused, match=f"at most {MAX_SOCKET_PATH} allowed"):
            LinkClient(path, identity, "b", Owner()).start()

    def test_the_token_is_not_shown(self) -> None:
        """An identity's repr has no token; its epoch is new for each."""
        assert "secret" not in repr(Identity("a", TOKEN))
        assert Identity("a", TOKEN).epoch != Identity("a", TOKEN).epoch

    async def test_closing_what_was_never_started(self, net: Net) -> None:
        """A server and a client that were never started close without a word."""
        identity = Identity("a", TOKEN)
        await LinkServer(net.path, identity, Owner()).close()
        await LinkClient(net.path, identity, "b", Owner()).close()

    async def test_close_shows_strangers_out(self, net: Net) -> None:
        """A server that closes leaves no connection open, not even of who said nothing yet."""
        server = await net.server()
        reader = await net.stranger()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await server.close()
        assert await closed(reader) == b""


class TestDelivery:
    """Order, windows and bounds."""

    async def test_frames_come_in_order_once_each_both_ways(self, net: Net) -> None:
        """What each side sends arrives in order, once, with its kind."""
        server, client = await net.pair()
        there = [(n % 90, b"%d" % n) for n in range(500)]
        back = [(n % 90, b"%d" % -n) for n in range(500)]
        for (kind, payload), (other_kind, other) in zip(there, back, strict=True):
            client.link.send(kind, payload)
            server.links["client"].send(other_kind, other)
        await until(lambda: len(net.far.frames) == len(net.near.frames) == 500)
        assert net.far.frames == there
        assert net.near.frames == back
        assert client.link.counters().sent_frames == client.link.counters().received_frames == 500

    async def test_confirmations_shrink_what_is_kept(self, net: Net) -> None:
        """What the consumer has taken is no longer kept by the producer."""
        _, client = await net.pair()
        for _ in range(100):
            client.link.send(DATA, b"x" * 100)
        assert client.link.waiting > 10_000
        await until(lambda: client.link.waiting == 0)
        assert len(net.far.frames) == 100

    @pytest.mark.parametrize("window", [Window(frames=3), Window(size=3 * 100)])
    async def test_the_window_stops_the_producer(self, net: Net, window: Window) -> None:
        """A paused consumer gets no more than its window; when it resumes it gets the rest."""
        server, client = await net.pair(window=window)
        link = server.links["client"]
        link.pause()
        for number in range(20):
            client.link.send(DATA, b"%02d" % number + b"x" * 98)
        await until(lambda: net.far.frames)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(net.far.frames) == 3
        assert client.link.waiting > 17 * 100
        link.resume()
        await until(lambda: len(net.far.frames) == 20)
        assert [payload[:2] for payload in net.far.payloads] == [b"%02d" % n for n in range(20)]
        await until(lambda: client.link.waiting == 0)

    async def test_a_frame_larger_than_the_window_still_goes(self, net: Net) -> None:
        """A frame beyond the byte window goes alone instead of never."""
        _, client = await net.pair(window=Window(size=10))
        for _ in range(3):
            client.link.send(DATA, bytes(1_000))
        await until(lambda: len(net.far.frames) == 3)

    async def test_what_waits_has_a_bound(self, net: Net) -> None:
        """Beyond its bound send raises LinkFull with the numbers and sends nothing."""
        client = net.client(window=Window(waiting=1_000))
        client.link.send(DATA, bytes(900))
        with pytest.raises(LinkFull) as caught:
            client.link.send(DATA, bytes(200))
        assert (caught.value.code, caught.value.peer, caught.value.limit) == (
            "link_full",
            "server",
            1_000,
        )
        client.link.send(DATA, b"fits")
        await net.server()
        await until(lambda: len(net.far.frames) == 2)
        assert net.far.payloads[1] == b"fits"

    async def test_a_too_long_payload_is_refused_and_costs_no_number(
        self, net: Net, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A payload too long for a frame raises and the next frame follows without a gap."""
        _, client = await net.pair()
        monkeypatch.setattr(actors.links.frame, "MAX_FRAME", 1_000)
        with pytest.raises(FrameError):
            client.link.send(DATA, bytes(1_001))
        client.link.send(DATA, b"next")
        await until(lambda: net.far.payloads == [b"next"])

    async def test_a_full_socket_holds_frames_back(self, net: Net) -> None:
        """While the socket takes no bytes nothing more is written; then all arrives."""
        server, client = await net.pair()
        connection = server.links["client"]._connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.pause_reading()
        for _ in range(8):
            client.link.send(DATA, bytes(1_000_000))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await until(lambda: client.link.blocked)
        written = client.link.counters().sent_frames
        client.link.send(DATA, b"last")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert client.link.counters().sent_frames == written
        connection.transport.resume_reading()
        await until(lambda: len(net.far.frames) == 9)
        assert not client.link.blocked

    async def test_a_frame_its_owner_could_not_take_comes_again(self, net: Net) -> None:
        """A frame whose handling raised is not confirmed: it comes again after a reconnect."""
        _, client = await net.pair()
        fails = 2

        def full(link: Link, payload: bytes) -> None:
            nonlocal fails
            if payload == b"b" and fails:
                fails -= 1
                raise LinkFull("next", 1, 1)

        net.far.before = full
        for payload in (b"a", b"b", b"c"):
            client.link.send(DATA, payload)
        await until(lambda: len(net.far.frames) == 3)
        assert net.far.payloads == [b"a", b"b", b"c"]
        await until(lambda: client.link.waiting == 0)


class TestReconnect:
    """What is not confirmed is sent again, to the same process or to its replacement."""

    async def test_frames_wait_for_the_first_connection(self, net: Net) -> None:
        """What either side sends before they meet arrives when they do."""
        client = net.client()
        client.link.send(DATA, b"early client")
        shortest = client._delay_s
        await until(lambda: client._delay_s > shortest)
        server = await net.server()
        server.expect("client").send(DATA, b"early server")
        assert server.expect("client") is server.links["client"]
        await until(lambda: net.far.frames and net.near.frames)
        assert net.far.payloads == [b"early client"]
        assert net.near.payloads == [b"early server"]

    async def test_a_cut_loses_and_repeats_nothing(self, net: Net) -> None:
        """After a cut the link comes back and goes on where the other side stopped."""
        server, client = await net.pair()
        link = server.links["client"]
        for cut in range(5):
            for number in range(50):
                client.link.send(DATA, b"%d" % (cut * 50 + number))
                link.send(DATA, b"%d" % (cut * 50 + number))
            await asyncio.sleep(0)
            connection = link._connection or client.link._connection
            assert connection is not None
            assert connection.transport is not None
            connection.transport.abort()
            await until(lambda: not client.link.up)
            await until(lambda: client.link.up and link.up)
        await until(lambda: len(net.far.frames) >= 250 and len(net.near.frames) >= 250)
        expected = [b"%d" % n for n in range(250)]
        assert net.far.payloads == expected
        assert net.near.payloads == expected
        assert net.near.life.count("new") == 1
        assert net.near.life.count("up") == net.near.life.count("down") == 5

    async def test_the_first_tries_after_a_loss_are_quick(self, net: Net) -> None:
        """A client that was up waits its shortest delay for the next try, whatever came before."""
        client = net.client()
        client._delay_s = 0.5
        server = await net.server()
        await until(lambda: client.link.up)
        assert client._delay_s < 0.5
        await server.close()

    async def test_a_new_server_gets_what_the_old_one_did_not_confirm(self, net: Net) -> None:
        """A replacement of the server gets every unconfirmed frame and is told as new."""
        server, client = await net.pair()
        server.links["client"].pause()
        for number in range(5):
            client.link.send(DATA, b"%d" % number)
        await until(lambda: len(net.far.frames) == 5)
        await server.close()
        await until(lambda: not client.link.up)
        client.link.send(DATA, b"5")
        net.far.frames.clear()
        await net.server(epoch=12)
        await until(lambda: len(net.far.frames) == 6)
        assert net.far.payloads == [b"%d" % n for n in range(6)]
        assert net.near.life == ["new", "down", "new"]

    async def test_a_confirmed_frame_is_not_sent_to_the_new_server(self, net: Net) -> None:
        """What was confirmed is the old server's; the new one begins behind it without a gap."""
        server, client = await net.pair()
        client.link.send(DATA, b"old")
        await until(lambda: net.far.frames and client.link.waiting == 0)
        await server.close()
        await until(lambda: not client.link.up)
        net.far.frames.clear()
        client.link.send(DATA, b"new")
        await net.server(epoch=12)
        await until(lambda: net.far.frames)
        assert net.far.payloads == [b"new"]

    async def test_a_new_client_of_the_same_name_begins_anew(self, net: Net) -> None:
        """A replacement of the client is told as new and its first frames are not taken for old."""
        server, client = await net.pair()
        client.link.send(DATA, b"a")
        await until(lambda: net.far.frames)
        await client.close()
        await until(lambda: not server.links["client"].up)
        server.links["client"].send(DATA, b"kept")
        second = net.client(epoch=23)
        second.link.send(DATA, b"b")
        await until(lambda: len(net.far.frames) == 2 and net.near.frames)
        assert net.far.payloads == [b"a", b"b"]
        assert net.near.payloads == [b"kept"]
        assert net.far.life == ["new", "down", "new"]

    async def test_a_new_connection_takes_the_place_of_an_old_one(self, net: Net) -> None:
        """When a peer comes back before its loss was seen, down is told before up."""
        server, client = await net.pair()
        client._closed = True
        reader = await net.stranger(hello(epoch=99), encode_frame(DATA, 1, b"second"))
        await until(lambda: net.far.payloads == [b"second"])
        assert net.far.life == ["new", "down", "new"]
        await until(lambda: not client.link.up)
        assert server.links["client"].up
        del reader

    async def test_repeated_frames_are_dropped(self, net: Net) -> None:
        """A frame with a number that was taken is dropped without a word."""
        await net.server()
        frames = [encode_frame(DATA, n, b"%d" % n) for n in (1, 2, 1, 2, 3)]
        reader = await net.stranger(hello(), *frames)
        await until(lambda: len(net.far.frames) == 3)
        assert net.far.payloads == [b"1", b"2", b"3"]
        decoder = FrameDecoder()
        got: list[int] = []
        async with asyncio.timeout(5):
            while CONFIRM not in got:
                got += [frame.kind for frame in decoder.feed(await reader.read(10_000))]

    async def test_pings_keep_a_quiet_link_up(
        self, net: Net, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two sides with nothing to say stay connected beyond the silence limit."""
        monkeypatch.setattr(actors.links.link, "PING_S", 0.02)
        monkeypatch.setattr(actors.links.link, "SILENCE_S", 0.5)
        loop = asyncio.get_running_loop()
        server, client = await net.pair()
        heard = client.link._last_heard
        started = loop.time()
        await until(lambda: client.link._last_heard > heard)
        await until(lambda: server.links["client"]._last_heard > started)
        assert net.near.life == ["new"]

    async def test_a_silent_peer_is_dropped(
        self, net: Net, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A peer of which nothing came for the limit is disconnected; it was pinged before."""
        monkeypatch.setattr(actors.links.link, "PING_S", 0.01)
        monkeypatch.setattr(actors.links.link, "SILENCE_S", 0.04)
        await net.server()
        reader = await net.stranger(hello())
        decoder = FrameDecoder()
        kinds = [frame.kind for frame in decoder.feed(await closed(reader))]
        assert kinds[0] == HELLO
        assert set(kinds[1:]) <= {PING}
        await until(lambda: net.far.life == ["new", "down"])
        assert "silent for" in caplog.text

    async def test_a_ping_on_a_link_that_is_down_is_none(self, net: Net) -> None:
        """A link without a connection pings, confirms and closes without a word."""
        link = LinkServer(net.path, Identity("a", TOKEN), net.far).expect("b")
        link._send_ping()
        link._send_confirm()
        link._write(PING, b"")
        link.close()
        assert not link.up


class TestFlaky:
    """The same laws while a seeded network drops, repeats, delays and cuts."""

    def link(self, name: str, peer: str, owner: Owner, epoch: int) -> Link:
        return Link(
            Identity(name, TOKEN, epoch),
            peer,
            on_frame=owner.on_frame,
            on_up=owner.on_up,
            on_down=owner.on_down,
            window=Window(frames=16),
        )

    @pytest.mark.parametrize("seed", range(16))
    async def test_each_frame_once_and_in_order(self, seed: int) -> None:
        """Whatever the network does, each side gets each frame of the other once, in order."""
        near, far = Owner(), Owner()
        left, right = self.link("l", "r", near, 1), self.link("r", "l", far, 2)
        faults = Faults(drop=0.02, duplicate=0.1, delay=0.1, cut=0.02)
        pair = FlakyPair(left, right, seed=seed, faults=faults)
        print(pair)
        pair.connect()
        expected = [b"%d" % n for n in range(400)]
        for number, payload in enumerate(expected):
            left.send(DATA, payload)
            right.send(DATA, payload)
            if number % 7 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(near.frames) >= 400 and len(far.frames) >= 400)
        assert near.payloads == expected, pair
        assert far.payloads == expected, pair
        assert min(pair.cuts, pair.duplicated, pair.delayed) > 0, pair
        pair.calm()
        pair.cut()
        await until(lambda: left.waiting == right.waiting == 0)
        assert near.life.count("new") == 1
        pair.close()
        await until(lambda: not left.up and not right.up)
        assert not pair.connected

    async def test_faults_may_hit_one_kind_only(self) -> None:
        """Only frames of the named kinds suffer."""
        near, far = Owner(), Owner()
        left, right = self.link("l", "r", near, 1), self.link("r", "l", far, 2)
        faults = Faults(duplicate=1.0, kinds=frozenset({DATA}))
        pair = FlakyPair(left, right, seed=1, faults=faults)
        pair.connect()
        pair.connect()
        left.send(DATA, b"a")
        left.send(DATA + 1, b"b")
        await until(lambda: len(far.frames) == 2 and left.waiting == 0)
        assert pair.duplicated == 1
        assert far.payloads == [b"a", b"b"]
        pair.close()
        pair.connect()
        await until(lambda: not left.up)

    @pytest.mark.parametrize("seed", range(4))
    async def test_a_replacement_gets_all_the_old_one_did_not_confirm(self, seed: int) -> None:
        """Old and new process together got every frame; each got its own in order, once."""
        near, far, new = Owner(), Owner(), Owner()
        left, right = self.link("l", "r", near, 1), self.link("r", "l", far, 2)
        pair = FlakyPair(left, right, seed=seed, faults=Faults(drop=0.02, cut=0.02))
        print(pair)
        pair.connect()
        for number in range(200):
            left.send(DATA, b"%d" % number)
        await until(lambda: len(far.frames) >= 50)
        pair.replace_right(self.link("r", "l", new, 3))
        await until(lambda: new.frames and new.payloads[-1] == b"199")
        got_old = [int(payload) for payload in far.payloads]
        got_new = [int(payload) for payload in new.payloads]
        assert got_old == list(range(len(got_old))), pair
        assert got_new == list(range(got_new[0], 200)), pair
        assert got_new[0] <= len(got_old), pair
        assert near.life.count("new") == 2
        pair.close()
        await until(lambda: not left.up)


class TestTroubles:
    """What closes a link is told to its owner as a typed error."""

    async def test_a_bad_frame_of_a_peer_is_told_with_its_link(self, net: Net) -> None:
        """Malformed or too long: the connection is closed, the owner knows whose it was and why."""
        troubles: list[tuple[str, Exception]] = []
        server = await net.server(
            on_refused=lambda link, error: troubles.append((link.peer if link else "", error))
        )
        for bad in (struct.pack(">I", 2**31), struct.pack(">I", 3) + b"\xc1\xc1\xc1"):
            reader = await net.stranger(hello())
            await reader.readexactly(4)
            net._writers[-1].write(bad)
            await closed(reader)
        await until(lambda: len(troubles) == 2)
        assert [peer for peer, _ in troubles] == ["client", "client"]
        errors = [error for _, error in troubles]
        assert [type(error) for error in errors] == [FrameError, FrameError]
        assert [getattr(error, "reason", "") for error in errors] == ["too_long", "malformed"]
        assert server.links["client"].counters().refused == 2
        client = net.client()
        await until(lambda: client.link.up)

    async def test_a_stranger_is_told_without_one(self, net: Net) -> None:
        """Wrong token, garbage, or a first frame that wants memory: told, counted, closed."""
        troubles: list[tuple[Link | None, Exception]] = []
        server = await net.server(on_refused=lambda link, error: troubles.append((link, error)))
        await closed(await net.stranger(hello(token=b"wrong")))
        await closed(await net.stranger(b"GET / HTTP/1.1\r\n\r\n"))
        await closed(await net.stranger(struct.pack(">I", HELLO_BYTES + 1)))
        await until(lambda: len(troubles) == 3)
        assert [link for link, _ in troubles] == [None] * 3
        assert [type(error) for _, error in troubles] == [LinkRefused, FrameError, FrameError]
        assert server.strangers_refused == 3
        assert server.links == {}

    async def test_the_client_tells_too(self, net: Net) -> None:
        """A server that is not the one meant."""
        await net.server(name="other")
        troubles: list[Exception] = []
        net.client(on_refused=lambda link, error: troubles.append(error))
        await until(lambda: troubles)
        assert isinstance(troubles[0], LinkRefused)
