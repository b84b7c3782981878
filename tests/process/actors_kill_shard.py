"""The child process of the kill tests: an actor that writes down what it handles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import msgspec

from actors import (
    Actor,
    ActorRef,
    ActorSystem,
    ControlChannel,
    Identity,
    Link,
    LinkServer,
    MailboxSpec,
)

GREETING: Final = 1
"""From the child: its pid, once in its life."""
BEGIN: Final = 2
"""To the child: its pid, and the number that comes next."""
NUMBERS: Final = 3
HANDLED: Final = 4
"""From the child: all numbers up to this one are handled and written down."""

encode = msgspec.msgpack.Encoder().encode
decode_number = msgspec.msgpack.Decoder(int).decode
decode_numbers = msgspec.msgpack.Decoder(list[int]).decode


class Writer(Actor):
    """Handles the numbers of one sender in one life of the process.

    What comes before the ``BEGIN`` with this process's pid was meant for one before it, and comes
    again after.
    """

    def __init__(self, file: int, link: Link) -> None:
        super().__init__()
        self.file = file
        self.link = link
        self.next = 0
        self.told = 0

    def on_receive(self, message: Any) -> None:
        match message:
            case ("begin", number):
                self.note("begin", number)
                self.next, self.told = number, number - 1
            case ("number", number) if self.next:
                # Also when it is not the next one: the test looks for that.
                self.note("handled", number)
                self.next = number + 1
            case "tell" if self.next - 1 > self.told:
                self.told = self.next - 1
                self.link.send(HANDLED, encode(self.told))

    def note(self, what: str, number: int) -> None:
        """Write a line that outlives this process."""
        os.write(self.file, f"{os.getpid()} {self.link.peer} {what} {number}\n".encode())


class Shard:
    """Takes the links of senders, and has an actor for each."""

    def __init__(self, system: ActorSystem, file: int) -> None:
        self.system = system
        self.file = file
        self.writers: dict[str, ActorRef[Writer]] = {}

    def on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        """Numbers for the actor, one message each."""
        writer = self.writers[link.peer]
        numbers = decode_numbers(payload)
        if kind == BEGIN:
            pid, number = numbers
            if pid == os.getpid():
                writer.tell(("begin", number))
            return
        for number in numbers:
            writer.tell(("number", number))
        writer.tell("tell")

    def on_up(self, link: Link, fresh: bool) -> None:
        """Greet a sender once."""
        if link.peer not in self.writers:
            self.writers[link.peer] = self.system.spawn(
                Writer, self.file, link, mailbox=MailboxSpec(capacity=100_000)
            )
            link.send(GREETING, encode(os.getpid()))

    def on_down(self, link: Link) -> None:
        """What is sent meanwhile waits."""


async def run_shard(control: ControlChannel, path: str, token: bytes, record: str) -> None:
    """Main of the child."""
    file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    system = ActorSystem(control.name)
    control.on_dump = system.dump
    server = LinkServer(Path(path), Identity(control.name, token), Shard(system, file))
    await server.start()
    control.ready()
    await control.wait_drain()
    await system.stop(1.0)
    await server.close()
