"""Actors of other processes: refs that look like local ones, over links."""

from actors.remote.codec import Codec, StructCodec
from actors.remote.node import RemoteNode
from actors.remote.peer import PeerCounters
from actors.remote.ref import RemoteRef

__all__ = ["Codec", "PeerCounters", "RemoteNode", "RemoteRef", "StructCodec"]
