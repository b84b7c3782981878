"""What was granted and what was refused, told to whoever keeps the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from sandbox.grants import Grants

__all__ = ["GrantEvent", "GrantKind", "OnGrant", "given"]

GrantKind = Literal["folder", "env", "host", "kv", "database", "memory"]

WHAT_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class GrantEvent:
    """One use of a grant, or one refusal.

    ``what`` names the thing without anything that may be secret: of a URL method, scheme, host and
    port, of a variable its name, of a database its name and the kind of statement. ``reason`` says
    why it was refused, empty when it was allowed.
    """

    kind: GrantKind
    what: str
    allowed: bool
    reason: str = ""

    def __post_init__(self) -> None:
        # Parts of it come from a guest, and a line of a log must stay one line.
        text = self.what if self.what.isprintable() else repr(self.what)
        object.__setattr__(self, "what", text[:WHAT_CHARACTERS])


OnGrant = Callable[[GrantEvent], None]
"""Told of each use and refusal, on the loop's thread; must not block."""


def given(grants: Grants) -> Iterator[GrantEvent]:
    """What a guest has from its start, without asking: its folders and variables."""
    for folder in grants.folders:
        mode = "rw" if folder.write else "ro"
        yield GrantEvent("folder", f"{folder.guest} {mode} {folder.host}", allowed=True)
    for name, _ in grants.env:
        yield GrantEvent("env", name, allowed=True)
