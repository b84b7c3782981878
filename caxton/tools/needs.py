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


def policy_for(name: str, imports: Iterable[Import], limits: dict[str, int]) -> str:
    """A ``policy.yaml`` to begin with, its names to be changed.

    What a module imports of Caxton it uses; what it imports of WASI may only be its run time's, so
    that stands there as a comment.
    """
    imports = tuple(imports)
    certain = needs_of(item for item in imports if _is_ours(item))
    perhaps = [need for need in needs_of(imports) if need not in certain]
    lines = [
        f"# What {name} asks for: a call gets what is asked here and granted by the agent file.",
        'version: "1.0"',
        f'description: "{name}"',
        "permissions:" if certain else "permissions: {}",
    ]
    lines += _indented(certain, "  ")
    lines += ["# permissions:"] if perhaps and not certain else []
    lines += _indented(perhaps, "#   " if not certain else "  # ")
    lines.append("resources:")
    lines += [f"  {key}: {value}" for key, value in limits.items()]
    return "\n".join(lines) + "\n"


def _is_ours(item: Import) -> bool:
    return item.module.startswith("caxton")


def _indented(needs: Iterable[Need], before: str) -> list[str]:
    return [f"{before}{line}" for need in needs for line in ADVICE[need].policy.splitlines()]
