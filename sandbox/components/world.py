"""What a component may import, and what it must export.

It may import the functions of ``caxton:tool/host@0.1.0`` (``wit/tool.wit``) and these parts of WASI
0.2: cli, clocks, filesystem, io and random. Never ``wasi:http`` and ``wasi:sockets``: the way out
is ``host.http``, which checks each request against what is granted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Final

from sandbox.components.functions import Function
from sandbox.components.types import List, Option, Primitive, Result, Type
from sandbox.errors import Reason, SandboxError

__all__ = [
    "HOST",
    "HOST_FUNCTIONS",
    "HostImport",
    "check_exports",
    "check_import",
    "is_wasi",
    "signature",
    "tool_wit",
]

HOST: Final = "caxton:tool/host@0.1.0"

_STRING: Final = Primitive("string")
_ANSWER: Final = Result(_STRING, _STRING)

_WASI: Final = {
    "wasi:cli": [
        *("environment", "exit", "stdin", "stdout", "stderr"),
        *(f"terminal-{name}" for name in ("input", "output", "stdin", "stdout", "stderr")),
    ],
    "wasi:clocks": ["monotonic-clock", "wall-clock"],
    "wasi:filesystem": ["types", "preopens"],
    "wasi:io": ["error", "poll", "streams"],
    "wasi:random": ["random", "insecure", "insecure-seed"],
}
"""The interfaces of WASI 0.2 that are linked."""


@dataclass(frozen=True, slots=True)
class HostImport:
    """One function of ``HOST``."""

    name: str
    params: tuple[Type, ...]
    result: Type | None

    @property
    def type(self) -> str:
        """Its type as a component's imports tell it."""
        return signature(self.params, self.result)


def signature(params: Iterable[Type], result: Type | None) -> str:
    """A function's type without its names: ``func(u32,string)->()``."""
    return f"func({','.join(map(str, params))})->({'' if result is None else result})"


HOST_FUNCTIONS: Final = {
    item.name: item
    for item in (
        HostImport("log", (Primitive("u32"), _STRING), None),
        HostImport("http", (_STRING,), _ANSWER),
        HostImport("kv-get", (_STRING,), Result(Option(_STRING), _STRING)),
        HostImport("kv-put", (_STRING, _STRING), Result(None, _STRING)),
        HostImport("kv-delete", (_STRING,), Result(Primitive("bool"), _STRING)),
        HostImport("kv-list", (_STRING,), Result(List(_STRING), _STRING)),
        HostImport("query", (_STRING,), _ANSWER),
        HostImport("memory-search", (_STRING,), _ANSWER),
        HostImport("now", (), Primitive("u64")),
    )
}
"""The functions of ``HOST`` by name; ``wit/tool.wit`` says the same."""


def tool_wit() -> str:
    """The text of ``wit/tool.wit``, to build components against."""
    return (resources.files("sandbox.components") / "wit" / "tool.wit").read_text("utf-8")


def is_wasi(interface: str) -> bool:
    """Whether an interface is one of those of WASI that are linked."""
    name, _, version = interface.partition("@")
    package, _, part = name.partition("/")
    return part in _WASI.get(package, ()) and version.startswith("0.2.")


def check_import(interface: str, name: str, kind: str) -> None:
    """Refuse an import that is not offered. Raises ``SandboxError`` (``ungranted_import``)."""
    if is_wasi(interface):
        return
    shown = f"{interface}.{name}" if interface else name
    if interface != HOST:
        if interface.startswith(("wasi:http", "wasi:sockets")):
            rule = f"the network is reached through http of {HOST} only; build without {interface}"
        else:
            rule = f"a component may import functions of {HOST} and {', '.join(_WASI)} at 0.2"
    elif name not in HOST_FUNCTIONS:
        rule = f"{HOST} has {', '.join(HOST_FUNCTIONS)}"
    elif kind != HOST_FUNCTIONS[name].type:
        rule = f"its type must be {HOST_FUNCTIONS[name].type}"
    else:
        return
    raise SandboxError(
        Reason.UNGRANTED_IMPORT,
        f"import {shown} of type {kind} is not granted: {rule}",
        module=interface,
        name=name,
        type=kind,
    )


def check_exports(functions: tuple[Function, ...]) -> None:
    """Refuse a component without a function that can be called (``missing_export``)."""
    if any(not item.refused for item in functions):
        return
    why = "; ".join(map(str, functions[:5])) or "it exports no function"
    raise SandboxError(
        Reason.MISSING_EXPORT,
        f"the component has no function that can be called with JSON ({why}); export describe "
        "and call as in world caxton:tool/tool, or functions of plain types",
        export="call",
        wanted="func",
        given=str(functions[0]) if functions else "",
    )
