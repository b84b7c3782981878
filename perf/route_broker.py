"""What the brokers of ``perf/route.py`` have in common: a server that is started on a folder of its
own and stopped afterwards, and a connection that is read as bytes."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import psutil
from harness import scratch

__all__ = ["BATCH", "Peer", "Wire", "find"]

BATCH = 512
UNDER_WAY = 8_192
START_S = 60.0
QUIET_S = 60.0
"""How long a broker may say nothing before the run fails."""


class Wire:
    """A blocking connection that is read as bytes.

    Args:
        address: host and port, or the path of a Unix socket.
    """

    def __init__(self, address: tuple[str, int] | str) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(QUIET_S)
        self.socket.connect(address)
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""

    def send(self, data: bytes) -> None:
        """Send all of it, and take in what comes meanwhile: a broker may wait for that."""
        view = memoryview(data)
        self.socket.setblocking(False)
        try:
            while view:
                readable, writable, _ = select.select([self.socket], [self.socket], [], QUIET_S)
                if readable:
                    self._take()
                if writable:
                    view = view[self.socket.send(view) :]
                elif not readable:
                    raise TimeoutError("the broker takes nothing")
        finally:
            self.socket.settimeout(QUIET_S)

    def _take(self) -> None:
        part = self.socket.recv(1 << 20)
        if not part:
            raise ConnectionError("the broker closed the connection")
        self.data += part

    def more(self) -> bytes:
        """Everything that was read and not used, at least something new."""
        if not self.data:
            self._take()
        return self.data

    def until(self, done: Callable[[bytes], bool]) -> bytes:
        """Read until what is there is enough, and use it up."""
        while not done(self.data):
            self._take()
        data, self.data = self.data, b""
        return data


class Peer:
    """One broker.

    Args:
        count: messages of a run.
        size: bytes of content.
    """

    name: ClassVar[str]
    durability: ClassVar[str]
    program: ClassVar[str]

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.content = b"x" * size
        self.folder = scratch("peer")
        self.server: subprocess.Popen[bytes] | None = None
        self._since = time.time()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])

    @classmethod
    def installed(cls) -> bool:
        """Whether its server is on this machine."""
        return find(cls.program) is not None

    def command(self) -> tuple[list[str], dict[str, str]]:
        """What starts the server, and variables for it."""
        raise NotImplementedError

    @property
    def address(self) -> tuple[str, int] | str:
        """Where it listens."""
        return ("127.0.0.1", self.port)

    def connect(self) -> Wire:
        """A connection that is ready for use."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make the queue."""
        raise NotImplementedError

    def publish(self) -> None:
        """Publish all messages, and wait for all confirmations."""
        raise NotImplementedError

    def consume(self) -> None:
        """Take all messages and acknowledge them."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command, environment = self.command()
        with (self.folder / "log").open("wb") as log:
            self.server = subprocess.Popen(
                command, env=os.environ | environment, stdout=log, stderr=log, cwd=self.folder
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.prepare()
            except (OSError, EOFError):
                if time.monotonic() > deadline or self.server.poll() is not None:
                    raise
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """End the server and remove what it kept."""
        if self.server is not None:
            family = []
            if self.server.poll() is None:
                family = psutil.Process(self.server.pid).children(recursive=True)
            self.server.terminate()
            try:
                self.server.wait(15)
            except subprocess.TimeoutExpired:
                self.server.kill()
            for one in psutil.wait_procs(family, timeout=5)[1]:
                one.kill()
            self.leave_nothing()
        shutil.rmtree(self.folder, ignore_errors=True)

    def leave_nothing(self) -> None:
        """End what the server left behind."""

    def cpu_s(self) -> float:
        """CPU time of the server's processes."""
        assert self.server is not None
        top = psutil.Process(self.server.pid)
        times = [one.cpu_times() for one in (top, *top.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    def rounds(self, send: Callable[[int], None], take: Callable[[], int]) -> None:
        """Keep ``UNDER_WAY`` messages unconfirmed: ``send`` sends so many, ``take`` waits for
        confirmations and says how many there were."""
        sent = confirmed = 0
        while confirmed < self.count:
            while sent < self.count and sent - confirmed <= UNDER_WAY - BATCH:
                part = min(BATCH, self.count - sent)
                send(part)
                sent += part
            confirmed += take()


def find(program: str) -> str | None:
    """A server's program, also where only an administrator's path has it."""
    # Debian's own script of RabbitMQ runs it as another user, who cannot write here.
    debian = [str(one) for one in Path("/usr/lib/rabbitmq/lib").glob("*/sbin")]
    return shutil.which(program, path=":".join([*debian, os.environ.get("PATH", ""), "/usr/sbin"]))
