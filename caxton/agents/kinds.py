"""The kinds of agents: from a definition to the behaviour that serves it.

To add a kind: write a ``Behaviour``, give its key a field in ``AgentDefinition``, and add a row to
``KINDS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from caxton.agents.behaviour import Behaviour, ToolRunner
from caxton.agents.config_agent import ConfigBehaviour
from caxton.agents.definition import AgentDefinition
from caxton.agents.memory_outage import MemoryOutage
from caxton.agents.state import AgentState
from caxton.config import Config
from caxton.llm.provider import Provider, ProviderSettings, make_provider
from caxton.tools.catalog import ToolCatalog

if TYPE_CHECKING:
    from caxton.memory.client import Memory
    from sandbox import GrantHeard, Sandbox
    from sandbox.grant_events import GrantEvent
    from sandbox.services.answerer import HostServices

__all__ = ["KINDS", "Services", "make_behaviour"]


def _unheard(_owner: str, _event: GrantEvent) -> None:
    """For processes that keep no audit trail."""


class Services:
    """What behaviours of one process share: providers, tools, and the sandbox of WASM agents.

    Args:
        config: the node's settings.
        tools: runs tools.
        state: where WASM agents keep what outlives them; nowhere when not given.
        on_grant: told of what WASM agents used or were refused.
        catalog: the tools that are installed; the shipped ones when not given.
        memory: of the node; None where it has none.
    """

    def __init__(
        self,
        config: Config,
        tools: ToolRunner,
        catalog: ToolCatalog | None = None,
        state: AgentState | None = None,
        on_grant: GrantHeard = _unheard,
        memory: Memory | None = None,
    ) -> None:
        self.config = config
        self.runner = tools
        self.state = state
        self.memory = memory
        self.outage = MemoryOutage()
        """Of the memory, as agents see it."""
        self._on_grant = on_grant
        self._answerer: HostServices | None = None
        self.catalog = catalog or ToolCatalog.builtin()
        self._providers: dict[str, Provider] = {}
        self._sandbox: Sandbox | None = None

    def provider(self, name: str | None = None) -> Provider:
        """The provider called ``name``, or the node's own; made once.

        Raises:
            ValidationError: none is called so.
            ModelUnavailable: its package does not import.
        """
        name = name or self.config.provider_name
        found = self._providers.get(name)
        if found is None:
            config = self.config
            settings = ProviderSettings(
                base_url=config.llm_base_url,
                api_key=config.llm_api_key,
                model=config.llm_model,
                timeout_ms=config.llm_timeout_ms,
            )
            found = self._providers[name] = make_provider(name, settings)
        return found

    def sandbox(self) -> Sandbox:
        """The sandbox of this process, made when the first WASM agent asks."""
        if self._sandbox is None:
            from caxton.tools.guest_memory import guest_search
            from sandbox import Questions, Sandbox
            from sandbox.services.answerer import host_services

            self._answerer = host_services(guest_search(self.memory))

            folder = self.config.data / "cache" / "modules"
            folder.parent.mkdir(parents=True, exist_ok=True)
            questions = Questions(self.state, self._answerer, self._on_grant)
            self._sandbox = Sandbox(folder, workers=1, questions=questions)
        return self._sandbox

    async def close(self) -> None:
        """Give connections and guests back."""
        providers, self._providers = self._providers, {}
        for provider in providers.values():
            await provider.aclose()
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await sandbox.close()
        answerer, self._answerer = self._answerer, None
        if answerer is not None:
            await answerer.close()


def _config(definition: AgentDefinition, _file: Path, services: Services) -> Behaviour:
    return ConfigBehaviour(
        definition,
        services.provider,
        services.catalog,
        services.runner,
        services.memory,
        outage=services.outage,
    )


def _python(definition: AgentDefinition, file: Path, services: Services) -> Behaviour:
    from caxton.agents.python_agent import PythonBehaviour, load_class

    factory, module = load_class(definition.python or "", file.parent, file.name)
    memory = services.memory if definition.memory.enabled else None
    own = memory.of(definition.name) if memory is not None else None
    return PythonBehaviour(definition, factory, module, own)


def _wasm(definition: AgentDefinition, file: Path, services: Services) -> Behaviour:
    from caxton.agents.wasm_agent import WasmBehaviour

    path = file.parent / (definition.wasm or "")
    return WasmBehaviour(
        definition, path, services.sandbox, file.name, services.config, services.state
    )


KINDS: Final[Mapping[str, Callable[[AgentDefinition, Path, Services], Behaviour]]] = {
    "config": _config,
    "python": _python,
    "wasm": _wasm,
}
"""How each kind is made."""


def make_behaviour(definition: AgentDefinition, file_path: Path, services: Services) -> Behaviour:
    """The behaviour of one version of an agent. Nothing runs of a configuration or WASM agent
    until its first message; the module of a Python agent is loaded here.

    Args:
        definition: what its file says.
        file_path: the agent file; code is looked for beside it.
        services: what behaviours share.

    Raises:
        AgentFileInvalid: its code is not there or does not load.
    """
    return KINDS[definition.kind](definition, file_path, services)
