"""Caxton: a multi-agent orchestration server.

The names below are what a program needs: ``Node`` runs one, ``Client`` and ``AsyncClient`` talk to
one that runs, ``Agent`` is the base of agents written in Python. They are loaded when first used,
so that ``import caxton`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caxton.agents.python_agent import Agent, Reply
    from caxton.client import AsyncClient, Client
    from caxton.config import Config
    from caxton.errors import CaxtonError
    from caxton.message import Message, Performative
    from caxton.node import Node

__all__ = [
    "Agent",
    "AsyncClient",
    "CaxtonError",
    "Client",
    "Config",
    "Message",
    "Node",
    "Performative",
    "Reply",
    "__version__",
]

__version__ = "0.1.0"

_HOMES = {
    "Agent": "caxton.agents.python_agent",
    "AsyncClient": "caxton.client",
    "CaxtonError": "caxton.errors",
    "Client": "caxton.client",
    "Config": "caxton.config",
    "Message": "caxton.message",
    "Node": "caxton.node",
    "Performative": "caxton.message",
    "Reply": "caxton.agents.python_agent",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'caxton' has no attribute {name!r}")
    return getattr(import_module(home), name)
