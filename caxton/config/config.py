"""``Config``: every setting of a node, checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from caxton.config.secret import Secret
from caxton.config.table import BY_FIELD, TEN_MIB
from caxton.errors import ConfigInvalid, ValidationError
from caxton.types import WorkerCount

__all__ = ["Config", "default_shards"]

Durability = Literal["disk", "process"]


def default_shards() -> int:
    """The default of WorkerCount (4), capped at the cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, min(WorkerCount.default or 4, cores))


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
    limits_message_bytes: int = TEN_MIB
    limits_pending: int = 1_000_000
    limits_agent_queue: int = 1_000
    limits_agents: int = 100_000
    capability_strategy: str = "sticky"
    conversation_timeout_ms: int = 1_800_000
    conversation_participants: int = 10
    conversation_active: int = 100_000
    retry_delay_ms: int = 1_000
    retry_factor: float = 2.0
    dead_letter_limit: int = 100_000
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
        for name, setting in BY_FIELD.items():
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
