"""Who may read and write which scopes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from caxton.errors import NotAuthorized
from caxton.memory.model import GLOBAL, WORKSPACE, Scope
from caxton.memory.requests import Asked

if TYPE_CHECKING:
    from caxton.agents.definition import MemorySettings

__all__ = ["Access", "SettingsOf"]

SettingsOf: TypeAlias = "Callable[[str], MemorySettings | None]"
"""What the agent file of a name says of its memory; None where there is no such agent."""

_WIDE: Final = {"agent": (), "workspace": (WORKSPACE,), "global": (WORKSPACE, GLOBAL)}


class Access:
    """Scopes of those who ask.

    An agent sees its own scope, and those that its ``memory.scope`` widens it to. Who names an
    agent that there is no file of, as an operator may do for a program outside, sees the scope of
    that name.
    """

    def __init__(self, settings_of: SettingsOf) -> None:
        self._settings_of = settings_of

    def _granted(self, agent: str) -> tuple[Scope, ...]:
        """What an agent may use, its own first and the widest last.

        Raises:
            NotAuthorized: its memory is not enabled.
        """
        own = Scope.of_agent(agent)
        settings = self._settings_of(agent)
        if settings is None:
            return (own,)
        if not settings.enabled:
            raise NotAuthorized(
                who=f"the agent `{agent}`",
                action="use the memory: its file does not say `memory: {enabled: true}`",
            )
        return (own, *_WIDE[settings.scope])

    def _named(self, asked: Asked, granted: tuple[Scope, ...], action: str) -> Scope:
        scope = Scope.parse(asked.memory_scope or "", asked.agent)
        if scope not in granted:
            raise NotAuthorized(who=f"the agent `{asked.agent}`", action=f"{action} {scope.key}")
        return scope

    def read(self, asked: Asked) -> tuple[Scope, ...] | None:
        """The scopes to read; None for all there are.

        Raises:
            ValidationError: the scope is none.
            NotAuthorized: the agent may not read it.
        """
        if asked.agent is None:
            return None if asked.memory_scope is None else (Scope.parse(asked.memory_scope),)
        granted = self._granted(asked.agent)
        if asked.memory_scope is None:
            return granted
        return (self._named(asked, granted, "read"),)

    def write(self, asked: Asked) -> Scope:
        """The scope to write to. That of an operator who names none is the workspace.

        Raises:
            ValidationError: the scope is none.
            NotAuthorized: the agent may not write there.
        """
        if asked.agent is None:
            return WORKSPACE if asked.memory_scope is None else Scope.parse(asked.memory_scope)
        granted = self._granted(asked.agent)
        if asked.memory_scope is None:
            return granted[-1]
        return self._named(asked, granted, "write to")

    def operate(self, asked: Asked, action: str) -> None:
        """Raises:
        NotAuthorized: it is an agent that asks.
        """
        if asked.agent is not None:
            raise NotAuthorized(who=f"the agent `{asked.agent}`", action=action)
