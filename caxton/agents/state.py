"""Where WebAssembly agents of a shard keep what outlives them."""

from __future__ import annotations

from typing import Any, Protocol

from caxton.config import Config
from caxton.links.questions import Questions
from caxton.storage.agent_state import Outcome, StateReader, StateWriter, Written

__all__ = ["AgentState", "RemoteState", "StateDesk", "open_state", "read_state"]

WRITE_S = 10.0


class AgentState(Protocol):
    """Reads without waiting; a write is kept when it returns."""

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        ...

    def keys(self, namespace: str, prefix: bytes) -> list[bytes]:
        """The keys that begin with ``prefix``, in order."""
        ...

    def outcome(self, namespace: str, message_id: bytes) -> bytes | None:
        """What the handling of a message gave that was kept with its writes; None for unknown."""
        ...

    async def write(self, namespace: str, written: Written, outcome: Outcome | None = None) -> None:
        """Keep all of ``written`` and the outcome, or raise a ``CaxtonError``."""
        ...


class RemoteState:
    """The store as another process than its writer has it: reads it, and asks for writes.

    Args:
        reader: of the same store.
        questions: to the process that writes it.
    """

    def __init__(self, reader: StateReader, questions: Questions) -> None:
        self.get = reader.get
        self.keys = reader.keys
        self.outcome = reader.outcome
        self.close = reader.close
        self._questions = questions

    async def write(self, namespace: str, written: Written, outcome: Outcome | None = None) -> None:
        """See ``AgentState``."""
        if not written:
            return
        question = {
            "namespace": namespace,
            "written": [[key, value] for key, value in written.items()],
            "outcome": outcome,
        }
        await self._questions.ask("state", question, WRITE_S)


class StateDesk:
    """Answers the questions of ``RemoteState``."""

    def __init__(self, writer: StateWriter) -> None:
        self._writer = writer

    async def answer(self, arguments: dict[str, Any]) -> None:
        """Keep what a shard asks to keep."""
        written = {bytes(key): value for key, value in arguments["written"]}
        outcome = arguments["outcome"]
        await self._writer.write(
            str(arguments["namespace"]), written, tuple(outcome) if outcome else None
        )


def open_state(config: Config) -> StateWriter:
    """The store of a node, in the one process that writes it."""
    return StateWriter(
        config.data / "state",
        disk=config.durability == "disk",
        map_bytes=config.storage_map_bytes,
    )


def read_state(config: Config, questions: Questions) -> RemoteState:
    """The store of a node, in its other processes."""
    reader = StateReader(config.data / "state", map_bytes=config.storage_map_bytes)
    return RemoteState(reader, questions)
