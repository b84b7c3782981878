"""What every process of a node is told when it starts."""

from __future__ import annotations

from pathlib import Path

import msgspec

from actors import Identity
from caxton.config import Config

__all__ = ["GATEWAY", "MEMORY", "TOOLS", "Layout", "shard_name"]

GATEWAY = "gateway"
TOOLS = "tools"
MEMORY = "memory"


def shard_name(number: int) -> str:
    """Name of a shard's process and of its end of a link."""
    return f"shard-{number}"


class Layout(msgspec.Struct, frozen=True):
    """The node as its processes see it."""

    config: Config
    """With absolute paths."""
    node_id: bytes
    sockets: Path
    """Folder of the Unix sockets."""
    token: bytes
    """Secret that all processes of this node share."""

    @property
    def shards(self) -> int:
        """Shard processes; one when everything is in one process."""
        return max(1, self.config.shards)

    def identity(self, name: str) -> Identity:
        """Who a process of this node is; a new epoch each time."""
        return Identity(name, self.token)

    def socket(self, name: str) -> Path:
        """The socket that a process listens on."""
        return self.sockets / f"{name}.sock"
