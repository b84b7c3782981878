"""Sandbox: run untrusted WebAssembly with limits that are on by default.

``Sandbox`` compiles modules and runs them: WASI commands and components in killable worker
processes, agent modules in this process. See ``Limits`` and ``Grants`` for what a guest may use
and reach.
"""

from sandbox.abi import Level
from sandbox.compiler import CompileLimits
from sandbox.component_guest import ComponentGuest
from sandbox.components.functions import Function
from sandbox.engine import CommandResult, ComponentResult, GuestReply, LogLine
from sandbox.errors import InvalidSetting, Reason, SandboxBusy, SandboxError
from sandbox.facade import Sandbox
from sandbox.grant_events import GrantEvent
from sandbox.grants import DatabaseGrant, FolderGrant, Grants, HostGrant
from sandbox.guest import Guest
from sandbox.inline import InlineGuest
from sandbox.limits import Limits
from sandbox.module import Export, Import, Kind, Module
from sandbox.policy import Policy, PolicyError
from sandbox.pool import WorkerPool
from sandbox.prepared import Prepared
from sandbox.process_guest import ProcessGuest
from sandbox.questions import GrantHeard, KeyReader, Questions
from sandbox.quota import QuotaExceeded

__all__ = [
    "CommandResult",
    "CompileLimits",
    "ComponentGuest",
    "ComponentResult",
    "DatabaseGrant",
    "Export",
    "FolderGrant",
    "Function",
    "GrantEvent",
    "GrantHeard",
    "Grants",
    "Guest",
    "GuestReply",
    "HostGrant",
    "Import",
    "InlineGuest",
    "InvalidSetting",
    "KeyReader",
    "Kind",
    "Level",
    "Limits",
    "LogLine",
    "Module",
    "Policy",
    "PolicyError",
    "Prepared",
    "ProcessGuest",
    "Questions",
    "QuotaExceeded",
    "Reason",
    "Sandbox",
    "SandboxBusy",
    "SandboxError",
    "WorkerPool",
]
