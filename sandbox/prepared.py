"""A module that was loaded: what it is, where it runs, and how it is opened."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from sandbox.abi import Level
from sandbox.grants import Grants
from sandbox.guest import Guest
from sandbox.limits import Limits
from sandbox.module import Kind, Module

__all__ = ["Opener", "Prepared"]


class Opener(Protocol):
    """Opens a module; ``Sandbox`` does."""

    def open(self, module: Module, limits: Limits, grants: Grants, owner: str) -> Awaitable[Guest]:
        """See ``Prepared.open``."""
        ...


class Prepared:
    """Made by ``Sandbox.load``. Cheap; may be opened often and at the same time.

    Args:
        opener: opens it.
        module: validated and compiled.
        limits, grants: what is used when ``open`` is given none.
    """

    def __init__(self, opener: Opener, module: Module, limits: Limits, grants: Grants) -> None:
        self.module = module
        self.limits = limits
        self.grants = grants
        self._opener = opener

    @property
    def kind(self) -> Kind:
        """Which door it has."""
        return self.module.kind

    @property
    def level(self) -> Level:
        """How it is kept apart from this process."""
        return self.module.level

    async def open(
        self, limits: Limits | None = None, grants: Grants | None = None, *, owner: str = ""
    ) -> Guest:
        """A guest with its limits and grants.

        An agent is instantiated now and keeps its memory between calls; a command or component
        starts afresh with each call. ``owner`` is whose it is, for turns at the workers.

        Raises ``SandboxError``, ``InvalidSetting``.
        """
        return await self._opener.open(
            self.module,
            self.limits if limits is None else limits,
            self.grants if grants is None else grants,
            owner,
        )
