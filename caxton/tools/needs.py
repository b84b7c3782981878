"""What an import of a module needs granted, and how that is written down.

One table for the three places that say it: ``policy.yaml``, the agent file, and the options of
``caxton tool call``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sandbox import Import

__all__ = ["ADVICE", "Advice", "Need", "need_of", "needs_of", "policy_for"]


class Need(StrEnum):
    """Something that has to be granted."""

    FOLDER = "folder"
    ENV = "env"
    HOST = "host"
    KV = "kv"
    DATABASE = "database"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Advice:
    """How a need is granted; a place that has no word for it is empty."""

    about: str
    policy: str
    agent: str
    option: str


ADVICE: Final = {
    Need.FOLDER: Advice(
        "files in a folder",
        'storage:\n  allow:\n    - uri: "fs://data"\n      access: ["read"]',
        "permissions:\n  files:\n    data: ro",
        "--allow-folder data",
    ),
    Need.HOST: Advice(
        "HTTP to a host",
        'network:\n  allow:\n    - host: "api.example.com"',
        "permissions:\n  hosts: [api.example.com]",
        "--allow-host api.example.com",
    ),
    Need.ENV: Advice(
        "an environment variable",
        'environment:\n  allow:\n    - key: "API_KEY"',
        "permissions:\n  env: [API_KEY]",
        "--allow-env API_KEY",
    ),
    Need.KV: Advice(
        "the key-value store", 'kv: "own"', "permissions:\n  kv: true", "--allow-kv"
    ),
    Need.DATABASE: Advice(
        "a database",
        'databases:\n  allow:\n    - name: "sales"\n      statements: ["SELECT"]',
        "permissions:\n  databases: [sales]",
        "--allow-database sales=FILE",
    ),
    Need.MEMORY: Advice("the memory", 'memory_search: "own"', "", ""),
}  # fmt: skip

_KEYED: Final = {
    "path_open": Need.FOLDER,
    "fd_readdir": Need.FOLDER,
    "environ_get": Need.ENV,
    "http": Need.HOST,
    "kv_get": Need.KV,
    "kv_put": Need.KV,
    "kv_delete": Need.KV,
    "kv_list": Need.KV,
    "query": Need.DATABASE,
    "memory_search": Need.MEMORY,
}
"""Functions of the two core interfaces."""

_INTERFACES: Final = {
    "wasi:filesystem": Need.FOLDER,
    "wasi:cli/environment": Need.ENV,
    "wasi:http": Need.HOST,
    "wasi:sockets": Need.HOST,
}
"""Interfaces of components, by the beginning of their names."""


def need_of(item: Import) -> Need | None:
    """What an import needs granted; None for what every guest has."""
    found = _KEYED.get(item.name.replace("-", "_"))
    if found is not None and not item.module.startswith("wasi:"):
        return found
    for start, need in _INTERFACES.items():
        if item.module.startswith(start):
            return need
    return None


def needs_of(imports: Iterable[Import]) -> tuple[Need, ...]:
    """The needs of a module, each once. A run time imports more than its program uses, so they
    are what may be needed and not what will."""
    return tuple(dict.fromkeys(need for item in imports if (need := need_of(item)) is not None))


def policy_for(name: str, needs: Iterable[Need], limits: dict[str, int]) -> str:
    """A ``policy.yaml`` to begin with: what may be needed stands there as examples to change."""
    blocks = [ADVICE[need].policy for need in needs]
    lines = [
        f"# What {name} asks for: a call gets what is asked here and granted by the agent file.",
        'version: "1.0"',
        f'description: "{name}"',
    ]
    if blocks:
        lines.append("permissions:")
        lines += [f"  {line}" for block in blocks for line in block.splitlines()]
    else:
        lines.append("permissions: {}")
    lines.append("resources:")
    lines += [f"  {key}: {value}" for key, value in limits.items()]
    return "\n".join(lines) + "\n"
