"""The engines by name: which there are, what each cannot do, how each is made.

Engines are imported where they are made, so that this module costs nothing.
"""

from __future__ import annotations

import importlib.util
from typing import Final, Literal, get_args

from sandbox.abi import WASI
from sandbox.engine import Engine, engine_fingerprint
from sandbox.errors import InvalidSetting, Reason, SandboxError
from sandbox.grants import Grants
from sandbox.limits import Limits
from sandbox.module import Kind, Module

__all__ = [
    "EngineName",
    "check_engine",
    "check_wasmer",
    "check_wasmer_limits",
    "commands_only",
    "fingerprint",
    "make_engine",
]

EngineName = Literal["wasmtime", "wasmer"]
"""Which engine runs WASI commands. ``wasmtime`` is the default and can do everything."""

_PACKAGES: Final[dict[EngineName, str]] = {"wasmtime": "wasmtime", "wasmer": "wasmer-sdk"}

_UNCOUNTED: Final = ("fuel", "stack_bytes")
"""Limits the wasmer engine has no way to keep."""

_DEFAULTS: Final = (Limits(), Limits.for_command())


def check_engine(name: str) -> EngineName:
    """The engine of this name. Raises ``InvalidSetting``, also when it is not installed."""
    for known in get_args(EngineName):
        if name == known:
            break
    else:
        raise InvalidSetting("engine", name, f"one of {', '.join(get_args(EngineName))}")
    if name == "wasmer" and importlib.util.find_spec("wasmer_sdk") is None:
        raise InvalidSetting(
            "engine",
            name,
            "wasmtime, or wasmer after pip install 'caxton[wasmer]'; that one runs WASI commands "
            "only, without fuel, agents, components, host functions or writable folders",
        )
    return "wasmer" if name == "wasmer" else "wasmtime"


def check_wasmer(module: Module, limits: Limits, grants: Grants) -> None:
    """Refuse, by name, what the wasmer engine cannot do.

    Raises ``SandboxError``: ``missing_export`` for what is no WASI command, ``ungranted_import``
    for an import that is not WASI's. Raises ``InvalidSetting`` for a limit it cannot keep that is
    not at its default, for a writable folder and for what only host functions reach.
    """
    if module.kind is not Kind.WASI_COMMAND:
        raise commands_only()
    for item in module.imports:
        if item.module != WASI:
            raise SandboxError(
                Reason.UNGRANTED_IMPORT,
                f"import {item.module}.{item.name} is not there with engine wasmer, which has no "
                "host functions; use engine wasmtime",
                module=item.module,
                name=item.name,
                engine="wasmer",
            )
    check_wasmer_limits(limits)
    for folder in grants.folders:
        if folder.write:
            raise InvalidSetting(
                "folders", folder.guest, "read-only folders with engine wasmer; use wasmtime"
            )
    for field in ("hosts", "kv", "databases", "memory"):
        if getattr(grants, field):
            raise InvalidSetting(
                field, getattr(grants, field), "nothing with engine wasmer; use wasmtime"
            )


def check_wasmer_limits(limits: Limits) -> None:
    """Refuse a limit that was set and that the wasmer engine cannot keep."""
    for field in _UNCOUNTED:
        value = getattr(limits, field)
        if value not in {getattr(default, field) for default in _DEFAULTS}:
            raise InvalidSetting(
                field, value, "its default with engine wasmer, which has no such limit"
            )


def commands_only() -> SandboxError:
    """The error for an agent or a component at the wasmer engine."""
    return SandboxError(
        Reason.MISSING_EXPORT,
        "engine wasmer runs WASI commands only and calls no export but _start; use engine "
        "wasmtime for agents and components",
        engine="wasmer",
    )


def fingerprint(name: EngineName) -> str:
    """What artifacts of this engine are marked with. See ``engine_fingerprint``."""
    return engine_fingerprint(_PACKAGES[name])


def make_engine(name: EngineName) -> Engine:
    """A new engine of this name."""
    if name == "wasmer":
        from sandbox.wasmer_engine import WasmerEngine

        return WasmerEngine()
    from sandbox.wasmtime_engine import WasmtimeEngine

    return WasmtimeEngine()
