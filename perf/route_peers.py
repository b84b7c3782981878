"""The same work done by message brokers: 200-byte messages are published, confirmed by the broker,
consumed by another process and acknowledged.

Publishers and consumers speak the wire protocols with prepared bytes, in batches, so that the
broker is measured and not a client library: each gets its best.
"""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import psutil
from route_broker import BATCH, Peer, Wire, find

__all__ = ["PEERS", "peer_row"]


class Redis(Peer):
    """Redis Streams with a consumer group."""

    program = "redis-server"
    fsync: ClassVar[str]

    @property
    def address(self) -> str:
        """A Unix socket."""
        return str(self.folder / "redis")

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Append-only file, no snapshots."""
        options = {
            "port": "0", "unixsocket": self.address, "dir": str(self.folder), "save": "",
            "appendonly": "yes", "appendfsync": self.fsync, "daemonize": "no",
        }  # fmt: skip
        return [
            find(self.program) or self.program,
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ], {}

    def connect(self) -> Wire:
        """No greeting is needed."""
        return Wire(self.address)

    @staticmethod
    def words(*words: bytes) -> bytes:
        """A command as it is sent."""
        head = b"*%d\r\n" % len(words)
        return head + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    def prepare(self) -> None:
        """A stream with a group."""
        wire = self.connect()
        wire.send(self.words(b"XGROUP", b"CREATE", b"s", b"g", b"0", b"MKSTREAM"))
        answer = wire.until(lambda data: data.endswith(b"\r\n"))
        if answer != b"+OK\r\n":
            raise EOFError(answer.decode())

    def publish(self) -> None:
        """XADD in pipelines; each answer is two lines."""
        wire = self.connect()
        one = self.words(b"XADD", b"s", b"*", b"d", self.content)
        pipeline = one * BATCH

        def take() -> int:
            data = wire.more()
            lines = data.count(b"\r\n")
            whole = lines // 2
            if b"-ERR" in data:
                raise EOFError(data[:200].decode())
            keep = 0
            if lines % 2 or not data.endswith(b"\r\n"):
                # The last answer is not all there.
                keep = len(data) - data.rindex(b"$")
                whole = data[: len(data) - keep].count(b"\r\n") // 2
            wire.data = data[len(data) - keep :]
            if not whole:
                wire._take()
            return whole

        self.rounds(lambda part: wire.send(pipeline if part == BATCH else one * part), take)

    def consume(self) -> None:
        """XREADGROUP and one XACK for what came."""
        wire = self.connect()
        read = self.words(
            *(b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"%d" % BATCH),
            *(b"BLOCK", b"30000", b"STREAMS", b"s", b">"),
        )
        taken = 0
        while taken < self.count:
            wire.send(read)
            answer = wire.until(self._whole)
            lines = answer.split(b"\r\n")
            ids = lines[7::8]
            wire.send(self.words(b"XACK", b"s", b"g", *ids))
            wire.until(lambda data: data.endswith(b"\r\n"))
            taken += len(ids)

    @staticmethod
    def _whole(data: bytes) -> bool:
        head = data.split(b"\r\n", 5)
        return len(head) > 5 and data.count(b"\r\n") == 5 + 8 * int(head[4][1:])


class RedisEverySecond(Redis):
    """Flushed every second."""

    name, durability, fsync = "Redis Streams, everysec", "1 s", "everysec"


class RedisAlways(Redis):
    """Flushed before each answer."""

    name, durability, fsync = "Redis Streams, always", "disk", "always"


class Nats(Peer):
    """NATS JetStream on files; its default flush is every two minutes."""

    name, durability, program = "NATS JetStream", "2 min", "nats-server"

    def command(self) -> tuple[list[str], dict[str, str]]:
        """JetStream in its folder."""
        server = find(self.program) or self.program
        return [
            server, "-js", "-sd", str(self.folder / "js"), "-a", "127.0.0.1", "-p", str(self.port),
        ], {}  # fmt: skip

    def connect(self) -> Wire:
        """Say hello, and listen at an inbox."""
        wire = Wire(self.address)
        wire.until(lambda data: data.endswith(b"\r\n"))
        wire.send(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\nSUB inbox 1\r\n')
        wire.until(lambda data: data.endswith(b"PONG\r\n"))
        return wire

    def _ask(self, wire: Wire, subject: str, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        wire.send(b"PUB %s inbox %d\r\n%s\r\n" % (subject.encode(), len(text), text))
        answer = wire.until(lambda data: data.endswith(b"}\r\n"))
        if b'"error"' in answer:
            raise EOFError(answer.decode())

    def prepare(self) -> None:
        """A stream on files, and a consumer of which one acknowledgement covers all before."""
        wire = self.connect()
        work = {"name": "S", "subjects": ["m"], "storage": "file", "retention": "limits"}
        self._ask(wire, "$JS.API.STREAM.CREATE.S", work)
        durable = {"durable_name": "C", "ack_policy": "all", "max_ack_pending": 65_536}
        body = {"stream_name": "S", "config": durable}
        self._ask(wire, "$JS.API.CONSUMER.DURABLE.CREATE.S.C", body)

    def publish(self) -> None:
        """Each publication has an answer."""
        wire = self.connect()
        one = b"PUB m inbox %d\r\n%s\r\n" % (len(self.content), self.content)
        batch = one * BATCH

        def take() -> int:
            data = wire.more()
            end = data.rfind(b"}\r\n") + 3
            if end < 3:
                wire._take()
                return 0
            whole, wire.data = data[:end], data[end:]
            if b'"error"' in whole:
                raise EOFError(whole[:300].decode())
            return whole.count(b"}\r\n")

        self.rounds(lambda part: wire.send(batch if part == BATCH else one * part), take)

    def consume(self) -> None:
        """Ask for batches, one ahead; acknowledge the last of each."""
        wire = self.connect()
        ask = b'{"batch":%d,"expires":30000000000}' % BATCH
        request = b"PUB $JS.API.CONSUMER.MSG.NEXT.S.C inbox %d\r\n%s\r\n" % (len(ask), ask)
        wire.send(request * 2)
        end = self.content + b"\r\n"
        taken = open_ = 0
        while taken < self.count:
            data = wire.more()
            at = data.rfind(end)
            if at < 0:
                wire._take()
                continue
            whole, wire.data = data[: at + len(end)], data[at + len(end) :]
            came = whole.count(end)
            taken += came
            open_ += came
            last = whole[whole.rindex(b"$JS.ACK") :].split(b" ", 1)[0]
            wire.send(b"PUB %s 4\r\n+ACK\r\n" % last + request * (open_ // BATCH))
            open_ %= BATCH
        wire.send(b"PING\r\n")
        wire.until(lambda data: b"PONG\r\n" in data)


class Rabbit(Peer):
    """RabbitMQ: a durable queue, persistent messages, publisher confirms."""

    name, durability, program = "RabbitMQ, persistent", "disk", "rabbitmq-server"

    def command(self) -> tuple[list[str], dict[str, str]]:
        """A node of its own, reachable from this machine alone."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            distribution = listener.getsockname()[1]
        config = self.folder / "rabbit.conf"
        config.write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        folder = str(self.folder)
        return [find(self.program) or self.program], {
            "HOME": folder, "RABBITMQ_NODENAME": f"caxton-perf-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution), "RABBITMQ_MNESIA_BASE": folder,
            "RABBITMQ_LOG_BASE": folder, "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/none", "RABBITMQ_PID_FILE": f"{folder}/pid",
        }  # fmt: skip

    def leave_nothing(self) -> None:
        """Erlang's port mapper stays, when it was not there before."""
        for one in psutil.process_iter(["name", "create_time"]):
            if one.info["name"] == "epmd" and one.info["create_time"] > self._since:
                one.kill()

    @staticmethod
    def method(channel: int, code: tuple[int, int], arguments: bytes = b"") -> bytes:
        """A method frame (AMQP 0-9-1, 2.3.5)."""
        return frame(1, channel, struct.pack(">HH", *code) + arguments)

    def _call(self, wire: Wire, *given: Any) -> None:
        wire.send(self.method(*given))
        wire.until(lambda data: len(data) >= 8 and data.endswith(b"\xce"))

    def connect(self) -> Wire:
        """Open a connection and a channel."""
        wire = Wire(self.address)
        wire.send(b"AMQP\x00\x00\x09\x01")
        wire.until(lambda data: data.endswith(b"\xce"))
        login = b"\x00guest\x00guest"
        start = struct.pack(">I", 0) + short(b"PLAIN") + struct.pack(">I", len(login)) + login
        self._call(wire, 0, (10, 11), start + short(b"en_US"))
        wire.send(self.method(0, (10, 31), struct.pack(">HIH", 2_047, 131_072, 0)))
        self._call(wire, 0, (10, 40), short(b"/") + short(b"") + b"\x00")
        self._call(wire, 1, (20, 10), short(b""))
        return wire

    def prepare(self) -> None:
        """A durable queue."""
        declare = struct.pack(">H", 0) + short(b"q") + b"\x02" + struct.pack(">I", 0)
        self._call(self.connect(), 1, (50, 10), declare)

    def publish(self) -> None:
        """Persistent, each confirmed."""
        wire = self.connect()
        self._call(wire, 1, (85, 10), b"\x00")
        publish = struct.pack(">H", 0) + short(b"") + short(b"q") + b"\x00"
        head = struct.pack(">HHQHB", 60, 0, len(self.content), 0x1000, 2)
        one = self.method(1, (60, 40), publish) + frame(2, 1, head) + frame(3, 1, self.content)
        batch = one * BATCH
        singles: set[int] = set()
        upto = 0

        def take() -> int:
            nonlocal upto
            wire.more()
            came = 0
            for payload in frames(wire):
                tag, several = struct.unpack(">QB", payload[4:13])
                if payload[:4] != b"\x00\x3c\x00\x50":
                    raise EOFError(f"not a confirmation: {payload[:80]!r}")
                if not several:
                    singles.add(tag)
                    came += 1
                    continue
                before = {one for one in singles if one <= tag}
                singles.difference_update(before)
                already = sum(one > upto for one in before)
                came += max(0, tag - upto - already)
                upto = max(upto, tag)
            if not came:
                wire._take()
            return came

        self.rounds(lambda part: wire.send(batch if part == BATCH else one * part), take)

    def consume(self) -> None:
        """Delivered ahead; one acknowledgement for many."""
        wire = self.connect()
        self._call(wire, 1, (60, 10), struct.pack(">IHB", 0, 4 * BATCH, 0))
        consume = struct.pack(">H", 0) + short(b"q") + short(b"c") + b"\x00" + struct.pack(">I", 0)
        wire.send(self.method(1, (60, 20), consume))
        taken = owed = 0
        while taken < self.count:
            wire.more()
            tag, came = 0, 0
            for payload in frames(wire):
                if payload[:4] == b"\x00\x3c\x00\x3c":
                    (tag,) = struct.unpack(">Q", payload[6:14])
                    came += 1
            taken += came
            owed += came
            if tag and (owed >= BATCH or taken >= self.count):
                wire.send(self.method(1, (60, 80), struct.pack(">QB", tag, 1)))
                owed = 0
            if not came:
                wire._take()
        self._call(wire, 1, (20, 40), struct.pack(">H", 200) + short(b"") + bytes(4))


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """An AMQP frame."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def short(text: bytes) -> bytes:
    """An AMQP short string."""
    return bytes([len(text)]) + text


def frames(wire: Wire) -> list[bytes]:
    """Payloads of the method frames that are all there; what is left stays."""
    data, at, found = wire.data, 0, []
    end = len(data)
    while at + 8 <= end:
        size = int.from_bytes(data[at + 3 : at + 7], "big")
        if at + 8 + size > end:
            break
        if data[at] == 1:
            found.append(data[at + 7 : at + 7 + size])
        at += 8 + size
    wire.data = data[at:]
    return found


PEERS: dict[str, type[Peer]] = {
    "redis-everysec": RedisEverySecond,
    "redis-always": RedisAlways,
    "nats": Nats,
    "rabbitmq": Rabbit,
}


def peer_row(key: str, count: int, size: int) -> dict[str, Any]:
    """One run on a fresh server, with the consumer in a process of its own."""
    peer = PEERS[key](count, size)
    try:
        peer.start()
        consumer = subprocess.Popen(
            [sys.executable, __file__, key, str(count), str(size), str(peer.folder), str(peer.port)]
        )
        time.sleep(0.5)
        before = peer.cpu_s()
        started = time.perf_counter()
        peer.publish()
        acked = time.perf_counter() - started
        if consumer.wait(600):
            raise RuntimeError(f"the consumer of {peer.name} failed")
        seconds = time.perf_counter() - started
        cpu = peer.cpu_s() - before
    finally:
        peer.stop()
    return {
        "mode": f"peer: {peer.name}",
        "durability": peer.durability,
        "shards": 0,
        "messages": count,
        "refused": 0,
        "per second": count / seconds,
        "acked/s": count / acked,
        "server us/msg": cpu / count * 1e6,
    }


def main() -> None:
    """The consumer's process."""
    key, count, size, folder, port = sys.argv[1:]
    peer = PEERS[key](int(count), int(size))
    shutil.rmtree(peer.folder)
    peer.folder, peer.port = Path(folder), int(port)
    peer.consume()


if __name__ == "__main__":
    main()
