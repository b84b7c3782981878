"""``Config``: every setting of a node, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from caxton.config.profiles import PROFILES, Cores, profiled
from caxton.config.rules import RULES
from caxton.config.secret import Secret
from caxton.config.table import BY_FIELD, BY_KEY, TEN_MIB
from caxton.errors import ConfigInvalid, ValidationError
from caxton.message import DeliveryOptions
from caxton.types import WorkerCount

__all__ = ["Config", "default_shards"]

Durability = Literal["disk", "process"]


def default_shards() -> int:
    """The default of WorkerCount (4), capped at the cores this process may use."""
    return Cores(WorkerCount.default or 4)()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of a node, checked when built. See ``SETTINGS`` for what each means."""

    profile: str = "standard"
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
    limits_inbound: int = 1_000
    limits_agent_queue: int = 1_000
    limits_rate: int = 0
    limits_rate_burst: int = 0
    limits_offline_queue: int = 10_000
    limits_agents: int = 100_000
    capability_strategy: str = "sticky"
    health_interval_ms: int = 30_000
    health_stuck_ms: int = 300_000
    conversation_timeout_ms: int = 1_800_000
    conversation_participants: int = 10
    conversation_active: int = 100_000
    breaker_threshold: int = 10
    breaker_timeout_ms: int = 60_000
    breaker_slow_ms: int = 120_000
    message_timeout_ms: int = 0
    message_retries: int = 3
    retry_delay_ms: int = 1_000
    retry_factor: float = 2.0
    dead_letter_limit: int = 100_000
    storage_map_bytes: int = 64 * 1024**3
    storage_keep_messages: int = 1_000_000
    storage_keep_days: int = 0
    storage_keep_bytes: int = 0
    tools_workers: int = 2
    tools_each: int = 0
    tools_waiting: int = 64
    tools_keep_bytes: int = 1 << 30
    tools_databases: str = Secret("")
    tools_folder: Path = Path("tools")
    mcp_enabled: bool = True
    mcp_token: str = Secret("")
    mcp_hosts: str = ""
    mcp_tools: str = "sandboxed"
    mcp_memory: bool = True
    mcp_permissions: str = ""
    mcp_timeout_ms: int = 120_000
    mcp_servers: str = ""
    memory_enabled: bool = True
    memory_backend: str = "embedded"
    memory_url: str = ""
    memory_user: str = "neo4j"
    memory_password: str = Secret("")
    memory_api_key: str = Secret("")
    memory_database: str = ""
    memory_timeout_ms: int = 10_000
    memory_engine: str = "onnx"
    memory_model: str = ""
    memory_model_sha256: str = ""
    memory_download: bool = True
    memory_threads: int = 2
    memory_cache_bytes: int = 8 * 1024 * 1024
    memory_vector_weight: float = 0.7
    memory_words_weight: float = 0.3
    memory_neighbour_weight: float = 0.0
    memory_recency_weight: float = 0.0
    memory_importance_weight: float = 0.0
    memory_half_life_days: float = 30.0
    memory_search_concurrency: int = 10
    memory_max_entities_per_agent: int = 10_000
    llm_provider: str = "auto"
    llm_base_url: str = ""
    llm_api_key: str = Secret("")
    llm_model: str = ""
    llm_timeout_ms: int = 60_000
    trace_exporter: str = "none"
    trace_ratio: float = 0.1
    trace_endpoint: str = ""
    metrics_enabled: bool = True
    log_level: str = "info"
    log_messages: str = "sampled"

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
        for rule in RULES:
            if not rule.holds(self):
                raise ConfigInvalid(
                    field=rule.key,
                    value=getattr(self, BY_KEY[rule.key].field),
                    allowed=f"{rule.allowed(self)}: {rule.reason}",
                    origin="given",
                )

    @classmethod
    def of_profile(cls, name: str, **given: Any) -> Config:
        """The settings of a profile, with what is given before them.

        Raises:
            ConfigInvalid: there is no such profile, or a value is wrong.
        """
        values = profiled(name) if name in PROFILES else {}
        fields = {BY_KEY[key].field: value for key, value in values.items()}
        return cls(**{**fields, **given, "profile": name})

    def absolute(self) -> Config:
        """The same with paths that no longer depend on the working folder."""
        return msgspec.structs.replace(
            self,
            agents=self.agents.absolute(),
            data=self.data.absolute(),
            workspace=self.workspace.absolute(),
        )

    @property
    def delivery_options(self) -> DeliveryOptions:
        """Those of messages whose sender does not say."""
        return DeliveryOptions(
            timeout_ms=self.message_timeout_ms or None, max_retries=self.message_retries
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
