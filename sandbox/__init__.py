"""Sandbox: run untrusted WebAssembly with limits that are on by default.

``Sandbox`` compiles modules and runs them: WASI commands in killable worker processes, agent
modules in this process. See ``Limits`` and ``Grants`` for what a guest may use and reach.
"""

from sandbox.compiler import CompileLimits
from sandbox.engine import CommandResult, GuestReply, LogLine
from sandbox.errors import InvalidSetting, Reason, SandboxBusy, SandboxError
from sandbox.facade import Sandbox
from sandbox.grants import FolderGrant, Grants
from sandbox.inline import InlineGuest
from sandbox.limits import Limits
from sandbox.module import Export, Import, Kind, Module
from sandbox.pool import WorkerPool

__all__ = [
    "CommandResult",
    "CompileLimits",
    "Export",
    "FolderGrant",
    "Grants",
    "GuestReply",
    "Import",
    "InlineGuest",
    "InvalidSetting",
    "Kind",
    "Limits",
    "LogLine",
    "Module",
    "Reason",
    "Sandbox",
    "SandboxBusy",
    "SandboxError",
    "WorkerPool",
]
