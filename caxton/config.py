"""Settings: one table, and the ``Config`` made from it.

A value comes from, in falling order: a flag, an environment variable ``CAXTON_<KEY>``, the config
file (``caxton.toml``), the default. ``load`` keeps the origin of each, which ``caxton config show``
prints. ``docs/reference/settings.md`` is made from ``SETTINGS``.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from caxton.errors import ConfigInvalid, ValidationError
from caxton.types import (
    AgentQueueSize,
    Bound,
    ConversationTimeoutMs,
    MaxConversationParticipants,
    WorkerCount,
)

__all__ = ["SETTINGS", "Config", "Loaded", "Secret", "Setting", "default_shards", "load"]

Durability = Literal["disk", "process"]


class Secret(str):
    """A text that shows as ``***`` wherever it is printed; ``reveal`` gives the value."""

    __slots__ = ()

    def __new__(cls, value: str = "") -> Self:
        """Wrap a text; wrapping twice is wrapping once."""
        if isinstance(value, Secret):
            value = value.reveal()
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return "'***'" if self else "''"

    def __str__(self) -> str:
        return "***" if self else ""

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def reveal(self) -> str:
        """The value itself, for the one place that must send it."""
        return str.__str__(self)


def default_shards() -> int:
    """The default of WorkerCount (4), capped at the cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, min(WorkerCount.default or 4, cores))


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the settings table."""

    key: str
    """Dotted name in the file: ``llm.base_url`` is ``base_url`` in the section ``[llm]``."""
    help: str
    """What it is for, with its unit."""
    parse: Callable[[object, str], Any]
    """Turns a value from any origin into the typed one, or raises ValidationError."""
    allowed: str
    """The range as people read it."""
    secret: bool = False
    """Never printed."""
    env: tuple[str, ...] = ()
    """Environment variables besides ``CAXTON_<KEY>``, tried after it."""

    @property
    def field(self) -> str:
        """The name of the field in ``Config``."""
        return self.key.replace(".", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"CAXTON_{self.field.upper()}"


def _number(bound: Bound[Any]) -> Callable[[object, str], Any]:
    def parse(value: object, field: str) -> Any:
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = bound.base(value)
        return bound.parse(value, field)

    return parse


def _text(value: object, field: str) -> str:
    if isinstance(value, str) and len(value) <= 4_096 and "\0" not in value:
        return value
    raise ValidationError(field=field, value=value, allowed="text of at most 4,096 characters")


def _secret(value: object, field: str) -> Secret:
    try:
        return Secret(_text(value, field))
    except ValidationError:
        raise ValidationError(field=field, value="a secret", allowed="text") from None


def _path(value: object, field: str) -> Path:
    if isinstance(value, Path):
        return value.expanduser()
    text = _text(value, field)
    if not text:
        raise ValidationError(field=field, value=value, allowed="a path")
    return Path(text).expanduser()


def _flag(value: object, field: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("1", "true", "yes", "on"):
        return True
    if isinstance(value, str) and value.lower() in ("0", "false", "no", "off"):
        return False
    raise ValidationError(field=field, value=value, allowed="true or false")


def _choice(*options: str) -> Callable[[object, str], str]:
    def parse(value: object, field: str) -> str:
        if isinstance(value, str) and value in options:
            return value
        raise ValidationError(field=field, value=value, allowed=" or ".join(options))

    return parse


def _row(
    key: str,
    help_: str,
    kind: Bound[Any] | Callable[[object, str], Any],
    allowed: str = "",
    **kw: Any,
) -> Setting:
    if isinstance(kind, Bound):
        return Setting(key, help_, _number(kind), kind.allowed, **kw)
    return Setting(key, help_, kind, allowed, **kw)


_TEN_MIB = 10 * 1024 * 1024

SETTINGS: tuple[Setting, ...] = (
    _row("agents", "Folder of agent files; sub-folders are read too.", _path, "a folder"),
    _row("data", "Folder that holds everything the node keeps.", _path, "a folder"),
    _row("workspace", "Folder that relative paths in agent files start from.", _path, "a folder"),
    _row(
        "shards",
        "Shard processes; 0 runs everything in the calling process.",
        Bound("shards", int, 0, WorkerCount.high),
    ),
    _row("host", "Address the API listens on.", _text, "an address"),
    _row("port", "Port the API listens on; 0 takes a free one.", Bound("port", int, 0, 65_535)),
    _row(
        "durability",
        "What an acknowledgement means: `disk` survives power loss, `process` a killed process.",
        _choice("disk", "process"),
        "disk or process",
    ),
    _row("watch", "Reload agent files when they change.", _flag, "true or false"),
    _row(
        "shutdown_timeout_ms",
        "How long a drain may take before processes are killed, in ms.",
        Bound("shutdown_timeout_ms", int, 100, 300_000, unit="ms"),
    ),
    _row(
        "start_timeout_ms",
        "How long a process may take to become ready, in ms.",
        Bound("start_timeout_ms", int, 1_000, 600_000, unit="ms"),
    ),
    _row(
        "limits.message_bytes",
        "Largest content of a message, in bytes.",
        Bound("limits.message_bytes", int, 1_024, _TEN_MIB, unit="bytes"),
    ),
    _row(
        "limits.pending",
        "Messages a shard holds that are accepted and not yet handled; more are refused.",
        Bound("limits.pending", int, 1_000, 10_000_000, unit="messages"),
    ),
    _row(
        "limits.agent_queue",
        "Messages in an agent's mailbox; more wait in the journal.",
        AgentQueueSize,
    ),
    _row(
        "limits.agents",
        "Agents on one node.",
        Bound("limits.agents", int, 1, 1_000_000, unit="agents"),
    ),
    _row(
        "conversation.timeout_ms",
        "Idle time after which a conversation ends, in ms.",
        ConversationTimeoutMs,
    ),
    _row(
        "conversation.participants",
        "Participants of one conversation.",
        MaxConversationParticipants,
    ),
    _row(
        "conversation.active",
        "Conversations a shard keeps in memory; the idlest others wait on disk.",
        Bound("conversation.active", int, 100, 10_000_000),
    ),
    _row(
        "storage.map_bytes",
        "Largest size of one LMDB store, in bytes (sparse: nothing is taken before it is used).",
        Bound("storage.map_bytes", int, 16 * 1024 * 1024, 1 << 44, unit="bytes"),
    ),
    _row(
        "storage.keep_messages",
        "Handled messages a shard keeps for history and for recognising duplicates.",
        Bound("storage.keep_messages", int, 1_000, 1_000_000_000, unit="messages"),
    ),
    _row("tools.workers", "Sandbox workers that run tools.", Bound("tools.workers", int, 1, 64)),
    _row(
        "llm.provider",
        "Language-model provider: `auto` takes openai when a key or base URL is set, else rules.",
        _text,
        "auto or the name of an installed provider",
    ),
    _row(
        "llm.base_url",
        "Base URL of an OpenAI-compatible server.",
        _text,
        "a URL",
        env=("OPENAI_BASE_URL",),
    ),
    _row(
        "llm.api_key", "Key for that server.", _secret, "text", secret=True, env=("OPENAI_API_KEY",)
    ),
    _row(
        "llm.model",
        "Model to ask for when an agent file names none.",
        _text,
        "a model name",
        env=("OPENAI_MODEL",),
    ),
    _row(
        "llm.timeout_ms",
        "How long one model call may take, in ms.",
        Bound("llm.timeout_ms", int, 1_000, 600_000, unit="ms"),
    ),
    _row(
        "log.level",
        "Least important level that is logged.",
        _choice("debug", "info", "warning", "error"),
        "debug, info, warning or error",
    ),
)

_BY_FIELD = {setting.field: setting for setting in SETTINGS}
_BY_KEY = {setting.key: setting for setting in SETTINGS}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of a node, checked when built. See ``SETTINGS`` for what each means."""

    agents: Path = Path("agents")
    data: Path = Path("caxton-data")
    workspace: Path = Path()
    shards: int = msgspec.field(default_factory=default_shards)
    host: str = "127.0.0.1"
    port: int = 8080
    durability: Durability = "disk"
    watch: bool = True
    shutdown_timeout_ms: int = 10_000
    start_timeout_ms: int = 60_000
    limits_message_bytes: int = _TEN_MIB
    limits_pending: int = 1_000_000
    limits_agent_queue: int = 1_000
    limits_agents: int = 100_000
    conversation_timeout_ms: int = 1_800_000
    conversation_participants: int = 10
    conversation_active: int = 100_000
    storage_map_bytes: int = 64 * 1024**3
    storage_keep_messages: int = 1_000_000
    tools_workers: int = 2
    llm_provider: str = "auto"
    llm_base_url: str = ""
    llm_api_key: str = Secret("")
    llm_model: str = ""
    llm_timeout_ms: int = 60_000
    log_level: str = "info"

    def __post_init__(self) -> None:
        """Parse every field by its row of the table."""
        for name, setting in _BY_FIELD.items():
            value = getattr(self, name)
            try:
                parsed = setting.parse(value, setting.key)
            except ValidationError as error:
                shown = "***" if setting.secret else value
                raise ConfigInvalid(
                    field=setting.key,
                    value=shown,
                    allowed=str(error.fields["allowed"]),
                    origin="given",
                ) from None
            if parsed is not value:
                msgspec.structs.force_setattr(self, name, parsed)

    def absolute(self) -> Config:
        """The same with paths that no longer depend on the working folder."""
        return msgspec.structs.replace(
            self,
            agents=self.agents.absolute(),
            data=self.data.absolute(),
            workspace=self.workspace.absolute(),
        )

    @property
    def loopback(self) -> bool:
        """Whether the API is reachable from this machine only."""
        return self.host in ("127.0.0.1", "localhost", "::1")

    @property
    def provider_name(self) -> str:
        """The provider that ``auto`` stands for."""
        if self.llm_provider != "auto":
            return self.llm_provider
        return "openai" if self.llm_base_url or self.llm_api_key else "rules"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where each of its values came from."""

    config: Config
    origins: Mapping[str, str]
    """Setting key to ``flag``, the environment variable, ``FILE:key`` or ``default``."""


def _flatten(table: Mapping[str, object], path: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            for inner, leaf in value.items():
                found[f"{name}.{inner}"] = leaf
        else:
            found[name] = value
    for key in found:
        if key not in _BY_KEY:
            near = difflib.get_close_matches(key, _BY_KEY, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise ConfigInvalid(
                field=key,
                value="an unknown setting",
                allowed=f"{hint}one of the settings in docs/reference/settings.md",
                origin=str(path),
            )
    return found


def _read(path: Path) -> dict[str, object]:
    try:
        data = path.read_bytes()
        if len(data) > 1_048_576:
            raise ConfigInvalid(
                field="file", value=f"{len(data)} bytes", allowed="at most 1 MiB", origin=str(path)
            )
        return _flatten(tomllib.loads(data.decode()), path)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigInvalid(
            field="file", value=str(error), allowed="a readable TOML file", origin=str(path)
        ) from error


def load(
    file: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Loaded:
    """Read the configuration of a node.

    ``file`` must exist when given; without it ``caxton.toml`` in the working folder is read if it
    is there. ``flags`` maps setting keys to values; ``None`` values are not given.

    Raises:
        ConfigInvalid: it names the setting, where the value came from, and what is allowed.
    """
    env = os.environ if env is None else env
    default_file = Path("caxton.toml")
    path = file if file is not None else (default_file if default_file.is_file() else None)
    from_file = {} if path is None else _read(path)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        variable = next((v for v in (setting.variable, *setting.env) if env.get(v)), None)
        flag = (flags or {}).get(setting.key)
        if flag is not None:
            raw, origin = flag, "flag"
        elif variable is not None:
            raw, origin = env[variable], variable
        elif setting.key in from_file:
            raw, origin = from_file[setting.key], f"{path}:{setting.key}"
        else:
            origins[setting.key] = "default"
            continue
        try:
            values[setting.field] = setting.parse(raw, setting.key)
        except ValidationError as error:
            raise ConfigInvalid(
                field=setting.key,
                value="***" if setting.secret else raw,
                allowed=str(error.fields["allowed"]),
                origin=origin,
            ) from None
        origins[setting.key] = origin
    return Loaded(Config(**values), origins)
